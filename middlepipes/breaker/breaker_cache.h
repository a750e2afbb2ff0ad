/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The good answers that the fallback "last-good" repeats while the circuit is
 * open.
 *
 * For filter.c only.  It must never give one user's answer to another, hence
 * only what is plainly public is kept: GET answered by a complete 200, with
 * nothing on either side that looks like a credential, a cookie, `private` or
 * `no-store`.  The key is the whole URL and the request fields that the
 * response's Vary and the configuration name.  Bounded in entries, bytes and
 * age; the least recently used goes first.
 */
#ifndef MIDDLEPIPES_BREAKER_CACHE_H
#define MIDDLEPIPES_BREAKER_CACHE_H

#include <stdlib.h>

#include <middlepipe/filter.h>

#include "middlepipes/breaker/breaker_machine.h"

#define CACHE_VARIANT_MAX 2048u /* bytes of the varying request fields, with their names */
#define CACHE_FIELDS_MAX 64u    /* response fields kept; an answer with more is not stored */

/* One answer; everything it points to is in the same block of memory. */
struct cache_entry {
	uint64_t hash;      /* of url */
	uint64_t stored_ns;
	uint64_t used;      /* grows with each use: the least is evicted */
	size_t size;        /* of the block */
	struct mp_str url;  /* scheme, authority, path, each ended by a line feed */
	struct mp_str vary; /* names that vary, divided by commas */
	struct mp_str variant; /* what the request said in them: cache_variant() */
	struct mp_str body;
	struct mp_field *fields;
	size_t n_fields;
};

struct cache {
	size_t max_entries;
	size_t max_bytes;
	uint64_t max_age_ns;
	struct mp_str vary;           /* always part of the key; borrowed from the owner */
	size_t n;                     /* entries in use */
	size_t n_bytes;
	uint64_t clock;               /* counts uses */
	struct cache_entry **entries; /* max_entries */
};

/* -------------------------------------------------------- bytes and fields */

static inline char cache_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static inline bool cache_same_name(struct mp_str a, struct mp_str b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (cache_lower(a.ptr[i]) != cache_lower(b.ptr[i]))
			return false;
	return true;
}

static inline bool cache_same(struct mp_str a, struct mp_str b)
{
	return a.len == b.len && (!a.len || !memcmp(a.ptr, b.ptr, a.len));
}

static inline struct mp_str cache_word(const char *word)
{
	return (struct mp_str){word, strlen(word)};
}

/* Does the text contain the word, whatever its case? */
static inline bool cache_contains(struct mp_str text, const char *word)
{
	size_t len = strlen(word);

	for (size_t i = 0; i + len <= text.len; i++)
		if (cache_same_name((struct mp_str){text.ptr + i, len}, cache_word(word)))
			return true;
	return false;
}

static inline bool cache_name_is_in(struct mp_str name, const char *const *names)
{
	for (; *names; names++)
		if (cache_same_name(name, cache_word(*names)))
			return true;
	return false;
}

/* Takes the next element off a comma-divided list; false: there is none. */
static inline bool cache_next(struct mp_str *list, struct mp_str *ret)
{
	while (list->len && (*list->ptr == ',' || *list->ptr == ' ' || *list->ptr == '\t')) {
		list->ptr++;
		list->len--;
	}
	*ret = (struct mp_str){list->ptr, 0};
	while (list->len && *list->ptr != ',') {
		list->ptr++;
		list->len--;
		ret->len++;
	}
	while (ret->len && (ret->ptr[ret->len - 1] == ' ' || ret->ptr[ret->len - 1] == '\t'))
		ret->len--;
	return ret->len > 0;
}

/* Text being put together in a buffer of fixed size. */
struct cache_text {
	char *buf;
	size_t size;
	size_t len;
	bool full; /* something did not fit */
};

static inline void cache_put(struct cache_text *text, struct mp_str part, char end)
{
	if (text->size - text->len < part.len + 1) {
		text->full = true;
		return;
	}
	if (part.len)
		memcpy(text->buf + text->len, part.ptr, part.len);
	text->len += part.len;
	text->buf[text->len++] = end;
}

static inline struct mp_str cache_text_str(const struct cache_text *text)
{
	return (struct mp_str){text->buf, text->len};
}

/* ------------------------------------------------------- what may be kept */

/* Request fields that name a user, by any part of their name. */
static const char *const cache_private_words[] = {"auth",  "cookie", "token",   "key",
						  "secret", "session", "credential", "passw",
						  "user", "signature", NULL};

/* Request fields that ask for something other than the whole plain answer. */
static const char *const cache_special_requests[] = {
	"range", "content-length", "transfer-encoding", "upgrade", NULL};

/* Response fields of one connection or one message: not repeated. */
static const char *const cache_dropped_fields[] = {
	"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "te", "trailer",
	"transfer-encoding", "upgrade", "content-length", "age", "retry-after", "middlepipe", NULL};

static inline bool cache_is_private_name(struct mp_str name)
{
	if (cache_same_name(name, cache_word("user-agent")))
		return false;
	for (const char *const *word = cache_private_words; *word; word++)
		if (cache_contains(name, *word))
			return true;
	return false;
}

/* May this request be answered from, or fill, the cache? */
static inline bool cache_takes_request(const struct mp_exchange *x)
{
	if (!cache_same(x->method, cache_word("GET")))
		return false;
	for (size_t i = 0; i < x->n_request_fields; i++) {
		struct mp_str name = x->request_fields[i].name;

		if (cache_is_private_name(name) || cache_name_is_in(name, cache_special_requests))
			return false;
		if (cache_same_name(name, cache_word("cache-control")) &&
		    cache_contains(x->request_fields[i].value, "no-store"))
			return false;
	}
	return true;
}

static inline bool cache_field_forbids(const struct mp_field *field)
{
	if (cache_same_name(field->name, cache_word("set-cookie")))
		return true;
	if (cache_same_name(field->name, cache_word("vary")))
		return cache_contains(field->value, "*");
	if (!cache_same_name(field->name, cache_word("cache-control")))
		return false;
	return cache_contains(field->value, "private") || cache_contains(field->value, "no-store");
}

static inline bool cache_takes_response(const struct mp_exchange *x)
{
	if (x->status != 200 || x->error || (x->flags & MP_X_SYNTHESIZED) ||
	    !(x->flags & MP_X_RESPONSE_BODY_COMPLETE) || x->n_response_fields > CACHE_FIELDS_MAX)
		return false;
	for (size_t i = 0; i < x->n_response_fields; i++)
		if (cache_field_forbids(&x->response_fields[i]))
			return false;
	return true;
}

/* -------------------------------------------------------------------- keys */

static inline uint64_t cache_hash(struct mp_str text)
{
	uint64_t hash = 14695981039346656037ull; /* FNV-1a */

	for (size_t i = 0; i < text.len; i++)
		hash = (hash ^ (unsigned char)text.ptr[i]) * 1099511628211ull;
	return hash;
}

static inline void cache_url(const struct mp_exchange *x, struct cache_text *text)
{
	cache_put(text, x->scheme, '\n');
	cache_put(text, x->authority, '\n');
	cache_put(text, x->path, '\n');
}

/* The values of the named request fields, so that equal bytes mean equal values. */
static inline void cache_variant(struct mp_str vary, const struct mp_exchange *x,
				 struct cache_text *text)
{
	struct mp_str name;

	while (cache_next(&vary, &name)) {
		for (size_t i = 0; i < x->n_request_fields; i++)
			if (cache_same_name(x->request_fields[i].name, name))
				cache_put(text, x->request_fields[i].value, '\r');
		cache_put(text, (struct mp_str){NULL, 0}, '\n');
	}
}

/* --------------------------------------------------------------- the store */

static inline void cache_drop(struct cache *cache, size_t i)
{
	cache->n_bytes -= cache->entries[i]->size;
	free(cache->entries[i]);
	cache->entries[i] = cache->entries[--cache->n];
}

static inline void cache_clear(struct cache *cache)
{
	while (cache->n)
		cache_drop(cache, cache->n - 1);
}

/* Drops every variant of a URL. */
static inline void cache_forget(struct cache *cache, struct mp_str url)
{
	uint64_t hash = cache_hash(url);

	for (size_t i = cache->n; i-- > 0;)
		if (cache->entries[i]->hash == hash && cache_same(cache->entries[i]->url, url))
			cache_drop(cache, i);
}

static inline bool cache_matches(const struct cache_entry *entry, const struct mp_exchange *x)
{
	char buf[CACHE_VARIANT_MAX];
	struct cache_text variant = {.buf = buf, .size = sizeof(buf)};

	cache_variant(entry->vary, x, &variant);
	return !variant.full && cache_same(entry->variant, cache_text_str(&variant));
}

static inline size_t cache_find_index(const struct cache *cache, struct mp_str url,
				      const struct mp_exchange *x)
{
	uint64_t hash = cache_hash(url);
	size_t i;

	for (i = 0; i < cache->n; i++)
		if (cache->entries[i]->hash == hash && cache_same(cache->entries[i]->url, url) &&
		    cache_matches(cache->entries[i], x))
			break;
	return i;
}

/* The answer to that request, or NULL; it stays until the next change. */
static inline const struct cache_entry *cache_find(struct cache *cache,
						   const struct mp_exchange *x, uint64_t now_ns)
{
	char buf[CACHE_VARIANT_MAX];
	struct cache_text url = {.buf = buf, .size = sizeof(buf)};
	size_t i;

	cache_url(x, &url);
	if (url.full || !cache_takes_request(x))
		return NULL;
	i = cache_find_index(cache, cache_text_str(&url), x);
	if (i == cache->n)
		return NULL;
	if (now_ns - cache->entries[i]->stored_ns > cache->max_age_ns) {
		cache_drop(cache, i);
		return NULL;
	}
	cache->entries[i]->used = ++cache->clock;
	return cache->entries[i];
}

static inline bool cache_make_room(struct cache *cache, size_t size)
{
	if (size > cache->max_bytes)
		return false;
	while (cache->n >= cache->max_entries || cache->n_bytes + size > cache->max_bytes) {
		size_t oldest = 0;

		for (size_t i = 1; i < cache->n; i++)
			if (cache->entries[i]->used < cache->entries[oldest]->used)
				oldest = i;
		cache_drop(cache, oldest);
	}
	return true;
}

static inline struct mp_str cache_copy(char **at, struct mp_str from)
{
	struct mp_str copy = {*at, from.len};

	if (from.len)
		memcpy(*at, from.ptr, from.len);
	*at += from.len;
	return copy;
}

static inline size_t cache_entry_size(const struct mp_exchange *x, size_t head)
{
	size_t size = sizeof(struct cache_entry) + head + x->response_body.len +
		      x->n_response_fields * sizeof(struct mp_field);

	for (size_t i = 0; i < x->n_response_fields; i++)
		size += x->response_fields[i].name.len + x->response_fields[i].value.len;
	return size;
}

static inline struct cache_entry *cache_make_entry(const struct mp_exchange *x, struct mp_str url,
						   struct mp_str vary, struct mp_str variant)
{
	size_t size = cache_entry_size(x, url.len + vary.len + variant.len);
	struct cache_entry *entry = malloc(size);
	char *at;

	if (!entry)
		return NULL;
	*entry = (struct cache_entry){.hash = cache_hash(url), .size = size};
	entry->fields = (struct mp_field *)(void *)(entry + 1);
	at = (char *)(entry->fields + x->n_response_fields);
	entry->url = cache_copy(&at, url);
	entry->vary = cache_copy(&at, vary);
	entry->variant = cache_copy(&at, variant);
	entry->body = cache_copy(&at, x->response_body);
	for (size_t i = 0; i < x->n_response_fields; i++) {
		const struct mp_field *field = &x->response_fields[i];

		if (!cache_name_is_in(field->name, cache_dropped_fields))
			entry->fields[entry->n_fields++] =
				(struct mp_field){cache_copy(&at, field->name),
						  cache_copy(&at, field->value)};
	}
	return entry;
}

/* The configured names, then those of the response's own Vary fields. */
static inline void cache_vary(const struct cache *cache, const struct mp_exchange *x,
			      struct cache_text *text)
{
	if (cache->vary.len)
		cache_put(text, cache->vary, ',');
	for (size_t i = 0; i < x->n_response_fields; i++)
		if (cache_same_name(x->response_fields[i].name, cache_word("vary")))
			cache_put(text, x->response_fields[i].value, ',');
}

static inline void cache_store(struct cache *cache, const struct mp_exchange *x, struct mp_str url,
			       uint64_t now_ns)
{
	char vary_buf[CACHE_VARIANT_MAX], variant_buf[CACHE_VARIANT_MAX];
	struct cache_text vary = {.buf = vary_buf, .size = sizeof(vary_buf)};
	struct cache_text variant = {.buf = variant_buf, .size = sizeof(variant_buf)};
	struct cache_entry *entry;

	cache_vary(cache, x, &vary);
	cache_variant(cache_text_str(&vary), x, &variant);
	if (vary.full || variant.full)
		return;
	entry = cache_make_entry(x, url, cache_text_str(&vary), cache_text_str(&variant));
	if (!entry)
		return; /* without memory nothing is kept, which costs a fallback */
	if (!cache_make_room(cache, entry->size)) {
		free(entry);
		return;
	}
	entry->stored_ns = now_ns;
	entry->used = ++cache->clock;
	cache->n_bytes += entry->size;
	cache->entries[cache->n++] = entry;
}

/* Methods that change nothing (RFC 9110, 9.2.1). */
static const char *const cache_safe_methods[] = {"GET", "HEAD", "OPTIONS", "TRACE", NULL};

/*
 * Sees an exchange with its response: keeps a good answer, and forgets what the
 * service has taken back or changed since.  Failures of the service leave what
 * there is: it is for them.
 */
static inline void cache_observe(struct cache *cache, const struct mp_exchange *x, uint64_t now_ns)
{
	char buf[CACHE_VARIANT_MAX];
	struct cache_text url = {.buf = buf, .size = sizeof(buf)};
	bool get = cache_same(x->method, cache_word("GET"));
	size_t i;

	if (x->error || (x->flags & MP_X_SYNTHESIZED) || x->status < 200 || x->status >= 500 ||
	    x->status == 304 || x->status == 429)
		return;
	cache_url(x, &url);
	if (url.full)
		return;
	if (!get && !cache_name_is_in(x->method, cache_safe_methods)) {
		cache_forget(cache, cache_text_str(&url));
	} else if (get && cache_takes_request(x)) {
		i = cache_find_index(cache, cache_text_str(&url), x);
		if (i < cache->n)
			cache_drop(cache, i);
		if (cache_takes_response(x))
			cache_store(cache, x, cache_text_str(&url), now_ns);
		else
			cache_forget(cache, cache_text_str(&url));
	}
}

#endif
