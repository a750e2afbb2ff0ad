/* SPDX-License-Identifier: Apache-2.0 */
/* middlepipe rows policies, compact, delete: changes of a row that are no cells. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cf-plugin/control.h"
#include "cf-plugin/rows_commands.h"
#include "lib/json.h"

static const char *check;
static int partition = -1;
static int64_t keep_cells = -1, keep_bytes = -1, keep_ms = -1;
static bool yes;

static const char *const partitions[] = { "safe", "live" };

static const struct opt policies_options[] = {
	{ .name = "check", .type = OPT_STRING, .target = &check, .arg = "NAME",
	  .help = "semantic check of its cells, \"\" for none; only while it has no cell" },
	{ .name = "partition", .type = OPT_ENUM, .target = &partition, .arg = "safe|live",
	  .help = "without a majority: refuse puts, or go on in a fork" },
	{ .name = "keep-cells", .type = OPT_INT, .target = &keep_cells, .arg = "N",
	  .help = "keep the newest cells only (0: all)" },
	{ .name = "keep-bytes", .type = OPT_SIZE, .target = &keep_bytes, .arg = "SIZE",
	  .help = "keep so many bytes of cells (0: all)" },
	{ .name = "keep-time", .type = OPT_DURATION_MS, .target = &keep_ms, .arg = "TIME",
	  .help = "keep cells for that long (0: for ever)" },
	ROWS_OPTIONS,
	{ .name = NULL },
};

static const struct opt plain_options[] = {
	ROWS_OPTIONS,
	{ .name = NULL },
};

static const struct opt delete_options[] = {
	{ .name = "yes", .letter = 'y', .type = OPT_FLAG, .target = &yes, .help = "do not ask" },
	ROWS_OPTIONS,
	{ .name = NULL },
};

static const struct opt_command policies_command = {
	.name = "middlepipe rows policies",
	.usage = "[OPTION]... ROW",
	.summary = "show a row's policies, or set those that are given",
	.text = "Sets those that are named, and makes the row when there is none; without any it shows them.",
	.opts = policies_options,
	.examples = "middlepipe rows policies --keep-cells 1000 --keep-time 24h events",
	.exit_codes = ROWS_EXIT_CODES,
};

static const struct opt_command compact_command = {
	.name = "middlepipe rows compact",
	.usage = "[OPTION]... ROW SEQ",
	.summary = "let go of the cells below a seq",
	.text = "Moves the floor up to SEQ: what is below cannot be read any more.",
	.opts = plain_options,
	.exit_codes = ROWS_EXIT_CODES,
};

static const struct opt_command delete_command = {
	.name = "middlepipe rows delete",
	.usage = "[OPTION]... ROW",
	.summary = "delete a row with all its cells",
	.text = "Asks first when standard input is a terminal; elsewhere --yes is needed.",
	.opts = delete_options,
	.exit_codes = ROWS_EXIT_CODES,
};

/* Makes the change, which may be made again without harm; CLI_OK and the row. */
static int change(struct rows_api *api, const char *name, const char *more, const char *method, json_t *body,
		  json_t **ret)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct rows_call call = { .method = method, .body = slice_of(text) };
	struct buf path;
	int code = rows_path(api, &path, name, more);

	if (!code) {
		call.path = buf_str(&path);
		code = rows_document(api, &call, ret);
		buf_fini(&path);
	}
	free(text);
	return code;
}

/* -------------------------------------------------------------------- policies */

static void set_number(json_t *body, const char *name, int64_t value)
{
	if (value >= 0)
		json_object_set_new(body, name, json_integer(value));
}

/* CLI_OK, or the exit code after it was said what is wrong. */
static int policies_body(json_t *body)
{
	char quoted[128];

	if (check && json_object_set_new(body, "check", json_string(check)))
		return cli_usage(&policies_command, "--check wants the name of a check, which is UTF-8, not %s",
				 slice_quote(quoted, sizeof(quoted), slice_of(check)));
	if (partition >= 0)
		json_object_set_new(body, "partition", json_string(partitions[partition]));
	set_number(body, "keep_cells", keep_cells);
	set_number(body, "keep_bytes", keep_bytes);
	set_number(body, "keep_ms", keep_ms);
	return CLI_OK;
}

static void print_policies(const json_t *row)
{
	if (rows_options.json) {
		control_print_json(row, false);
		return;
	}
	printf("check      %s\n", rows_text(row, "check")[0] ? rows_text(row, "check") : "-");
	printf("partition  %s\n", rows_text(row, "partition"));
	printf("keep       cells %" JSON_INTEGER_FORMAT ", bytes %" JSON_INTEGER_FORMAT ", ms %" JSON_INTEGER_FORMAT
	       " (0: all)\n", rows_number(row, "keep_cells"), rows_number(row, "keep_bytes"),
	       rows_number(row, "keep_ms"));
}

static int run_policies(int argc, char **argv)
{
	CLEANUP_JSON json_t *row = NULL, *body = json_object();
	struct rows_api api;
	struct cli_words words;
	bool set;
	int code;

	if (!rows_begin(&api, &policies_command, 1, 1, argc, argv, &words, &code))
		return code;
	code = policies_body(body);
	set = json_object_size(body) > 0;
	code = code ? code : change(&api, words.words[0], "", set ? "PUT" : "GET", set ? body : NULL, &row);
	if (!code)
		print_policies(row);
	rows_api_fini(&api);
	return code;
}

/* ------------------------------------------------------------- compact, delete */

static int run_compact(int argc, char **argv)
{
	CLEANUP_JSON json_t *row = NULL, *body = NULL;
	struct rows_api api;
	struct cli_words words;
	uint64_t floor = 0;
	int code;

	if (!rows_begin(&api, &compact_command, 2, 2, argc, argv, &words, &code))
		return code;
	if (slice_to_u64(slice_of(words.words[1]), &floor) || !floor || floor >= INT64_MAX)
		code = cli_usage(&compact_command, "SEQ is a number from 1, not \"%s\"", words.words[1]);
	body = json_pack("{sI}", "floor", (json_int_t)floor);
	if (!code)
		code = change(&api, words.words[0], "/compact", "POST", body, &row);
	if (!code && rows_options.json)
		control_print_json(row, false);
	else if (!code)
		printf("%s: floor %" JSON_INTEGER_FORMAT ", highest %" JSON_INTEGER_FORMAT "\n", words.words[0],
		       rows_number(row, "floor"), rows_number(row, "highest"));
	rows_api_fini(&api);
	return code;
}

static bool is_sure(const char *name)
{
	char answer[16] = "";

	if (yes)
		return true;
	if (!isatty(STDIN_FILENO))
		return false;
	fprintf(stderr, "Delete the row %s with all its cells? [y/N] ", name);
	return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static int run_delete(int argc, char **argv)
{
	CLEANUP_JSON json_t *row = NULL;
	struct rows_api api;
	struct cli_words words;
	int code;

	if (!rows_begin(&api, &delete_command, 1, 1, argc, argv, &words, &code))
		return code;
	if (!is_sure(words.words[0]))
		code = cli_fail(&delete_command, CLI_FAILED, "nothing was deleted: say --yes to be sure");
	else
		code = change(&api, words.words[0], "", "DELETE", NULL, &row);
	if (!code && rows_options.json)
		control_print_json(row, false);
	else if (!code)
		printf("%s: deleted, it had %" JSON_INTEGER_FORMAT " cells\n", words.words[0],
		       rows_number(row, "highest"));
	rows_api_fini(&api);
	return code;
}

const struct cli_command rows_policies = { &policies_command, run_policies };
const struct cli_command rows_compact = { &compact_command, run_compact };
const struct cli_command rows_delete = { &delete_command, run_delete };
