/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Base64 of RFC 4648, standard alphabet with padding, both ways.
 * For JSON that carries bytes.  One text for each value: what decodes encodes
 * to the same text again.
 */
#ifndef LIB_BASE64_H
#define LIB_BASE64_H

#include "lib/buf.h"

/* Adds the text.  Returns out->error: 0, or the first failure. */
int base64_encode(struct buf *out, struct mp_str bytes);

/*
 * Adds the bytes.  0; -EINVAL: that is no such text, and nothing was added;
 * or out->error.
 */
int base64_decode(struct buf *out, struct mp_str text);

#endif
