/* SPDX-License-Identifier: Apache-2.0 */
#include "buildpack-hooks/python/ext/convert.h"

#include <string.h>

static struct mp_str bytes_str(PyObject *bytes)
{
	char *ptr = NULL;
	Py_ssize_t len = 0;

	if (PyBytes_AsStringAndSize(bytes, &ptr, &len) < 0) {
		PyErr_Clear();
		return (struct mp_str){ 0 };
	}
	return (struct mp_str){ ptr, (size_t)len };
}

static struct mp_str str_cut(struct mp_str s, size_t from, size_t to)
{
	return (struct mp_str){ s.ptr + from, to - from };
}

/* A new reference to the bytes of any object that a library takes as field text. */
static PyObject *to_bytes(PyObject *object)
{
	PyObject *text, *bytes;

	if (PyBytes_Check(object)) {
		Py_INCREF(object);
		return object;
	}
	text = PyObject_Str(object);
	if (!text)
		return NULL;
	bytes = PyUnicode_AsLatin1String(text);
	if (!bytes) {
		PyErr_Clear();
		bytes = PyUnicode_AsUTF8String(text);
	}
	Py_DECREF(text);
	return bytes;
}

/* ------------------------------------------------------------------ targets */

static int starts_with(struct mp_str s, const char *lower)
{
	size_t n = strlen(lower);

	if (s.len < n)
		return 0;
	for (size_t i = 0; i < n; i++)
		if ((s.ptr[i] | 0x20) != (lower[i] | 0x20))
			return 0;
	return 1;
}

/* "host", "host:port" or "[v6]:port" without "user@". */
static void authority_split(struct mp_str authority, struct mp_target *ret)
{
	size_t from = 0, colon;

	for (size_t i = 0; i < authority.len; i++)
		if (authority.ptr[i] == '@')
			from = i + 1;
	authority = str_cut(authority, from, authority.len);
	for (colon = authority.len; colon > 0; colon--)
		if (authority.ptr[colon - 1] == ':' || authority.ptr[colon - 1] == ']')
			break;
	ret->host = authority;
	ret->port = 0;
	if (colon == 0 || authority.ptr[colon - 1] == ']')
		return;
	ret->host.len = colon - 1;
	for (size_t i = colon; i < authority.len && ret->port < 65536; i++)
		if (authority.ptr[i] >= '0' && authority.ptr[i] <= '9')
			ret->port = ret->port * 10 + (uint32_t)(authority.ptr[i] - '0');
}

/* An absolute target names the origin itself: the connection is a proxy's. */
static int target_absolute(struct mp_str target, struct mp_target *ret)
{
	size_t start = starts_with(target, "http://") ? 7 : starts_with(target, "https://") ? 8 : 0;
	size_t end = start;

	if (!start)
		return 0;
	while (end < target.len && !strchr("/?#", target.ptr[end]))
		end++;
	ret->scheme = str_cut(target, 0, start - 3);
	authority_split(str_cut(target, start, end), ret);
	ret->path = str_cut(target, end, target.len);
	return 1;
}

/* Divides "METHOD target HTTP/1.1". */
static void line_split(struct mp_str line, struct mp_str *method, struct mp_str *target)
{
	size_t from = 0, to = line.len;

	while (from < line.len && line.ptr[from] != ' ')
		from++;
	*method = str_cut(line, 0, from);
	if (from < line.len)
		from++;
	while (to > from && line.ptr[to - 1] != ' ')
		to--;
	if (to > from)
		to--;
	*target = str_cut(line, from, to > from ? to : line.len);
}

static void target_fill(const struct origin *origin, struct mp_str target, struct mp_target *ret)
{
	*ret = (struct mp_target){
		.size = sizeof(*ret),
		.port = origin->port,
		.scheme = origin->tls ? (struct mp_str){ "https", 5 } : (struct mp_str){ "http", 4 },
		.host = { origin->host, origin->size },
	};
	if (target.len > 0 && target.ptr[0] == '/')
		ret->path = target;
	else
		(void)target_absolute(target, ret); /* neither, like "*": the root's chain */
}

int target_read(const struct origin *origin, PyObject *start, struct mp_target *ret,
		PyObject **keep)
{
	struct mp_str method, target;

	*keep = NULL;
	if (PyList_Check(start)) {
		if (PyList_Size(start) == 0)
			return -1;
		start = PyList_GetItem(start, 0);
	}
	if (PyBytes_Check(start)) {
		line_split(bytes_str(start), &method, &target);
	} else {
		*keep = PyUnicode_Check(start) ? PyUnicode_AsUTF8String(start) : NULL;
		if (!*keep)
			return -1;
		target = bytes_str(*keep);
	}
	target_fill(origin, target, ret);
	return 0;
}

/* ----------------------------------------------------------------- packing */

/* Keeps `bytes` (a reference that it takes) as long as the pack lives. */
static int keep(struct pack *pack, PyObject *bytes)
{
	int rc = bytes ? PyList_Append(pack->kept, bytes) : -1;

	Py_XDECREF(bytes);
	return rc;
}

/* A field value may be folded ("\r\n\t") on the wire; here it is one line. */
static PyObject *unfold(PyObject *bytes)
{
	struct mp_str s = bytes_str(bytes);
	PyObject *copy;
	char *to;

	if (!memchr(s.ptr, '\r', s.len) && !memchr(s.ptr, '\n', s.len) &&
	    !memchr(s.ptr, '\0', s.len))
		return bytes;
	copy = PyBytes_FromStringAndSize(s.ptr, (Py_ssize_t)s.len);
	Py_DECREF(bytes);
	if (!copy)
		return NULL;
	to = PyBytes_AsString(copy);
	for (size_t i = 0; i < s.len; i++)
		if (to[i] == '\r' || to[i] == '\n' || to[i] == '\0')
			to[i] = ' ';
	return copy;
}

static struct mp_str trim(struct mp_str s)
{
	while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
		s = str_cut(s, 1, s.len);
	while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
		s.len--;
	return s;
}

/* Adds one str or bytes; what it borrows is kept. */
static int text_pack(struct pack *pack, PyObject *object, struct mp_str *ret)
{
	PyObject *bytes = to_bytes(object);

	if (bytes)
		bytes = unfold(bytes);
	if (!bytes)
		return -1;
	*ret = trim(bytes_str(bytes));
	return keep(pack, bytes);
}

static int field_pack(struct pack *pack, PyObject *item)
{
	struct mp_field *field = &pack->fields[pack->n];
	struct mp_str line;
	const char *colon;

	if (PyTuple_Check(item)) {
		if (text_pack(pack, PyTuple_GetItem(item, 0), &field->name) < 0 ||
		    text_pack(pack, PyTuple_GetItem(item, 1), &field->value) < 0)
			return -1;
		pack->n++;
		return 0;
	}
	if (text_pack(pack, item, &line) < 0)
		return -1;
	colon = line.len ? memchr(line.ptr, ':', line.len) : NULL;
	if (!colon)
		return 0; /* no field: nothing to show */
	field->name = trim(str_cut(line, 0, (size_t)(colon - line.ptr)));
	field->value = trim(str_cut(line, (size_t)(colon - line.ptr) + 1, line.len));
	pack->n++;
	return 0;
}

static int fields_pack(struct pack *pack, PyObject *items, Py_ssize_t first)
{
	Py_ssize_t n = PySequence_Size(items);

	if (n < 0)
		return -1;
	for (Py_ssize_t i = first; i < n && pack->n < PACK_FIELDS_MAX; i++) {
		PyObject *item = PySequence_GetItem(items, i);
		int rc = item ? field_pack(pack, item) : -1;

		Py_XDECREF(item);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int body_pack(struct pack *pack, PyObject *body, struct mp_str *ret)
{
	*ret = (struct mp_str){ 0 };
	if (body == Py_None)
		return 0;
	*ret = bytes_str(body);
	return PyList_Append(pack->kept, body);
}

static int pack_init(struct pack *pack)
{
	pack->n = 0;
	pack->kept = PyList_New(0);
	return pack->kept ? 0 : -1;
}

void pack_free(struct pack *pack)
{
	Py_CLEAR(pack->kept);
}

/* Method and target, from a request line or from a tuple of both. */
static int start_pack(struct pack *pack, PyObject *start, struct mp_str *method,
		      struct mp_str *target)
{
	if (PyTuple_Check(start))
		return text_pack(pack, PyTuple_GetItem(start, 0), method) < 0 ?
			       -1 :
			       text_pack(pack, PyTuple_GetItem(start, 1), target);
	if (!PyBytes_Check(start)) {
		PyErr_SetString(PyExc_TypeError, "a request begins with bytes or a tuple");
		return -1;
	}
	line_split(bytes_str(start), method, target);
	return PyList_Append(pack->kept, start);
}

/* What the Host field says, else where the call goes. */
static int authority_pack(struct pack *pack, const struct mp_target *target, struct mp_str *ret)
{
	uint32_t usual = target->scheme.len == 5 ? 443 : 80;
	PyObject *bytes;
	int v6 = target->host.len && memchr(target->host.ptr, ':', target->host.len) &&
		 target->host.ptr[0] != '[' && !starts_with(target->host, "unix:");

	for (size_t i = 0; i < pack->n; i++)
		if (pack->fields[i].name.len == 4 && starts_with(pack->fields[i].name, "host")) {
			*ret = pack->fields[i].value;
			return 0;
		}
	bytes = PyBytes_FromStringAndSize(v6 ? "[" : "", v6);
	if (bytes)
		PyBytes_ConcatAndDel(&bytes, PyBytes_FromStringAndSize(target->host.ptr,
								       (Py_ssize_t)target->host.len));
	if (bytes && v6)
		PyBytes_ConcatAndDel(&bytes, PyBytes_FromString("]"));
	if (bytes && target->port && target->port != usual)
		PyBytes_ConcatAndDel(&bytes, PyBytes_FromFormat(":%u", target->port));
	if (!bytes)
		return -1;
	*ret = bytes_str(bytes);
	return keep(pack, bytes);
}

int request_pack(const struct origin *origin, PyObject *lines, PyObject *body, int complete,
		 struct pack *pack, struct mp_request *ret)
{
	PyObject *start = PySequence_GetItem(lines, 0);
	struct mp_str target = { 0 };
	struct mp_target where;
	int rc;

	*ret = (struct mp_request){ .size = sizeof(*ret),
				    .flags = complete ? MP_BODY_COMPLETE : 0 };
	if (pack_init(pack) < 0 || !start) {
		Py_XDECREF(start);
		return -1;
	}
	rc = start_pack(pack, start, &ret->method, &target);
	Py_DECREF(start);
	if (rc < 0 || fields_pack(pack, lines, 1) < 0 || body_pack(pack, body, &ret->body) < 0)
		return -1;
	target_fill(origin, target, &where);
	ret->scheme = where.scheme;
	ret->path = where.path.len ? where.path : (struct mp_str){ "/", 1 };
	ret->fields = pack->fields;
	ret->n_fields = pack->n;
	rc = authority_pack(pack, &where, &ret->authority);
	return rc;
}

int response_pack(PyObject *fields, PyObject *body, int complete, struct pack *pack,
		  struct mp_response *ret)
{
	*ret = (struct mp_response){ .size = sizeof(*ret),
				     .flags = complete ? MP_BODY_COMPLETE : 0 };
	if (pack_init(pack) < 0 || (fields != Py_None && fields_pack(pack, fields, 0) < 0) ||
	    body_pack(pack, body, &ret->body) < 0)
		return -1;
	ret->fields = pack->fields;
	ret->n_fields = pack->n;
	return 0;
}

/* --------------------------------------------------------------- unpacking */

static PyObject *text(struct mp_str s)
{
	return PyUnicode_DecodeLatin1(s.ptr ? s.ptr : "", (Py_ssize_t)s.len, "strict");
}

static PyObject *text_or_none(struct mp_str s)
{
	return s.ptr ? text(s) : Py_BuildValue("");
}

static PyObject *fields_unpack(const struct mp_field *fields, size_t n)
{
	PyObject *list = PyList_New(0);

	for (size_t i = 0; list && i < n; i++) {
		PyObject *pair = Py_BuildValue("(NN)", text(fields[i].name), text(fields[i].value));

		if (!pair || PyList_Append(list, pair) < 0)
			Py_CLEAR(list);
		Py_XDECREF(pair);
	}
	return list;
}

PyObject *reply_unpack(const struct mp_verdict *v)
{
	return Py_BuildValue("(iNNNNNNL)", (int)v->status, PyBool_FromLong(v->raise),
			     fields_unpack(v->fields, v->n_fields),
			     PyBytes_FromStringAndSize(v->body.ptr, (Py_ssize_t)v->body.len),
			     text(v->type), text(v->pipe), text(v->state),
			     (long long)v->retry_after);
}

PyObject *edits_unpack(const struct mp_verdict *v)
{
	PyObject *list = PyList_New(0);

	for (size_t i = 0; list && i < v->n_edits; i++) {
		const struct mp_edit *e = &v->edits[i];
		PyObject *row = Py_BuildValue("(iNN)", (int)e->op, text(e->field.name),
					      text(e->field.value));

		if (!row || PyList_Append(list, row) < 0)
			Py_CLEAR(list);
		Py_XDECREF(row);
	}
	return Py_BuildValue("(NNNNi)", list, text_or_none(v->authority), text_or_none(v->path),
			     v->body.ptr ? PyBytes_FromStringAndSize(v->body.ptr,
								     (Py_ssize_t)v->body.len) :
					   Py_BuildValue(""),
			     (int)v->status);
}

int verdict_edits(const struct mp_verdict *v)
{
	return v->n_edits || v->authority.ptr || v->path.ptr || v->body.ptr || v->status;
}
