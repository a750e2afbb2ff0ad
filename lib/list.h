/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intrusive doubly linked list: the links live inside the elements, so that
 * adding never allocates and removing needs no search.
 *
 * For objects with one owner thread.  It owns nothing.  An element is in at
 * most one list per link; a removed or initialized link points to itself,
 * hence list_remove() may be called twice.
 */
#ifndef LIB_LIST_H
#define LIB_LIST_H

#include <stdbool.h>
#include <stddef.h>

/* A head or the link inside an element. */
struct list {
	struct list *next; /* first element of a head; itself when empty */
	struct list *prev; /* last element of a head; itself when empty */
};

/* The element of `type` whose field `member` is `link`. */
#define LIST_ENTRY_OF(link, type, member) \
	((type *)(void *)((char *)(link)-offsetof(type, member)))

/* Walks the links; the body must not remove the current one. */
#define LIST_FOR_EACH(link, head) \
	for (struct list *link = (head)->next; link != (head); link = link->next)

/* Walks the links; the body may remove (and free) the current one. */
#define LIST_FOR_EACH_SAFE(link, head)                                    \
	for (struct list *link = (head)->next, *link##_next = link->next; \
	     link != (head); link = link##_next, link##_next = link->next)

static inline void list_init(struct list *list)
{
	list->next = list;
	list->prev = list;
}

static inline bool list_empty(const struct list *head)
{
	return head->next == head;
}

/* Puts `link` right before `where`: before a head means last. */
static inline void list_insert_before(struct list *where, struct list *link)
{
	link->prev = where->prev;
	link->next = where;
	where->prev->next = link;
	where->prev = link;
}

static inline void list_push_back(struct list *head, struct list *link)
{
	list_insert_before(head, link);
}

static inline void list_push_front(struct list *head, struct list *link)
{
	list_insert_before(head->next, link);
}

static inline void list_remove(struct list *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
	list_init(link);
}

/* The first link, taken out, or NULL. */
static inline struct list *list_pop_front(struct list *head)
{
	struct list *link = head->next;

	if (link == head)
		return NULL;
	list_remove(link);
	return link;
}

#endif
