/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8, strictly (RFC 3629): shortest forms, no surrogates, nothing past U+10FFFF.  Pure; any thread. */
#ifndef LIB_UTF8_H
#define LIB_UTF8_H

#include <stdbool.h>
#include <stddef.h>

#include "middlepipe/types.h"

/* Bytes of the character that `text`, not empty, begins with; 0: it begins with none. */
size_t utf8_size(struct mp_str text);

/* All of it, without the control characters of ASCII: what may be a name. */
bool utf8_is_plain(struct mp_str text);

#endif
