/* SPDX-License-Identifier: Apache-2.0 */
/* See meta.h. */
#include "aggregator/rows/meta.h"

#include <inttypes.h>
#include <string.h>

#include "aggregator/rows/keys.h"
#include "lib/hex.h"
#include "lib/json.h"
#include "lib/slice.h"

#define MISTAKES_MAX 8

int meta_write(struct buf *out, const struct meta *meta)
{
	return buf_printf(out,
			  "{\"format\":%d,\"group\":\"%s\",\"generation\":%" PRIu64
			  ",\"shards\":%" PRIu32 ",\"sealed\":%s}",
			  META_FORMAT, meta->group, meta->generation, meta->shards,
			  meta->sealed ? "true" : "false");
}

static void get_all(const struct json_at *at, struct meta *ret, struct json_errs *errs)
{
	struct json_at member = json_at_member(at, "group");
	int64_t generation = 0, shards = 0;
	const char *group = "";
	uint8_t bytes[16];

	if (!json_get_str(at, "group", JSON_REQUIRED, &group, errs) &&
	    !hex_decode(slice_of(group), bytes, sizeof(bytes)))
		json_errs_add(errs, &member, "wants 32 lower-case hex digits, not %s", JSON_QUOTE(group));
	json_get_int(at, "generation", JSON_REQUIRED, 1, INT64_MAX, &generation, errs);
	json_get_int(at, "shards", JSON_REQUIRED, 1, SHARDS_MAX, &shards, errs);
	json_get_bool(at, "sealed", JSON_REQUIRED, &ret->sealed, errs);
	if (errs->count)
		return;
	memcpy(ret->group, group, sizeof(ret->group));
	ret->generation = (uint64_t)generation;
	ret->shards = (uint32_t)shards;
}

int meta_read(struct mp_str text, struct meta *ret, struct err *err)
{
	CLEANUP_JSON json_t *value = NULL;
	struct json_errs errs;
	struct json_at root;
	int64_t format = 0;
	int rc = json_load_text(text, META_SIZE_MAX, 2, &value, err);

	if (rc)
		return rc == -ENOMEM ? rc : -EINVAL;
	root = json_at_root(value);
	*ret = (struct meta){ 0 };
	json_errs_init(&errs, MISTAKES_MAX);
	json_get_int(&root, "format", JSON_REQUIRED, 1, INT32_MAX, &format, &errs);
	if (!errs.count && format != META_FORMAT)
		rc = err_set(err, -EPROTONOSUPPORT, "rows of format %d, and this program knows %d", (int)format,
			     META_FORMAT);
	else
		get_all(&root, ret, &errs);
	if (!rc)
		rc = json_errs_result(&errs, err);
	json_errs_fini(&errs);
	return rc;
}
