/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Test middlepipe with both halves in one `.so`, out of ISO C and the public
 * headers: a filter that does nothing, and an aggregator half that counts cells
 * up to a bound.  Its snapshot comes in as many pieces as it is asked for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <middlepipe/aggregator.h>
#include <middlepipe/filter.h>

#define INVALID (-22) /* -EINVAL on every system that this runs on */

enum option { O_MOST, O_PIECES, O_COUNT };

static const struct mp_option both_options[] = {
	[O_MOST] = {"most", MP_OPTION_INT, 0, "3", 0, 1000, NULL, "Cells at most.", NULL},
	[O_PIECES] = {"pieces", MP_OPTION_INT, 0, "1", 1, 100, NULL, "MiB of a snapshot.", NULL},
	[O_COUNT] = {0},
};

/* ---------------------------------------------------------------------- filter */

static int32_t filter_load(const struct mp_host *host, struct mp_unit *unit,
			   const struct mp_value *values, struct mp_plan *plan, void **ret_self,
			   char *error, size_t error_size)
{
	(void)host, (void)unit, (void)values, (void)plan, (void)error, (void)error_size;
	*ret_self = NULL;
	return 0;
}

static void filter_unload(void *self)
{
	(void)self; /* there is none */
}

MP_FILTER(both) = {
	MP_FILTER_HEAD,
	.name = "both",
	.summary = "test: does nothing",
	.level = MP_LEVEL_REQUEST,
	.options = both_options,
	.load = filter_load,
	.unload = filter_unload,
};

/* ------------------------------------------------------------------------ half */

struct self {
	uint64_t n;      /* cells */
	uint64_t most;   /* bound of n */
	uint64_t pieces; /* of a snapshot */
};

static int32_t half_init(const struct mp_aggregator_host *host, struct mp_instance *instance,
			 const struct mp_value *values, void **ret_self, char *error,
			 size_t error_size)
{
	struct self *self = calloc(1, sizeof(*self));

	*ret_self = self;
	if (!self || !values[O_MOST].integer) {
		(void)snprintf(error, error_size, "most: wants 1 or more");
		return INVALID;
	}
	self->most = (uint64_t)values[O_MOST].integer;
	self->pieces = (uint64_t)values[O_PIECES].integer;
	host->log(instance, MP_LOG_DEBUG, "begins");
	return 0;
}

static int32_t half_apply(void *data, const struct mp_cell *cell)
{
	struct self *self = data;

	(void)cell; /* each counts */
	self->n++;
	return 0;
}

static int32_t half_check(void *data, const struct mp_cell *const *pending, size_t n_pending,
			  const struct mp_cell *const *proposal, size_t n_proposal, char *reason,
			  size_t reason_size)
{
	const struct self *self = data;

	(void)pending, (void)proposal; /* only how many there are matters */
	if (self->n + n_pending + n_proposal <= self->most)
		return MP_CHECK_ALLOW;
	(void)snprintf(reason, reason_size, "full");
	return MP_CHECK_REFUSE;
}

static int32_t half_snapshot(void *data, struct mp_sink *sink)
{
	static const char zeros[1 << 20];
	const struct self *self = data;
	int32_t r = sink->write(sink, &self->n, sizeof(self->n));

	for (uint64_t i = 1; i < self->pieces && !r; i++)
		r = sink->write(sink, zeros, sizeof(zeros));
	return r;
}

static int32_t half_restore(void *data, struct mp_str bytes, char *error, size_t error_size)
{
	struct self *self = data;

	if (bytes.len != sizeof(self->n)) {
		(void)snprintf(error, error_size, "wants %zu bytes", sizeof(self->n));
		return INVALID;
	}
	memcpy(&self->n, bytes.ptr, sizeof(self->n));
	return 0;
}

MP_AGGREGATOR(both) = {
	MP_AGGREGATOR_HEAD,
	.name = "both",
	.summary = "test: counts",
	.rules = 1,
	.options = both_options,
	.init = half_init,
	.fini = free,
	.apply = half_apply,
	.check = half_check,
	.snapshot = half_snapshot,
	.restore = half_restore,
};
