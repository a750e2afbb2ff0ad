/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lib/cleanup: things are released, stolen things are not. */
#include "lib/cleanup.h"

#include <fcntl.h>

#include "tests/lib/tap.h"

static int opened(int *ret_fd)
{
	CLEANUP_CLOSE int fd = open("/dev/null", O_RDONLY);

	*ret_fd = fd;
	errno = EPERM;
	return errno;
}

static char *stolen(void)
{
	CLEANUP_FREE char *text = strdup("kept");

	return STEAL_PTR(text);
}

static int stolen_fd(void)
{
	CLEANUP_CLOSE int fd = open("/dev/null", O_RDONLY);

	return steal_fd(&fd);
}

int main(void)
{
	CLEANUP_FREE char *text = stolen();
	CLEANUP_CLOSE int none = -1;
	CLEANUP_CLOSE int kept = stolen_fd();
	int fd;

	(void)none;
	is_int(opened(&fd), EPERM, "a value is computed before the cleanup");
	is_int(errno, EPERM, "closing keeps errno");
	ok(fd >= 0 && fcntl(fd, F_GETFD) < 0, "the descriptor is closed");
	ok(fcntl(kept, F_GETFD) >= 0, "a stolen descriptor is open");
	is_str(text, "kept", "a stolen pointer is alive");
	return done();
}
