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
#include <stdlib.h>
#include <string.h>

#include <middlepipe/aggregator.h>

#include "lib/json.h"
#include "lib/ledger.h"

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

/* What can be done with a name; in the order of `deeds`. */
enum deed { TAKE, GIVE, SET, DEEDS };
static const char *const deeds[] = {"take", "give", "set"};

/* What a cell asks for; borrowed from its document. */
struct demand {
	const char *name;  /* whose amount; NULL: none, it is of the bounds */
	enum deed deed;    /* with a name */
	int64_t amount;    /* likewise */
	int64_t total;     /* -1: not asked for */
	int64_t max_names; /* likewise */
};

/* ------------------------------------------------------------------------ cells */

static void read_name(const struct json_at *at, struct demand *ret, struct json_errs *errs)
{
	struct json_at member = json_at_member(at, "name");
	size_t size;

	if (json_get_str(at, "name", JSON_REQUIRED, &ret->name, errs))
		return;
	size = strlen(ret->name);
	if (!size || size > NAME_MAX_SIZE)
		(void)json_errs_add(errs, &member, "wants 1 to %d bytes, not %zu", NAME_MAX_SIZE,
				    size);
}

/* {"name":N, and one of the deeds} */
static void read_deed(const struct json_at *at, struct demand *ret, struct json_errs *errs)
{
	int n = 0;

	(void)json_only(at, errs, "name", deeds[TAKE], deeds[GIVE], deeds[SET], NULL);
	read_name(at, ret, errs);
	for (int i = 0; i < DEEDS; i++) {
		if (!json_at_member(at, deeds[i]).value)
			continue;
		ret->deed = (enum deed)i;
		n++;
		(void)json_get_int(at, deeds[i], JSON_REQUIRED, i == SET ? 0 : 1, AMOUNT_MAX,
				   &ret->amount, errs);
	}
	if (n != 1)
		(void)json_errs_add(errs, at, "wants one of take, give and set");
}

/* {"total":T}, {"max_names":M}, or both */
static void read_bounds(const struct json_at *at, struct demand *ret, struct json_errs *errs)
{
	(void)json_only(at, errs, "total", "max_names", NULL);
	(void)json_get_int(at, "total", JSON_OPTIONAL, 1, AMOUNT_MAX, &ret->total, errs);
	(void)json_get_int(at, "max_names", JSON_OPTIONAL, 1, NAMES_MAX, &ret->max_names, errs);
}

static void read_demand(const struct json_at *at, struct demand *ret, struct json_errs *errs)
{
	bool bounds = json_at_member(at, "total").value || json_at_member(at, "max_names").value;

	if (json_want(at, JSON_OBJECT, errs))
		return;
	(bounds ? read_bounds : read_deed)(at, ret, errs);
}

/* 0 and a document to be dropped; -EBADMSG and why; -ENOMEM. */
static int read_cell(struct mp_str content, json_t **document, struct demand *ret, struct err *err)
{
	struct json_errs errs;
	struct json_at at;
	int r = json_load_text(content, CONTENT_MAX, 1, document, err);

	if (r)
		return r == -ENOMEM ? r : -EBADMSG;
	*ret = (struct demand){ .total = -1, .max_names = -1 };
	json_errs_init(&errs, 1);
	at = json_at_root(*document);
	read_demand(&at, ret, &errs);
	r = json_errs_result(&errs, err) ? -EBADMSG : 0;
	json_errs_fini(&errs);
	return r;
}

/* -------------------------------------------------------------------------- rules */

#define QUOTE_SIZE 64
#define QUOTE(text) slice_quote((char[QUOTE_SIZE]){0}, QUOTE_SIZE, slice_of(text))

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

static int change(struct ledger *ledger, const struct demand *demand, struct err *err)
{
	struct mp_str name = slice_of(demand->name);
	uint64_t had = amount_read(ledger_get(ledger, name));
	uint64_t amount = (uint64_t)demand->amount;
	uint64_t left = ledger->number[N_TOTAL] - ledger->number[N_TAKEN];

	if (demand->deed == GIVE && amount > had)
		return err_set(err, -EPERM, "%s has %" PRIu64 " and cannot give %" PRIu64,
			       QUOTE(demand->name), had, amount);
	if (demand->deed == GIVE)
		amount = had - amount;
	else if (demand->deed == TAKE)
		amount += had;
	if (amount > had && amount - had > left)
		return err_set(err, -EPERM, "%s wants %" PRIu64 " more, %" PRIu64 " of %" PRIu64
			       " are left", QUOTE(demand->name), amount - had, left,
			       ledger->number[N_TOTAL]);
	return put_amount(ledger, name, had, amount, err);
}

/* The first total is its row's maker's; later it is for admins, as is max_names. */
static int rebound(struct ledger *ledger, const struct demand *demand, bool admin, struct err *err)
{
	uint64_t total = ledger->number[N_TOTAL], max_names = ledger->number[N_MAX_NAMES];

	if (!admin && (total || demand->max_names >= 0))
		return err_set(err, -EPERM, "the total is %" PRIu64
			       ", to change it or max_names wants admin rights", total);
	if (demand->total >= 0)
		total = (uint64_t)demand->total;
	if (demand->max_names >= 0)
		max_names = (uint64_t)demand->max_names;
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
	CLEANUP_JSON json_t *document = NULL;
	struct demand demand;
	int r;

	if (cell->kind != MP_CELL_DATA && cell->kind != MP_CELL_ADMIN)
		return 0; /* says nothing to us */
	r = read_cell(cell->content, &document, &demand, err);
	if (r)
		return r;
	return demand.name ? change(ledger, &demand, err) :
			     rebound(ledger, &demand, cell->kind == MP_CELL_ADMIN, err);
}

/* ---------------------------------------------------------------------- snapshots */

static int entry_ok(struct ledger *ledger, struct mp_str key, struct mp_str value, struct err *err)
{
	CLEANUP_JSON json_t *name = json_stringn(key.ptr, key.len);
	uint64_t amount = amount_read(value);
	bool good = name && key.len <= NAME_MAX_SIZE && !memchr(key.ptr, 0, key.len) && amount &&
		    amount <= AMOUNT_MAX;

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

static int32_t put_difference(const struct demand *demand, uint64_t had, const struct mp_cell *cell,
			      struct mp_cell_sink *sink)
{
	bool more = (uint64_t)demand->amount > had;
	json_int_t amount = (json_int_t)(more ? (uint64_t)demand->amount - had :
						had - (uint64_t)demand->amount);
	CLEANUP_JSON json_t *document = json_pack("{s:s, s:I}", "name", demand->name,
						  deeds[more ? TAKE : GIVE], amount);
	char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;
	struct mp_cell made = *cell;
	int32_t r;

	made.content = slice_of(text);
	r = text ? sink->put(sink, &made) : -ENOMEM;
	free(text);
	return r;
}

/*
 * The main row went on beside the fork: what the fork set comes home as what that took or
 * gave, else it would undo what the main row did meanwhile.
 */
static int32_t merge(void *self, void *fork, const struct mp_cell *cell, struct mp_cell_sink *sink)
{
	CLEANUP_JSON json_t *document = NULL;
	struct demand demand;
	uint64_t had;
	int r = -EBADMSG;

	(void)self; /* what the main row has does not matter */
	if (fork && (cell->kind == MP_CELL_DATA || cell->kind == MP_CELL_ADMIN))
		r = read_cell(cell->content, &document, &demand, NULL);
	if (r == -ENOMEM)
		return r;
	if (r || !demand.name || demand.deed != SET)
		return sink->put(sink, cell);
	ledger_settle(fork);
	had = amount_read(ledger_get(fork, slice_of(demand.name)));
	return (uint64_t)demand.amount == had ? 0 : put_difference(&demand, had, cell, sink);
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
