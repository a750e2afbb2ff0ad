/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who an aggregator with an etcd of its own is: a file in its data directory,
 * written before whatever it speaks of is done (rows.md 6).
 *
 * A process without it has no identity, whatever else lies there: it begins a group or
 * joins one anew, and never comes back under an old etcd id.  For managed.c alone.
 * Pure but for identity_load() and identity_save(), which block on the disk.
 */
#ifndef AGGREGATOR_ETCD_IDENTITY_H
#define AGGREGATOR_ETCD_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "aggregator/rows/keys.h"
#include "aggregator/rows/meta.h"
#include "lib/buf.h"
#include "lib/err.h"

#ifndef IDENTITY_FORMAT /* tests build programs of another one */
#define IDENTITY_FORMAT 1
#endif
#define ETCD_URL_SIZE 280        /* bytes of an URL, NUL included */
#define ETCD_VOTERS_MAX 5        /* members of etcd that a group has */
#define ETCD_TEXT_SIZE 4096      /* bytes of a list of names and URLs */
#define ETCD_NONCE_SIZE 17       /* 16 hex digits and a NUL */
#define ETCD_TOKEN_SIZE 66       /* see token.h, NUL included */

enum identity_state {
	IDENTITY_NONE,          /* there is no file */
	IDENTITY_BOOTSTRAPPING, /* it begins a group; nothing was ever acknowledged there */
	IDENTITY_JOINING,       /* it has asked to be let in, perhaps was, perhaps runs as a learner */
	IDENTITY_MEMBER,        /* its etcd votes */
	IDENTITY_CLIENT,        /* it uses the others' etcd, and has none */
	IDENTITY_LEAVING,       /* it is being taken out, then its directory is emptied */
};

struct identity {
	enum identity_state state;
	char member[ROW_TENANT_MAX + 1]; /* id of the aggregator, and name of its etcd */
	char nonce[ETCD_NONCE_SIZE];     /* of this life of the directory: a token is claimed by it */
	char group[META_UUID_SIZE];      /* uuid, and etcd's cluster token; "" while joining */
	uint64_t cluster_id;             /* etcd's own of the cluster; 0: not known yet */
	uint64_t etcd_id;                /* of the member of etcd; 0: none yet */
	uint64_t replaces;               /* etcd id of a life before this one; 0: none */
	uint64_t life;                   /* of etcd's directory, see life.h; 0: etcd was not started again yet */
	bool restored;                   /* etcd's directory is a restored backup that was accepted, and `group` is not its uuid yet */
	bool started;                    /* its etcd may have been started with what stands here */
	char peer[ETCD_URL_SIZE];        /* where the other members of etcd reach it */
	char client[ETCD_URL_SIZE];      /* where its clients do */
	char initial[ETCD_TEXT_SIZE];    /* joining: who is there, as --initial-cluster wants it */
	char endpoints[ETCD_TEXT_SIZE];  /* client URLs of the others, with commas; as last seen */
	char join_url[ETCD_URL_SIZE];    /* joining: whom it asks; else "" */
	char token[ETCD_TOKEN_SIZE];     /* joining: what it shows; else "" */
};

/* "member" and so on. */
const char *identity_state_name(enum identity_state state);

/* Appends the text.  0, or -errno as buf_add(). */
int identity_write(struct buf *out, const struct identity *identity);

/*
 * 0 and *ret; -EINVAL: none of ours; -EPROTONOSUPPORT: a newer format; -ENOMEM.
 * err says what is wrong.
 */
int identity_read(struct mp_str text, struct identity *ret, struct err *err);

/* The same with a file, which ends with a checksum; one that is not there is IDENTITY_NONE. */
int identity_load(const char *path, struct identity *ret, struct err *err);

/* Durable when it returns 0. */
int identity_save(const char *path, const struct identity *identity, struct err *err);

#endif
