/* SPDX-License-Identifier: Apache-2.0 */
/* See faulty_file.h. */
#include "tests/unit/aggregator/faulty_file.h"

#include <stdlib.h>
#include <string.h>

#define SECTOR 512

/* A write that was not synced; data NULL: the file was cut to `at`. */
struct faulty_late {
	struct faulty_late *next;
	size_t at, size;
	bool forgotten; /* a failed sync has given it up: the process sees it, no crash survives it */
	char *data;     /* owned */
};

static struct disk_script script;
static struct disk_counts counts;

/* ------------------------------------------------------------------- contents */

void faulty_content_resize(struct faulty_content *c, size_t size)
{
	if (size > c->cap) {
		c->cap = size * 2;
		c->bytes = realloc(c->bytes, c->cap);
		if (!c->bytes)
			abort();
	}
	if (size > c->size)
		memset(c->bytes + c->size, 0, size - c->size);
	c->size = size;
}

void faulty_content_write(struct faulty_content *c, size_t at, const char *data, size_t size)
{
	if (!size)
		return;
	if (at + size > c->size)
		faulty_content_resize(c, at + size);
	memcpy(c->bytes + at, data, size);
}

/* ----------------------------------------------------------------------- files */

void faulty_file_init(struct faulty_file *f)
{
	*f = (struct faulty_file){ .last = &f->first };
}

static void clear_late(struct faulty_file *f)
{
	while (f->first) {
		struct faulty_late *late = f->first;

		f->first = late->next;
		free(late->data);
		free(late);
	}
	f->last = &f->first;
}

void faulty_file_fini(struct faulty_file *f)
{
	clear_late(f);
	free(f->kept.bytes);
	faulty_file_init(f);
}

void faulty_file_wrote(struct faulty_file *f, size_t at, const char *data, size_t size)
{
	struct faulty_late *late = calloc(1, sizeof(*late));

	if (!late)
		abort();
	late->at = at;
	late->size = size;
	if (data) {
		late->data = malloc(size + 1);
		if (!late->data)
			abort();
		memcpy(late->data, data, size);
	}
	*f->last = late;
	f->last = &late->next;
}

void faulty_file_synced(struct faulty_file *f)
{
	for (const struct faulty_late *late = f->first; late; late = late->next) {
		if (late->forgotten)
			continue;
		if (late->data)
			faulty_content_write(&f->kept, late->at, late->data, late->size);
		else
			faulty_content_resize(&f->kept, late->at);
	}
	clear_late(f);
}

void faulty_file_unsynced(struct faulty_file *f, enum disk_fault fault)
{
	counts.syncs++;
	for (struct faulty_late *late = f->first; late && fault == DISK_FORGET; late = late->next) {
		counts.forgotten += !late->forgotten;
		late->forgotten = true;
	}
}

/* What of a write survives. */
static size_t survives(const struct faulty_late *late, enum disk_crash how, struct sim *chance)
{
	if (how == CRASH_DROPS || late->forgotten)
		return 0;
	if (how == CRASH_KEEPS || sim_below(chance, 2))
		return late->size;
	return how == CRASH_TEARS ? sim_below(chance, late->size / SECTOR + 1) * SECTOR : 0;
}

void faulty_file_crash(struct faulty_file *f, enum disk_crash how, struct sim *chance)
{
	for (const struct faulty_late *late = f->first; late; late = late->next) {
		size_t size = survives(late, how, chance);

		if (!late->data) {
			if (how == CRASH_KEEPS)
				faulty_content_resize(&f->kept, late->at);
			continue;
		}
		counts.dropped += !size;
		counts.torn += size && size < late->size;
		faulty_content_write(&f->kept, late->at, late->data, size);
	}
	clear_late(f);
}

/* --------------------------------------------------------------------- faults */

void disk_script(const struct disk_script *to)
{
	script = *to;
	counts.operations = 0;
}

enum disk_fault faulty_next(void)
{
	uint64_t now = counts.operations++;

	if (script.fault == DISK_WELL || now < script.at)
		return DISK_WELL;
	return script.fault == DISK_DEAD || now - script.at < script.count ? script.fault : DISK_WELL;
}

bool faulty_is_dead(void)
{
	return script.fault == DISK_DEAD && counts.operations > script.at;
}

struct disk_counts *faulty_counts(void)
{
	return &counts;
}
