/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lib/list: order, removal, walking while removing. */
#include "lib/list.h"

#include "tests/lib/tap.h"

struct item {
	int value;
	struct list link;
};

static int number(const struct list *head)
{
	int all = 0;

	LIST_FOR_EACH(link, head)
		all = all * 10 + LIST_ENTRY_OF(link, struct item, link)->value;
	return all;
}

int main(void)
{
	struct item items[4];
	struct list head, *first;

	list_init(&head);
	ok(list_empty(&head), "empty");
	ok(!list_pop_front(&head), "nothing to pop");
	for (int i = 0; i < 4; i++) {
		items[i].value = i + 1;
		list_push_back(&head, &items[i].link);
	}
	is_int(number(&head), 1234, "push_back keeps the order");
	list_remove(&items[1].link);
	is_int(number(&head), 134, "remove from the middle");
	list_remove(&items[1].link);
	is_int(number(&head), 134, "twice does no harm");
	list_push_front(&head, &items[1].link);
	is_int(number(&head), 2134, "push_front");
	first = list_pop_front(&head);
	ok(first == &items[1].link, "pop gives the first");
	list_insert_before(&items[3].link, first);
	is_int(number(&head), 1324, "insert before another");
	LIST_FOR_EACH_SAFE(link, &head) {
		if (LIST_ENTRY_OF(link, struct item, link)->value % 2)
			list_remove(link);
	}
	is_int(number(&head), 24, "removing while walking");
	return done();
}
