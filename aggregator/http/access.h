/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may do what: the token file.
 *
 *	[{"token_sha256": "<64 hex digits>", "name": "ops",
 *	  "rights": [{"prefix": "chains/", "read": true, "put": true, "admin": false}]},
 *	 {"cert_ou": "app:1c0d...", "name": "shop", "rights": [...]},
 *	 {"cert_cn": "m2", "name": "member", "rights": [...]}]
 *
 * An entry is for the bearer of a token, of which the file has only the
 * digest, or for certificates with that CN or OU that the CA has signed.  Pure
 * but for memory.  Immutable once it is parsed: any thread.
 */
#ifndef AGGREGATOR_HTTP_ACCESS_H
#define AGGREGATOR_HTTP_ACCESS_H

#include <stdbool.h>

#include "lib/err.h"
#include "middlepipe/types.h"

#define ACCESS_FILE_MAX ((size_t)1 << 20)
#define ACCESS_NAME_MAX 64 /* bytes of an entry's name */

struct access;
struct access_entry;

/* ret: one reference.  0, -ENOMEM, or -EINVAL or -E2BIG and err names the mistake. */
int access_parse(struct mp_str text, struct access **ret, struct err *err);

struct access *access_ref(struct access *access);

/* NULL is allowed. */
void access_unref(struct access *access);

/*
 * Entries are borrowed from the file; NULL when none is meant.  By a token: all
 * are compared, each in constant time.  By a certificate: the first in the file.
 */
const struct access_entry *access_by_token(const struct access *access, struct mp_str token);
const struct access_entry *access_by_cert(const struct access *access, const char *cn,
					  const char *const *ous, size_t n_ous);

/* Does any entry speak of certificates? */
bool access_names_certs(const struct access *access);

const char *access_name(const struct access_entry *entry);

/* The rights (enum http_right, or-ed) that all matching prefixes give together. */
unsigned access_rights(const struct access_entry *entry, struct mp_str row);

/* Those that its prefixes give, each for the rows that it means. */
unsigned access_rights_somewhere(const struct access_entry *entry);

/* The token of `Authorization: Bearer TOKEN`; false for anything else. */
bool access_bearer(struct mp_str value, struct mp_str *ret_token);

#endif
