/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a chain file: the document from the top, its destinations and their
 * bindings.  Matches are in chain_match.c, option values in chain_value.c.
 *
 * Called by the scheduler, the command line and the fuzz target.  It goes on
 * after a mistake, so that one run names all of them.
 */
#include "lib/chain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/chain_priv.h"
#include "lib/near.h"

/* Bytes that all that a file needs may take. */
#define MEMORY_MAX ((size_t)512 << 20)

/* A binding's name and type, to find names that have two. */
struct named {
	const struct chain_binding *binding; /* in its chain */
	uint32_t destination;                /* index of the destination */
	uint32_t place;                      /* index in its chain */
};

void chain_wants(struct chain_parser *parser, const struct json_at *at, const char *wants)
{
	char shown[JSON_QUOTE_SIZE];

	json_errs_add(parser->errs, at, "wants %s, not %s", wants, json_show(shown, at->value));
}

/* --------------------------------------------------------------------- names */

static bool is_name(struct mp_str text)
{
	if (!text.len || text.len > CHAIN_NAME_MAX)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		char c = slice_lower(text.ptr[i]);
		bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

		if (!word && (!i || (c != '.' && c != '_' && c != '-')))
			return false;
	}
	return true;
}

/* A required name, or "" after a mistake. */
static const char *read_name(struct chain_parser *parser, const struct json_at *parent,
			     const char *key)
{
	struct json_at at = json_at_member(parent, key);
	const char *text = NULL, *copy;

	if (json_get_str(parent, key, JSON_REQUIRED, &text, parser->errs))
		return "";
	if (!is_name(slice_of(text))) {
		chain_wants(parser, &at,
			    "1 to 64 letters, digits, '.', '_' and '-', the first one a letter or digit");
		return "";
	}
	copy = arena_copy(parser->arena, slice_of(text));
	return copy ? copy : "";
}

/* ------------------------------------------------------------------- binding */

/* "wants a known type (breaker, delay), not X; did you mean Y?" */
static void refuse_type(struct chain_parser *parser, const struct json_at *at, const char *type)
{
	struct near near;
	struct buf list;
	char shown[JSON_QUOTE_SIZE];

	near_init(&near, slice_of(type));
	buf_init(&list, CHAIN_WORDS_SIZE);
	for (const char *const *name = parser->catalog->names; name && *name; name++) {
		buf_printf(&list, "%s%s", list.len ? ", " : "", *name);
		near_offer(&near, *name);
	}
	json_errs_add(parser->errs, at, "wants the type of a filter (%s), not %s%s%s%s",
		      buf_str(&list), json_show(shown, at->value),
		      near.best ? "; did you mean \"" : "", near.best ? near.best : "",
		      near.best ? "\"?" : "");
	buf_fini(&list);
}

static const struct chain_type *read_type(struct chain_parser *parser, const struct json_at *at,
					  struct chain_binding *binding)
{
	struct json_at member = json_at_member(at, "type");
	const char *type = NULL;

	binding->type = "";
	if (json_get_str(at, "type", JSON_REQUIRED, &type, parser->errs))
		return NULL;
	binding->filter = parser->catalog->find(parser->catalog, type);
	if (!binding->filter) {
		refuse_type(parser, &member, type);
		return NULL;
	}
	binding->type = binding->filter->name;
	return chain_type_get(parser, binding->filter, &member);
}

/* Keys are sorted: the order of members, header fields included, means nothing. */
static const char *canonical(struct chain_parser *parser, const json_t *value)
{
	char *text = value ? json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	const char *copy = arena_copy(parser->arena, value ? slice_of(text) : MP_LIT("{}"));

	if (value && !text)
		parser->arena->failed = true;
	free(text);
	return copy;
}

static void read_on_failure(struct chain_parser *parser, const struct json_at *at,
			    struct chain_binding *binding)
{
	struct json_at member = json_at_member(at, "on_failure");
	const char *word = json_string_value(member.value);

	if (!member.value)
		return;
	binding->closed = word && !strcmp(word, "closed");
	if (!binding->closed && !(word && !strcmp(word, "open")))
		chain_wants(parser, &member, "\"open\" or \"closed\"");
}

static void read_binding(struct chain_parser *parser, const struct json_at *at,
			 struct chain_binding *binding)
{
	struct json_at config;
	const struct chain_type *type;
	bool readable;

	if (json_want(at, JSON_OBJECT, parser->errs))
		return;
	json_only(at, parser->errs, "middlepipe", "type", "config", "on_failure", NULL);
	binding->middlepipe = read_name(parser, at, "middlepipe");
	type = read_type(parser, at, binding);
	readable = !json_get_object(at, "config", JSON_OPTIONAL, &config, parser->errs);
	if (type && readable)
		chain_values(parser, &config, type, binding);
	binding->config = canonical(parser, config.value);
	read_on_failure(parser, at, binding);
}

/* -------------------------------------------------------------- destinations */

static void refuse_twice(struct chain_parser *parser, const struct json_at *at, const char *key,
			 const char *first)
{
	struct json_at member = json_at_member(at, key);
	char shown[JSON_QUOTE_SIZE];

	json_errs_add(parser->errs, &member, "%s is the name of %s already",
		      json_show(shown, member.value), first);
}

static void check_twice(struct chain_parser *parser, const struct json_at *at,
			const struct chain_binding *bindings, size_t i)
{
	char first[48];

	for (size_t j = 0; j < i; j++) {
		if (bindings[j].middlepipe && bindings[j].middlepipe[0] && bindings[i].middlepipe &&
		    !strcmp(bindings[j].middlepipe, bindings[i].middlepipe)) {
			(void)snprintf(first, sizeof(first), "chain[%zu] here", j);
			refuse_twice(parser, at, "middlepipe", first);
			return;
		}
	}
}

static void read_chain(struct chain_parser *parser, const struct json_at *destination,
		       struct chain_destination *ret)
{
	struct chain_binding *bindings;
	struct json_at list;

	json_get_array(destination, "chain", JSON_REQUIRED, MP_CHAIN_MAX, &list, parser->errs);
	bindings = arena_get(parser->arena, json_at_size(&list), sizeof(*bindings));
	if (!bindings)
		return;
	for (size_t i = 0; i < json_at_size(&list); i++) {
		struct json_at at = json_at_index(&list, i);

		read_binding(parser, &at, &bindings[i]);
		check_twice(parser, &at, bindings, i);
	}
	ret->bindings = bindings;
	ret->n_bindings = json_at_size(&list);
}

static bool read_match(struct chain_parser *parser, const struct json_at *at,
		       struct lane_key *key, uint32_t *ret_port)
{
	struct mp_str text = slice_make(json_string_value(at->value),
					json_string_length(at->value));
	const char *wrong;
	char shown[JSON_QUOTE_SIZE];

	if (json_want(at, JSON_STRING, parser->errs))
		return false;
	wrong = chain_match_read(text, key, ret_port);
	if (wrong)
		json_errs_add(parser->errs, at,
			      "wants host, host:port, [IPv6], [IPv6]:port or unix:/path, "
			      "not %s: %s",
			      json_quote(shown, text), wrong);
	return !wrong;
}

/* Reads the matches and puts those that are good into the file's index. */
static void read_matches(struct chain_parser *parser, const struct json_at *destination,
			 size_t index, struct chain_destination *ret)
{
	struct chains *chains = parser->chains;
	struct lane_key *keys;
	struct json_at list;
	uint32_t port;

	json_get_array(destination, "match", JSON_REQUIRED, CHAIN_MATCHES_MAX, &list,
		       parser->errs);
	if (list.value && !json_at_size(&list))
		json_errs_add(parser->errs, &list, "wants 1 to %d matches, not none",
			      CHAIN_MATCHES_MAX);
	keys = arena_get(parser->arena, json_at_size(&list), sizeof(*keys));
	if (!keys)
		return;
	for (size_t i = 0; i < json_at_size(&list); i++) {
		struct json_at at = json_at_index(&list, i);

		if (read_match(parser, &at, &keys[i], &port))
			chains->index[chains->n_index++] = (struct chain_ref){
				&keys[i], port, (uint32_t)index, (uint32_t)i};
	}
	ret->matches = keys;
	ret->n_matches = json_at_size(&list);
}

/* Longest first; equally long ones in the order of their bytes. */
static int compare_prefixes(const void *one, const void *two)
{
	const struct mp_str *a = one, *b = two;

	if (a->len != b->len)
		return a->len < b->len ? 1 : -1;
	return a->len ? memcmp(a->ptr, b->ptr, a->len) : 0;
}

static size_t count_prefixes(const struct chain_destination *destination)
{
	size_t n = 1;

	for (size_t i = 0; i < destination->n_bindings; i++)
		n += destination->bindings[i].n_prefixes;
	return n;
}

/* The union over the bindings, "" included; `all` has room for every one. */
static size_t unite(const struct chain_destination *destination, struct mp_str *all)
{
	size_t n = 0, kept = 0;

	all[n++] = MP_LIT("");
	for (size_t i = 0; i < destination->n_bindings; i++) {
		for (size_t j = 0; j < destination->bindings[i].n_prefixes; j++)
			all[n++] = destination->bindings[i].prefixes[j].name;
	}
	qsort(all, n, sizeof(*all), compare_prefixes);
	for (size_t i = 0; i < n; i++) {
		if (!kept || !slice_eq(all[kept - 1], all[i]))
			all[kept++] = all[i];
	}
	return kept;
}

static void set_prefixes(struct chain_parser *parser, const struct json_at *at,
			 struct chain_destination *ret)
{
	struct json_at chain = json_at_member(at, "chain");
	struct mp_str *all = arena_get(parser->arena, count_prefixes(ret), sizeof(*all));

	if (!all)
		return;
	ret->n_prefixes = unite(ret, all);
	ret->prefixes = all;
	if (ret->n_prefixes > CHAIN_PREFIXES_MAX)
		json_errs_add(parser->errs, &chain,
			      "wants at most %d path prefixes in one chain, not %zu",
			      CHAIN_PREFIXES_MAX - 1, ret->n_prefixes - 1);
}

static void read_destination(struct chain_parser *parser, const struct json_at *at, size_t index)
{
	struct chain_destination *destinations = parser->chains->destinations;
	struct chain_destination *ret = &destinations[index];
	char first[48];

	ret->name = "";
	if (json_want(at, JSON_OBJECT, parser->errs))
		return;
	json_only(at, parser->errs, "name", "match", "chain", NULL);
	ret->name = read_name(parser, at, "name");
	for (size_t i = 0; ret->name[0] && i < index; i++) {
		if (!strcmp(destinations[i].name, ret->name)) {
			(void)snprintf(first, sizeof(first), "$.destinations[%zu]", i);
			refuse_twice(parser, at, "name", first);
			break;
		}
	}
	read_matches(parser, at, index, ret);
	read_chain(parser, at, ret);
	set_prefixes(parser, at, ret);
}

/* ---------------------------------------------- one type for each middlepipe */

static int compare_named(const void *one, const void *two)
{
	const struct named *a = one, *b = two;
	int order = strcmp(a->binding->middlepipe, b->binding->middlepipe);

	if (order)
		return order;
	if (a->destination != b->destination)
		return a->destination > b->destination ? 1 : -1;
	return (a->place > b->place) - (a->place < b->place);
}

static void refuse_types(struct chain_parser *parser, const struct named *first,
			 const struct named *later)
{
	struct json_at root = json_at_root(parser->root);
	struct json_at all = json_at_member(&root, "destinations");
	struct json_at destination = json_at_index(&all, later->destination);
	struct json_at chain = json_at_member(&destination, "chain");
	struct json_at at = json_at_index(&chain, later->place);
	struct json_at type = json_at_member(&at, "type");

	json_errs_add(parser->errs, &type,
		      "wants \"%s\", not \"%s\": the middlepipe \"%s\" has one type, see "
		      "$.destinations[%u].chain[%u]",
		      first->binding->type, later->binding->type, first->binding->middlepipe,
		      first->destination, first->place);
}

static size_t gather_named(const struct chains *chains, struct named *all)
{
	size_t n = 0;

	for (size_t i = 0; i < chains->n_destinations; i++) {
		const struct chain_destination *destination = &chains->destinations[i];

		for (size_t j = 0; j < destination->n_bindings; j++) {
			const struct chain_binding *binding = &destination->bindings[j];

			if (binding->filter && binding->middlepipe[0])
				all[n++] = (struct named){binding, (uint32_t)i, (uint32_t)j};
		}
	}
	return n;
}

static void check_types(struct chain_parser *parser)
{
	const struct chains *chains = parser->chains;
	struct named *all;
	size_t n = 0, first = 0;

	for (size_t i = 0; i < chains->n_destinations; i++)
		n += chains->destinations[i].n_bindings;
	all = arena_get(parser->arena, n, sizeof(*all));
	if (!all)
		return;
	n = gather_named(chains, all);
	if (n)
		qsort(all, n, sizeof(*all), compare_named);
	for (size_t i = 1; i < n; i++) {
		if (strcmp(all[first].binding->middlepipe, all[i].binding->middlepipe))
			first = i;
		else if (all[first].binding->filter != all[i].binding->filter)
			refuse_types(parser, &all[first], &all[i]);
	}
}

/* ------------------------------------------------------------------ document */

static size_t count_matches(const struct json_at *list)
{
	size_t n = 0;

	for (size_t i = 0; i < json_at_size(list); i++) {
		struct json_at at = json_at_index(list, i);
		struct json_at matches = json_at_member(&at, "match");

		n += json_at_size(&matches);
	}
	return n;
}

static void read_destinations(struct chain_parser *parser, const struct json_at *root)
{
	struct chains *chains = parser->chains;
	struct json_at list;

	json_get_array(root, "destinations", JSON_REQUIRED, CHAIN_DESTINATIONS_MAX, &list,
		       parser->errs);
	chains->destinations = arena_get(parser->arena, json_at_size(&list),
					 sizeof(*chains->destinations));
	chains->index = arena_get(parser->arena, count_matches(&list), sizeof(*chains->index));
	if (!chains->destinations || !chains->index)
		return;
	for (size_t i = 0; i < json_at_size(&list); i++) {
		struct json_at at = json_at_index(&list, i);

		chains->n_destinations = i + 1;
		read_destination(parser, &at, i);
	}
}

/* Everything but the epoch. */
static void set_identity(struct chain_parser *parser)
{
	CLEANUP_JSON json_t *copy = json_copy((json_t *)(uintptr_t)parser->root);

	if (!copy) {
		parser->arena->failed = true;
		return;
	}
	(void)json_object_del(copy, "epoch"); /* it may be absent */
	parser->chains->identity = canonical(parser, copy);
}

static void read_document(struct chain_parser *parser)
{
	struct json_at root = json_at_root(parser->root);

	if (json_want(&root, JSON_OBJECT, parser->errs))
		return;
	json_only(&root, parser->errs, "app", "epoch", "destinations", NULL);
	parser->chains->app = read_name(parser, &root, "app");
	json_get_int(&root, "epoch", JSON_OPTIONAL, 1, CHAIN_EPOCH_MAX, &parser->chains->epoch,
		     parser->errs);
	read_destinations(parser, &root);
	check_types(parser);
	chain_index(parser);
	set_identity(parser);
}

static struct chains *chains_new(struct mp_str text)
{
	struct chains *chains = calloc(1, sizeof(*chains));

	if (!chains)
		return NULL;
	arena_init(&chains->arena, MEMORY_MAX);
	chains->epoch = 1;
	chains->text = arena_copy(&chains->arena, text);
	return chains;
}

static int read_text(struct mp_str text, json_t **ret, struct json_errs *errs)
{
	struct json_at root = json_at_root(NULL);
	struct err err = {0};
	int rc = json_load_text(text, CHAIN_TEXT_MAX, CHAIN_DEPTH_MAX, ret, &err);

	if (rc && rc != -ENOMEM)
		json_errs_add(errs, &root, "%s", err.text);
	return rc;
}

int chains_parse(struct mp_str text, const struct chain_catalog *catalog, struct chains **ret,
		 struct json_errs *errs)
{
	struct chain_parser parser = {.catalog = catalog, .errs = errs};
	CLEANUP_JSON json_t *root = NULL;
	size_t before = errs->count;
	int rc = read_text(text, &root, errs);

	if (rc)
		return rc;
	parser.chains = chains_new(text);
	if (!parser.chains)
		return -ENOMEM;
	parser.arena = &parser.chains->arena;
	parser.root = root;
	read_document(&parser);
	rc = errs->count != before ? -EINVAL : parser.arena->failed ? -ENOMEM : 0;
	if (rc)
		chains_free(parser.chains);
	else
		*ret = parser.chains;
	return rc;
}

void chains_free(struct chains *chains)
{
	if (!chains)
		return;
	arena_fini(&chains->arena);
	free(chains);
}

/* ----------------------------------------------------------------- accessors */

const char *chains_app(const struct chains *chains)
{
	return chains->app;
}

uint64_t chains_epoch(const struct chains *chains)
{
	return (uint64_t)chains->epoch;
}

const struct chain_destination *chains_destinations(const struct chains *chains, size_t *ret_n)
{
	*ret_n = chains->n_destinations;
	return chains->destinations;
}

const char *chains_identity(const struct chains *chains)
{
	return chains->identity;
}

const char *chains_text(const struct chains *chains)
{
	return chains->text;
}

const struct chain_destination *chains_find(const struct chains *chains, struct mp_str host,
					    uint32_t port, size_t *ret_match)
{
	const struct chain_ref *ref = chain_index_find(chains, host, port);

	if (!ref)
		return NULL;
	*ret_match = ref->match;
	return &chains->destinations[ref->destination];
}

size_t chain_prefix_find(const struct chain_destination *destination, struct mp_str path)
{
	size_t i = 0;

	/* The last one is "", which covers every path. */
	while (i + 1 < destination->n_prefixes &&
	       !lane_path_covers(destination->prefixes[i], path))
		i++;
	return i;
}

struct mp_str chain_binding_prefix(const struct chain_binding *binding, struct mp_str prefix)
{
	struct mp_str best = MP_LIT("");

	for (size_t i = 0; i < binding->n_prefixes; i++) {
		struct mp_str own = binding->prefixes[i].name;

		if (own.len > best.len && lane_path_covers(own, prefix))
			best = own;
	}
	return best;
}
