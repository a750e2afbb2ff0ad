/* SPDX-License-Identifier: Apache-2.0 */
/* See keep.h. */
#include "scheduler/keep.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/chain.h"

struct keep {
	_Atomic uint32_t which;            /* place of the newest text plus 1, 0: none */
	char text[2][CHAIN_TEXT_MAX + 1]; /* one is whole while the other is written */
};

struct keep *keep_new(void)
{
	void *page = mmap(NULL, sizeof(struct keep), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return page == MAP_FAILED ? NULL : page;
}

void keep_put(struct keep *keep, const char *text)
{
	uint32_t place = atomic_load(&keep->which) == 1;
	size_t size = strlen(text) + 1;

	if (size > sizeof(keep->text[place]))
		return;
	memcpy(keep->text[place], text, size);
	atomic_store(&keep->which, place + 1);
}

const char *keep_get(const struct keep *keep)
{
	uint32_t which = atomic_load(&keep->which);

	return which ? keep->text[which - 1] : NULL;
}
