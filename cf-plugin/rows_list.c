/* SPDX-License-Identifier: Apache-2.0 */
/* middlepipe rows list, show, members, owners: what there is. */
#include <stdio.h>
#include <string.h>

#include "cf-plugin/control.h"
#include "cf-plugin/rows_commands.h"
#include "cf-plugin/table.h"
#include "lib/json.h"

#define TEXT_MAX ((size_t)16 << 20) /* bytes of a table */
#define PAGE "1000"                 /* rows asked for at a time */

static const char *prefix;

static const struct opt list_options[] = {
	{ .name = "prefix", .letter = 'p', .type = OPT_STRING, .target = &prefix, .def = "", .arg = "TEXT",
	  .help = "only rows whose names begin so" },
	ROWS_OPTIONS,
	{ .name = NULL },
};

static const struct opt plain_options[] = {
	ROWS_OPTIONS,
	{ .name = NULL },
};

static const struct opt_command list_command = {
	.name = "middlepipe rows list",
	.usage = "[OPTION]...",
	.summary = "list the rows",
	.text = "CELLS are those from the floor on, HIGHEST is the seq of the newest. With --json each row\n"
		"is an object on a line of its own.",
	.opts = list_options,
	.examples = "middlepipe rows list --prefix chains/",
	.exit_codes = ROWS_EXIT_CODES,
};

static const struct opt_command show_command = {
	.name = "middlepipe rows show",
	.usage = "[OPTION]... ROW",
	.summary = "show a row: its seqs, policies and owner",
	.opts = plain_options,
	.exit_codes = ROWS_EXIT_CODES,
};

static const struct opt_command members_command = {
	.name = "middlepipe rows members",
	.usage = "[OPTION]...",
	.summary = "list the aggregators of the group",
	.text = "In a group of more than five, three own all shards, and the others forward puts to them. When they run an "
		"etcd of their own its members follow.",
	.opts = plain_options,
	.exit_codes = ROWS_EXIT_CODES,
};

static const struct opt_command owners_command = {
	.name = "middlepipe rows owners",
	.usage = "[OPTION]...",
	.summary = "list which aggregator orders which shard",
	.text = "Rows are dealt to shards by their names; a shard's owner orders the cells of its rows.",
	.opts = plain_options,
	.exit_codes = ROWS_EXIT_CODES,
};

/* Prints the table, its first line only when it begins, and ends it. */
static void finish(struct table *table, bool begins)
{
	struct mp_str head, text;
	struct buf out;

	buf_init(&out, TEXT_MAX);
	table_print(table, &out);
	text = buf_slice(&out);
	if (!begins)
		(void)slice_cut(text, '\n', &head, &text);
	if (text.len)
		(void)fwrite(text.ptr, 1, text.len, stdout); /* cli_main() looks at it */
	buf_fini(&out);
	table_fini(table);
}

/* ------------------------------------------------------------------------ list */

static void print_rows(const json_t *rows, bool begins)
{
	static const char *const head[] = { "ROW", ">HIGHEST", ">FLOOR", ">CELLS", ">BYTES", "CHECK", "PARTITION",
					    "OWNER", NULL };
	struct table table;

	table_init(&table, head);
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);

		table_add(&table, "%s", rows_text(row, "row"));
		table_add(&table, "%" JSON_INTEGER_FORMAT, rows_number(row, "highest"));
		table_add(&table, "%" JSON_INTEGER_FORMAT, rows_number(row, "floor"));
		table_add(&table, "%" JSON_INTEGER_FORMAT, rows_number(row, "cells"));
		table_add(&table, "%" JSON_INTEGER_FORMAT, rows_number(row, "bytes"));
		table_add(&table, "%s", rows_text(row, "check"));
		table_add(&table, "%s", rows_text(row, "partition"));
		table_add(&table, "%s", rows_text(row, "owner"));
	}
	finish(&table, begins);
}

static void print_lines(const json_t *rows)
{
	for (size_t i = 0; i < json_array_size(rows); i++)
		control_print_json(json_array_get(rows, i), true);
}

/* One page; *after moves to its last row.  *ret_more: there are further ones. */
static int list_page(struct rows_api *api, struct buf *after, bool *ret_more)
{
	CLEANUP_JSON json_t *document = NULL;
	const json_t *rows;
	struct buf path;
	size_t n;
	int code;

	buf_init(&path, ROWS_PATH_MAX);
	(void)buf_add_str(&path, "/v1/rows?limit=" PAGE "&prefix=");
	control_escape(&path, prefix);
	(void)buf_add_str(&path, "&after=");
	control_escape(&path, buf_str(after));
	code = path.error ? cli_usage(api->command, "--prefix is too long") :
			    rows_get_document(api, buf_str(&path), &document);
	buf_fini(&path);
	if (code)
		return code;
	rows = json_object_get(document, "rows");
	n = json_array_size(rows);
	if (rows_options.json)
		print_lines(rows);
	else
		print_rows(rows, !after->len);
	*ret_more = n && json_is_true(json_object_get(document, "more"));
	buf_reset(after);
	(void)buf_add_str(after, n ? rows_text(json_array_get(rows, n - 1), "row") : "");
	return CLI_OK;
}

static int run_list(int argc, char **argv)
{
	struct rows_api api;
	struct cli_words words;
	struct buf after;
	bool more = true;
	int code;

	if (!rows_begin(&api, &list_command, 0, 0, argc, argv, &words, &code))
		return code;
	buf_init(&after, ROWS_PATH_MAX);
	while (!code && more)
		code = list_page(&api, &after, &more);
	buf_fini(&after);
	rows_api_fini(&api);
	return code;
}

/* ------------------------------------------------------------------------ show */

static const char *keeps(char *out, size_t size, const json_t *row, const char *member, const char *unit)
{
	json_int_t value = rows_number(row, member);

	if (!value)
		return "all";
	(void)snprintf(out, size, "%" JSON_INTEGER_FORMAT "%s", value, unit);
	return out;
}

static void print_row(const json_t *row)
{
	char text[3][48];

	printf("row          %s\n", rows_text(row, "row"));
	printf("incarnation  %s\n", rows_text(row, "incarnation"));
	printf("highest      %" JSON_INTEGER_FORMAT "\n", rows_number(row, "highest"));
	printf("floor        %" JSON_INTEGER_FORMAT "\n", rows_number(row, "floor"));
	printf("cells        %" JSON_INTEGER_FORMAT " (%" JSON_INTEGER_FORMAT " bytes stored)\n",
	       rows_number(row, "cells"), rows_number(row, "bytes"));
	printf("check        %s\n", rows_text(row, "check")[0] ? rows_text(row, "check") : "-");
	printf("partition    %s\n", rows_text(row, "partition"));
	printf("keeps        cells: %s, bytes: %s, age: %s\n", keeps(text[0], 48, row, "keep_cells", ""),
	       keeps(text[1], 48, row, "keep_bytes", ""), keeps(text[2], 48, row, "keep_ms", " ms"));
	printf("shard        %" JSON_INTEGER_FORMAT ", owner %s\n", rows_number(row, "shard"),
	       rows_text(row, "owner")[0] ? rows_text(row, "owner") : "nobody");
}

static int run_show(int argc, char **argv)
{
	CLEANUP_JSON json_t *row = NULL;
	struct rows_api api;
	struct cli_words words;
	struct buf path;
	int code;

	if (!rows_begin(&api, &show_command, 1, 1, argc, argv, &words, &code))
		return code;
	code = rows_path(&api, &path, words.words[0], "");
	if (!code) {
		code = rows_get_document(&api, buf_str(&path), &row);
		buf_fini(&path);
	}
	if (!code && rows_options.json)
		control_print_json(row, false);
	else if (!code)
		print_row(row);
	rows_api_fini(&api);
	return code;
}

/* ------------------------------------------------------------- members, owners */

static const char *state_of(const json_t *member)
{
	if (json_is_true(json_object_get(member, "suspected")))
		return "does not answer";
	if (json_is_true(json_object_get(member, "draining")))
		return "drains";
	return json_is_false(json_object_get(member, "chosen")) ? "forwards" : "takes part";
}

static void print_aggregators(const json_t *members)
{
	static const char *const head[] = { "MEMBER", "URL", "STATE", ">SHARDS", "VERSION", NULL };
	struct table table;

	table_init(&table, head);
	for (size_t i = 0; i < json_array_size(members); i++) {
		const json_t *member = json_array_get(members, i);

		table_add(&table, "%s", rows_text(member, "member"));
		table_add(&table, "%s", rows_text(member, "url"));
		table_add(&table, "%s", state_of(member));
		table_add(&table, "%" JSON_INTEGER_FORMAT, rows_number(member, "shards"));
		table_add(&table, "%s", rows_text(member, "version"));
	}
	finish(&table, true);
}

/* Members of the etcd that the aggregators run themselves. */
static void print_etcd(const json_t *members)
{
	static const char *const head[] = { "ETCD", "MEMBER", "VOTES", ">SILENT MS", "CLIENT", "PEER", NULL };
	struct table table;

	table_init(&table, head);
	for (size_t i = 0; i < json_array_size(members); i++) {
		const json_t *member = json_array_get(members, i);

		table_add(&table, "%s", rows_text(member, "id"));
		table_add(&table, "%s", rows_text(member, "member"));
		table_add(&table, "%s", json_is_true(json_object_get(member, "votes")) ? "yes" : "not yet");
		table_add(&table, "%" JSON_INTEGER_FORMAT, rows_number(member, "silent_ms"));
		table_add(&table, "%s", rows_text(member, "client"));
		table_add(&table, "%s", rows_text(member, "peer"));
	}
	finish(&table, true);
}

static void print_members(const json_t *document)
{
	const json_t *members = json_object_get(document, "members"), *etcd = json_object_get(document, "etcd");

	if (json_array_size(members))
		print_aggregators(members);
	else
		printf("one member, alone\n");
	if (json_array_size(etcd)) {
		putchar('\n');
		print_etcd(etcd);
	}
	if (rows_text(document, "warning")[0])
		fprintf(stderr, "warning: %s\n", rows_text(document, "warning"));
}

static void print_owners(const json_t *document)
{
	static const char *const head[] = { ">SHARD", "MEMBER", "HERE", NULL };
	const json_t *owners = json_object_get(document, "owners");
	struct table table;

	table_init(&table, head);
	for (size_t i = 0; i < json_array_size(owners); i++) {
		const json_t *owner = json_array_get(owners, i);

		table_add(&table, "%" JSON_INTEGER_FORMAT, rows_number(owner, "shard"));
		table_add(&table, "%s", rows_text(owner, "member"));
		table_add(&table, "%s", json_is_true(json_object_get(owner, "here")) ? "yes" : "");
	}
	finish(&table, true);
}

static int print_of(const struct opt_command *command, const char *path, void (*print)(const json_t *document),
		    int argc, char **argv)
{
	CLEANUP_JSON json_t *document = NULL;
	struct rows_api api;
	struct cli_words words;
	int code;

	if (!rows_begin(&api, command, 0, 0, argc, argv, &words, &code))
		return code;
	code = rows_get_document(&api, path, &document);
	if (!code && rows_options.json)
		control_print_json(document, false);
	else if (!code)
		print(document);
	rows_api_fini(&api);
	return code;
}

static int run_members(int argc, char **argv)
{
	return print_of(&members_command, "/v1/members", print_members, argc, argv);
}

static int run_owners(int argc, char **argv)
{
	return print_of(&owners_command, "/v1/owners", print_owners, argc, argv);
}

const struct cli_command rows_list = { &list_command, run_list };
const struct cli_command rows_show = { &show_command, run_show };
const struct cli_command rows_members = { &members_command, run_members };
const struct cli_command rows_owners = { &owners_command, run_owners };
