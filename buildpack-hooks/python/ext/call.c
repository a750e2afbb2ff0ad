/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The module middlepipe_hook._middlepipe: libmiddlepipe for the Python hook.
 *
 * A Call is one exchange after another of one connection (or of one slot of a
 * connection pool): begin, perhaps ask, resume and respond, then end or fail.
 * It is made once and used again, so that a call through a closed breaker
 * allocates nothing.  Used by the patches in middlepipe_hook only; they decide
 * what a verdict means for their library, and nothing here knows HTTP classes.
 *
 * One Call belongs to one thread at a time.  The interpreter lock is released
 * around what may wait; never around begin and end, which do not.  Built with
 * the stable ABI of CPython 3.8.
 */
#include "buildpack-hooks/python/ext/convert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <structmember.h>
#include <time.h>

/* What begin returns besides client.h's words: go on, but keep the request. */
#define GO_WANTED 4
/* Added to a verdict: it edits something. */
#define EDITED 0x10

#define NANOSECOND 1e-9
#define SEEN_MAX 128

struct call {
	PyObject_HEAD
	struct mp_call call;       /* the library's */
	struct mp_verdict verdict; /* the newest; valid when has_verdict */
	struct origin origin;      /* where it goes */
	char via_proxy[SEEN_MAX];  /* host:port that an absolute target named; or "" */
	uint64_t head_ns;          /* when the response's head was there; 0: now */
	PyObject *plan;            /* the patches' own: what is left to do, or None */
	unsigned int wants;        /* MP_WANT_* of the call in progress */
	char active;               /* begun and not ended */
	char owned;                /* begun by a pool: not by the connection below */
	char asked;                /* mp_ask was called */
	char has_verdict;          /* verdict must be freed */
};

static void verdict_drop(struct call *c)
{
	if (c->has_verdict)
		mp_verdict_free(&c->verdict);
	c->has_verdict = 0;
}

static struct mp_verdict *verdict_room(struct call *c)
{
	verdict_drop(c);
	memset(&c->verdict, 0, sizeof(c->verdict));
	c->verdict.size = sizeof(c->verdict);
	c->has_verdict = 1;
	return &c->verdict;
}

static void call_finish(struct call *c, int status, int error)
{
	PyObject *plan = c->plan;

	verdict_drop(c);
	if (c->active) {
		c->active = 0;
		if (status < 100 || status > 599) {
			error = error ? error : MP_ERROR_PROTOCOL;
			status = 0;
		}
		mp_end(&c->call, status, error, c->head_ns);
	}
	if (plan && plan != Py_None) {
		Py_INCREF(Py_None);
		c->plan = Py_None;
		Py_DECREF(plan);
	}
}

/* Keeps the name of a destination that only this request's target told. */
static void seen_write(struct call *c, const struct mp_target *target)
{
	int n = snprintf(c->via_proxy, sizeof(c->via_proxy), "%.*s", (int)target->host.len,
			 target->host.ptr);

	if (target->port && n > 0 && (size_t)n < sizeof(c->via_proxy))
		(void)snprintf(c->via_proxy + n, sizeof(c->via_proxy) - (size_t)n, ":%u",
			       (unsigned)target->port); /* cut when it is too long */
}

/* What went wrong in here must not reach the application: the call goes on. */
static PyObject *let_pass(void)
{
	PyErr_Clear();
	return PyLong_FromLong(MP_VERDICT_PASS);
}

/* ----------------------------------------------------------------- methods */

PyDoc_STRVAR(begin_doc, "begin(start) -> NONE, GO, ASK, REPLY or GO_WANTED\n\n"
			"start is a request line (bytes), a target (str) or a list of lines.");
static PyObject *call_begin(PyObject *self, PyObject *start)
{
	struct call *c = (struct call *)self;
	struct mp_target target;
	PyObject *keep;
	int verdict;

	if (c->active)
		call_finish(c, 0, MP_ERROR_CANCELLED); /* its response was never asked for */
	if (target_read(&c->origin, start, &target, &keep) < 0) {
		PyErr_Clear(); /* the library itself will say what is wrong with it */
		return PyLong_FromLong(MP_NONE);
	}
	c->via_proxy[0] = '\0';
	if (target.host.ptr != c->origin.host)
		seen_write(c, &target);
	verdict = mp_begin(&target, &c->call, verdict_room(c));
	Py_XDECREF(keep);
	c->active = verdict != MP_NONE;
	c->asked = 0;
	c->head_ns = 0;
	c->wants = c->active ? c->call.wants : 0;
	if (verdict == MP_GO && c->wants)
		verdict = GO_WANTED;
	return PyLong_FromLong(verdict);
}

PyDoc_STRVAR(standing_doc, "standing(start) -> what begin would return, but begins nothing\n\n"
			   "Any number of threads may ask the same Call; \"\" is every path.");
static PyObject *call_standing(PyObject *self, PyObject *start)
{
	struct mp_target target;
	PyObject *keep;
	int verdict;

	if (target_read(&((struct call *)self)->origin, start, &target, &keep) < 0) {
		PyErr_Clear();
		return PyLong_FromLong(MP_NONE);
	}
	verdict = mp_standing(&target);
	Py_XDECREF(keep);
	return PyLong_FromLong(verdict);
}

/* The verdict as the patches read it. */
static PyObject *code(const struct call *c, int verdict)
{
	if (verdict == MP_VERDICT_PASS || verdict == MP_VERDICT_DELAY)
		verdict |= verdict_edits(&c->verdict) ? EDITED : 0;
	return PyLong_FromLong(verdict);
}

PyDoc_STRVAR(ask_doc, "ask(lines, body, complete) -> verdict, perhaps | EDITED");
static PyObject *call_ask(PyObject *self, PyObject *args)
{
	struct call *c = (struct call *)self;
	PyObject *lines, *body;
	struct mp_request request;
	struct pack pack;
	int complete, verdict;

	if (!PyArg_ParseTuple(args, "OOp:ask", &lines, &body, &complete))
		return NULL;
	if (!c->active)
		return PyLong_FromLong(MP_VERDICT_PASS);
	if (request_pack(&c->origin, lines, body, complete, &pack, &request) < 0) {
		pack_free(&pack);
		return let_pass();
	}
	(void)verdict_room(c);
	c->asked = 1;
	Py_BEGIN_ALLOW_THREADS
	verdict = mp_ask(&c->call, &request, &c->verdict);
	Py_END_ALLOW_THREADS
	pack_free(&pack);
	return code(c, verdict);
}

PyDoc_STRVAR(resume_doc, "resume(ms) -> verdict of a call that is held");
static PyObject *call_resume(PyObject *self, PyObject *arg)
{
	struct call *c = (struct call *)self;
	long ms = PyLong_AsLong(arg);
	int verdict;

	if (ms < 0 && PyErr_Occurred())
		return NULL;
	if (!c->active)
		return PyLong_FromLong(MP_VERDICT_PASS);
	(void)verdict_room(c);
	Py_BEGIN_ALLOW_THREADS
	verdict = mp_resume(&c->call, (uint64_t)ms * 1000000u, &c->verdict);
	Py_END_ALLOW_THREADS
	return code(c, verdict);
}

PyDoc_STRVAR(respond_doc, "respond(status, error, fields, body, complete, request) -> verdict\n\n"
			  "request is (lines, body, complete) of a call that was not asked, or None.");
static PyObject *call_respond(PyObject *self, PyObject *args)
{
	struct call *c = (struct call *)self;
	PyObject *fields, *body, *request, *lines = NULL, *request_body = NULL;
	int status, error, complete, request_complete = 0, verdict = -1;
	struct pack in = { .kept = NULL }, out = { .kept = NULL };
	struct mp_request shown;
	struct mp_response response;

	if (!PyArg_ParseTuple(args, "iiOOpO:respond", &status, &error, &fields, &body, &complete,
			      &request))
		return NULL;
	if (!c->active)
		return PyLong_FromLong(MP_VERDICT_PASS);
	if (request != Py_None && !c->asked &&
	    (!PyArg_ParseTuple(request, "OOp:respond", &lines, &request_body, &request_complete) ||
	     request_pack(&c->origin, lines, request_body, request_complete, &in, &shown) < 0))
		goto out;
	if (response_pack(fields, body, complete, &out, &response) < 0)
		goto out;
	response.status = error ? 0 : status;
	response.error = error;
	(void)verdict_room(c);
	Py_BEGIN_ALLOW_THREADS
	verdict = mp_respond(&c->call, lines ? &shown : NULL, &response, &c->verdict);
	Py_END_ALLOW_THREADS
out:
	pack_free(&in);
	pack_free(&out);
	return PyErr_Occurred() ? let_pass() : code(c, verdict);
}

static int is_marker(PyObject *name)
{
	static const char marker[] = "middlepipe";
	PyObject *bytes;
	const char *p;
	int same = 1;

	if (!PyUnicode_Check(name) || PyUnicode_GetLength(name) != (Py_ssize_t)sizeof(marker) - 1)
		return 0;
	bytes = PyUnicode_AsLatin1String(name);
	if (!bytes) {
		PyErr_Clear();
		return 0;
	}
	p = PyBytes_AsString(bytes);
	for (size_t i = 0; same && i < sizeof(marker) - 1; i++)
		same = (p[i] | 0x20) == marker[i];
	Py_DECREF(bytes);
	return same;
}

static int has_marker(PyObject *fields)
{
	Py_ssize_t n = PyList_Check(fields) ? PyList_Size(fields) : 0;

	for (Py_ssize_t i = 0; i < n; i++) {
		PyObject *pair = PyList_GetItem(fields, i);

		if (PyTuple_Check(pair) && PyTuple_Size(pair) == 2 &&
		    is_marker(PyTuple_GetItem(pair, 0)))
			return 1;
	}
	return 0;
}

PyDoc_STRVAR(end_doc, "end(status, fields) -> whether the fields hold a marker\n\n"
		      "fields is the list of pairs of a response of the network, or None.");
static PyObject *call_end(PyObject *self, PyObject *args)
{
	PyObject *fields;
	int status;

	if (!PyArg_ParseTuple(args, "iO:end", &status, &fields))
		return NULL;
	call_finish((struct call *)self, status, 0);
	return PyBool_FromLong(has_marker(fields));
}

PyDoc_STRVAR(marked_doc, "marked(fields) -> whether the fields hold a marker");
static PyObject *call_marked(PyObject *self, PyObject *fields)
{
	(void)self;
	return PyBool_FromLong(has_marker(fields));
}

PyDoc_STRVAR(fail_doc, "fail(error): the call ended without a response");
static PyObject *call_fail(PyObject *self, PyObject *arg)
{
	long error = PyLong_AsLong(arg);

	if (error < 0 && PyErr_Occurred())
		return NULL;
	call_finish((struct call *)self, 0, (int)error);
	Py_RETURN_NONE;
}

PyDoc_STRVAR(head_doc, "head(): the response's head is there now");
static PyObject *call_head(PyObject *self, PyObject *unused)
{
	struct timespec now;

	(void)unused;
	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
	((struct call *)self)->head_ns =
		(uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	Py_RETURN_NONE;
}

PyDoc_STRVAR(delay_doc, "delay() -> seconds to sleep, or for which a call may still be held");
static PyObject *call_delay(PyObject *self, PyObject *unused)
{
	struct call *c = (struct call *)self;

	(void)unused;
	return PyFloat_FromDouble(c->has_verdict ? (double)c->verdict.delay_ns * NANOSECOND : 0);
}

PyDoc_STRVAR(reply_doc, "reply() -> (status, raise, fields, body, type, pipe, state, retry_after)");
static PyObject *call_reply(PyObject *self, PyObject *unused)
{
	(void)unused;
	return reply_unpack(&((struct call *)self)->verdict);
}

PyDoc_STRVAR(edits_doc, "edits() -> ([(op, name, value)], authority, path, body, status)");
static PyObject *call_edits(PyObject *self, PyObject *unused)
{
	(void)unused;
	return edits_unpack(&((struct call *)self)->verdict);
}

static PyObject *call_where(PyObject *self, void *unused)
{
	const struct call *c = (const struct call *)self;
	const struct origin *o = &c->origin;
	int v6;

	(void)unused;
	if (c->via_proxy[0])
		return PyUnicode_FromString(c->via_proxy);
	v6 = memchr(o->host, ':', o->size) && o->host[0] != '[' && o->port;
	if (!o->port || o->port == (o->tls ? 443 : 80))
		return PyUnicode_FromFormat(v6 ? "[%s]" : "%s", o->host);
	return PyUnicode_FromFormat(v6 ? "[%s]:%u" : "%s:%u", o->host, (unsigned)o->port);
}

/* -------------------------------------------------------------------- type */

static int origin_init(struct origin *origin, PyObject *host, int tls, unsigned int port)
{
	PyObject *bytes = PyUnicode_AsUTF8String(host);
	char *ptr = NULL;
	Py_ssize_t size = 0;

	if (!bytes || PyBytes_AsStringAndSize(bytes, &ptr, &size) < 0) {
		Py_XDECREF(bytes);
		return -1;
	}
	origin->host = malloc((size_t)size + 1);
	if (!origin->host) {
		Py_DECREF(bytes);
		PyErr_NoMemory();
		return -1;
	}
	memcpy(origin->host, ptr, (size_t)size + 1);
	origin->size = (size_t)size;
	origin->port = port > 65535 ? 0 : port;
	origin->tls = tls;
	Py_DECREF(bytes);
	return 0;
}

static PyObject *call_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	PyObject *host;
	struct call *c;
	unsigned int port;
	int tls;

	(void)kwargs;
	if (!PyArg_ParseTuple(args, "pUI:Call", &tls, &host, &port))
		return NULL;
	c = (struct call *)PyType_GenericAlloc(type, 0); /* zeroed */
	if (!c)
		return NULL;
	Py_INCREF(Py_None);
	c->plan = Py_None;
	if (origin_init(&c->origin, host, tls, port) < 0) {
		Py_DECREF((PyObject *)c);
		return NULL;
	}
	return (PyObject *)c;
}

static void call_dealloc(PyObject *self)
{
	struct call *c = (struct call *)self;
	PyTypeObject *type = Py_TYPE(self);
	freefunc release = __extension__(freefunc)PyType_GetSlot(type, Py_tp_free);

	call_finish(c, 0, MP_ERROR_CANCELLED);
	Py_CLEAR(c->plan);
	free(c->origin.host);
	release(self);
	Py_DECREF((PyObject *)type);
}

static PyMethodDef call_methods[] = {
	{ "begin", call_begin, METH_O, begin_doc },
	{ "standing", call_standing, METH_O, standing_doc },
	{ "ask", call_ask, METH_VARARGS, ask_doc },
	{ "resume", call_resume, METH_O, resume_doc },
	{ "respond", call_respond, METH_VARARGS, respond_doc },
	{ "end", call_end, METH_VARARGS, end_doc },
	{ "marked", call_marked, METH_O, marked_doc },
	{ "fail", call_fail, METH_O, fail_doc },
	{ "head", call_head, METH_NOARGS, head_doc },
	{ "delay", call_delay, METH_NOARGS, delay_doc },
	{ "reply", call_reply, METH_NOARGS, reply_doc },
	{ "edits", call_edits, METH_NOARGS, edits_doc },
	{ NULL, NULL, 0, NULL },
};

static PyMemberDef call_members[] = {
	{ "active", T_BOOL, offsetof(struct call, active), READONLY, NULL },
	{ "asked", T_BOOL, offsetof(struct call, asked), READONLY, NULL },
	{ "wants", T_UINT, offsetof(struct call, wants), READONLY, NULL },
	{ "owned", T_BOOL, offsetof(struct call, owned), 0, NULL },
	{ "plan", T_OBJECT, offsetof(struct call, plan), 0, NULL },
	{ NULL, 0, 0, 0, NULL },
};

static PyGetSetDef call_getset[] = {
	{ "where", call_where, NULL, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

/* Python keeps functions as void *, which ISO C has no word for. */
#define SLOT(function) __extension__(void *)(function)

static PyType_Slot call_slots[] = {
	{ Py_tp_new, SLOT(call_new) },
	{ Py_tp_dealloc, SLOT(call_dealloc) },
	{ Py_tp_methods, call_methods },
	{ Py_tp_members, call_members },
	{ Py_tp_getset, call_getset },
	{ 0, NULL },
};

static PyType_Spec call_spec = {
	.name = "middlepipe_hook._middlepipe.Call",
	.basicsize = sizeof(struct call),
	.flags = Py_TPFLAGS_DEFAULT,
	.slots = call_slots,
};

/* ------------------------------------------------------------------ module */

static PyObject *module_enabled(PyObject *self, PyObject *unused)
{
	(void)self;
	(void)unused;
	return PyBool_FromLong(mp_enabled());
}

static PyObject *module_body_limit(PyObject *self, PyObject *unused)
{
	(void)self;
	(void)unused;
	return PyLong_FromSize_t(mp_body_limit());
}

static PyObject *module_counters(PyObject *self, PyObject *unused)
{
	struct mp_counters n = { .size = sizeof(n) };

	(void)self;
	(void)unused;
	mp_counters_get(&n);
	return Py_BuildValue("{sKsKsKsKsKsKsKsKsKsKsKsK}",
			     "connected", (unsigned long long)n.connected,
			     "passed", (unsigned long long)n.passed,
			     "replied", (unsigned long long)n.replied,
			     "asked", (unsigned long long)n.asked,
			     "unfiltered", (unsigned long long)n.unfiltered,
			     "refused", (unsigned long long)n.refused,
			     "over_budget", (unsigned long long)n.over_budget,
			     "no_slot", (unsigned long long)n.no_slot,
			     "away", (unsigned long long)n.away,
			     "lost", (unsigned long long)n.lost,
			     "connects", (unsigned long long)n.connects,
			     "doorbells", (unsigned long long)n.doorbells);
}

static PyMethodDef module_methods[] = {
	{ "enabled", module_enabled, METH_NOARGS, "whether there is anything to do" },
	{ "body_limit", module_body_limit, METH_NOARGS, "the most body bytes that are shown" },
	{ "counters", module_counters, METH_NOARGS, "what the library did in this process" },
	{ NULL, NULL, 0, NULL },
};

static const struct {
	const char *name; /* as the patches know it */
	int value;
} constants[] = {
	{ "NONE", MP_NONE },
	{ "GO", MP_GO },
	{ "ASK", MP_ASK },
	{ "ANSWERED", MP_REPLY },
	{ "GO_WANTED", GO_WANTED },
	{ "PASS", MP_VERDICT_PASS },
	{ "REPLY", MP_VERDICT_REPLY },
	{ "DELAY", MP_VERDICT_DELAY },
	{ "HOLD", MP_VERDICT_HOLD },
	{ "EDITED", EDITED },
	{ "SET", MP_EDIT_SET },
	{ "ADD", MP_EDIT_ADD },
	{ "REMOVE", MP_EDIT_REMOVE },
	{ "WANT_REQUEST_BODY", MP_WANT_REQUEST_BODY },
	{ "WANT_RESPONSE", MP_WANT_RESPONSE },
	{ "WANT_COPY", MP_WANT_COPY },
	{ "WANT_RESPONSE_BODY", MP_WANT_RESPONSE_BODY },
	{ "REFUSED", MP_ERROR_REFUSED },
	{ "TIMEOUT", MP_ERROR_TIMEOUT },
	{ "BROKEN", MP_ERROR_BROKEN },
	{ "PROTOCOL", MP_ERROR_PROTOCOL },
	{ "CANCELLED", MP_ERROR_CANCELLED },
	{ "OTHER", MP_ERROR_OTHER },
};

static int module_exec(PyObject *module)
{
	PyObject *type = PyType_FromSpec(&call_spec);

	if (!type || PyModule_AddObject(module, "Call", type) < 0) {
		Py_XDECREF(type);
		return -1;
	}
	for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++)
		if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) < 0)
			return -1;
	return 0;
}

static PyModuleDef_Slot module_slots[] = {
	{ Py_mod_exec, SLOT(module_exec) },
	{ 0, NULL },
};

static struct PyModuleDef module_def = {
	.m_base = PyModuleDef_HEAD_INIT,
	.m_name = "middlepipe_hook._middlepipe",
	.m_doc = "libmiddlepipe, for the patches in this package",
	.m_methods = module_methods,
	.m_slots = module_slots,
};

/* The prototype that Python looks for; PyMODINIT_FUNC makes it visible. */
PyMODINIT_FUNC PyInit__middlepipe(void);
PyMODINIT_FUNC PyInit__middlepipe(void)
{
	return PyModuleDef_Init(&module_def);
}
