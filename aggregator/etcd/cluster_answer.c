/* SPDX-License-Identifier: Apache-2.0 */
/* See cluster_answer.h. */
#include "aggregator/etcd/cluster_answer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/json.h"
#include "lib/slice.h"

#define DEPTH_MAX 8
#define MISTAKES_MAX 4
#define URLS_MAX 16
#define NUMBER_MAX 20 /* digits */

/* ----------------------------------------------------------------------- lists */

/* A 64-bit number is a string of decimal digits; 0 is left out. */
static void get_u64(const struct json_at *at, const char *name, uint64_t *ret, struct json_errs *errs)
{
	struct json_at member = json_at_member(at, name);
	const char *text = NULL;

	if (json_get_str(at, name, JSON_OPTIONAL, &text, errs) || !text)
		return;
	if (strlen(text) > NUMBER_MAX || slice_to_u64(slice_of(text), ret) < 0)
		json_errs_add(errs, &member, "is no number of 64 bits");
}

/* Only what may stand in an argument and in JSON as it is: no comma, no quote, no blank. */
static bool is_plain(const char *text)
{
	for (; *text; text++)
		if (*text <= ' ' || *text > '~' || strchr(",\"\\", *text))
			return false;
	return true;
}

static void take_text(const struct json_at *at, const char *text, char *ret, size_t size, struct json_errs *errs)
{
	if (strlen(text) >= size || !is_plain(text))
		json_errs_add(errs, at, "is too long, or has odd characters");
	else
		memcpy(ret, text, strlen(text) + 1);
}

/* The first of several URLs. */
static void get_url(const struct json_at *at, const char *name, char ret[ETCD_URL_SIZE], struct json_errs *errs)
{
	struct json_at urls, first;

	ret[0] = '\0';
	if (json_get_array(at, name, JSON_OPTIONAL, URLS_MAX, &urls, errs) || !json_at_size(&urls))
		return;
	first = json_at_index(&urls, 0);
	if (!json_want(&first, JSON_STRING, errs))
		take_text(&first, json_string_value(first.value), ret, ETCD_URL_SIZE, errs);
}

static void get_member(const struct json_at *at, struct cluster_member *ret, struct json_errs *errs)
{
	struct json_at name = json_at_member(at, "name");
	const char *text = "";

	*ret = (struct cluster_member){ .id = 0 };
	get_u64(at, "ID", &ret->id, errs);
	if (!ret->id)
		json_errs_add(errs, at, "has no id");
	json_get_bool(at, "isLearner", JSON_OPTIONAL, &ret->learner, errs);
	get_url(at, "peerURLs", ret->peer, errs);
	get_url(at, "clientURLs", ret->client, errs);
	if (!json_get_str(at, "name", JSON_OPTIONAL, &text, errs))
		take_text(&name, text, ret->name, sizeof(ret->name), errs);
}

static void get_list(const struct json_at *root, void *list, struct json_errs *errs)
{
	struct cluster_list *ret = list;
	struct json_at header, members, added;

	json_get_object(root, "header", JSON_REQUIRED, &header, errs);
	get_u64(&header, "cluster_id", &ret->cluster, errs);
	get_u64(&header, "member_id", &ret->answered, errs);
	json_get_array(root, "members", JSON_REQUIRED, CLUSTER_MAX, &members, errs);
	for (size_t i = 0; i < json_at_size(&members) && !errs->count; i++) {
		struct json_at member = json_at_index(&members, i);

		if (!json_want(&member, JSON_OBJECT, errs))
			get_member(&member, &ret->member[ret->n++], errs);
	}
	json_get_object(root, "member", JSON_OPTIONAL, &added, errs);
	if (added.value)
		get_u64(&added, "ID", &ret->added, errs);
	if (!errs->count && (!ret->n || !ret->cluster))
		json_errs_add(errs, root, "is no list of members");
}

static void get_sizes(const struct json_at *root, void *sizes, struct json_errs *errs)
{
	struct cluster_sizes *ret = sizes;

	get_u64(root, "dbSize", &ret->size, errs);
	get_u64(root, "dbSizeInUse", &ret->in_use, errs);
	if (!errs->count && !ret->size)
		json_errs_add(errs, root, "says no size of its database");
	if (!ret->in_use || ret->in_use > ret->size)
		ret->in_use = ret->size;
}

/* Any answer: all that is wrong with it is told. */
static int read_answer(struct mp_str text, void (*get)(const struct json_at *, void *, struct json_errs *), void *ret,
		       struct err *err)
{
	CLEANUP_JSON json_t *value = NULL;
	struct json_errs errs;
	struct json_at root;
	int rc = json_load_text(text, CLUSTER_ANSWER_MAX, DEPTH_MAX, &value, err);

	if (rc)
		return rc == -ENOMEM ? rc : -EINVAL;
	root = json_at_root(value);
	json_errs_init(&errs, MISTAKES_MAX);
	get(&root, ret, &errs);
	rc = json_errs_result(&errs, err);
	json_errs_fini(&errs);
	return rc;
}

int cluster_list_read(struct mp_str text, struct cluster_list *ret, struct err *err)
{
	*ret = (struct cluster_list){ .n = 0 };
	return read_answer(text, get_list, ret, err);
}

int cluster_sizes_read(struct mp_str text, struct cluster_sizes *ret, struct err *err)
{
	*ret = (struct cluster_sizes){ .size = 0 };
	return read_answer(text, get_sizes, ret, err);
}

/* ------------------------------------------------------------------- judgement */

/* What etcd says, from 3.4 to 3.6; the first that is found in the text counts. */
static const struct {
	const char *text;
	enum cluster_word word;
} words[] = {
	{ "member not found", CLUSTER_NO_MEMBER },
	{ "in sync with leader", CLUSTER_NOT_SYNCED },
	{ "can only promote a learner member", CLUSTER_NO_LEARNER },
	{ "Peer URLs already exists", CLUSTER_EXISTS },
	{ "too many learner members", CLUSTER_BUSY },
	{ "unhealthy cluster", CLUSTER_UNHEALTHY },
	{ "not enough started members", CLUSTER_UNHEALTHY },
};

/* The error's text, printable; an answer without one is told by its status. */
static void error_text(int status, struct mp_str text, char *ret, size_t size)
{
	CLEANUP_JSON json_t *value = NULL;
	const char *said = NULL;

	if (json_load_text(text, CLUSTER_ANSWER_MAX, DEPTH_MAX, &value, NULL) == 0 && json_is_object(value)) {
		said = json_string_value(json_object_get(value, "error"));
		said = said ? said : json_string_value(json_object_get(value, "message"));
	}
	if (said)
		(void)snprintf(ret, size, "%s", said);
	else if (status)
		(void)snprintf(ret, size, "HTTP %d", status);
	else
		(void)snprintf(ret, size, "no answer");
	for (char *at = ret; *at; at++)
		if (*at < ' ' || *at > '~')
			*at = '?';
}

enum cluster_word cluster_judge(int status, struct mp_str text, char *ret_why, size_t size)
{
	if (status == 200) {
		ret_why[0] = '\0';
		return CLUSTER_DONE;
	}
	error_text(status, text, ret_why, size);
	for (size_t i = 0; status && i < sizeof(words) / sizeof(words[0]); i++)
		if (strstr(ret_why, words[i].text))
			return words[i].word;
	return CLUSTER_TROUBLE;
}

/* ---------------------------------------------------------------------- looking */

const struct cluster_member *cluster_by_id(const struct cluster_list *list, uint64_t id)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->member[i].id == id)
			return &list->member[i];
	return NULL;
}

const struct cluster_member *cluster_by_name(const struct cluster_list *list, const char *name)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->member[i].name, name) == 0)
			return &list->member[i];
	return NULL;
}

const struct cluster_member *cluster_by_peer(const struct cluster_list *list, const char *peer)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->member[i].peer, peer) == 0)
			return &list->member[i];
	return NULL;
}

size_t cluster_voters(const struct cluster_list *list)
{
	size_t n = 0;

	for (size_t i = 0; i < list->n; i++)
		n += !list->member[i].learner;
	return n;
}

int cluster_initial(struct buf *out, const struct cluster_list *list, uint64_t id, const char *name)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct cluster_member *m = &list->member[i];

		if (i)
			(void)buf_add_str(out, ",");
		if (m->id == id)
			(void)buf_printf(out, "%s=%s", name, m->peer);
		else if (m->name[0])
			(void)buf_printf(out, "%s=%s", m->name, m->peer);
		else
			(void)buf_printf(out, "%016" PRIx64 "=%s", m->id, m->peer);
	}
	return out->error;
}

int cluster_endpoints(struct buf *out, const struct cluster_list *list, uint64_t except)
{
	bool first = true;

	for (size_t i = 0; i < list->n; i++) {
		const struct cluster_member *m = &list->member[i];

		if (m->learner || !m->client[0] || m->id == except)
			continue;
		(void)buf_printf(out, "%s%s", first ? "" : ",", m->client);
		first = false;
	}
	return out->error;
}
