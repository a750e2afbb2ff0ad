/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scheduler/run.c and run_edit.c: the walk of one exchange through a chain of
 * fake filters, each of which does what its script says and notes in a common
 * log that it ran.
 */
#include "scheduler/run.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/slice.h"
#include "lib/wire.h"
#include "scheduler/data.h"
#include "tests/lib/tap.h"

#define UNITS 4
#define DATA 8192

/* What a fake filter does. */
struct script {
	char letter;                /* its name in the log */
	int32_t request, response;  /* verdicts */
	const char *set, *add, *remove; /* fields that it edits, to its letter */
	int reply_status;           /* it makes a reply of that status; 0: none */
	bool marker;                /* with a marker */
	uint64_t delay_ns, hold_ns; /* what it asks for */
	const char *path, *body;    /* what it changes */
	int32_t result;             /* of its last call of the host */
	uint64_t memo;              /* the word that it found */
};

static char log_text[256];
static struct data *data;
static struct unit units[UNITS];
static struct unit *unit_list[UNITS];
static struct script scripts[UNITS];
static struct chain chain;
static struct exchange exchange;
static struct run *run;
static char answer_memory[DATA];

static void log_add(char letter, const char *what)
{
	size_t n = strlen(log_text);

	(void)snprintf(log_text + n, sizeof(log_text) - n, "%s%c%s", n ? " " : "", letter, what);
}

static void edit(struct script *s, struct mp_exchange *x, int32_t op, const char *name)
{
	struct mp_edit e = { .op = op, .field = { slice_of(name), { &s->letter, 1 } } };

	if (name && scheduler_host.edit(x, &e))
		s->result = -1;
}

static void work(struct script *s, struct mp_exchange *x)
{
	static const struct mp_field fields[] = { { { "X-Made", 6 }, { "yes", 3 } } };
	struct mp_marker marker = { .state = MP_LIT("open"), .callback = MP_LIT("raise"), .retry_after = -1 };
	struct mp_reply reply = { .size = sizeof(reply), .status = s->reply_status, .fields = fields,
				  .n_fields = 1, .body = slice_of(s->body),
				  .marker = s->marker ? &marker : NULL, .retry_at_ns = 77 };

	s->memo = x->memo;
	x->memo = x->memo * 10 + (uint64_t)s->letter;
	edit(s, x, MP_EDIT_REMOVE, s->remove);
	edit(s, x, MP_EDIT_SET, s->set);
	edit(s, x, MP_EDIT_ADD, s->add);
	if (s->path)
		s->result = scheduler_host.set_path(x, slice_of(s->path));
	if (s->body && !s->reply_status)
		s->result = scheduler_host.set_body(x, slice_of(s->body));
	if (s->delay_ns)
		s->result = scheduler_host.delay(x, s->delay_ns);
	if (s->hold_ns)
		s->result = scheduler_host.hold(x, s->hold_ns);
	if (s->reply_status)
		s->result = scheduler_host.reply(x, &reply);
}

static int32_t on_request(void *self, struct mp_exchange *x)
{
	struct script *s = self;

	log_add(s->letter, "?");
	work(s, x);
	return s->request;
}

static int32_t on_response(void *self, struct mp_exchange *x)
{
	struct script *s = self;

	log_add(s->letter, x->flags & MP_X_SYNTHESIZED ? "!s" : x->flags & MP_X_COPY ? "!c" : "!");
	work(s, x);
	return s->response;
}

static void on_outcome(void *self, const struct mp_outcome *o)
{
	log_add(((struct script *)self)->letter, o->synthesized ? ".s" : ".");
}

static const struct mp_filter fake = {
	MP_FILTER_HEAD, .name = "fake", .level = MP_LEVEL_REQUEST,
	.on_request = on_request, .on_response = on_response, .on_outcome = on_outcome,
};

/* A chain of n fake filters, A first, that pass everything. */
static void chain_make(uint32_t n)
{
	static char name[] = "guard", where[] = "svc";

	memset(units, 0, sizeof(units));
	memset(scripts, 0, sizeof(scripts));
	for (uint32_t i = 0; i < n; i++) {
		scripts[i].letter = (char)('A' + i);
		units[i] = (struct unit){ .magic = UNIT_MAGIC, .filter = &fake, .self = &scripts[i],
					  .data = data, .middlepipe = name, .destination = where,
					  .started = true,
					  .plan = { .needs = MP_NEED_REQUEST | MP_NEED_RESPONSE } };
		unit_list[i] = &units[i];
	}
	chain = (struct chain){ .n_units = n, .units = unit_list };
	exchange = (struct exchange){ .id = 42, .chain = &chain };
	log_text[0] = '\0';
}

static size_t question_head(char *memory)
{
	struct wire_writer w;

	wire_start(&w, memory, DATA);
	wire_put_value(&w, WIRE_METHOD, MP_LIT("GET"));
	wire_put_value(&w, WIRE_SCHEME, MP_LIT("http"));
	wire_put_value(&w, WIRE_AUTHORITY, MP_LIT("svc:80"));
	wire_put_value(&w, WIRE_PATH, MP_LIT("/a?b"));
	wire_put(&w, WIRE_FIELD, MP_LIT("Accept"), MP_LIT("1"));
	wire_put(&w, WIRE_FIELD, MP_LIT("accept"), MP_LIT("2"));
	wire_put(&w, WIRE_RESPONSE_FIELD, MP_LIT("Server"), MP_LIT("x"));
	wire_put(&w, (enum wire_tag)99, MP_LIT("new"), MP_LIT("unknown"));
	return w.size;
}

/* The run of an ordinary question of that kind, read. */
static void question_make(uint32_t kind)
{
	struct question q = { .ticket = 1, .kind = kind, .status = kind == LANE_REQUEST ? 0 : 200 };

	run_reset(run, &chain, kind == LANE_COPY ? NULL : &exchange, 1000);
	q.head = (struct mp_str){ run->data, question_head(run->data) };
	is_int(run_read(run, &q), 0, "the question is read");
}

static uint32_t request(void)
{
	question_make(LANE_REQUEST);
	return run_request(run);
}

/* What the answer says, item by item: "tag name=value". */
static const char *answer_text(uint32_t verdict, struct answer *a)
{
	static char text[1024];
	struct mp_str rest;
	struct wire_item item;
	size_t n = 0;

	text[0] = '\0';
	if (!run_answer(run, verdict, answer_memory, sizeof(answer_memory), a))
		return "does not fit";
	rest = (struct mp_str){ answer_memory, a->head_size };
	while (wire_next(&rest, &item) > 0)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%u %.*s=%.*s", n ? ", " : "",
				      item.tag, SLICE_ARG(item.name), SLICE_ARG(item.value));
	return text;
}

static const char *field(const struct mp_field *fields, size_t n, const char *name, size_t nth)
{
	static char text[64];

	for (size_t i = 0; i < n; i++)
		if (slice_eq_nocase(fields[i].name, slice_of(name)) && nth-- == 0) {
			(void)snprintf(text, sizeof(text), "%.*s", SLICE_ARG(fields[i].value));
			return text;
		}
	return NULL;
}

static void test_pass(void)
{
	struct answer a;

	chain_make(3);
	is_int(request(), MP_VERDICT_PASS, "all pass");
	is_str(log_text, "A? B? C?", "in order");
	ok(slice_eq(run->x.method, MP_LIT("GET")) && slice_eq(run->x.authority, MP_LIT("svc:80")) &&
	   slice_eq(run->x.path, MP_LIT("/a?b")) && run->x.n_request_fields == 2, "they saw the request");
	is_u64(exchange.let_through, 3, "all let it through");
	is_str(answer_text(MP_VERDICT_PASS, &a), "", "nothing to edit");
	is_u64(a.exchange, 42, "the answer names the exchange");
	log_text[0] = '\0';
	question_make(LANE_RESPONSE);
	is_int(run_response(run), MP_VERDICT_PASS, "the response passes");
	is_str(log_text, "C! B! A!", "in reverse");
	ok(scripts[0].memo == 'A' && scripts[2].memo == 'C', "each finds its own word again");
}

static void test_edits(void)
{
	struct answer a;

	chain_make(3);
	scripts[0].set = "ACCEPT";
	scripts[1].add = "X-B";
	scripts[2].remove = "x-b";
	scripts[2].path = "/new";
	is_int(request(), MP_VERDICT_PASS, "three filters edit");
	is_str(answer_text(MP_VERDICT_PASS, &a), "7 ACCEPT=A, 8 X-B=B, 9 x-b=C, 4 =/new",
	       "the app gets the edits in order");
	is_str(field(run->x.request_fields, run->x.n_request_fields, "accept", 0), "A", "set replaces");
	ok(!field(run->x.request_fields, run->x.n_request_fields, "accept", 1), "all of them");
	ok(!field(run->x.request_fields, run->x.n_request_fields, "x-b", 0), "what was added is removed");
	chain_make(1);
	scripts[0].body = "other";
	is_int(request(), MP_VERDICT_PASS, "a new body");
	(void)answer_text(MP_VERDICT_PASS, &a);
	ok(a.has_body && slice_eq(a.body, MP_LIT("other")), "is in the answer");
}

static void test_bad_edits(void)
{
	static const struct {
		const char *what;
		struct mp_edit edit;
	} rows[] = {
		{ "LF in a value", { MP_EDIT_SET, 0, { { "A", 1 }, { "b\nc", 3 } } } },
		{ "CR in a value", { MP_EDIT_ADD, 0, { { "A", 1 }, { "b\r", 2 } } } },
		{ "NUL in a value", { MP_EDIT_ADD, 0, { { "A", 1 }, { "b\0", 2 } } } },
		{ "LF in a name", { MP_EDIT_SET, 0, { { "A\n", 2 }, { "b", 1 } } } },
		{ "a colon in a name", { MP_EDIT_SET, 0, { { "A:", 2 }, { "b", 1 } } } },
		{ "no name", { MP_EDIT_SET, 0, { { "", 0 }, { "b", 1 } } } },
		{ "an op of 3", { 3, 0, { { "A", 1 }, { "b", 1 } } } },
		{ "an op of -1", { -1, 0, { { "A", 1 }, { "b", 1 } } } },
	};
	static const char *const paths[] = { "", "x", "/a b", "/a\r\n", "/\x7f" };

	chain_make(1);
	(void)request();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		is_int(run_edit(&run->x, &rows[i].edit), -EINVAL, "%s is refused", rows[i].what);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		is_int(run_set_path(&run->x, slice_of(paths[i])), -EINVAL, "path %zu is refused", i);
	is_int(run_set_authority(&run->x, MP_LIT("a\nb")), -EINVAL, "so is an authority with LF");
	is_int(run_set_status(&run->x, 204), -EINVAL, "a request has no status");
	is_int(run_delay(&run->x, UINT64_MAX), 0, "a long delay");
	is_int(run_delay(&run->x, 1), -EINVAL, "and one too long");
	is_int(run_hold(&run->x, 1000), -EINVAL, "a hold until now");
	ok(run->n_edits == 0 && !run->path_changed, "nothing was changed");
}

static void test_bounds(void)
{
	static char big[RUN_ARENA];
	struct mp_edit add = { .op = MP_EDIT_ADD, .field = { { "A", 1 }, { big, 0 } } };
	int n = 0;

	memset(big, 'x', sizeof(big));
	chain_make(1);
	(void)request();
	while (!run_edit(&run->x, &add))
		n++;
	is_int(n, RUN_EDITS_MAX, "so many edits and no more");
	(void)request();
	add.field.value.len = sizeof(big) / 2;
	is_int(run_edit(&run->x, &add), 0, "half of the room");
	is_int(run_edit(&run->x, &add), -ENOSPC, "and half again, with the names");
	ok(run->overrun, "is told");
	is_int(run_set_body(&run->x, (struct mp_str){ big, sizeof(big) }), -ENOSPC, "a body past the room");
}

static void test_reply(void)
{
	struct answer a;

	chain_make(3);
	scripts[1].request = MP_VERDICT_REPLY;
	scripts[1].reply_status = 503;
	scripts[1].marker = true;
	scripts[1].body = "no";
	is_int(request(), MP_VERDICT_REPLY, "the second one replies");
	is_str(log_text, "A? B? A!s A.s", "the first sees its response as made up, the third nothing");
	is_str(answer_text(MP_VERDICT_REPLY, &a),
	       "6 X-Made=yes, 10 =fake, 11 =open, 12 =guard, 13 =raise",
	       "the answer: fields and marker, completed");
	ok(a.status == 503 && a.retry_at_ns == 77 && a.has_body && slice_eq(a.body, MP_LIT("no")),
	   "its status, body and time");
}

static void test_response_reply(void)
{
	struct answer a;

	chain_make(3);
	(void)request();
	log_text[0] = '\0';
	scripts[1].response = MP_VERDICT_REPLY;
	scripts[1].reply_status = 204;
	scripts[0].add = "X-A";
	question_make(LANE_RESPONSE);
	is_int(run_response(run), MP_VERDICT_REPLY, "a reply instead of the response");
	is_str(log_text, "C! B! A!s", "whoever comes after sees it so");
	is_str(answer_text(MP_VERDICT_REPLY, &a), "6 X-Made=yes, 6 X-A=A", "and may edit it");
	is_u64(a.status, 204, "its status");
}

static void test_ejection(void)
{
	static const struct {
		const char *what;
		int32_t verdict;
		bool closed;
		int want;
		const char *log;
	} rows[] = {
		{ "ERROR, open", MP_VERDICT_ERROR, false, MP_VERDICT_PASS, "A? B? C?" },
		{ "ERROR, closed", MP_VERDICT_ERROR, true, ANSWER_REFUSED, "A? B?" },
		{ "a verdict of 9", 9, false, MP_VERDICT_PASS, "A? B? C?" },
		{ "a verdict of -7, closed", -7, true, ANSWER_REFUSED, "A? B?" },
		{ "REPLY without a reply", MP_VERDICT_REPLY, false, MP_VERDICT_PASS, "A? B? C?" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		chain_make(3);
		scripts[1].request = rows[i].verdict;
		units[1].closed = rows[i].closed;
		is_int(request(), rows[i].want, "%s: verdict", rows[i].what);
		is_str(log_text, rows[i].log, "%s: who ran", rows[i].what);
		ok(units[1].ejected && units[1].reason[0] && !units[0].ejected && !units[2].ejected,
		   "%s: it alone is ejected: %s", rows[i].what, units[1].reason);
		log_text[0] = '\0';
		is_int(request(), rows[i].want, "%s: the next request", rows[i].what);
		is_str(log_text, rows[i].closed ? "A?" : "A? C?", "%s: does without it", rows[i].what);
	}
	chain_make(2);
	(void)request();
	scripts[1].response = MP_VERDICT_DELAY;
	question_make(LANE_RESPONSE);
	is_int(run_response(run), MP_VERDICT_PASS, "DELAY of a response passes");
	ok(units[1].ejected && !units[0].ejected, "and ejects");
}

static void test_delay(void)
{
	struct answer a;

	chain_make(3);
	scripts[0].request = scripts[2].request = MP_VERDICT_DELAY;
	scripts[0].delay_ns = 100;
	scripts[2].delay_ns = 23;
	is_int(request(), MP_VERDICT_DELAY, "two delay");
	is_str(log_text, "A? B? C?", "nobody is left out");
	(void)answer_text(MP_VERDICT_DELAY, &a);
	is_u64(a.delay_ns, 123, "delays add up");
}

static void test_hold(void)
{
	struct answer a;
	struct mp_reply reply = { .size = sizeof(reply), .status = 418 };

	chain_make(3);
	scripts[1].request = MP_VERDICT_HOLD;
	scripts[1].hold_ns = 5000;
	is_int(request(), MP_VERDICT_HOLD, "the second one holds");
	ok(run->hold_until_ns == 5000 && run->at == 2, "until then, and goes on behind it");
	is_int(run_request(run), MP_VERDICT_PASS, "let go");
	is_str(log_text, "A? B? C?", "none ran twice");

	(void)request();
	log_text[0] = '\0';
	run->unit = &units[1];
	is_int(run_reply(&run->x, &reply), 0, "or ended by a reply");
	is_int(run_resume_reply(run), MP_VERDICT_REPLY, "which ends the walk");
	is_str(log_text, "A!s A.s", "the first hears of it");
	(void)answer_text(MP_VERDICT_REPLY, &a);
	is_u64(a.status, 418, "with its status");
}

static void test_copy(void)
{
	chain_make(2);
	scripts[0].set = "X-A";
	scripts[0].response = MP_VERDICT_REPLY;
	scripts[0].reply_status = 500;
	question_make(LANE_COPY);
	is_int(run_response(run), MP_VERDICT_PASS, "a copy is only shown");
	is_str(log_text, "B!c A!c", "to all, in reverse");
	ok(scripts[0].result < 0 && run->n_edits == 0 && !run->has_reply, "edits and replies are refused");
	chain_make(2);
	units[1].plan.needs = MP_NEED_COPY;
	scripts[1].set = "X-B";
	(void)request();
	log_text[0] = '\0';
	question_make(LANE_RESPONSE);
	(void)run_response(run);
	is_str(log_text, "B!c A!", "who only observes is shown a copy beside one who decides");
	is_u64(run->n_edits, 0, "and edits nothing");
}

static void test_hostile_heads(void)
{
	struct question q = { .ticket = 1, .kind = LANE_REQUEST };
	struct wire_writer w;
	size_t size, taken = 0;

	chain_make(1);
	size = question_head(run->data);
	for (size_t cut = 1; cut < size; cut++) {
		run_reset(run, &chain, &exchange, 0);
		q.head = (struct mp_str){ run->data, cut };
		taken += run_read(run, &q) == 0;
	}
	is_u64(taken, 7, "of a cut head only those that end with an item are taken");
	wire_start(&w, run->data, DATA);
	for (unsigned i = 0; i <= LANE_FIELDS_MAX; i++)
		wire_put(&w, WIRE_FIELD, MP_LIT("a"), MP_LIT("b"));
	q.head.len = w.size;
	run_reset(run, &chain, &exchange, 0);
	is_int(run_read(run, &q), -EINVAL, "one field too many");
	run_reset(run, &chain, &exchange, 0);
	q.head.len = 0;
	is_int(run_read(run, &q), 0, "an empty head");
	ok(slice_eq(run->x.path, MP_LIT("/")), "has a path all the same");
}

static void test_no_room(void)
{
	struct answer a;

	chain_make(1);
	scripts[0].set = "X-A";
	(void)request();
	ok(!run_answer(run, MP_VERDICT_PASS, answer_memory, 8, &a), "an answer that does not fit says so");
}

/* The values of a blob's marker. */
static const char *marker_of(const char *memory)
{
	static char text[128];
	struct board_blob blob;
	struct mp_str head;
	struct wire_item item;

	memcpy(&blob, memory, sizeof(blob));
	head = (struct mp_str){ memory + sizeof(blob), blob.head_size };
	text[0] = '\0';
	while (wire_next(&head, &item) > 0)
		if (item.tag >= WIRE_MARKER_TYPE)
			(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%.*s",
				       text[0] ? " " : "", SLICE_ARG(item.value));
	return text;
}

static void test_render(void)
{
	static const struct mp_field bad[] = { { { "A", 1 }, { "b\n", 2 } } };
	struct mp_marker marker = { .state = MP_LIT("open"), .retry_after = -1 };
	struct mp_reply reply = { .size = sizeof(reply), .status = 503, .body = MP_LIT("busy"), .marker = &marker };
	struct board_blob blob;
	char memory[256];
	int size;

	chain_make(1);
	size = reply_render(&units[0], &reply, memory, sizeof(memory));
	memcpy(&blob, memory, sizeof(blob));
	ok(size == (int)(sizeof(blob) + blob.head_size + blob.body_size) && blob.status == 503 &&
	   blob.body_size == 4, "a standing reply");
	ok(!memcmp(memory + size - 4, "busy", 4), "its body comes last");
	is_int(reply_render(&units[0], &reply, memory, (size_t)size), size, "fits exactly");
	is_int(reply_render(&units[0], &reply, memory, (size_t)size - 1), -E2BIG, "and not in a byte less");
	is_int(reply_render(&units[0], &reply, memory, 10), -E2BIG, "nor in 10");
	reply.status = 199;
	is_int(reply_render(&units[0], &reply, memory, sizeof(memory)), -EINVAL, "status 199");
	reply.status = 600;
	is_int(reply_render(&units[0], &reply, memory, sizeof(memory)), -EINVAL, "status 600");
	reply.status = 200;
	reply.fields = bad;
	reply.n_fields = 1;
	is_int(reply_render(&units[0], &reply, memory, sizeof(memory)), -EINVAL, "a field with LF");
	ok(refusal_render(&units[0], memory, sizeof(memory)) > 0, "the refusal of an ejected one");
	is_str(marker_of(memory), "middlepipe ejected guard raise 1", "says what the library says of it, and when to come back");
}

int main(void)
{
	data = calloc(1, sizeof(*data));
	run = calloc(1, sizeof(*run) + DATA);
	data->blame = blame_new();
	test_pass();
	test_edits();
	test_bad_edits();
	test_bounds();
	test_reply();
	test_response_reply();
	test_ejection();
	test_delay();
	test_hold();
	test_copy();
	test_hostile_heads();
	test_no_room();
	test_render();
	free(run);
	free(data);
	return done();
}
