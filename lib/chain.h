/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chain file, read and checked whole: which middlepipes stand, in which
 * order, between an app and its destinations.
 *
 *   {"app":"shop","epoch":1,"destinations":[
 *     {"name":"payments","match":["127.0.0.1:9292","payments.internal"],
 *      "chain":[{"middlepipe":"guard","type":"breaker",
 *                "config":{"error_percent":50},"on_failure":"open"}]}]}
 *
 * Pure: no file, clock or filter code runs here.  The scheduler, the command
 * line and the fuzz target all call chains_parse(); its result never changes.
 */
#ifndef LIB_CHAIN_H
#define LIB_CHAIN_H

#include <stdbool.h>

#include <middlepipe/filter.h>

#include "lib/arena.h"
#include "lib/json.h"
#include "lib/lane_key.h"

/* Bounds of a chain file; each is named in the message when it is crossed. */
#define CHAIN_TEXT_MAX (1024 * 1024) /* bytes */
#define CHAIN_DEPTH_MAX 16           /* nesting */
#define CHAIN_DESTINATIONS_MAX 1024
#define CHAIN_MATCHES_MAX 64   /* a destination */
#define CHAIN_PREFIXES_MAX 64  /* path prefixes a destination, "" included */
#define CHAIN_NAME_MAX 64      /* bytes: [A-Za-z0-9][A-Za-z0-9._-]* */
#define CHAIN_EPOCH_MAX ((1ll << 53) - 1)

/* One middlepipe in a chain. */
struct chain_binding {
	const char *middlepipe;         /* its name; unique in the chain */
	const char *type;               /* the filter's name */
	const struct mp_filter *filter; /* from the lookup */
	const struct mp_value *values;  /* one per option of the filter, defaults filled in */
	size_t n_values;
	const char *config; /* its configuration as canonical JSON: equal texts, equal configurations */
	bool closed;        /* on_failure: closed */
	const struct mp_field *prefixes; /* its own path prefixes (in .name), "" not included */
	size_t n_prefixes;
};

/* One destination and its chain. */
struct chain_destination {
	const char *name;              /* unique in the file */
	const struct lane_key *matches; /* normalised; disjoint over the whole file */
	size_t n_matches;
	const struct chain_binding *bindings; /* in order of the request */
	size_t n_bindings;                    /* 0..MP_CHAIN_MAX; 0: counted, nothing done */
	const struct mp_str *prefixes; /* union over the bindings, longest first, "" last */
	size_t n_prefixes;             /* at least 1 */
};

struct chains; /* owns everything below; see the accessors */

/* Finds a filter by type; NULL when there is none.  `names` for suggestions, NULL-ended. */
struct chain_catalog {
	const struct mp_filter *(*find)(const struct chain_catalog *catalog, const char *type);
	const char *const *names;
};

/*
 * Reads and checks `text`.  Every mistake is added to errs with its JSON path,
 * the value and what is allowed.  Returns 0 and *ret, or -EINVAL (errs tells),
 * -E2BIG or -ENOMEM.
 */
int chains_parse(struct mp_str text, const struct chain_catalog *catalog, struct chains **ret,
		 struct json_errs *errs);
void chains_free(struct chains *chains);

const char *chains_app(const struct chains *chains);
uint64_t chains_epoch(const struct chains *chains);
const struct chain_destination *chains_destinations(const struct chains *chains, size_t *ret_n);

/* The whole file as canonical JSON, epoch left out: equal texts, identical chains. */
const char *chains_identity(const struct chains *chains);

/* The file as it was given, for GET /v1/chains. */
const char *chains_text(const struct chains *chains);

/* The destination that a call to host and port would meet, or NULL; *ret_match tells which match. */
const struct chain_destination *chains_find(const struct chains *chains, struct mp_str host,
					    uint32_t port, size_t *ret_match);

/* The longest prefix of a destination that covers path: an index, always found. */
size_t chain_prefix_find(const struct chain_destination *destination, struct mp_str path);

/* The longest prefix of one binding that covers a prefix of its destination; "" at the least. */
struct mp_str chain_binding_prefix(const struct chain_binding *binding, struct mp_str prefix);

/*
 * Reads a configuration by a table of options, as that of a filter is read:
 * one value an option, defaults filled in, out of the arena.  config->value
 * may be NULL: all defaults.  NULL: errs tells, or the arena has no memory.
 */
const struct mp_value *chain_option_values(const struct mp_option *options,
					   const struct json_at *config, struct arena *arena,
					   struct json_errs *errs);

#endif
