/* SPDX-License-Identifier: Apache-2.0 */
/* lib/rows_lives.c: members that are behind, in all orders: nothing comes twice, and no life is given up that may be the latest. */
#include "lib/rows_lives.h"

#include <string.h>

#include "tests/lib/tap.h"

/* A cell comes; is it taken?  It is then the one before the next. */
static bool take(struct rows_lives *lives, uint64_t incarnation, uint64_t seq, uint64_t connection)
{
	if (!rows_lives_enter(lives, incarnation, connection) || seq < lives->now.next)
		return false;
	lives->now.next = seq + 1;
	return true;
}

static void test_orders(void)
{
	enum { OLD = 7, NEW = 9 };
	static const struct {
		uint64_t incarnation, seq, connection;
		bool taken;
		const char *what;
	} cells[] = {
		{ NEW, 1, 1, true, "a life" },
		{ OLD, 1, 2, true, "another, of a member that may be behind" },
		{ OLD, 2, 2, true, "and on" },
		{ NEW, 1, 2, false, "the first one once more: what was seen is left out" },
		{ NEW, 2, 2, true, "and what was not comes" },
		{ OLD, 2, 3, false, "the other is over now: by one connection it came before" },
		{ OLD, 3, 3, false, "whatever there is of it" },
		{ NEW, 3, 3, true, "the present one goes on" },
	};
	struct rows_lives lives = { 0 };

	for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++)
		ok(take(&lives, cells[i].incarnation, cells[i].seq, cells[i].connection) == cells[i].taken, "%s", cells[i].what);
}

/* One member tells of many lives, and then another of those that are remembered. */
static void test_many(void)
{
	struct rows_lives lives = { 0 };
	size_t n_taken = 0, n_again = 0;

	for (uint64_t life = 1; life <= 20; life++)
		n_taken += take(&lives, life, 1, 1);
	is_int((long)n_taken, 20, "each life is taken");
	for (uint64_t life = 20 - ROWS_LIVES_MAX; life <= 20; life++)
		n_again += take(&lives, life, 1, 2);
	is_int((long)n_again, 0, "the last ones not again");
	ok(take(&lives, 20, 2, 2) && lives.now.incarnation == 20, "the present one goes on");
}

/* Two members in turn, one behind the other: of neither anything is lost or comes twice. */
static void test_turns(void)
{
	struct rows_lives lives = { 0 };
	size_t n[2] = { 0, 0 };

	for (uint64_t connection = 1; connection <= 10; connection++)
		for (uint64_t seq = 1; seq <= connection; seq++)
			n[connection % 2] += take(&lives, 5 + connection % 2, seq, connection);
	is_int((long)n[0], 10, "one life, told by every second connection");
	is_int((long)n[1], 9, "and the other");
}

int main(void)
{
	test_orders();
	test_many();
	test_turns();
	return done();
}
