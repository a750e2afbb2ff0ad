/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unique: a key is held by one holder at a time.  The core of address
 * translation and admissions.
 *
 * For the aggregator, through struct mp_aggregator; built in or as a `.so`.  The
 * state is a ledger of keys and their holders; README.md has the cells.
 */
#include <errno.h>
#include <string.h>

#include <middlepipe/aggregator.h>

#include "lib/json.h"
#include "lib/ledger.h"

#define TEXT_MAX 256     /* bytes of a key, and of a holder */
#define CONTENT_MAX 4096 /* bytes of a cell: both of them escaped */
#define KEYS_MAX 1000000

enum option { O_MAX_KEYS, O_COUNT };

static const struct mp_option unique_options[] = {
	[O_MAX_KEYS] = {"max_keys", MP_OPTION_INT, 0, "65536", 1, KEYS_MAX, NULL,
		"Keys that may be held at a time; further claims are refused.", NULL},
	[O_COUNT] = {0},
};

enum number { N_MAX_KEYS, N_STORED };

/* What a cell asks for; borrowed from its document. */
struct demand {
	const char *claim;   /* key, or NULL */
	const char *release; /* likewise; one of three */
	const char *holder;  /* NULL: any, for admins only */
	int64_t max_keys;    /* 0: not asked for */
};

/* ------------------------------------------------------------------------ cells */

static void want_text(const struct json_at *at, const char *key, const char **ret,
		      struct json_errs *errs)
{
	struct json_at member = json_at_member(at, key);
	size_t size;

	if (json_get_str(at, key, JSON_OPTIONAL, ret, errs) || !*ret)
		return;
	size = strlen(*ret);
	if (!size || size > TEXT_MAX)
		(void)json_errs_add(errs, &member, "wants 1 to %d bytes, not %zu", TEXT_MAX, size);
}

/* Is it one of the cells that there are? */
static void want_shape(const struct json_at *at, const struct demand *demand, bool admin,
		       struct json_errs *errs)
{
	int n = !!demand->claim + !!demand->release + !!demand->max_keys;
	bool needs_holder = demand->claim || (demand->release && !admin);

	if (n != 1)
		(void)json_errs_add(errs, at, "wants one of claim, release%s",
				    admin ? " and max_keys" : "");
	else if (needs_holder && !demand->holder)
		(void)json_errs_add(errs, at, "wants a holder");
	else if (demand->max_keys && demand->holder)
		(void)json_errs_add(errs, at, "wants no holder with max_keys");
}

static void read_demand(const struct json_at *at, bool admin, struct demand *ret,
			struct json_errs *errs)
{
	(void)json_only(at, errs, "claim", "release", "holder", admin ? "max_keys" : NULL, NULL);
	want_text(at, "claim", &ret->claim, errs);
	want_text(at, "release", &ret->release, errs);
	want_text(at, "holder", &ret->holder, errs);
	if (admin)
		(void)json_get_int(at, "max_keys", JSON_OPTIONAL, 1, KEYS_MAX, &ret->max_keys,
				   errs);
	if (!errs->count)
		want_shape(at, ret, admin, errs);
}

/* -------------------------------------------------------------------------- rules */

#define QUOTE_SIZE 64
#define QUOTE(text) slice_quote((char[QUOTE_SIZE]){0}, QUOTE_SIZE, slice_of(text))

static int claim(struct ledger *ledger, const struct demand *demand, struct err *err)
{
	struct mp_str held = ledger_get(ledger, slice_of(demand->claim));
	char holder[QUOTE_SIZE];
	int r;

	if (held.ptr && slice_eq(held, slice_of(demand->holder)))
		return 0;
	if (held.ptr)
		return err_set(err, -EPERM, "%s is held by %s", QUOTE(demand->claim),
			       slice_quote(holder, sizeof(holder), held));
	if (ledger->n_entries >= ledger->number[N_MAX_KEYS])
		return err_set(err, -EPERM, "full: %zu keys are held, max_keys is %llu",
			       ledger->n_entries, (unsigned long long)ledger->number[N_MAX_KEYS]);
	r = ledger_set(ledger, slice_of(demand->claim), slice_of(demand->holder));
	return r != -ENOSPC ? r : err_set(err, -EPERM, "full: keys and holders take %zu bytes, "
					  "%u at most", ledger->size, MP_SNAPSHOT_MAX);
}

static int release(struct ledger *ledger, const struct demand *demand, struct err *err)
{
	struct mp_str held = ledger_get(ledger, slice_of(demand->release));
	char holder[QUOTE_SIZE];

	if (!held.ptr)
		return err_set(err, -EPERM, "%s is not held", QUOTE(demand->release));
	if (demand->holder && !slice_eq(held, slice_of(demand->holder)))
		return err_set(err, -EPERM, "%s is held by %s, not by %s", QUOTE(demand->release),
			       slice_quote(holder, sizeof(holder), held), QUOTE(demand->holder));
	return ledger_remove(ledger, slice_of(demand->release));
}

static int bound(struct ledger *ledger, const struct demand *demand, struct err *err)
{
	if ((uint64_t)demand->max_keys < ledger->n_entries)
		return err_set(err, -EPERM, "max_keys cannot be %lld, %zu keys are held",
			       (long long)demand->max_keys, ledger->n_entries);
	ledger->number[N_MAX_KEYS] = (uint64_t)demand->max_keys;
	return 0;
}

static int step(struct ledger *ledger, const struct mp_cell *cell, struct err *err)
{
	CLEANUP_JSON json_t *document = NULL;
	struct demand demand = { 0 };
	struct json_errs errs;
	struct json_at at;
	int r;

	if (cell->kind != MP_CELL_DATA && cell->kind != MP_CELL_ADMIN)
		return 0; /* says nothing to us */
	r = json_load_text(cell->content, CONTENT_MAX, 1, &document, err);
	if (r)
		return r == -ENOMEM ? r : -EBADMSG;
	json_errs_init(&errs, 1);
	at = json_at_root(document);
	if (!json_want(&at, JSON_OBJECT, &errs))
		read_demand(&at, cell->kind == MP_CELL_ADMIN, &demand, &errs);
	r = json_errs_result(&errs, err) ? -EBADMSG : 0;
	json_errs_fini(&errs);
	if (r)
		return r;
	return demand.claim ? claim(ledger, &demand, err) :
	       demand.release ? release(ledger, &demand, err) : bound(ledger, &demand, err);
}

/* ---------------------------------------------------------------------- snapshots */

/* Text as a cell could have brought it. */
static bool text_ok(struct mp_str text)
{
	CLEANUP_JSON json_t *string = text.len ? json_stringn(text.ptr, text.len) : NULL;

	return string && text.len <= TEXT_MAX && !memchr(text.ptr, 0, text.len);
}

static int entry_ok(struct ledger *ledger, struct mp_str key, struct mp_str value, struct err *err)
{
	(void)ledger; /* nothing is worked out */
	if (text_ok(key) && text_ok(value))
		return 0;
	return err_set(err, -EINVAL, "a snapshot with a key or holder that cannot be");
}

static int all_ok(const struct ledger *ledger, struct err *err)
{
	uint64_t max = ledger->number[N_MAX_KEYS];

	if (max && max <= KEYS_MAX && ledger->n_entries <= max)
		return 0;
	return err_set(err, -EINVAL, "a snapshot of %zu keys with max_keys %llu", ledger->n_entries,
		       (unsigned long long)max);
}

static const struct ledger_rules unique_rules = {
	.tag = {'u', 'n', 'i', 'q'},
	.n_stored = N_STORED,
	.step = step,
	.entry_ok = entry_ok,
	.all_ok = all_ok,
};

/* -------------------------------------------------------------------------- table */

static int32_t init(const struct mp_aggregator_host *host, struct mp_instance *instance,
		    const struct mp_value *values, void **ret_self, char *error, size_t error_size)
{
	struct ledger *ledger = ledger_new(&unique_rules);

	(void)host, (void)instance;     /* nothing to log */
	(void)error, (void)error_size; /* the table says all that is wrong */
	*ret_self = ledger;
	if (!ledger)
		return -ENOMEM;
	ledger->number[N_MAX_KEYS] = (uint64_t)values[O_MAX_KEYS].integer;
	return 0;
}

static void status(void *self, struct mp_writer *writer)
{
	struct ledger *ledger = self;

	ledger_settle(ledger);
	writer->number(writer, "keys", (double)ledger->n_entries);
	writer->number(writer, "max_keys", (double)ledger->number[N_MAX_KEYS]);
	writer->number(writer, "refused", (double)ledger->n_refused);
	writer->number(writer, "unreadable", (double)ledger->n_unreadable);
}

MP_AGGREGATOR(unique) = {
	MP_AGGREGATOR_HEAD,
	.name = "unique",
	.summary = "a key is held by one holder at a time: addresses, ports, admissions",
	.rules = 1,
	.options = unique_options,
	.init = init,
	.fini = ledger_free,
	.apply = ledger_apply,
	.check = ledger_check,
	.snapshot = ledger_snapshot,
	.restore = ledger_restore,
	.status = status,
};
