/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Test filter: holds every request for `ms` milliseconds and lets it go on by
 * its timer, or, with `reply`, answers it with that status then.  Past
 * HOLD_MAX exchanges at once the rest pass at once, and are counted.
 */
#include <errno.h>
#include <stdlib.h>

#include <middlepipe/filter.h>

#define HOLD_MAX 256
#define HOLD_SLACK_NS UINT64_C(5000000000) /* the host's own limit comes this much later */

enum option { MS, REPLY };
static const struct mp_option options[] = {
	[MS] = { .name = "ms", .type = MP_OPTION_DURATION, .initial = "20", .min = 0, .max = 60000,
		 .help = "how long a request is held" },
	[REPLY] = { .name = "reply", .type = MP_OPTION_INT, .initial = "0", .min = 0, .max = 599,
		    .help = "then answer with this status; 0: let it pass" },
	{ 0 },
};

enum counter { HELD, RESUMED, GONE, FULL };
static const char *const counters[] = { "held", "resumed", "gone", "full", NULL };

/* Exchanges in the order in which they came, which is that of their times. */
struct hold {
	const struct mp_host *host; /* services, for the unit's life */
	struct mp_unit *unit;       /* whose they are */
	uint64_t ns;                /* option ms */
	int32_t status;             /* option reply */
	uint32_t first;             /* index of the oldest */
	uint32_t len;               /* how many are held */
	struct held {
		uint64_t exchange; /* its id */
		uint64_t at_ns;    /* when it may go */
	} queue[HOLD_MAX]; /* a ring */
};

static int32_t load(const struct mp_host *host, struct mp_unit *unit, const struct mp_value *values,
		    struct mp_plan *plan, void **ret_self, char *error, size_t error_size)
{
	struct hold *hold = calloc(1, sizeof(*hold));

	(void)error, (void)error_size;
	if (!hold)
		return -ENOMEM;
	hold->host = host;
	hold->unit = unit;
	hold->ns = (uint64_t)values[MS].integer * 1000000;
	hold->status = (int32_t)values[REPLY].integer;
	plan->needs = MP_NEED_REQUEST;
	*ret_self = hold;
	return 0;
}

static int32_t on_request(void *self, struct mp_exchange *x)
{
	struct hold *hold = self;
	uint64_t at_ns = hold->host->now(hold->unit) + hold->ns;

	if (hold->len == HOLD_MAX) {
		hold->host->count(hold->unit, FULL, 1);
		return MP_VERDICT_PASS;
	}
	if (hold->host->hold(x, at_ns + HOLD_SLACK_NS))
		return MP_VERDICT_ERROR;
	hold->queue[(hold->first + hold->len++) % HOLD_MAX] =
		(struct held){ .exchange = x->id, .at_ns = at_ns };
	hold->host->count(hold->unit, HELD, 1);
	if (hold->len == 1)
		(void)hold->host->timer(hold->unit, at_ns); /* else it passes by the limit above */
	return MP_VERDICT_HOLD;
}

static void let_go(struct hold *hold, uint64_t exchange)
{
	static const struct mp_str body = { "held\n", 5 };
	struct mp_reply reply = { .size = sizeof(reply), .status = hold->status, .body = body };
	int32_t verdict = hold->status ? MP_VERDICT_REPLY : MP_VERDICT_PASS;
	int32_t code = hold->host->resume(hold->unit, exchange, verdict,
					  hold->status ? &reply : NULL);

	hold->host->count(hold->unit, code ? GONE : RESUMED, 1);
}

static void on_timer(void *self, uint64_t now_ns)
{
	struct hold *hold = self;

	while (hold->len && hold->queue[hold->first].at_ns <= now_ns) {
		uint64_t exchange = hold->queue[hold->first].exchange;

		hold->first = (hold->first + 1) % HOLD_MAX;
		hold->len--;
		let_go(hold, exchange);
	}
	if (hold->len)
		(void)hold->host->timer(hold->unit, hold->queue[hold->first].at_ns); /* as above */
}

MP_FILTER(hold) = {
	MP_FILTER_HEAD,
	.name = "hold",
	.summary = "test: holds each request for a while",
	.level = MP_LEVEL_REQUEST,
	.needs = MP_NEED_REQUEST,
	.options = options,
	.counters = counters,
	.load = load,
	.unload = free,
	.on_request = on_request,
	.on_timer = on_timer,
};
