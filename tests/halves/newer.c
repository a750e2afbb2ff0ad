/* SPDX-License-Identifier: Apache-2.0 */
/* Test half of an ABI that we do not have yet.  The host must refuse it. */
#include <middlepipe/aggregator.h>

MP_AGGREGATOR(newer) = {
	.abi_major = MP_AGGREGATOR_ABI_MAJOR,
	.abi_minor = MP_AGGREGATOR_ABI_MINOR + 1,
	.size = sizeof(struct mp_aggregator),
	.name = "newer",
	.summary = "test: of a newer ABI",
};
