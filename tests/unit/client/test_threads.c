/* SPDX-License-Identifier: Apache-2.0 */
/* 64 threads, while the board swaps and the scheduler dies under them. */
#include "tests/unit/client/fake.h"

#define THREADS 64
#define CALLS 200

static const struct fake_row rows[] = {
	{ "payments", 80, "/ask", ENTRY_OUTCOME, "guard", MP_STANDING_ASK },
	{ "payments", 80, "/reply", ENTRY_OUTCOME, "guard", MP_STANDING_REPLY },
	{ "payments", 80, "", ENTRY_OUTCOME, "guard", MP_STANDING_PASS },
};

static struct fake fake, second;
static pthread_barrier_t barrier;
static _Atomic uint64_t passed, asked, replied, none, wrong;

static void answer_id(struct fake *f, struct fake_lane *l, uint32_t slot, struct fake_answer *a)
{
	(void)f;
	/* The question's number comes back as an edit: a mixed-up answer would show. */
	wire_put(&a->head, WIRE_EDIT_SET, MP_LIT("Echo"),
		 (struct mp_str){ fake_slot_data(l, slot) + fake_slot(l, slot)->head_size - 8, 8 });
	a->exchange = 1;
}

static void ask(struct mp_call *call, struct mp_verdict *v, uint64_t number)
{
	char text[9];
	struct mp_field field = { MP_LIT("Number"), { text, 8 } };
	struct mp_request request = { .size = sizeof(request), .method = MP_LIT("GET"),
				      .scheme = MP_LIT("http"), .authority = MP_LIT("payments"),
				      .path = MP_LIT("/ask"), .fields = &field, .n_fields = 1 };

	snprintf(text, sizeof(text), "%08u", (unsigned)number);
	if (mp_ask(call, &request, v) != MP_VERDICT_PASS ||
	    (v->n_edits && !slice_eq(v->edits[0].field.value, field.value)))
		atomic_fetch_add(&wrong, 1);
	mp_verdict_free(v);
	atomic_fetch_add(&asked, 1);
}

static void one_call(uint64_t number)
{
	static const char *const paths[] = { "/", "/ask", "/reply", "/" };
	struct mp_verdict v = { .size = sizeof(v) };
	struct mp_call call;

	switch (fake_begin("payments", 80, paths[number % 4], &call, &v)) {
	case MP_NONE:
		atomic_fetch_add(&none, 1);
		return;
	case MP_GO:
		atomic_fetch_add(&passed, 1);
		break;
	case MP_ASK:
		ask(&call, &v, number);
		break;
	default:
		atomic_fetch_add(v.status == 503 && slice_eq(v.body, MP_LIT("no")) ? &replied : &wrong,
				 1);
		mp_verdict_free(&v);
	}
	mp_end(&call, 200, 0, 0);
}

static void *worker(void *arg)
{
	uint64_t first = (uint64_t)(uintptr_t)arg * CALLS;

	pthread_barrier_wait(&barrier);
	for (uint64_t i = 0; i < CALLS; i++)
		one_call(first + i);
	return NULL;
}

static void workers_start(pthread_t *threads)
{
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, worker, (void *)i))
			abort();
	pthread_barrier_wait(&barrier);
}

static void workers_join(pthread_t *threads)
{
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static void fill(struct fake *f, unsigned table)
{
	fake_fill(f, table, rows, 3);
	fake_entry(f, table, 1)->blob = fake_blob(f, 64 + table * 4096, 503, fake_now(), "no");
}

static void start(struct fake *f)
{
	fake_init(f, rows, 3);
	fill(f, 0);
	f->answer = answer_id;
	f->n_ring = 1u << 15;
}

/* The table that does not stand is rewritten and flipped to, again and again. */
static void swaps(void)
{
	pthread_t threads[THREADS];
	struct mp_counters c;
	uint64_t begun = 0;

	start(&fake);
	fake_run(&fake);
	(void)fake_call("/");
	workers_start(threads);
	for (uint64_t epoch = 2; epoch < 100; epoch++) {
		/* As the scheduler does: the old set must have ended before its table goes. */
		(void)EVENTUALLY(fake_head(&fake.lanes[0])->begun[epoch % 16] ==
				 fake_head(&fake.lanes[0])->ended[epoch % 16]);
		fill(&fake, !(epoch & 1));
		fake_flip(&fake, epoch, epoch % 16, !(epoch & 1));
	}
	workers_join(threads);
	c = fake_counters();
	is_u64(wrong, 0, "no answer was mixed up");
	is_u64(none, 0, "no call was lost");
	is_u64(passed + asked + replied, THREADS * CALLS, "all were made");
	is_u64(c.passed, passed + 1, "passed are counted");
	is_u64(c.replied, replied, "replied too");
	is_u64(c.asked, asked, "and asked");
	is_u64(c.unfiltered + c.refused, 0, "none unfiltered");
	for (unsigned i = 0; i < LANE_SETS; i++)
		begun += fake_head(&fake.lanes[0])->begun[i];
	ok(begun >= THREADS * CALLS + 1, "each was begun");
	ok(fake_balanced(&fake.lanes[0]), "and ended");
	is_u64(fake_head(&fake.lanes[0])->ring_head, THREADS * CALLS + 1, "with one outcome each");
	fake_end(&fake);
}

/* Every index that was claimed was published. */
static bool ring_whole(struct fake_lane *l)
{
	for (uint64_t i = 0; i < fake_head(l)->ring_head; i++)
		if (fake_outcome(l, i)->seq != i + 1)
			return false;
	return true;
}

/* What its lanes have counted. */
static uint64_t unfiltered_told(struct fake *f)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < f->n_lanes; i++)
		n += fake_head(&f->lanes[i])->counters[LANE_UNFILTERED];
	return n;
}

/* The scheduler dies and another one comes while all are calling. */
static void dies(void)
{
	pthread_t threads[THREADS];
	uint64_t told;

	start(&fake);
	setenv("MIDDLEPIPE_BUDGET_MS", "200", 1);
	fake_run(&fake);
	(void)EVENTUALLY(fake_call("/") == MP_GO);
	workers_start(threads);
	(void)EVENTUALLY(passed > 100);
	fake_kill(&fake);
	start(&second);
	rmdir(second.dir);
	memcpy(second.dir, fake.dir, sizeof(fake.dir));
	memcpy(second.path, fake.path, sizeof(fake.path));
	fake_run(&second);
	workers_join(threads);
	is_u64(wrong, 0, "no answer was mixed up");
	is_u64(passed + asked + replied + none, THREADS * CALLS, "every call came to an end");
	ok(ring_whole(&fake.lanes[0]), "the old ring is whole");
	ok(fake_balanced(&fake.lanes[0]), "begun and ended agree there");
	ok(EVENTUALLY(fake_call("/") == MP_GO && fake_counters().connects >= 2), "the new one is used");
	told = unfiltered_told(&fake) + unfiltered_told(&second);
	is_u64(told, fake_counters().unfiltered, "each unfiltered call was told once");
	fake_end(&second);
}

int main(void)
{
	scenario("64 threads and 100 swaps", swaps);
	scenario("64 threads and a scheduler that dies", dies);
	return done();
}
