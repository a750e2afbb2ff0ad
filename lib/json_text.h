/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON strings written straight into a buffer, for answers that are made
 * thousands of times a second; everything else builds jansson values.  Any thread.
 */
#ifndef LIB_JSON_TEXT_H
#define LIB_JSON_TEXT_H

#include "lib/buf.h"

/*
 * Appends the bytes as a JSON string, quotes included (RFC 8259, section 7);
 * a byte that is no UTF-8 becomes U+FFFD, so that the rest can be read.  0, or as buf_add().
 */
int json_text_add(struct buf *out, struct mp_str text);

#endif
