/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads and checks a chain file; prints its mistakes as "FILE: $.path: text".
 *
 * Called by cmd_check.c and cmd_run.c.
 */
#include "cf-plugin/chain_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cf-plugin/chain_try.h"
#include "lib/file.h"
#include "middlepipes/registry.h"

#define MISTAKES_MAX 200 /* lines that are printed; the rest is counted */
#define LINES_MAX ((size_t)64 << 10) /* bytes of what filters say */

static void on_refused(const char *path, const char *reason)
{
	fprintf(stderr, "%s: %s\n", path, reason);
}

int filters_open(const char *folder, bool prefer_shared, struct catalog **ret)
{
	const struct catalog_options options = { .folder = folder, .prefer_shared = prefer_shared,
						 .refused = on_refused };
	struct err err = { 0 };
	int rc = catalog_new(&options, ret, &err);

	if (rc)
		fprintf(stderr, "%s\n", err.text);
	return rc;
}

#define PART 4096 /* bytes of one read */

static int read_stdin(struct buf *text, struct err *err)
{
	ssize_t n = 1;

	buf_init(text, CHAIN_TEXT_MAX + PART);
	while (n && text->len <= CHAIN_TEXT_MAX) {
		char *room = buf_reserve(text, PART);

		n = room ? read(STDIN_FILENO, room, PART) : 0;
		if (n < 0 && errno != EINTR)
			break;
		if (n > 0)
			buf_commit(text, (size_t)n);
	}
	if (n < 0)
		err_sys(err, errno, "standard input");
	else if (text->len > CHAIN_TEXT_MAX)
		err_set(err, -E2BIG, "standard input is over %d bytes", CHAIN_TEXT_MAX);
	else if (!text->error)
		return 0;
	buf_fini(text);
	return -EIO;
}

static void print_mistakes(const char *path, const char *lines, size_t count)
{
	struct mp_str line, rest = slice_of(lines);

	while (rest.len) {
		slice_cut(rest, '\n', &line, &rest);
		fprintf(stderr, "%s: %.*s\n", path, SLICE_ARG(line));
	}
	fprintf(stderr, "%s: %zu mistake%s\n", path, count, count == 1 ? "" : "s");
}

/* What the filters themselves say of a file that is right so far. */
static int try_filters(const char *path, const struct chains *chains)
{
	struct buf lines;
	size_t refused;

	buf_init(&lines, LINES_MAX);
	refused = chain_try(chains, registry, &lines);
	if (refused)
		print_mistakes(path, buf_str(&lines), refused);
	buf_fini(&lines);
	return refused ? -EINVAL : 0;
}

static int parse(const char *path, struct mp_str text, const struct catalog *filters,
		 struct chains **ret)
{
	struct json_errs errs;
	int rc;

	json_errs_init(&errs, MISTAKES_MAX);
	rc = chains_parse(text, catalog_chain(filters), ret, &errs);
	if (errs.count)
		print_mistakes(path, json_errs_text(&errs), errs.count);
	else if (rc)
		fprintf(stderr, "%s: %s\n", path, strerror(-rc));
	json_errs_fini(&errs);
	if (rc)
		return rc;
	rc = try_filters(path, *ret);
	if (rc) {
		chains_free(*ret);
		*ret = NULL;
	}
	return rc;
}

int chain_file_load(const char *path, const struct catalog *filters, struct chains **ret)
{
	bool in = !strcmp(path, "-");
	struct err err = { 0 };
	struct buf text;
	int rc = in ? read_stdin(&text, &err) : file_read(path, CHAIN_TEXT_MAX, &text, &err);

	if (rc) {
		fprintf(stderr, "%s\n", err.text);
		return rc;
	}
	rc = parse(in ? "standard input" : path, buf_slice(&text), filters, ret);
	buf_fini(&text);
	return rc;
}
