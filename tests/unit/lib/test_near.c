/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lib/near: distances and what counts as near. */
#include "lib/near.h"

#include "lib/slice.h"
#include "tests/lib/tap.h"

static const struct {
	const char *a, *b;
	size_t distance;
} pairs[] = {
	{"", "", 0},          {"", "abc", 3},           {"abc", "abc", 0},
	{"kitten", "sitting", 3}, {"ab", "ba", 1},      {"port", "prot", 1},
	{"abcd", "acbd", 1},  {"listen", "silent", 4},  {"flaw", "lawn", 2},
};

static const char *nearest(const char *word)
{
	static const char *const names[] = {"port", "socket", "log-level", "x"};
	struct near near;

	near_init(&near, slice_of(word));
	for (size_t i = 0; i < 4; i++)
		near_offer(&near, names[i]);
	return near.best;
}

int main(void)
{
	char longer[NEAR_MAX + 2];

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		struct mp_str a = slice_of(pairs[i].a), b = slice_of(pairs[i].b);

		is_u64(near_distance(a, b), pairs[i].distance, "%s, %s", pairs[i].a, pairs[i].b);
		is_u64(near_distance(b, a), pairs[i].distance, "and back");
	}
	is_str(nearest("prot"), "port", "swapped letters");
	is_str(nearest("loglevel"), "log-level", "a letter is missing");
	is_str(nearest("sockets"), "socket", "a letter too many");
	is_str(nearest("banana"), NULL, "nothing is near");
	is_str(nearest("y"), NULL, "another letter is another word");
	is_str(nearest(""), NULL, "nothing is near nothing");
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	is_u64(near_distance(slice_of(longer), MP_LIT("a")), SIZE_MAX, "too long to compare");
	is_u64(near_distance(slice_of(longer + 1), MP_LIT("")), NEAR_MAX, "the longest");
	is_str(nearest(longer), NULL, "too long to be near");
	return done();
}
