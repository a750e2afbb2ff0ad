/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state file: the chains in force and what each unit's filter wants to
 * keep, so that an open breaker stays open across a restart.
 *
 *   {"version":1,"boot":"<id>","chains":"<chain file>",
 *    "units":[{"key":["dest","pipe","type","prefix"],"state":"<hex>"}]}
 *
 * Times in the states are CLOCK_MONOTONIC: after a reboot they are worthless,
 * hence the boot id.  Written by the control thread, whole, by rename, after
 * each change of state; collected by the data thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/slice.h"
#include "scheduler/control.h"

#define STATE_FILE_MAX (16 * 1024 * 1024)

struct state_mail {
	struct mail mail;
	struct buf units; /* struct state_record and bytes, again and again */
};

static const char *boot_id(void)
{
	static char id[64];
	int fd;
	ssize_t n;

	if (id[0])
		return id;
	fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, id, sizeof(id) - 1);
	if (fd >= 0)
		close(fd);
	id[n > 0 ? n : 0] = '\0';
	id[strcspn(id, "\n")] = '\0';
	if (!id[0])
		memcpy(id, "unknown", sizeof("unknown"));
	return id;
}

/* ------------------------------------------------------- data thread: collect */

/* One unit's state in a letter; its bytes follow. */
struct state_record {
	struct unit *unit; /* alive: a unit's end travels behind this letter */
	size_t size;
};

/* Copies what a filter wants to keep; the control thread does the rest of the work. */
static void unit_collect(struct data *d, struct unit *u, struct buf *out)
{
	struct state_record record = { .unit = u };
	int64_t size = 0;

	u->touched = false;
	if (unit_alive(u) && u->filter->get) {
		unit_enter(u);
		size = u->filter->get(u->self, "state", d->state, UNIT_STATE_MAX);
		unit_leave(u);
	}
	if (size <= 0 || size > UNIT_STATE_MAX)
		return;
	record.size = (size_t)size;
	buf_add(out, &record, sizeof(record));
	buf_add(out, d->state, record.size);
}

static void state_write(void *ctx, struct mail *mail);

void state_collect(struct data *d)
{
	struct state_mail *m = calloc(1, sizeof(*m));

	if (!m || !d->current) {
		free(m);
		return;
	}
	d->touched = false;
	buf_init(&m->units, STATE_FILE_MAX);
	for (uint32_t i = 0; i < d->current->n_units; i++)
		if (d->current->units[i]->touched)
			unit_collect(d, d->current->units[i], &m->units);
	m->mail.back = state_write;
	d->saving = true;
	data_return(d, &m->mail);
}

/* ---------------------------------------------------- control thread: the file */

static void saved(struct data *d, struct mail *mail)
{
	d->saving = false;
	data_return(d, mail);
}

static void mail_free(void *ctx, struct mail *mail)
{
	(void)ctx;
	free(mail);
}

/* A unit's row of the file. */
static char *row_make(const struct unit *u, const unsigned char *state, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	char *hex = malloc(2 * size + 1), *row;
	json_t *object;

	if (!hex)
		return NULL;
	for (size_t i = 0; i < size; i++) {
		hex[2 * i] = digits[state[i] >> 4];
		hex[2 * i + 1] = digits[state[i] & 15];
	}
	hex[2 * size] = '\0';
	object = json_pack("{s:s,s:s}", "key", u->key, "state", hex);
	row = object ? json_dumps(object, JSON_COMPACT) : NULL;
	json_decref(object);
	free(hex);
	return row;
}

/* Keeps each unit's newest row with it. */
static void rows_take(struct mp_str letter)
{
	struct state_record record;

	while (letter.len >= sizeof(record)) {
		memcpy(&record, letter.ptr, sizeof(record));
		letter = slice_skip(letter, sizeof(record));
		free(record.unit->saved);
		record.unit->saved = row_make(record.unit, (const unsigned char *)letter.ptr,
					      record.size);
		letter = slice_skip(letter, record.size);
	}
}

static void file_render(const struct control *c, struct buf *out)
{
	json_t *chains = c->current ? json_string(chains_text(c->current->chains)) : NULL;
	char *quoted = chains ? json_dumps(chains, JSON_ENCODE_ANY) : NULL;
	const char *comma = "";

	buf_printf(out, "{\"version\":1,\"boot\":\"%s\",\"chains\":%s,\"units\":[", boot_id(),
		   quoted ? quoted : "null");
	for (uint32_t i = 0; c->current && i < c->current->n_units; i++)
		if (c->current->units[i]->saved) {
			buf_add_str(out, comma);
			buf_add_str(out, c->current->units[i]->saved);
			comma = ",";
		}
	buf_add_str(out, "]}\n");
	free(quoted);
	json_decref(chains);
}

static void state_write(void *ctx, struct mail *mail)
{
	struct control *c = ctx;
	struct state_mail *m = (struct state_mail *)(void *)mail;
	struct buf out;
	struct err err = { 0 };

	rows_take(buf_slice(&m->units));
	buf_fini(&m->units);
	buf_init(&out, STATE_FILE_MAX);
	file_render(c, &out);
	if (out.error)
		log_warn("state not saved", "reason=%s", LOG_STR("too large"));
	else if (file_write_atomic(c->options->state, buf_slice(&out), &err) < 0)
		log_warn("state not saved", "reason=%s", LOG_STR(err.text));
	buf_fini(&out);
	m->mail.there = saved;
	m->mail.back = mail_free;
	data_post(c->data, &m->mail);
}

int state_load(struct control *c, struct err *err)
{
	struct buf text;
	struct err why = { 0 };
	json_t *state = NULL;
	int r;

	(void)err;
	if (!c->options->state || access(c->options->state, F_OK) < 0)
		return 0;
	r = file_read(c->options->state, STATE_FILE_MAX, &text, &why);
	if (r == 0) {
		r = json_load_text(buf_slice(&text), STATE_FILE_MAX, 8, &state, &why);
		buf_fini(&text);
	}
	if (r == 0 && strcmp(json_string_value(json_object_get(state, "boot")) ?
			     json_string_value(json_object_get(state, "boot")) : "", boot_id())) {
		r = err_set(&why, -ESTALE, "written before the last reboot");
		json_decref(state);
		state = NULL;
	}
	/* Without its state a scheduler starts afresh: that is never a reason not to start. */
	if (r < 0)
		log_warn("state file ignored", "path=%s reason=%s", LOG_STR(c->options->state),
			 LOG_STR(why.text));
	c->state = state;
	return 0;
}

const char *state_chains(const struct control *c)
{
	const char *kept = keep_get(c->options->keep);

	return kept ? kept : json_string_value(json_object_get(c->state, "chains"));
}

static int unhex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void *hex_decode(const char *hex, size_t *ret_size)
{
	size_t n = strlen(hex) / 2;
	unsigned char *bytes = n && n <= UNIT_STATE_MAX ? malloc(n) : NULL;

	for (size_t i = 0; bytes && i < n; i++) {
		int high = unhex(hex[2 * i]), low = unhex(hex[2 * i + 1]);

		if (high < 0 || low < 0) {
			free(bytes);
			return NULL;
		}
		bytes[i] = (unsigned char)(high << 4 | low);
	}
	*ret_size = n;
	return bytes;
}

void state_give(struct control *c, struct chainset *set)
{
	const json_t *units = json_object_get(c->state, "units"), *row;
	size_t at;

	json_array_foreach(units, at, row) {
		const char *key = json_string_value(json_object_get(row, "key"));
		const char *hex = json_string_value(json_object_get(row, "state"));

		for (uint32_t i = 0; key && hex && i < set->n_units; i++) {
			struct unit *u = set->units[i];

			if (!u->started && !u->restored && !strcmp(u->key, key))
				u->restored = hex_decode(hex, &u->restored_size);
		}
	}
}
