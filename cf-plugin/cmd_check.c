/* SPDX-License-Identifier: Apache-2.0 */
/* middlepipe check: is a chain file right, and what is in it? */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cf-plugin/chain_file.h"
#include "cf-plugin/cli.h"
#include "lib/cleanup.h"

static const char *filters_dir; /* NULL: none */
static bool prefer_shared;

static const struct opt options[] = {
	CLI_FILTERS_OPTIONS(&filters_dir, &prefer_shared),
	CLI_MAN_OPTION,
	{ .name = NULL },
};

static const struct opt_command command = {
	.name = "middlepipe check",
	.usage = "[OPTION]... FILE",
	.summary = "check a chain file and name every mistake",
	.text = "Reads the chain file (\"-\": standard input) as the scheduler would. Each mistake is\n"
		"printed with its place, the value and what is allowed.",
	.opts = options,
	.examples = "middlepipe check chain.json",
	.exit_codes = "0  the file is right\n1  it is wrong or cannot be read\n2  wrong usage",
};

static int compare_names(const void *one, const void *two)
{
	return strcmp(*(const char *const *)one, *(const char *const *)two);
}

/* Middlepipes by name: one that stands in two chains is one. */
static size_t count_middlepipes(const struct chain_destination *all, size_t n)
{
	CLEANUP_FREE const char **names = NULL;
	size_t total = 0, at = 0, count = 0;

	for (size_t i = 0; i < n; i++)
		total += all[i].n_bindings;
	names = calloc(total + 1, sizeof(*names));
	for (size_t i = 0; names && i < n; i++) {
		for (size_t j = 0; j < all[i].n_bindings; j++)
			names[at++] = all[i].bindings[j].middlepipe;
	}
	if (at)
		qsort(names, at, sizeof(*names), compare_names);
	for (size_t i = 0; i < at; i++)
		count += !i || strcmp(names[i - 1], names[i]);
	return count;
}

static int run(int argc, char **argv)
{
	const struct chain_destination *all;
	struct catalog *filters = NULL;
	struct chains *chains = NULL;
	struct cli_words words;
	size_t n, pipes;
	int code;

	if (!cli_options(&command, 1, 1, argc, argv, &words, &code))
		return code;
	if (filters_open(filters_dir, prefer_shared, &filters))
		return CLI_FAILED;
	code = chain_file_load(words.words[0], filters, &chains);
	catalog_free(filters);
	if (code)
		return CLI_FAILED;
	all = chains_destinations(chains, &n);
	pipes = count_middlepipes(all, n);
	printf("%s: ok: %zu destination%s, %zu middlepipe%s\n", words.words[0], n,
	       n == 1 ? "" : "s", pipes, pipes == 1 ? "" : "s");
	chains_free(chains);
	return CLI_OK;
}

const struct cli_command cmd_check = { &command, run };
