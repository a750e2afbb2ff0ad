/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a flight ended, when nobody said so (aggregator/rows/flight.c): it is found, and what came
 * behind it is not undone in this process' copy.
 */
#include "tests/unit/aggregator/checks_ask.h"

#define NAME MP_LIT("r")

static struct row *row_of(void)
{
	return copy_row(stand.copy, NAME);
}

/* What is stored of the row now. */
static struct head stored_head(void)
{
	const struct sim_map *map = sim_store_map(stand.store);
	struct head head = { .last = 0 };
	struct mp_str text;
	struct buf key;

	buf_init(&key, KEY_MAX);
	(void)key_head(&key, PREFIX, NAME);
	text = sim_map_get(map, buf_slice(&key), map->revision);
	(void)head_read(text, &head, NULL);
	buf_fini(&key);
	return head;
}

static bool has_stored(void *ctx)
{
	return stored_head().last == *(uint64_t *)ctx;
}

static void on_meddled(void *ctx, const struct engine_answer *answer)
{
	*(uint64_t *)ctx = answer->outcome == ENGINE_COMMITTED ? answer->revision : UINT64_MAX;
}

static bool is_answered(void *ctx)
{
	return *(uint64_t *)ctx;
}

/* A key and its value. */
struct text {
	struct buf key, value;
};

static void text_init(struct text *text)
{
	buf_init(&text->key, KEY_MAX);
	buf_init(&text->value, HEAD_SIZE_MAX);
}

/* Another member takes the shard and puts one cell; the revision of that. */
static uint64_t put_elsewhere(void)
{
	const struct cell cell = { .kind = CELL_DATA, .content = MP_LIT("other") };
	struct head head = stored_head();
	struct engine_op ops[3] = { 0 };
	struct text texts[3];
	uint64_t revision = 0;

	for (size_t i = 0; i < 3; i++)
		text_init(&texts[i]);
	head.last++;
	head.batch.bytes[0] ^= 1;
	(void)key_owner(&texts[0].key, PREFIX, 0);
	(void)buf_add_str(&texts[0].value, "somebody else");
	(void)key_head(&texts[1].key, PREFIX, NAME);
	(void)head_write(&texts[1].value, &head);
	(void)key_cells(&texts[2].key, PREFIX, NAME, head.incarnation, head.last);
	(void)batch_begin(&texts[2].value, &head.batch, head.last);
	(void)batch_add(&texts[2].value, &cell);
	(void)batch_end(&texts[2].value);
	for (size_t i = 0; i < 3; i++)
		ops[i] = (struct engine_op){ ENGINE_PUT, buf_slice(&texts[i].key), buf_slice(&texts[i].value), false };
	(void)stand.engine->ops->commit(stand.engine, &(struct engine_txn){ .ops = ops, .n_ops = 3 }, on_meddled, &revision);
	(void)until(is_answered, &revision);
	for (size_t i = 0; i < 3; i++) {
		buf_fini(&texts[i].key);
		buf_fini(&texts[i].value);
	}
	return revision;
}

/*
 * It was committed, its answer was lost, and before it is looked for another owner goes on. The watch is
 * slow, so that only the flight's own end tells of all that.
 */
static void test_overtaken(void)
{
	uint64_t three = 3, revision;
	bool old = false;
	struct asked a;

	begin();
	put_many("r", 2);
	stand.engine->ops->unwatch(stand.engine, stand.copy->watch);
	engine_sim_script(stand.engine, SIM_ANSWER_LOST, 1);
	ask(&a, "r", PUT_CELLS, "x");
	ok(until(has_stored, &three) && !a.done, "a put is committed, and the answer lost");
	revision = put_elsewhere();
	ok(revision && revision != UINT64_MAX && !a.done && row_of()->head.last == 2, "another owner puts behind it");
	ok(answer_of(&a) == PUT_COMMITTED && a.answer.seq == 3, "it is found to be there");
	for (int i = 0; i < 5000 && !(row_whole(row_of()) && row_of()->applied == 4); i++) {
		old |= row_whole(row_of()) && row_of()->revision >= revision;
		turn();
	}
	ok(!old, "the head that it wrote is not taken for the one that is there now");
	ok(row_whole(row_of()) && row_of()->applied == 4, "that is read, and its cells");
	end();
}

int main(void)
{
	test_overtaken();
	return done();
}
