/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Test filter: a request with the field X-Loop keeps it busy for ever; others
 * pass.  The host has to notice, and to go on without it.
 */
#include "tests/filters/trigger.h"

static int32_t on_request(void *self, struct mp_exchange *x)
{
	static volatile int forever = 1;

	(void)self;
	while (trigger_has(x, "x-loop") && forever)
		continue;
	return MP_VERDICT_PASS;
}

TRIGGER_FILTER(loop, "loop", "test: loops for ever when a request says X-Loop");
