/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request or a response of a Ruby library, copied for libmiddlepipe: while a
 * chain looks at it, other threads may change the strings that it was made of.
 *
 * Called by middlepipe_ext.c with the interpreter lock held.  One is made when
 * it is first needed and kept for the next call.
 */
#ifndef BUILDPACK_HOOKS_RUBY_MESSAGE_H
#define BUILDPACK_HOOKS_RUBY_MESSAGE_H

#include <middlepipe/types.h>

#include <ruby/ruby.h>

#define MESSAGE_FIELDS_MAX 256 /* more are not shown */

enum message_part { PART_METHOD, PART_SCHEME, PART_AUTHORITY, PART_PATH, PART_COUNT };

struct message {
	struct mp_field fields[MESSAGE_FIELDS_MAX];
	size_t n_fields;
	struct mp_str part[PART_COUNT]; /* of a request; empty in a response */
	struct mp_str body;             /* cut to mp_body_limit() */
	int complete;                   /* 1: body is all of it */
	char *text;                     /* what all strings point into, once sealed */
	size_t used;                    /* bytes of it */
	size_t size;                    /* bytes allocated */
};

/* The bytes of a String, or nothing; valid while the string is not touched. */
struct mp_str message_borrow(VALUE string);

/* Empties *where, which is made when it is NULL. */
struct message *message_start(struct message **where);
void message_put_part(struct message *m, enum message_part part, struct mp_str s);
/* header: a Hash of Arrays (Net::HTTP), an Array of pairs (HTTPClient), or what has @header. */
void message_put_header(struct message *m, VALUE header);
/* body: a String or nil; complete: whether that is all of it. */
void message_put_body(struct message *m, VALUE body, VALUE complete);
/* To be called last: from here on the strings can be read. */
void message_seal(struct message *m);

void message_free(struct message *m);
size_t message_size(const struct message *m);

#endif
