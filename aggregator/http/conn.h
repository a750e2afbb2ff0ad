/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connections: how many there are in all and of each address, what each
 * of them is doing and since when, and the end of those that take too long.
 *
 * libmicrohttpd's own time-out starts anew at every byte, so that a client which
 * sends one now and then holds its connection for ever; the deadlines here do
 * not.  Connections come and go in libmicrohttpd's threads, the sweep runs in
 * the loop.
 */
#ifndef AGGREGATOR_HTTP_CONN_H
#define AGGREGATOR_HTTP_CONN_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "aggregator/http/tls.h"
#include "lib/list.h"
#include "lib/map.h"

/* What a connection is doing. */
enum conn_phase {
	CONN_NEW,    /* it has sent no line yet */
	CONN_HEAD,   /* the first line of a head is there */
	CONN_IDLE,   /* between two requests */
	CONN_BODY,   /* a body is on its way */
	CONN_BUSY,   /* the request is with its handler: no deadline */
	CONN_ANSWER, /* the answer is on its way */
	CONN_STREAM, /* the same without an end: no deadline */
	CONN_PHASES,
};

/* What cut connections off, and refused them: counted. */
struct conn_counts {
	_Atomic uint64_t cut[CONN_PHASES]; /* by what they were doing */
	_Atomic uint64_t over_total;       /* too many */
	_Atomic uint64_t over_address;     /* too many of one address */
};

/* How long and how many. */
struct conn_limits {
	int total;       /* connections */
	int per_address; /* of one IPv4 address or IPv6 /64; 0: no bound */
	int head_ms;     /* for CONN_NEW and CONN_HEAD together */
	int idle_ms;     /* for CONN_IDLE */
	int body_ms;     /* for CONN_BODY and CONN_ANSWER, besides ... */
	int least_rate;  /* ... their bytes at so many a second */
};

struct conns {
	pthread_mutex_t lock;      /* of the list and the map */
	struct list all;           /* of http_conn.link */
	size_t n;                  /* of them */
	struct map by_address;     /* address_key() -> struct conn_address */
	struct conn_limits limits; /* as given */
	struct conn_counts counts; /* since the start */
	_Atomic bool draining;     /* connections without a request are closed */
};

/* One connection; freed when libmicrohttpd says that it has closed. */
struct http_conn {
	struct list link;             /* in struct conns */
	struct conns *conns;          /* where it is counted */
	struct conn_address *address; /* of it; NULL: not counted by address */
	int fd;                       /* its socket; libmicrohttpd's */
	_Atomic uint64_t since;       /* milliseconds << 3 | enum conn_phase */
	_Atomic uint64_t bytes;       /* of the body or answer so far */
	bool cut;                     /* the sweep has cut it off */
	char peer[INET6_ADDRSTRLEN];  /* address in digits, or "unix" */
	struct tls *tls;              /* of its server, borrowed; NULL: plain */
	struct tls_peer *tls_peer;    /* what is known of its client; one reference */
};

/* 0 or -ENOMEM. */
int conns_init(struct conns *conns, const struct conn_limits *limits);

/* When the last connection has gone. */
void conns_fini(struct conns *conns);

/* May one more of that address come?  Counts what may not.  Any thread. */
bool conns_admit(struct conns *conns, const struct sockaddr *from);

/* NULL without memory. */
struct http_conn *conn_new(struct conns *conns, int fd, const struct sockaddr *from);
void conn_free(struct http_conn *conn);

/* It is doing that from now on. */
void conn_enter(struct http_conn *conn, enum conn_phase phase);

/* The first line of a head is there.  A new connection's time runs on. */
void conn_begin(struct http_conn *conn);

/* So many bytes more of the body have come, or are to be sent. */
void conn_bytes(struct http_conn *conn, uint64_t n);

/* Cuts off what is over its deadline; when draining, what is idle or new, too. */
void conns_sweep(struct conns *conns);

/* Cuts all. */
void conns_cut_all(struct conns *conns);

size_t conns_count(struct conns *conns);

#endif
