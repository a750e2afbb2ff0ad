/* SPDX-License-Identifier: Apache-2.0 */
/* How this member is: status, owners, health and metrics; see http.h. */
#include <inttypes.h>
#include <sys/statvfs.h>

#include "aggregator/rows/http.h"
#include "lib/clock.h"
#include "lib/json_text.h"
#include "lib/slice.h"

#define ANSWER_MAX ((size_t)1 << 20)

/* Everything that is counted, at one moment. */
struct figures {
	struct engine_health health;
	struct copy_counts copy;
	struct owner_counts owner;
	struct reader_counts reader;
	struct http_stats http;
	uint64_t rows, bytes; /* held; values of batches */
	uint64_t doubtful;    /* rows that are being read again */
	bool follows;
};

static void count_rows(const struct copy *copy, struct figures *ret)
{
	const struct map *rows = copy_rows(copy);

	for (struct map_entry *e = map_next(rows, NULL); e; e = map_next(rows, e)) {
		const struct row *row = map_entry_value(e);

		ret->rows += row_exists(row);
		ret->bytes += row->bytes;
		ret->doubtful += row->doubtful;
	}
}

static void collect(const struct rows_http *http, struct figures *ret)
{
	struct group *group = http->group;

	*ret = (struct figures){ 0 };
	group_engine(group)->ops->health(group_engine(group), &ret->health);
	http_server_stats(http->server, &ret->http);
	if (!group_copy(group))
		return;
	ret->follows = copy_follows(group_copy(group));
	copy_count(group_copy(group), &ret->copy);
	owner_count(group_owner(group), &ret->owner);
	reader_count(group_reader(group), &ret->reader);
	count_rows(group_copy(group), ret);
}

/* May the client see what is no row's?  False: answered. */
static bool may_look(struct http_req *req)
{
	if (http_may(req, RIGHT_READ, (struct mp_str){ 0 }))
		return true;
	http_deny(req);
	return false;
}

/* --------------------------------------------------------------------- health */

void rows_alive(void *ctx, struct http_req *req)
{
	(void)ctx;
	http_answer(req, 200, NULL, MP_LIT("alive\n"));
}

void rows_ready(void *ctx, struct http_req *req)
{
	struct rows_http *http = ctx;
	const char *why;

	if (group_is_ready(http->group, &why))
		http_answer(req, 200, NULL, MP_LIT("ready\n"));
	else
		http_answer_error(req, 503, "not_ready", "%s", why);
}

/* --------------------------------------------------------------------- owners */

static void add_owner(struct buf *out, const struct rows_http *http, uint32_t shard)
{
	struct owner_name name;

	(void)buf_printf(out, "%s{\"shard\":%" PRIu32, shard ? "," : "", shard);
	if (owner_text_read(copy_owner(group_copy(http->group), shard), &name))
		(void)buf_printf(out, ",\"member\":\"%s\",\"nonce\":\"%016" PRIx64 "\",\"here\":%s}", name.member,
				 name.nonce, owner_has(group_owner(http->group), shard) ? "true" : "false");
	else
		(void)buf_add_str(out, ",\"member\":null,\"here\":false}");
}

void rows_owners(void *ctx, struct http_req *req)
{
	struct rows_http *http = ctx;
	struct buf body;

	if (!may_look(req))
		return;
	if (!group_copy(http->group)) {
		http_answer_error(req, 503, "unavailable", "it has not read its rows yet");
		return;
	}
	buf_init(&body, ANSWER_MAX);
	(void)buf_add_str(&body, "{\"owners\":[");
	for (uint32_t i = 0; i < group_shards(http->group); i++)
		add_owner(&body, http, i);
	(void)buf_add_str(&body, "]}");
	rows_answer(req, 200, &body);
}

/* --------------------------------------------------------------------- status */

static void add_engine(struct buf *out, const struct rows_http *http, const struct figures *f)
{
	(void)buf_printf(out, "\"engine\":{\"name\":\"%s\",\"serving\":%s,\"full\":%s,\"read_only\":%s,\"damaged\":%s,"
			 "\"text\":", group_engine(http->group)->ops->name, f->health.serving ? "true" : "false",
			 f->health.full ? "true" : "false", f->health.read_only ? "true" : "false",
			 f->health.damaged ? "true" : "false");
	(void)json_text_add(out, slice_of(f->health.text));
	(void)buf_add_str(out, "},");
}

/* The room where the rows lie, or null. */
static void add_data(struct buf *out, const struct rows_http *http)
{
	struct statvfs fs;

	if (!http->data || statvfs(http->data, &fs) < 0) {
		(void)buf_add_str(out, "\"data\":null,");
		return;
	}
	(void)buf_add_str(out, "\"data\":{\"path\":");
	(void)json_text_add(out, slice_of(http->data));
	(void)buf_printf(out, ",\"size\":%" PRIu64 ",\"free\":%" PRIu64 "},", (uint64_t)fs.f_blocks * fs.f_frsize,
			 (uint64_t)fs.f_bavail * fs.f_frsize);
}

void rows_status(void *ctx, struct http_req *req)
{
	struct rows_http *http = ctx;
	struct figures f;
	struct buf body;
	const char *why;
	bool ready;

	if (!may_look(req))
		return;
	collect(http, &f);
	ready = group_is_ready(http->group, &why);
	buf_init(&body, ANSWER_MAX);
	(void)buf_printf(&body, "{\"member\":\"%s\",\"group\":\"%s\",\"ready\":%s,\"why\":", http->member,
			 group_uuid(http->group), ready ? "true" : "false");
	(void)json_text_add(&body, slice_of(why));
	(void)buf_printf(&body, ",\"uptime_ms\":%" PRIu64 ",\"now\":%" PRIu64 ",\"version\":\"" MIDDLEPIPE_VERSION "\",",
			 (group_now(http->group) - http->started_ns) / NS_PER_MS, clock_wall_now() / NS_PER_MS);
	add_data(&body, http);
	add_engine(&body, http, &f);
	(void)buf_printf(&body, "\"shards\":{\"all\":%" PRIu32 ",\"owned\":%" PRIu32 ",\"taken\":%" PRIu64
			 ",\"lost\":%" PRIu64 "},", group_shards(http->group), f.owner.shards, f.owner.takeovers,
			 f.owner.lost);
	(void)buf_printf(&body, "\"rows\":{\"count\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"doubtful\":%" PRIu64
			 ",\"reread\":%" PRIu64 ",\"lost_by_watch\":%" PRIu64 ",\"damaged\":%" PRIu64 "},", f.rows, f.bytes,
			 f.doubtful, f.copy.rereads, f.copy.lost, f.copy.damaged);
	(void)buf_printf(&body, "\"flights\":{\"sent\":%" PRIu64 ",\"committed\":%" PRIu64 ",\"failed\":%" PRIu64
			 ",\"refused\":%" PRIu64 ",\"unknown\":%" PRIu64 ",\"killed\":%" PRIu64 "},", f.owner.flights,
			 f.owner.committed, f.owner.failed, f.owner.refused, f.owner.unknown, f.owner.kills);
	(void)buf_printf(&body, "\"puts_waiting\":%" PRIu64 ",\"subscriptions\":%" PRIu64 ",\"connections\":%" PRIu64 "}",
			 f.owner.waiting, f.http.streams, f.http.connections);
	rows_answer(req, 200, &body);
}

/* -------------------------------------------------------------------- metrics */

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

static void add_puts(struct buf *out, const struct owner_counts *owner)
{
	static const struct { enum put_code code; const char *name; } outcomes[] = {
		{ PUT_COMMITTED, "committed" }, { PUT_REPEATED, "repeated" }, { PUT_NOT_THERE, "not_there" },
		{ PUT_REFUSED, "refused" }, { PUT_GONE, "gone" }, { PUT_PRECONDITION, "precondition" },
		{ PUT_TOO_LARGE, "too_large" }, { PUT_KEY_REUSED, "key_reused" },
		{ PUT_UNAVAILABLE, "unavailable" }, { PUT_UNKNOWN, "unknown" }, { PUT_FULL, "full" },
		{ PUT_ELSEWHERE, "elsewhere" },
	};

	family(out, "puts_total", "counter", "Puts answered, by outcome.");
	for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++)
		(void)buf_printf(out, "middlepipe_rows_puts_total{outcome=\"%s\"} %" PRIu64 "\n", outcomes[i].name,
				 owner->put[outcomes[i].code]);
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

void rows_metrics(void *ctx, struct http_req *req)
{
	static const struct http_field text[] = { { "Content-Type", "text/plain; version=0.0.4; charset=utf-8" },
						  { NULL, NULL } };
	struct rows_http *http = ctx;
	struct figures f;
	struct buf body;
	const char *why;

	if (!may_look(req))
		return;
	collect(http, &f);
	buf_init(&body, ANSWER_MAX);
	add_puts(&body, &f.owner);
	add_flights(&body, &f.owner);
	metric(&body, "cells_committed_total", "counter", "Cells committed by this member.", f.owner.cells);
	metric(&body, "puts_waiting", "gauge", "Puts that wait, or are in flight.", f.owner.waiting);
	metric(&body, "shards_owned", "gauge", "Shards that this member owns.", f.owner.shards);
	metric(&body, "takeovers_total", "counter", "Shards taken.", f.owner.takeovers);
	metric(&body, "shards_lost_total", "counter", "Shards found with another owner.", f.owner.lost);
	metric(&body, "flights_killed_total", "counter", "Transactions of unknown outcome, killed.", f.owner.kills);
	metric(&body, "flights_found_total", "counter", "Of them those found committed.", f.owner.found);
	metric(&body, "reads_total", "counter", "Linearizable reads answered.", f.reader.reads);
	metric(&body, "reads_failed_total", "counter", "Of them those that could not be told.", f.reader.failed);
	metric(&body, "read_transactions_total", "counter", "Transactions that served them.", f.reader.asked);
	metric(&body, "rows", "gauge", "Rows that exist.", f.rows);
	metric(&body, "bytes", "gauge", "Bytes of the batches held.", f.bytes);
	metric(&body, "rows_doubtful", "gauge", "Rows that are being read again.", f.doubtful);
	metric(&body, "rereads_total", "counter", "Rows read again.", f.copy.rereads);
	metric(&body, "watch_lost_total", "counter", "Rows of which a watch lost a change.", f.copy.lost);
	metric(&body, "damaged_total", "counter", "Heads and batches that could not be read.", f.copy.damaged);
	metric(&body, "engine_serving", "gauge", "1: the engine answers.", f.health.serving);
	metric(&body, "engine_full", "gauge", "1: the engine has no room.", f.health.full);
	metric(&body, "engine_damaged", "gauge", "1: what was read is not what was written.", f.health.damaged);
	metric(&body, "follows", "gauge", "1: the copy is kept up to date.", f.follows);
	metric(&body, "ready", "gauge", "1: it serves.", group_is_ready(http->group, &why));
	metric(&body, "subscriptions", "gauge", "Streams open.", f.http.streams);
	metric(&body, "subscriptions_slow_total", "counter", "Streams ended because nobody read.", http->slow);
	metric(&body, "http_connections", "gauge", "Connections open.", f.http.connections);
	metric(&body, "http_requests_total", "counter", "Requests whose head was read.", f.http.requests);
	metric(&body, "http_refused_total", "counter", "Requests that are not proper HTTP.", f.http.refused);
	metric(&body, "http_limited_total", "counter", "Connections closed because there were too many.",
	       f.http.over_total + f.http.over_address);
	http_answer_buf(req, 200, text, &body);
	buf_fini(&body);
}
