/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets, adds and removes header fields of requests and of responses.
 *
 * For the host that runs it, through struct mp_filter; built in or as a `.so`.
 * Fields of the connection (RFC 9110, 7.6.1), those that frame the message and
 * the marker are refused when the unit is made: editing them would break the
 * connection or forge a callback.  What is not configured costs nothing: only
 * request edits make every call ask, only response edits make it wait.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <middlepipe/filter.h>

#define HEADERS_MAX 64 /* entries of an option */

enum option {
	O_REQUEST_REMOVE,
	O_REQUEST_SET,
	O_REQUEST_ADD,
	O_RESPONSE_REMOVE,
	O_RESPONSE_SET,
	O_RESPONSE_ADD,
	O_COUNT
};

static const struct mp_option headers_options[] = {
	[O_REQUEST_REMOVE] = {"request_remove", MP_OPTION_STRINGS, 0, "[]", 0, HEADERS_MAX, NULL,
		"Request fields to drop, before the others are set and added.", NULL},
	[O_REQUEST_SET] = {"request_set", MP_OPTION_FIELDS, 0, "{}", 0, HEADERS_MAX, NULL,
		"Request fields to set: each replaces all of its name.", NULL},
	[O_REQUEST_ADD] = {"request_add", MP_OPTION_FIELDS, 0, "{}", 0, HEADERS_MAX, NULL,
		"Request fields to add to those of the same name.", NULL},
	[O_RESPONSE_REMOVE] = {"response_remove", MP_OPTION_STRINGS, 0, "[]", 0, HEADERS_MAX, NULL,
		"Response fields to drop, before the others are set and added.", NULL},
	[O_RESPONSE_SET] = {"response_set", MP_OPTION_FIELDS, 0, "{}", 0, HEADERS_MAX, NULL,
		"Response fields to set: each replaces all of its name.", NULL},
	[O_RESPONSE_ADD] = {"response_add", MP_OPTION_FIELDS, 0, "{}", 0, HEADERS_MAX, NULL,
		"Response fields to add to those of the same name.", NULL},
	[O_COUNT] = {0},
};

enum counter { C_REQUESTS, C_RESPONSES, C_FAILED, C_COUNT };

static const char *const headers_counters[] = {
	[C_REQUESTS] = "requests",   /* edited */
	[C_RESPONSES] = "responses", /* edited */
	[C_FAILED] = "failed",       /* edits that the host could not make: no room */
	[C_COUNT] = NULL,
};

/* Never edited; see the head of this file. */
static const char *const refused_names[] = {
	"connection", "proxy-connection", "keep-alive", "te", "trailer", "transfer-encoding",
	"upgrade", "content-length", "host", "expect", "middlepipe", NULL};

/* The edits of one half of an exchange. */
struct edits {
	struct mp_edit *edits;
	size_t n;
};

struct self {
	const struct mp_host *host; /* the host's, for the whole life */
	struct mp_unit *unit;       /* likewise */
	struct edits request;
	struct edits response;
	void *memory; /* both lists of edits and their bytes */
};

/* Which edits an option stands for, in the order in which they are made. */
static const struct {
	enum option option;
	int32_t op;
	bool response;
} kinds[] = {
	{O_REQUEST_REMOVE, MP_EDIT_REMOVE, false}, {O_REQUEST_SET, MP_EDIT_SET, false},
	{O_REQUEST_ADD, MP_EDIT_ADD, false},       {O_RESPONSE_REMOVE, MP_EDIT_REMOVE, true},
	{O_RESPONSE_SET, MP_EDIT_SET, true},       {O_RESPONSE_ADD, MP_EDIT_ADD, true},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* ----------------------------------------------------------------- checking */

static bool is_token_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(struct mp_str name)
{
	for (size_t i = 0; i < name.len; i++)
		if (!is_token_char(name.ptr[i]))
			return false;
	return name.len > 0;
}

static bool is_value(struct mp_str value)
{
	for (size_t i = 0; i < value.len; i++)
		if (value.ptr[i] == '\r' || value.ptr[i] == '\n' || value.ptr[i] == '\0')
			return false;
	return true;
}

/* `lower` is in lower case. */
static bool is_name(struct mp_str name, const char *lower)
{
	for (size_t i = 0; i < name.len; i++) {
		char c = name.ptr[i];

		if (!lower[i] || (c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c) != lower[i])
			return false;
	}
	return lower[name.len] == '\0';
}

static bool is_refused(struct mp_str name)
{
	for (const char *const *refused = refused_names; *refused; refused++)
		if (is_name(name, *refused))
			return true;
	return false;
}

/* NULL, or what is wrong with a field. */
static const char *wrong_with(const struct mp_field *field)
{
	if (!is_token(field->name))
		return "is no field name: letters, digits and !#$%&'*+-.^_`|~ are allowed";
	if (!is_value(field->value))
		return "has a value with CR, LF or NUL, which no field may have";
	if (is_refused(field->name))
		return "belongs to the connection, the message's framing or Middlepipe, and is not edited";
	return NULL;
}

static int32_t check(const struct mp_value *values, char *error, size_t size)
{
	for (size_t k = 0; k < KINDS; k++) {
		const struct mp_value *value = &values[kinds[k].option];

		for (size_t i = 0; i < value->n_fields; i++) {
			const struct mp_field *field = &value->fields[i];
			const char *wrong = wrong_with(field);

			if (!wrong)
				continue;
			(void)snprintf(error, size, "%s: \"%.*s\" %s",
				       headers_options[kinds[k].option].name,
				       (int)(field->name.len < 64 ? field->name.len : 64),
				       field->name.ptr, wrong);
			return -EINVAL;
		}
	}
	return 0;
}

/* ------------------------------------------------------------------ copying */

static size_t count_edits(const struct mp_value *values, bool response, size_t *bytes)
{
	size_t n = 0;

	for (size_t k = 0; k < KINDS; k++) {
		const struct mp_value *value = &values[kinds[k].option];

		if (kinds[k].response != response)
			continue;
		n += value->n_fields;
		for (size_t i = 0; i < value->n_fields; i++)
			*bytes += value->fields[i].name.len + value->fields[i].value.len;
	}
	return n;
}

static struct mp_str copy(char **at, struct mp_str from)
{
	struct mp_str to = {*at, from.len};

	if (from.len)
		memcpy(*at, from.ptr, from.len);
	*at += from.len;
	return to;
}

static void fill(struct self *self, const struct mp_value *values, char *bytes)
{
	for (size_t k = 0; k < KINDS; k++) {
		const struct mp_value *value = &values[kinds[k].option];
		struct edits *edits = kinds[k].response ? &self->response : &self->request;

		for (size_t i = 0; i < value->n_fields; i++)
			edits->edits[edits->n++] = (struct mp_edit){
				.op = kinds[k].op,
				.field = {copy(&bytes, value->fields[i].name),
					  copy(&bytes, value->fields[i].value)},
			};
	}
}

static int32_t make_edits(struct self *self, const struct mp_value *values)
{
	size_t bytes = 0;
	size_t n_request = count_edits(values, false, &bytes);
	size_t n = n_request + count_edits(values, true, &bytes);

	self->memory = malloc(n * sizeof(struct mp_edit) + bytes + 1);
	if (!self->memory)
		return -ENOMEM;
	self->request.edits = self->memory;
	self->response.edits = self->request.edits + n_request;
	fill(self, values, (char *)(self->request.edits + n));
	return 0;
}

/* --------------------------------------------------------------- life cycle */

static int32_t load(const struct mp_host *host, struct mp_unit *unit, const struct mp_value *values,
		    struct mp_plan *plan, void **ret_self, char *error, size_t error_size)
{
	struct self *self = calloc(1, sizeof(*self));
	int32_t r;

	*ret_self = self; /* unload() takes what a failure leaves */
	if (!self)
		return -ENOMEM;
	self->host = host;
	self->unit = unit;
	r = check(values, error, error_size);
	if (!r)
		r = make_edits(self, values);
	if (r)
		return r;
	plan->needs = (self->request.n ? MP_NEED_REQUEST : 0) |
		      (self->response.n ? MP_NEED_RESPONSE : 0);
	return 0;
}

static void unload(void *data)
{
	struct self *self = data;

	if (!self)
		return;
	free(self->memory);
	free(self);
}

static void start(void *data)
{
	struct self *self = data;
	struct mp_standing standing = {
		.size = sizeof(standing),
		.verdict = self->request.n ? MP_STANDING_ASK : MP_STANDING_PASS,
	};

	(void)self->host->post(self->unit, &standing); /* without a reply nothing can fail */
}

/* -------------------------------------------------------------------- hooks */

/*
 * An edit fails for want of room, which is the exchange's doing and not ours:
 * it is counted and the exchange goes on without it.
 */
static int32_t apply(struct self *self, const struct edits *edits, struct mp_exchange *x,
		     enum counter counter)
{
	size_t n_failed = 0;

	for (size_t i = 0; i < edits->n; i++)
		n_failed += self->host->edit(x, &edits->edits[i]) != 0;
	if (n_failed)
		self->host->count(self->unit, C_FAILED, n_failed);
	if (edits->n)
		self->host->count(self->unit, counter, 1);
	return MP_VERDICT_PASS;
}

static int32_t on_request(void *data, struct mp_exchange *x)
{
	struct self *self = data;

	return apply(self, &self->request, x, C_REQUESTS);
}

static int32_t on_response(void *data, struct mp_exchange *x)
{
	struct self *self = data;

	if (x->flags & MP_X_COPY)
		return MP_VERDICT_PASS;
	return apply(self, &self->response, x, C_RESPONSES);
}

MP_FILTER(headers) = {
	MP_FILTER_HEAD,
	.name = "headers",
	.summary = "sets, adds and removes header fields of requests and responses",
	.level = MP_LEVEL_REQUEST,
	.needs = MP_NEED_REQUEST | MP_NEED_RESPONSE,
	.options = headers_options,
	.counters = headers_counters,
	.load = load,
	.unload = unload,
	.start = start,
	.on_request = on_request,
	.on_response = on_response,
};
