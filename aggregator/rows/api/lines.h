/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Long answers in lines (export, check): made in slices, so that the loop is
 * never held up and no more lies unread than the client needs.
 *
 * Whoever makes one embeds a struct lines as its first member; all in the
 * loop's thread.
 */
#ifndef AGGREGATOR_ROWS_API_LINES_H
#define AGGREGATOR_ROWS_API_LINES_H

#include "aggregator/rows/api/api.h"

struct lines {
	struct rows_http *http;
	struct http_req *req;  /* NULL once it has ended */
	struct list link;      /* in http->lines */
	struct buf out;        /* lines that were not written yet */
	bool hurry;            /* they go at once, few as they may be */
	bool busy;             /* somebody else will call back: it may not be freed yet */
	/* Goes on where lines_flush() said no. */
	void (*go_on)(struct lines *lines);
	/* Appends a line that says why it ends early. */
	void (*last_word)(struct lines *lines, const char *why);
	void (*free)(struct lines *lines); /* after the end, when it is not busy */
};

/* http, req and the calls are set.  False: it was answered (too many), or the client has gone; it is free. */
bool lines_open(struct lines *lines);

/* After each line.  False: the client has to read first, go_on() is called then; or it has ended. */
bool lines_flush(struct lines *lines);

/* It has ended, by the client or by us: what called back has to free it, see lines_free(). */
static inline bool lines_ended(const struct lines *lines)
{
	return !lines->req;
}

/* Sends what is left, and is free unless it is busy; then lines_free() is due. */
void lines_end(struct lines *lines);

/* The same with a last word. */
void lines_break(struct lines *lines, const char *why);

/* To be called when it is busy no longer, and had ended meanwhile. */
void lines_free(struct lines *lines);

/* Breaks all of them. */
void rows_end_lines(struct rows_http *http, const char *why);

#endif
