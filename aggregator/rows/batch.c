/* SPDX-License-Identifier: Apache-2.0 */
/* See batch.h.  CRC-32C (RFC 3720, appendix B.4) is ISA-L's. */
#include "aggregator/rows/batch.h"

#include <isa-l/crc.h>
#include <string.h>

#include "lib/le.h"
#include "lib/slice.h"

/* Offsets in the head. */
enum { AT_CRC = 0, AT_FORMAT = 4, AT_ID = 8, AT_FIRST = 24, AT_N = 32, AT_SIZE = 36 };

static char *put_text(char *at, struct mp_str text)
{
	if (text.len)
		memcpy(at, text.ptr, text.len);
	return at + text.len;
}

static uint32_t checksum(const char *value, size_t size)
{
	/* Its callers keep to sizes of an int; the bytes are only read. */
	unsigned char *from = (unsigned char *)(uintptr_t)(value + AT_FORMAT);

	return ~crc32_iscsi(from, (int)(size - AT_FORMAT), ~UINT32_C(0));
}

/* -------------------------------------------------------------------- writing */

int batch_begin(struct buf *out, const struct batch_id *id, uint64_t first_seq)
{
	char head[BATCH_HEAD_SIZE] = { 0 };

	head[AT_FORMAT] = BATCH_FORMAT;
	memcpy(head + AT_ID, id->bytes, BATCH_ID_SIZE);
	le_put(head + AT_FIRST, first_seq, 8);
	return buf_add(out, head, sizeof(head));
}

static bool cell_ok(const struct cell *cell)
{
	return cell->kind && cell->key.len <= CELL_KEY_MAX && cell->origin.len <= CELL_ORIGIN_MAX &&
	       cell->content.len <= CELL_BYTES_MAX;
}

int batch_add(struct buf *out, const struct cell *cell)
{
	size_t size = batch_cell_size(cell);
	char *at;

	if (!cell_ok(cell))
		return -EINVAL;
	at = buf_reserve(out, size);
	if (!at)
		return out->error;
	at[0] = (char)cell->kind;
	at[1] = (char)cell->key.len;
	le_put(at + 2, cell->origin.len, 2);
	le_put(at + 4, cell->content.len, 4);
	le_put(at + 8, cell->time_ms, 8);
	at += BATCH_CELL_HEAD_SIZE;
	at = put_text(at, cell->key);
	at = put_text(at, cell->origin);
	(void)put_text(at, cell->content);
	buf_commit(out, size);
	le_put(out->ptr + AT_N, le_get(out->ptr + AT_N, 4) + 1, 4);
	return 0;
}

void batch_sum(struct buf *out)
{
	le_put(out->ptr + AT_CRC, checksum(out->ptr, out->len), 4);
}

int batch_end(struct buf *out)
{
	if (out->error)
		return out->error;
	if (out->len <= BATCH_HEAD_SIZE || out->len > INT32_MAX)
		return -EINVAL;
	le_put(out->ptr + AT_SIZE, out->len - BATCH_HEAD_SIZE, 4);
	batch_sum(out);
	return 0;
}

/* -------------------------------------------------------------------- reading */

/* Takes a cell off the front.  False when it is none or out of bounds. */
static bool take(struct mp_str *rest, struct cell *ret)
{
	const char *at = rest->ptr;

	if (rest->len < BATCH_CELL_HEAD_SIZE)
		return false;
	ret->kind = (uint8_t)at[0];
	ret->key.len = (uint8_t)at[1];
	ret->origin.len = le_get(at + 2, 2);
	ret->content.len = le_get(at + 4, 4);
	ret->time_ms = le_get(at + 8, 8);
	if (!cell_ok(ret) || batch_cell_size(ret) > rest->len)
		return false;
	ret->key.ptr = at + BATCH_CELL_HEAD_SIZE;
	ret->origin.ptr = ret->key.ptr + ret->key.len;
	ret->content.ptr = ret->origin.ptr + ret->origin.len;
	*rest = slice_skip(*rest, batch_cell_size(ret));
	return true;
}

bool batch_next(struct batch *batch, struct cell *ret)
{
	if (!take(&batch->rest, ret))
		return false;
	ret->seq = batch->seq++;
	return true;
}

/* All cells are whole, as many as the head says, and nothing is behind them. */
static bool cells_ok(const struct batch *batch)
{
	struct batch walk = *batch;
	struct cell cell;
	uint32_t n = 0;

	while (batch_next(&walk, &cell))
		n++;
	return n && n == batch->n && !walk.rest.len && batch->first &&
	       batch->first <= UINT64_MAX - n;
}

void batch_view(struct mp_str value, struct batch *ret)
{
	memcpy(ret->id.bytes, value.ptr + AT_ID, BATCH_ID_SIZE);
	ret->first = ret->seq = le_get(value.ptr + AT_FIRST, 8);
	ret->n = (uint32_t)le_get(value.ptr + AT_N, 4);
	ret->rest = slice_skip(value, BATCH_HEAD_SIZE);
}

int batch_open(struct mp_str value, struct batch *ret, struct err *err)
{
	const char *at = value.ptr;

	if (value.len < BATCH_HEAD_SIZE || value.len > INT32_MAX ||
	    le_get(at + AT_CRC, 4) != checksum(at, value.len))
		return err_set(err, -EINVAL, "damaged: the checksum of the batch is wrong");
	if (at[AT_FORMAT] != BATCH_FORMAT)
		return err_set(err, -EPROTONOSUPPORT, "a batch of format %u, and this program knows %u",
			       (unsigned)(unsigned char)at[AT_FORMAT], BATCH_FORMAT);
	batch_view(value, ret);
	if (le_get(at + AT_SIZE, 4) != ret->rest.len || !cells_ok(ret))
		return err_set(err, -EINVAL, "damaged: the cells of the batch do not fit its head");
	return 0;
}
