/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sum: what names have taken never exceeds a total.  The core of bandwidth.
 *
 * For the aggregator, through struct mp_aggregator; built in or as a `.so`.  The
 * state is a ledger of names and their amounts; a name that has nothing is not
 * in it.  README.md has the cells.
 */
#include <errno.h>
#include <inttypes.h>

#include <middlepipe/aggregator.h>

#include "lib/flat.h"
#include "lib/ledger.h"
#include "lib/slice.h"

#define NAME_MAX_SIZE 256  /* bytes of a name */
#define CONTENT_MAX 4096   /* bytes of a cell: the name escaped */
#define NAMES_MAX 1000000
#define AMOUNT_MAX INT64_C(9007199254740991) /* exact in everybody's JSON; two of them fit */

enum option { O_TOTAL, O_MAX_NAMES, O_COUNT };

static const struct mp_option sum_options[] = {
	[O_TOTAL] = {"total", MP_OPTION_INT, 0, "0", 0, AMOUNT_MAX, NULL,
		"What all names together may have; 0: the row's first total cell says it.", NULL},
	[O_MAX_NAMES] = {"max_names", MP_OPTION_INT, 0, "65536", 1, NAMES_MAX, NULL,
		"Names that may have something at a time; further ones are refused.", NULL},
	[O_COUNT] = {0},
};

enum number { N_TOTAL, N_MAX_NAMES, N_STORED, N_TAKEN = N_STORED };

enum member { TAKE, GIVE, SET, NAME, TOTAL, MAX_NAMES, MEMBERS };

static const struct flat_want members[] = {
	[TAKE] = {"take", FLAT_NUMBER, 1, AMOUNT_MAX},
	[GIVE] = {"give", FLAT_NUMBER, 1, AMOUNT_MAX},
	[SET] = {"set", FLAT_NUMBER, 0, AMOUNT_MAX},
	[NAME] = {"name", FLAT_TEXT, 1, NAME_MAX_SIZE},
	[TOTAL] = {"total", FLAT_NUMBER, 1, AMOUNT_MAX},
	[MAX_NAMES] = {"max_names", FLAT_NUMBER, 1, NAMES_MAX},
};

/* A cell that was read. */
struct demand {
	struct flat_value values[MEMBERS]; /* of bounds, or of a name and one deed */
	char room[CONTENT_MAX];            /* for the name */
};

/* ------------------------------------------------------------------------ cells */

/* 0; -EBADMSG and why. */
static int read_cell(struct mp_str content, struct demand *ret, struct err *err)
{
	const struct flat_value *v = ret->values;
	int r = flat_read(content, members, MEMBERS, ret->values, ret->room, sizeof(ret->room), err);
	int n_deeds = v[TAKE].given + v[GIVE].given + v[SET].given;
	bool is_bounds = v[TOTAL].given || v[MAX_NAMES].given;

	if (r)
		return r;
	if (is_bounds && (n_deeds || v[NAME].given))
		return err_set(err, -EBADMSG, "wants nothing else with total and max_names");
	if (!is_bounds && n_deeds != 1)
		return err_set(err, -EBADMSG, "wants one of take, give and set");
	if (!is_bounds && !v[NAME].given)
		return err_set(err, -EBADMSG, "wants a name");
	return 0;
}

/* -------------------------------------------------------------------------- rules */

#define QUOTE_SIZE 64
#define QUOTE(text) slice_quote((char[QUOTE_SIZE]){0}, QUOTE_SIZE, (text))

/* Amounts in the ledger are 8 bytes, little-endian. */
static struct mp_str amount_write(unsigned char bytes[8], uint64_t amount)
{
	for (unsigned i = 0; i < 8; i++)
		bytes[i] = (unsigned char)(amount >> (8 * i));
	return slice_make(bytes, 8);
}

static uint64_t amount_read(struct mp_str bytes)
{
	uint64_t amount = 0;

	for (unsigned i = 0; i < 8 && bytes.len == 8; i++)
		amount |= (uint64_t)(unsigned char)bytes.ptr[i] << (8 * i);
	return amount;
}

/* Gives the name another amount, which fits below the total. */
static int put_amount(struct ledger *ledger, struct mp_str name, uint64_t had, uint64_t amount,
		      struct err *err)
{
	unsigned char bytes[8];
	int r;

	if (!had && amount && ledger->n_entries >= ledger->number[N_MAX_NAMES])
		return err_set(err, -EPERM, "full: %zu names have something, max_names is %" PRIu64,
			       ledger->n_entries, ledger->number[N_MAX_NAMES]);
	r = amount ? ledger_set(ledger, name, amount_write(bytes, amount)) :
		     ledger_remove(ledger, name);
	if (r == -ENOSPC)
		return err_set(err, -EPERM, "full: names take %zu bytes, %u at most", ledger->size,
			       MP_SNAPSHOT_MAX);
	if (!r)
		ledger->number[N_TAKEN] += amount - had;
	return r;
}

static int change(struct ledger *ledger, const struct flat_value *cell, struct err *err)
{
	struct mp_str name = cell[NAME].text;
	uint64_t had = amount_read(ledger_get(ledger, name)), amount = (uint64_t)cell[SET].number;
	uint64_t left = ledger->number[N_TOTAL] - ledger->number[N_TAKEN];

	if (cell[GIVE].given && (uint64_t)cell[GIVE].number > had)
		return err_set(err, -EPERM, "%s has %" PRIu64 " and cannot give %" PRId64,
			       QUOTE(name), had, cell[GIVE].number);
	if (cell[GIVE].given)
		amount = had - (uint64_t)cell[GIVE].number;
	else if (cell[TAKE].given)
		amount = had + (uint64_t)cell[TAKE].number;
	if (amount > had && amount - had > left)
		return err_set(err, -EPERM, "%s wants %" PRIu64 " more, %" PRIu64 " of %" PRIu64
			       " are left", QUOTE(name), amount - had, left,
			       ledger->number[N_TOTAL]);
	return put_amount(ledger, name, had, amount, err);
}

/* The first total is its row's maker's; later it is for admins, as is max_names. */
static int rebound(struct ledger *ledger, const struct flat_value *cell, bool admin, struct err *err)
{
	uint64_t total = ledger->number[N_TOTAL], max_names = ledger->number[N_MAX_NAMES];

	if (!admin && (total || cell[MAX_NAMES].given))
		return err_set(err, -EPERM, "the total is %" PRIu64
			       ", to change it or max_names wants admin rights", total);
	if (cell[TOTAL].given)
		total = (uint64_t)cell[TOTAL].number;
	if (cell[MAX_NAMES].given)
		max_names = (uint64_t)cell[MAX_NAMES].number;
	if (total < ledger->number[N_TAKEN])
		return err_set(err, -EPERM, "the total cannot be %" PRIu64 ", %" PRIu64 " are taken",
			       total, ledger->number[N_TAKEN]);
	if (max_names < ledger->n_entries)
		return err_set(err, -EPERM, "max_names cannot be %" PRIu64 ", %zu have something",
			       max_names, ledger->n_entries);
	ledger->number[N_TOTAL] = total;
	ledger->number[N_MAX_NAMES] = max_names;
	return 0;
}

static int step(struct ledger *ledger, const struct mp_cell *cell, struct err *err)
{
	struct demand demand;
	int r;

	if (cell->kind != MP_CELL_DATA && cell->kind != MP_CELL_ADMIN)
		return 0; /* says nothing to us */
	r = read_cell(cell->content, &demand, err);
	if (r)
		return r;
	return demand.values[NAME].given ?
		       change(ledger, demand.values, err) :
		       rebound(ledger, demand.values, cell->kind == MP_CELL_ADMIN, err);
}

/* ---------------------------------------------------------------------- snapshots */

static int entry_ok(struct ledger *ledger, struct mp_str key, struct mp_str value, struct err *err)
{
	uint64_t amount = amount_read(value);
	bool good = key.len <= NAME_MAX_SIZE && flat_text_ok(key) && amount && amount <= AMOUNT_MAX;

	if (!good || ledger->number[N_TAKEN] + amount > AMOUNT_MAX)
		return err_set(err, -EINVAL, "a snapshot with a name or amount that cannot be");
	ledger->number[N_TAKEN] += amount;
	return 0;
}

static int all_ok(const struct ledger *ledger, struct err *err)
{
	uint64_t total = ledger->number[N_TOTAL], max = ledger->number[N_MAX_NAMES];

	if (total <= AMOUNT_MAX && ledger->number[N_TAKEN] <= total && max && max <= NAMES_MAX &&
	    ledger->n_entries <= max)
		return 0;
	return err_set(err, -EINVAL, "a snapshot of %zu names with %" PRIu64 " of %" PRIu64
		       " and max_names %" PRIu64, ledger->n_entries, ledger->number[N_TAKEN], total,
		       max);
}

static const struct ledger_rules sum_rules = {
	.tag = {'s', 'u', 'm', ' '},
	.n_stored = N_STORED,
	.step = step,
	.entry_ok = entry_ok,
	.all_ok = all_ok,
};

/* -------------------------------------------------------------------------- merge */

static int32_t put_difference(struct mp_str name, uint64_t had, uint64_t amount,
			      const struct mp_cell *cell, struct mp_cell_sink *sink)
{
	bool more = amount > had;
	struct mp_cell made = *cell;
	struct buf text;
	int32_t r;

	buf_init(&text, CONTENT_MAX);
	buf_add_str(&text, "{\"name\":");
	flat_quote(&text, name);
	r = buf_printf(&text, ",\"%s\":%" PRIu64 "}", members[more ? TAKE : GIVE].name,
		       more ? amount - had : had - amount);
	made.content = buf_slice(&text);
	if (!r)
		r = sink->put(sink, &made);
	buf_fini(&text);
	return r;
}

/*
 * The main row went on beside the fork: what the fork set comes home as what that took or
 * gave, else it would undo what the main row did meanwhile.
 */
static int32_t merge(void *self, void *fork, const struct mp_cell *cell, struct mp_cell_sink *sink)
{
	struct demand demand;
	struct mp_str name;
	uint64_t had, amount;

	(void)self; /* what the main row has does not matter */
	if (!fork || (cell->kind != MP_CELL_DATA && cell->kind != MP_CELL_ADMIN) ||
	    read_cell(cell->content, &demand, NULL) || !demand.values[SET].given)
		return sink->put(sink, cell);
	name = demand.values[NAME].text;
	amount = (uint64_t)demand.values[SET].number;
	ledger_settle(fork);
	had = amount_read(ledger_get(fork, name));
	return amount == had ? 0 : put_difference(name, had, amount, cell, sink);
}

/* -------------------------------------------------------------------------- table */

static int32_t init(const struct mp_aggregator_host *host, struct mp_instance *instance,
		    const struct mp_value *values, void **ret_self, char *error, size_t error_size)
{
	struct ledger *ledger = ledger_new(&sum_rules);

	(void)host, (void)instance;     /* nothing to log */
	(void)error, (void)error_size; /* the table says all that is wrong */
	*ret_self = ledger;
	if (!ledger)
		return -ENOMEM;
	ledger->number[N_TOTAL] = (uint64_t)values[O_TOTAL].integer;
	ledger->number[N_MAX_NAMES] = (uint64_t)values[O_MAX_NAMES].integer;
	return 0;
}

static void status(void *self, struct mp_writer *writer)
{
	struct ledger *ledger = self;

	ledger_settle(ledger);
	writer->number(writer, "taken", (double)ledger->number[N_TAKEN]);
	writer->number(writer, "total", (double)ledger->number[N_TOTAL]);
	writer->number(writer, "names", (double)ledger->n_entries);
	writer->number(writer, "max_names", (double)ledger->number[N_MAX_NAMES]);
	writer->number(writer, "refused", (double)ledger->n_refused);
	writer->number(writer, "unreadable", (double)ledger->n_unreadable);
}

MP_AGGREGATOR(sum) = {
	MP_AGGREGATOR_HEAD,
	.name = "sum",
	.summary = "what names have taken never exceeds a total: bandwidth, quotas",
	.rules = 1,
	.options = sum_options,
	.init = init,
	.fini = ledger_free,
	.apply = ledger_apply,
	.check = ledger_check,
	.snapshot = ledger_snapshot,
	.restore = ledger_restore,
	.merge = merge,
	.status = status,
};
