/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Test filter: as its options say, load() or unload() does not return, or ends
 * the process; every request passes.  The host has to go on without it.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <middlepipe/filter.h>

enum how { FINE, LOOP, SLEEP, CRASH, EXIT };
#define HOWS "fine|loop|sleep|crash|exit"

enum option { LOAD, UNLOAD };
static const struct mp_option options[] = {
	[LOAD] = { .name = "load", .type = MP_OPTION_ENUM, .initial = "\"fine\"", .choices = HOWS,
		   .help = "what becomes of load()" },
	[UNLOAD] = { .name = "unload", .type = MP_OPTION_ENUM, .initial = "\"fine\"", .choices = HOWS,
		     .help = "what becomes of unload()" },
	{ 0 },
};

struct badload {
	enum how unload; /* what becomes of it */
};

static void misbehave(enum how how)
{
	static char *volatile nowhere = NULL;
	static volatile int forever = 1;

	while (how == LOOP && forever)
		continue;
	while (how == SLEEP && forever)
		pause();
	if (how == CRASH)
		*nowhere = 1;
	if (how == EXIT)
		_Exit(0);
}

static int32_t load(const struct mp_host *host, struct mp_unit *unit, const struct mp_value *values,
		    struct mp_plan *plan, void **ret_self, char *error, size_t error_size)
{
	struct badload *b = malloc(sizeof(*b));

	(void)host, (void)unit, (void)plan, (void)error, (void)error_size;
	if (!b)
		return -ENOMEM;
	b->unload = (enum how)values[UNLOAD].integer;
	*ret_self = b;
	misbehave((enum how)values[LOAD].integer);
	return 0;
}

static void unload(void *self)
{
	struct badload *b = self;
	enum how how = b->unload;

	free(b);
	misbehave(how);
}

static int32_t on_request(void *self, struct mp_exchange *x)
{
	(void)self, (void)x;
	return MP_VERDICT_PASS;
}

MP_FILTER(badload) = {
	MP_FILTER_HEAD,
	.name = "badload",
	.summary = "test: hangs or crashes in load() or unload()",
	.level = MP_LEVEL_REQUEST,
	.needs = MP_NEED_REQUEST,
	.options = options,
	.load = load,
	.unload = unload,
	.on_request = on_request,
};
