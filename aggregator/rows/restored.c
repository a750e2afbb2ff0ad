/* SPDX-License-Identifier: Apache-2.0 */
/* See restored.h. */
#include "aggregator/rows/restored.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "aggregator/rows/keys.h"
#include "lib/slice.h"

enum restored restored_judge(const struct meta *meta, uint64_t identity, const char *accept)
{
	char number[RESTORED_NUMBER_SIZE];

	if (!identity || meta->cluster == identity)
		return RESTORED_NOT;
	if (!meta->cluster)
		return RESTORED_UNKNOWN;
	restored_number(meta, identity, number);
	return accept && strcmp(accept, number) == 0 ? RESTORED_ACCEPTED : RESTORED_REFUSED;
}

void restored_number(const struct meta *meta, uint64_t identity, char out[RESTORED_NUMBER_SIZE])
{
	const uint64_t words[] = { meta->generation, meta->cluster, identity };
	XXH64_hash_t hash = XXH3_64bits_withSeed(words, sizeof(words), XXH3_64bits(meta->group, strlen(meta->group)));

	(void)snprintf(out, RESTORED_NUMBER_SIZE, "%08" PRIx32, (uint32_t)hash);
}

void restored_why(const struct meta *meta, uint64_t identity, char out[RESTORED_WHY_SIZE])
{
	char number[RESTORED_NUMBER_SIZE];

	restored_number(meta, identity, number);
	(void)snprintf(out, RESTORED_WHY_SIZE,
		       "these rows are of etcd cluster %016" PRIx64 " and this is %016" PRIx64 ": a backup was restored, and "
		       "what came behind it is missing. To go on without that: end all mp-aggregators of group %s, start "
		       "one with --accept-loss %s, then the others", meta->cluster, identity, meta->group, number);
}

/* All keys of that kind: `from` has where they begin. */
static struct engine_op all_of(const struct buf *from, struct buf *end)
{
	(void)key_range_end(end, buf_slice(from));
	return (struct engine_op){ ENGINE_DELETE_RANGE, buf_slice(from), buf_slice(end), false };
}

int restored_commit(struct engine *engine, struct mp_str prefix, struct mp_str before, const struct meta *next,
		    struct buf *text, engine_done_fn *done, void *ctx)
{
	enum { META, OWNERS, OWNERS_END, MEMBERS, MEMBERS_END, KEYS };
	struct engine_compare same = { .value = before };
	struct engine_op ops[3];
	struct engine_txn txn = { .compares = &same, .n_compares = 1, .ops = ops, .n_ops = 3 };
	struct buf key[KEYS];
	int rc = -ENOMEM;

	for (int i = 0; i < KEYS; i++)
		buf_init(&key[i], KEY_MAX);
	(void)key_meta(&key[META], prefix);
	(void)key_owners(&key[OWNERS], prefix);
	(void)key_member(&key[MEMBERS], prefix, MP_LIT(""));
	buf_reset(text);
	if (meta_write(text, next) == 0) {
		same.key = buf_slice(&key[META]);
		ops[0] = (struct engine_op){ ENGINE_PUT, same.key, buf_slice(text), false };
		ops[1] = all_of(&key[OWNERS], &key[OWNERS_END]);
		ops[2] = all_of(&key[MEMBERS], &key[MEMBERS_END]);
		rc = 0;
	}
	for (int i = 0; i < KEYS; i++)
		rc = key[i].error ? -ENOMEM : rc;
	if (rc == 0)
		rc = engine->ops->commit(engine, &txn, done, ctx);
	for (int i = 0; i < KEYS; i++)
		buf_fini(&key[i]);
	return rc;
}
