/* SPDX-License-Identifier: Apache-2.0 */
/*
 * middlepipe rows import: an export back into a group.
 *
 * A file is read twice: first to see that it is whole, so that nothing is put
 * of one that is not.  Then it is sent in pieces, cut where no atomic put is cut
 * in two, and no row from its state; a piece whose answer got lost is sent again, which does no harm
 * (aggregator/rows/api/import.c).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cf-plugin/control.h"
#include "cf-plugin/progress.h"
#include "cf-plugin/rows_commands.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/export.h"
#include "lib/json.h"

#define PIECE ((size_t)1 << 20)      /* bytes that are sent together, about */
#define PIECE_MAX ((size_t)15 << 20) /* at most: an aggregator takes 16 MiB */
#define PIECE_MS 120000              /* that one may take */
#define PAUSE_MIN_MS 50              /* between two attempts */
#define PAUSE_MAX_MS 2000
#define URL_TEXT_MAX 512

static bool look_only;
static int64_t wait_ms;

static const struct opt options[] = {
	{ .name = "look", .letter = 'n', .type = OPT_FLAG, .target = &look_only,
	  .help = "only look whether the file is whole" },
	{ .name = "wait", .type = OPT_DURATION_MS, .target = &wait_ms, .def = "60s", .max = 86400000, .arg = "TIME",
	  .help = "try again for that long while nothing goes on" },
	ROWS_OPTIONS,
	{ .name = NULL },
};

static const struct opt_command command = {
	.name = "middlepipe rows import",
	.usage = "[OPTION]... FILE|-",
	.summary = "put exported rows into a group",
	.text = "Rows get their policies, and their cells one by one with their keys, times and origins, past\n"
		"the same checks as any put. Cells that are there already are passed over, so an import that\n"
		"broke off can be done again; where a row has other cells it ends, and nothing is overwritten.\n"
		"Seqs count from 1 again in rows whose first cells were let go. Rows with a check begin behind\n"
		"the state that those cells came to, and keep their seqs; without it in the file they are refused.\n\n"
		"A file is looked through first; of standard input (-) it is known only at the end.",
	.opts = options,
	.examples = "middlepipe rows import rows-2026-11-21.mprows",
	.exit_codes = ROWS_EXIT_CODES,
};

struct importer {
	struct rows_api api;
	const char *name;         /* of the file */
	FILE *in;
	char *text;               /* the line at hand, owned by getline() */
	size_t cap;               /* of it */
	uint64_t sum;             /* of the lines read */
	uint64_t line;            /* how many */
	uint64_t n_rows, n_cells; /* of them */
	bool whole;               /* the end line was read */
	struct buf piece;         /* lines that were not sent yet */
	uint64_t piece_sum;       /* before its first */
	uint64_t piece_line;      /* number of its first line, from 0 */
	/* The last cell of the piece, to see what goes together with it. */
	char row[EXPORT_NAME_MAX + 1], key[64];
	size_t key_len;
	uint64_t at, time_ms;
	uint64_t rows, cells, passed; /* as the aggregators say */
	char owner[URL_TEXT_MAX]; /* one that an answer named, while it is in use */
	uint64_t until;           /* ns; given up when nothing went on by then */
	struct progress progress;
};

/* ------------------------------------------------------------------------ reading */

static int wrong(const struct importer *im, const char *text)
{
	return cli_fail(&command, CLI_FAILED, "%s: line %" PRIu64 " %s", im->name, im->line + 1, text);
}

static int take_end(struct importer *im, const struct export_line *line)
{
	if (line->kind == EXPORT_ERROR)
		return cli_fail(&command, CLI_FAILED, "%s: the export broke off: %s", im->name, line->is.error);
	if (line->kind != EXPORT_END)
		return CLI_OK;
	im->whole = true;
	if (line->is.end.rows == im->n_rows && line->is.end.cells == im->n_cells)
		return CLI_OK;
	return wrong(im, "counts other rows and cells than are there");
}

/*
 * The next line: CLI_OK, and export_line_fini(ret) is due when *ret_more; or the exit
 * code after it was said what is wrong.
 */
static int next_line(struct importer *im, struct mp_str *ret_text, struct export_line *ret, bool *ret_more)
{
	ssize_t len = getline(&im->text, &im->cap, im->in);
	struct err err = { 0 };
	int code;

	*ret_more = false;
	if (len < 0 && ferror(im->in))
		return cli_fail(&command, CLI_FAILED, "%s: %s", im->name, strerror(errno));
	if (len < 0)
		return im->whole ? CLI_OK : wrong(im, "is missing: the file is not whole");
	if (im->text[len - 1] != '\n')
		return wrong(im, "is cut");
	if (im->whole)
		return wrong(im, "comes behind the end");
	*ret_text = slice_make(im->text, (size_t)len);
	if (export_check(slice_make(im->text, (size_t)len - 1), &im->sum, &err) ||
	    export_read(slice_make(im->text, (size_t)len - 1), ret, &err))
		return wrong(im, err.text);
	if ((im->line == 0) != (ret->kind == EXPORT_BEGIN))
		code = wrong(im, im->line ? "begins another export" : "is no begin of an export");
	else
		code = take_end(im, ret);
	im->line++;
	im->n_rows += ret->kind == EXPORT_ROW;
	im->n_cells += ret->kind == EXPORT_CELL;
	*ret_more = !code;
	if (code)
		export_line_fini(ret);
	return code;
}

/* All of it, without doing anything. */
static int look_through(struct importer *im)
{
	struct export_line line;
	struct mp_str text;
	bool more = true;
	int code = CLI_OK;

	while (!code && more) {
		code = next_line(im, &text, &line, &more);
		if (more)
			export_line_fini(&line);
		progress_say(&im->progress, "looking: %" PRIu64 " cells", im->n_cells);
	}
	progress_end(&im->progress);
	return code;
}

static void rewind_file(struct importer *im)
{
	rewind(im->in);
	im->sum = im->line = im->n_rows = im->n_cells = 0;
	im->whole = false;
}

/* ------------------------------------------------------------------------ sending */

/* The first `lines` lines of the piece are done. */
static void drop_lines(struct importer *im, uint64_t lines)
{
	struct mp_str rest = buf_slice(&im->piece), line;
	uint64_t last = im->piece_sum;

	for (uint64_t i = 0; i < lines && rest.len; i++) {
		(void)slice_cut(rest, '\n', &line, &rest);
		(void)export_check(line, &last, NULL); /* was right when it was read */
	}
	buf_consume(&im->piece, im->piece.len - rest.len);
	im->piece_sum = last;
	im->piece_line += lines;
}

/* A token goes where it was meant to go: over the network in the clear only when it did so before. */
static bool is_as_safe(const struct rows_api *api, const char *url)
{
	return !api->authorization[0] || slice_starts(slice_of(url), MP_LIT("https:")) ||
	       slice_starts(slice_of(api->url[0]), MP_LIT("http:"));
}

/* The row is another member's: it is the next to be asked, for as long as it answers.  Or why says why not. */
static void follow_owner(struct importer *im, const char *url, struct err *why)
{
	struct rows_api *api = &im->api;
	bool unsafe = url[0] && !is_as_safe(api, url);

	for (size_t i = 0; i < api->n; i++) {
		if (!strcmp(api->url[i], url)) {
			api->at = i;
			return;
		}
	}
	if (unsafe)
		(void)err_set(why, 0, "the row is at %s, where the token would go in the clear: name that by --url", url);
	if (!url[0] || strlen(url) >= sizeof(im->owner) || unsafe ||
	    (api->n == ROWS_URLS_MAX && api->url[api->n - 1] != im->owner)) {
		rows_next(api);
		return;
	}
	if (api->url[api->n - 1] != im->owner)
		api->url[api->n++] = im->owner;
	(void)snprintf(im->owner, sizeof(im->owner), "%s", url);
	api->at = api->n - 1;
}

/* An answer: CLI_OK: done; -EAGAIN: again, with what is left, and why; or an exit code. */
static int take_answer(struct importer *im, const struct http_reply *reply, struct err *why)
{
	CLEANUP_JSON json_t *document = NULL;
	uint64_t lines;

	(void)err_set(why, 0, "the aggregators answer with status %d", reply->status);
	if (json_load_text(buf_slice(&reply->body), PIECE_MAX, 4, &document, NULL) ||
	    !json_is_integer(json_object_get(document, "lines"))) {
		if (rows_again(reply->status)) {
			rows_next(&im->api);
			return -EAGAIN;
		}
		return rows_refused(&im->api, reply);
	}
	lines = (uint64_t)rows_number(document, "lines");
	im->rows += (uint64_t)rows_number(document, "rows");
	im->cells += (uint64_t)rows_number(document, "cells");
	im->passed += (uint64_t)rows_number(document, "passed");
	if (lines)
		im->until = clock_now(&clock_monotonic) + (uint64_t)wait_ms * NS_PER_MS;
	drop_lines(im, lines);
	if (reply->status == 200)
		return im->piece.len ? cli_fail(&command, CLI_FAILED, "the aggregator took only a part") : CLI_OK;
	if (!strcmp(rows_text(document, "code"), "elsewhere")) {
		follow_owner(im, rows_text(document, "owner"), why);
		return -EAGAIN;
	}
	if (rows_again(reply->status)) {
		rows_next(&im->api);
		return -EAGAIN;
	}
	progress_end(&im->progress);
	if (rows_text(document, "row")[0])
		fprintf(stderr, "%s: at the row %s:\n", im->name, rows_text(document, "row"));
	return rows_refused(&im->api, reply);
}

/* One attempt at what is left of the piece; as take_answer(). */
static int attempt(struct importer *im, struct err *why)
{
	static const char *const fields[] = { "Content-Type: application/x-ndjson", NULL };
	char path[64];
	struct rows_call call = { .method = "POST", .path = path, .fields = fields, .body = buf_slice(&im->piece),
				  .timeout_ms = PIECE_MS };
	struct http_reply reply;
	int rc;

	(void)snprintf(path, sizeof(path), "/v1/import?after=%016" PRIx64, im->piece_sum);
	rc = rows_send(&im->api, im->api.at, &call, &reply, why);
	if (rc) {
		rows_next(&im->api);
		return -EAGAIN;
	}
	rc = take_answer(im, &reply, why);
	http_reply_fini(&reply);
	return rc;
}

static int send_piece(struct importer *im)
{
	uint64_t pause_ms = PAUSE_MIN_MS, left = im->piece.len;
	struct err why = { 0 };
	int rc = CLI_OK;

	im->until = clock_now(&clock_monotonic) + (uint64_t)wait_ms * NS_PER_MS;
	while (im->piece.len && (rc = attempt(im, &why)) == -EAGAIN) {
		bool moved = im->piece.len < left;

		left = im->piece.len;
		if (clock_now(&clock_monotonic) >= im->until)
			return cli_fail(&command, ROWS_UNKNOWN, "%s: given up at line %" PRIu64 ": %s; the import can be "
					"done again", im->name, im->piece_line + 1, why.text);
		if (!moved)
			usleep((useconds_t)(pause_ms * 1000));
		pause_ms = moved ? PAUSE_MIN_MS : pause_ms * 2 < PAUSE_MAX_MS ? pause_ms * 2 : PAUSE_MAX_MS;
	}
	progress_say(&im->progress, "%" PRIu64 " rows, %" PRIu64 " cells, %" PRIu64 " of them were there",
		     im->rows, im->cells + im->passed, im->passed);
	return rc;
}

/* Was it put together with the last one? */
static bool belongs(const struct importer *im, const struct export_line *line)
{
	const struct export_cell *cell = &line->is.cell;

	if (line->kind == EXPORT_STATE)
		return true; /* to its row's line */
	return line->kind == EXPORT_CELL && im->key_len && cell->at == im->at + 1 && cell->time_ms == im->time_ms &&
	       slice_eq(cell->key, slice_make(im->key, im->key_len)) && slice_eq(cell->row, slice_of(im->row));
}

static void remember(struct importer *im, const struct export_line *line)
{
	const struct export_cell *cell = &line->is.cell;

	im->key_len = 0;
	if (line->kind != EXPORT_CELL)
		return;
	(void)snprintf(im->row, sizeof(im->row), "%.*s", SLICE_ARG(cell->row));
	if (cell->key.len)
		memcpy(im->key, cell->key.ptr, cell->key.len);
	im->key_len = cell->key.len;
	im->at = cell->at;
	im->time_ms = cell->time_ms;
}

static int import(struct importer *im)
{
	struct export_line line;
	struct mp_str text;
	bool more = true;
	int code = CLI_OK;

	while (!code && more) {
		uint64_t before = im->sum, number = im->line;

		code = next_line(im, &text, &line, &more);
		if (!more)
			break;
		if (im->piece.len && im->piece.len + text.len > (belongs(im, &line) ? PIECE_MAX : PIECE))
			code = send_piece(im);
		if (!im->piece.len) {
			im->piece_sum = before;
			im->piece_line = number;
		}
		(void)buf_add_slice(&im->piece, text);
		remember(im, &line);
		export_line_fini(&line);
	}
	if (!code && im->piece.error)
		code = cli_fail(&command, CLI_FAILED, "out of memory");
	if (!code)
		code = send_piece(im);
	progress_end(&im->progress);
	return code;
}

static void print_figures(const struct importer *im)
{
	if (rows_options.json)
		printf("{\"rows\":%" PRIu64 ",\"cells\":%" PRIu64 ",\"passed\":%" PRIu64 "}\n",
		       look_only ? im->n_rows : im->rows, look_only ? im->n_cells : im->cells, im->passed);
	else if (look_only)
		printf("%s: whole: %" PRIu64 " rows with %" PRIu64 " cells\n", im->name, im->n_rows, im->n_cells);
	else
		printf("%" PRIu64 " rows, %" PRIu64 " cells put, %" PRIu64 " were there already\n", im->rows, im->cells,
		       im->passed);
}

static int run_on(struct importer *im)
{
	bool seekable = !fseek(im->in, 0, SEEK_END) && !fseek(im->in, 0, SEEK_SET);
	int code = CLI_OK;

	if (seekable || look_only) {
		code = look_through(im);
		if (!code && seekable && !look_only)
			rewind_file(im);
	}
	if (!code && !look_only)
		code = import(im);
	if (!code)
		print_figures(im);
	return code;
}

static int run(int argc, char **argv)
{
	struct importer im = { .in = stdin };
	struct cli_words words;
	int code;

	if (!rows_begin(&im.api, &command, 1, 1, argc, argv, &words, &code))
		return code;
	im.name = strcmp(words.words[0], "-") ? words.words[0] : "standard input";
	if (strcmp(words.words[0], "-"))
		im.in = fopen(words.words[0], "re");
	buf_init(&im.piece, PIECE_MAX + EXPORT_LINE_MAX);
	progress_init(&im.progress);
	if (im.in)
		code = run_on(&im);
	else
		code = cli_fail(&command, CLI_FAILED, "%s: %s", im.name, strerror(errno));
	if (im.in && im.in != stdin)
		fclose(im.in);
	free(im.text);
	buf_fini(&im.piece);
	rows_api_fini(&im.api);
	return code;
}

const struct cli_command rows_import = { &command, run };
