/* SPDX-License-Identifier: Apache-2.0 */
/* See sqlite_known.h. */
#include "aggregator/rows/engine/sqlite_known.h"

#include <xxhash.h>

#include "aggregator/rows/engine/engine.h"
#include "lib/slice.h"

static size_t place_of(struct mp_str key)
{
	return XXH3_64bits(key.ptr, key.len) & (KNOWN_PLACES - 1);
}

void known_init(struct known *known)
{
	for (size_t i = 0; i < KNOWN_PLACES; i++) {
		buf_init(&known->place[i].key, ENGINE_KEY_MAX);
		buf_init(&known->place[i].value, KNOWN_VALUE_MAX);
	}
}

void known_fini(struct known *known)
{
	for (size_t i = 0; i < KNOWN_PLACES; i++) {
		buf_fini(&known->place[i].key);
		buf_fini(&known->place[i].value);
	}
}

static bool is_for(const struct known_value *v, struct mp_str key)
{
	return v->key.len && slice_eq(buf_slice(&v->key), key);
}

bool known_get(const struct known *known, struct mp_str key, struct mp_str *ret)
{
	const struct known_value *v = &known->place[place_of(key)];

	if (!is_for(v, key))
		return false;
	*ret = buf_slice(&v->value);
	if (!v->there)
		ret->ptr = NULL;
	else if (!ret->ptr)
		ret->ptr = "";
	return true;
}

static void forget(struct known_value *v)
{
	buf_reset(&v->key);
}

void known_read(struct known *known, struct mp_str key, struct mp_str value)
{
	struct known_value *v = &known->place[place_of(key)];

	buf_reset(&v->key);
	buf_reset(&v->value);
	v->there = value.ptr;
	if (value.len > KNOWN_VALUE_MAX || buf_add_slice(&v->value, value) || buf_add_slice(&v->key, key))
		forget(v); /* an error goes with the reset */
}

void known_write(struct known *known, struct mp_str key, struct mp_str value)
{
	if (is_for(&known->place[place_of(key)], key))
		known_read(known, key, value);
}

void known_forget(struct known *known)
{
	for (size_t i = 0; i < KNOWN_PLACES; i++)
		forget(&known->place[i]);
}

void known_forget_range(struct known *known, struct mp_str from, struct mp_str end)
{
	for (size_t i = 0; i < KNOWN_PLACES; i++) {
		struct mp_str key = buf_slice(&known->place[i].key);

		if (key.len && slice_compare(key, from) >= 0 && slice_compare(key, end) < 0)
			forget(&known->place[i]);
	}
}
