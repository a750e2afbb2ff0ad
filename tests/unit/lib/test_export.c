/* SPDX-License-Identifier: Apache-2.0 */
/* Exported lines: written and read again, every changed byte found, wrong lines named. */
#include "lib/export.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/slice.h"
#include "tests/lib/tap.h"

#define CELL_BYTES "\0bytes\xff\n"

static struct buf text;

/* All kinds of lines; the sum behind the last. */
static uint64_t write_all(void)
{
	const struct export_begin begin = { "000102030405060708090a0b0c0d0e0f", 1795000000000, "chains/" };
	const struct export_row row = { MP_LIT("chains/\"shop\""), 255, 17, 3, "unique", "live", 10, 20, 30 };
	const struct export_cell cell = { MP_LIT("chains/\"shop\""), 1, 3, 1795000000001, 4,
					  MP_LIT("k 1%\x80\"\\"), MP_LIT("10.0.0.7"),
					  slice_make(CELL_BYTES, sizeof(CELL_BYTES) - 1) };
	const struct export_end end = { 1, 1 };
	const struct export_state state = { MP_LIT("chains/\"shop\""), 9, 2, 1, 3,
					    slice_make(CELL_BYTES, sizeof(CELL_BYTES) - 1) };
	uint64_t sum = 0;

	buf_reset(&text);
	is_int(export_write_begin(&text, &sum, &begin) | export_write_row(&text, &sum, &row) |
	       export_write_cell(&text, &sum, &cell) | export_write_gone(&text, &sum, MP_LIT("other")) |
	       export_write_error(&text, &sum, "no disk") | export_write_end(&text, &sum, &end) |
	       export_write_state(&text, &sum, &state), 0, "is written");
	return sum;
}

static struct mp_str next_line(struct mp_str *rest)
{
	struct mp_str line;

	(void)slice_cut(*rest, '\n', &line, rest);
	return line;
}

static void check_line(const struct export_line *line)
{
	const struct export_row *row = &line->is.row;
	const struct export_cell *cell = &line->is.cell;
	const struct export_state *state = &line->is.state;

	switch (line->kind) {
	case EXPORT_BEGIN:
		ok(!strcmp(line->is.begin.prefix, "chains/") && line->is.begin.time_ms == 1795000000000, "the begin");
		break;
	case EXPORT_ROW:
		ok(slice_eq(row->name, MP_LIT("chains/\"shop\"")) && row->incarnation == 255 && row->highest == 17 &&
		   row->floor == 3 && !strcmp(row->check, "unique") && !strcmp(row->partition, "live") &&
		   row->keep_cells == 10 && row->keep_bytes == 20 && row->keep_ms == 30, "a row");
		break;
	case EXPORT_CELL:
		ok(cell->at == 1 && cell->seq == 3 && cell->kind == 4 && cell->time_ms == 1795000000001, "a cell");
		ok(slice_eq(cell->key, MP_LIT("k 1%\x80\"\\")) && slice_eq(cell->origin, MP_LIT("10.0.0.7")) &&
		   slice_eq(cell->content, slice_make(CELL_BYTES, sizeof(CELL_BYTES) - 1)), "its bytes");
		break;
	case EXPORT_GONE:
		ok(slice_eq(line->is.gone, MP_LIT("other")), "a row that went");
		break;
	case EXPORT_ERROR:
		is_str(line->is.error, "no disk", "an error");
		break;
	case EXPORT_END:
		ok(line->is.end.rows == 1 && line->is.end.cells == 1, "the end");
		break;
	case EXPORT_STATE:
		ok(slice_eq(state->row, MP_LIT("chains/\"shop\"")) && state->seq == 9 && state->rules == 2 &&
		   state->part == 1 && state->parts == 3 &&
		   slice_eq(state->content, slice_make(CELL_BYTES, sizeof(CELL_BYTES) - 1)), "a state");
		break;
	}
}

static void test_round(void)
{
	uint64_t last = write_all(), sum = 0;
	struct mp_str rest = buf_slice(&text);
	struct export_line line;
	struct err err = { 0 };

	for (int kind = 0; rest.len; kind++) {
		struct mp_str one = next_line(&rest);

		is_int(export_check(one, &sum, &err), 0, "its sum %s", err.text);
		if (!is_int(export_read(one, &line, &err), 0, "is read %s", err.text))
			continue;
		is_int((int)line.kind, kind, "as what it is");
		check_line(&line);
		export_line_fini(&line);
	}
	is_u64(sum, last, "the last sum");
}

/* Does a walk over the lines find something? */
static bool found(struct mp_str rest)
{
	uint64_t sum = 0;

	while (rest.len) {
		if (export_check(next_line(&rest), &sum, NULL))
			return true;
	}
	return false;
}

static void test_damage(void)
{
	struct mp_str line, rest;
	struct buf other;
	size_t missed = 0;

	(void)write_all();
	ok(!found(buf_slice(&text)), "nothing is wrong with it");
	for (size_t i = 0; i < text.len; i++) {
		for (int bit = 0; bit < 8; bit++) {
			text.ptr[i] = (char)(text.ptr[i] ^ 1 << bit);
			missed += !found(buf_slice(&text));
			text.ptr[i] = (char)(text.ptr[i] ^ 1 << bit);
		}
	}
	is_u64(missed, 0, "every changed bit is found");
	/* The second line is left out; the second and the third change places. */
	rest = buf_slice(&text);
	line = next_line(&rest);
	buf_init(&other, 10000);
	buf_add(&other, line.ptr, line.len + 1);
	line = next_line(&rest);
	buf_add_slice(&other, rest);
	ok(found(buf_slice(&other)), "a line that is left out is found");
	buf_reset(&other);
	buf_add_slice(&other, next_line(&rest));
	buf_add_str(&other, "\n");
	buf_add_slice(&other, line);
	ok(found(buf_slice(&other)), "lines that changed places are found");
	buf_fini(&other);
}

static void test_wrong(void)
{
#define S "0000000000000000 "
#define STATE "{\"state\":\"r\",\"seq\":1,\"rules\":1,"
#define CELL "{\"cell\":\"r\",\"at\":1,\"seq\":1,\"kind\":1,\"time\":1,"
	static const struct { const char *line; int rc; const char *name; } wrong[] = {
		{ "", -EINVAL, "nothing" },
		{ "{}", -EINVAL, "no sum" },
		{ S, -EINVAL, "no JSON" },
		{ S "{}", -EINVAL, "no kind" },
		{ S "[]", -EINVAL, "no object" },
		{ S "{\"export\":3,\"group\":\"\",\"time\":0,\"prefix\":\"\",\"new\":[]}", -EPROTONOSUPPORT, "a newer format" },
		{ S "{\"export\":1,\"group\":\"\",\"time\":-1,\"prefix\":\"\"}", -EINVAL, "a time before 1970" },
		{ S "{\"export\":0,\"group\":\"\",\"time\":0,\"prefix\":\"\"}", -EPROTONOSUPPORT, "a format that never was" },
		{ S "{\"export\":1,\"group\":\"\",\"time\":0,\"prefix\":\"\"}", 0, "the first format is read" },
		{ S STATE "\"part\":0,\"parts\":1,\"data\":\"\"}", 0, "an empty state is one" },
		{ S STATE "\"part\":1,\"parts\":1,\"data\":\"\"}", -EINVAL, "a part behind the last" },
		{ S STATE "\"part\":0,\"parts\":65,\"data\":\"\"}", -EINVAL, "too many parts" },
		{ S STATE "\"part\":0,\"parts\":1,\"data\":\"a\"}", -EINVAL, "a part that is no base64" },
		{ S "{\"gone\":\"\"}", -EINVAL, "an empty name" },
		{ S "{\"gone\":3}", -EINVAL, "a name of another type" },
		{ S "{\"end\":true,\"rows\":1.5,\"cells\":1}", -EINVAL, "half a row" },
		{ S "{\"end\":true,\"rows\":1,\"cells\":1,\"more\":1}", -EINVAL, "a member that is not known" },
		{ S CELL "\"key\":\"%4\",\"origin\":\"\",\"data\":\"\"}", -EINVAL, "half a byte" },
		{ S CELL "\"key\":\"%zz\",\"origin\":\"\",\"data\":\"\"}", -EINVAL, "no hex digits" },
		{ S CELL "\"key\":\"\xc3\xa4\",\"origin\":\"\",\"data\":\"\"}", -EINVAL, "bytes that are not encoded" },
		{ S CELL "\"key\":\"\",\"origin\":\"\",\"data\":\"abc\"}", -EINVAL, "no base64" },
		{ S CELL "\"key\":\"\",\"origin\":\"\"}", -EINVAL, "no bytes" },
		{ S CELL "\"key\":\"\",\"origin\":\"\",\"data\":\"\"}", 0, "an empty cell is one" },
		{ S CELL "\"key\":\"0123456789012345678901234567890123456789012345678901234567890123\",\"origin\":\"\","
		  "\"data\":\"\"}", 0, "a key of 64 bytes" },
		{ S CELL "\"key\":\"01234567890123456789012345678901234567890123456789012345678901234\",\"origin\":\"\","
		  "\"data\":\"\"}", -EINVAL, "one of 65" },
	};
	struct export_line line;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct err err = { 0 };
		int rc = export_read(slice_of(wrong[i].line), &line, &err);

		is_int(rc, wrong[i].rc, "%s: %s", wrong[i].name, err.text);
		if (!rc)
			export_line_fini(&line);
		else
			ok(err.text[0], "and says so");
	}
}

/* A cell of 1 MiB is the largest. */
static void test_sizes(void)
{
	char *bytes = calloc(1, EXPORT_DATA_MAX + 1);
	struct export_cell cell = { MP_LIT("r"), 1, 1, 1, 1, { 0 }, { 0 }, { bytes, EXPORT_DATA_MAX } };
	struct export_line line;
	struct err err = { 0 };
	uint64_t sum = 0;

	buf_reset(&text);
	is_int(export_write_cell(&text, &sum, &cell), 0, "a cell of 1 MiB");
	text.len--; /* without the newline */
	is_int(export_read(buf_slice(&text), &line, &err), 0, "is read %s", err.text);
	is_u64(line.is.cell.content.len, EXPORT_DATA_MAX, "whole");
	export_line_fini(&line);
	cell.content.len++;
	buf_reset(&text);
	is_int(export_write_cell(&text, &sum, &cell), 0, "and a byte more");
	text.len--;
	is_int(export_read(buf_slice(&text), &line, &err), -EINVAL, "is not: %s", err.text);
	free(bytes);
}

int main(void)
{
	buf_init(&text, 4 << 20);
	test_round();
	test_damage();
	test_wrong();
	test_sizes();
	buf_fini(&text);
	return done();
}
