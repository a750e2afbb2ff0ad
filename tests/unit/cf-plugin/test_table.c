/* SPDX-License-Identifier: Apache-2.0 */
/* Widths, empty cells, and cells that are not plain. */
#include "cf-plugin/table.h"

#include "tests/lib/tap.h"

static void test_rows(void)
{
	static const char *const head[] = { "NAME", ">N", "WHAT", NULL };
	struct table table;
	struct buf out;

	table_init(&table, head);
	buf_init(&out, 1000);
	table_print(&table, &out);
	is_str(buf_str(&out), "NAME  N  WHAT\n", "the head alone");
	buf_reset(&out);
	table_add(&table, "%s", "payments");
	table_add(&table, "%d", 12345);
	table_add(&table, "%s", "a b");
	table_add(&table, "%s", "x");
	table_add(&table, "%d", 7);
	table_add(&table, "%s", "");
	table_print(&table, &out);
	is_str(buf_str(&out), "NAME          N  WHAT\n"
			      "payments  12345  a b\n"
			      "x             7  -\n", "aligned, nothing at the ends of lines");
	buf_fini(&out);
	table_fini(&table);
}

static void test_odd_cells(void)
{
	static const char *const head[] = { "A", "B", NULL };
	struct table table;
	struct buf out;

	table_init(&table, head);
	buf_init(&out, 1000);
	table_add(&table, "%s", "\033[31m\n");
	table_add(&table, "%s", "b");
	table_add(&table, "%s", "sch\xc3\xb6n");
	table_add(&table, "%s", "c");
	table_print(&table, &out);
	is_str(buf_str(&out), "A       B\n"
			      "?[31m?  b\n"
			      "sch\xc3\xb6n   c\n", "no control bytes; characters are counted");
	buf_fini(&out);
	table_fini(&table);
}

int main(void)
{
	test_rows();
	test_odd_cells();
	return done();
}
