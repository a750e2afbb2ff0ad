/* SPDX-License-Identifier: Apache-2.0 */
/* lib/hex.h: all bytes both ways, and what are no digits. */
#include "lib/hex.h"

#include <string.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

static void test_bytes(void)
{
	unsigned char all[256], again[256];
	char text[512];

	for (unsigned i = 0; i < 256; i++)
		all[i] = (unsigned char)i;
	hex_encode(text, all, sizeof(all));
	ok(!memcmp(text, "000102", 6) && !memcmp(text + 506, "fdfeff", 6), "bytes to digits");
	ok(hex_decode(slice_make(text, sizeof(text)), again, sizeof(again)) &&
	   !memcmp(all, again, sizeof(all)), "and back");
	ok(!hex_decode(slice_make(text, 511), again, 256), "a digit is missing");
	ok(!hex_decode(slice_make(text, 512), again, 255), "a byte too many");
	ok(hex_decode(slice_make(text, 0), again, 0), "nothing is nothing");
}

static void test_wrong(void)
{
	static const char *const rows[] = { "0g", "A0", "0F", " 1", "-1", "0x", "/0", ":0", "`0" };
	unsigned char byte;
	uint64_t value;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ok(!hex_decode(slice_of(rows[i]), &byte, 1) && !hex_number(slice_of(rows[i]), 2, &value),
		   "no digits: %s", rows[i]);
}

static void test_numbers(void)
{
	uint64_t value;

	ok(hex_number(MP_LIT("ffffffffffffffff"), 16, &value) && value == UINT64_MAX, "the greatest");
	ok(hex_number(MP_LIT("0010"), 4, &value) && value == 16, "zeros before");
	ok(!hex_number(MP_LIT("10"), 4, &value), "not all of them");
}

int main(void)
{
	test_bytes();
	test_wrong();
	test_numbers();
	return done();
}
