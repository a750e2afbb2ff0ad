/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Test filter: a request with the field X-Crash ends the process that runs it
 * by a wild write, one with X-Exit by leaving it; others pass.
 */
#include <stdlib.h>

#include "tests/filters/trigger.h"

static int32_t on_request(void *self, struct mp_exchange *x)
{
	static char *volatile nowhere = NULL;

	(void)self;
	if (trigger_has(x, "x-crash"))
		*nowhere = 1;
	if (trigger_has(x, "x-exit"))
		_Exit(0);
	return MP_VERDICT_PASS;
}

TRIGGER_FILTER(crash, "crash", "test: crashes when a request says X-Crash");
