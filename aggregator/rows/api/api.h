/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows over HTTP: the calls of docs/rows-api.md on the front of aggregator/http/.
 *
 *   api.c       the table of routes, and what its handlers share
 *   put.c       puts, policies, floors, deletion
 *   forward.c   those of rows that another member owns
 *   send.c      the same, many at a time; receive.c is the other end
 *   meant.c     for whom a request between members is
 *   read.c      rows, cells and lists
 *   snapshot.c  what a row came to
 *   subscribe.c streams, as events or as frames (events.c)
 *   members.c   members: who they are, tokens, joining and leaving
 *   state.c     status, owners and health; metrics.c the same for Prometheus
 *   export.c    all rows as lines (lines.c); import.c, import_state.c and check.c likewise
 *
 * All in the loop's thread.
 */
#ifndef AGGREGATOR_ROWS_API_API_H
#define AGGREGATOR_ROWS_API_API_H

#include "aggregator/etcd/managed.h"
#include "aggregator/http/server.h"
#include "aggregator/rows/group.h"

struct joining;
struct etcd_room;

#define ROWS_REQUEST_MAX ((size_t)4 << 20) /* bytes of a request's body */
#define ROWS_IMPORT_MAX ((size_t)16 << 20) /* likewise of one that imports: a put of the greatest size, as lines */

/* What the handlers work with: their ctx. */
struct rows_http {
	struct group *group;         /* borrowed */
	struct catalog *halves;      /* that rows may have as checks; borrowed */
	struct http_server *server;  /* borrowed; NULL until it runs */
	const char *member;          /* id of this member */
	char tenant[3 * ROW_TENANT_MAX + 1]; /* whose rows; percent-encoded */
	char process[17];            /* group_nonce() in hex digits */
	struct http_field own[3];    /* these two, for the server */
	uint64_t misdirected;        /* requests that were meant for another group */
	const char *data;            /* directory that the rows lie in; NULL: none */
	uint64_t put_ns;             /* that a put may take */
	uint64_t read_ns;            /* likewise a read */
	uint64_t started_ns;         /* group_now() at the start */
	struct http_multi *others;   /* connections to other members; borrowed, NULL: alone */
	struct list parked;          /* struct rows_request that wait for an owner */
	uv_timer_t park_timer;       /* looks at them */
	struct list ways;            /* to other members, see send.c */
	struct list received;        /* parcels with answers to be sent, see receive.c */
	uv_timer_t turn_timer;       /* see rows_turn() */
	bool turning;                /* it is due at once */
	struct list waits;           /* reads that wait for a cell, see read.c */
	struct list streams;         /* all subscriptions, see subscribe.c */
	struct list waiting;         /* of them those that want rows which may come */
	uint64_t n_streams;          /* opened so far */
	uint64_t slow;               /* closed because they did not read */
	struct list lines;           /* exports and checks under way, see lines.h */
	size_t n_lines;              /* of them */
	size_t cell_max;             /* bytes of a cell that is put */
	size_t request_max;          /* bytes of a put; at most ROWS_REQUEST_MAX */
	uint64_t too_large;          /* puts with more */
	const struct etcd_room *room; /* how much etcd has; borrowed, NULL: not etcd's */
	struct managed *managed;     /* etcd of our own; borrowed, NULL: none */
	struct joining *joining;     /* a member that is being let in; NULL: nobody */
	unsigned n_joining;          /* those that ask for it, their tokens being looked up */
	void (*leave)(void *ctx);    /* takes this member out of its group; with managed */
	void *leave_ctx;             /* of leave() */
};

/* Ends with a NULL path. */
extern const struct http_route rows_routes[];

/* The loop is the group's.  rows_http_fini() is due, when no request is under way and the group has gone. */
void rows_http_init(struct rows_http *http, uv_loop_t *loop);
void rows_http_fini(struct rows_http *http);

/* struct members_net: asks whether that process of a member's lives. */
void rows_ping(struct rows_http *http, const char *id, uint64_t nonce, const char *url);

/* To be called with each row that the group tells of. */
void rows_http_row(struct rows_http *http, struct row *row);

/* The handlers, by route. */
void rows_put_cells(void *ctx, struct http_req *req);
void rows_check_cells(void *ctx, struct http_req *req);
void rows_put_policies(void *ctx, struct http_req *req);
void rows_put_floor(void *ctx, struct http_req *req);
void rows_delete(void *ctx, struct http_req *req);
void rows_put_parcel(void *ctx, struct http_req *req);
void rows_list(void *ctx, struct http_req *req);
void rows_get(void *ctx, struct http_req *req);
void rows_get_range(void *ctx, struct http_req *req);
void rows_get_cell(void *ctx, struct http_req *req);
void rows_get_snapshot(void *ctx, struct http_req *req);
void rows_subscribe(void *ctx, struct http_req *req);
void rows_members(void *ctx, struct http_req *req);
void rows_token(void *ctx, struct http_req *req);
void rows_join(void *ctx, struct http_req *req);
void rows_drain(void *ctx, struct http_req *req);
void rows_leave(void *ctx, struct http_req *req);
void rows_owners(void *ctx, struct http_req *req);
void rows_status(void *ctx, struct http_req *req);
void rows_alive(void *ctx, struct http_req *req);
void rows_ready(void *ctx, struct http_req *req);
void rows_metrics(void *ctx, struct http_req *req);
void rows_export(void *ctx, struct http_req *req);
void rows_import(void *ctx, struct http_req *req);
void rows_check(void *ctx, struct http_req *req);

/* Reads that wait for a cell are answered 503 with that reason. */
void rows_end_waits(struct rows_http *http, const char *why);

/* The row has come: reads that wait for it go on. */
void rows_reads_row(struct rows_http *http, struct row *row);

/* Ends all streams with that reason. */
void rows_end_streams(struct rows_http *http, const char *code, const char *why);

/* How far behind the streams' readers are. */
struct rows_lag {
	uint64_t bytes, bytes_max; /* of all streams, of the one that is most behind */
	uint64_t cells_max;        /* of one row of one stream */
};
struct rows_lag rows_streams_lag(const struct rows_http *http);

/* May the client see what is no row's?  False: answered. */
bool rows_may_look(struct http_req *req);

/*
 * May it do that with any row at all?  For what goes over many: who may not is told so, and
 * nothing is looked for.  False: answered.
 */
bool rows_may_somewhere(struct http_req *req, enum http_right right);

/* A row has changed: streams may have waited for it. */
void rows_streams_row(struct rows_http *http, struct row *row);

/* ------------------------------------------------------------ among members (meant.c) */

#define ROWS_MEANT_FIELDS 3
#define ROWS_PROCESS_FIELD "Middlepipe-Process"

/* Who this is, for http_options.own and for what follows; once the group is open. */
void rows_http_name(struct rows_http *http, struct mp_str tenant);

/* Room for the fields that name whom a request is for. */
struct rows_meant {
	char group[64], tenant[3 * ROW_TENANT_MAX + 32], process[48];
};

/* ROWS_MEANT_FIELDS of "Name: value", in `text`: that process of this group and tenant. */
void rows_meant(const struct rows_http *http, uint64_t nonce, struct rows_meant *text, const char **fields);

/* Is this group meant, as far as the request says?  False: answered with 421, and nothing is to be done. */
bool rows_is_meant(struct rows_http *http, struct http_req *req);

/* ----------------------------------------------------------------- what they share */

/*
 * The row's name of the path, checked, and with the right to it.  False: the
 * request was answered.
 */
bool rows_name(struct http_req *req, enum http_right right, struct mp_str *ret);

/*
 * Has the query no parameters but those? known: names with blanks between, "" for
 * none. False: answered.
 */
bool rows_query_only(struct http_req *req, const char *known);

/* Is `text`, a media type perhaps with parameters, that type? */
bool rows_media_is(struct mp_str text, struct mp_str type);

/* Does the request's Accept name that type? What is wanted by wildcards does not count. */
bool rows_accepts(struct http_req *req, struct mp_str type);

/* A parameter of the query as a number up to max; *ret stays without it.  False: answered. */
bool rows_query_number(struct http_req *req, const char *name, uint64_t max, uint64_t *ret);

/* "00000000000000ff" */
bool rows_incarnation(struct mp_str text, uint64_t *ret);

/*
 * The rows that the client may read, with names that begin with `prefix` and come behind `after`,
 * sorted; free() is due, the rows are the copy's.  NULL: out of memory.
 */
struct row **rows_collect(struct rows_http *http, struct http_req *req, struct mp_str prefix,
			  struct mp_str after, size_t *ret_n);

/* Appends ROW of docs/rows-api.md. */
void rows_add_row(struct buf *out, const struct rows_http *http, const struct row *row);

/* Appends CELL. */
void rows_add_cell(struct buf *out, const struct row *row, const struct cell *cell, bool with_row);

/* Answers with JSON that stands in `body`, and ends the buffer. */
void rows_answer(struct http_req *req, int status, struct buf *body);

const char *cell_kind_name(uint8_t kind);

#endif
