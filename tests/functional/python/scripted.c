/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A libmiddlepipe that does what a file says, so that a hook meets every verdict
 * there is, and that writes down what it was told.  Loaded by LD_PRELOAD in
 * front of the real one; tests/functional/51-python.t writes its script.
 *
 * MP_SCRIPT names the script, read at every mp_begin: lines "key value".
 *   begin GO|ASK|REPLY|NONE   wants N   ask PASS|REPLY|DELAY|HOLD   respond likewise
 *   held N (resumes that still hold, then it passes)   delay_ms N   body_limit N
 *   set|add|remove NAME: VALUE, authority, path, body: edits of the request
 *   rset|radd|rremove, rbody, rstatus: edits of the response
 *   status, raise, field, type, pipe, state, retry_after, rbody: of a REPLY
 * MP_LOG names the log: one line a call of a function.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <middlepipe/client.h>

#define EXPORT __attribute__((visibility("default")))
#define LINES 64

/* The script, cut into keys and values; each thread has its own, and its calls stay with it. */
static _Thread_local char text[8192];
static _Thread_local struct line {
	char *key;
	char *value;
} lines[LINES];
static _Thread_local int n_lines;
static _Thread_local int held;
static _Thread_local struct mp_edit edits[LINES];
static _Thread_local struct mp_field fields[LINES];

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
	char line[4096];
	va_list args;
	int fd, n;

	va_start(args, format);
	n = vsnprintf(line, sizeof(line) - 1, format, args);
	va_end(args);
	if (n < 0)
		return;
	n = n < (int)sizeof(line) - 1 ? n : (int)sizeof(line) - 2;
	line[n++] = '\n';
	fd = open(getenv("MP_LOG") ? getenv("MP_LOG") : "/dev/null",
		  O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, line, (size_t)n) != n)
		abort();
	close(fd);
}

static void script_read(void)
{
	int fd = open(getenv("MP_SCRIPT") ? getenv("MP_SCRIPT") : "/dev/null", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	char *at = text;

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	for (n_lines = 0; n_lines < LINES && *at; n_lines++) {
		char *end = strchr(at, '\n');

		if (end)
			*end = '\0';
		lines[n_lines].key = at;
		at += strcspn(at, " ");
		lines[n_lines].value = *at ? at + 1 : at;
		*at = '\0';
		at = end ? end + 1 : at;
	}
	held = 0;
}

static const char *get(const char *key, const char *otherwise)
{
	for (int i = 0; i < n_lines; i++)
		if (!strcmp(lines[i].key, key))
			return lines[i].value;
	return otherwise;
}

static struct mp_str get_str(const char *key)
{
	const char *value = get(key, NULL);

	return (struct mp_str){ value, value ? strlen(value) : 0 };
}

static long get_long(const char *key, long otherwise)
{
	const char *value = get(key, NULL);

	return value ? strtol(value, NULL, 0) : otherwise;
}

static int word(const char *value, const char *const *words)
{
	for (int i = 0; words[i]; i++)
		if (!strcmp(value, words[i]))
			return i;
	abort();
}

static struct mp_field to_field(const char *value)
{
	const char *colon = strchr(value, ':');
	struct mp_field field = { { value, strlen(value) }, { NULL, 0 } };

	if (colon) {
		field.name.len = (size_t)(colon - value);
		field.value.ptr = colon[1] == ' ' ? colon + 2 : colon + 1;
		field.value.len = strlen(field.value.ptr);
	}
	return field;
}

static size_t read_edits(const char *prefix)
{
	static const char *const ops[] = { "set", "add", "remove" };
	size_t n = 0, skip = strlen(prefix);

	for (int i = 0; i < n_lines; i++)
		for (int op = 0; op < 3; op++)
			if (!strncmp(lines[i].key, prefix, skip) &&
			    !strcmp(lines[i].key + skip, ops[op]))
				edits[n++] = (struct mp_edit){ op, 0, to_field(lines[i].value) };
	return n;
}

static void read_reply(struct mp_verdict *v)
{
	v->verdict = MP_VERDICT_REPLY;
	v->status = (int32_t)get_long("status", 503);
	v->raise = (int32_t)get_long("raise", 0);
	v->type = get_str("type");
	v->pipe = get_str("pipe");
	v->state = get_str("state");
	v->retry_after = get_long("retry_after", -1);
	v->body = get_str("rbody");
	v->fields = fields;
	for (int i = 0; i < n_lines; i++)
		if (!strcmp(lines[i].key, "field"))
			fields[v->n_fields++] = to_field(lines[i].value);
}

static int verdict(struct mp_verdict *v, const char *said, int response)
{
	static const char *const words[] = { "PASS", "REPLY", "DELAY", "HOLD", NULL };
	const uint32_t size = v->size;

	*v = (struct mp_verdict){ .size = size, .verdict = word(said, words), .retry_after = -1 };
	v->delay_ns = (uint64_t)get_long("delay_ms", 0) * 1000000;
	if (v->verdict == MP_VERDICT_REPLY) {
		read_reply(v);
	} else if (v->verdict != MP_VERDICT_HOLD) {
		v->n_edits = read_edits(response ? "r" : "");
		v->edits = edits;
		v->body = get_str(response ? "rbody" : "body");
		v->status = response ? (int32_t)get_long("rstatus", 0) : 0;
		if (!response) {
			v->authority = get_str("authority");
			v->path = get_str("path");
		}
	}
	return v->verdict;
}

static void say_request(const struct mp_request *r)
{
	say("request %.*s %.*s %.*s %.*s body=%.*s complete=%u", (int)r->method.len, r->method.ptr,
	    (int)r->scheme.len, r->scheme.ptr, (int)r->authority.len, r->authority.ptr,
	    (int)r->path.len, r->path.ptr, (int)r->body.len, r->body.ptr ? r->body.ptr : "",
	    r->flags & MP_BODY_COMPLETE);
	for (size_t i = 0; i < r->n_fields; i++)
		say("  field %.*s: %.*s", (int)r->fields[i].name.len, r->fields[i].name.ptr,
		    (int)r->fields[i].value.len, r->fields[i].value.ptr);
}

EXPORT int mp_begin(const struct mp_target *t, struct mp_call *call, struct mp_verdict *v)
{
	static const char *const words[] = { "NONE", "GO", "ASK", "REPLY", NULL };
	const char *host;

	script_read();
	host = get("host", NULL);
	memset(call, 0, sizeof(*call));
	call->verdict = (uint32_t)word(get("begin", "NONE"), words);
	if (host && (strlen(host) != t->host.len || memcmp(host, t->host.ptr, t->host.len)))
		call->verdict = MP_NONE;
	call->wants = (uint32_t)get_long("wants", 0);
	say("begin %.*s %.*s %u %.*s", (int)t->scheme.len, t->scheme.ptr, (int)t->host.len,
	    t->host.ptr, (unsigned)t->port, (int)t->path.len, t->path.ptr ? t->path.ptr : "");
	if (call->verdict == MP_REPLY)
		(void)verdict(v, "REPLY", 0);
	return (int)call->verdict;
}

EXPORT int mp_standing(const struct mp_target *t)
{
	static const char *const words[] = { "NONE", "GO", "ASK", "REPLY", NULL };

	(void)t;
	script_read();
	return word(get("begin", "NONE"), words);
}

EXPORT int mp_ask(struct mp_call *call, const struct mp_request *request, struct mp_verdict *v)
{
	(void)call;
	say_request(request);
	return verdict(v, get("ask", "PASS"), 0);
}

EXPORT int mp_resume(struct mp_call *call, uint64_t wait_ns, struct mp_verdict *v)
{
	(void)call, (void)wait_ns;
	say("resume");
	return verdict(v, ++held >= get_long("held", 1) ? get("then", "PASS") : "HOLD", 0);
}

EXPORT int mp_respond(struct mp_call *call, const struct mp_request *request,
		      const struct mp_response *r, struct mp_verdict *v)
{
	(void)call;
	if (request)
		say_request(request);
	say("response %d error=%d body=%.*s complete=%u", (int)r->status, (int)r->error,
	    (int)r->body.len, r->body.ptr ? r->body.ptr : "", r->flags & MP_BODY_COMPLETE);
	return verdict(v, get("respond", "PASS"), 1);
}

EXPORT void mp_end(struct mp_call *call, int status, int error, uint64_t head_ns)
{
	(void)call, (void)head_ns;
	say("end %d error=%d", status, error);
}

EXPORT void mp_verdict_free(struct mp_verdict *v)
{
	memset(v, 0, sizeof(*v));
}

EXPORT int mp_enabled(void)
{
	return 1;
}

EXPORT size_t mp_body_limit(void)
{
	script_read();
	return (size_t)get_long("body_limit", 1024);
}

EXPORT void mp_counters_get(struct mp_counters *c)
{
	*c = (struct mp_counters){ .size = c->size };
}

EXPORT const char *mp_version(void)
{
	return "scripted";
}
