/* SPDX-License-Identifier: Apache-2.0 */
/* See life.h. */
#include "aggregator/etcd/life.h"

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

#include "lib/file.h"
#include "lib/hex.h"
#include "lib/slice.h"

#define LIFE_SIZE 34 /* two numbers of 16 digits, a space, a line's end */
#define DIGITS 16
#define PATH_SIZE 4300

static void path_of(const char *etcd_dir, char path[PATH_SIZE])
{
	(void)snprintf(path, PATH_SIZE, "%s/life", etcd_dir); /* bounded by who knows the directory */
}

static void text_of(uint64_t life, struct buf *out)
{
	(void)buf_printf(out, "%016" PRIx64 " %016" PRIx64 "\n", life, (uint64_t)XXH64(&life, sizeof(life), 0));
}

uint64_t life_read(const char *etcd_dir)
{
	struct buf text, want;
	char path[PATH_SIZE];
	uint64_t life = 0;

	path_of(etcd_dir, path);
	if (file_read(path, LIFE_SIZE, &text, NULL) < 0)
		return 0;
	buf_init(&want, LIFE_SIZE);
	if (text.len == LIFE_SIZE && hex_number(slice_make(buf_str(&text), DIGITS), DIGITS, &life))
		text_of(life, &want);
	if (!slice_eq(buf_slice(&text), buf_slice(&want)))
		life = 0;
	buf_fini(&want);
	buf_fini(&text);
	return life;
}

int life_write(const char *etcd_dir, uint64_t life, struct err *err)
{
	struct buf text;
	char path[PATH_SIZE];
	int rc;

	path_of(etcd_dir, path);
	buf_init(&text, LIFE_SIZE);
	text_of(life, &text);
	rc = file_write_atomic(path, buf_slice(&text), err);
	buf_fini(&text);
	return rc;
}
