/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See snapshot_load.h.  The answer that the engine owes keeps the memory: a load
 * that was cancelled is freed by it.
 */
#include "aggregator/rows/snapshot_load.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "aggregator/rows/keys.h"
#include "lib/slice.h"

#define PARTS_AT_ONCE 2 /* within what any engine answers */

struct snapshot_load {
	struct engine *engine;   /* borrowed */
	struct buf from, end;    /* keys: of the next part, and behind the last */
	struct snapshot_reader reader;
	snapshot_loaded_fn *done; /* NULL: cancelled */
	void *ctx;               /* of done() */
};

static void destroy(struct snapshot_load *load)
{
	buf_fini(&load->from);
	buf_fini(&load->end);
	snapshot_reader_fini(&load->reader);
	free(load);
}

static void end(struct snapshot_load *load, int r, const char *why)
{
	if (load->done)
		load->done(load->ctx, r, buf_slice(&load->reader.bytes), load->reader.rules, why);
	destroy(load);
}

static bool ask(struct snapshot_load *load);

/* Takes parts in: 0, or the first failure. */
static int take(struct snapshot_load *load, const struct engine_answer *answer, struct err *err)
{
	int r = 0;

	/* What is behind the last part is of one that was never finished. */
	for (size_t i = 0; r == 0 && i < answer->n_items && !snapshot_is_whole(&load->reader); i++)
		r = snapshot_take(&load->reader, answer->items[i].value, err);
	if (r < 0 || !answer->more || !answer->n_items)
		return r;
	return key_behind(&load->from, engine_last_key(answer));
}

static void on_parts(void *ctx, const struct engine_answer *answer)
{
	struct snapshot_load *load = ctx;
	struct err err = { 0 };
	int r;

	if (!load->done) {
		destroy(load);
		return;
	}
	if (answer->outcome != ENGINE_COMMITTED) {
		end(load, -EAGAIN, answer->why);
		return;
	}
	r = take(load, answer, &err);
	if (r == 0 && answer->more && answer->n_items && !snapshot_is_whole(&load->reader)) {
		if (!ask(load))
			end(load, -ENOMEM, "out of memory");
		return;
	}
	if (r == 0)
		r = snapshot_end(&load->reader, &err);
	end(load, r, err.text);
}

static bool ask(struct snapshot_load *load)
{
	const struct engine_range range = {
		.from = buf_slice(&load->from), .end = buf_slice(&load->end), .limit = PARTS_AT_ONCE,
	};

	return load->engine->ops->range(load->engine, &range, on_parts, load) == 0;
}

struct snapshot_load *snapshot_load(struct engine *engine, const struct snapshot_id *id,
				    snapshot_loaded_fn *done, void *ctx)
{
	struct snapshot_load *load = calloc(1, sizeof(*load));

	if (!load)
		return NULL;
	load->engine = engine;
	load->done = done;
	load->ctx = ctx;
	buf_init(&load->from, KEY_MAX + 1);
	buf_init(&load->end, KEY_MAX);
	snapshot_reader_init(&load->reader);
	if (key_snapshot(&load->from, id->prefix, id->row, id->incarnation, id->seq, 0) ||
	    key_snapshot(&load->end, id->prefix, id->row, id->incarnation, id->seq + 1, 0) || !ask(load)) {
		destroy(load);
		return NULL;
	}
	return load;
}

void snapshot_load_cancel(struct snapshot_load *load)
{
	load->done = NULL;
}
