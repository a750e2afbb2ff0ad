/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Managed etcd: `mp-aggregator --group managed` (rows.md 1, 6).  The aggregator runs a
 * member of etcd as its child, begins a group with it or joins one, and keeps it
 * alive; when a group has five already, it uses theirs.
 *
 *   managed.c     life cycle, facts, the loop
 *   managed_do.c  what each step does
 *   managed_restored.c  going on from a restored backup
 *   steps.c       which step is next: a table
 *   identity.c    who it is, on disk
 *   life.c        whether etcd's directory is that of now
 *   child.c       the process (spawn.c, proc.c: starting and finding it)
 *   flags.c, ports.c  how it is started
 *   cluster.c     requests about members (cluster_answer.c: what comes back)
 *   admit.c, token.c  letting others in
 *
 * DIR/managed.json is the identity, DIR/managed.lock this process's lock; child.h
 * has the rest.  One thread, that of the loop.
 */
#ifndef AGGREGATOR_ETCD_MANAGED_H
#define AGGREGATOR_ETCD_MANAGED_H

#include <uv.h>

#include "aggregator/etcd/cluster.h"
#include "aggregator/etcd/identity.h"
#include "lib/err.h"

struct managed;

/* Texts are borrowed until it has closed. */
struct managed_options {
	uv_loop_t *loop;
	const char *dir;         /* data directory, absolute; it exists */
	const char *tenant;      /* whose rows it keeps: a group that it joins must have the same */
	const char *member;      /* id; NULL: that of the identity, or one that is drawn */
	const char *program;     /* etcd, looked for along PATH */
	const char *address;     /* where etcd is reached; NULL: as before, or 127.0.0.1 */
	int client_port, peer_port; /* 0: as before, or drawn */
	int64_t quota;           /* bytes of etcd's database */
	const char *ca, *cert, *key; /* TLS of etcd, or NULL */
	const char *join_ca, *join_cert, *join_key; /* TLS to the aggregator that is asked, or NULL */
	const char *join_url;    /* an aggregator of the group; NULL: it begins one */
	const char *join_token;  /* NULL: none */
	const char *accept;      /* the number that accepts a restored backup, as the refusal gives it; NULL: none */
	bool leave;              /* it takes itself out and is gone */
	int64_t replace_after_ms; /* a member of etcd that is silent for so long may be replaced; 0: never */
};

/* What it tells; each gets ctx, from the loop. */
struct managed_calls {
	void (*serve)(void *ctx);     /* who and where is settled: open the rows.  Once */
	void (*endpoints)(void *ctx); /* managed_endpoints() has changed, after serve() */
	void (*failed)(void *ctx, const char *why); /* it is of no use any more: close it */
	void (*left)(void *ctx);      /* the directory is empty: close it */
	void *ctx;
};

/* 0 and *ret; -EBUSY: another process has the directory; -EINVAL, -ENOENT, -ENOMEM, ...; err says why. */
int managed_open(const struct managed_options *options, const struct managed_calls *calls,
		 struct managed **ret, struct err *err);

/* Valid from serve() on. */
const struct identity *managed_identity(const struct managed *managed);

/*
 * What the rows say of their group: it goes on from a restored backup (identity.restored) whose
 * loss was accepted there, and this is its uuid.  Else nothing happens.
 */
void managed_settle(struct managed *managed, const char *group);

/*
 * Client URLs, our own etcd's first; they point into `text`, which must stay.  How many
 * (at most `max`).
 */
size_t managed_endpoints(const struct managed *managed, char text[ETCD_TEXT_SIZE], const char **urls, size_t max);

/* The members as they were last seen; n is 0 before that. */
const struct cluster_list *managed_members(const struct managed *managed);

/*
 * For requests to etcd, with its certificates; and the URL of one that is thought to answer, up to
 * its first comma ("" when none is known).
 */
struct http_multi *managed_http(const struct managed *managed);
const char *managed_url(const struct managed *managed);

/* Since when (ms of the loop's clock) a member of etcd has not answered; 0: it does, or nobody asked. */
uint64_t managed_silent_since(const struct managed *managed, uint64_t etcd_id);

/*
 * One that has been silent for so long that another may have its place; 0: none.  That is from
 * here: who hears none of the others says nothing of any.
 */
uint64_t managed_gone(const struct managed *managed);

/* May this one leave?  False and why. */
bool managed_may_leave(const struct managed *managed, const char **ret_why);

/* From now on it leaves: left() follows, or failed().  Rows must be closed before. */
void managed_leave(struct managed *managed);

/*
 * Ends etcd (with `end`; else it lives on), then calls closed() from the loop, and is gone.
 */
void managed_close(struct managed *managed, bool end, void (*closed)(void *ctx), void *ctx);

#endif
