/* SPDX-License-Identifier: Apache-2.0 */
/* See memfd.h. */
#include "scheduler/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3; glibc 2.36 does not name it */
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010 /* Linux 5.1 */
#endif

static int create(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd;
}

/* Maps and seals; our own writable mapping outlives the seal, which forbids new ones only. */
static int map_and_seal(int fd, size_t size, enum memfd_kind kind, char **ret_base)
{
	int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (base == MAP_FAILED)
		return -errno;
	if (kind == MEMFD_READ_ONLY)
		seals |= F_SEAL_FUTURE_WRITE;
	if (fcntl(fd, F_ADD_SEALS, seals) < 0) {
		int r = -errno;

		munmap(base, size);
		return r;
	}
	(void)madvise(base, size, MADV_DONTDUMP); /* the apps' traffic: not for core files */
	*ret_base = base;
	return 0;
}

int memfd_make(const char *name, size_t size, enum memfd_kind kind, int *ret_fd, char **ret_base,
	       struct err *err)
{
	int fd = create(name), r;

	if (fd < 0)
		return err_sys(err, errno, name);
	r = ftruncate(fd, (off_t)size) < 0 ? -errno : map_and_seal(fd, size, kind, ret_base);
	if (r < 0) {
		close(fd);
		return err_sys(err, r, name);
	}
	*ret_fd = fd;
	return 0;
}

void memfd_free(int fd, char *base, size_t size)
{
	if (base)
		munmap(base, size);
	if (fd >= 0)
		close(fd);
}
