/* SPDX-License-Identifier: Apache-2.0 */
/* middlepipe rows export: all rows into a file, whole or not at all. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cf-plugin/control.h"
#include "cf-plugin/progress.h"
#include "cf-plugin/rows_commands.h"
#include "lib/export.h"

#define SILENCE_S 60 /* then the aggregator is given up */

static const char *prefix;

static const struct opt options[] = {
	{ .name = "prefix", .letter = 'p', .type = OPT_STRING, .target = &prefix, .def = "", .arg = "TEXT",
	  .help = "only rows whose names begin so" },
	ROWS_OPTIONS,
	{ .name = NULL },
};

static const struct opt_command command = {
	.name = "middlepipe rows export",
	.usage = "[OPTION]... [FILE]",
	.summary = "write all rows into a file, to be imported",
	.text = "Each row is as it is when its turn comes. The lines have checksums, which are looked at, and\n"
		"the last one says that they are all: FILE gets its name only when it is whole; until then it\n"
		"is FILE.part, which stays when the export is interrupted. Without FILE they are written to\n"
		"standard output; then the exit code tells. --json prints figures.",
	.opts = options,
	.examples = "middlepipe rows export rows-2026-11-21.mprows",
	.exit_codes = ROWS_EXIT_CODES,
};

/* An export that comes in. */
struct taker {
	FILE *out;
	bool to_file;            /* and not to standard output */
	struct buf line;         /* that is not whole yet */
	uint64_t sum, lines, rows, cells, bytes;
	uint64_t gone;           /* rows that were deleted meanwhile */
	bool whole;              /* the end line came */
	struct err why;          /* when it is not right */
	struct progress progress;
};

static int end_with(struct taker *t, const char *text)
{
	t->why = (struct err){ "" };
	return err_set(&t->why, -ECANCELED, "line %" PRIu64 " %s", t->lines + 1, text);
}

static int take_end(struct taker *t, struct mp_str line)
{
	struct export_line end;
	struct err err = { 0 };

	if (export_read(line, &end, &err))
		return end_with(t, err.text);
	if (end.kind == EXPORT_ERROR)
		(void)end_with(t, end.is.error);
	else if (end.kind == EXPORT_END && (end.is.end.rows != t->rows || end.is.end.cells != t->cells))
		(void)end_with(t, "counts other rows and cells than came");
	else
		t->whole = end.kind == EXPORT_END;
	export_line_fini(&end);
	return t->why.text[0] ? -ECANCELED : 0;
}

/* A whole line, without its newline.  Most are cells: they are looked at no closer than needed. */
static int take_line(struct taker *t, struct mp_str line)
{
	struct mp_str json = slice_skip(line, EXPORT_SUM_SIZE + 1);
	struct err err = { 0 };
	int rc = 0;

	if (t->whole)
		return end_with(t, "comes behind the end");
	if (export_check(line, &t->sum, &err))
		return end_with(t, err.text);
	if (slice_starts(json, MP_LIT("{\"cell\":")))
		t->cells++;
	else if (slice_starts(json, MP_LIT("{\"row\":")))
		t->rows++;
	else if (slice_starts(json, MP_LIT("{\"gone\":")))
		t->gone++;
	else if (!slice_starts(json, MP_LIT("{\"state\":")))
		rc = take_end(t, line);
	t->lines++;
	t->bytes += line.len + 1;
	if (rc)
		return rc;
	if (fwrite(line.ptr, 1, line.len, t->out) != line.len || putc('\n', t->out) == EOF)
		return err_set(&t->why, -ECANCELED, "cannot be written: %s", strerror(errno));
	return 0;
}

static int on_part(void *ctx, struct mp_str part)
{
	struct taker *t = ctx;
	struct mp_str head;
	int rc = 0;

	while (part.len && !rc) {
		bool whole = slice_cut(part, '\n', &head, &part);

		if (buf_add_slice(&t->line, head))
			return end_with(t, "is too long");
		if (!whole)
			break;
		rc = take_line(t, buf_slice(&t->line));
		buf_reset(&t->line);
	}
	progress_say(&t->progress, "%" PRIu64 " rows, %" PRIu64 " cells, %" PRIu64 " KiB", t->rows, t->cells,
		     t->bytes >> 10);
	return rc;
}

static int receive(struct rows_api *api, struct taker *t, const char *path)
{
	struct rows_call call = { .path = path, .on_part = on_part, .ctx = t, .idle_s = SILENCE_S };
	struct http_reply reply;
	struct err err = { 0 };
	int rc = rows_ask(api, &call, &reply, &err), code = CLI_OK;

	progress_end(&t->progress);
	if (t->why.text[0]) {
		code = cli_fail(&command, CLI_FAILED, "the export: %s", t->why.text);
	} else if (rc) {
		return rows_failed(api, rc, false, &err);
	} else if (reply.status != 200) {
		code = rows_refused(api, &reply);
	} else if (!t->whole) {
		code = cli_fail(&command, CLI_FAILED, "the export broke off after line %" PRIu64, t->lines);
	}
	if (!rc)
		http_reply_fini(&reply);
	return code;
}

/* On standard output, unless the lines are there. */
static void print_figures(const struct taker *t)
{
	FILE *out = t->to_file ? stdout : stderr;

	if (rows_options.json)
		fprintf(out, "{\"rows\":%" PRIu64 ",\"cells\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"gone\":%" PRIu64
			",\"sum\":\"%016" PRIx64 "\"}\n", t->rows, t->cells, t->bytes, t->gone, t->sum);
	else
		fprintf(out, "%" PRIu64 " rows with %" PRIu64 " cells, %" PRIu64 " bytes\n", t->rows, t->cells,
			t->bytes);
	if (t->gone)
		fprintf(stderr, "%" PRIu64 " of the rows were deleted meanwhile: they end early\n", t->gone);
}

/* Onto the disk, then the name. */
static int keep(FILE *out, const char *part, const char *name)
{
	if (fflush(out) || ferror(out) || fsync(fileno(out)))
		return cli_fail(&command, CLI_FAILED, "%s: %s", part, strerror(errno));
	if (rename(part, name))
		return cli_fail(&command, CLI_FAILED, "%s: %s", name, strerror(errno));
	return CLI_OK;
}

/* An empty file that nobody else writes, which may be what a broken export left; or NULL, errno set. */
static FILE *open_part(const char *part)
{
	int fd = open(part, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	struct stat named, opened;
	FILE *file;

	if (fd < 0)
		return NULL;
	if (flock(fd, LOCK_EX | LOCK_NB) || fstat(fd, &opened)) {
		file = NULL;
	} else if (stat(part, &named) || named.st_ino != opened.st_ino || named.st_dev != opened.st_dev) {
		errno = EWOULDBLOCK; /* it was another's until just now, who gave it its name */
		file = NULL;
	} else {
		file = ftruncate(fd, 0) ? NULL : fdopen(fd, "w");
	}
	if (!file)
		close(fd);
	return file;
}

/* Under another name until it is whole. */
static int to_part(struct rows_api *api, struct taker *t, const char *path, const char *part, const char *name)
{
	int code;

	t->out = open_part(part);
	t->to_file = true;
	if (!t->out)
		return cli_fail(&command, CLI_FAILED, "%s: %s", part,
				errno == EWOULDBLOCK ? "another export is writing it" : strerror(errno));
	code = receive(api, t, path);
	if (!code)
		code = keep(t->out, part, name);
	if (code)
		(void)unlink(part); /* before the next one may write it */
	fclose(t->out); /* what it says no longer matters: it was synced */
	return code;
}

static int to_file(struct rows_api *api, struct taker *t, const char *path, const char *name)
{
	struct buf part;
	int code;

	buf_init(&part, PATH_MAX);
	if (buf_printf(&part, "%s.part", name))
		code = cli_fail(&command, CLI_FAILED, "%s: the name is too long", name);
	else
		code = to_part(api, t, path, buf_str(&part), name);
	buf_fini(&part);
	return code;
}

static int run(int argc, char **argv)
{
	struct taker t = { .out = stdout };
	struct rows_api api;
	struct cli_words words;
	struct buf path;
	int code;

	if (!rows_begin(&api, &command, 0, 1, argc, argv, &words, &code))
		return code;
	buf_init(&t.line, EXPORT_LINE_MAX);
	progress_init(&t.progress);
	buf_init(&path, ROWS_PATH_MAX);
	(void)buf_add_str(&path, "/v1/export?prefix=");
	control_escape(&path, prefix);
	if (path.error)
		code = cli_usage(&command, "--prefix is too long");
	else if (words.n && strcmp(words.words[0], "-"))
		code = to_file(&api, &t, buf_str(&path), words.words[0]);
	else
		code = receive(&api, &t, buf_str(&path));
	if (!code)
		print_figures(&t);
	buf_fini(&path);
	buf_fini(&t.line);
	rows_api_fini(&api);
	return code;
}

const struct cli_command rows_export = { &command, run };
