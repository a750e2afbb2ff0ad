/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Python's words for a message, as client.h's: requests, responses and
 * verdicts go across here and nowhere else.  Called by call.c with the
 * interpreter lock held.  A packed message borrows from objects that it keeps
 * alive, so it may be used after the lock was released, until pack_free.
 */
#ifndef PYTHON_EXT_CONVERT_H
#define PYTHON_EXT_CONVERT_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x03080000
#include <Python.h>

#include <middlepipe/client.h>

#define PACK_FIELDS_MAX 256 /* what the lane takes; fields beyond are not shown */

/* Where requests of a connection go, as far as it is the same for all of them. */
struct origin {
	char *host;    /* owned */
	size_t size;   /* bytes of host */
	uint32_t port; /* 0: the scheme's default */
	int tls;       /* 1: https */
};

/* Header fields, and the objects that their bytes belong to. */
struct pack {
	struct mp_field fields[PACK_FIELDS_MAX];
	size_t n;       /* fields used */
	PyObject *kept; /* list of bytes objects, owned */
};

/*
 * Reads where one request goes: `start` is the request line (bytes), or its
 * target (str), or a list or tuple that begins with either.  *keep owns what
 * the target borrows; drop it after use.  Returns 0, or -1 when there is none,
 * perhaps with an exception.
 */
int target_read(const struct origin *origin, PyObject *start, struct mp_target *ret,
		PyObject **keep);

/*
 * Packs a request: `lines` is a sequence of the request line (bytes, or a tuple
 * of method and target), then header fields (bytes, or tuples of name and
 * value).  `body` is bytes or None.  Returns 0, or -1 with an exception.
 */
int request_pack(const struct origin *origin, PyObject *lines, PyObject *body, int complete,
		 struct pack *pack, struct mp_request *ret);

/* Packs a response likewise; `fields` is a sequence of header fields, or None. */
int response_pack(PyObject *fields, PyObject *body, int complete, struct pack *pack,
		  struct mp_response *ret);
void pack_free(struct pack *pack);

/* (status, raise, fields, body, type, pipe, state, retry_after) of a REPLY. */
PyObject *reply_unpack(const struct mp_verdict *verdict);
/* (edits, authority, path, body, status); None stands for what is unchanged. */
PyObject *edits_unpack(const struct mp_verdict *verdict);
/* True when a verdict that lets the call go on changes something. */
int verdict_edits(const struct mp_verdict *verdict);

#endif
