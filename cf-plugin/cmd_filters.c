/* SPDX-License-Identifier: Apache-2.0 */
/* middlepipe filters: what can be put into a chain. */
#include <stdio.h>
#include <stdlib.h>

#include "cf-plugin/chain_file.h"
#include "cf-plugin/cli.h"
#include "cf-plugin/filter_text.h"
#include "lib/cleanup.h"
#include "lib/near.h"
#include "lib/slice.h"

#define TEXT_MAX ((size_t)1 << 20) /* bytes printed */

static bool as_json;
static const char *filters_dir; /* NULL: none */
static bool prefer_shared;

static const struct opt options[] = {
	CLI_FILTERS_OPTIONS(&filters_dir, &prefer_shared),
	{ .name = "json", .type = OPT_FLAG, .target = &as_json, .help = "print JSON" },
	CLI_MAN_OPTION,
	{ .name = NULL },
};

static const struct opt_command command = {
	.name = "middlepipe filters",
	.usage = "[OPTION]... [TYPE]",
	.summary = "list the filters, or the options of one",
	.text = "Without a type, lists the filters that can be put into a chain. With one, tells each\n"
		"option of it: type, range, default, what it does, and its counterparts elsewhere.",
	.opts = options,
	.examples = "middlepipe filters breaker",
	.exit_codes = "0  success\n1  no such filter\n2  wrong usage",
};

static int unknown(const char *type, const struct mp_filter *const *all)
{
	struct near near;
	char quoted[64];

	near_init(&near, slice_of(type));
	for (; *all; all++)
		near_offer(&near, (*all)->name);
	slice_quote(quoted, sizeof(quoted), slice_of(type));
	return cli_fail(&command, CLI_FAILED, "no filter is called %s%s%s%s", quoted,
			near.best ? "; did you mean " : "", near.best ? near.best : "",
			near.best ? "?" : "");
}

static json_t *to_json(const struct mp_filter *one, const struct mp_filter *const *all)
{
	json_t *list;

	if (one)
		return filter_json(one);
	list = json_array();
	for (; *all; all++)
		json_array_append_new(list, filter_json(*all));
	return list;
}

static void print_json(const struct mp_filter *one, const struct mp_filter *const *all)
{
	json_t *document = to_json(one, all);

	json_dumpf(document, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(document);
}

static void print_text(const struct mp_filter *one, const struct mp_filter *const *all)
{
	struct buf out;

	buf_init(&out, TEXT_MAX);
	if (one)
		filter_text_one(one, &out);
	else
		filter_text_list(all, &out);
	fputs(buf_str(&out), stdout);
	buf_fini(&out);
}

/* type: NULL for all. */
static int print(const char *type, struct catalog *filters)
{
	const struct mp_filter *one = type ? catalog_find(filters, type) : NULL;
	CLEANUP_FREE const struct mp_filter **all = catalog_all(filters);

	if (!all)
		return cli_fail(&command, CLI_FAILED, "out of memory");
	if (type && !one)
		return unknown(type, all);
	(as_json ? print_json : print_text)(one, all);
	return CLI_OK;
}

static int run(int argc, char **argv)
{
	struct catalog *filters = NULL;
	struct cli_words words;
	int code;

	if (!cli_options(&command, 0, 1, argc, argv, &words, &code))
		return code;
	if (filters_open(filters_dir, prefer_shared, &filters))
		return CLI_FAILED;
	code = print(words.n ? words.words[0] : NULL, filters);
	catalog_free(filters);
	return code;
}

const struct cli_command cmd_filters = { &command, run };
