/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters that cannot run but have an option of every type, so that what reads
 * configurations is tested without the built-in ones.  For test_chain.c and
 * fuzz_chain.c.
 */
#ifndef TESTS_LIB_SAMPLE_FILTER_H
#define TESTS_LIB_SAMPLE_FILTER_H

#include <middlepipe/filter.h>

static const struct mp_option sample_options[] = {
	{.name = "flag", .type = MP_OPTION_BOOL, .initial = "true", .help = "."},
	{.name = "count", .type = MP_OPTION_INT, .initial = "20", .min = 1, .max = 100, .help = "."},
	{.name = "share", .type = MP_OPTION_NUMBER, .initial = "0.5", .max = 1, .help = "."},
	{.name = "pause", .type = MP_OPTION_DURATION, .initial = "\"5s\"", .min = 10,
	 .max = 3600000, .help = "."},
	{.name = "text", .type = MP_OPTION_STRING, .max = 8, .help = "."},
	{.name = "mode", .type = MP_OPTION_ENUM, .initial = "\"enforce\"",
	 .choices = "enforce|dry-run|forced-open", .help = "."},
	{.name = "words", .type = MP_OPTION_STRINGS, .max = 3, .help = "."},
	{.name = "kinds", .type = MP_OPTION_STRINGS, .initial = "[\"refused\"]",
	 .choices = "refused|timeout", .help = "."},
	{.name = "fields", .type = MP_OPTION_FIELDS, .max = 4, .help = "."},
	{.name = "statuses", .type = MP_OPTION_RANGES, .initial = "[\"500-599\"]", .help = "."},
	{.name = "prefixes", .type = MP_OPTION_PREFIXES, .help = "."},
	{.name = NULL},
};

/* Places of its options. */
enum { FLAG, COUNT, SHARE, PAUSE, TEXT, MODE, WORDS, KINDS, FIELDS, STATUSES, PREFIXES };

static const struct mp_filter sample = {MP_FILTER_HEAD, .name = "sample",
					.options = sample_options};
static const struct mp_filter plain = {MP_FILTER_HEAD, .name = "plain"};

#endif
