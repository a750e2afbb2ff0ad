/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an etcd of our own is started: its arguments, for any version from 3.4 on.
 * Pure; for managed.c.
 *
 * Flags come and go with versions, and an unknown one ends etcd at once: what is
 * not essential is given only when `etcd --help` knows it, under the first of its
 * names that is known.
 */
#ifndef AGGREGATOR_ETCD_FLAGS_H
#define AGGREGATOR_ETCD_FLAGS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"

#define FLAGS_MAX 64                  /* arguments at most, the program and the NULL included */
#define ETCD_TXN_OPS 4096             /* --max-txn-ops */
#define ETCD_REQUEST_BYTES 10485760   /* --max-request-bytes */

/* What differs from start to start; texts are borrowed. */
struct etcd_start {
	const char *program;      /* its path */
	const char *help;         /* what `etcd --help` printed */
	const char *name;         /* of the member */
	const char *dir;          /* its data, an absolute path */
	const char *group;        /* uuid: the cluster token, which keeps clusters apart */
	const char *listen_peer, *listen_client; /* URLs with addresses in digits */
	const char *peer, *client; /* URLs that others are told */
	const char *initial;      /* NAME=URL,... of all members, itself included */
	bool force;               /* as the only member, whoever else is named in its directory */
	bool fresh;               /* the one start with --initial-cluster-state new */
	int64_t quota;            /* bytes of its database */
	const char *ca, *cert, *key; /* files for TLS to clients and peers; NULL: none */
};

/* The arguments; the texts lie in `text`. */
struct etcd_args {
	struct buf text;          /* NUL-terminated strings, one behind the other */
	size_t at[FLAGS_MAX];     /* where each begins in there */
	char *argv[FLAGS_MAX];    /* NULL at the end */
	size_t n;                 /* without it */
};

/* 0, or -ENOMEM.  etcd_args_fini() is due in any case. */
int etcd_args_make(struct etcd_args *args, const struct etcd_start *start);
void etcd_args_fini(struct etcd_args *args);

/* Does the help text have that flag? */
bool etcd_knows(const char *help, const char *flag);

#endif
