/* SPDX-License-Identifier: Apache-2.0 */
/* See conn.h. */
#include "aggregator/http/conn.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "lib/clock.h"
#include "lib/slice.h"

#define PHASE_BITS 3
#define PHASE_MASK (((uint64_t)1 << PHASE_BITS) - 1)
#define FRESH_MS 100 /* when draining: the request of a new connection may be on its way */
_Static_assert(CONN_PHASES <= 1 << PHASE_BITS, "phases fit");

/* An address that has connections. */
struct conn_address {
	char key[16]; /* of the map */
	size_t n;     /* connections */
};

static uint64_t now_ms(void)
{
	return clock_now(&clock_monotonic) / NS_PER_MS;
}

/* The IPv4 address, or the /64 that one customer has of IPv6.  False: not to be counted. */
static bool address_key(const struct sockaddr *from, char key[static 16])
{
	const struct sockaddr_in6 *six = (const void *)from;
	const struct sockaddr_in *four = (const void *)from;

	memset(key, 0, 16);
	if (from->sa_family == AF_INET) {
		memcpy(key + 8, &four->sin_addr, 4);
		key[15] = 4;
		return true;
	}
	if (from->sa_family != AF_INET6)
		return false;
	if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
		memcpy(key + 8, six->sin6_addr.s6_addr + 12, 4);
		key[15] = 4;
	} else {
		memcpy(key, &six->sin6_addr, 8);
		key[15] = 6;
	}
	return true;
}

static void peer_text(const struct sockaddr *from, char *out, size_t size)
{
	const struct sockaddr_in6 *six = (const void *)from;
	const struct sockaddr_in *four = (const void *)from;
	const char *done = NULL;

	if (from->sa_family == AF_INET)
		done = inet_ntop(AF_INET, &four->sin_addr, out, (socklen_t)size);
	else if (from->sa_family == AF_INET6)
		done = inet_ntop(AF_INET6, &six->sin6_addr, out, (socklen_t)size);
	if (!done)
		memcpy(out, "unix", 5);
}

int conns_init(struct conns *c, const struct conn_limits *limits)
{
	memset(c, 0, sizeof(*c));
	list_init(&c->all);
	map_init(&c->by_address, (size_t)limits->total + 64);
	c->limits = *limits;
	return -pthread_mutex_init(&c->lock, NULL);
}

void conns_fini(struct conns *c)
{
	map_fini(&c->by_address);
	pthread_mutex_destroy(&c->lock);
}

bool conns_admit(struct conns *c, const struct sockaddr *from)
{
	struct conn_address *address = NULL;
	bool total, of_address = false;
	char key[16];

	pthread_mutex_lock(&c->lock);
	total = c->n >= (size_t)c->limits.total;
	if (c->limits.per_address && address_key(from, key))
		address = map_get(&c->by_address, slice_make(key, sizeof(key)));
	if (address)
		of_address = address->n >= (size_t)c->limits.per_address;
	pthread_mutex_unlock(&c->lock);
	if (total)
		atomic_fetch_add(&c->counts.over_total, 1);
	else if (of_address)
		atomic_fetch_add(&c->counts.over_address, 1);
	return !total && !of_address;
}

/* The address with one connection more; NULL: none to be counted, or no memory. */
static struct conn_address *address_join(struct conns *c, const struct sockaddr *from)
{
	struct conn_address *address;
	char key[16];

	if (!c->limits.per_address || !address_key(from, key))
		return NULL;
	address = map_get(&c->by_address, slice_make(key, sizeof(key)));
	if (!address) {
		address = calloc(1, sizeof(*address));
		if (!address)
			return NULL;
		memcpy(address->key, key, sizeof(key));
		if (map_put(&c->by_address, slice_make(key, sizeof(key)), address, NULL)) {
			free(address);
			return NULL;
		}
	}
	address->n++;
	return address;
}

static void address_leave(struct conns *c, struct conn_address *address)
{
	if (!address || --address->n)
		return;
	map_remove(&c->by_address, slice_make(address->key, sizeof(address->key)));
	free(address);
}

struct http_conn *conn_new(struct conns *c, int fd, const struct sockaddr *from)
{
	struct http_conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return NULL;
	conn->conns = c;
	conn->fd = fd;
	peer_text(from, conn->peer, sizeof(conn->peer));
	conn_enter(conn, CONN_NEW);
	pthread_mutex_lock(&c->lock);
	list_push_back(&c->all, &conn->link);
	c->n++;
	conn->address = address_join(c, from);
	pthread_mutex_unlock(&c->lock);
	return conn;
}

void conn_free(struct http_conn *conn)
{
	struct conns *c;

	if (!conn)
		return;
	c = conn->conns;
	pthread_mutex_lock(&c->lock);
	list_remove(&conn->link);
	c->n--;
	address_leave(c, conn->address);
	pthread_mutex_unlock(&c->lock);
	tls_peer_unref(conn->tls_peer);
	free(conn);
}

void conn_enter(struct http_conn *conn, enum conn_phase phase)
{
	atomic_store_explicit(&conn->bytes, 0, memory_order_relaxed);
	atomic_store_explicit(&conn->since, now_ms() << PHASE_BITS | (uint64_t)phase,
			      memory_order_relaxed);
}

void conn_begin(struct http_conn *conn)
{
	uint64_t since = atomic_load_explicit(&conn->since, memory_order_relaxed);

	if ((since & PHASE_MASK) == CONN_NEW)
		atomic_store_explicit(&conn->since, (since & ~PHASE_MASK) | CONN_HEAD,
				      memory_order_relaxed);
	else
		conn_enter(conn, CONN_HEAD);
}

void conn_bytes(struct http_conn *conn, uint64_t n)
{
	atomic_fetch_add_explicit(&conn->bytes, n, memory_order_relaxed);
}

/* How long it may do what it does; UINT64_MAX: as long as it likes. */
static uint64_t allowed_ms(const struct conns *c, const struct http_conn *conn,
			   enum conn_phase phase)
{
	uint64_t bytes = atomic_load_explicit(&conn->bytes, memory_order_relaxed);
	bool draining = atomic_load(&c->draining);

	switch (phase) {
	case CONN_NEW: return draining ? FRESH_MS : (uint64_t)c->limits.head_ms;
	case CONN_HEAD: return (uint64_t)c->limits.head_ms;
	case CONN_IDLE: return draining ? 0 : (uint64_t)c->limits.idle_ms;
	case CONN_BODY:
	case CONN_ANSWER:
		return (uint64_t)c->limits.body_ms + bytes * 1000 / (uint64_t)c->limits.least_rate;
	case CONN_BUSY:
	case CONN_STREAM:
	case CONN_PHASES: break;
	}
	return UINT64_MAX;
}

/* The descriptor is libmicrohttpd's, which closes it only after conn_free(). */
static void cut(struct http_conn *conn)
{
	conn->cut = true;
	(void)shutdown(conn->fd, SHUT_RDWR); /* it may have been closed by the other side */
}

void conns_sweep(struct conns *c)
{
	uint64_t now = now_ms();

	pthread_mutex_lock(&c->lock);
	LIST_FOR_EACH(link, &c->all) {
		struct http_conn *conn = LIST_ENTRY_OF(link, struct http_conn, link);
		uint64_t since = atomic_load_explicit(&conn->since, memory_order_relaxed);
		enum conn_phase phase = (enum conn_phase)(since & PHASE_MASK);
		uint64_t for_ms = now - (since >> PHASE_BITS), allowed;

		if (conn->cut || now < since >> PHASE_BITS)
			continue;
		allowed = allowed_ms(c, conn, phase);
		if (allowed == UINT64_MAX || (allowed && for_ms <= allowed))
			continue;
		cut(conn);
		atomic_fetch_add(&c->counts.cut[phase], 1);
	}
	pthread_mutex_unlock(&c->lock);
}

void conns_cut_all(struct conns *c)
{
	pthread_mutex_lock(&c->lock);
	LIST_FOR_EACH(link, &c->all)
		cut(LIST_ENTRY_OF(link, struct http_conn, link));
	pthread_mutex_unlock(&c->lock);
}

size_t conns_count(struct conns *c)
{
	size_t n;

	pthread_mutex_lock(&c->lock);
	n = c->n;
	pthread_mutex_unlock(&c->lock);
	return n;
}
