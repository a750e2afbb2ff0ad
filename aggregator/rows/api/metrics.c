/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics in Prometheus' text format (version 0.0.4); see api.h. What they
 * mean to an operator is in docs/operator-guide.md, rules in docs/alerts.yaml.
 */
#include <inttypes.h>

#include "aggregator/rows/api/state.h"
#include "lib/clock.h"
#include "lib/slice.h"

#define ANSWER_MAX ((size_t)1 << 20)

static void family(struct buf *out, const char *name, const char *type, const char *help)
{
	(void)buf_printf(out, "# HELP middlepipe_rows_%s %s\n# TYPE middlepipe_rows_%s %s\n", name, help, name,
			 type);
}

static void metric(struct buf *out, const char *name, const char *type, const char *help, uint64_t value)
{
	family(out, name, type, help);
	(void)buf_printf(out, "middlepipe_rows_%s %" PRIu64 "\n", name, value);
}

/* Of a table of figures. */
struct line {
	const char *name, *type, *help;
	uint64_t value;
};

static void add_lines(struct buf *out, const struct line *lines, size_t n)
{
	for (size_t i = 0; i < n; i++)
		metric(out, lines[i].name, lines[i].type, lines[i].help, lines[i].value);
}

#define ADD_LINES(out, lines) add_lines(out, lines, sizeof(lines) / sizeof((lines)[0]))

static void add_puts(struct buf *out, const struct owner_counts *owner)
{
	static const struct { enum put_code code; const char *name; } outcomes[] = {
		{ PUT_COMMITTED, "committed" }, { PUT_REPEATED, "repeated" }, { PUT_NOT_THERE, "not_there" },
		{ PUT_REFUSED, "refused" }, { PUT_GONE, "gone" }, { PUT_PRECONDITION, "precondition" },
		{ PUT_TOO_LARGE, "too_large" }, { PUT_KEY_REUSED, "key_reused" },
		{ PUT_TOO_MANY, "too_many" }, { PUT_UNAVAILABLE, "unavailable" }, { PUT_UNKNOWN, "unknown" },
		{ PUT_FULL, "full" }, { PUT_ELSEWHERE, "elsewhere" },
	};

	family(out, "puts_total", "counter", "Puts answered, by outcome.");
	for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++)
		(void)buf_printf(out, "middlepipe_rows_puts_total{outcome=\"%s\"} %" PRIu64 "\n", outcomes[i].name,
				 owner->put[outcomes[i].code]);
	metric(out, "dry_runs_total", "counter", "Puts that were only judged.", owner->dry);
}

static void add_flights(struct buf *out, const struct owner_counts *owner)
{
	family(out, "flights_total", "counter", "Transactions of the owner, by how they ended.");
	(void)buf_printf(out, "middlepipe_rows_flights_total{outcome=\"committed\"} %" PRIu64 "\n"
			 "middlepipe_rows_flights_total{outcome=\"failed\"} %" PRIu64 "\n"
			 "middlepipe_rows_flights_total{outcome=\"refused\"} %" PRIu64 "\n"
			 "middlepipe_rows_flights_total{outcome=\"unknown\"} %" PRIu64 "\n", owner->committed,
			 owner->failed, owner->refused, owner->unknown);
}

/* ------------------------------------------------------------------ histograms */

/* Where a histogram is cut: values up to `upto`, told as `le`. */
struct cut {
	uint64_t upto;
	const char *le;
};

/* unit: in how many of the values' units a figure is told, for the sum. */
static void add_histogram(struct buf *out, const char *name, const char *help, const struct hist *h,
			  const struct cut *cuts, size_t n, double unit)
{
	family(out, name, "histogram", help);
	for (size_t i = 0; i < n; i++)
		(void)buf_printf(out, "middlepipe_rows_%s_bucket{le=\"%s\"} %" PRIu64 "\n", name, cuts[i].le,
				 hist_upto(h, cuts[i].upto));
	(void)buf_printf(out, "middlepipe_rows_%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, hist_count(h));
	(void)buf_printf(out, "middlepipe_rows_%s_sum %.9g\nmiddlepipe_rows_%s_count %" PRIu64 "\n", name,
			 hist_mean(h) * (double)hist_count(h) / unit, name, hist_count(h));
}

static void add_histograms(struct buf *out, const struct hist *time, const struct hist *cells)
{
	static const struct cut times[] = {
		{ 100 * NS_PER_US, "0.0001" }, { 250 * NS_PER_US, "0.00025" }, { 500 * NS_PER_US, "0.0005" },
		{ NS_PER_MS, "0.001" }, { 2500 * NS_PER_US, "0.0025" }, { 5 * NS_PER_MS, "0.005" },
		{ 10 * NS_PER_MS, "0.01" }, { 25 * NS_PER_MS, "0.025" }, { 50 * NS_PER_MS, "0.05" },
		{ 100 * NS_PER_MS, "0.1" }, { 250 * NS_PER_MS, "0.25" }, { 500 * NS_PER_MS, "0.5" },
		{ NS_PER_S, "1" }, { 2500 * NS_PER_MS, "2.5" }, { 5 * NS_PER_S, "5" },
	};
	static const struct cut sizes[] = {
		{ 1, "1" }, { 2, "2" }, { 5, "5" }, { 10, "10" }, { 20, "20" }, { 50, "50" }, { 100, "100" },
		{ 200, "200" }, { 500, "500" }, { 1000, "1000" }, { 2000, "2000" }, { 5000, "5000" },
	};

	add_histogram(out, "commit_seconds", "Transactions that committed, from sending to knowing.", time, times,
		      sizeof(times) / sizeof(times[0]), (double)NS_PER_S);
	add_histogram(out, "batch_cells", "Cells of a transaction that committed some.", cells, sizes,
		      sizeof(sizes) / sizeof(sizes[0]), 1);
}

/* ---------------------------------------------------------------------- groups */

/* Names of checks have no byte that would want escaping. */
static void add_refusals(struct buf *out, const struct owner_refusals *refusals)
{
	family(out, "check_refusals_total", "counter", "Puts that a row's check has refused.");
	for (size_t i = 0; refusals[i].check[0]; i++)
		(void)buf_printf(out, "middlepipe_rows_check_refusals_total{check=\"%s\"} %" PRIu64 "\n",
				 refusals[i].check, refusals[i].n);
}

static void add_limit(struct buf *out, const char *name, uint64_t n)
{
	(void)buf_printf(out, "middlepipe_rows_limits_reached_total{limit=\"%s\"} %" PRIu64 "\n", name, n);
}

static void add_limits(struct buf *out, const struct rows_http *http, const struct figures *f)
{
	family(out, "limits_reached_total", "counter", "Puts and connections turned away, by the limit.");
	for (size_t i = 0; i < LIMITS; i++)
		add_limit(out, limit_name((enum limit)i), f->owner.limit[i]);
	add_limit(out, "size", http->too_large);
	add_limit(out, "connections", f->http.over_total);
	add_limit(out, "connections_of_an_address", f->http.over_address);
}

static void add_owner(struct buf *out, const struct owner_counts *o)
{
	const struct line lines[] = {
		{ "cells_committed_total", "counter", "Cells committed by this member.", o->cells },
		{ "puts_waiting", "gauge", "Puts that wait, or are in flight.", o->waiting },
		{ "shards_owned", "gauge", "Shards that this member owns.", o->shards },
		{ "takeovers_total", "counter", "Shards taken.", o->takeovers },
		{ "takeovers_free_total", "counter", "Of them those that nobody owned: released, or new.", o->free },
		{ "shards_released_total", "counter", "Shards given up by itself.", o->released },
		{ "shards_lost_total", "counter", "Shards found with another owner.", o->lost },
		{ "flights_killed_total", "counter", "Transactions of unknown outcome, killed.", o->kills },
		{ "flights_found_total", "counter", "Of all transactions those found committed.", o->found },
	};

	add_puts(out, o);
	add_flights(out, o);
	ADD_LINES(out, lines);
}

static void add_copy(struct buf *out, const struct figures *f)
{
	const struct line lines[] = {
		{ "reads_total", "counter", "Linearizable reads answered.", f->reader.reads },
		{ "reads_failed_total", "counter", "Of them those that could not be told.", f->reader.failed },
		{ "read_transactions_total", "counter", "Transactions that served them.", f->reader.asked },
		{ "rows", "gauge", "Rows that exist.", f->rows },
		{ "bytes", "gauge", "Bytes of the batches held.", f->bytes },
		{ "rows_doubtful", "gauge", "Rows that are being read again.", f->doubtful },
		{ "rereads_total", "counter", "Rows read again.", f->copy.rereads },
		{ "watch_lost_total", "counter", "Rows of which a watch lost a change.", f->copy.lost },
		{ "unplaced_total", "counter", "Heads of rows for which this member has no place, or no memory.",
		  f->copy.unplaced },
		{ "damaged_total", "counter", "Heads and batches that could not be read.", f->copy.damaged },
		{ "engine_serving", "gauge", "1: the engine answers.", f->health.serving },
		{ "engine_full", "gauge", "1: the engine has no room.", f->health.full },
		{ "engine_read_only", "gauge", "1: the engine's disk takes no writes.", f->health.read_only },
		{ "engine_damaged", "gauge", "1: what was read is not what was written.", f->health.damaged },
		{ "engine_size_bytes", "gauge", "Size of etcd's fullest database; 0: not known.", f->size },
		{ "engine_in_use_bytes", "gauge", "Of them in use.", f->in_use },
		{ "engine_quota_bytes", "gauge", "That it may have.", f->quota },
		{ "follows", "gauge", "1: the copy is kept up to date.", f->follows },
	};

	ADD_LINES(out, lines);
}

static void add_clients(struct buf *out, const struct rows_http *http, const struct figures *f)
{
	struct rows_lag lag = rows_streams_lag(http);
	const struct line lines[] = {
		{ "subscriptions", "gauge", "Streams open.", f->http.streams },
		{ "subscriptions_opened_total", "counter", "Streams begun.", http->n_streams },
		{ "subscriptions_slow_total", "counter", "Streams ended because nobody read.", http->slow },
		{ "subscriptions_lag_bytes", "gauge", "Bytes that streams have not sent yet, of all.", lag.bytes },
		{ "subscriptions_lag_bytes_max", "gauge", "The same of the one most behind.", lag.bytes_max },
		{ "subscriptions_lag_cells_max", "gauge", "Cells of a row that a stream has not sent yet.",
		  lag.cells_max },
		{ "http_connections", "gauge", "Connections open.", f->http.connections },
		{ "http_requests_total", "counter", "Requests whose head was read.", f->http.requests },
		{ "http_refused_total", "counter", "Requests that are not proper HTTP.", f->http.refused },
		{ "misdirected_total", "counter", "Members' requests that were meant for another process.", f->http.misdirected + http->misdirected },
	};

	ADD_LINES(out, lines);
}

void rows_metrics(void *ctx, struct http_req *req)
{
	static const struct http_field text[] = { { "Content-Type", "text/plain; version=0.0.4; charset=utf-8" },
						  { NULL, NULL } };
	struct rows_http *http = ctx;
	const struct owner *owner;
	struct figures f;
	struct buf body;
	const char *why;

	if (!rows_may_look(req))
		return;
	rows_figures(http, &f);
	owner = group_owner(http->group);
	buf_init(&body, ANSWER_MAX);
	add_owner(&body, &f.owner);
	metric(&body, "chosen", "gauge", "1: shards go to this member; 0: it forwards puts to others.", f.chosen);
	if (owner) {
		add_histograms(&body, owner_commit_time(owner), owner_batch_cells(owner));
		add_refusals(&body, owner_refusals(owner));
	}
	add_limits(&body, http, &f);
	add_copy(&body, &f);
	metric(&body, "ready", "gauge", "1: it serves.", group_is_ready(http->group, &why));
	add_clients(&body, http, &f);
	http_answer_buf(req, 200, text, &body);
	buf_fini(&body);
}
