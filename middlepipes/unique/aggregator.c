/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unique: a key is held by one holder at a time.  The core of address
 * translation and admissions.
 *
 * For the aggregator, through struct mp_aggregator; built in or as a `.so`.  The
 * state is a ledger of keys and their holders; README.md has the cells.
 */
#include <errno.h>

#include <middlepipe/aggregator.h>

#include "lib/flat.h"
#include "lib/ledger.h"
#include "lib/slice.h"

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

enum member { CLAIM, RELEASE, HOLDER, MAX_KEYS, MEMBERS };
#define DATA_MEMBERS MAX_KEYS /* the first ones are for everybody, the others for admins */

static const struct flat_want members[] = {
	[CLAIM] = {"claim", FLAT_TEXT, 1, TEXT_MAX},
	[RELEASE] = {"release", FLAT_TEXT, 1, TEXT_MAX},
	[HOLDER] = {"holder", FLAT_TEXT, 1, TEXT_MAX},
	[MAX_KEYS] = {"max_keys", FLAT_NUMBER, 1, KEYS_MAX},
};

/* ------------------------------------------------------------------------ cells */

/* Is it one of the cells that there are? */
static int check_shape(const struct flat_value *cell, bool admin, struct err *err)
{
	int n = cell[CLAIM].given + cell[RELEASE].given + cell[MAX_KEYS].given;
	bool needs_holder = cell[CLAIM].given || (cell[RELEASE].given && !admin);

	if (n != 1)
		return err_set(err, -EBADMSG, "wants one of claim, release%s",
			       admin ? " and max_keys" : "");
	if (needs_holder && !cell[HOLDER].given)
		return err_set(err, -EBADMSG, "wants a holder");
	if (cell[MAX_KEYS].given && cell[HOLDER].given)
		return err_set(err, -EBADMSG, "wants no holder with max_keys");
	return 0;
}

/* -------------------------------------------------------------------------- rules */

#define QUOTE_SIZE 64
#define QUOTE(text) slice_quote((char[QUOTE_SIZE]){0}, QUOTE_SIZE, (text))

static int claim(struct ledger *ledger, const struct flat_value *cell, struct err *err)
{
	struct mp_str key = cell[CLAIM].text, held = ledger_get(ledger, key);
	int r;

	if (held.ptr && slice_eq(held, cell[HOLDER].text))
		return 0;
	if (held.ptr)
		return err_set(err, -EPERM, "%s is held by %s", QUOTE(key), QUOTE(held));
	if (ledger->n_entries >= ledger->number[N_MAX_KEYS])
		return err_set(err, -EPERM, "full: %zu keys are held, max_keys is %llu",
			       ledger->n_entries, (unsigned long long)ledger->number[N_MAX_KEYS]);
	r = ledger_set(ledger, key, cell[HOLDER].text);
	return r != -ENOSPC ? r : err_set(err, -EPERM, "full: keys and holders take %zu bytes, "
					  "%u at most", ledger->size, MP_SNAPSHOT_MAX);
}

static int release(struct ledger *ledger, const struct flat_value *cell, struct err *err)
{
	struct mp_str key = cell[RELEASE].text, held = ledger_get(ledger, key);

	if (!held.ptr)
		return err_set(err, -EPERM, "%s is not held", QUOTE(key));
	if (cell[HOLDER].given && !slice_eq(held, cell[HOLDER].text))
		return err_set(err, -EPERM, "%s is held by %s, not by %s", QUOTE(key), QUOTE(held),
			       QUOTE(cell[HOLDER].text));
	return ledger_remove(ledger, key);
}

static int bound(struct ledger *ledger, const struct flat_value *cell, struct err *err)
{
	int64_t max_keys = cell[MAX_KEYS].number;

	if ((uint64_t)max_keys < ledger->n_entries)
		return err_set(err, -EPERM, "max_keys cannot be %lld, %zu keys are held",
			       (long long)max_keys, ledger->n_entries);
	ledger->number[N_MAX_KEYS] = (uint64_t)max_keys;
	return 0;
}

static int step(struct ledger *ledger, const struct mp_cell *cell, struct err *err)
{
	struct flat_value values[MEMBERS] = { 0 };
	char room[CONTENT_MAX];
	bool admin = cell->kind == MP_CELL_ADMIN;
	int r;

	if (cell->kind != MP_CELL_DATA && !admin)
		return 0; /* says nothing to us */
	r = flat_read(cell->content, members, admin ? MEMBERS : DATA_MEMBERS, values, room,
		      sizeof(room), err);
	if (!r)
		r = check_shape(values, admin, err);
	if (r)
		return r;
	return values[CLAIM].given ? claim(ledger, values, err) :
	       values[RELEASE].given ? release(ledger, values, err) : bound(ledger, values, err);
}

/* ---------------------------------------------------------------------- snapshots */

/* Text as a cell could have brought it. */
static bool text_ok(struct mp_str text)
{
	return text.len && text.len <= TEXT_MAX && flat_text_ok(text);
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
