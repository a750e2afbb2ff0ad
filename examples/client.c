/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A C program that sends its calls through its pipes: one GET over a plain
 * socket, asked about, observed, and not made when the chain answers.
 *
 *	cc -std=c17 -o client client.c -lmiddlepipe
 *	middlepipe run --chain chain.json --app shop -- ./client 127.0.0.1 9292 /pay
 */
#define _POSIX_C_SOURCE 200809L /* sockets and nanosleep(), under -std=c17 */
#include <middlepipe/client.h>

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct mp_str str(const char *s)
{
	return (struct mp_str){ s, strlen(s) };
}

/* Calls the service.  Returns its status, or 0 and why there is none. */
static int get(const char *host, const char *port, const char *path, int *ret_error)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *at;
	char head[1024];
	int fd, status = 0, n;

	*ret_error = MP_ERROR_REFUSED;
	if (getaddrinfo(host, port, &hints, &at))
		return 0;
	fd = socket(at->ai_family, at->ai_socktype, at->ai_protocol);
	if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) == 0) {
		*ret_error = MP_ERROR_BROKEN;
		n = snprintf(head, sizeof(head), "GET %s HTTP/1.0\r\nHost: %s:%s\r\n\r\n", path, host,
			     port);
		if (write(fd, head, (size_t)n) == n && (n = (int)read(fd, head, sizeof(head) - 1)) > 0) {
			head[n] = '\0';
			*ret_error = sscanf(head, "HTTP/1.%*d %d", &status) == 1 ? 0 : MP_ERROR_PROTOCOL;
		}
	}
	if (fd >= 0)
		close(fd);
	freeaddrinfo(at);
	return status;
}

int main(int argc, char **argv)
{
	struct mp_verdict verdict = { .size = sizeof(verdict) };
	struct mp_call call;
	int next, answer = MP_VERDICT_PASS, status = 0, error = 0;

	if (argc != 4) {
		fprintf(stderr, "usage: %s HOST PORT PATH\n", argv[0]);
		return 2;
	}
	struct mp_target target = { .size = sizeof(target), .scheme = str("http"),
				    .host = str(argv[1]), .path = str(argv[3]),
				    .port = (uint32_t)strtoul(argv[2], NULL, 10) };
	struct mp_request request = { .size = sizeof(request), .flags = MP_BODY_COMPLETE,
				      .method = str("GET"), .scheme = str("http"),
				      .authority = str(argv[1]), .path = str(argv[3]) };

	next = mp_begin(&target, &call, &verdict);
	if (next == MP_ASK)
		answer = mp_ask(&call, &request, &verdict);
	while (answer == MP_VERDICT_HOLD)
		answer = mp_resume(&call, verdict.delay_ns, &verdict);
	if (next == MP_REPLY || answer == MP_VERDICT_REPLY) {
		printf("answered by %.*s: %d, again in %lld s\n", (int)verdict.pipe.len,
		       verdict.pipe.ptr, verdict.status, (long long)verdict.retry_after);
	} else {
		/* A whole program would apply verdict.edits here as well. */
		if (answer == MP_VERDICT_DELAY)
			nanosleep(&(struct timespec){ (time_t)(verdict.delay_ns / 1000000000u),
						      (long)(verdict.delay_ns % 1000000000u) }, NULL);
		status = get(argv[1], argv[2], argv[3], &error);
		printf("the service says %d\n", status);
	}
	mp_verdict_free(&verdict);
	if (next != MP_NONE)
		mp_end(&call, status, error, 0);
	return status < 200 || status > 299;
}
