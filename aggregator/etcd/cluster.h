/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests about etcd's members through its gateway, and whatever else managed.c
 * asks of others by HTTP: one at a time for each struct cluster_ask, with its answer whole.
 *
 * An etcd's change of members may have happened though no answer came: whoever asked
 * looks at the list before it asks again.  On the loop, like http_multi.h.
 */
#ifndef AGGREGATOR_ETCD_CLUSTER_H
#define AGGREGATOR_ETCD_CLUSTER_H

#include "aggregator/etcd/cluster_answer.h"
#include "lib/http_multi.h"

#define CLUSTER_LIST_MS 2000    /* that a list may take */
#define CLUSTER_CHANGE_MS 10000 /* that a change may take; etcd itself gives up after 7 s */

/* A request and its answer; embed it. */
struct cluster_ask {
	struct http_multi *http; /* borrowed */
	struct http_task *post;  /* while it is under way */
	struct buf body;         /* what is sent */
	struct buf answer;       /* what came */
	int status;              /* HTTP's; 0: there was no whole answer */
	enum cluster_word word;  /* what it means */
	char why[200];           /* for people; "" when it was done */
	void (*done)(void *ctx, struct cluster_ask *ask);
	void *ctx;               /* of done() */
};

/* done(ctx, ask) follows each cluster_send() that returned true, from the loop. */
void cluster_ask_init(struct cluster_ask *ask, struct http_multi *http,
		      void (*done)(void *ctx, struct cluster_ask *ask), void *ctx);

/* Cancels it. */
void cluster_ask_fini(struct cluster_ask *ask);

static inline bool cluster_is_busy(const struct cluster_ask *ask)
{
	return ask->post != NULL;
}

/*
 * Posts ask->body to url + path; url may be the first of several with commas.
 * False: out of memory, or it is no URL; done() does not come.
 */
bool cluster_send(struct cluster_ask *ask, const char *url, const char *path, long timeout_ms);

/* The requests; false as above. */
bool cluster_list(struct cluster_ask *ask, const char *url);
bool cluster_add(struct cluster_ask *ask, const char *url, const char *peer); /* as a learner */
bool cluster_promote(struct cluster_ask *ask, const char *url, uint64_t id);
bool cluster_remove(struct cluster_ask *ask, const char *url, uint64_t id);
bool cluster_update(struct cluster_ask *ask, const char *url, uint64_t id, const char *peer);

/* Is that member there?  It need not have a leader.  CLUSTER_DONE when something answers. */
bool cluster_status(struct cluster_ask *ask, const char *url, long timeout_ms);

/* A read that needs a leader: CLUSTER_DONE says that it serves. */
bool cluster_probe(struct cluster_ask *ask, const char *url, long timeout_ms);

/* The member_id of an answer's header; 0: it has none. */
uint64_t cluster_answered(const struct cluster_ask *ask);

#endif
