/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Test filter: a request with the field X-Slow takes 30 s, which blocks the
 * thread that it runs on; others pass.  Past any sane time budget, however busy
 * the machine is for whoever watches, but it returns.
 */
#include <threads.h>
#include <time.h>

#include "tests/filters/trigger.h"

#define SLOW_S 30

static int32_t on_request(void *self, struct mp_exchange *x)
{
	(void)self;
	if (trigger_has(x, "x-slow"))
		(void)thrd_sleep(&(struct timespec){ .tv_sec = SLOW_S }, NULL); /* shorter is as good */
	return MP_VERDICT_PASS;
}

TRIGGER_FILTER(slow, "slow", "test: takes 30 s when a request says X-Slow");
