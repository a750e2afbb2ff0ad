/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranges of the etcd engine, page by page at one revision: etcd makes an answer
 * in memory before it sends it, and nobody knows how large it will be.  The first
 * page is small, later ones as large as the items before say; of a range that may end
 * when it has its bytes those of the last such range count.  See etcd_priv.h.
 */
#include "aggregator/rows/engine/etcd_priv.h"

#include <errno.h>

#include "aggregator/rows/engine/etcd_body.h"
#include "lib/slice.h"

#define PAGE_FIRST 16                   /* items of the first page */
#define PAGE_ITEMS 8192                 /* of any */
#define PAGE_BYTES ((size_t)4 << 20)    /* what a page should have */
#define RANGE_BYTES ((size_t)1 << 30)   /* of the whole; who wants more sets a limit, or bytes */

/* The request for the page; false: out of memory. */
static bool page_body(struct etcd_call *call)
{
	const struct engine_range *range = &call->range;
	size_t have = call->ask.answer.n_items, limit = call->page.limit;

	if (range->limit && range->limit - have < limit)
		limit = range->limit - have;
	call->page.limit = limit; /* it may not answer more */
	call->page_first = have;
	call->ask.answer.max = etcd_answer_size(&call->ask.answer) + ETCD_ANSWER_MAX;
	if (call->ask.answer.max > RANGE_BYTES)
		call->ask.answer.max = RANGE_BYTES;
	buf_reset(&call->ask.body);
	return !etcd_body_range(&call->ask.body, &(struct engine_range){ .from = call->page.from,
									 .end = call->page.end,
									 .limit = limit,
									 .revision = call->page.revision,
									 .stale = range->stale,
									 .last_first = range->last_first });
}

/* Items that make as many bytes as are wanted at once. */
static size_t page_wish(const struct engine_range *range, size_t each)
{
	size_t limit = (range->bytes && range->bytes < PAGE_BYTES ? range->bytes : PAGE_BYTES) / each;

	return limit < 1 ? 1 : limit > PAGE_ITEMS ? PAGE_ITEMS : limit;
}

bool etcd_range_begin(struct etcd_call *call, const struct engine_range *range)
{
	size_t each = range->bytes ? call->ask.etcd->each : 0, wish = each ? page_wish(range, each) : PAGE_FIRST;

	call->range = *range;
	if (buf_add_slice(&call->keys, range->from) || buf_add_slice(&call->keys, range->end))
		return false;
	call->range.from = slice_make(call->keys.ptr, range->from.len);
	call->range.end = slice_make(call->keys.ptr + range->from.len, range->end.len);
	call->page = call->range;
	call->page.limit = wish < PAGE_FIRST ? wish : PAGE_FIRST;
	call->ask.stale = call->ask.leaderless = range->stale;
	return page_body(call);
}

/* Items come in order, each once, and of what was asked for. */
static bool items_fit(const struct etcd_call *call)
{
	const struct etcd_answer *a = &call->ask.answer;
	const struct engine_range *range = &call->range;

	if (a->n_items - call->page_first > call->page.limit)
		return false;
	for (size_t i = call->page_first; i < a->n_items; i++) {
		struct mp_str key = etcd_item_key(a, i);
		int order = i ? slice_compare(etcd_item_key(a, i - 1), key) : 0;

		if (i && (range->last_first ? order <= 0 : order >= 0))
			return false;
		if (range->end.len ? slice_compare(key, range->from) < 0 || slice_compare(key, range->end) >= 0 :
				     !slice_eq(key, range->from))
			return false;
	}
	return true;
}

/* Bytes of an item, on average, of an answer that has some. */
static size_t item_size(const struct etcd_answer *a)
{
	return 1 + etcd_answer_size(a) / a->n_items;
}

/* Begins behind the last item, or ends before it. */
static bool page_next(struct etcd_call *call)
{
	const struct etcd_answer *a = &call->ask.answer;
	size_t more = 4 * (a->n_items - call->page_first), wish = page_wish(&call->range, item_size(a));

	buf_reset(&call->last);
	(void)buf_add_slice(&call->last, etcd_item_key(a, a->n_items - 1)); /* seen below */
	if (!call->range.last_first)
		(void)buf_add(&call->last, "", 1);
	if (call->last.error)
		return false;
	if (call->range.last_first)
		call->page.end = buf_slice(&call->last);
	else
		call->page.from = buf_slice(&call->last);
	call->page.limit = wish < more ? wish : more;
	call->page.revision = call->page.revision ? call->page.revision : call->revision;
	call->deadline = uv_now(call->ask.etcd->loop) + call->ask.etcd->timeout_ms;
	call->tries = 0;
	return page_body(call);
}

static bool page_answered(struct etcd_call *call)
{
	const struct etcd_answer *a = &call->ask.answer;
	bool enough = engine_range_full(&call->range, a->n_items, a->bytes.len);

	if (!items_fit(call) || (a->more && a->n_items == call->page_first)) {
		etcd_misfit(call->ask.etcd, call->ask.at, "an answer that does not fit the range");
		etcd_call_end(call, ENGINE_UNKNOWN, "an answer that does not fit the range");
		return true;
	}
	if (!call->page_first)
		call->revision = a->revision;
	call->more = a->more;
	if (call->range.bytes && a->n_items)
		call->ask.etcd->each = item_size(a);
	if (a->more && !enough) {
		if (page_next(call))
			return false;
		etcd_call_end(call, ENGINE_UNKNOWN, "out of memory");
		return true;
	}
	etcd_call_end(call, ENGINE_COMMITTED, "");
	return true;
}

/* The page was more than we take, or more than could be sent in time: a smaller one. */
static bool smaller(struct etcd_call *call)
{
	if (call->page.limit == 1 || !call->range.end.len)
		return false;
	call->page.limit = call->page.limit > 8 ? call->page.limit / 8 : 1;
	call->tries = 0;
	call->deadline = uv_now(call->ask.etcd->loop) + call->ask.etcd->timeout_ms;
	etcd_answer_again(&call->ask.answer, ETCD_RANGE, call->page_first);
	return page_body(call);
}

bool etcd_range_answered(struct etcd_call *call, struct etcd_verdict *verdict)
{
	/* A page of which a part has come in time is too large for the time. */
	bool large = verdict->kind == ETCD_LARGE || etcd_answer_begun(&call->ask.answer);

	switch (verdict->kind) {
	case ETCD_GOOD:
		return page_answered(call);
	case ETCD_STOPPED:
		etcd_call_end(call, ENGINE_UNKNOWN, verdict->why);
		return true;
	case ETCD_WRONG:
	case ETCD_COMPACTED:
	case ETCD_FUTURE:
		/* Of a revision that we chose it is bad luck: the caller asks anew. */
		etcd_call_end(call, call->page.revision == call->range.revision ? ENGINE_REFUSED : ENGINE_UNKNOWN,
			      verdict->why);
		return true;
	default:
		if (large && smaller(call))
			return false;
		etcd_call_end(call, ENGINE_UNKNOWN, verdict->why);
		return true;
	}
}
