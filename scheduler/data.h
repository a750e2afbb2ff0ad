/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data thread: owns lanes, chains and filters, answers questions, drains
 * outcomes, and keeps the board true.  It never blocks but in its loop.
 *
 *   data.c      the loop: sleeping and waking, ticks, mail
 *   serve.c     questions and exchanges
 *   drain.c     outcomes, losses, the end of old chain sets
 *   install.c   swapping chain sets, reposting verdicts
 *   events.c    the list of what happened
 *   look.c      what the control thread is shown
 *
 * The control thread talks to it by mail only (struct mail); `blame` is shared
 * with the supervisor.
 */
#ifndef SCHEDULER_DATA_H
#define SCHEDULER_DATA_H

#include <stdatomic.h>
#include <stdbool.h>

#include <uv.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/list.h"
#include "lib/pool.h"
#include "lib/spsc.h"
#include "scheduler/blame.h"
#include "scheduler/board.h"
#include "scheduler/chainset.h"
#include "scheduler/lane.h"
#include "scheduler/run.h"

#define DATA_TICK_MS 12       /* drains while lanes are busy (request-path.md 3.1) */
#define DATA_SERVE_NS (NS_PER_MS / 2) /* questions at a stretch; then beat, ticks and mail */
#define DATA_IDLE_TICKS 8     /* ticks without an outcome before it sleeps */
#define DATA_EVENTS 256       /* newest events kept */
#define DATA_HELD_MAX 64      /* exchanges on HOLD at once */
#define DATA_EXCHANGES_A_SLOT 4 /* exchanges in progress a lane: this times its slots */

struct data;

/*
 * A letter to the data thread and back.  Embedded in what it is about; the
 * sender owns it again when `back` is called.
 */
struct mail {
	void (*there)(struct data *data, struct mail *mail); /* data thread; calls data_return() */
	void (*back)(void *control, struct mail *mail);      /* control thread */
};

/* What the scheduler counts, by the names of docs/control-api.md. */
struct data_counts {
	uint64_t asked, passed, replied, failed;
	uint64_t responses, copies, abandoned, bad_messages, stale;
	uint64_t lost_ok, lost_failed, swaps;
	uint64_t lane[LANE_COUNTERS]; /* of lanes that are gone */
};

/* One line of the event list. */
struct data_event {
	uint64_t seq; /* from 1; 0: empty */
	uint64_t wall_ns;
	char event[32];
	char middlepipe[BLAME_NAME];
	char destination[64];
	char fields[512]; /* JSON object */
};

struct data_limits {
	struct lane_limits lane;
	uint32_t n_lanes;
	uint64_t call_age_ns; /* no call is older: an old chain set is freed by then */
};

struct data {
	uv_loop_t loop;
	uv_thread_t thread;
	uv_prepare_t prepare;
	uv_check_t check;
	uv_idle_t idle; /* runs while questions are left over: the loop must not block */
	uv_poll_t tick;      /* over tick_fd */
	int tick_fd;         /* timerfd: runs while lanes are busy */
	uv_timer_t hold_timer; /* earliest deadline of the held */
	uv_async_t wake;       /* the control thread has posted mail */
	struct spsc in;        /* mail from the control thread */
	struct spsc out;       /* mail to it */
	uv_async_t *control;   /* wakes it */
	void *control_ctx;

	struct data_limits limits;
	struct board *board;
	struct blame *blame;
	uint64_t now_ns; /* of this round of the loop */
	_Atomic bool ticking; /* filters may run: the watchdog looks */
	unsigned idle_ticks;
	unsigned ticks;
	bool rang;       /* some doorbell was heard: drain */
	bool stopping;

	struct list lanes; /* open ones */
	uint32_t n_lanes;
	struct chainset *sets[LANE_SETS]; /* by slot, those alive */
	struct chainset *current;
	bool installing; /* verdicts are posted when all units have started */

	struct pool exchanges;
	struct run *run;             /* the one in use */
	struct run *spare[DATA_HELD_MAX]; /* for when that one is held */
	uint32_t n_spare;
	struct exchange *held[DATA_HELD_MAX];
	uint32_t n_held;
	bool resumes; /* some of them are to go on */

	struct unit *judged; /* units that wait for on_drained */
	struct data_counts counts;
	struct data_event events[DATA_EVENTS];
	uint64_t n_events;
	uint64_t random; /* state of the xorshift behind host->random */
	bool touched;    /* some unit's state changed since it was saved */
	bool saving;     /* a save is on its way */
	void (*save)(struct data *data); /* collects state for the control thread; NULL: none */
	char state[UNIT_STATE_MAX];
	char blob[UNIT_REPLY_MAX];
};

int data_init(struct data *data, const struct data_limits *limits, struct blame *blame,
	      uv_async_t *control, void *control_ctx, struct err *err);
int data_start(struct data *data, struct err *err); /* starts the thread */
void data_fini(struct data *data);                  /* after it has ended */

/* Control thread: sends mail. */
void data_post(struct data *data, struct mail *mail);
/* Control thread: delivers what came back. */
void data_deliver(struct data *data);
/* Data thread: sends mail back. */
void data_return(struct data *data, struct mail *mail);

/* Data thread, called by unit.c and host.c. */
void data_repost(struct data *data, struct unit *unit); /* what stands for it has changed */
/* The unit's state may have changed: it is to be saved. */
static inline void data_touch(struct data *data, struct unit *unit)
{
	unit->touched = true;
	data->touched = true;
}
void data_event(struct data *data, const struct unit *unit, const char *event,
		const struct mp_field *fields, size_t n_fields);

/* Between the files of the data thread. */
void data_busy(struct data *data);            /* from now on there are ticks */
uint64_t data_clock(struct data *data);       /* reads the clock into now_ns */
bool serve_lane(struct data *data, struct lane *lane); /* true: there was a question */
bool serve_resumes(struct data *data); /* true: some held exchange went on */
void serve_held_timer(uv_timer_t *timer);
void exchange_end(struct data *data, struct exchange *exchange);
void exchange_abandon(struct data *data, struct exchange *exchange);
void exchanges_abandon_old(struct data *data);
bool drain_all(struct data *data); /* true: there was an outcome */
void drain_lane_end(struct data *data, struct lane *lane); /* it is going: the last drain */
void data_retire(struct data *data);

/* Bodies of mail: install.c, data.c. */
struct install_mail {
	struct mail mail;
	struct chainset *set; /* to be installed; slot chosen there */
	int result;           /* 0, -EALREADY (epoch), -EBUSY (all slots alive) */
};
void install_there(struct data *data, struct mail *mail);

struct lane_mail {
	struct mail mail;
	struct lane *lane;
};
void lane_attach_there(struct data *data, struct mail *mail);
void lane_detach_there(struct data *data, struct mail *mail);

/* A chain set that nobody needs any more travels back in one of these. */
struct retire_mail {
	struct mail mail;
	struct chainset *set;
};
/* What becomes of a retired set on the control thread; set by it before data_start(). */
extern void (*data_on_retired)(void *control, struct mail *mail);

void data_stop_there(struct data *data, struct mail *mail);

#endif
