/* SPDX-License-Identifier: Apache-2.0 */
/* The listening socket of the front. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "aggregator/http/server_priv.h"
#include "lib/cleanup.h"

#define BACKLOG 1024

/* Nobody listens at the path of a socket that a killed process left behind. */
static void remove_stale(const struct sockaddr_un *address)
{
	CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stat st;

	if (fd >= 0 && !lstat(address->sun_path, &st) && S_ISSOCK(st.st_mode) &&
	    connect(fd, (const void *)address, sizeof(*address)) && errno == ECONNREFUSED)
		(void)unlink(address->sun_path); /* else bind() says why */
}

/* Its owner alone may connect: who may reach it may do everything. */
static int open_unix(const char *path, struct err *err)
{
	CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(address.sun_path))
		return err_set(err, -ENAMETOOLONG, "%s: too long for a socket", path);
	memcpy(address.sun_path, path, strlen(path));
	if (fd < 0)
		return err_sys(err, errno, "socket");
	remove_stale(&address);
	if (bind(fd, (const void *)&address, sizeof(address)) || chmod(path, 0600) ||
	    listen(fd, BACKLOG))
		return err_sys(err, errno, path);
	return steal_fd(&fd);
}

static int open_inet(const struct http_options *o, struct err *err)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
				  .ai_socktype = SOCK_STREAM }, *info;
	CLEANUP_CLOSE int fd = -1;
	char port[16];
	int on = 1, rc;

	(void)snprintf(port, sizeof(port), "%d", o->port);
	rc = o->port < 0 || o->port > 65535 ? EAI_SERVICE : getaddrinfo(o->address, port, &hints, &info);
	if (rc)
		return err_set(err, -EINVAL, "%s port %d is not an address to listen on", o->address,
			       o->port);
	fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	     bind(fd, info->ai_addr, info->ai_addrlen) || listen(fd, BACKLOG) ? errno : 0;
	freeaddrinfo(info);
	if (rc)
		return err_set(err, -rc, "cannot listen on %s port %d: %s", o->address, o->port,
			       strerror(rc));
	return steal_fd(&fd);
}

int listen_open(const struct http_options *o, struct err *err)
{
	if (o->listen_fd >= 0)
		return o->listen_fd;
	if (!o->address)
		return err_set(err, -EINVAL, "there is no address to listen on");
	return o->address[0] == '/' ? open_unix(o->address, err) : open_inet(o, err);
}

bool listen_is_local(int fd, int *ret_port)
{
	struct sockaddr_storage address = { 0 };
	const struct sockaddr_in *four = (const void *)&address;
	const struct sockaddr_in6 *six = (const void *)&address;
	socklen_t size = sizeof(address);

	*ret_port = 0;
	if (getsockname(fd, (struct sockaddr *)&address, &size))
		return false;
	if (address.ss_family == AF_INET) {
		*ret_port = ntohs(four->sin_port);
		return ntohl(four->sin_addr.s_addr) >> 24 == 127;
	}
	if (address.ss_family == AF_INET6) {
		*ret_port = ntohs(six->sin6_port);
		return IN6_IS_ADDR_LOOPBACK(&six->sin6_addr);
	}
	return address.ss_family == AF_UNIX;
}
