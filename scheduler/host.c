/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The services that filters get: struct mp_host of the public ABI, in front
 * of the unit, the run and the data thread.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/slice.h"
#include "lib/wire.h"
#include "scheduler/data.h"

static void check(const struct mp_unit *unit)
{
	assert(((const struct unit *)(const void *)unit)->magic == UNIT_MAGIC);
}

static struct unit *unit_of(struct mp_unit *unit)
{
	check(unit);
	return (struct unit *)(void *)unit;
}

static uint64_t host_now(struct mp_unit *unit)
{
	struct unit *u = unit_of(unit);

	/* load() runs on the control thread, where the round's time is not ours to read. */
	return u->started || u->starting ? u->data->now_ns : clock_now(&clock_monotonic);
}

static uint64_t host_wall(struct mp_unit *unit)
{
	check(unit);
	return clock_wall_now();
}

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators". */
static uint32_t host_random(struct mp_unit *unit)
{
	struct data *d = unit_of(unit)->data;

	d->random ^= d->random >> 12;
	d->random ^= d->random << 25;
	d->random ^= d->random >> 27;
	return (uint32_t)(d->random * UINT64_C(0x2545f4914f6cdd1d) >> 32);
}

static void host_log(struct mp_unit *unit, int32_t level, const char *text)
{
	static void (*const write[])(const char *, const char *, ...) = {
		[MP_LOG_ERROR] = log_error, [MP_LOG_WARN] = log_warn,
		[MP_LOG_INFO] = log_info, [MP_LOG_DEBUG] = log_debug,
	};
	struct unit *u = unit_of(unit);

	if (level >= MP_LOG_ERROR && level <= MP_LOG_DEBUG)
		write[level]("filter", "middlepipe=%s destination=%s text=%s",
			     LOG_STR(u->middlepipe), LOG_STR(u->destination), LOG_STR(text));
}

static void host_count(struct mp_unit *unit, uint32_t counter, uint64_t n)
{
	struct unit *u = unit_of(unit);

	if (counter < u->n_counters)
		u->counters[counter] += n;
}

static void host_report(struct mp_unit *unit, const char *event, const struct mp_field *fields,
			size_t n_fields)
{
	struct unit *u = unit_of(unit);

	data_event(u->data, u, event, fields, n_fields);
	data_touch(u->data, u);
}

/* Keeps the rendered REPLY with the unit.  Posting is rare, so it may allocate. */
static int keep_reply(struct unit *u, const struct mp_reply *reply)
{
	int size = reply_render(u, reply, u->data->blob, sizeof(u->data->blob));
	char *copy;

	if (size < 0)
		return size;
	copy = realloc(u->blob, (size_t)size);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, u->data->blob, (size_t)size);
	u->blob = copy;
	u->blob_size = (uint32_t)size;
	return 0;
}

static int32_t host_post(struct mp_unit *unit, const struct mp_standing *standing)
{
	struct unit *u = unit_of(unit);
	int r = 0;

	if (standing->verdict < MP_STANDING_ASK || standing->verdict > MP_STANDING_REPLY ||
	    (standing->verdict == MP_STANDING_REPLY && !standing->reply))
		return -EINVAL;
	u->standing = standing->verdict;
	u->until_ns = standing->until_ns;
	if (standing->verdict == MP_STANDING_REPLY)
		r = keep_reply(u, standing->reply);
	if (r < 0)
		u->standing = MP_STANDING_ASK;
	data_touch(u->data, u);
	data_repost(u->data, u);
	return r;
}

static void on_unit_timer(uv_timer_t *timer)
{
	struct unit *u = timer->data;

	data_clock(u->data);
	data_busy(u->data);
	if (!unit_alive(u) || u->heir || !u->filter->on_timer)
		return;
	unit_enter(u);
	u->filter->on_timer(u->self, u->data->now_ns);
	unit_leave(u);
}

static int32_t host_timer(struct mp_unit *unit, uint64_t at_ns)
{
	struct unit *u = unit_of(unit);
	uint64_t now;

	if (!u->timer)
		return -EAGAIN;
	if (!at_ns)
		return uv_timer_stop(u->timer);
	uv_update_time(&u->data->loop);
	now = clock_now(&clock_monotonic);
	return uv_timer_start(u->timer, on_unit_timer,
			      at_ns > now ? (at_ns - now + NS_PER_MS - 1) / NS_PER_MS : 0, 0);
}

static int32_t host_resume(struct mp_unit *unit, uint64_t exchange, int32_t verdict,
			   const struct mp_reply *reply)
{
	struct unit *u = unit_of(unit);
	struct exchange *e = pool_find(&u->data->exchanges, exchange);
	int32_t r = 0;

	if (!e || !e->held || e->resume)
		return -ENOENT;
	if (verdict == MP_VERDICT_REPLY) {
		struct run *run = e->held;

		run->unit = u;
		r = reply ? run_reply(&run->x, reply) : -EINVAL;
		run->unit = NULL;
		if (r < 0)
			return r;
	} else if (verdict != MP_VERDICT_PASS) {
		return -EINVAL;
	}
	/* Not here: this may be called in the middle of another walk. */
	e->resume = 1 + verdict;
	u->data->resumes = true;
	return 0;
}

const struct mp_host scheduler_host = {
	.abi_major = MP_ABI_MAJOR,
	.abi_minor = MP_ABI_MINOR,
	.size = sizeof(struct mp_host),
	.now = host_now,
	.wall = host_wall,
	.random = host_random,
	.log = host_log,
	.count = host_count,
	.report = host_report,
	.post = host_post,
	.timer = host_timer,
	.resume = host_resume,
	.edit = run_edit,
	.set_path = run_set_path,
	.set_authority = run_set_authority,
	.set_body = run_set_body,
	.set_status = run_set_status,
	.reply = run_reply,
	.delay = run_delay,
	.hold = run_hold,
};
