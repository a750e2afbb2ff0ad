/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See table.h.  Called by cmd_filters.c, status_text.c and control.c.
 */
#include "cf-plugin/table.h"

#include <string.h>

#include "lib/slice.h"

#define TEXT_MAX ((size_t)4 << 20) /* bytes of all cells */
#define GAP 2                      /* blanks between columns */

/* Characters, not bytes: continuation bytes of UTF-8 take no column. */
static size_t width_of(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += (*text & 0xc0) != 0x80;
	return width;
}

/* Ends the cell that begins at `start`: plain, "-" when empty, and measured. */
static void close_cell(struct table *table, size_t start)
{
	size_t column = table->n % table->columns, width;

	if (table->cells.len == start)
		buf_add_str(&table->cells, "-");
	for (size_t i = start; i < table->cells.len; i++) {
		if ((unsigned char)table->cells.ptr[i] < ' ' || table->cells.ptr[i] == 0x7f)
			table->cells.ptr[i] = '?';
	}
	width = width_of(buf_str(&table->cells) + start);
	if (width > table->width[column])
		table->width[column] = width;
	buf_add(&table->cells, "", 1);
	if (!table->cells.error)
		table->n++;
}

void table_init(struct table *table, const char *const *head)
{
	*table = (struct table){ 0 };
	buf_init(&table->cells, TEXT_MAX);
	while (head[table->columns] && table->columns < TABLE_COLUMNS)
		table->columns++;
	for (size_t i = 0; i < table->columns; i++) {
		table->right[i] = head[i][0] == '>';
		table_add(table, "%s", head[i] + table->right[i]);
	}
}

void table_fini(struct table *table)
{
	buf_fini(&table->cells);
}

void table_add(struct table *table, const char *fmt, ...)
{
	size_t start = table->cells.len;
	va_list args;

	va_start(args, fmt);
	buf_vprintf(&table->cells, fmt, args);
	va_end(args);
	close_cell(table, start);
}

static void print_cell(const struct table *table, size_t i, const char *text, struct buf *out)
{
	size_t column = i % table->columns;
	int pad = (int)(table->width[column] - width_of(text));
	bool last = column + 1 == table->columns;

	if (table->right[column])
		buf_printf(out, "%*s%s", pad, "", text);
	else
		buf_printf(out, "%s%*s", text, last ? 0 : pad, "");
	if (last)
		buf_add_str(out, "\n");
	else
		buf_printf(out, "%*s", GAP, "");
}

void table_print(const struct table *table, struct buf *out)
{
	const char *text = buf_str(&table->cells);

	for (size_t i = 0; i < table->n; i++) {
		print_cell(table, i, text, out);
		text += strlen(text) + 1;
	}
}
