/* SPDX-License-Identifier: Apache-2.0 */
/* lib/wire.c: items come back as they went in, and no bytes lead it astray. */
#include "lib/wire.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

static void test_round_trip(void)
{
	char memory[128];
	struct wire_writer w;
	struct mp_str rest;
	struct wire_item item;

	wire_start(&w, memory, sizeof(memory));
	wire_put_value(&w, WIRE_METHOD, MP_LIT("GET"));
	wire_put(&w, WIRE_FIELD, MP_LIT("Accept"), MP_LIT("*/*"));
	wire_put(&w, WIRE_EDIT_REMOVE, MP_LIT("X"), (struct mp_str){ 0 });
	is_int(w.full, 0, "three items fit");
	is_u64(w.size, 8 + 3 + 8 + 9 + 8 + 1, "their size");
	rest = (struct mp_str){ memory, w.size };
	is_int(wire_next(&rest, &item), 1, "first");
	is_int(item.tag, WIRE_METHOD, "its tag");
	ok(slice_eq(item.value, MP_LIT("GET")) && !item.name.len, "its value");
	is_int(wire_next(&rest, &item), 1, "second");
	ok(slice_eq(item.name, MP_LIT("Accept")) && slice_eq(item.value, MP_LIT("*/*")), "a field");
	is_int(wire_next(&rest, &item), 1, "third");
	ok(slice_eq(item.name, MP_LIT("X")) && !item.value.len, "an empty value");
	is_int(wire_next(&rest, &item), 0, "the end");
}

static void test_full(void)
{
	char memory[24];
	struct wire_writer w;

	memset(memory, 'x', sizeof(memory));
	wire_start(&w, memory, 20);
	wire_put_value(&w, WIRE_PATH, MP_LIT("/0123456789ab"));
	is_int(w.full, 1, "13 bytes do not fit into 20");
	is_u64(w.size, 0, "nothing was written");
	wire_start(&w, memory, 20);
	wire_put_value(&w, WIRE_PATH, MP_LIT("/0123456789a"));
	is_int(w.full, 0, "12 do");
	wire_put_value(&w, WIRE_PATH, (struct mp_str){ 0 });
	is_int(w.full, 1, "then nothing more");
	ok(memory[20] == 'x' && memory[23] == 'x', "nor was anything behind");
}

static void test_name_too_long(void)
{
	static char memory[2 * 65536], name[65536];
	struct wire_writer w;

	wire_start(&w, memory, sizeof(memory));
	wire_put(&w, WIRE_FIELD, (struct mp_str){ name, 65536 }, (struct mp_str){ 0 });
	is_int(w.full, 1, "a name of 65536 bytes is refused");
	wire_start(&w, memory, sizeof(memory));
	wire_put(&w, WIRE_FIELD, (struct mp_str){ name, 65535 }, (struct mp_str){ 0 });
	is_int(w.full, 0, "one of 65535 is not");
}

/* Every cut of a valid message either ends cleanly or is refused. */
static void test_cuts(void)
{
	char memory[64];
	struct wire_writer w;
	int bad = 0;

	wire_start(&w, memory, sizeof(memory));
	wire_put(&w, WIRE_FIELD, MP_LIT("Name"), MP_LIT("value"));
	wire_put_value(&w, WIRE_PATH, MP_LIT("/path"));
	for (size_t size = 0; size <= w.size; size++) {
		char *copy = malloc(size ? size : 1); /* so that ASan sees an overrun */
		struct mp_str rest = { copy, size };
		struct wire_item item;
		int r;

		memcpy(copy, memory, size);
		while ((r = wire_next(&rest, &item)) == 1)
			;
		bad += r != (size == 0 || size == 17 || size == 30 ? 0 : -EINVAL);
		free(copy);
	}
	is_int(bad, 0, "cuts are seen");
}

static void test_random_bytes(void)
{
	unsigned seed = 7;
	int steps = 0;

	for (int run = 0; run < 2000; run++) {
		char bytes[64];
		struct mp_str rest = { bytes, sizeof(bytes) };
		struct wire_item item;

		for (size_t i = 0; i < sizeof(bytes); i++) {
			seed = seed * 1103515245u + 12345u;
			bytes[i] = (char)(seed >> 24 & 7 ? 0 : seed >> 16 & 31);
		}
		while (wire_next(&rest, &item) == 1)
			steps++;
	}
	ok(steps > 0, "random bytes decode within bounds (%d items)", steps);
}

static void test_field_ok(void)
{
	ok(wire_field_ok(MP_LIT("X-Name"), MP_LIT("any thing\t\x80")), "a field");
	ok(wire_field_ok(MP_LIT("x"), (struct mp_str){ 0 }), "an empty value");
	ok(!wire_field_ok((struct mp_str){ 0 }, MP_LIT("v")), "no name");
	ok(!wire_field_ok(MP_LIT("a b"), MP_LIT("v")), "a blank in the name");
	ok(!wire_field_ok(MP_LIT("a:"), MP_LIT("v")), "a colon in the name");
	ok(!wire_field_ok(MP_LIT("a\x80"), MP_LIT("v")), "a byte above ASCII in the name");
	ok(!wire_field_ok(MP_LIT("a"), MP_LIT("v\r\nX: y")), "CR LF");
	ok(!wire_field_ok(MP_LIT("a"), MP_LIT("v\ny")), "LF");
	ok(!wire_field_ok(MP_LIT("a"), ((struct mp_str){ "v\0", 2 })), "NUL");
}

int main(void)
{
	test_round_trip();
	test_full();
	test_name_too_long();
	test_cuts();
	test_random_bytes();
	test_field_ok();
	return done();
}
