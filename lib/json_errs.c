/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths of JSON values, and the list of mistakes that names them.
 *
 * Called by the getters of json.c and by checkers.  Foreign text must be
 * quoted before it gets here; member names in paths are quoted here.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/json.h"

/* Longest line, path and newline included; a longer message is cut. */
#define LINE_SIZE ((size_t)512)
#define MORE "(there are more mistakes)\n"

/* A path under construction. */
struct path {
	char *ptr;   /* caller's room, always NUL-terminated */
	size_t size; /* bytes of room */
	size_t len;  /* bytes so far */
	bool cut;    /* something did not fit */
};

static void add(struct path *path, const char *part)
{
	size_t len = strlen(part);

	if (path->cut || len >= path->size - path->len) {
		path->cut = true;
		return;
	}
	memcpy(path->ptr + path->len, part, len + 1);
	path->len += len;
}

/* Names that read well without quotes. */
static bool is_simple(const char *key)
{
	size_t len = strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				 "0123456789_-");

	return len && !key[len] && len < JSON_QUOTE_SIZE;
}

static void add_step(struct path *path, const struct json_at *at)
{
	char quoted[JSON_QUOTE_SIZE], step[JSON_QUOTE_SIZE + 32];

	if (!at->key)
		(void)snprintf(step, sizeof(step), "[%zu]", at->index);
	else if (is_simple(at->key))
		(void)snprintf(step, sizeof(step), ".%s", at->key);
	else
		(void)snprintf(step, sizeof(step), "[%s]",
			       json_quote(quoted, slice_of(at->key)));
	add(path, step);
}

/* From the root down; the depth is bounded by that of the parsed text. */
static void add_way(struct path *path, const struct json_at *at)
{
	if (!at->parent) {
		add(path, "$");
		return;
	}
	add_way(path, at->parent);
	add_step(path, at);
}

int json_path(const struct json_at *at, char *out, size_t size)
{
	/* Room for the mark is kept back. */
	struct path path = {.ptr = out, .size = size - 3};

	assert(size >= 8);
	out[0] = '\0';
	add_way(&path, at);
	if (!path.cut)
		return 0;
	memcpy(out + path.len, "...", sizeof("..."));
	return -E2BIG;
}

void json_errs_init(struct json_errs *errs, size_t max)
{
	*errs = (struct json_errs){.max = max};
	buf_init(&errs->text, max * LINE_SIZE + sizeof(MORE));
}

void json_errs_fini(struct json_errs *errs)
{
	buf_fini(&errs->text);
}

/* A checker may look at the same wrong value several times. */
static bool repeats(const struct json_errs *errs, const char *line)
{
	return errs->count && !strcmp(buf_str(&errs->text) + errs->last, line);
}

static void keep(struct json_errs *errs, const char *line)
{
	if (repeats(errs, line))
		return;
	if (errs->count < errs->max)
		errs->last = errs->text.len;
	/* Without memory the count alone has to do. */
	if (errs->count <= errs->max)
		(void)buf_add_str(&errs->text, errs->count < errs->max ? line : MORE);
	errs->count++;
}

int json_errs_add(struct json_errs *errs, const struct json_at *at,
		  const char *fmt, ...)
{
	char path[JSON_PATH_SIZE], line[LINE_SIZE];
	size_t len;
	va_list args;
	int more;

	(void)json_path(at, path, sizeof(path)); /* a cut path still helps */
	len = (size_t)snprintf(line, sizeof(line), "%s: ", path);
	va_start(args, fmt);
	/* One byte is kept back for the newline. */
	more = vsnprintf(line + len, sizeof(line) - 1 - len, fmt, args);
	va_end(args);
	if (more >= (int)(sizeof(line) - 1 - len))
		memcpy(line + sizeof(line) - 5, "...", sizeof("..."));
	len = strlen(line);
	memcpy(line + len, "\n", sizeof("\n"));
	keep(errs, line);
	return -EINVAL;
}

const char *json_errs_text(const struct json_errs *errs)
{
	return buf_str(&errs->text);
}

int json_errs_result(const struct json_errs *errs, struct err *err)
{
	const char *text = json_errs_text(errs);
	int len = (int)strcspn(text, "\n");

	if (!errs->count)
		return 0;
	if (!len)
		return err_set(err, -EINVAL, "%zu mistakes", errs->count);
	if (errs->count == 1)
		return err_set(err, -EINVAL, "%.*s", len, text);
	return err_set(err, -EINVAL, "%.*s (and %zu more)", len, text, errs->count - 1);
}

const char *json_quote(char out[JSON_QUOTE_SIZE], struct mp_str s)
{
	return slice_quote(out, JSON_QUOTE_SIZE, s);
}
