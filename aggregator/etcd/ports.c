/* SPDX-License-Identifier: Apache-2.0 */
/* See ports.h. */
#include "aggregator/etcd/ports.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "lib/cleanup.h"

#define DRAW_LOW 16384   /* ports that are drawn by us: below what Linux gives to clients */
#define DRAW_COUNT 16384
#define DRAWS 64

/* Where a socket binds to. */
union where {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static socklen_t where_of(const char *address, int port, union where *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET6, address, &ret->v6.sin6_addr) == 1) {
		ret->v6.sin6_family = AF_INET6;
		ret->v6.sin6_port = htons((uint16_t)port);
		return sizeof(ret->v6);
	}
	ret->v4.sin_family = AF_INET;
	ret->v4.sin_port = htons((uint16_t)port);
	if (inet_pton(AF_INET, address, &ret->v4.sin_addr) != 1)
		ret->v4.sin_addr.s_addr = htonl(INADDR_ANY);
	return sizeof(ret->v4);
}

/* Binds and lets go again; the port (that was asked for, or given for 0), or 0. */
static int try_port(const char *address, int port)
{
	union where where;
	socklen_t size = where_of(address, port, &where);
	CLEANUP_CLOSE int fd = socket(where.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;

	if (fd < 0)
		return 0;
	/* As Go does: connections that etcd had before are no obstacle. */
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, &where.any, size) < 0 || listen(fd, 1) < 0 || getsockname(fd, &where.any, &size) < 0)
		return 0;
	return ntohs(where.any.sa_family == AF_INET6 ? where.v6.sin6_port : where.v4.sin_port);
}

bool port_is_free(const char *address, int port)
{
	return port > 0 && port <= UINT16_MAX && try_port(address, port) == port;
}

int port_draw(const char *address, int except)
{
	uint16_t chance[DRAWS] = { 0 };
	int port = 0;

	/* Without chance all are the lowest: that, or the kernel's. */
	(void)!getrandom(chance, sizeof(chance), 0);
	for (size_t i = 0; i < DRAWS; i++) {
		port = DRAW_LOW + chance[i] % DRAW_COUNT;
		if (port != except && port_is_free(address, port))
			return port;
	}
	port = try_port(address, 0);
	return port == except ? 0 : port;
}

bool etcd_url(char *out, size_t size, bool tls, const char *address, int port)
{
	bool v6 = strchr(address, ':') != NULL;
	int len = snprintf(out, size, "%s://%s%s%s:%d", tls ? "https" : "http", v6 ? "[" : "", address, v6 ? "]" : "",
			   port);

	return len > 0 && (size_t)len < size;
}

const char *etcd_bind_address(const char *address)
{
	unsigned char bytes[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, address, bytes) == 1 || inet_pton(AF_INET6, address, bytes) == 1 ? address :
												    "0.0.0.0";
}

int etcd_url_port(const char *url)
{
	const char *colon = strrchr(url, ':');
	char *end = NULL;
	long port = colon ? strtol(colon + 1, &end, 10) : 0;

	return colon && end != colon + 1 && !*end && port > 0 && port <= UINT16_MAX ? (int)port : 0;
}

bool etcd_url_address(const char *url, char *out, size_t size)
{
	const char *from = strstr(url, "://"), *colon = strrchr(url, ':');
	size_t len;

	if (!from || colon <= from + 3)
		return false;
	from += 3;
	len = (size_t)(colon - from);
	if (from[0] == '[' && colon[-1] == ']') {
		from++;
		len -= 2;
	}
	if (!len || len >= size)
		return false;
	memcpy(out, from, len);
	out[len] = '\0';
	return true;
}
