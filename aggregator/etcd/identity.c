/* SPDX-License-Identifier: Apache-2.0 */
/* See identity.h. */
#include "aggregator/etcd/identity.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "lib/file.h"
#include "lib/hex.h"
#include "lib/json.h"
#include "lib/json_text.h"
#include "lib/slice.h"

#define FILE_MAX ((size_t)32 << 10)
#define MISTAKES_MAX 8
#define END_SIZE 2  /* bytes of } and a line's end */
#define SUM_SIZE 27 /* bytes of ,"sum":"0123456789abcdef"} and a line's end */

static const char *const state_names[] = {
	[IDENTITY_NONE] = "none",     [IDENTITY_BOOTSTRAPPING] = "bootstrapping", [IDENTITY_JOINING] = "joining",
	[IDENTITY_MEMBER] = "member", [IDENTITY_CLIENT] = "client",               [IDENTITY_LEAVING] = "leaving",
	NULL,
};

/* The texts: their names in the file, where they stand, and their room. */
static const struct field {
	const char *name;
	size_t offset;
	size_t size;
} fields[] = {
	{ "member", offsetof(struct identity, member), sizeof(((struct identity *)0)->member) },
	{ "nonce", offsetof(struct identity, nonce), sizeof(((struct identity *)0)->nonce) },
	{ "group", offsetof(struct identity, group), sizeof(((struct identity *)0)->group) },
	{ "peer", offsetof(struct identity, peer), sizeof(((struct identity *)0)->peer) },
	{ "client", offsetof(struct identity, client), sizeof(((struct identity *)0)->client) },
	{ "initial", offsetof(struct identity, initial), sizeof(((struct identity *)0)->initial) },
	{ "endpoints", offsetof(struct identity, endpoints), sizeof(((struct identity *)0)->endpoints) },
	{ "join_url", offsetof(struct identity, join_url), sizeof(((struct identity *)0)->join_url) },
	{ "token", offsetof(struct identity, token), sizeof(((struct identity *)0)->token) },
};

/* The numbers, 16 hex digits each. */
static const struct field numbers[] = {
	{ "cluster_id", offsetof(struct identity, cluster_id), 8 },
	{ "etcd_id", offsetof(struct identity, etcd_id), 8 },
	{ "replaces", offsetof(struct identity, replaces), 8 },
	{ "life", offsetof(struct identity, life), 8 },
};

#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))
#define N_NUMBERS (sizeof(numbers) / sizeof(numbers[0]))

const char *identity_state_name(enum identity_state state)
{
	return state_names[state];
}

int identity_write(struct buf *out, const struct identity *identity)
{
	(void)buf_printf(out, "{\"format\":%d,\"state\":\"%s\",\"started\":%s", IDENTITY_FORMAT,
			 state_names[identity->state], identity->started ? "true" : "false");
	if (identity->restored)
		(void)buf_add_str(out, ",\"restored\":true");
	for (size_t i = 0; i < N_NUMBERS; i++) {
		uint64_t value;

		memcpy(&value, (const char *)identity + numbers[i].offset, sizeof(value));
		(void)buf_printf(out, ",\"%s\":\"%016" PRIx64 "\"", numbers[i].name, value);
	}
	for (size_t i = 0; i < N_FIELDS; i++) {
		(void)buf_printf(out, ",\"%s\":", fields[i].name);
		(void)json_text_add(out, slice_of((const char *)identity + fields[i].offset));
	}
	return buf_add_str(out, "}\n");
}

static void get_text(const struct json_at *at, const struct field *field, struct identity *ret,
		     struct json_errs *errs)
{
	struct json_at member = json_at_member(at, field->name);
	const char *text = "";

	if (json_get_str(at, field->name, JSON_REQUIRED, &text, errs))
		return;
	if (strlen(text) >= field->size)
		json_errs_add(errs, &member, "is longer than %zu bytes", field->size - 1);
	else
		memcpy((char *)ret + field->offset, text, strlen(text) + 1);
}

static void get_number(const struct json_at *at, const struct field *field, struct identity *ret,
		       struct json_errs *errs)
{
	struct json_at member = json_at_member(at, field->name);
	const char *text = "";
	uint64_t value = 0;

	if (json_get_str(at, field->name, JSON_REQUIRED, &text, errs))
		return;
	if (!hex_number(slice_of(text), 16, &value))
		json_errs_add(errs, &member, "wants 16 lower-case hex digits, not %s", JSON_QUOTE(text));
	memcpy((char *)ret + field->offset, &value, sizeof(value));
}

/* What must be there for its state, so that nobody acts on half an identity. */
static void check_whole(const struct json_at *at, const struct identity *id, struct json_errs *errs)
{
	bool etcd = id->state != IDENTITY_CLIENT;
	uint8_t bytes[16];

	if (!id->member[0] || strlen(id->nonce) != ETCD_NONCE_SIZE - 1)
		json_errs_add(errs, at, "names no member");
	if ((id->group[0] || id->state != IDENTITY_JOINING) && !hex_decode(slice_of(id->group), bytes, sizeof(bytes)))
		json_errs_add(errs, at, "names no group");
	if (etcd && (!id->peer[0] || !id->client[0]))
		json_errs_add(errs, at, "lacks the addresses of its etcd");
	if (id->state == IDENTITY_MEMBER && (!id->etcd_id || !id->cluster_id))
		json_errs_add(errs, at, "lacks the ids of its etcd");
}

static void get_all(const struct json_at *at, int format, void *identity, struct json_errs *errs)
{
	int state = IDENTITY_NONE;
	struct identity *ret = identity;

	(void)format; /* there is one */
	*ret = (struct identity){ .state = IDENTITY_NONE };
	json_get_choice(at, "state", JSON_REQUIRED, state_names, &state, errs);
	json_get_bool(at, "started", JSON_REQUIRED, &ret->started, errs);
	json_get_bool(at, "restored", JSON_OPTIONAL, &ret->restored, errs);
	for (size_t i = 0; i < N_NUMBERS; i++)
		get_number(at, &numbers[i], ret, errs);
	for (size_t i = 0; i < N_FIELDS; i++)
		get_text(at, &fields[i], ret, errs);
	ret->state = (enum identity_state)state;
	if (!errs->count && state == IDENTITY_NONE)
		json_errs_add(errs, at, "has no state");
	if (!errs->count)
		check_whole(at, ret, errs);
}

int identity_read(struct mp_str text, struct identity *ret, struct err *err)
{
	static const struct json_kind kind = { "an identity", IDENTITY_FORMAT, IDENTITY_FORMAT, FILE_MAX, MISTAKES_MAX,
					       get_all };

	return json_read_kind(text, &kind, ret, err);
}

/* An identity's text, the end of which is cut off, and the sum of that. */
static int add_with_sum(struct buf *out, struct mp_str text)
{
	(void)buf_add_slice(out, text);
	return buf_printf(out, ",\"sum\":\"%016" PRIx64 "\"}\n", (uint64_t)XXH64(text.ptr, text.len, 0));
}

/* Any bit of the file may have turned. */
static int check_sum(struct mp_str text, struct err *err)
{
	struct buf whole;
	bool same;

	buf_init(&whole, FILE_MAX);
	if (text.len > SUM_SIZE)
		(void)add_with_sum(&whole, slice_make(text.ptr, text.len - SUM_SIZE));
	same = slice_eq(buf_slice(&whole), text);
	buf_fini(&whole);
	return same ? 0 : err_set(err, -EINVAL, "is damaged: its checksum is wrong");
}

int identity_load(const char *path, struct identity *ret, struct err *err)
{
	struct buf text;
	int rc = file_read(path, FILE_MAX, &text, err);

	*ret = (struct identity){ .state = IDENTITY_NONE };
	if (rc == -ENOENT)
		return 0;
	if (rc)
		return rc;
	rc = identity_read(buf_slice(&text), ret, err);
	if (rc == 0)
		rc = check_sum(buf_slice(&text), err);
	buf_fini(&text);
	return rc ? err_wrap(err, rc, "%s", path) : 0;
}

int identity_save(const char *path, const struct identity *identity, struct err *err)
{
	struct buf text, body;
	int rc;

	buf_init(&text, FILE_MAX);
	buf_init(&body, FILE_MAX);
	rc = identity_write(&body, identity);
	if (rc == 0)
		rc = add_with_sum(&text, slice_make(body.ptr, body.len - END_SIZE));
	buf_fini(&body);
	if (rc)
		(void)err_sys(err, rc, path);
	else
		rc = file_write_atomic(path, buf_slice(&text), err);
	buf_fini(&text);
	return rc;
}
