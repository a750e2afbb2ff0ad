/* SPDX-License-Identifier: Apache-2.0 */
/* See subscribe.h. */
#include "aggregator/rows/subscribe.h"

enum subscribe_answer subscription_start(struct subscription *sub, struct row *row, uint64_t from,
					 uint64_t incarnation, bool wait)
{
	list_init(&sub->link);
	sub->row = row;
	sub->incarnation = incarnation;
	sub->next = from ? from : 1;
	if (row_exists(row)) {
		if (incarnation && incarnation != row->head.incarnation)
			return SUBSCRIBE_GONE;
		sub->next = from ? from : row->head.floor;
		if (sub->next < row->head.floor)
			return SUBSCRIBE_GONE;
		sub->incarnation = row->head.incarnation;
	} else if (incarnation) {
		return SUBSCRIBE_GONE;
	} else if (!wait) {
		return SUBSCRIBE_NOT_THERE;
	}
	list_push_back(&row->followers, &sub->link);
	return SUBSCRIBE_OK;
}

void subscription_stop(struct subscription *sub)
{
	list_remove(&sub->link);
}

static void end(struct subscription *sub, const char *why)
{
	subscription_stop(sub);
	sub->ended(sub, why);
}

void subscription_pump(struct subscription *sub)
{
	struct row *row = sub->row;
	struct row_walk walk;
	struct cell cell;

	if (list_empty(&sub->link) || !row_whole(row) || (!row_exists(row) && !sub->incarnation))
		return;
	if (!sub->incarnation)
		sub->incarnation = row->head.incarnation; /* it has come */
	if (!row_exists(row) || sub->incarnation != row->head.incarnation) {
		end(sub, "the row was deleted, or made again");
		return;
	}
	if (sub->next < row->head.floor) {
		end(sub, "the row's floor has passed what was to come next");
		return;
	}
	row_walk(&walk, row, sub->next);
	while (sub->next <= row->applied && row_walk_next(&walk, &cell)) {
		if (sub->cell(sub, &cell) < 0)
			return;
		sub->next = cell.seq + 1;
	}
}

void subscribe_row_changed(struct row *row)
{
	/* Each may end, and be gone. */
	LIST_FOR_EACH_SAFE(link, &row->followers)
		subscription_pump(LIST_ENTRY_OF(link, struct subscription, link));
}
