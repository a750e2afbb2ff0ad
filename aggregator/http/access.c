/* SPDX-License-Identifier: Apache-2.0 */
/* See access.h. */
#include "aggregator/http/access.h"

#include <gnutls/crypto.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/http/server.h"
#include "lib/cleanup.h"
#include "lib/hex.h"
#include "lib/json.h"

#define ENTRIES_MAX 1024
#define GRANTS_MAX 64  /* of an entry */
#define MATCH_MAX 256  /* bytes of a CN, an OU, a prefix */
#define TOKEN_MAX 4096 /* bytes */
#define DIGEST_SIZE 32
#define DEPTH 5        /* of the JSON */

/* Rows whose names begin so, and what may be done with them. */
struct grant {
	char prefix[MATCH_MAX + 1]; /* "": all */
	size_t size;                /* of it */
	unsigned rights;            /* enum http_right, or-ed */
};

enum match { MATCH_TOKEN, MATCH_CN, MATCH_OU, MATCHES };

static const char *const match_keys[MATCHES] = { "token_sha256", "cert_cn", "cert_ou" };

struct access_entry {
	enum match match;                  /* how it is found */
	unsigned char digest[DIGEST_SIZE]; /* of the token */
	char text[MATCH_MAX + 1];          /* CN or OU */
	char name[ACCESS_NAME_MAX + 1];    /* for logs */
	struct grant *grants;              /* owned */
	size_t n_grants;                   /* of them */
};

struct access {
	_Atomic int refs;             /* users */
	struct access_entry *entries; /* in the order of the file; owned */
	size_t n;                     /* of them */
};

/* ------------------------------------------------------------------- parsing */

/* Text of 1 (or 0) to `max` bytes into out[max + 1]. */
static int get_text(const struct json_at *at, const char *key, size_t min, size_t max, char *out,
		    struct json_errs *errs)
{
	const char *text = NULL;
	struct json_at where = json_at_member(at, key);

	if (json_get_str(at, key, JSON_REQUIRED, &text, errs) || !text)
		return -EINVAL;
	if (strlen(text) < min || strlen(text) > max)
		return json_errs_add(errs, &where, "must have %zu to %zu bytes", min, max);
	memcpy(out, text, strlen(text) + 1);
	return 0;
}

static void parse_grant(const struct json_at *at, struct grant *g, struct json_errs *errs)
{
	bool may_read = false, may_put = false, may_admin = false;

	if (json_want(at, JSON_OBJECT, errs))
		return;
	json_only(at, errs, "prefix", "read", "put", "admin", NULL);
	get_text(at, "prefix", 0, MATCH_MAX, g->prefix, errs);
	json_get_bool(at, "read", JSON_OPTIONAL, &may_read, errs);
	json_get_bool(at, "put", JSON_OPTIONAL, &may_put, errs);
	json_get_bool(at, "admin", JSON_OPTIONAL, &may_admin, errs);
	g->size = strlen(g->prefix);
	g->rights = (may_read ? RIGHT_READ : 0u) | (may_put ? RIGHT_PUT : 0u) |
		    (may_admin ? RIGHT_ADMIN : 0u);
}

static int parse_grants(const struct json_at *at, struct access_entry *e, struct json_errs *errs)
{
	struct json_at rights;

	if (json_get_array(at, "rights", JSON_REQUIRED, GRANTS_MAX, &rights, errs))
		return 0;
	e->grants = calloc(json_at_size(&rights) + 1, sizeof(*e->grants));
	if (!e->grants)
		return -ENOMEM;
	e->n_grants = json_at_size(&rights);
	for (size_t i = 0; i < e->n_grants; i++) {
		struct json_at grant = json_at_index(&rights, i);

		parse_grant(&grant, &e->grants[i], errs);
	}
	return 0;
}

/* Whom it is for: exactly one of three members says it. */
static void parse_match(const struct json_at *at, struct access_entry *e, struct json_errs *errs)
{
	char hex[MATCH_MAX + 1] = "";
	int n = 0;

	for (int i = 0; i < MATCHES; i++) {
		if (json_at_member(at, match_keys[i]).value) {
			e->match = (enum match)i;
			n++;
		}
	}
	if (n != 1) {
		json_errs_add(errs, at, "must have one of token_sha256, cert_cn and cert_ou");
	} else if (e->match != MATCH_TOKEN) {
		get_text(at, match_keys[e->match], 1, MATCH_MAX, e->text, errs);
	} else if (!get_text(at, "token_sha256", 1, MATCH_MAX, hex, errs) &&
		   !hex_decode(slice_of(hex), e->digest, sizeof(e->digest))) {
		struct json_at where = json_at_member(at, "token_sha256");

		json_errs_add(errs, &where, "must be 64 lower-case hex digits");
	}
}

static int parse_entry(const struct json_at *at, struct access_entry *e, struct json_errs *errs)
{
	if (json_want(at, JSON_OBJECT, errs))
		return 0;
	json_only(at, errs, "token_sha256", "cert_cn", "cert_ou", "name", "rights", NULL);
	get_text(at, "name", 1, ACCESS_NAME_MAX, e->name, errs);
	parse_match(at, e, errs);
	return parse_grants(at, e, errs);
}

static int parse_entries(struct access *access, const json_t *json, struct json_errs *errs)
{
	struct json_at root = json_at_root(json);
	size_t n;
	int rc = 0;

	if (json_want(&root, JSON_ARRAY, errs))
		return 0;
	n = json_at_size(&root);
	if (n > ENTRIES_MAX) {
		json_errs_add(errs, &root, "may have %d entries", ENTRIES_MAX);
		return 0;
	}
	access->entries = calloc(n + 1, sizeof(*access->entries));
	if (!access->entries)
		return -ENOMEM;
	access->n = n;
	for (size_t i = 0; i < n && !rc; i++) {
		struct json_at entry = json_at_index(&root, i);

		rc = parse_entry(&entry, &access->entries[i], errs);
	}
	return rc;
}

int access_parse(struct mp_str text, struct access **ret, struct err *err)
{
	CLEANUP_JSON json_t *json = NULL;
	struct access *access;
	struct json_errs errs;
	int rc = json_load_text(text, ACCESS_FILE_MAX, DEPTH, &json, err);

	if (rc)
		return rc;
	access = calloc(1, sizeof(*access));
	if (!access)
		return err_sys(err, ENOMEM, "tokens");
	atomic_init(&access->refs, 1);
	json_errs_init(&errs, 16);
	rc = parse_entries(access, json, &errs);
	if (rc)
		err_sys(err, rc, "tokens");
	else
		rc = json_errs_result(&errs, err);
	json_errs_fini(&errs);
	if (rc)
		access_unref(access);
	else
		*ret = access;
	return rc;
}

struct access *access_ref(struct access *access)
{
	if (access)
		atomic_fetch_add(&access->refs, 1);
	return access;
}

void access_unref(struct access *access)
{
	if (!access || atomic_fetch_sub(&access->refs, 1) != 1)
		return;
	for (size_t i = 0; i < access->n; i++)
		free(access->entries[i].grants);
	free(access->entries);
	free(access);
}

/* ------------------------------------------------------------------- looking */

const struct access_entry *access_by_token(const struct access *access, struct mp_str token)
{
	const struct access_entry *found = NULL;
	unsigned char digest[DIGEST_SIZE];

	if (!token.len || token.len > TOKEN_MAX ||
	    gnutls_hash_fast(GNUTLS_DIG_SHA256, token.ptr, token.len, digest))
		return NULL;
	for (size_t i = 0; i < access->n; i++) {
		const struct access_entry *e = &access->entries[i];

		if (!gnutls_memcmp(e->digest, digest, sizeof(digest)) && e->match == MATCH_TOKEN)
			found = e;
	}
	return found;
}

static bool entry_is_for(const struct access_entry *e, const char *cn, const char *const *ous,
			 size_t n_ous)
{
	if (e->match == MATCH_CN)
		return cn && !strcmp(e->text, cn);
	for (size_t i = 0; e->match == MATCH_OU && i < n_ous; i++)
		if (!strcmp(e->text, ous[i]))
			return true;
	return false;
}

const struct access_entry *access_by_cert(const struct access *access, const char *cn,
					  const char *const *ous, size_t n_ous)
{
	for (size_t i = 0; i < access->n; i++)
		if (entry_is_for(&access->entries[i], cn, ous, n_ous))
			return &access->entries[i];
	return NULL;
}

bool access_names_certs(const struct access *access)
{
	for (size_t i = 0; i < access->n; i++)
		if (access->entries[i].match != MATCH_TOKEN)
			return true;
	return false;
}

const char *access_name(const struct access_entry *entry)
{
	return entry->name;
}

unsigned access_rights(const struct access_entry *entry, struct mp_str row)
{
	unsigned rights = 0;

	for (size_t i = 0; i < entry->n_grants; i++) {
		const struct grant *g = &entry->grants[i];

		if (slice_starts(row, slice_make(g->prefix, g->size)))
			rights |= g->rights;
	}
	return rights;
}

unsigned access_rights_somewhere(const struct access_entry *entry)
{
	unsigned rights = 0;

	for (size_t i = 0; i < entry->n_grants; i++)
		rights |= entry->grants[i].rights;
	return rights;
}

bool access_bearer(struct mp_str value, struct mp_str *ret_token)
{
	struct mp_str scheme, rest;

	if (!slice_cut(slice_trim(value), ' ', &scheme, &rest) ||
	    !slice_eq_nocase(scheme, MP_LIT("Bearer")))
		return false;
	rest = slice_trim(rest);
	for (size_t i = 0; i < rest.len; i++)
		if (rest.ptr[i] <= ' ' || rest.ptr[i] >= 0x7f)
			return false;
	*ret_token = rest;
	return rest.len > 0;
}
