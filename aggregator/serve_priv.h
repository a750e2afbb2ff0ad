/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of mp-aggregator's main loop: what serve.c and serve_managed.c (etcd of our
 * own) share.
 */
#ifndef AGGREGATOR_SERVE_PRIV_H
#define AGGREGATOR_SERVE_PRIV_H

#include "aggregator/etcd/managed.h"
#include "aggregator/rows/api/api.h"
#include "aggregator/serve.h"

#define EXIT_WRONG 1

/* The running program. */
struct program {
	struct serve_options *options;
	uv_loop_t loop;
	struct catalog *halves;      /* that rows may have as checks */
	struct managed *managed;     /* etcd of our own; NULL: none, or it has closed */
	struct group *group;         /* NULL once it has closed, and before it is opened */
	struct rows_http http;
	struct etcd_room *room;      /* how much etcd has; NULL: alone, or it has closed */
	struct http_multi *room_http; /* by which it is asked */
	bool told_full;              /* there is none for cells, and that was said */
	struct http_multi *others;   /* connections to other members; NULL: alone */
	struct http_server *server;  /* NULL once it has stopped */
	uv_signal_t on_term, on_int; /* end it */
	uv_timer_t health_timer;     /* looks at the engine; `data` NULL: not there */
	unsigned unwell;             /* times in a row that it was found so */
	char member[ROW_TENANT_MAX + 1];
	char address[128];           /* to listen on */
	char url[MEMBER_URL_MAX + 1]; /* where others reach this member */
	struct buf data;             /* the directory */
	bool stopping;
	bool leaving;                /* managed: out of the group, once its rows are closed */
	bool failed;                 /* managed: it can do nothing any more but close */
	bool ending;                 /* serve_end() was called: only `managed` is left */
	int code;                    /* to exit with */
};

/* serve.c: opens the rows and their front, once it is known who this is.  0 or -errno. */
int serve_rows(struct program *p, struct err *err);

/* Says why, and stops. */
void serve_failed(void *ctx, const char *why);

/* First the shards go to others; then the front stops; then the rows are closed; then serve_end(). */
void serve_stop(struct program *p, int code);

/* No rows are open: etcd ends, too, perhaps after it was taken out of its group. */
void serve_end(struct program *p);

/* struct engine_etcd_options: to be told to the group. */
void serve_lease_lost(void *ctx);

/*
 * serve_room.c: asks etcd how full it is, once the group is open; whom, when that has changed; and what
 * its quota is.  close: serve_end() follows.
 */
int serve_room_open(struct program *p, struct err *err);
void serve_room_endpoints(struct program *p);
int64_t serve_quota(const struct serve_options *options);
void serve_room_close(struct program *p);

/* serve_health.c: logs how the engine is, from when there may be one until the program ends. */
void serve_health_open(struct program *p);
void serve_health_close(struct program *p);

/* serve_managed.c: begins with etcd of our own; serve_rows() follows.  0 or -errno. */
int serve_managed(struct program *p, struct err *err);

/* The engine on it. */
int serve_managed_engine(struct program *p, struct engine **ret, struct err *err);

#endif
