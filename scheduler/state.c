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
	struct buf units; /* JSON, the elements of "units" */
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

static void unit_collect(struct data *d, const struct unit *u, struct buf *out)
{
	int64_t size = 0;
	char *key = NULL;
	json_t *text;

	if (unit_alive(u) && u->filter->get) {
		unit_enter(u);
		size = u->filter->get(u->self, "state", d->state, UNIT_STATE_MAX);
		unit_leave(u);
	}
	if (size <= 0 || size > UNIT_STATE_MAX)
		return;
	text = json_string(u->key);
	key = text ? json_dumps(text, JSON_ENCODE_ANY) : NULL;
	json_decref(text);
	if (key) {
		buf_printf(out, "%s{\"key\":%s,\"state\":\"", out->len ? "," : "", key);
		for (int64_t i = 0; i < size; i++)
			buf_printf(out, "%02x", (unsigned char)d->state[i]);
		buf_add_str(out, "\"}");
	}
	free(key);
}

static void state_write(void *ctx, struct mail *mail);

void state_collect(struct data *d)
{
	struct state_mail *m = calloc(1, sizeof(*m));

	d->touched = false;
	if (!m || !d->current) {
		free(m);
		return;
	}
	buf_init(&m->units, STATE_FILE_MAX);
	for (uint32_t i = 0; i < d->current->n_units; i++)
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

static void state_write(void *ctx, struct mail *mail)
{
	struct control *c = ctx;
	struct state_mail *m = (struct state_mail *)(void *)mail;
	json_t *chains = c->current ? json_string(chains_text(c->current->chains)) : NULL;
	char *chains_quoted = chains ? json_dumps(chains, JSON_ENCODE_ANY) : NULL;
	struct buf out;
	struct err err = { 0 };

	buf_init(&out, STATE_FILE_MAX);
	buf_printf(&out, "{\"version\":1,\"boot\":\"%s\",\"chains\":%s,\"units\":[", boot_id(),
		   chains_quoted ? chains_quoted : "null");
	buf_add_slice(&out, buf_slice(&m->units));
	buf_add_str(&out, "]}\n");
	if (out.error)
		log_warn("state not saved", "reason=%s", LOG_STR("too large"));
	else if (file_write_atomic(c->options->state, buf_slice(&out), &err) < 0)
		log_warn("state not saved", "reason=%s", LOG_STR(err.text));
	buf_fini(&out);
	buf_fini(&m->units);
	free(chains_quoted);
	json_decref(chains);
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
	return json_string_value(json_object_get(c->state, "chains"));
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
