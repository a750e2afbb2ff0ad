/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Test filter: says MP_VERDICT_ERROR of a request with the field X-Error, and
 * lets others pass.  The host has to eject it.
 */
#include "tests/filters/trigger.h"

static int32_t on_request(void *self, struct mp_exchange *x)
{
	(void)self;
	return trigger_has(x, "x-error") ? MP_VERDICT_ERROR : MP_VERDICT_PASS;
}

TRIGGER_FILTER(error, "error", "test: fails when a request says X-Error");
