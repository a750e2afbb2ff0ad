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
	(void)buf_printf(out,
			 "{\"format\":%d,\"group\":\"%s\",\"generation\":%" PRIu64
			 ",\"shards\":%" PRIu32 ",\"sealed\":%s",
			 META_FORMAT, meta->group, meta->generation, meta->shards,
			 meta->sealed ? "true" : "false");
	if (meta->cluster)
		(void)buf_printf(out, ",\"cluster\":\"%016" PRIx64 "\"", meta->cluster);
	return buf_add_str(out, "}");
}

static void get_all(const struct json_at *at, int format, void *meta, struct json_errs *errs)
{
	struct json_at member = json_at_member(at, "group"), cluster_at = json_at_member(at, "cluster");
	int64_t generation = 0, shards = 0;
	const char *group = "", *cluster = "0000000000000000";
	struct meta *ret = meta;
	uint8_t bytes[16];

	(void)format; /* there is one */
	*ret = (struct meta){ 0 };
	if (!json_get_str(at, "group", JSON_REQUIRED, &group, errs) &&
	    !hex_decode(slice_of(group), bytes, sizeof(bytes)))
		json_errs_add(errs, &member, "wants 32 lower-case hex digits, not %s", JSON_QUOTE(group));
	json_get_int(at, "generation", JSON_REQUIRED, 1, INT64_MAX, &generation, errs);
	json_get_int(at, "shards", JSON_REQUIRED, 1, SHARDS_MAX, &shards, errs);
	json_get_bool(at, "sealed", JSON_REQUIRED, &ret->sealed, errs);
	if (!json_get_str(at, "cluster", JSON_OPTIONAL, &cluster, errs) &&
	    !hex_number(slice_of(cluster), 16, &ret->cluster))
		json_errs_add(errs, &cluster_at, "wants 16 lower-case hex digits, not %s", JSON_QUOTE(cluster));
	if (errs->count)
		return;
	memcpy(ret->group, group, sizeof(ret->group));
	ret->generation = (uint64_t)generation;
	ret->shards = (uint32_t)shards;
}

int meta_read(struct mp_str text, struct meta *ret, struct err *err)
{
	static const struct json_kind kind = { "rows", META_FORMAT, META_FORMAT, META_SIZE_MAX, MISTAKES_MAX, get_all };

	return json_read_kind(text, &kind, ret, err);
}
