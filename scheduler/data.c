/* SPDX-License-Identifier: Apache-2.0 */
/* See data.h: the loop of the data thread. */
#include "scheduler/data.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"

#define MAIL_MAX 4096 /* more than can be under way: lanes, chain sets and API calls are bounded */
#define DATA_TURN_NS (100 * NS_PER_US) /* on a processor that others wait for, too */
#define BELLS_A_TICK 64 /* rings without a message before a lane is heard by ticks alone */

uint64_t data_clock(struct data *d)
{
	d->now_ns = clock_now(&clock_monotonic);
	blame_round(d->blame);
	return d->now_ns;
}

/* --------------------------------------------------------- sleeping, waking */

static bool any_pending(struct data *d)
{
	LIST_FOR_EACH(link, &d->lanes)
		if (lane_pending(LIST_ENTRY_OF(link, struct lane, link)))
			return true;
	return false;
}

static bool serve_all(struct data *d)
{
	bool any = false;

	LIST_FOR_EACH(link, &d->lanes)
		any |= serve_lane(d, LIST_ENTRY_OF(link, struct lane, link));
	return any;
}

static void asleep_set(struct data *d, uint32_t asleep)
{
	atomic_store_explicit(&board_header(d->board)->asleep, asleep, memory_order_seq_cst);
	atomic_thread_fence(memory_order_seq_cst);
}

static void beat(struct data *d)
{
	atomic_store_explicit(&board_header(d->board)->beat, data_clock(d), memory_order_release);
}

/* Starts the tick, or stops it with 0. */
static void tick_every(struct data *d, long ms)
{
	struct timespec t = { .tv_nsec = ms * (long)NS_PER_MS };
	struct itimerspec every = { .it_interval = t, .it_value = t };

	(void)timerfd_settime(d->tick_fd, 0, &every, NULL);
}

void data_busy(struct data *d)
{
	d->idle_ticks = 0;
	if (atomic_load_explicit(&d->ticking, memory_order_relaxed))
		return;
	atomic_store(&d->ticking, true);
	atomic_store_explicit(&board_header(d->board)->ticking, 1, memory_order_seq_cst);
	tick_every(d, DATA_TICK_MS);
	uv_async_send(d->control); /* so that its watchdog looks */
}

/* Doorbell of a lane: questions first, the drain follows in the same round. */
static void on_bell(uv_poll_t *handle, int status, int events)
{
	struct lane *lane = handle->data;
	struct data *d = handle->loop->data;

	(void)status;
	(void)events;
	assert(lane->magic == LANE_STRUCT_MAGIC);
	atomic_store_explicit(&board_header(d->board)->asleep, 0, memory_order_relaxed);
	data_clock(d);
	if (!serve_lane(d, lane) && ++lane->idle_bells > BELLS_A_TICK)
		uv_poll_stop(&lane->bell); /* a flood: ticks will do */
	lane_bell_clear(lane);
	d->rang = true;
}

static void bells_rearm(struct data *d)
{
	LIST_FOR_EACH(link, &d->lanes) {
		struct lane *lane = LIST_ENTRY_OF(link, struct lane, link);

		if (!uv_is_active((uv_handle_t *)&lane->bell))
			uv_poll_start(&lane->bell, UV_READABLE, on_bell);
		lane->idle_bells = 0;
	}
}

static void save(struct data *d)
{
	if (d->touched && !d->saving && d->save)
		d->save(d);
}

/* Sleeps through when nothing came for a while; an outcome that slips in rings. */
static void tick_stop(struct data *d)
{
	tick_every(d, 0);
	atomic_store_explicit(&board_header(d->board)->ticking, 0, memory_order_seq_cst);
	atomic_thread_fence(memory_order_seq_cst);
	atomic_store(&d->ticking, false);
	if (drain_all(d))
		data_busy(d);
}

/*
 * The tick is a descriptor, not a timer of the loop: a loop that blocks with a
 * time-out programs the machine's timer each time, which costs a question that
 * wakes it 3 us of its 10.
 */
static void on_tick(uv_poll_t *handle, int status, int events)
{
	struct data *d = handle->data;
	uint64_t expirations;

	(void)status;
	(void)events;
	if (read(d->tick_fd, &expirations, sizeof(expirations)) < 0)
		return;
	beat(d);
	if (drain_all(d))
		d->idle_ticks = 0;
	else
		d->idle_ticks++;
	bells_rearm(d);
	data_retire(d);
	if (++d->ticks % 32 == 0)
		exchanges_abandon_old(d);
	if (d->idle_ticks > DATA_IDLE_TICKS)
		tick_stop(d);
}

/* Keeps the loop from blocking; what is to be done is done in on_prepare(). */
static void on_idle(uv_idle_t *handle)
{
	(void)handle;
}

/*
 * Serves until nothing is left, or for so long that beat, ticks and mail would
 * wait: an app that asks without end must not keep us here.  True: all done.
 */
static bool serve_stretch(struct data *d)
{
	uint64_t began = d->now_ns;

	while ((int)serve_all(d) | (int)serve_resumes(d)) { /* both, each time */
		data_busy(d);
		if (data_clock(d) - began > DATA_SERVE_NS)
			return false;
	}
	return true;
}

/* Before the loop blocks: nothing may be left that nobody would ring for. */
static void on_prepare(uv_prepare_t *handle)
{
	struct data *d = handle->data;

	data_clock(d);
	if (d->rang) {
		d->rang = false;
		data_busy(d);
		(void)drain_all(d);
	}
	asleep_set(d, 0);
	if (serve_stretch(d)) {
		asleep_set(d, 1);
		if (any_pending(d))
			asleep_set(d, 0);
	}
	if (atomic_load_explicit(&board_header(d->board)->asleep, memory_order_relaxed))
		uv_idle_stop(&d->idle);
	else
		uv_idle_start(&d->idle, on_idle);
	save(d);
}

static void on_check(uv_check_t *handle)
{
	struct data *d = handle->data;

	atomic_store_explicit(&board_header(d->board)->asleep, 0, memory_order_relaxed);
	beat(d);
}

/* --------------------------------------------------------------------- mail */

static void on_wake(uv_async_t *handle)
{
	struct data *d = handle->data;
	void *item;

	data_clock(d);
	data_busy(d);
	while (spsc_pop(&d->in, &item)) {
		struct mail *mail = item;

		mail->there(d, mail);
	}
}

void data_post(struct data *d, struct mail *mail)
{
	bool sent = spsc_push(&d->in, mail);

	assert(sent);
	uv_async_send(&d->wake);
}

void data_return(struct data *d, struct mail *mail)
{
	bool sent = spsc_push(&d->out, mail);

	assert(sent);
	uv_async_send(d->control);
}

void data_deliver(struct data *d)
{
	void *item;

	while (spsc_pop(&d->out, &item)) {
		struct mail *mail = item;

		mail->back(d->control_ctx, mail);
	}
}

void lane_attach_there(struct data *d, struct mail *mail)
{
	struct lane *lane = ((struct lane_mail *)(void *)mail)->lane;

	if (uv_poll_init(&d->loop, &lane->bell, lane->doorbell) == 0) {
		lane->bell.data = lane;
		uv_poll_start(&lane->bell, UV_READABLE, on_bell);
		lane->attached = true;
		list_push_back(&d->lanes, &lane->link);
		d->n_lanes++;
	}
	d->rang = true; /* its first question may be there already */
	data_return(d, mail);
}

static void on_bell_closed(uv_handle_t *handle)
{
	struct lane *lane = handle->data;

	data_return(handle->loop->data, &lane->detach->mail);
}

void lane_detach_there(struct data *d, struct mail *mail)
{
	struct lane *lane = ((struct lane_mail *)(void *)mail)->lane;

	if (!lane->attached) {
		data_return(d, mail);
		return;
	}
	drain_lane_end(d, lane);
	list_remove(&lane->link);
	d->n_lanes--;
	lane->detach = (struct lane_mail *)(void *)mail;
	uv_close((uv_handle_t *)&lane->bell, on_bell_closed);
}

static void close_handle(uv_handle_t *handle, void *arg)
{
	(void)arg;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

void data_stop_there(struct data *d, struct mail *mail)
{
	d->stopping = true;
	uv_walk(&d->loop, close_handle, NULL);
	data_return(d, mail);
}

/* -------------------------------------------------------------- life cycle */

static struct run *run_alloc(const struct data *d)
{
	struct run *run = malloc(sizeof(*run) + d->limits.lane.data_size);

	if (run)
		run->magic = 0;
	return run;
}

/* Everything that a question may need, sized now: nothing grows later. */
static int stores_init(struct data *d, struct err *err)
{
	uint32_t exchanges = d->limits.n_lanes * d->limits.lane.n_slots * DATA_EXCHANGES_A_SLOT;

	if (pool_init(&d->exchanges, sizeof(struct exchange), exchanges) < 0 ||
	    spsc_init(&d->in, MAIL_MAX) < 0 || spsc_init(&d->out, MAIL_MAX) < 0)
		return err_set(err, -ENOMEM, "data thread: out of memory");
	for (d->n_spare = 0; d->n_spare < DATA_HELD_MAX; d->n_spare++) {
		d->spare[d->n_spare] = run_alloc(d);
		if (!d->spare[d->n_spare])
			return err_set(err, -ENOMEM, "data thread: out of memory");
	}
	d->run = run_alloc(d);
	return d->run ? 0 : err_set(err, -ENOMEM, "data thread: out of memory");
}

static int handles_init(struct data *d)
{
	int r = uv_loop_init(&d->loop);

	if (r < 0)
		return r;
	d->tick_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (d->tick_fd < 0)
		return -errno;
	d->loop.data = d;
	d->prepare.data = d->check.data = d->idle.data = d->tick.data = d->hold_timer.data = d->wake.data = d;
	if ((r = uv_prepare_init(&d->loop, &d->prepare)) < 0 ||
	    (r = uv_prepare_start(&d->prepare, on_prepare)) < 0 ||
	    (r = uv_check_init(&d->loop, &d->check)) < 0 ||
	    (r = uv_check_start(&d->check, on_check)) < 0 ||
	    (r = uv_idle_init(&d->loop, &d->idle)) < 0 ||
	    (r = uv_poll_init(&d->loop, &d->tick, d->tick_fd)) < 0 ||
	    (r = uv_poll_start(&d->tick, UV_READABLE, on_tick)) < 0 ||
	    (r = uv_timer_init(&d->loop, &d->hold_timer)) < 0)
		return r;
	return uv_async_init(&d->loop, &d->wake, on_wake);
}

int data_init(struct data *d, const struct data_limits *limits, struct blame *blame,
	      uv_async_t *control, void *control_ctx, struct err *err)
{
	int r;

	d->limits = *limits;
	d->blame = blame;
	d->control = control;
	d->control_ctx = control_ctx;
	d->random = clock_now(&clock_monotonic) | 1;
	list_init(&d->lanes);
	r = board_new(&board_default_limits, &d->board, err);
	if (r < 0)
		return r;
	r = stores_init(d, err);
	if (r < 0)
		return r;
	r = handles_init(d);
	return r < 0 ? err_set(err, r, "data thread: %s", uv_strerror(r)) : 0;
}

/*
 * Asks the kernel for short turns (Linux 6.12 and newer; others ignore it): who
 * wants little at a time is let in sooner when all processors are busy.  A
 * struct sched_attr by its numbers, since <linux/sched/types.h> and <sched.h> exclude
 * each other in Debian 12.
 */
static void short_turns(void)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime_ns, deadline_ns, period_ns;
	} attr = { .size = sizeof(attr), .policy = SCHED_OTHER, .runtime_ns = DATA_TURN_NS,
		   .nice = getpriority(PRIO_PROCESS, 0) };

	(void)syscall(SYS_sched_setattr, 0, &attr, 0); /* without it we wait longer */
}

static void thread_main(void *arg)
{
	struct data *d = arg;

	short_turns();
	data_clock(d);
	uv_run(&d->loop, UV_RUN_DEFAULT);
}

int data_start(struct data *d, struct err *err)
{
	int r = uv_thread_create(&d->thread, thread_main, d);

	return r < 0 ? err_set(err, r, "data thread: %s", uv_strerror(r)) : 0;
}

void data_fini(struct data *d)
{
	uv_thread_join(&d->thread);
	uv_loop_close(&d->loop);
	close(d->tick_fd);
	pool_fini(&d->exchanges);
	spsc_fini(&d->in);
	spsc_fini(&d->out);
	for (uint32_t i = 0; i < d->n_spare; i++)
		free(d->spare[i]);
	free(d->run);
	board_free(d->board);
}
