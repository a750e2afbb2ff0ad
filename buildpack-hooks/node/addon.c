/* SPDX-License-Identifier: Apache-2.0 */
/*
 * middlepipe.node: libmiddlepipe for the Node.js hook (calls.cjs is its only
 * caller).  Plain N-API, version 8, so that one build serves every Node.js from
 * 18 on; context-aware, so that every worker thread has an instance of its own.
 *
 * A call is a small number (slots.h), a destination likewise.  JavaScript makes
 * one native call to begin and one to end.  Both find their arguments in memory
 * that is shared with JavaScript, because fetching them one by one through
 * N-API costs more than all the rest:
 *
 *   uint32_t words[16]   arguments and results, see js_begin() and js_end()
 *   uint8_t path[448]    of begin()
 *   uint16_t heads[]     see struct slots
 *
 * Arguments come from calls.cjs and are not checked beyond what memory safety
 * needs; nothing here throws but for want of memory.
 */
#define NAPI_VERSION 8
#include <node_api.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "buildpack-hooks/node/heads.h"
#include "buildpack-hooks/node/slots.h"

#define TARGETS_MAX 1024u /* calls.cjs starts anew when target() answers -1 */
#define HOST_MAX 300u     /* bytes of a host; longer ones are on no board */
#define ARGS_MAX 10u

/* The memory that is shared with JavaScript; calls.cjs knows the offsets. */
struct shared {
	uint32_t words[16];
	char path[448]; /* what prefixes are compared with */
	uint16_t heads[SLOTS_MAX];
};

/* ask(), resume() and respond() answer the verdict, and this when it has details. */
#define DETAILS 16

/* Where calls go, kept so that a host is copied once and not with every call. */
struct target {
	struct mp_target where; /* all but its path; host is owned */
	bool https;
};

/* One instance. */
struct addon {
	struct slots slots;
	struct shared *shared;      /* owned by the ArrayBuffer that shared() gives */
	napi_ref shared_ref;        /* which lives as long as the instance */
	struct mp_verdict begun;    /* of the call that begins */
	struct target targets[TARGETS_MAX];
	uint32_t n_targets;
	struct head heads[2];        /* of the request and the response being shown */
	char texts[2][HEAD_SIZE];    /* what they borrow from */
};

/* Arguments of the JavaScript call being served. */
struct args {
	struct addon *addon;
	size_t n;
	napi_value values[ARGS_MAX];
};

static struct args args_of(napi_env env, napi_callback_info info)
{
	struct args args = { .n = ARGS_MAX };
	void *data = NULL;

	napi_get_cb_info(env, info, &args.n, args.values, NULL, &data);
	args.addon = data;
	return args;
}

static uint32_t arg_number(napi_env env, const struct args *args, size_t i)
{
	uint32_t number = 0;

	napi_get_value_uint32(env, args->values[i], &number);
	return number;
}

static bool arg_bool(napi_env env, const struct args *args, size_t i)
{
	bool value = false;

	napi_get_value_bool(env, args->values[i], &value);
	return value;
}

/* Copies a string into out; NULL when it is none. */
static struct mp_str arg_text(napi_env env, const struct args *args, size_t i, char *out,
			      size_t size)
{
	size_t len = 0;

	if (napi_get_value_string_latin1(env, args->values[i], out, size, &len) != napi_ok)
		return (struct mp_str){ NULL, 0 };
	return (struct mp_str){ out, len };
}

/* Borrows the bytes of a Uint8Array; empty when it is none. */
static struct mp_str arg_bytes(napi_env env, const struct args *args, size_t i)
{
	struct mp_str bytes = { NULL, 0 };
	napi_typedarray_type type;
	bool is_array = false;
	void *data = NULL;

	napi_is_typedarray(env, args->values[i], &is_array);
	if (!is_array || napi_get_typedarray_info(env, args->values[i], &type, &bytes.len, &data,
						  NULL, NULL) != napi_ok || type != napi_uint8_array)
		return (struct mp_str){ NULL, 0 };
	bytes.ptr = data;
	return bytes;
}

static napi_value number_value(napi_env env, int64_t number)
{
	napi_value value = NULL;

	if (number >= INT32_MIN && number <= INT32_MAX)
		napi_create_int32(env, (int32_t)number, &value);
	else
		napi_create_double(env, (double)number, &value);
	return value;
}

/* --------------------------------------------------------------- destinations */

/* target(https, host, port) -> its number; -1: no room, forget() first. */
static napi_value js_target(napi_env env, napi_callback_info info)
{
	struct args args = args_of(env, info);
	struct addon *addon = args.addon;
	struct target *target = &addon->targets[addon->n_targets];
	char host[HOST_MAX];
	struct mp_str text = arg_text(env, &args, 1, host, sizeof(host));
	char *copy;

	if (addon->n_targets == TARGETS_MAX)
		return number_value(env, -1);
	copy = malloc(text.len + 1);
	if (!copy)
		return number_value(env, -1);
	if (text.len)
		memcpy(copy, text.ptr, text.len);
	target->https = arg_bool(env, &args, 0);
	target->where = (struct mp_target){
		.size = sizeof(target->where),
		.port = arg_number(env, &args, 2),
		.scheme = target->https ? (struct mp_str){ "https", 5 } : (struct mp_str){ "http", 4 },
		.host = { copy, text.len },
	};
	return number_value(env, addon->n_targets++);
}

static void forget_targets(struct addon *addon)
{
	for (uint32_t i = 0; i < addon->n_targets; i++)
		free((void *)(uintptr_t)addon->targets[i].where.host.ptr);
	addon->n_targets = 0;
}

/* forget(): every number that target() gave is void. */
static napi_value js_forget(napi_env env, napi_callback_info info)
{
	forget_targets(args_of(env, info).addon);
	return NULL;
}

/* ----------------------------------------------------------------- a call's life */

static struct addon *addon_of(napi_env env, napi_callback_info info)
{
	size_t n = 0;
	void *data = NULL;

	napi_get_cb_info(env, info, &n, NULL, NULL, &data);
	return data;
}

/* The number of the call that has begun; 0 in words[0]: none. */
static uint32_t begun_as(struct addon *addon, struct slot *slot, int kind, bool https)
{
	if (kind == MP_NONE) {
		slots_give(&addon->slots, slot);
		return 0;
	}
	slot->live = true;
	slot->https = https;
	if (kind == MP_REPLY) {
		slot->verdict = addon->begun;
		slot->has_verdict = true;
		addon->begun = (struct mp_verdict){ .size = sizeof(addon->begun) };
	}
	return slot->number;
}

/*
 * begin(): words[0] is the target, words[1] the length of the path.  Then words[0]
 * is what mp_begin returned, words[1] what the chain wants, words[2] the call.
 */
static napi_value js_begin(napi_env env, napi_callback_info info)
{
	struct addon *addon = addon_of(env, info);
	uint32_t *words = addon->shared->words, len = words[1];
	const struct target *target = &addon->targets[words[0] % TARGETS_MAX];
	struct mp_target where = target->where;
	struct slot *slot = words[0] < addon->n_targets ? slots_take(&addon->slots) : NULL;
	int kind;

	words[0] = MP_NONE;
	if (!slot)
		return NULL;
	if (len > sizeof(addon->shared->path))
		len = sizeof(addon->shared->path);
	where.path = head_path((struct mp_str){ addon->shared->path, len });
	kind = mp_begin(&where, &slot->call, &addon->begun);
	words[0] = (uint32_t)kind;
	words[1] = slot->call.wants;
	words[2] = begun_as(addon, slot, kind, target->https);
	return NULL;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* head(slot): the response's head is here, and the end of its body is not near. */
static napi_value js_head(napi_env env, napi_callback_info info)
{
	struct args args = args_of(env, info);
	struct slot *slot = slots_get(&args.addon->slots, arg_number(env, &args, 0));

	if (slot)
		slot->head_ns = now_ns();
	return NULL;
}

/* end(): the last word on call words[0], with status words[1] and error words[2]. */
static napi_value js_end(napi_env env, napi_callback_info info)
{
	struct addon *addon = addon_of(env, info);
	const uint32_t *words = addon->shared->words;
	struct slot *slot = slots_get(&addon->slots, words[0]);

	if (slot)
		slots_end(&addon->slots, slot, (int)words[1], (int)words[2]);
	return NULL;
}

/* sweep() -> how many calls linger that did not when it was called last. */
static napi_value js_sweep(napi_env env, napi_callback_info info)
{
	return number_value(env, slots_sweep(&addon_of(env, info)->slots));
}

/* shared() -> the ArrayBuffer of struct shared. */
static napi_value js_shared(napi_env env, napi_callback_info info)
{
	napi_value value = NULL;

	napi_get_reference_value(env, addon_of(env, info)->shared_ref, &value);
	return value;
}

/* Frees the verdict of the step before; to be called before each step. */
static struct mp_verdict *fresh_verdict(struct slot *slot)
{
	if (slot->has_verdict)
		mp_verdict_free(&slot->verdict);
	slot->has_verdict = true;
	slot->verdict = (struct mp_verdict){ .size = sizeof(slot->verdict) };
	return &slot->verdict;
}

static napi_value verdict_value(napi_env env, int verdict, const struct mp_verdict *v)
{
	bool details = verdict != MP_VERDICT_PASS || v->n_edits || v->authority.ptr ||
		       v->path.ptr || v->body.ptr || v->status;

	return number_value(env, verdict | (details ? DETAILS : 0));
}

/* Fills request from three arguments: head, body, whether the body is all of it. */
static bool arg_request(napi_env env, const struct args *args, size_t i, const struct slot *slot,
			struct mp_request *request)
{
	struct head *head = &args->addon->heads[0];
	struct mp_str text = arg_text(env, args, i, args->addon->texts[0], HEAD_SIZE);

	if (!text.ptr)
		return false;
	head_parse(head, text.ptr, text.len);
	*request = (struct mp_request){
		.size = sizeof(*request),
		.flags = arg_bool(env, args, i + 2) ? MP_BODY_COMPLETE : 0,
		.method = head->words[0],
		.scheme = slot->https ? (struct mp_str){ "https", 5 } : (struct mp_str){ "http", 4 },
		.authority = head->host,
		.path = head_path(head->words[1]),
		.fields = head->fields,
		.n_fields = head->n_fields,
		.body = arg_bytes(env, args, i + 1),
	};
	return true;
}

/* ask(slot, head, body, complete) -> verdict.  Waits for at most the budget. */
static napi_value js_ask(napi_env env, napi_callback_info info)
{
	struct args args = args_of(env, info);
	struct slot *slot = slots_get(&args.addon->slots, arg_number(env, &args, 0));
	struct mp_request request;
	struct mp_verdict *verdict;

	if (!slot || !arg_request(env, &args, 1, slot, &request))
		return number_value(env, MP_VERDICT_PASS);
	verdict = fresh_verdict(slot);
	return verdict_value(env, mp_ask(&slot->call, &request, verdict), verdict);
}

/* resume(slot) -> verdict; only looks. */
static napi_value js_resume(napi_env env, napi_callback_info info)
{
	struct args args = args_of(env, info);
	struct slot *slot = slots_get(&args.addon->slots, arg_number(env, &args, 0));
	struct mp_verdict *verdict;

	if (!slot)
		return number_value(env, MP_VERDICT_PASS);
	verdict = fresh_verdict(slot);
	return verdict_value(env, mp_resume(&slot->call, 0, verdict), verdict);
}

/*
 * respond(slot, head, body, complete, status, error, head, body, complete) ->
 * verdict.  The first head is undefined when the request was asked about.
 */
static napi_value js_respond(napi_env env, napi_callback_info info)
{
	struct args args = args_of(env, info);
	struct slot *slot = slots_get(&args.addon->slots, arg_number(env, &args, 0));
	struct head *head = &args.addon->heads[1];
	struct mp_str text = arg_text(env, &args, 6, args.addon->texts[1], HEAD_SIZE);
	struct mp_request request;
	struct mp_response response;
	struct mp_verdict *verdict;
	bool has_request;

	if (!slot)
		return number_value(env, MP_VERDICT_PASS);
	has_request = arg_request(env, &args, 1, slot, &request);
	head_parse(head, text.ptr, text.len);
	response = (struct mp_response){
		.size = sizeof(response),
		.flags = arg_bool(env, &args, 8) ? MP_BODY_COMPLETE : 0,
		.status = (int32_t)arg_number(env, &args, 4),
		.error = (int32_t)arg_number(env, &args, 5),
		.fields = head->fields,
		.n_fields = head->n_fields,
		.body = arg_bytes(env, &args, 7),
	};
	verdict = fresh_verdict(slot);
	return verdict_value(env, mp_respond(&slot->call, has_request ? &request : NULL, &response,
					     verdict), verdict);
}

/* -------------------------------------------------------------- verdicts in full */

static napi_value text_value(napi_env env, struct mp_str text)
{
	napi_value value = NULL;

	if (text.ptr)
		napi_create_string_latin1(env, text.ptr, text.len, &value);
	else
		napi_get_undefined(env, &value);
	return value;
}

static napi_value bytes_value(napi_env env, struct mp_str bytes)
{
	napi_value value = NULL;

	if (bytes.ptr)
		napi_create_buffer_copy(env, bytes.len, bytes.ptr, NULL, &value);
	else
		napi_get_undefined(env, &value);
	return value;
}

/* [name, value, name, value ...] */
static napi_value fields_value(napi_env env, const struct mp_field *fields, size_t n_fields)
{
	napi_value array = NULL;

	napi_create_array_with_length(env, n_fields * 2, &array);
	for (uint32_t i = 0; i < n_fields; i++) {
		napi_set_element(env, array, i * 2, text_value(env, fields[i].name));
		napi_set_element(env, array, i * 2 + 1, text_value(env, fields[i].value));
	}
	return array;
}

/* [op, name, value, op, name, value ...] */
static napi_value edits_value(napi_env env, const struct mp_edit *edits, size_t n_edits)
{
	napi_value array = NULL;

	napi_create_array_with_length(env, n_edits * 3, &array);
	for (uint32_t i = 0; i < n_edits; i++) {
		napi_set_element(env, array, i * 3, number_value(env, edits[i].op));
		napi_set_element(env, array, i * 3 + 1, text_value(env, edits[i].field.name));
		napi_set_element(env, array, i * 3 + 2, text_value(env, edits[i].field.value));
	}
	return array;
}

/* verdict(slot) -> the newest verdict as an object. */
static napi_value js_verdict(napi_env env, napi_callback_info info)
{
	struct args args = args_of(env, info);
	struct slot *slot = slots_get(&args.addon->slots, arg_number(env, &args, 0));
	const struct mp_verdict *v;
	napi_value out = NULL;

	if (!slot || !slot->has_verdict)
		return NULL;
	v = &slot->verdict;
	napi_create_object(env, &out);
	const struct {
		const char *name;
		napi_value value;
	} members[] = {
		{ "delay", number_value(env, (int64_t)((v->delay_ns + 999999u) / 1000000u)) },
		{ "edits", edits_value(env, v->edits, v->n_edits) },
		{ "authority", text_value(env, v->authority) },
		{ "path", text_value(env, v->path) },
		{ "body", bytes_value(env, v->body) },
		{ "status", number_value(env, v->status) },
		{ "raise", number_value(env, v->raise) },
		{ "fields", fields_value(env, v->fields, v->n_fields) },
		{ "type", text_value(env, v->type) },
		{ "pipe", text_value(env, v->pipe) },
		{ "state", text_value(env, v->state) },
		{ "retryAfter", number_value(env, v->retry_after) },
	};
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		napi_set_named_property(env, out, members[i].name, members[i].value);
	return out;
}

/* ------------------------------------------------------------------- the process */

static napi_value js_enabled(napi_env env, napi_callback_info info)
{
	napi_value value = NULL;

	(void)info;
	napi_get_boolean(env, mp_enabled() != 0, &value);
	return value;
}

static napi_value js_body_limit(napi_env env, napi_callback_info info)
{
	(void)info;
	return number_value(env, (int64_t)mp_body_limit());
}

/* counters() -> what the library did in this process, for tests. */
static napi_value js_counters(napi_env env, napi_callback_info info)
{
	struct mp_counters c = { .size = sizeof(c) };
	napi_value out = NULL;

	(void)info;
	mp_counters_get(&c);
	const struct {
		const char *name;
		uint64_t value;
	} members[] = {
		{ "connected", c.connected }, { "passed", c.passed }, { "replied", c.replied },
		{ "asked", c.asked }, { "unfiltered", c.unfiltered }, { "refused", c.refused },
		{ "overBudget", c.over_budget }, { "noSlot", c.no_slot }, { "away", c.away },
		{ "lost", c.lost }, { "connects", c.connects }, { "doorbells", c.doorbells },
	};
	napi_create_object(env, &out);
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		napi_set_named_property(env, out, members[i].name,
					number_value(env, (int64_t)members[i].value));
	return out;
}

/*
 * A worker thread ends, or the process, when it has nothing more to do.  After
 * process.exit() nobody calls this, and the scheduler sees the lane's end.
 */
static void addon_free(napi_env env, void *data, void *hint)
{
	struct addon *addon = data;

	(void)env;
	(void)hint;
	slots_fini(&addon->slots);
	forget_targets(addon);
	free(addon);
}

static struct addon *addon_new(napi_env env)
{
	struct addon *addon = calloc(1, sizeof(*addon));
	napi_value buffer = NULL;
	void *data = NULL;

	if (!addon)
		return NULL;
	if (napi_create_arraybuffer(env, sizeof(*addon->shared), &data, &buffer) != napi_ok ||
	    napi_create_reference(env, buffer, 1, &addon->shared_ref) != napi_ok ||
	    napi_set_instance_data(env, addon, addon_free, NULL) != napi_ok) {
		free(addon);
		return NULL;
	}
	addon->shared = data;
	addon->slots.heads = addon->shared->heads;
	addon->begun.size = sizeof(addon->begun);
	return addon;
}

/* The macro below defines it without a prototype. */
NAPI_MODULE_EXPORT int32_t node_api_module_get_api_version_v1(void);

NAPI_MODULE_INIT()
{
	static const struct {
		const char *name;
		napi_callback function;
	} functions[] = {
		{ "enabled", js_enabled }, { "shared", js_shared }, { "target", js_target },
		{ "forget", js_forget }, { "begin", js_begin }, { "head", js_head },
		{ "end", js_end }, { "sweep", js_sweep }, { "ask", js_ask },
		{ "resume", js_resume }, { "respond", js_respond }, { "verdict", js_verdict },
		{ "bodyLimit", js_body_limit }, { "counters", js_counters },
	};
	struct addon *addon = addon_new(env);

	if (!addon) {
		napi_throw_error(env, NULL, "middlepipe: no memory");
		return NULL;
	}
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		napi_value value = NULL;

		napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH,
				     functions[i].function, addon, &value);
		napi_set_named_property(env, exports, functions[i].name, value);
	}
	return exports;
}
