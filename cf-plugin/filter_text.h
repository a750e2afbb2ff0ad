/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a filter and its options are, for people and as JSON.  Pure; for
 * cmd_filters.c.
 */
#ifndef CF_PLUGIN_FILTER_TEXT_H
#define CF_PLUGIN_FILTER_TEXT_H

#include <jansson.h>

#include <middlepipe/filter.h>

#include "lib/buf.h"

/* A table with a line for each; the list ends with NULL. */
void filter_text_list(const struct mp_filter *const *filters, struct buf *out);

/* Everything about one. */
void filter_text_one(const struct mp_filter *filter, struct buf *out);

/* The same as a new object. */
json_t *filter_json(const struct mp_filter *filter);

#endif
