/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Halves without memory: with each allocation failing in turn, a hook says -ENOMEM and
 * nothing else, or does what it does with memory.  A cell that would count as
 * unreadable for want of memory would make this member differ from all others.
 *
 * malloc() and its like are replaced here, which a sanitizer does itself.
 */
#include "tests/unit/middlepipes/half_fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define CAN_FAIL 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CAN_FAIL 0
#endif
#endif
#ifndef CAN_FAIL
#define CAN_FAIL 1
#endif

#if !CAN_FAIL
int main(void)
{
	return skip_all("the sanitizer allocates");
}
#else

static long countdown; /* allocations until one fails, and then all; 0: none does */
static bool failed;

/* glibc's own, by which it may be replaced. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *ptr, size_t size);

/* The libraries get it, too. */
#define EVERYBODYS __attribute__((visibility("default")))

static bool fails(void)
{
	if (!countdown || --countdown)
		return false;
	countdown = 1;
	return failed = true;
}

EVERYBODYS void *malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

EVERYBODYS void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

EVERYBODYS void *realloc(void *ptr, size_t size)
{
	return fails() ? NULL : __libc_realloc(ptr, size);
}

/* What the cells of a half are, and what is done with them. */
struct story {
	const char *name, *config;
	const char *cells[6]; /* applied, in order; the last one is that which fails */
	const char *proposal; /* checked behind the last two, numbered and not */
	int answer;           /* of that check */
};

static const struct story stories[] = {
	{ "unique", "{\"max_keys\": 9}",
	  { "{\"claim\":\"a\",\"holder\":\"x\"}", "{\"claim\":\"b\",\"holder\":\"x\"}",
	    "{\"release\":\"a\",\"holder\":\"x\"}", "garbage", "{\"claim\":\"b\",\"holder\":\"z\"}",
	    "{\"claim\":\"c\",\"holder\":\"y\"}" },
	  "{\"claim\":\"c\",\"holder\":\"z\"}", MP_CHECK_REFUSE },
	{ "unique", "{\"max_keys\": 9}",
	  { "{\"claim\":\"a\",\"holder\":\"x\"}", "{\"claim\":\"b\",\"holder\":\"x\"}", "{}", "",
	    "{\"release\":\"b\",\"holder\":\"x\"}", "{\"release\":\"a\",\"holder\":\"x\"}" },
	  "{\"claim\":\"a\",\"holder\":\"z\"}", MP_CHECK_ALLOW },
	{ "sum", "{\"total\": 50}",
	  { "{\"name\":\"a\",\"take\":10}", "{\"name\":\"b\",\"take\":10}", "{\"name\":\"b\",\"give\":10}",
	    "{\"name\":\"a\",\"take\":41}", "{\"name\":\"c\",\"set\":30}", "{\"name\":\"a\",\"set\":0}" },
	  "{\"name\":\"d\",\"take\":21}", MP_CHECK_REFUSE },
	{ "sum", NULL,
	  { "{\"total\":7}", "{\"total\":8}", "{\"name\":\"a\",\"take\":1,\"give\":1}", "[]",
	    "{\"name\":\"c\",\"set\":7}", "{\"name\":\"a\",\"no\":0}" },
	  "{\"name\":\"c\",\"give\":7}", MP_CHECK_ALLOW },
};

static void *told(const struct story *story, size_t n)
{
	void *self = half_make();

	for (size_t i = 0; i < n; i++)
		(void)half_apply(self, MP_CELL_DATA, story->cells[i]); /* compared by its snapshot */
	return self;
}

/* One allocation after the other fails while the last cell is applied. */
static void test_apply(const struct story *story)
{
	void *whole = told(story, 6), *before = told(story, 5);
	long n = 1;

	for (int n_wrong = 0;; n++) {
		void *self = told(story, 5);
		int r;

		failed = false;
		countdown = n;
		r = half_apply(self, MP_CELL_DATA, story->cells[5]);
		countdown = 0;
		n_wrong += r ? r != -ENOMEM : !half_same(self, whole);
		half->fini(self);
		if (!failed) {
			is_int(n_wrong, 0, "%s: applied or -ENOMEM, %ld allocations", story->name, n - 1);
			break;
		}
	}
	half->fini(whole);
	half->fini(before);
}

static int ask(void *self, const struct story *story, bool numbered)
{
	struct mp_cell cells[3] = { half_cell(MP_CELL_DATA, slice_of(story->cells[4])),
				    half_cell(MP_CELL_DATA, slice_of(story->cells[5])),
				    half_cell(MP_CELL_DATA, slice_of(story->proposal)) };
	const struct mp_cell *list[] = { &cells[0], &cells[1], &cells[2] };
	char reason[MP_REASON_MAX];

	for (uint64_t i = 0; i < 3; i++)
		cells[i].id = numbered ? i + 1 : 0;
	return half->check(self, list, 2, list + 2, 1, reason, sizeof(reason));
}

/* The same for a check; whatever it said before, with memory it is right. */
static void test_check(const struct story *story, bool numbered)
{
	void *self = told(story, 4), *before = told(story, 4);
	int n_wrong = 0;
	long n = 1;

	do {
		int r;

		failed = false;
		countdown = n++;
		r = ask(self, story, numbered);
		countdown = 0;
		n_wrong += r != story->answer && r != -ENOMEM;
		n_wrong += n % 2 && !half_same(self, before);
		n_wrong += ask(self, story, numbered) != story->answer;
	} while (failed);
	is_int(n_wrong, 0, "%s: judged or -ENOMEM, %ld allocations", story->name, n - 2);
	half->fini(self);
	half->fini(before);
}

/* The same for a snapshot, and for restoring it. */
static void test_snapshots(const struct story *story)
{
	void *whole = told(story, 6), *self = told(story, 1), *first = told(story, 1);
	struct buf bytes = half_bytes(whole), out;
	char error[MP_REASON_MAX] = "";
	int n_wrong = 0, r;
	long n = 1;

	do {
		failed = false;
		countdown = n++;
		r = half->restore(self, buf_slice(&bytes), error, sizeof(error));
		countdown = 0;
		n_wrong += r ? r != -ENOMEM || !half_same(self, first) : !half_same(self, whole);
	} while (failed);
	is_int(n_wrong, 0, "%s: restored or -ENOMEM, %ld allocations", story->name, n - 2);
	n = 1;
	do {
		buf_init(&out, MP_SNAPSHOT_MAX);
		failed = false;
		countdown = n++;
		r = half_snapshot(half, whole, &out);
		countdown = 0;
		n_wrong += r ? r != -ENOMEM : !slice_eq(buf_slice(&out), buf_slice(&bytes));
		buf_fini(&out);
	} while (failed);
	is_int(n_wrong, 0, "%s: a snapshot or -ENOMEM, %ld allocations", story->name, n - 2);
	buf_fini(&bytes);
	half->fini(whole);
	half->fini(self);
	half->fini(first);
}

static void test_new(const struct story *story)
{
	int n_wrong = 0;
	long n = 1;

	do {
		struct err err = { 0 };
		void *self = NULL;
		int r;

		failed = false;
		countdown = n++;
		r = half_new(half, &half_host, NULL, slice_of(story->config), &self, &err);
		countdown = 0;
		n_wrong += r ? r > 0 || !err.text[0] : !self; /* jansson cannot always tell */
		if (!r)
			half->fini(self);
	} while (failed);
	is_int(n_wrong, 0, "%s: made or not, %ld allocations", story->name, n - 2);
}

int main(void)
{
	for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++) {
		half = registry_find_half(stories[i].name);
		half_config = stories[i].config;
		test_new(&stories[i]);
		test_apply(&stories[i]);
		test_check(&stories[i], false);
		test_check(&stories[i], true);
		test_snapshots(&stories[i]);
	}
	return done();
}

#endif
