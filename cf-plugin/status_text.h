/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Documents of the control API (docs/control-api.md) in words and tables.
 * Pure: the time is an argument.  For cmd_status.c, cmd_explain.c and
 * cmd_events.c.
 *
 * The documents come over a socket: every member may be missing or of another
 * type, and is then left out or shown as "-".
 */
#ifndef CF_PLUGIN_STATUS_TEXT_H
#define CF_PLUGIN_STATUS_TEXT_H

#include <jansson.h>
#include <stdint.h>

#include "lib/buf.h"

/* GET /v1/status as tables. */
void status_text(const json_t *status, struct buf *out);

/* GET /v1/explain as sentences.  wall_ns: now, since 1970. */
void explain_text(const json_t *explain, uint64_t wall_ns, struct buf *out);

/* One event of GET /v1/events as a line. */
void event_text(const json_t *event, struct buf *out);

/* "1.2s", "3m05s", "2h07m", "4d03h": a duration that is short to read. */
void duration_text(uint64_t ms, struct buf *out);

/* RFC 3339 with 'Z' to ns since 1970: 0, or -EINVAL. */
int time_read(const char *text, uint64_t *ret_wall_ns);

#endif
