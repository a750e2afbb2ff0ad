/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the driven client of rows (rows_client.c): what its files share.  Callbacks
 * come from the loop; one thread.
 *
 *   rows_client.c       lines and what they call
 *   rows_client_say.c   what is written: answers, and the history
 *   rows_client_call.c  puts, reads and what becomes of them
 *   rows_client_read.c  subscriptions
 */
#ifndef TESTS_FUNCTIONAL_PROG_ROWS_CLIENT_PRIV_H
#define TESTS_FUNCTIONAL_PROG_ROWS_CLIENT_PRIV_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/rows_client.h"
#include "lib/slice.h"

/* What there is one of. */
extern struct driven {
	uv_loop_t loop;
	struct rows_client *client;
	FILE *history;      /* NULL: none */
	uint64_t calls;     /* events `call` and `sub` so far */
	uint64_t lines;     /* read */
	int64_t heartbeat_ms; /* of subscriptions */
} driven;

extern const char *const driven_outcomes[]; /* by enum rows_outcome */

/* rows_client_say.c: `{"id":N` ... `}` and `{"t":...,"e":NAME,"c":"c","o":N` ... `}`, each a line. */
void say_begin(struct buf *out, uint64_t id);
void say(struct buf *out);
void event_begin(struct buf *out, const char *name, uint64_t o);
void event_end(struct buf *out);
void add_text(struct buf *out, const char *name, struct mp_str text); /* ,"name":"text" */
void add_sha(struct buf *out, struct mp_str bytes);

/* rows_client_call.c; word[0] is the command, of n words. */
void on_attempt(void *ctx, const struct rows_attempt *a);
void do_put(char **word, size_t n);
void do_many(char **word, size_t n);
void do_put_if(char **word, size_t n);
void do_load(char **word, size_t n);
void do_latest(char **word, size_t n);
void do_stale(char **word, size_t n);
void do_seq(char **word, size_t n);
void do_range(char **word, size_t n);
void do_wait(char **word, size_t n);
void do_highest(char **word, size_t n);
void do_check(char **word, size_t n);
void do_delete(char **word, size_t n);
void do_policy(char **word, size_t n);

/* rows_client_read.c */
void do_subscribe(char **word, size_t n);
void do_follow(char **word, size_t n);
void do_prefix(char **word, size_t n);
void do_join(char **word, size_t n);
void do_leave(char **word, size_t n);

#define WORDS_MAX 4200 /* of a line */

#endif
