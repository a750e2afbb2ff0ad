/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cleanup attributes: a local variable releases what it holds when it goes
 * out of scope, so that an early return cannot leak.
 *
 * For locals of any layer.  Always initialize the variable where it is
 * declared (NULL, or -1 for a descriptor), and hand the value on with
 * STEAL_PTR() or steal_fd().  Locks and reference counts do not belong here:
 * they use one forward `out:` label, where the order can be read.
 */
#ifndef LIB_CLEANUP_H
#define LIB_CLEANUP_H

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP_FREE __attribute__((cleanup(cleanup_free)))
#define CLEANUP_CLOSE __attribute__((cleanup(cleanup_close)))

/* The value of the pointer, which is NULL afterwards. */
#define STEAL_PTR(ptr) ((__typeof__(ptr))cleanup_steal_ptr(&(ptr)))

/* `var` is a `char **` or any other pointer to a pointer from malloc(). */
static inline void cleanup_free(void *var)
{
	free(*(void **)var);
}

/* errno survives, because the caller is often on its way out with it. */
static inline void cleanup_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		(void)close(*fd); /* nothing was promised about this descriptor */
	errno = saved;
}

static inline void *cleanup_steal_ptr(void *var)
{
	void *value = *(void **)var;

	*(void **)var = NULL;
	return value;
}

/* The descriptor, which is -1 afterwards. */
static inline int steal_fd(int *fd)
{
	int value = *fd;

	*fd = -1;
	return value;
}

#endif
