/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the head of a message as Node.js writes it, without copying: the first
 * line and the fields borrow from the text.  Called by addon.c only.
 */
#ifndef NODE_HEADS_H
#define NODE_HEADS_H

#include <middlepipe/types.h>

#define HEAD_SIZE 66560u /* bytes of the longest head that a chain is shown */
#define HEAD_FIELDS 256u /* fields, likewise; what is over is not shown */

/* A head, parsed. */
struct head {
	struct mp_str words[2]; /* of the first line: method and target, or version and status */
	struct mp_str host;     /* value of the first Host field; empty: none */
	struct mp_field fields[HEAD_FIELDS];
	size_t n_fields;
};

/*
 * Parses text: "METHOD target HTTP/1.1\r\n", then "name: value\r\n" each, with
 * or without an empty line at the end.  What is cut off or malformed is left out.
 */
void head_parse(struct head *head, const char *text, size_t size);

/* The path of a request target: of "http://host/x" the "/x", else all of it. */
struct mp_str head_path(struct mp_str target);

#endif
