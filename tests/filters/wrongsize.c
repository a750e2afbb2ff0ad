/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Test filter: says that its table is shorter than the first of its major, so
 * that there is nothing to be called.  The host must refuse it.
 */
#include <middlepipe/filter.h>

MP_FILTER(wrongsize) = {
	.abi_major = MP_ABI_MAJOR,
	.abi_minor = MP_ABI_MINOR,
	.size = 16,
	.name = "wrongsize",
	.summary = "test: cut short",
	.level = MP_LEVEL_REQUEST,
};
