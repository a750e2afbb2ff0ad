/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Test filter: built against another major of the ABI.  The host must refuse
 * it before it calls anything in it.
 */
#include <stdlib.h>

#include <middlepipe/filter.h>

static const struct mp_option options[] = { { 0 } };

static int32_t load(const struct mp_host *host, struct mp_unit *unit, const struct mp_value *values,
		    struct mp_plan *plan, void **ret_self, char *error, size_t error_size)
{
	(void)host, (void)unit, (void)values, (void)plan, (void)ret_self, (void)error, (void)error_size;
	abort(); /* never called */
}

static void unload(void *self)
{
	(void)self;
}

MP_FILTER(wrongabi) = {
	.abi_major = MP_ABI_MAJOR + 1,
	.abi_minor = 0,
	.size = sizeof(struct mp_filter),
	.name = "wrongabi",
	.summary = "test: of another major",
	.level = MP_LEVEL_REQUEST,
	.options = options,
	.load = load,
	.unload = unload,
};
