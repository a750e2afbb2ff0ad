/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batches, heads and keys of any bytes, as a damaged disk or another program could
 * leave them: what is taken can be written, and gives the same bytes again.
 * The checksum is set right first, else nothing else would ever be looked at.
 * With FUZZ_PLANT the target keeps an origin where it has no room.
 */
#include "aggregator/rows/batch.h"
#include "aggregator/rows/head.h"
#include "aggregator/rows/keys.h"

#include <stdlib.h>
#include <string.h>

#include "lib/slice.h"
#include "tests/fuzz/replay.h"

#define ROOM ((size_t)1 << 20)

#ifdef FUZZ_PLANT
/* The planted bug: an origin may be longer than that. */
static void plant(const struct cell *cell)
{
	char *copy = malloc(16);

	for (size_t i = 0; copy && i < cell->origin.len; i++)
		((char *volatile)copy)[i] = cell->origin.ptr[i];
	free(copy);
}
#else
static void plant(const struct cell *cell)
{
	(void)cell; /* no bug in an honest build */
}
#endif

static void check_batch(const uint8_t *data, size_t size)
{
	struct buf value, again;
	struct batch batch;
	struct cell cell;
	struct err err;

	buf_init(&value, ROOM);
	buf_init(&again, ROOM);
	buf_add(&value, data, size);
	if (value.len >= BATCH_HEAD_SIZE)
		batch_sum(&value);
	if (!batch_open(buf_slice(&value), &batch, &err)) {
		struct batch_id id = batch.id;

		batch_begin(&again, &id, batch.first);
		while (batch_next(&batch, &cell)) {
			plant(&cell);
			FUZZ_CHECK(!batch_add(&again, &cell));
		}
		FUZZ_CHECK(!batch_end(&again) && again.len == value.len);
		/* Reserved bytes are ignored when read and zero when written. */
		memset(value.ptr + 5, 0, 3);
		batch_sum(&value);
		FUZZ_CHECK(!memcmp(again.ptr, value.ptr, value.len));
	}
	buf_fini(&value);
	buf_fini(&again);
}

static void make_key(struct buf *out, struct mp_str prefix, const struct key *key)
{
	struct mp_str name = { key->name, key->name_size };

	switch (key->kind) {
	case KEY_META: key_meta(out, prefix); break;
	case KEY_MEMBER: key_member(out, prefix, name); break;
	case KEY_OWNER: key_owner(out, prefix, key->shard); break;
	case KEY_HEAD: key_head(out, prefix, name); break;
	case KEY_CELLS: key_cells(out, prefix, name, key->incarnation, key->seq); break;
	case KEY_FORK: key_fork(out, prefix, name); break;
	case KEY_SNAPSHOT:
		key_snapshot(out, prefix, name, key->incarnation, key->seq, key->part);
		break;
	case KEY_TOKEN: key_token(out, prefix, name); break;
	}
}

static void check_key(struct mp_str text)
{
	struct mp_str prefix = MP_LIT("middlepipe/t/");
	struct key key;
	struct buf again;

	if (key_parse(text, prefix, &key))
		return;
	buf_init(&again, KEY_MAX);
	make_key(&again, prefix, &key);
	FUZZ_CHECK(!again.error && slice_eq(buf_slice(&again), text));
	buf_fini(&again);
}

static void check_head(struct mp_str text)
{
	struct head head, again;
	struct buf out;
	struct err err;

	if (head_read(text, &head, &err))
		return;
	buf_init(&out, HEAD_SIZE_MAX);
	FUZZ_CHECK(!head_write(&out, &head) && !head_read(buf_slice(&out), &again, &err));
	FUZZ_CHECK(again.last == head.last && again.floor == head.floor &&
		   again.incarnation == head.incarnation && !strcmp(again.check, head.check));
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_head(slice_make(data, size));
	check_batch(data, size);
	check_key(slice_make(data, size));
	return 0;
}
