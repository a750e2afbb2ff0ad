/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See chain_try.h.  Called by chain_file.c.  It names the built-in filters: one from
 * a folder may crash or loop, which the scheduler survives and a command does not.
 *
 * load() may ask for the time and for random bits; the other services belong
 * to hooks that are never called here.  They are there, and refuse.
 */
#include "cf-plugin/chain_try.h"

#include <errno.h>
#include <string.h>

#include "lib/clock.h"

static uint64_t host_now(struct mp_unit *unit)
{
	(void)unit;
	return clock_now(&clock_monotonic);
}

static uint64_t host_wall(struct mp_unit *unit)
{
	(void)unit;
	return clock_wall_now();
}

static uint32_t host_random(struct mp_unit *unit)
{
	return (uint32_t)(host_now(unit) * 2654435761u); /* not for secrets */
}

static void host_log(struct mp_unit *unit, int32_t level, const char *text)
{
	(void)unit, (void)level, (void)text;
}

static void host_count(struct mp_unit *unit, uint32_t counter, uint64_t n)
{
	(void)unit, (void)counter, (void)n;
}

static void host_report(struct mp_unit *unit, const char *event, const struct mp_field *fields,
			size_t n_fields)
{
	(void)unit, (void)event, (void)fields, (void)n_fields;
}

static int32_t host_post(struct mp_unit *unit, const struct mp_standing *standing)
{
	(void)unit, (void)standing;
	return -ENOTSUP;
}

static int32_t host_timer(struct mp_unit *unit, uint64_t at_ns)
{
	(void)unit, (void)at_ns;
	return -ENOTSUP;
}

static int32_t host_resume(struct mp_unit *unit, uint64_t exchange, int32_t verdict,
			   const struct mp_reply *reply)
{
	(void)unit, (void)exchange, (void)verdict, (void)reply;
	return -ENOTSUP;
}

static int32_t host_edit(struct mp_exchange *x, const struct mp_edit *edit)
{
	(void)x, (void)edit;
	return -ENOTSUP;
}

static int32_t host_set_text(struct mp_exchange *x, struct mp_str text)
{
	(void)x, (void)text;
	return -ENOTSUP;
}

static int32_t host_set_status(struct mp_exchange *x, int32_t status)
{
	(void)x, (void)status;
	return -ENOTSUP;
}

static int32_t host_reply(struct mp_exchange *x, const struct mp_reply *reply)
{
	(void)x, (void)reply;
	return -ENOTSUP;
}

static int32_t host_time(struct mp_exchange *x, uint64_t ns)
{
	(void)x, (void)ns;
	return -ENOTSUP;
}

static const struct mp_host host = {
	.abi_major = MP_ABI_MAJOR, .abi_minor = MP_ABI_MINOR, .size = sizeof(host),
	.now = host_now, .wall = host_wall, .random = host_random,
	.log = host_log, .count = host_count, .report = host_report,
	.post = host_post, .timer = host_timer, .resume = host_resume,
	.edit = host_edit, .set_path = host_set_text, .set_authority = host_set_text,
	.set_body = host_set_text, .set_status = host_set_status,
	.reply = host_reply, .delay = host_time, .hold = host_time,
};

static bool is_one_of(const struct mp_filter *filter, const struct mp_filter *const *filters)
{
	while (*filters && *filters != filter)
		filters++;
	return *filters;
}

/* 0, or what load() said. */
static int try_binding(const struct chain_binding *binding, char *text, size_t size)
{
	const struct mp_filter *filter = binding->filter;
	struct mp_plan plan = { .size = sizeof(plan), .needs = filter->needs };
	void *self = NULL;
	int rc;

	text[0] = '\0';
	rc = filter->load(&host, NULL, binding->values, &plan, &self, text, size);
	if (self)
		filter->unload(self);
	return rc;
}

size_t chain_try(const struct chains *chains, const struct mp_filter *const *filters, struct buf *out)
{
	const struct chain_destination *all;
	char text[256];
	size_t n, refused = 0;

	all = chains_destinations(chains, &n);
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < all[i].n_bindings; j++) {
			const struct chain_binding *binding = &all[i].bindings[j];
			int rc;

			if (!is_one_of(binding->filter, filters))
				continue;
			rc = try_binding(binding, text, sizeof(text));
			if (rc >= 0)
				continue;
			buf_printf(out, "$.destinations[%zu].chain[%zu].config: %s\n", i, j,
				   text[0] ? text : strerror(-rc));
			refused++;
		}
	}
	return refused;
}
