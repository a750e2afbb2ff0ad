/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What etcd's gateway answers about its members: lists, additions, refusals.
 * Pure: bytes in, a struct out; everything is bounded and nothing is believed that does
 * not have the form it should.  For cluster.c, managed.c and the fuzzer.
 */
#ifndef AGGREGATOR_ETCD_CLUSTER_ANSWER_H
#define AGGREGATOR_ETCD_CLUSTER_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "aggregator/etcd/identity.h"

#define CLUSTER_MAX 16                        /* members that we speak with; ours have 5 */
#define CLUSTER_ANSWER_MAX ((size_t)256 << 10) /* bytes of an answer */

/* A member of etcd, as its cluster knows it. */
struct cluster_member {
	uint64_t id;
	char name[ROW_TENANT_MAX + 1]; /* "": it was added and has never started */
	char peer[ETCD_URL_SIZE];      /* the first of its URLs for peers */
	char client[ETCD_URL_SIZE];    /* the first for clients; "" before it has started */
	bool learner;                  /* it does not vote yet */
};

struct cluster_list {
	uint64_t cluster;              /* its id */
	uint64_t answered;             /* id of the member that says so */
	uint64_t added;                /* of an addition: the new one; else 0 */
	size_t n;
	struct cluster_member member[CLUSTER_MAX];
};

/* How large a member's database is. */
struct cluster_sizes {
	uint64_t size;   /* bytes of its file: what the quota is of */
	uint64_t in_use; /* of them; the rest is free inside until it is defragmented */
};

/* What an answer means. */
enum cluster_word {
	CLUSTER_DONE,       /* it was done, or is a list */
	CLUSTER_NO_MEMBER,  /* there is none of that id: it was removed, or never was */
	CLUSTER_NOT_SYNCED, /* a learner lags behind: ask again */
	CLUSTER_NO_LEARNER, /* that one votes already */
	CLUSTER_EXISTS,     /* somebody has that peer URL already */
	CLUSTER_BUSY,       /* another learner is on its way: later */
	CLUSTER_UNHEALTHY,  /* a member is down, and etcd changes nothing before it is removed, or back */
	CLUSTER_TROUBLE,    /* no leader, no answer, a refusal of another kind: later, or elsewhere */
};

/* 0 and *ret; -EINVAL and err: that is none.  Also for the answer to an addition. */
int cluster_list_read(struct mp_str text, struct cluster_list *ret, struct err *err);

/* From the answer to cluster_status(); likewise. */
int cluster_sizes_read(struct mp_str text, struct cluster_sizes *ret, struct err *err);

/*
 * Of any of those requests.  status: HTTP's, 0: there was no answer.  ret_why: for people, at
 * most `size` bytes; "" when it was done.
 */
enum cluster_word cluster_judge(int status, struct mp_str text, char *ret_why, size_t size);

const struct cluster_member *cluster_by_id(const struct cluster_list *list, uint64_t id);
const struct cluster_member *cluster_by_name(const struct cluster_list *list, const char *name);
const struct cluster_member *cluster_by_peer(const struct cluster_list *list, const char *peer);

/* So many of them vote. */
size_t cluster_voters(const struct cluster_list *list);

/*
 * Appends "name=url,name=url" as --initial-cluster wants it; who has no name yet is `name` if its
 * id is `id`, else its id.
 */
int cluster_initial(struct buf *out, const struct cluster_list *list, uint64_t id, const char *name);

/* Appends the client URLs of those that vote and have started, without that of `except`, with commas. */
int cluster_endpoints(struct buf *out, const struct cluster_list *list, uint64_t except);

#endif
