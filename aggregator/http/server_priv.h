/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this folder share: the server and its requests.
 *
 * A request is libmicrohttpd's while it comes in and goes out, and the loop's
 * in between, when its connection is suspended: the queue and the resumption
 * hand it over.  Each side has a reference; a stream, which both sides use, has a lock.
 */
#ifndef AGGREGATOR_HTTP_SERVER_PRIV_H
#define AGGREGATOR_HTTP_SERVER_PRIV_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "aggregator/http/access.h"
#include "aggregator/http/conn.h"
#include "aggregator/http/guard.h"
#include "aggregator/http/reload.h"
#include "aggregator/http/server.h"
#include "aggregator/http/target.h"
#include "aggregator/http/tls.h"
#include "lib/list.h"

#define HTTP_ROUTES 64        /* most rows of a table */
#define HTTP_ANSWER_FIELDS 16 /* most fields of an answer */

/* A route and its pattern. */
struct route {
	const struct http_route *row; /* borrowed */
	struct pattern pattern;       /* of its path */
};

struct http_server {
	uv_loop_t *loop;                 /* borrowed */
	struct http_options options;     /* as given; its texts are not kept */
	struct worker *workers;          /* owned; NULL before the start and behind the end */
	size_t n_workers;                /* of them */
	struct route routes[HTTP_ROUTES]; /* in the order of the table */
	size_t n_routes;                 /* of them */
	void *ctx;                       /* of handlers */
	struct conns conns;              /* all connections */
	int bell;                        /* eventfd: there is something in `queue` */
	uv_poll_t wake;                  /* hears it */
	uv_timer_t sweep;                /* looks after deadlines and clients that went */
	_Atomic bool calm;               /* the loop drives the workers' libmicrohttpd: calm.c */
	bool can_be_calm;                /* that may be at all */
	uv_poll_t *polls;                /* then they hear of events, one for each worker; owned */
	size_t n_polls;                  /* of them, open */
	uv_idle_t again;                 /* runs when there is more to do */
	size_t owed;                     /* requests whose handlers owe an answer, or a stream */
	size_t owed_most;                /* that there were in this beat */
	_Atomic(struct http_req *) queue; /* newest first: for the loop */
	struct list open;                /* of http_req.open: with their handlers */
	struct reload reload;            /* reads the files again */
	struct tls *tls;                 /* NULL: plain */
	pthread_mutex_t access_lock;     /* of `access`: workers ask, the loop replaces it */
	struct access *access;           /* NULL: no token file, for as long as the server lives */
	bool asks_certs;                 /* clients are asked for certificates */
	char *unix_path;                 /* of the socket, to be removed; or NULL */
	int port;                        /* that it listens on */
	bool plain_heads;                /* this libmicrohttpd's heads can be looked at by guard_plain() */
	bool stopping;                   /* http_server_stop() was called */
	uint64_t stop_at;                /* then what is open is given up; loop's milliseconds */
	unsigned beats;                  /* sweeps so far */
	int handles;                     /* that have not closed yet */
	bool closing;                    /* the last of them are closed */
	void (*stopped)(void *ctx);      /* as given */
	void *stopped_ctx;               /* of it */
	_Atomic uint64_t held;           /* bytes of bodies and answers */
	_Atomic uint64_t held_nobody;    /* those of them of who has not said who it is */
	_Atomic uint64_t unread;         /* bytes of streams */
	_Atomic uint64_t requests;       /* for statistics, as in struct http_stats */
	_Atomic uint64_t answers[6];     /* ... */
	_Atomic uint64_t refused;        /* ... */
	_Atomic uint64_t misdirected;    /* ... */
	_Atomic uint64_t streams;        /* ... */
};

/* A thread with a libmicrohttpd; its server is the `cls` of all callbacks. */
struct worker {
	struct http_server *server;         /* its own */
	struct MHD_Daemon *daemon;          /* used by who has `driving` */
	pthread_t thread;                   /* see worker.c */
	int bell;                           /* eventfd: something was asked of it */
	pthread_mutex_t driving;            /* who drives has it: its thread, or the loop (calm.c) */
	bool by_loop;                       /* the loop has it */
	bool again;                         /* the loop's: libmicrohttpd has more to do */
	_Atomic(struct http_req *) resumes; /* newest first: to be resumed */
	_Atomic bool quiesce;               /* it is to listen no more ... */
	bool quiet;                         /* ... and does not; its thread's */
	_Atomic bool stop;                  /* it is to end */
};

/* Who a client is. */
struct who {
	bool known;                       /* it has said who it is, and that is true */
	unsigned rights;                  /* that it has with every row */
	const struct access_entry *entry; /* that gives it more; or NULL */
	struct access *access;            /* the token file that it was found with; one reference, or NULL */
	char text[ACCESS_NAME_MAX + 32];  /* for people */
};

/* An answer as it is handed to libmicrohttpd. */
struct answer {
	int status;                 /* 0: there is none yet */
	bool close;                 /* nothing may follow on this connection */
	bool drop;                  /* no answer at all: the connection is given up */
	struct buf fields;          /* name NUL value NUL ... */
	struct buf body;            /* not of a stream */
};

/* The part of a request that both sides use while it is a stream. */
struct stream {
	pthread_mutex_t lock;        /* of what follows */
	struct buf in;               /* written, not yet taken */
	struct buf out;              /* what is being sent */
	size_t sent;                 /* bytes of `out` that were */
	bool open;                   /* http_stream_open() was called */
	bool suspended;              /* the connection sleeps until there is more */
	bool ended;                  /* nothing more will be written */
	bool aborted;                /* ends now, as if by an error */
	bool over;                   /* libmicrohttpd is done with it */
	size_t low;                  /* calls drained() at that many bytes */
	bool waiting;                /* somebody waits for that */
	bool drained;                /* it is so far */
	bool queued;                 /* the loop is told */
};

struct http_req {
	struct http_req *next;        /* in the queue */
	struct list open;             /* in struct http_server while its handler has it */
	struct http_req *next_resume; /* in the queue of its worker */
	struct http_server *server;   /* its own */
	struct worker *worker;        /* that has its connection */
	struct http_conn *conn;       /* valid on libmicrohttpd's side */
	struct MHD_Connection *mhd;   /* valid until it is answered */
	_Atomic int refs;             /* sides that need it */
	char *raw;                    /* target as it came, then decoded in place; owned */
	size_t raw_size;              /* bytes of it */
	const char *raw_at;           /* where it came; to be compared only */
	bool seen;                    /* its head was looked at */
	bool head;                    /* HEAD */
	bool refuse;                  /* `answer` stands before the body has come */
	bool given;                   /* it was put into the queue */
	bool handed;                  /* the loop has taken it from there */
	bool done;                    /* its handler has answered */
	bool gone;                    /* nobody waits for its answer */
	bool told;                    /* on_gone() was called, or need not be */
	struct route *route;          /* that it matches */
	struct target target;         /* slices of `raw` */
	struct guard_head fields;     /* slices of libmicrohttpd's memory, then of head_text */
	struct buf head_text;         /* their bytes, once a handler may have the request */
	struct guard_body expects;    /* what the body will be */
	struct buf body;              /* so far */
	uint64_t discarded;           /* bytes of the body that were not kept */
	uint64_t held;                /* bytes of it in http_server.held ... */
	uint64_t held_nobody;         /* ... and in http_server.held_nobody */
	uint64_t handed_at;           /* loop's milliseconds */
	char peer[INET6_ADDRSTRLEN];  /* of the connection */
	struct tls_peer *tls_peer;    /* its certificate; one reference, or NULL */
	struct who who;               /* whose it is; from its head on */
	struct answer answer;         /* what the handler said */
	struct buf audit;             /* pairs of its audit line; empty: it is no administrative act */
	const char *audit_outcome;    /* a literal; NULL: as the status says */
	struct stream stream;         /* when it is one */
	void (*on_gone)(void *ctx);   /* as given; NULL: nobody asks */
	void *on_gone_ctx;            /* of it */
	void (*on_drain)(void *ctx);  /* the same of http_stream_on_drain() */
	void *on_drain_ctx;           /* of it */
};

/* request.c: any thread. */
struct http_req *req_new(struct worker *worker, const char *target);
void req_unref(struct http_req *req);

/* More bytes are held for it; false when there would be too many. */
bool req_hold(struct http_req *req, uint64_t bytes);

/* answer.c: sets an error as the answer.  Any thread that has the request. */
void answer_error(struct http_req *req, int status, const char *code, const char *text);
void answer_field(struct http_req *req, const char *name, const char *value);

/* Gives the answer, or the reason why there is none, to libmicrohttpd. */
enum MHD_Result answer_send(struct http_req *req, struct MHD_Connection *connection);

/* A new bell (an eventfd), or -1. */
int bell_new(void);

/* Rings it; any thread.  Hears it, and it is silent again. */
void bell_ring(int bell);
void bell_hear(int bell);

/* queue.c: hands a request to the loop.  Any thread. */
void queue_push(struct http_req *req);
void queue_take(struct http_server *server);

/* The handler has answered: out it goes, and the loop's reference with it. */
void req_finish(struct http_req *req);

/* The same without an answer: it has none any more, or its stream has ended. */
void req_drop(struct http_req *req);

/* Its client has gone, says the loop. */
void req_tell_gone(struct http_req *req);

/* Gives up those whose clients have gone, or all. */
void queue_sweep(struct http_server *server, bool all);

/* stream.c: the response of a stream; NULL without memory. */
struct MHD_Response *stream_response(struct http_req *req);

/* libmicrohttpd is done with the stream. */
void stream_over(struct http_req *req);

/* The loop was called for it. */
void stream_told(struct http_req *req);

/* Aborts it. */
void stream_abort(struct http_req *req);

void stream_fini(struct http_req *req);

/* worker.c: its listening socket is a copy.  0 or a negative errno. */
int worker_start(struct worker *worker, struct http_server *server, int listen_fd,
		 struct err *err);

/* Listens no more. */
void worker_quiesce(struct worker *worker);

/* Ends and joins; no connection may be suspended, but for those in its queue. */
void worker_stop(struct worker *worker);

/* The connection goes on: it was suspended, and nobody else asks the same.  The loop's thread. */
void worker_resume(struct http_req *req);

/* The loop does what there is to do for the worker; true when there is more.  When it is calm. */
bool worker_drive(struct worker *worker);
bool worker_has_answers(struct worker *worker);
int worker_fd(struct worker *worker); /* readable when there is something to do */

/*
 * calm.c: the loop has one more to answer; when it is calm, an answer goes out at once, and
 * what streams have to send in the next round.
 */
void calm_owed(struct http_server *server);
void calm_answer(struct http_server *server, struct worker *worker);
void calm_later(struct http_server *server);

/* Its life; calm_end() closes handles, and what it is given is called for each. */
void calm_init(struct http_server *server);
void calm_beat(struct http_server *server);
void calm_end(struct http_server *server, uv_close_cb closed);

/* intake.c: libmicrohttpd's callbacks, with the worker as their cls. */
enum MHD_Result intake_accept(void *cls, const struct sockaddr *from, socklen_t size);
void intake_connection(void *cls, struct MHD_Connection *connection, void **ctx,
		       enum MHD_ConnectionNotificationCode code);
int intake_certificate(gnutls_session_t session, const struct gnutls_cert_retr_st *info,
		       gnutls_pcert_st **certs, unsigned *n, gnutls_ocsp_data_st **ocsp,
		       unsigned *n_ocsp, gnutls_privkey_t *key, unsigned *flags);
void *intake_target(void *cls, const char *target, struct MHD_Connection *connection);
enum MHD_Result intake_request(void *cls, struct MHD_Connection *connection, const char *url,
			       const char *method, const char *version, const char *data,
			       size_t *size, void **ctx);
void intake_completed(void *cls, struct MHD_Connection *connection, void **ctx,
		      enum MHD_RequestTerminationCode code);

/*
 * rights.c: who it is, from its head and its certificate.  Any thread that has the request.
 * rights_challenge() is what who is not known, and has to be, is answered; the caller sends it.
 */
void rights_find(struct http_req *req);
void rights_challenge(struct http_req *req);
void rights_forget(struct http_req *req);

/* Another token file is in force: one reference, which is the server's from here on. */
void rights_use(struct http_server *server, struct access *access);

/* audit.c: the request is answered with that status. */
void audit_end(struct http_req *req, int status);

/* listen.c: a listening socket by the options; or a negative errno. */
int listen_open(const struct http_options *options, struct err *err);

/* Is it one that only this machine reaches?  And its port, 0 for a Unix socket. */
bool listen_is_local(int fd, int *ret_port);

#endif
