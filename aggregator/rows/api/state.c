/* SPDX-License-Identifier: Apache-2.0 */
/* How this member is: status, owners and health; see api.h and, for metrics, metrics.c. */
#include <inttypes.h>
#include <stdio.h>
#include <sys/statvfs.h>

#include "aggregator/etcd/room.h"
#include "aggregator/rows/api/state.h"
#include "lib/clock.h"
#include "lib/json_text.h"
#include "lib/slice.h"

#define ANSWER_MAX ((size_t)1 << 20)

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

/* An etcd that is too full for cells is full, whatever else it can. */
static void look_for_room(const struct etcd_room_state *room, struct figures *ret)
{
	if (!room->known)
		return;
	ret->size = room->sizes.size;
	ret->in_use = room->sizes.in_use;
	ret->quota = room->quota;
	ret->health.full |= !room->left;
	if (!room->left && !ret->health.text[0])
		(void)snprintf(ret->health.text, sizeof(ret->health.text), "%s", room->text);
}

void rows_figures(const struct rows_http *http, struct figures *ret)
{
	struct group *group = http->group;

	*ret = (struct figures){ 0 };
	group_engine(group)->ops->health(group_engine(group), &ret->health);
	if (http->room)
		look_for_room(etcd_room_state(http->room), ret);
	http_server_stats(http->server, &ret->http);
	if (!group_copy(group))
		return;
	ret->follows = copy_follows(group_copy(group));
	ret->chosen = !group_members(group) || members_is_chosen(group_members(group));
	copy_count(group_copy(group), &ret->copy);
	owner_count(group_owner(group), &ret->owner);
	reader_count(group_reader(group), &ret->reader);
	count_rows(group_copy(group), ret);
}

bool rows_may_look(struct http_req *req)
{
	if (!rows_query_only(req, ""))
		return false;
	if (http_may(req, RIGHT_READ, (struct mp_str){ 0 }))
		return true;
	http_deny(req);
	return false;
}

bool rows_may_somewhere(struct http_req *req, enum http_right right)
{
	if (http_may_somewhere(req, right))
		return true;
	http_deny(req);
	return false;
}

/* --------------------------------------------------------------------- health */

static const struct http_field plain[] = { { "Content-Type", "text/plain; charset=utf-8" }, { NULL, NULL } };

void rows_alive(void *ctx, struct http_req *req)
{
	struct rows_http *http = ctx;
	const struct http_field named[] = { plain[0], { ROWS_PROCESS_FIELD, http->process }, { NULL, NULL } };
	struct mp_str value;

	/* A member asks for one process; what has taken its place is not it. */
	if (rows_is_meant(http, req))
		http_answer(req, 200, http_header(req, ROWS_PROCESS_FIELD, &value) ? named : plain, MP_LIT("alive\n"));
}

void rows_ready(void *ctx, struct http_req *req)
{
	struct rows_http *http = ctx;
	const char *why;

	if (group_is_ready(http->group, &why))
		http_answer(req, 200, plain, MP_LIT("ready\n"));
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

	if (!rows_may_look(req))
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

/* How large etcd's database is and may be, while that is known. */
static void add_room(struct buf *out, const struct figures *f)
{
	if (f->quota)
		(void)buf_printf(out, "\"size\":%" PRIu64 ",\"in_use\":%" PRIu64 ",\"quota\":%" PRIu64 ",", f->size, f->in_use,
				 f->quota);
}

static void add_engine(struct buf *out, const struct rows_http *http, const struct figures *f)
{
	(void)buf_printf(out, "\"engine\":{\"name\":\"%s\",\"serving\":%s,\"full\":%s,\"read_only\":%s,\"damaged\":%s,",
			 group_engine(http->group)->ops->name, f->health.serving ? "true" : "false",
			 f->health.full ? "true" : "false", f->health.read_only ? "true" : "false",
			 f->health.damaged ? "true" : "false");
	add_room(out, f);
	(void)buf_add_str(out, "\"text\":");
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

	if (!rows_may_look(req))
		return;
	rows_figures(http, &f);
	ready = group_is_ready(http->group, &why);
	buf_init(&body, ANSWER_MAX);
	(void)buf_printf(&body, "{\"member\":\"%s\",\"group\":\"%s\",\"ready\":%s,\"why\":", http->member,
			 group_uuid(http->group), ready ? "true" : "false");
	(void)json_text_add(&body, slice_of(why));
	(void)buf_printf(&body, ",\"chosen\":%s,\"uptime_ms\":%" PRIu64 ",\"now\":%" PRIu64 ",\"version\":\"" MIDDLEPIPE_VERSION
			 "\",", f.chosen ? "true" : "false", (group_now(http->group) - http->started_ns) / NS_PER_MS, clock_wall_now() / NS_PER_MS);
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
