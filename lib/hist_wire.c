/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wire form of the histogram, as hist.h lays it out: a base64 stream of
 * bytes, on it a stream of varints, on it the histogram.
 *
 * The decoder reads what peers sent: it trusts nothing, allocates nothing
 * and accepts only what the encoder would have written.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "lib/hist.h"
#include "lib/hist_priv.h"

static const char alphabet[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Bytes on their way into base64. */
struct writer {
	struct buf *out; /* borrowed */
	uint32_t bits;   /* the low `count` ones are not written yet */
	unsigned count;  /* below 6 between calls */
};

static void put_byte(struct writer *w, unsigned char byte)
{
	w->bits = w->bits << 8 | byte;
	for (w->count += 8; w->count >= 6; w->count -= 6)
		(void)buf_add(w->out, &alphabet[w->bits >> (w->count - 6) & 63], 1);
}

static void put_varint(struct writer *w, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		put_byte(w, (unsigned char)(value | 0x80));
	put_byte(w, (unsigned char)value);
}

static void put_end(struct writer *w)
{
	if (w->count)
		(void)buf_add(w->out, &alphabet[w->bits << (6 - w->count) & 63], 1);
}

static void put_buckets(struct writer *w, const struct hist *h)
{
	size_t last = hist_bucket_of(h->max_ns);
	uint64_t run = 0;

	for (size_t i = 0; i <= last; i++) {
		if (!h->buckets[i]) {
			run++;
			continue;
		}
		if (run)
			put_varint(w, run << 1 | 1);
		put_varint(w, h->buckets[i] << 1);
		run = 0;
	}
}

int hist_encode(const struct hist *h, struct buf *out)
{
	struct writer w = {.out = out};

	put_byte(&w, HIST_WIRE_VERSION);
	put_varint(&w, h->overflow);
	if (h->count) {
		put_varint(&w, h->min_ns);
		put_varint(&w, h->max_ns);
		put_buckets(&w, h);
	}
	put_end(&w);
	return out->error;
}

/* Base64 on its way into bytes. */
struct reader {
	struct mp_str in; /* characters not read yet, borrowed */
	uint32_t bits;    /* the low `count` ones are not taken yet */
	unsigned count;   /* below 8 between calls */
	const char *wrong; /* the first thing wrong, or NULL */
};

/* False at the end and after the first mistake. */
static bool get_byte(struct reader *r, unsigned char *ret_byte)
{
	while (r->count < 8) {
		const char *at = NULL;

		if (r->wrong || !r->in.len)
			return false;
		/* strchr() would find the NUL that ends the alphabet. */
		at = memchr(alphabet, *r->in.ptr, sizeof(alphabet) - 1);
		if (!at) {
			r->wrong = "is not base64";
			return false;
		}
		r->bits = r->bits << 6 | (uint32_t)(at - alphabet);
		r->count += 6;
		r->in.ptr++;
		r->in.len--;
	}
	r->count -= 8;
	*ret_byte = (unsigned char)(r->bits >> r->count);
	return true;
}

/* Nothing but the zero bits that fill the last character may be left. */
static bool get_end(struct reader *r)
{
	return !r->in.len && r->count < 6 && !(r->bits & ((1u << r->count) - 1));
}

static uint64_t get_varint(struct reader *r)
{
	uint64_t value = 0;
	unsigned char byte = 0x80;

	for (unsigned shift = 0; byte & 0x80; shift += 7) {
		if (!get_byte(r, &byte)) {
			r->wrong = r->wrong ? r->wrong : "ends too early";
			return 0;
		}
		if ((shift == 63 && byte > 1) || (shift && !byte)) {
			r->wrong = "has a number that is too long";
			return 0;
		}
		value |= (uint64_t)(byte & 0x7f) << shift;
	}
	return value;
}

/* True when another whole byte is to come. */
static bool more(const struct reader *r)
{
	return !r->wrong && r->in.len * 6 + r->count >= 8;
}

/* Adds one count; bounded by what is left of HIST_COUNT_MAX. */
static void take_count(struct reader *r, struct hist *h, size_t bucket, uint64_t n)
{
	if (!n || n > HIST_COUNT_MAX - h->count) {
		r->wrong = "has a count out of range";
		return;
	}
	h->buckets[bucket] = n;
	h->count += n;
}

/* The last bucket in use is the return value. */
static size_t get_buckets(struct reader *r, struct hist *h)
{
	size_t next = 0;
	bool was_run = false;

	while (more(r)) {
		uint64_t token = get_varint(r), n = token >> 1;

		if (next >= HIST_BUCKETS || (token & 1 && n >= HIST_BUCKETS - next))
			r->wrong = "has too many buckets";
		else if (token & 1 && (was_run || !n))
			r->wrong = "has an idle run";
		else if (token & 1)
			next += (size_t)n;
		else if (!r->wrong)
			take_count(r, h, next++, n);
		was_run = token & 1;
	}
	if (!r->wrong && (was_run || !next))
		r->wrong = "ends too early";
	return next - 1;
}

static size_t first_bucket(const struct hist *h)
{
	size_t i = 0;

	while (i < HIST_BUCKETS - 1 && !h->buckets[i])
		i++;
	return i;
}

/* Minimum, maximum and overflow must agree with the buckets. */
static const char *disagreement(const struct hist *h, size_t last)
{
	if (h->min_ns > h->max_ns || h->max_ns > HIST_MAX_NS)
		return "has its ends out of range";
	if (hist_bucket_of(h->min_ns) != first_bucket(h) ||
	    hist_bucket_of(h->max_ns) != last ||
	    (h->count == 1 && h->min_ns != h->max_ns))
		return "has ends that are not in its buckets";
	if (h->overflow > h->buckets[HIST_BUCKETS - 1] ||
	    (h->overflow && h->max_ns != HIST_MAX_NS))
		return "has an overflow that is not in its buckets";
	return NULL;
}

static const char *decode(struct hist *h, struct reader *r)
{
	unsigned char version = 0;
	size_t last;

	if (!get_byte(r, &version))
		return r->wrong ? r->wrong : "is empty";
	if (version != HIST_WIRE_VERSION)
		return "is of an unknown version";
	h->overflow = get_varint(r);
	if (more(r)) {
		h->min_ns = get_varint(r);
		h->max_ns = get_varint(r);
		last = get_buckets(r, h);
		r->wrong = r->wrong ? r->wrong : disagreement(h, last);
	} else if (h->overflow) {
		r->wrong = r->wrong ? r->wrong : "ends too early";
	}
	return r->wrong ? r->wrong : get_end(r) ? NULL : "has something after its end";
}

int hist_decode(struct hist *h, struct mp_str wire, struct err *err)
{
	struct reader r = {.in = wire};
	const char *wrong = "is too long";

	hist_reset(h);
	if (wire.len <= HIST_WIRE_MAX)
		wrong = decode(h, &r);
	if (!wrong)
		return 0;
	hist_reset(h);
	return err_set(err, -EINVAL, "histogram %s", wrong);
}
