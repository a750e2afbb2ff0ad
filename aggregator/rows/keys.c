/* SPDX-License-Identifier: Apache-2.0 */
/* See keys.h. */
#include "aggregator/rows/keys.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <xxhash.h>

#include "lib/hex.h"
#include "lib/slice.h"
#include "lib/utf8.h"

#define ROOT "middlepipe/"
#define HEX 16 /* digits of a 64-bit number */

/* The folder of each kind, as it stands in a key; all but meta end with a slash. */
static const struct mp_str folders[] = {
	[KEY_META] = MP_LIT_INIT("meta"),    [KEY_MEMBER] = MP_LIT_INIT("member/"), [KEY_OWNER] = MP_LIT_INIT("owner/"),
	[KEY_HEAD] = MP_LIT_INIT("row/"),    [KEY_CELLS] = MP_LIT_INIT("cells/"),   [KEY_FORK] = MP_LIT_INIT("fork/"),
	[KEY_SNAPSHOT] = MP_LIT_INIT("snap/"),
	[KEY_TOKEN] = MP_LIT_INIT("token/"),
};

/* ---------------------------------------------------------------------- names */

int row_name_check(struct mp_str name, struct err *err)
{
	if (!name.len || name.len > ROW_NAME_MAX)
		return err_set(err, -EINVAL, "the name of a row has 1 to %d bytes, not %zu",
			       ROW_NAME_MAX, name.len);
	for (struct mp_str rest = name; rest.len;) {
		size_t len = utf8_size(rest);

		if (!len)
			return err_set(err, -EINVAL, "the name of a row is UTF-8");
		if ((unsigned char)rest.ptr[0] < ' ' || rest.ptr[0] == 0x7f)
			return err_set(err, -EINVAL, "the name of a row has no control characters");
		if (rest.ptr[0] == '~')
			return err_set(err, -EINVAL, "'~' is for the rows of forks");
		rest = slice_skip(rest, len);
	}
	return 0;
}

static bool is_plain(char c)
{
	return (unsigned char)c >= ' ' && c != 0x7f && c != '/' && c != '%';
}

#define ESCAPED_MAX (3 * ROW_NAME_MAX)

/* Writes at most ESCAPED_MAX bytes; how many.  What is longer than a name may be is cut. */
static size_t escape_to(char *out, struct mp_str name)
{
	size_t n = 0;

	for (size_t i = 0; i < name.len && i < ROW_NAME_MAX; i++) {
		if (is_plain(name.ptr[i])) {
			out[n++] = name.ptr[i];
			continue;
		}
		out[n++] = '%';
		hex_encode(out + n, &name.ptr[i], 1);
		n += 2;
	}
	return n;
}

static int escape(struct buf *out, struct mp_str name)
{
	char memory[ESCAPED_MAX];

	if (name.len > ROW_NAME_MAX)
		return out->error = out->error ? out->error : -E2BIG;
	return buf_add(out, memory, escape_to(memory, name));
}

/* Only what escape() writes: there is one key for a name. */
static bool unescape(struct mp_str text, struct key *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < text.len; i++, n++) {
		uint64_t byte = (unsigned char)text.ptr[i];

		if (n == ROW_NAME_MAX)
			return false;
		if (text.ptr[i] == '%') {
			struct mp_str digits = slice_skip(text, i + 1);

			digits.len = digits.len < 2 ? digits.len : 2;
			if (!hex_number(digits, 2, &byte) || !byte || is_plain((char)byte))
				return false;
			i += 2;
		} else if (!is_plain(text.ptr[i])) {
			return false;
		}
		ret->name[n] = (char)byte;
	}
	ret->name[n] = '\0';
	ret->name_size = n;
	return n > 0;
}

/* ----------------------------------------------------------------------- keys */

int key_root(struct buf *out)
{
	return buf_add_str(out, ROOT);
}

int key_prefix(struct buf *out, struct mp_str tenant)
{
	buf_add_str(out, ROOT);
	escape(out, tenant);
	return buf_add_str(out, "/");
}

static void begin(struct buf *out, struct mp_str prefix, enum key_kind kind)
{
	buf_add_slice(out, prefix);
	buf_add_slice(out, folders[kind]);
}

int key_meta(struct buf *out, struct mp_str prefix)
{
	begin(out, prefix, KEY_META);
	return out->error;
}

int key_member(struct buf *out, struct mp_str prefix, struct mp_str id)
{
	begin(out, prefix, KEY_MEMBER);
	return escape(out, id);
}

int key_owner(struct buf *out, struct mp_str prefix, uint32_t shard)
{
	begin(out, prefix, KEY_OWNER);
	return buf_printf(out, "%02" PRIx32, shard);
}

int key_head(struct buf *out, struct mp_str prefix, struct mp_str name)
{
	begin(out, prefix, KEY_HEAD);
	return escape(out, name);
}

int key_cells(struct buf *out, struct mp_str prefix, struct mp_str name, uint64_t incarnation,
	      uint64_t first_seq)
{
	begin(out, prefix, KEY_CELLS);
	escape(out, name);
	return buf_printf(out, "/%016" PRIx64 "/%016" PRIx64, incarnation, first_seq);
}

int key_fork(struct buf *out, struct mp_str prefix, struct mp_str uuid)
{
	begin(out, prefix, KEY_FORK);
	return escape(out, uuid);
}

int key_owners(struct buf *out, struct mp_str prefix)
{
	begin(out, prefix, KEY_OWNER);
	return out->error;
}

int key_snapshots(struct buf *out, struct mp_str prefix)
{
	begin(out, prefix, KEY_SNAPSHOT);
	return out->error;
}

int key_snapshot(struct buf *out, struct mp_str prefix, struct mp_str name, uint64_t incarnation,
		 uint64_t seq, uint32_t part)
{
	begin(out, prefix, KEY_SNAPSHOT);
	escape(out, name);
	return buf_printf(out, "/%016" PRIx64 "/%016" PRIx64 "/%04" PRIx32, incarnation, seq, part);
}

int key_token(struct buf *out, struct mp_str prefix, struct mp_str hash)
{
	begin(out, prefix, KEY_TOKEN);
	return escape(out, hash);
}

int key_heads(struct buf *out, struct mp_str prefix, struct mp_str names)
{
	return key_head(out, prefix, names);
}

int key_range_end(struct buf *out, struct mp_str prefix)
{
	char last;

	/* Keys are UTF-8: 0xff is in none. */
	if (!prefix.len || (unsigned char)prefix.ptr[prefix.len - 1] == 0xff)
		return -EINVAL;
	last = (char)(prefix.ptr[prefix.len - 1] + 1);
	buf_add(out, prefix.ptr, prefix.len - 1);
	return buf_add(out, &last, 1);
}

int key_cells_order(struct mp_str name, struct mp_str other)
{
	char a[ESCAPED_MAX + 1], b[ESCAPED_MAX + 1];
	size_t n_a = escape_to(a, name), n_b = escape_to(b, other);

	a[n_a++] = b[n_b++] = '/'; /* which is not the least byte */
	return slice_compare(slice_make(a, n_a), slice_make(b, n_b));
}

int key_behind(struct buf *out, struct mp_str key)
{
	buf_reset(out);
	buf_add_slice(out, key);
	return buf_add(out, "", 1);
}

/* <name>/<incarnation>/<first seq>; the name has no slash of its own. */
static bool parse_cells(struct mp_str rest, struct key *ret)
{
	struct mp_str name, incarnation, seq;

	return slice_cut(rest, '/', &name, &rest) && slice_cut(rest, '/', &incarnation, &seq) &&
	       hex_number(incarnation, HEX, &ret->incarnation) && hex_number(seq, HEX, &ret->seq) &&
	       ret->seq && unescape(name, ret);
}

/* <name>/<incarnation>/<seq>/<part> */
static bool parse_snapshot(struct mp_str rest, struct key *ret)
{
	uint64_t part = 0;
	struct mp_str digits = slice_skip(rest, rest.len < 4 ? 0 : rest.len - 4);

	if (rest.len < 5 || digits.ptr[-1] != '/' || !hex_number(digits, 4, &part))
		return false;
	ret->part = (uint32_t)part;
	rest.len -= 5;
	return parse_cells(rest, ret);
}

static bool parse_shard(struct mp_str rest, struct key *ret)
{
	uint64_t shard = 0;
	bool good = hex_number(rest, 2, &shard);

	ret->shard = (uint32_t)shard;
	return good;
}

static bool parse_nothing(struct mp_str rest, struct key *ret)
{
	(void)ret;
	return !rest.len;
}

int key_parse(struct mp_str key, struct mp_str prefix, struct key *ret)
{
	static bool (*const parse[])(struct mp_str, struct key *) = {
		[KEY_META] = parse_nothing, [KEY_MEMBER] = unescape,  [KEY_OWNER] = parse_shard,
		[KEY_HEAD] = unescape,      [KEY_CELLS] = parse_cells, [KEY_FORK] = unescape,
		[KEY_SNAPSHOT] = parse_snapshot,
		[KEY_TOKEN] = unescape,
	};
	struct mp_str rest = slice_skip(key, prefix.len);

	memset(ret, 0, offsetof(struct key, name) + 1);
	ret->name_size = 0;
	if (!slice_starts(key, prefix))
		return -EINVAL;
	for (size_t i = 0; i < sizeof(parse) / sizeof(parse[0]); i++) {
		if (!slice_starts(rest, folders[i]))
			continue;
		ret->kind = (enum key_kind)i;
		return parse[i](slice_skip(rest, folders[i].len), ret) ? 0 : -EINVAL;
	}
	return -EINVAL;
}

uint32_t row_shard(struct mp_str name, uint32_t n_shards)
{
	char memory[ESCAPED_MAX];

	/* Escaped: that is what every member sees in the engine. */
	return (uint32_t)(XXH64(memory, escape_to(memory, name), 0) % n_shards);
}
