/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server-sent events, as they come in parts: gives each event with its name
 * and data.  For `middlepipe rows tail`.
 *
 * Of the format it knows what aggregators send: lines end in LF or CRLF, an
 * event has one line of data, ids and comments are skipped.  Bounded: a line
 * that does not fit ends it.  Pure.
 */
#ifndef CF_PLUGIN_SSE_H
#define CF_PLUGIN_SSE_H

#include "lib/buf.h"

struct sse {
	struct buf line;     /* the one that is not whole yet */
	char event[32];      /* name of the event so far, "" for none */
	struct buf data;     /* its data so far */
	/* An event; its texts are borrowed for the call.  Anything but 0 ends sse_take(). */
	int (*give)(void *ctx, const char *event, struct mp_str data);
	void *ctx;
};

/* max: bytes of a line. */
void sse_init(struct sse *sse, size_t max, int (*give)(void *ctx, const char *event, struct mp_str data),
	      void *ctx);
void sse_fini(struct sse *sse);

/* Forgets what is not whole: another stream begins. */
void sse_reset(struct sse *sse);

/* 0; -E2BIG: a line is too long; -ENOMEM; or what give() returned. */
int sse_take(struct sse *sse, struct mp_str part);

#endif
