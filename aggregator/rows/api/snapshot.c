/* SPDX-License-Identifier: Apache-2.0 */
/* State snapshots over HTTP; see api.h and docs/rows-api.md. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/rows/api/api.h"
#include "aggregator/rows/snapshot_load.h"
#include "lib/slice.h"

#define TRIES 3 /* while newer ones take the place of what is read */

/* A snapshot that somebody asked for. */
struct wanted {
	struct read read;     /* of the row's head; its name is the request's */
	struct http_req *req;
	struct rows_http *http;
	struct head head;     /* that names the snapshot */
	unsigned tries;       /* left */
};

static void ask_head(struct wanted *w);

static void unavailable(struct wanted *w, const char *why)
{
	static const struct http_field later[] = { { "Retry-After", "1" }, { NULL, NULL } };

	http_answer_error_fields(w->req, 503, later, "unavailable", "%s", why);
	free(w);
}

static void answer(struct wanted *w, struct mp_str bytes, uint32_t rules)
{
	char seq[24], incarnation[24], number[16];
	const struct http_field fields[] = {
		{ "Content-Type", "application/octet-stream" },
		{ "Middlepipe-Row-Incarnation", incarnation },
		{ "Middlepipe-Snapshot-Seq", seq },
		{ "Middlepipe-Snapshot-Check", w->head.check },
		{ "Middlepipe-Snapshot-Rules", number },
		{ NULL, NULL },
	};

	(void)snprintf(seq, sizeof(seq), "%" PRIu64, w->head.snapshot);
	(void)snprintf(incarnation, sizeof(incarnation), "%016" PRIx64, w->head.incarnation);
	(void)snprintf(number, sizeof(number), "%" PRIu32, rules);
	http_answer(w->req, 200, fields, bytes);
	free(w);
}

static void on_loaded(void *ctx, int r, struct mp_str bytes, uint32_t rules, const char *why)
{
	struct wanted *w = ctx;
	const struct row *row = copy_row(group_copy(w->http->group), w->read.name);

	if (r == 0)
		answer(w, bytes, rules);
	else if (w->tries && (!row || row->head.snapshot != w->head.snapshot))
		ask_head(w); /* it went while it was read */
	else
		unavailable(w, why && why[0] ? why : "the snapshot cannot be read");
}

static void on_head(struct read *read, struct row *row, const char *why)
{
	struct wanted *w = LIST_ENTRY_OF(read, struct wanted, read);
	struct snapshot_id id;

	if (!row) {
		unavailable(w, why);
	} else if (!row_exists(row) || !row->head.snapshot) {
		http_answer_error(w->req, 404, "not_there", "%s",
				  row_exists(row) ? "the row has no state snapshot" : "no such row");
		free(w);
	} else {
		w->head = row->head;
		id = (struct snapshot_id){ copy_prefix(group_copy(w->http->group)), row_name(row),
					   w->head.incarnation, w->head.snapshot };
		if (!snapshot_load(group_engine(w->http->group), &id, on_loaded, w))
			unavailable(w, "out of memory");
	}
}

static void ask_head(struct wanted *w)
{
	w->tries--;
	w->read.done = on_head;
	w->read.deadline = group_now(w->http->group) + w->http->read_ns;
	group_read(w->http->group, &w->read);
}

void rows_get_snapshot(void *ctx, struct http_req *req)
{
	struct rows_http *http = ctx;
	struct mp_str name;
	struct wanted *w;

	if (!rows_name(req, RIGHT_READ, &name) || !rows_query_only(req, ""))
		return;
	w = calloc(1, sizeof(*w));
	if (!w || !group_copy(http->group)) {
		http_answer_error(req, 503, "unavailable", w ? "it has not read its rows yet" : "out of memory");
		free(w);
		return;
	}
	*w = (struct wanted){ .read = { .name = name }, .req = req, .http = http, .tries = TRIES };
	ask_head(w);
}
