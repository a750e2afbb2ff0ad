/* SPDX-License-Identifier: Apache-2.0 */
/* What status_text.c and explain_text.c share: members of untrusted documents. */
#ifndef CF_PLUGIN_STATUS_PRIV_H
#define CF_PLUGIN_STATUS_PRIV_H

#include <jansson.h>

#include "lib/buf.h"

/* The text of a member, "" when there is none. */
const char *member_text(const json_t *object, const char *name);

/* The integer of a member, 0 when there is none. */
json_int_t member_int(const json_t *object, const char *name);

/* The member "prefix", as a path that people understand. */
const char *member_prefix(const json_t *object);

/* A text, number or truth value as it is; "-" for anything else. */
void scalar_text(const json_t *value, struct buf *out);

#endif
