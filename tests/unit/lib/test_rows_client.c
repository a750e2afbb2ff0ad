/* SPDX-License-Identifier: Apache-2.0 */
/* The client of rows where there is no member: its end, and times without one. */
#include "lib/rows_client.h"

#include <errno.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

static uv_loop_t loop;
static struct rows_client *client;
static int ended, closed, get_rc, subscribe_rc;

static void on_closed(void *ctx)
{
	(void)ctx;
	closed++;
}

static void on_cell(void *ctx, const struct rows_cell *cell)
{
	(void)ctx;
	(void)cell;
}

static void on_nothing(void *ctx, const struct rows_answer *answer)
{
	(void)ctx;
	(void)answer;
	ended++;
}

/* Calls once more what there is. */
static void on_end(void *ctx, const struct rows_answer *answer)
{
	const struct rows_subscribe_calls calls = { .cell = on_cell };
	struct rows_subscription *sub = NULL;
	struct err err = { 0 };

	on_nothing(ctx, answer);
	get_rc = rows_client_highest_sequence_number(client, MP_LIT("a"), on_nothing, NULL, &err);
	subscribe_rc = rows_client_subscribe(client, &(struct rows_subscribe){ .name = MP_LIT("a"), .wait = true }, &calls,
					     &sub, &err);
}

static bool begin(void)
{
	const char *const urls[] = { "http://127.0.0.1:9" };
	struct err err = { 0 };

	ended = closed = 0;
	return is_int(rows_client_open(&loop, &(struct rows_client_options){ .urls = urls, .n_urls = 1 }, &client, &err), 0,
		      "a client %s", err.text);
}

static void end(void)
{
	rows_client_close(client, on_closed, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	is_int(closed, 1, "it is closed");
	is_int(ended, 1, "what was under way has ended, once");
}

static void test_end(void)
{
	struct err err = { 0 };

	if (!begin())
		return;
	is_int(rows_client_highest_sequence_number(client, MP_LIT("a"), on_end, NULL, &err), 0, "a request %s", err.text);
	end();
	is_int(get_rc, -EAGAIN, "what ends by that begins no request");
	is_int(subscribe_rc, -EINVAL, "nor a subscription");
}

static void on_timer(uv_timer_t *timer)
{
	uv_close((uv_handle_t *)timer, NULL);
	is_int(ended, 0, "goes on");
	rows_client_close(client, on_closed, NULL);
}

static void test_for_ever(void)
{
	const struct rows_get get = { .row = MP_LIT("a"), .timeout_ms = UINT64_MAX };
	struct err err = { 0 };
	uv_timer_t timer;

	if (!begin())
		return;
	is_int(rows_client_get(client, &get, on_nothing, NULL, &err), 0, "one that may take for ever %s", err.text);
	uv_timer_init(&loop, &timer);
	uv_timer_start(&timer, on_timer, 100, 0);
	uv_run(&loop, UV_RUN_DEFAULT);
	is_int(closed, 1, "until it is closed");
	is_int(ended, 1, "then it has ended");
}

int main(void)
{
	uv_loop_init(&loop);
	test_end();
	test_for_ever();
	is_int(uv_loop_close(&loop), 0, "nothing is left open");
	return done();
}
