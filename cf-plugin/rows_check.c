/* SPDX-License-Identifier: Apache-2.0 */
/* middlepipe rows check: has an aggregator read all that is stored, and says what is not whole. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cf-plugin/control.h"
#include "cf-plugin/progress.h"
#include "cf-plugin/rows_commands.h"
#include "lib/json.h"

#define LINE_MAX ((size_t)64 << 10) /* bytes of a line of the answer */
#define SILENCE_S 60                /* then the aggregator is given up */

static const struct opt options[] = {
	ROWS_OPTIONS,
	{ .name = NULL },
};

static const struct opt_command command = {
	.name = "middlepipe rows check",
	.usage = "[OPTION]...",
	.summary = "verify the checksums of all that is stored",
	.text = "An aggregator reads every row's head and batches from the engine, verifies their checksums\n"
		"and looks for cells that are missing; of rows with a check the state snapshot, too. It goes on\n"
		"serving meanwhile. The exit code is 0 when all is whole.",
	.opts = options,
	.exit_codes = "0  all is whole\n1  something is not, or it could not be told\n2  wrong usage\n"
		      "4  the aggregator refuses it",
};

/* The answer as it comes. */
struct taker {
	struct buf line;     /* that is not whole yet */
	json_t *end;         /* the last line, owned */
	uint64_t told;       /* findings that were printed */
	struct err why;      /* it could not be told */
	struct progress progress;
};

static void print_finding(struct taker *t, const json_t *finding)
{
	progress_end(&t->progress);
	t->told++;
	if (rows_options.json)
		control_print_json(finding, true);
	else if (rows_number(finding, "seq"))
		printf("%s: %s at %" JSON_INTEGER_FORMAT ": %s\n", rows_text(finding, "row"),
		       rows_text(finding, "wrong"), rows_number(finding, "seq"), rows_text(finding, "error"));
	else
		printf("%s: %s: %s\n", rows_text(finding, "row"), rows_text(finding, "wrong"),
		       rows_text(finding, "error"));
}

static int take_line(struct taker *t, struct mp_str text)
{
	CLEANUP_JSON json_t *line = NULL;

	if (json_load_text(text, LINE_MAX, 4, &line, &t->why))
		return -ECANCELED;
	if (rows_text(line, "wrong")[0])
		print_finding(t, line);
	else if (rows_text(line, "error")[0])
		return err_set(&t->why, -ECANCELED, "%s", rows_text(line, "error"));
	else if (json_is_true(json_object_get(line, "end")))
		t->end = json_incref(line);
	else
		progress_say(&t->progress, "%" JSON_INTEGER_FORMAT " rows, %" JSON_INTEGER_FORMAT " cells, %"
			     JSON_INTEGER_FORMAT " KiB", rows_number(line, "rows"), rows_number(line, "cells"),
			     rows_number(line, "bytes") >> 10);
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
			return err_set(&t->why, -ECANCELED, "a line of the answer is too long");
		if (!whole)
			break;
		rc = take_line(t, buf_slice(&t->line));
		buf_reset(&t->line);
	}
	return rc;
}

static int print_end(const struct taker *t)
{
	json_int_t bad = rows_number(t->end, "bad"), changing = rows_number(t->end, "changing");

	if (rows_options.json)
		control_print_json(t->end, true);
	else
		printf("%" JSON_INTEGER_FORMAT " rows, %" JSON_INTEGER_FORMAT " cells in %" JSON_INTEGER_FORMAT
		       " batches, %" JSON_INTEGER_FORMAT " bytes: %s\n", rows_number(t->end, "rows"),
		       rows_number(t->end, "cells"), rows_number(t->end, "batches"), rows_number(t->end, "bytes"),
		       bad ? "not whole" : "all whole");
	if (bad > (json_int_t)t->told)
		fprintf(stderr, "%" JSON_INTEGER_FORMAT " more findings were not told\n", bad - (json_int_t)t->told);
	if (changing)
		fprintf(stderr, "%" JSON_INTEGER_FORMAT " rows changed too fast to be looked at: check again\n", changing);
	return bad ? CLI_FAILED : CLI_OK;
}

static int check(struct rows_api *api, struct taker *t)
{
	struct rows_call call = { .path = "/v1/check", .on_part = on_part, .ctx = t, .idle_s = SILENCE_S };
	struct http_reply reply;
	struct err err = { 0 };
	int rc = rows_ask(api, &call, &reply, &err), code;

	progress_end(&t->progress);
	if (t->why.text[0])
		code = cli_fail(&command, CLI_FAILED, "it could not be checked: %s", t->why.text);
	else if (rc)
		code = rows_failed(api, rc, false, &err);
	else if (reply.status != 200)
		code = rows_refused(api, &reply);
	else if (!t->end)
		code = cli_fail(&command, CLI_FAILED, "the aggregator broke off");
	else
		code = print_end(t);
	if (!rc)
		http_reply_fini(&reply);
	return code;
}

static int run(int argc, char **argv)
{
	struct taker t = { .told = 0 };
	struct rows_api api;
	struct cli_words words;
	int code;

	if (!rows_begin(&api, &command, 0, 0, argc, argv, &words, &code))
		return code;
	buf_init(&t.line, LINE_MAX);
	progress_init(&t.progress);
	code = check(&api, &t);
	buf_fini(&t.line);
	json_decref(t.end);
	rows_api_fini(&api);
	return code;
}

const struct cli_command rows_check = { &command, run };
