/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Ruby face of libmiddlepipe: the class Middlepipe::Call, one call of the
 * application in progress.
 *
 * middlepipe/net_http.rb and middlepipe/httpclient.rb use it and nobody else:
 * its methods take what those libraries hold (strings, Net::HTTP's header hash,
 * HTTPClient's header array) and never raise for what is in them.  It knows no
 * HTTP library, sends nothing and decides nothing.
 *
 *   enter -> [capture -> [ask]] -> head | status -> [respond] -> leave
 *
 * and again between two attempts of one call of the library.
 *
 * The interpreter lock is held but for ask, a held exchange and a response that
 * is waited for; those work on copies, because other threads run meanwhile.
 */
#include "buildpack-hooks/ruby/connection.h"
#include "buildpack-hooks/ruby/message.h"

#include <middlepipe/client.h>

#include <ruby/ruby.h>
#include <ruby/thread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What enter and again return: what there is to do before the service is called. */
enum step {
	STEP_PLAIN = 1, /* nothing */
	STEP_SHOWN,     /* go on, but the chain is shown the response */
	STEP_ASK,
	STEP_REPLY, /* see reply() */
};

/* What ask and respond return. */
enum verdict {
	VERDICT_PASS,
	VERDICT_EDITED, /* see edits(): edits, or a delay, or both */
	VERDICT_REPLY,  /* see reply() */
};

enum state {
	STATE_IDLE,    /* no call */
	STATE_LIVE,    /* between mp_begin and mp_end */
	STATE_BETWEEN, /* an attempt is over, the library may make another */
};

#define HOLD_SLICE_NS 50000000ull /* a held call looks for interrupts that often */

struct hook_call {
	struct mp_call mp;
	struct mp_verdict verdict; /* of the last step */
	enum state state;
	int status;        /* of the response's head, or 0 */
	int error;         /* MP_ERROR_*, when the attempt failed */
	uint64_t head_ns;  /* when the head was there */
	int asked;         /* mp_ask was called */
	char *host;        /* overrides the host of enter (Unix sockets), or NULL */
	struct message *request;  /* made when first needed, kept for the next call */
	struct message *response;
	struct mp_response shown; /* what respond() works on */
};

static ID id_header, id_code;
static VALUE marker_key; /* "middlepipe", as Net::HTTP spells keys */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ------------------------------------------------------------------- object */

/* A call that nobody left (a fiber that was never resumed) was given up. */
static void call_free(void *memory)
{
	struct hook_call *c = memory;

	mp_verdict_free(&c->verdict);
	if (c->state == STATE_LIVE)
		mp_end(&c->mp, 0, MP_ERROR_CANCELLED, 0);
	message_free(c->request);
	message_free(c->response);
	free(c->host);
	free(c);
}

static size_t call_size(const void *memory)
{
	const struct hook_call *c = memory;

	return sizeof(*c) + message_size(c->request) + message_size(c->response);
}

static const rb_data_type_t call_type = {
	.wrap_struct_name = "Middlepipe::Call",
	.function = {.dfree = call_free, .dsize = call_size},
	.flags = RUBY_TYPED_FREE_IMMEDIATELY,
};

static VALUE call_alloc(VALUE class)
{
	struct hook_call *c = calloc(1, sizeof(*c));

	if (!c)
		rb_memerror();
	c->verdict.size = sizeof(c->verdict);
	return TypedData_Wrap_Struct(class, &call_type, c);
}

static struct hook_call *get(VALUE self)
{
	return rb_check_typeddata(self, &call_type);
}

static void drop_verdict(struct hook_call *c)
{
	mp_verdict_free(&c->verdict);
	c->verdict.size = sizeof(c->verdict);
}

/* -------------------------------------------------------------------- begin */

static uint32_t port_number(VALUE port)
{
	if (RB_TYPE_P(port, T_STRING))
		port = rb_str_to_inum(port, 10, 0);
	return FIXNUM_P(port) && FIX2LONG(port) > 0 && FIX2LONG(port) < 65536
		? (uint32_t)FIX2LONG(port) : 0;
}

static struct mp_str scheme(VALUE tls)
{
	return RTEST(tls) ? (struct mp_str){"https", 5} : (struct mp_str){"http", 4};
}

static struct mp_target target(const char *fixed, VALUE host, VALUE port, VALUE tls, VALUE path)
{
	return (struct mp_target){
		.size = sizeof(struct mp_target),
		.port = port_number(port),
		.scheme = scheme(tls),
		.host = fixed ? (struct mp_str){fixed, strlen(fixed)} : message_borrow(host),
		.path = message_borrow(path),
	};
}

static VALUE begin(struct hook_call *c, const struct mp_target *t)
{
	int step;

	if (!t->host.len)
		return Qnil;
	step = mp_begin(t, &c->mp, &c->verdict);
	if (step == MP_NONE)
		return Qnil;
	c->state = STATE_LIVE;
	c->status = c->error = c->asked = 0;
	c->head_ns = 0;
	if (c->request)
		c->request->n_fields = 0;
	if (step == MP_GO)
		return INT2FIX(c->mp.wants & (MP_WANT_RESPONSE | MP_WANT_COPY) ? STEP_SHOWN
									     : STEP_PLAIN);
	return INT2FIX(step == MP_ASK ? STEP_ASK : STEP_REPLY);
}

/* enter(host, port, tls, path) -> step, or nil: no chain, or a call within a call. */
static VALUE call_enter(VALUE self, VALUE host, VALUE port, VALUE tls, VALUE path)
{
	struct hook_call *c = get(self);
	struct mp_target t;

	if (c->state != STATE_IDLE)
		return Qnil;
	t = target(c->host, host, port, tls, path);
	return begin(c, &t);
}

/* host = "unix:/path": where this object's calls really go. */
static VALUE call_set_host(VALUE self, VALUE host)
{
	struct hook_call *c = get(self);
	struct mp_str h = message_borrow(host);

	free(c->host);
	c->host = h.len ? strndup(h.ptr, h.len) : NULL;
	return host;
}

static VALUE call_live(VALUE self)
{
	return get(self)->state == STATE_LIVE ? Qtrue : Qfalse;
}

/* ------------------------------------------------------------------ outcome */

static int status_number(struct mp_str code)
{
	int status = 0;

	for (size_t i = 0; i < code.len && i < 3; i++)
		status = status * 10 + (code.ptr[i] - '0');
	return status >= 100 && status <= 999 ? status : 0;
}

/*
 * head(response) -> true when the chain wants to see it.  Takes the marker out
 * that a network may have sent: only ours count.
 */
static VALUE call_head(VALUE self, VALUE response)
{
	struct hook_call *c = get(self);
	VALUE header, code;

	if (c->state != STATE_LIVE)
		return Qfalse;
	header = rb_ivar_get(response, id_header);
	code = rb_ivar_get(response, id_code);
	c->head_ns = now_ns();
	c->status = status_number(message_borrow(code));
	if (RB_TYPE_P(header, T_HASH))
		rb_hash_delete(header, marker_key);
	return c->mp.wants & (MP_WANT_RESPONSE | MP_WANT_COPY) ? Qtrue : Qfalse;
}

/* status(number) -> as head, for a library that keeps its header otherwise. */
static VALUE call_status(VALUE self, VALUE status)
{
	struct hook_call *c = get(self);

	if (c->state != STATE_LIVE)
		return Qfalse;
	c->head_ns = now_ns();
	c->status = FIXNUM_P(status) ? FIX2INT(status) : 0;
	return c->mp.wants & (MP_WANT_RESPONSE | MP_WANT_COPY) ? Qtrue : Qfalse;
}

/*
 * failed(error): an exception came.  After a head only what the service can
 * have done counts; the rest was raised by the application's own block.
 */
static VALUE call_failed(VALUE self, VALUE error)
{
	struct hook_call *c = get(self);
	int kind = FIX2INT(error);

	if (c->state != STATE_LIVE)
		return Qnil;
	if (!c->status || kind == MP_ERROR_BROKEN || kind == MP_ERROR_TIMEOUT ||
	    kind == MP_ERROR_PROTOCOL) {
		c->status = 0;
		c->error = kind;
	}
	return Qnil;
}

static void end(struct hook_call *c)
{
	if (!c->status && !c->error)
		c->error = MP_ERROR_CANCELLED; /* left by break, throw or a killed thread */
	mp_end(&c->mp, c->status, c->error, c->head_ns);
	drop_verdict(c);
}

/*
 * again(error, host, port, tls, path) -> step or nil: an attempt failed, and the
 * library makes another within the same call.
 */
static VALUE call_again(int argc, VALUE *argv, VALUE self)
{
	struct hook_call *c = get(self);
	struct mp_target t;

	rb_check_arity(argc, 5, 5);
	if (c->state != STATE_LIVE)
		return Qnil;
	c->status = 0;
	c->error = FIX2INT(argv[0]);
	end(c);
	c->state = STATE_BETWEEN; /* stays so when there is no chain any more */
	t = target(c->host, argv[1], argv[2], argv[3], argv[4]);
	return begin(c, &t);
}

static VALUE call_leave(VALUE self)
{
	struct hook_call *c = get(self);

	if (c->state == STATE_LIVE)
		end(c);
	c->state = STATE_IDLE;
	return Qnil;
}

/* defer?(host, port, tls) -> true when a question or a reply stands: connect later. */
static VALUE call_defer(VALUE self, VALUE host, VALUE port, VALUE tls)
{
	struct mp_target t = target(get(self)->host, host, port, tls, Qnil);
	int step = t.host.len ? mp_standing(&t) : MP_NONE;

	return step == MP_ASK || step == MP_REPLY ? Qtrue : Qfalse;
}

/* lost(host, port, tls, since, error): a connection failed that no request had asked for. */
static VALUE call_lost(VALUE self, VALUE host, VALUE port, VALUE tls, VALUE since, VALUE error)
{
	struct mp_target t = target(get(self)->host, host, port, tls, Qnil);
	struct mp_call c;

	if (t.host.len && mp_begin(&t, &c, NULL) != MP_NONE) {
		c.started_ns = NUM2ULL(since);
		mp_end(&c, 0, FIX2INT(error), 0);
	}
	return Qnil;
}

/* ----------------------------------------------------------------- questions */

/*
 * capture(method, tls, authority, path, header, body, complete): what ask and
 * respond tell the chain of the request.  body is a string or nil.
 */
static VALUE call_capture(int argc, VALUE *argv, VALUE self)
{
	struct hook_call *c = get(self);
	struct message *m = message_start(&c->request);

	rb_check_arity(argc, 7, 7);
	message_put_part(m, PART_METHOD, message_borrow(argv[0]));
	message_put_part(m, PART_SCHEME, scheme(argv[1]));
	message_put_part(m, PART_AUTHORITY, message_borrow(argv[2]));
	message_put_part(m, PART_PATH, message_borrow(argv[3]));
	message_put_header(m, argv[4]);
	message_put_body(m, argv[5], argv[6]);
	message_seal(m);
	return Qnil;
}

static struct mp_request request_of(const struct hook_call *c)
{
	const struct message *m = c->request;

	return (struct mp_request){
		.size = sizeof(struct mp_request),
		.flags = m->complete ? MP_BODY_COMPLETE : 0,
		.method = m->part[PART_METHOD],
		.scheme = m->part[PART_SCHEME],
		.authority = m->part[PART_AUTHORITY],
		.path = m->part[PART_PATH],
		.fields = m->fields,
		.n_fields = m->n_fields,
		.body = m->body,
	};
}

static void *ask_unlocked(void *memory)
{
	struct hook_call *c = memory;
	struct mp_request request = request_of(c);

	mp_ask(&c->mp, &request, &c->verdict);
	return NULL;
}

static void *resume_unlocked(void *memory)
{
	struct hook_call *c = memory;

	mp_resume(&c->mp, HOLD_SLICE_NS, &c->verdict);
	return NULL;
}

static void *respond_unlocked(void *memory)
{
	struct hook_call *c = memory;
	struct mp_request request;

	if (!c->asked && c->request)
		request = request_of(c);
	mp_respond(&c->mp, c->asked || !c->request ? NULL : &request, &c->shown, &c->verdict);
	return NULL;
}

static VALUE verdict_kind(const struct mp_verdict *v)
{
	if (v->verdict == MP_VERDICT_REPLY)
		return INT2FIX(VERDICT_REPLY);
	if (v->verdict == MP_VERDICT_DELAY || v->n_edits || v->authority.ptr || v->path.ptr ||
	    v->body.ptr || v->status)
		return INT2FIX(VERDICT_EDITED);
	return INT2FIX(VERDICT_PASS);
}

/* ask -> verdict.  Not interruptible: it takes no longer than the budget. */
static VALUE call_ask(VALUE self)
{
	struct hook_call *c = get(self);

	if (c->state != STATE_LIVE || !c->request)
		return INT2FIX(VERDICT_PASS);
	c->asked = 1;
	rb_thread_call_without_gvl(ask_unlocked, c, NULL, NULL);
	while (c->verdict.verdict == MP_VERDICT_HOLD) {
		rb_thread_call_without_gvl(resume_unlocked, c, NULL, NULL);
		rb_thread_check_ints();
	}
	RB_GC_GUARD(self);
	return verdict_kind(&c->verdict);
}

/* respond(header, body, complete) -> verdict, on the response whose head was seen. */
static VALUE call_respond(VALUE self, VALUE header, VALUE body, VALUE complete)
{
	struct hook_call *c = get(self);
	struct message *m;

	if (c->state != STATE_LIVE || !(c->mp.wants & (MP_WANT_RESPONSE | MP_WANT_COPY)))
		return INT2FIX(VERDICT_PASS);
	drop_verdict(c);
	m = message_start(&c->response);
	message_put_header(m, header);
	message_put_body(m, body, complete);
	message_seal(m);
	c->shown = (struct mp_response){
		.size = sizeof(c->shown),
		.flags = m->complete ? MP_BODY_COMPLETE : 0,
		.status = c->status,
		.fields = m->fields,
		.n_fields = m->n_fields,
		.body = m->body,
	};
	if (c->mp.wants & MP_WANT_RESPONSE)
		rb_thread_call_without_gvl(respond_unlocked, c, NULL, NULL);
	else
		respond_unlocked(c);
	RB_GC_GUARD(self);
	return verdict_kind(&c->verdict);
}

/* ----------------------------------------------------------------- verdicts */

static VALUE string(struct mp_str s)
{
	return s.ptr ? rb_str_new(s.ptr, (long)s.len) : Qnil;
}

static VALUE text(struct mp_str s)
{
	return s.ptr && s.len ? rb_utf8_str_new(s.ptr, (long)s.len) : Qnil;
}

/* reply -> [status, [[name, value]...], body, raise, pipe, type, state, retry_after] */
static VALUE call_reply(VALUE self)
{
	const struct mp_verdict *v = &get(self)->verdict;
	VALUE fields = rb_ary_new_capa((long)v->n_fields);

	for (size_t i = 0; i < v->n_fields; i++)
		rb_ary_push(fields, rb_assoc_new(text(v->fields[i].name),
						 rb_utf8_str_new(v->fields[i].value.ptr,
								 (long)v->fields[i].value.len)));
	return rb_ary_new_from_args(8, INT2FIX(v->status), fields,
				    v->body.ptr ? string(v->body) : rb_str_new("", 0),
				    v->raise ? Qtrue : Qfalse, text(v->pipe), text(v->type),
				    text(v->state),
				    v->retry_after < 0 ? Qnil : LL2NUM(v->retry_after));
}

static const char *const edit_names[] = {
	[MP_EDIT_SET] = "set", [MP_EDIT_ADD] = "add", [MP_EDIT_REMOVE] = "remove",
};

/* edits -> [[[op, name, value]...], authority, path, body, status, seconds], nil: unchanged */
static VALUE call_edits(VALUE self)
{
	const struct mp_verdict *v = &get(self)->verdict;
	VALUE edits = rb_ary_new_capa((long)v->n_edits);

	for (size_t i = 0; i < v->n_edits; i++) {
		const struct mp_edit *e = &v->edits[i];

		if (e->op < 0 || e->op > MP_EDIT_REMOVE)
			continue; /* of a newer scheduler */
		rb_ary_push(edits,
			    rb_ary_new_from_args(3, ID2SYM(rb_intern(edit_names[e->op])),
						 rb_utf8_str_new(e->field.name.ptr,
								 (long)e->field.name.len),
						 rb_utf8_str_new(e->field.value.ptr,
								 (long)e->field.value.len)));
	}
	return rb_ary_new_from_args(6, edits, text(v->authority), text(v->path), string(v->body),
				    v->status ? INT2FIX(v->status) : Qnil,
				    v->verdict == MP_VERDICT_DELAY
					    ? DBL2NUM((double)v->delay_ns / 1e9) : Qnil);
}

/* wants?(mask) -> whether the chain wants any of it. */
static VALUE call_wants(VALUE self, VALUE mask)
{
	return get(self)->mp.wants & FIX2UINT(mask) ? Qtrue : Qfalse;
}

/* ------------------------------------------------------------------- module */

static VALUE call_s_now(VALUE class)
{
	(void)class;
	return ULL2NUM(now_ns());
}

static const struct {
	const char *name;
	int value;
} constants[] = {
	{"PLAIN", STEP_PLAIN}, {"SHOWN", STEP_SHOWN}, {"ASK", STEP_ASK}, {"REPLY", STEP_REPLY},
	{"PASSED", VERDICT_PASS}, {"EDITED", VERDICT_EDITED}, {"ANSWERED", VERDICT_REPLY},
	{"REQUEST_BODY", MP_WANT_REQUEST_BODY}, {"RESPONSE_BODY", MP_WANT_RESPONSE_BODY},
	{"DECIDE", MP_WANT_RESPONSE},
	{"REFUSED", MP_ERROR_REFUSED}, {"TIMEOUT", MP_ERROR_TIMEOUT}, {"BROKEN", MP_ERROR_BROKEN},
	{"PROTOCOL", MP_ERROR_PROTOCOL}, {"CANCELLED", MP_ERROR_CANCELLED}, {"OTHER", MP_ERROR_OTHER},
};

static void define_methods(VALUE class)
{
	rb_define_alloc_func(class, call_alloc);
	rb_define_method(class, "enter", call_enter, 4);
	rb_define_method(class, "again", call_again, -1);
	rb_define_method(class, "host=", call_set_host, 1);
	rb_define_method(class, "live?", call_live, 0);
	rb_define_method(class, "head", call_head, 1);
	rb_define_method(class, "status", call_status, 1);
	rb_define_method(class, "failed", call_failed, 1);
	rb_define_method(class, "leave", call_leave, 0);
	rb_define_method(class, "capture", call_capture, -1);
	rb_define_method(class, "ask", call_ask, 0);
	rb_define_method(class, "respond", call_respond, 3);
	rb_define_method(class, "reply", call_reply, 0);
	rb_define_method(class, "edits", call_edits, 0);
	rb_define_method(class, "wants?", call_wants, 1);
	rb_define_method(class, "defer?", call_defer, 3);
	rb_define_method(class, "lost", call_lost, 5);
	rb_define_singleton_method(class, "now", call_s_now, 0);
	connection_define(class);
}

__attribute__((visibility("default"))) void Init_middlepipe_ext(void);

void Init_middlepipe_ext(void)
{
	VALUE module, class;

#ifdef HAVE_RB_EXT_RACTOR_SAFE
	rb_ext_ractor_safe(true); /* no state but each Call's own */
#endif
	id_header = rb_intern("@header");
	id_code = rb_intern("@code");
	marker_key = rb_str_freeze(rb_str_new_cstr("middlepipe"));
	rb_gc_register_mark_object(marker_key);
	module = rb_define_module("Middlepipe");
	class = rb_define_class_under(module, "Call", rb_cObject);
	define_methods(class);
	for (size_t i = 0; i < sizeof(constants) / sizeof(*constants); i++)
		rb_define_const(class, constants[i].name, INT2FIX(constants[i].value));
}
