/* SPDX-License-Identifier: Apache-2.0 */
/* See half.h. */
#include "middlepipes/half.h"

#include <errno.h>

#include "lib/arena.h"
#include "lib/chain.h"

#define ARENA_MAX ((size_t)16 << 20) /* bytes of all values */

/* The host's view of a sink. */
struct sink {
	struct mp_sink sink; /* first */
	struct buf *out;     /* borrowed */
	size_t start;        /* where the snapshot begins in it */
};

/* Makes the instance from values that were checked. */
static int make(const struct mp_aggregator *half, const struct mp_aggregator_host *host,
		struct mp_instance *instance, const struct mp_value *values, void **ret,
		struct err *err)
{
	char error[sizeof(err->text)] = "";
	void *self = NULL;
	int r = half->init(host, instance, values, &self, error, sizeof(error));

	error[sizeof(error) - 1] = '\0';
	if (!r) {
		*ret = self;
		return 0;
	}
	half->fini(self);
	return err_set(err, r, "%s: %s", half->name, error[0] ? error : "out of memory");
}

int half_new(const struct mp_aggregator *half, const struct mp_aggregator_host *host,
	     struct mp_instance *instance, struct mp_str config, void **ret, struct err *err)
{
	CLEANUP_JSON json_t *document = NULL;
	const struct mp_value *values;
	struct json_errs errs;
	struct arena arena;
	struct json_at at;
	int r = config.len ? json_load_text(config, HALF_CONFIG_MAX, CHAIN_DEPTH_MAX, &document, err) : 0;

	if (r)
		return r;
	json_errs_init(&errs, 8);
	arena_init(&arena, ARENA_MAX);
	at = json_at_root(document);
	values = document && json_want(&at, JSON_OBJECT, &errs) ?
			 NULL : chain_option_values(half->options, &at, &arena, &errs);
	r = json_errs_result(&errs, err);
	if (!r)
		r = values ? make(half, host, instance, values, ret, err) :
			     err_set(err, -ENOMEM, "out of memory");
	arena_fini(&arena);
	json_errs_fini(&errs);
	return r;
}

static int32_t sink_write(struct mp_sink *data, const void *bytes, size_t n)
{
	struct sink *sink = (struct sink *)data;

	if (n > MP_SNAPSHOT_MAX - (sink->out->len - sink->start))
		return -E2BIG;
	return buf_add(sink->out, bytes, n);
}

int half_snapshot(const struct mp_aggregator *half, void *self, struct buf *out)
{
	struct sink sink = { { sizeof(sink.sink), 0, sink_write }, out, out->len };

	return half->snapshot(self, &sink.sink);
}
