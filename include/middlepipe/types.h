/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Types that the public headers share: borrowed bytes, header fields, edits
 * and the vocabulary of what happened to a call.
 *
 * ISO C only.  Nothing here owns memory: every pointer is borrowed for the
 * length of the call that hands it over, unless the function says otherwise.
 * Append-only: values keep their numbers for ever, new ones go at the end.
 */
#ifndef MIDDLEPIPE_TYPES_H
#define MIDDLEPIPE_TYPES_H

#include <stddef.h>
#include <stdint.h>

/*
 * Bytes of a struct up to a member and with it.  MP_..._1_0 are sizes that were
 * frozen with 1.0: a struct of that size is whole, whatever has been appended
 * since.  Members behind it are there only if the struct's own size covers them.
 */
#define MP_SIZE_TO(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))

/* Borrowed bytes.  Not NUL-terminated; ptr may be NULL when len is 0. */
struct mp_str {
	const char *ptr; /* first byte, borrowed */
	size_t len;      /* number of bytes */
};

/* One header field as it stands on the wire: no CR, LF or NUL in either. */
struct mp_field {
	struct mp_str name;  /* field name, in the sender's own spelling */
	struct mp_str value; /* field value without surrounding white space */
};

/* What a chain or a filter says of an exchange (architecture, section 5). */
#define MP_VERDICT_ERROR (-1) /* the filter failed: it is ejected */
#define MP_VERDICT_PASS 0     /* go on, possibly with edits */
#define MP_VERDICT_REPLY 1    /* answer for the service */
#define MP_VERDICT_DELAY 2    /* sleep, in the language's own way, then go on */
#define MP_VERDICT_HOLD 3     /* wait: the host resumes the exchange later */

/* What stands for a chain (or what one filter has posted) for now. */
#define MP_STANDING_ASK 0   /* every exchange has to be asked */
#define MP_STANDING_PASS 1  /* go on without asking */
#define MP_STANDING_REPLY 2 /* the posted reply answers every call */

/* How a call ended that got no response (mp_outcome.error). */
#define MP_ERROR_NONE 0      /* there was a response: see its status */
#define MP_ERROR_REFUSED 1   /* connection refused, unreachable, no such host */
#define MP_ERROR_TIMEOUT 2   /* connecting or waiting took too long */
#define MP_ERROR_BROKEN 3    /* connected, then reset or closed too early */
#define MP_ERROR_PROTOCOL 4  /* what came back is not HTTP; TLS failures */
#define MP_ERROR_CANCELLED 5 /* the application gave the call up */
#define MP_ERROR_OTHER 6     /* any other failure of the client library */
#define MP_ERROR_COUNT 7     /* number of kinds above */

/* Edits that a filter makes to header fields. */
#define MP_EDIT_SET 0    /* replace every field of that name by one */
#define MP_EDIT_ADD 1    /* append one field, keep the others */
#define MP_EDIT_REMOVE 2 /* drop every field of that name */

/* One edit; names compare without regard to case. */
struct mp_edit {
	int32_t op;            /* MP_EDIT_* */
	int32_t reserved;      /* 0 */
	struct mp_field field; /* the value is empty for MP_EDIT_REMOVE */
};

#endif
