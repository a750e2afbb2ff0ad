/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Delays calls and injects errors: for tests and for chaos experiments.
 *
 * For the host that runs it, through struct mp_filter; built in or as a `.so`.
 * Each call is decided by chance of its own: first whether it fails, then
 * whether and for how long it is delayed; a call that fails is not delayed.
 * The delay is slept by the application, in its language's own way.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <middlepipe/filter.h>

enum error_kind { ERROR_STATUS, ERROR_RAISE };

enum option {
	O_FIXED_MS,
	O_RANDOM_MS,
	O_PERCENT,
	O_ERROR_PERCENT,
	O_ERROR,
	O_ERROR_STATUS,
	O_ERROR_BODY,
	O_METHODS,
	O_COUNT
};

static const struct mp_option delay_options[] = {
	[O_FIXED_MS] = {"fixed_ms", MP_OPTION_DURATION, 0, "0", 0, 3600000, NULL,
		"Delays calls by this much.", NULL},
	[O_RANDOM_MS] = {"random_ms", MP_OPTION_DURATION, 0, "0", 0, 3600000, NULL,
		"Delays calls by 0 to this much more, evenly spread.", NULL},
	[O_PERCENT] = {"percent", MP_OPTION_NUMBER, 0, "100", 0, 100, NULL,
		"Share of the calls that is delayed.", NULL},
	[O_ERROR_PERCENT] = {"error_percent", MP_OPTION_NUMBER, 0, "0", 0, 100, NULL,
		"Share of the calls that fails; these are not delayed and do not reach the service.",
		NULL},
	[O_ERROR] = {"error", MP_OPTION_ENUM, 0, "\"status\"", 0, 0, "status|raise",
		"How they fail: with a response, or with an exception.", NULL},
	[O_ERROR_STATUS] = {"error_status", MP_OPTION_INT, 0, "503", 200, 599, NULL,
		"Status of that response.", NULL},
	[O_ERROR_BODY] = {"error_body", MP_OPTION_STRING, 0, "\"\"", 0, 16384, NULL,
		"Body of that response.", NULL},
	[O_METHODS] = {"methods", MP_OPTION_STRINGS, 0, "[]", 0, 16, NULL,
		"Only calls with these methods are touched; empty: all.", NULL},
	[O_COUNT] = {0},
};

enum counter { C_DELAYED, C_DELAYED_MS, C_INJECTED, C_COUNT };

static const char *const delay_counters[] = {
	[C_DELAYED] = "delayed",       /* calls */
	[C_DELAYED_MS] = "delayed_ms", /* all of them together */
	[C_INJECTED] = "injected",     /* calls that were made to fail */
	[C_COUNT] = NULL,
};

struct self {
	const struct mp_host *host; /* the host's, for the whole life */
	struct mp_unit *unit;       /* likewise */
	uint64_t fixed_ns;
	uint64_t random_ns;
	uint64_t delay_share; /* of 2^32 calls */
	uint64_t error_share; /* likewise */
	enum error_kind error;
	int32_t error_status;
	struct mp_str error_body;
	struct mp_str *methods;
	size_t n_methods;
	void *memory; /* methods and bytes */
};

static bool is_same(struct mp_str a, struct mp_str b)
{
	return a.len == b.len && (!a.len || !memcmp(a.ptr, b.ptr, a.len));
}

static bool touches(const struct self *self, struct mp_str method)
{
	for (size_t i = 0; i < self->n_methods; i++)
		if (is_same(self->methods[i], method))
			return true;
	return self->n_methods == 0;
}

/* True in `share` of 2^32 cases. */
static bool draw(struct self *self, uint64_t share)
{
	return self->host->random(self->unit) < share;
}

static int32_t inject(struct self *self, struct mp_exchange *x)
{
	static const struct mp_field plain_text = {{"content-type", 12}, {"text/plain", 10}};
	struct mp_marker marker = {.type = {"delay", 5},
				   .state = {"injected", 8},
				   .retry_after = -1};
	struct mp_reply reply = {.size = sizeof(reply),
				 .status = self->error_status,
				 .fields = &plain_text,
				 .n_fields = self->error_body.len ? 1 : 0,
				 .body = self->error_body,
				 .marker = &marker};

	if (self->error == ERROR_RAISE) {
		marker.callback = (struct mp_str){"raise", 5};
		marker.retry_after = 1; /* the next call has its chance */
	}
	self->host->count(self->unit, C_INJECTED, 1);
	return self->host->reply(x, &reply) ? MP_VERDICT_ERROR : MP_VERDICT_REPLY;
}

static uint64_t draw_delay(struct self *self)
{
	uint64_t random_ns = 0;

	if (!draw(self, self->delay_share))
		return 0;
	if (self->random_ns)
		random_ns = (uint64_t)((double)self->random_ns *
				       (self->host->random(self->unit) / 4294967295.0));
	return self->fixed_ns + random_ns;
}

static int32_t on_request(void *data, struct mp_exchange *x)
{
	struct self *self = data;
	uint64_t delay_ns;

	if (!touches(self, x->method))
		return MP_VERDICT_PASS;
	if (self->error_share && draw(self, self->error_share))
		return inject(self, x);
	delay_ns = draw_delay(self);
	if (!delay_ns)
		return MP_VERDICT_PASS;
	self->host->count(self->unit, C_DELAYED, 1);
	self->host->count(self->unit, C_DELAYED_MS, delay_ns / 1000000);
	return self->host->delay(x, delay_ns) ? MP_VERDICT_ERROR : MP_VERDICT_DELAY;
}

static uint64_t share_of(const struct mp_value *percent)
{
	return (uint64_t)(percent->number / 100.0 * 4294967296.0);
}

static struct mp_str copy(char **at, struct mp_str from)
{
	struct mp_str to = {*at, from.len};

	if (from.len)
		memcpy(*at, from.ptr, from.len);
	*at += from.len;
	return to;
}

static int32_t copy_texts(struct self *self, const struct mp_value *values)
{
	const struct mp_value *methods = &values[O_METHODS];
	size_t size = methods->n_fields * sizeof(struct mp_str) + values[O_ERROR_BODY].string.len + 1;
	char *at;

	for (size_t i = 0; i < methods->n_fields; i++)
		size += methods->fields[i].name.len;
	self->memory = malloc(size);
	if (!self->memory)
		return -ENOMEM;
	self->methods = self->memory;
	self->n_methods = methods->n_fields;
	at = (char *)(self->methods + self->n_methods);
	for (size_t i = 0; i < self->n_methods; i++)
		self->methods[i] = copy(&at, methods->fields[i].name);
	self->error_body = copy(&at, values[O_ERROR_BODY].string);
	return 0;
}

/* Does it do anything at all? */
static bool is_idle(const struct self *self)
{
	return !self->error_share && (!self->delay_share || !(self->fixed_ns + self->random_ns));
}

static int32_t load(const struct mp_host *host, struct mp_unit *unit, const struct mp_value *values,
		    struct mp_plan *plan, void **ret_self, char *error, size_t error_size)
{
	struct self *self = calloc(1, sizeof(*self));

	(void)error; /* the table says all that is wrong */
	(void)error_size;
	*ret_self = self; /* unload() takes what a failure leaves */
	if (!self)
		return -ENOMEM;
	self->host = host;
	self->unit = unit;
	self->fixed_ns = (uint64_t)values[O_FIXED_MS].integer * 1000000;
	self->random_ns = (uint64_t)values[O_RANDOM_MS].integer * 1000000;
	self->delay_share = share_of(&values[O_PERCENT]);
	self->error_share = share_of(&values[O_ERROR_PERCENT]);
	self->error = (enum error_kind)values[O_ERROR].integer;
	self->error_status = (int32_t)values[O_ERROR_STATUS].integer;
	if (!is_idle(self))
		plan->needs = MP_NEED_REQUEST;
	return copy_texts(self, values);
}

static void unload(void *data)
{
	struct self *self = data;

	if (!self)
		return;
	free(self->memory);
	free(self);
}

static void start(void *data)
{
	struct self *self = data;
	struct mp_standing standing = {
		.size = sizeof(standing),
		.verdict = is_idle(self) ? MP_STANDING_PASS : MP_STANDING_ASK,
	};

	(void)self->host->post(self->unit, &standing); /* without a reply nothing can fail */
}

MP_FILTER(delay) = {
	MP_FILTER_HEAD,
	.name = "delay",
	.summary = "delays calls and injects errors, for tests and chaos experiments",
	.level = MP_LEVEL_REQUEST,
	.needs = MP_NEED_REQUEST,
	.options = delay_options,
	.counters = delay_counters,
	.load = load,
	.unload = unload,
	.start = start,
	.on_request = on_request,
};
