/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the HTTP front reads of a head, as any client could send it: the target
 * and the routes' patterns, the fields, and the token.  The input is a head;
 * its lines are cut here as libmicrohttpd cuts them, in place.
 * With FUZZ_PLANT a segment of a path is copied where it has no room.
 */
#include "aggregator/http/access.h"
#include "aggregator/http/guard.h"
#include "aggregator/http/target.h"

#include <stdlib.h>
#include <string.h>

#include "lib/slice.h"
#include "tests/fuzz/replay.h"

#ifdef FUZZ_PLANT
static void plant(struct mp_str segment)
{
	char *copy = malloc(24);

	for (size_t i = 0; copy && i < segment.len; i++)
		((char *volatile)copy)[i] = segment.ptr[i];
	free(copy);
}
#else
static void plant(struct mp_str segment)
{
	(void)segment; /* no bug in an honest build */
}
#endif

static bool is_inside(struct mp_str s, const char *text, size_t size)
{
	return !s.len || (s.ptr >= text && s.ptr + s.len <= text + size);
}

static void check_target(struct mp_str raw)
{
	static const char *const patterns[] = { "/", "/v1/rows/{row}", "/v1/rows/{row}/cells/{seq}" };
	char *text = malloc(raw.len ? raw.len : 1); /* as long as it is, for ASan */
	struct target t;
	struct err err;

	if (!text)
		return;
	if (raw.len)
		memcpy(text, raw.ptr, raw.len);
	if (!target_parse(text, raw.len, &t, &err)) {
		for (size_t i = 0; i < t.n; i++) {
			FUZZ_CHECK(is_inside(t.segments[i], text, raw.len));
			FUZZ_CHECK(!t.segments[i].len || !memchr(t.segments[i].ptr, 0, t.segments[i].len));
			plant(t.segments[i]);
		}
		for (size_t i = 0; i < t.n_query; i++)
			FUZZ_CHECK(t.query[i].name.len && is_inside(t.query[i].value, text, raw.len));
		for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
			struct pattern p;

			FUZZ_CHECK(!pattern_parse(patterns[i], &p, &err));
			if (pattern_match(&p, &t) && p.n == 3)
				FUZZ_CHECK(pattern_param(&p, &t, MP_LIT("row")).len > 0);
		}
	}
	free(text);
}

/* Any bytes as a pattern: refused, or one that can be matched. */
static void check_pattern(struct mp_str text)
{
	char *copy = slice_dup(text);
	struct pattern p;
	struct err err;

	if (copy && !pattern_parse(copy, &p, &err))
		FUZZ_CHECK(p.n >= 1 && p.n <= TARGET_SEGMENTS);
	free(copy);
}

static void check_fields(struct guard_head *head)
{
	struct guard_body body;
	struct mp_str token;
	size_t hosts = 0, lengths = 0;

	if (guard_check(head, &body))
		return;
	for (size_t i = 0; i < head->n; i++) {
		hosts += slice_eq_nocase(head->fields[i].name, MP_LIT("host"));
		lengths += slice_eq_nocase(head->fields[i].name, MP_LIT("content-length")) ||
			   slice_eq_nocase(head->fields[i].name, MP_LIT("transfer-encoding"));
		if (access_bearer(head->fields[i].value, &token))
			FUZZ_CHECK(token.len && !memchr(token.ptr, ' ', token.len));
	}
	FUZZ_CHECK(hosts == 1 && lengths <= 1 && !(body.chunked && body.length));
}

static void check_tokens(struct mp_str text)
{
	struct access *access;
	struct err err;

	if (access_parse(text, &access, &err))
		return;
	(void)access_by_token(access, MP_LIT("t"));
	(void)access_by_cert(access, "m2", NULL, 0);
	access_unref(access);
}

/* "METHOD TARGET VERSION", then fields up to an empty line; the rest is no head. */
static void check_head(struct mp_str rest)
{
	struct guard_head head = { .n = 0 };
	struct mp_str line, method, target;

	slice_cut(rest, '\n', &line, &rest);
	slice_cut(slice_trim(line), ' ', &method, &line);
	slice_cut(line, ' ', &target, &head.version);
	check_target(target);
	while (head.n < GUARD_FIELDS && rest.len) {
		struct guard_field *f = &head.fields[head.n];

		slice_cut(rest, '\n', &line, &rest);
		line = slice_trim(line);
		if (!line.len)
			break;
		slice_cut(line, ':', &f->name, &f->value);
		f->value = slice_trim(f->value);
		head.n++;
	}
	check_fields(&head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mp_str text = slice_make(data, size);

	check_head(text);
	check_pattern(text);
	if (size && data[0] == '[')
		check_tokens(text);
	return 0;
}
