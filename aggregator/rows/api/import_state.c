/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Imported states of checks: a row whose first cells are gone begins behind the state
 * that they came to.  Nothing is stored that the row's check would not take, and the line of
 * the row is done only when its state is, so that both come again when something breaks.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "aggregator/rows/api/import_priv.h"
#include "aggregator/rows/snapshot_try.h"
#include "lib/slice.h"

static void state_done(struct import *im)
{
	im->rows++;
	im->lines += im->group_lines;
	im->sum = im->group_sum;
	import_step(im);
}

static void place_state(struct import *im);

static void on_state_put(struct put *put, const struct put_answer *a)
{
	struct import *im = (struct import *)(void *)((char *)put - offsetof(struct import, put));

	if (a->code == PUT_COMMITTED)
		state_done(im);
	else if (a->code == PUT_REFUSED && ++im->tries < IMPORT_TRIES)
		place_state(im); /* somebody else has put there, or the same state */
	else
		import_answer_put(im, im->name, a);
}

static void on_state_read(struct read *read, struct row *row, const char *why)
{
	struct import *im = (struct import *)(void *)((char *)read - offsetof(struct import, read));
	char text[160];

	if (!row) {
		import_answer(im, 503, "unavailable", im->name, why);
	} else if (row_exists(row) && row->head.last >= im->state_seq) {
		state_done(im); /* the cells behind it tell whether it is the same row */
	} else if (row_exists(row) && !row->head.last) {
		im->put = (struct put){ .kind = PUT_STATE, .row = slice_of(im->name), .state = buf_slice(&im->state),
					.state_seq = im->state_seq, .origin = slice_of(http_peer(im->req)),
					.done = on_state_put,
					.deadline = group_now(im->http->group) + im->http->put_ns };
		group_put(im->http->group, &im->put);
	} else {
		(void)snprintf(text, sizeof(text), "the row has %" PRIu64 " cells already, and the export begins behind %" PRIu64
			       " that are gone", row->head.deleted ? 0 : row->head.last, im->state_seq);
		import_answer(im, 409, "conflict", im->name, text);
	}
}

static void place_state(struct import *im)
{
	im->read = (struct read){ .name = slice_of(im->name), .done = on_state_read,
				  .deadline = group_now(im->http->group) + im->http->read_ns };
	group_read(im->http->group, &im->read);
}

/* All parts are there: would the row's check take them? */
static void try_state(struct import *im)
{
	const struct mp_aggregator *half = catalog_find_half(im->http->halves, im->check);
	struct err err = { 0 };
	int r = half ? snapshot_try(im->http->halves, im->check, half->rules, buf_slice(&im->state), &err) : -ENOENT;

	if (r == -ENOENT)
		import_answer(im, 503, "unavailable", im->name, "this member has not the row's check");
	else if (r < 0)
		import_answer(im, r == -EINVAL ? 400 : 503, r == -EINVAL ? "bad_request" : "unavailable", im->name, err.text);
	else
		place_state(im);
}

/* Is the next part at hand?  Else err says what is wrong with the line, if that is it. */
static bool peek_part(struct import *im, struct err *err)
{
	const struct export_state *state = &im->line.is.state;

	if (import_peek(im, err) != 1)
		return false;
	if (im->line.kind != EXPORT_STATE || !slice_eq(state->row, slice_of(im->name)) || state->part != im->part ||
	    (im->part && (state->seq != im->state_seq || state->parts != im->parts)))
		return false;
	im->state_seq = state->seq;
	im->parts = state->parts;
	return true;
}

/* The row's line was taken: those of its state have to follow. */
void import_begin_state(struct import *im)
{
	struct err err = { 0 };
	char text[320];

	im->tries = 0;
	im->group_lines = 1;
	im->group_sum = im->sum;
	im->part = im->parts = 0;
	buf_reset(&im->state);
	import_pass(im, &im->group_sum);
	while ((!im->parts || im->part < im->parts) && peek_part(im, &err)) {
		(void)buf_add_slice(&im->state, im->line.is.state.content);
		im->part++;
		im->group_lines++;
		import_pass(im, &im->group_sum);
	}
	if (im->parts && im->part == im->parts && !im->state.error) {
		try_state(im);
		return;
	}
	(void)snprintf(text, sizeof(text), "the row's first cells are gone, and its check %s cannot go on without the state that "
		       "they came to, which does not follow here%s%.80s", im->check, err.text[0] ? ": a line that " : "",
		       err.text);
	if (im->state.error)
		import_answer(im, 413, "too_large", im->name, "the state of the row's check is larger than a snapshot may be");
	else
		import_answer(im, 409, "snapshot", im->name, text);
}
