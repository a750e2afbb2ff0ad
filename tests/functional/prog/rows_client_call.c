/* SPDX-License-Identifier: Apache-2.0 */
/* Puts and reads of the driven client; see rows_client_priv.h. */
#include "tests/functional/prog/rows_client_priv.h"

#include "lib/clock.h"
#include "lib/json_text.h"

#define TEXTS_MAX 65536

/* One call of ours. */
struct call {
	uint64_t id;         /* its line */
	uint64_t o;          /* number of its latest `call` in the history */
	char *row;           /* owned */
	char *texts;         /* each with a NUL; owned */
	size_t n;            /* cells */
	int64_t if_match;    /* -1: none */
	struct load *load;   /* it belongs to, or NULL */
};

/* Puts that are made one after the other. */
struct load {
	uint64_t id, left, number, begin;
	uint64_t ended[ROWS_UNKNOWN + 1]; /* by outcome */
	uint64_t under_way, attempts_max;
	char *rows[64];
	size_t n_rows;
};

/* ---------------------------------------------------------------------- attempts */

static void begin_attempt(struct call *call, const struct rows_attempt *a)
{
	const char *text = call->texts;
	struct buf out;

	call->o = ++driven.calls;
	event_begin(&out, "call", call->o);
	add_text(&out, "m", slice_of(a->url));
	(void)buf_add_str(&out, ",\"op\":\"put\"");
	add_text(&out, "row", slice_of(call->row));
	add_text(&out, "key", slice_of(a->key));
	if (a->base[0])
		add_text(&out, "base", slice_of(a->base));
	if (call->if_match >= 0)
		(void)buf_printf(&out, ",\"if\":%" PRId64, call->if_match);
	(void)buf_add_str(&out, ",\"sha\":[");
	for (size_t i = 0; i < call->n; i++, text += strlen(text) + 1) {
		(void)buf_add_str(&out, i ? "," : "");
		add_sha(&out, slice_of(text));
	}
	(void)buf_add_str(&out, "]");
	event_end(&out);
}

void on_attempt(void *ctx, const struct rows_attempt *a)
{
	struct call *call = a->ctx;
	struct buf out;

	(void)ctx;
	if (!a->over) {
		begin_attempt(call, a);
		return;
	}
	event_begin(&out, "ret", call->o);
	(void)buf_printf(&out, ",\"st\":%d", a->status ? a->status : !a->sent);
	if (a->stamped[0])
		add_text(&out, "base", slice_of(a->stamped));
	if (a->status == 200 || a->status == 201)
		(void)buf_printf(&out, ",\"inc\":\"%016" PRIx64 "\",\"seq\":%" PRIu64 ",\"n\":%zu", a->incarnation, a->seq,
				 call->n);
	event_end(&out);
}

static struct call *call_new(uint64_t id, const char *row, const char *const *texts, size_t n)
{
	struct call *call = calloc(1, sizeof(*call));
	struct buf all;

	if (!call)
		abort();
	buf_init(&all, TEXTS_MAX);
	for (size_t i = 0; i < n; i++)
		(void)buf_add(&all, texts[i], strlen(texts[i]) + 1);
	*call = (struct call){ .id = id, .row = strdup(row), .texts = all.ptr, .n = n, .if_match = -1 };
	return call;
}

static void call_free(struct call *call)
{
	free(call->row);
	free(call->texts);
	free(call);
}

/* ------------------------------------------------------------------------ answers */

static void on_answer(void *ctx, const struct rows_answer *a)
{
	struct call *call = ctx;
	struct buf out;

	say_begin(&out, call->id);
	add_text(&out, "outcome", slice_of(driven_outcomes[a->outcome]));
	(void)buf_printf(&out, ",\"status\":%d,\"incarnation\":\"%016" PRIx64 "\",\"seq\":%" PRIu64 ",\"highest\":%" PRIu64
			 ",\"floor\":%" PRIu64 ",\"attempts\":%" PRIu32, a->status, a->incarnation, a->seq, a->highest,
			 a->floor, a->attempts);
	add_text(&out, "code", slice_of(a->code));
	add_text(&out, "why", slice_of(a->why));
	add_text(&out, "check", slice_of(a->check));
	add_text(&out, "key", slice_of(a->key));
	add_text(&out, "base", slice_of(a->base));
	(void)buf_add_str(&out, ",\"cells\":[");
	for (size_t i = 0; i < a->n; i++) {
		(void)buf_printf(&out, "%s[%" PRIu64 ",%d,", i ? "," : "", a->cells[i].seq, a->cells[i].kind);
		(void)json_text_add(&out, a->cells[i].content);
		(void)buf_add_str(&out, ",");
		(void)json_text_add(&out, a->cells[i].key);
		(void)buf_add_str(&out, "]");
	}
	(void)buf_add_str(&out, "]");
	say(&out);
	call_free(call);
}

/* rc: what the call itself said. */
static void started(struct call *call, int rc, const struct err *err)
{
	struct buf out;

	if (rc == 0)
		return;
	say_begin(&out, call->id);
	(void)buf_printf(&out, ",\"outcome\":\"wrong\",\"status\":%d", rc);
	add_text(&out, "why", slice_of(err->text));
	say(&out);
	call_free(call);
}

/* -------------------------------------------------------------------------- puts */

static int put(struct call *call, const char *put_key, const char *base, rows_done_fn *done, struct err *err)
{
	struct mp_str cells[WORDS_MAX];
	const char *text = call->texts;

	for (size_t i = 0; i < call->n; i++, text += strlen(text) + 1)
		cells[i] = slice_of(text);
	return rows_client_put(driven.client, &(struct rows_put){
		.row = slice_of(call->row), .cells = cells, .n = call->n, .key = put_key, .base = base,
		.has_if_match = call->if_match >= 0, .if_match = (uint64_t)call->if_match }, done, call, err);
}

void do_put(char **word, size_t n)
{
	struct call *call = call_new(driven.lines, word[1], (const char *const *)&word[2], 1);
	struct err err = { 0 };

	started(call, put(call, n > 3 ? word[3] : NULL, n > 4 ? word[4] : NULL, on_answer, &err), &err);
}

void do_many(char **word, size_t n)
{
	struct call *call = call_new(driven.lines, word[1], (const char *const *)&word[2], n - 2);
	struct err err = { 0 };

	started(call, put(call, NULL, NULL, on_answer, &err), &err);
}

void do_put_if(char **word, size_t n)
{
	struct call *call = call_new(driven.lines, word[1], (const char *const *)&word[3], 1);
	struct err err = { 0 };

	(void)n;
	call->if_match = atoll(word[2]);
	started(call, put(call, NULL, NULL, on_answer, &err), &err);
}

/* ------------------------------------------------------------------------ the load */

static void load_next(struct load *load);

static void load_over(struct load *load)
{
	struct buf out;

	say_begin(&out, load->id);
	(void)buf_printf(&out, ",\"outcome\":\"loaded\",\"ms\":%" PRIu64 ",\"attempts_max\":%" PRIu64,
			 (clock_now(&clock_monotonic) - load->begin) / NS_PER_MS, load->attempts_max);
	for (size_t i = 0; i <= ROWS_UNKNOWN; i++)
		(void)buf_printf(&out, ",\"%s\":%" PRIu64, driven_outcomes[i], load->ended[i]);
	say(&out);
	for (size_t i = 0; i < load->n_rows; i++)
		free(load->rows[i]);
	free(load);
}

static void on_loaded(void *ctx, const struct rows_answer *a)
{
	struct call *call = ctx;
	struct load *load = call->load;

	load->ended[a->outcome]++;
	load->attempts_max = a->attempts > load->attempts_max ? a->attempts : load->attempts_max;
	load->under_way--;
	call_free(call);
	load_next(load);
}

static void load_next(struct load *load)
{
	char text[64];
	const char *const texts[] = { text };
	struct err err = { 0 };
	struct call *call;

	if (!load->left) {
		if (!load->under_way)
			load_over(load);
		return;
	}
	load->left--;
	load->under_way++;
	(void)snprintf(text, sizeof(text), "%" PRIu64 "-%" PRIu64, load->id, load->number);
	call = call_new(load->id, load->rows[load->number++ % load->n_rows], texts, 1);
	call->load = load;
	if (put(call, NULL, NULL, on_loaded, &err))
		abort();
}

void do_load(char **word, size_t n)
{
	struct load *load = calloc(1, sizeof(*load));
	char *save = NULL;

	(void)n;
	if (!load)
		abort();
	*load = (struct load){ .id = driven.lines, .left = strtoull(word[2], NULL, 10), .begin = clock_now(&clock_monotonic) };
	for (char *row = strtok_r(word[1], ",", &save); row && load->n_rows < 64; row = strtok_r(NULL, ",", &save))
		load->rows[load->n_rows++] = strdup(row);
	for (uint64_t i = strtoull(word[3], NULL, 10); i > 0 && load->left; i--)
		load_next(load);
}

/* -------------------------------------------------------------------------- reads */

static void get(const struct rows_get *wish)
{
	struct call *call = call_new(driven.lines, wish->row.ptr, NULL, 0);
	struct err err = { 0 };

	started(call, rows_client_get(driven.client, wish, on_answer, call, &err), &err);
}

void do_latest(char **word, size_t n)
{
	(void)n;
	get(&(struct rows_get){ .row = slice_of(word[1]), .want = ROWS_LATEST });
}

void do_stale(char **word, size_t n)
{
	(void)n;
	get(&(struct rows_get){ .row = slice_of(word[1]), .want = ROWS_LATEST, .stale = true });
}

void do_seq(char **word, size_t n)
{
	(void)n;
	get(&(struct rows_get){ .row = slice_of(word[1]), .want = ROWS_SEQ, .from = strtoull(word[2], NULL, 10) });
}

void do_range(char **word, size_t n)
{
	(void)n;
	get(&(struct rows_get){ .row = slice_of(word[1]), .want = ROWS_RANGE, .from = strtoull(word[2], NULL, 10) });
}

void do_wait(char **word, size_t n)
{
	(void)n;
	get(&(struct rows_get){ .row = slice_of(word[1]), .want = ROWS_LATEST, .at_least = strtoull(word[2], NULL, 10),
				.wait_ms = strtoull(word[3], NULL, 10) });
}

static void do_named(char **word, int (*what)(struct rows_client *, struct mp_str, rows_done_fn *, void *, struct err *))
{
	struct call *call = call_new(driven.lines, word[1], NULL, 0);
	struct err err = { 0 };

	started(call, what(driven.client, slice_of(word[1]), on_answer, call, &err), &err);
}

void do_highest(char **word, size_t n)
{
	(void)n;
	do_named(word, rows_client_highest_sequence_number);
}

void do_check(char **word, size_t n)
{
	struct call *call = call_new(driven.lines, word[1], (const char *const *)&word[2], n - 2);
	struct mp_str cells[8];
	struct err err = { 0 };

	for (size_t i = 0; i < n - 2 && i < 8; i++)
		cells[i] = slice_of(word[2 + i]);
	started(call, rows_client_check(driven.client, &(struct rows_put){ .row = slice_of(word[1]), .cells = cells, .n = n - 2 },
					on_answer, call, &err), &err);
}

void do_delete(char **word, size_t n)
{
	(void)n;
	do_named(word, rows_client_delete);
}

void do_policy(char **word, size_t n)
{
	struct call *call = call_new(driven.lines, word[1], NULL, 0);
	struct err err = { 0 };

	(void)n;
	started(call, rows_client_set_semantic_check_policy(driven.client, slice_of(word[1]), slice_of(word[2]), on_answer, call,
							    &err), &err);
}
