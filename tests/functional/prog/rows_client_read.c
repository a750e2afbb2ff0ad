/* SPDX-License-Identifier: Apache-2.0 */
/* Subscriptions of the driven client; see rows_client_priv.h. */
#include "tests/functional/prog/rows_client_priv.h"

#define IDS_MAX 256

/* A subscriber. */
struct reader {
	uint64_t id, o;  /* line, number in the history */
	bool quiet;      /* for the history only */
	struct rows_subscription *sub; /* NULL: it has ended */
};

static struct reader readers[IDS_MAX];
static size_t n_readers;

static void on_cell(void *ctx, const struct rows_cell *cell)
{
	const struct reader *reader = ctx;
	struct buf out;

	event_begin(&out, "cell", reader->o);
	add_text(&out, "row", cell->row);
	(void)buf_printf(&out, ",\"inc\":\"%016" PRIx64 "\",\"seq\":%" PRIu64, cell->incarnation, cell->seq);
	add_text(&out, "key", cell->key);
	(void)buf_add_str(&out, ",\"sha\":");
	add_sha(&out, cell->content);
	event_end(&out);
	if (reader->quiet)
		return;
	say_begin(&out, reader->id);
	(void)buf_printf(&out, ",\"seq\":%" PRIu64, cell->seq);
	add_text(&out, "row", cell->row);
	add_text(&out, "cell", cell->content);
	say(&out);
}

static void on_heartbeat(void *ctx, const struct rows_beat *beat)
{
	const struct reader *reader = ctx;
	struct buf out;

	event_begin(&out, "beat", reader->o);
	add_text(&out, "row", beat->row);
	(void)buf_printf(&out, ",\"inc\":\"%016" PRIx64 "\",\"highest\":%" PRIu64 ",\"floor\":%" PRIu64, beat->incarnation,
			 beat->highest, beat->floor);
	event_end(&out);
	say_begin(&out, reader->id);
	(void)buf_printf(&out, ",\"beat\":%" PRIu64, beat->highest);
	add_text(&out, "row", beat->row);
	say(&out);
}

static void on_missed(void *ctx, struct mp_str row, uint64_t floor)
{
	const struct reader *reader = ctx;
	struct buf out;

	say_begin(&out, reader->id);
	(void)buf_printf(&out, ",\"missed\":%" PRIu64, floor);
	add_text(&out, "row", row);
	say(&out);
}

static void on_ended(void *ctx, const struct rows_ended *ended)
{
	struct reader *reader = ctx;
	struct buf out;

	reader->sub = NULL;
	event_begin(&out, "end", reader->o);
	add_text(&out, "code", slice_of(driven_outcomes[ended->outcome]));
	event_end(&out);
	say_begin(&out, reader->id);
	add_text(&out, "ended", slice_of(driven_outcomes[ended->outcome]));
	(void)buf_printf(&out, ",\"floor\":%" PRIu64, ended->floor);
	add_text(&out, "why", slice_of(ended->why));
	say(&out);
}

static struct reader *reader_new(struct rows_subscribe_calls *ret_calls)
{
	struct reader *reader = &readers[n_readers++];

	if (n_readers > IDS_MAX)
		abort();
	*reader = (struct reader){ .id = driven.lines, .o = ++driven.calls };
	*ret_calls = (struct rows_subscribe_calls){ on_cell, on_heartbeat, on_missed, on_ended, reader };
	return reader;
}

static void subscribe(char **word, const struct rows_subscribe *s, bool quiet)
{
	struct rows_subscribe_calls c;
	struct reader *reader = reader_new(&c);
	struct err err = { 0 };
	struct buf out;

	reader->quiet = quiet;
	event_begin(&out, "sub", reader->o);
	add_text(&out, s->by_prefix ? "prefix" : "row", slice_of(word[1]));
	(void)buf_printf(&out, ",\"from\":%" PRIu64, s->from ? s->from : 1);
	event_end(&out);
	if (rows_client_subscribe(driven.client, s, &c, &reader->sub, &err) == 0)
		return;
	say_begin(&out, reader->id);
	add_text(&out, "ended", slice_of("wrong"));
	add_text(&out, "why", slice_of(err.text));
	say(&out);
}

void do_subscribe(char **word, size_t n)
{
	subscribe(word, &(struct rows_subscribe){ .name = slice_of(word[1]), .from = strtoull(word[2], NULL, 10),
						  .wait = n > 3, .heartbeat_ms = (uint64_t)driven.heartbeat_ms }, false);
}

void do_follow(char **word, size_t n)
{
	(void)n;
	subscribe(word, &(struct rows_subscribe){ .name = slice_of(word[1]), .from = strtoull(word[2], NULL, 10),
						  .wait = true, .heartbeat_ms = (uint64_t)driven.heartbeat_ms }, true);
}

void do_prefix(char **word, size_t n)
{
	(void)n;
	subscribe(word, &(struct rows_subscribe){ .name = slice_of(word[1]), .by_prefix = true,
						  .heartbeat_ms = (uint64_t)driven.heartbeat_ms }, false);
}

void do_join(char **word, size_t n)
{
	struct rows_subscribe_calls c;
	struct reader *reader = reader_new(&c);
	struct err err = { 0 };

	(void)n;
	if (rows_client_join(driven.client, slice_of(word[1]), &c, &reader->sub, &err))
		abort();
}

void do_leave(char **word, size_t n)
{
	struct buf out;

	(void)n;
	for (size_t i = 0; i < n_readers; i++) {
		if (readers[i].id != strtoull(word[1], NULL, 10))
			continue;
		rows_client_leave(readers[i].sub);
		readers[i].sub = NULL;
	}
	say_begin(&out, driven.lines);
	add_text(&out, "outcome", slice_of("left"));
	say(&out);
}
