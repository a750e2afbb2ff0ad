/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens by which a member joins a group, once (rows.md 6).
 *
 *	<group uuid, 32 hex digits>.<secret, 32 hex digits>
 *
 * The group keeps its SHA-256 alone, in the key token/<hash>, with what became of it:
 *
 *	{"format":1,"expires":1795000000000,"member":"","nonce":""}
 *
 * It is claimed in a transaction by the nonce of the joiner's identity, before
 * anything else is done for it; the same nonce may come again until it is in.
 * Pure but for token_make(); any thread.
 */
#ifndef AGGREGATOR_ETCD_TOKEN_H
#define AGGREGATOR_ETCD_TOKEN_H

#include "aggregator/etcd/identity.h"

#define TOKEN_RECORD_MAX 512   /* bytes of a record */
#define TOKEN_HASH_SIZE 65     /* 64 hex digits and a NUL */
#define TOKENS_MAX 100         /* of a group at a time */
#define TOKEN_SECONDS 3600     /* that one is good for, unless somebody says otherwise */
#define TOKEN_SECONDS_MAX 86400

/* What is known of a token. */
struct token_record {
	uint64_t expires_ms;             /* since 1970; who has claimed it before may still use it */
	char member[ROW_TENANT_MAX + 1]; /* who has claimed it; "": nobody */
	char nonce[ETCD_NONCE_SIZE];
};

enum token_state {
	TOKEN_FREE,    /* may be claimed */
	TOKEN_OURS,    /* was, by the same one */
	TOKEN_USED,    /* was, by another */
	TOKEN_EXPIRED,
};

/* A new one of that group.  0, or -EIO: there is no chance to be had. */
int token_make(const char *group, char out[ETCD_TOKEN_SIZE]);

/* Has it the form of one?  Then of which group it is. */
bool token_group(struct mp_str token, char ret_group[META_UUID_SIZE]);

/* 0, or -EIO. */
int token_hash(struct mp_str token, char out[TOKEN_HASH_SIZE]);

/* Appends the text.  0, or -errno as buf_add(). */
int token_record_write(struct buf *out, const struct token_record *record);

/* 0 and *ret; -EINVAL: that is none. */
int token_record_read(struct mp_str text, struct token_record *ret);

enum token_state token_state(const struct token_record *record, uint64_t now_ms, const char *nonce);

#endif
