/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control thread: everything of the scheduler that is not a call.
 *
 *   control.c   the loop, signals, the watchdog over the data thread
 *   doorway.c   app processes that come and go: hello, lanes, pidfds
 *   config.c    loading chain files
 *   state.c     the state file
 *   api.c       HTTP on the control socket; status.c, explain.c, operate.c its documents
 *
 * One loop, one thread; it gives the data thread work by mail.
 */
#ifndef SCHEDULER_CONTROL_H
#define SCHEDULER_CONTROL_H

#include <stdbool.h>

#include <uv.h>

#include "lib/err.h"
#include "lib/json.h"
#include "lib/list.h"
#include "middlepipes/catalog.h"
#include "scheduler/data.h"
#include "scheduler/keep.h"
#include "scheduler/look.h"

struct MHD_Daemon;
struct load;

/* What the worker was told; all borrowed from the command line. */
struct scheduler_options {
	const char *socket;      /* path of the apps' socket */
	const char *control;     /* path of the control socket */
	const char *chain;       /* chain file, NULL: none at start */
	const char *filters_dir; /* folder of `.so` filters, NULL: built-in only */
	bool prefer_shared;      /* a `.so` wins over a built-in filter */
	const char *state;       /* state file, NULL: none */
	int64_t lanes, slots, ring, slot_size;
	int64_t filter_budget_ms;
	int64_t call_age_ms;
	int64_t ready_fd; /* a newline goes there when all is up, -1: nowhere */
	bool no_supervisor;
	int listen_fd;  /* bound and listening, from the supervisor */
	int control_fd;
	struct keep *keep; /* outlives the worker, likewise */
};

struct control {
	uv_loop_t loop;
	uv_async_t wake; /* the data thread has sent mail, or is busy */
	uv_timer_t watchdog;
	uv_signal_t on_term, on_int, on_hup;
	uv_poll_t door;     /* the apps' listening socket */
	uv_poll_t http;     /* libmicrohttpd's epoll descriptor */
	uv_timer_t http_timer;
	struct MHD_Daemon *daemon;

	const struct scheduler_options *options;
	struct data *data;
	struct blame *blame;
	struct catalog *catalog;
	uint64_t started_wall_ns;

	struct chainset *current; /* in force, or on its way to be */
	struct chainset *before;  /* the one before, while an install is under way */
	struct load *loading;     /* install under way; NULL: none */

	struct lane **lanes; /* by number; NULL: free */
	uint64_t last_lane_id;
	uint32_t n_waiting;  /* connections that have not said hello */
	struct list waiting;
	uint64_t lanes_opened, lanes_refused, lanes_reclaimed;

	uint32_t watched;     /* `round` at the last look */
	uint32_t watched_unit;
	uint64_t watched_ns;  /* when it was first seen so */
	json_t *state;        /* the state file as it was at start; NULL: none */
	bool stopping;
	bool failed;          /* it could not start: the exit code says so */
};

/* Runs a worker until it is told to end; its exit code. */
int control_run(const struct scheduler_options *options, struct blame *blame);

/* doorway.c */
int doorway_open(struct control *control, struct err *err);
/* Lets apps in: not before the chains are in force, or calls would go unfiltered and uncounted. */
void doorway_serve(struct control *control);
uint32_t doorway_open_lanes(const struct control *control);

/*
 * config.c.  Loads a chain file; `done` is called once, from here or later,
 * with 0, or -EINVAL (errs), -EEXIST (epoch), -EBUSY (try again); changed:
 * false when it is what is in force already.
 */
struct load {
	struct install_mail install;
	struct control *control;
	void (*done)(struct load *load, int result);
	void *ctx;
	struct json_errs errs;
	struct err err;   /* for errors that no path goes with */
	bool changed;
	bool force;       /* the same epoch again, to take ejected filters back in */
	uint64_t epoch;
};
void config_load(struct load *load, struct control *control, struct mp_str text);
void config_load_fini(struct load *load);
/* The chain file of the command line; the same results as config_load(), or -ENOENT. */
void config_reload(struct load *load, struct control *control);
void config_retired(void *control, struct mail *mail);
/* The chain set in force, NULL: none.  Letters sent now find it alive. */
const struct chainset *config_in_force(const struct control *control);

/* state.c */
int state_load(struct control *control, struct err *err);
void state_collect(struct data *data); /* data->save */
/* Text of the chains that the worker before, or else the state file, had; NULL: none; borrowed. */
const char *state_chains(const struct control *control);
/* Gives a new unit what the file had for its key. */
void state_give(struct control *control, struct chainset *set);

/* api.c */
int api_open(struct control *control, struct err *err);

/* A request of the control API, on its way through the data thread where it has to. */
struct api_call {
	struct look look; /* first: the letter, also of what needs no look */
	struct control *control;
	void *connection; /* libmicrohttpd's, suspended */
	const struct api_route *route;
	char name[64];    /* middlepipe in the path */
	char *argument;   /* query argument, owned */
	struct buf body;
	int status;       /* HTTP */
	json_t *reply;    /* owned; set: the call is done */
	bool suspended;
	bool queued;      /* the answer has been queued */
	struct load load;
	/* status, standing: the document so far, owned, and where in the set it stands. */
	json_t *list;
	uint32_t at_chain, at_unit, at_destination;
	size_t match;         /* explain: the one of its destination's that was met */
	/* events */
	uint64_t after;   /* number that the caller has */
	uint64_t next;    /* number of the newest */
	struct data_event *events; /* owned */
	uint32_t n_events;
	/* override, reset */
	const char *command;  /* its name */
	char value[64];
	int found, taken, refused; /* units of that name; by what they said */
	bool reinstall;       /* an ejected middlepipe is to be taken back in */
};

/* What the routes do, on the control thread: set status and reply at once or after some mail. */
void status_get(struct api_call *call);
void standing_get(struct api_call *call);
void chains_get(struct api_call *call);
void events_get(struct api_call *call);
void explain_get(struct api_call *call);
void override_post(struct api_call *call);
void reset_post(struct api_call *call);

/* Sends the call's letter to the data thread. */
void api_send(struct api_call *call, void (*there)(struct data *, struct mail *),
	      void (*back)(void *control, struct mail *));
/* The reply is there. */
void api_done(struct api_call *call);

/* {"error": text} with a status. */
void api_fail(struct api_call *call, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
