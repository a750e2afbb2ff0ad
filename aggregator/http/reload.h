/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates and tokens, read again when their files change: looked at once
 * a second by a helper thread of libuv, since disks can be slow.  What is wrong
 * is logged once, and what was there before stays.
 */
#ifndef AGGREGATOR_HTTP_RELOAD_H
#define AGGREGATOR_HTTP_RELOAD_H

#include <stdbool.h>
#include <sys/stat.h>
#include <uv.h>

#include "aggregator/http/access.h"
#include "aggregator/http/tls.h"
#include "lib/err.h"

/* By what a change of a file is seen. */
struct file_mark {
	dev_t dev;             /* file system; 0: it is not there */
	ino_t ino;             /* another file has come in its place */
	off_t size;            /* bytes */
	struct timespec mtime; /* written */
	struct timespec ctime; /* ..., or moved */
};

/* Things that are read from files together. */
struct reload_part {
	struct file_mark marks[3]; /* as they were when they were read */
	bool failed;               /* what was read then was wrong */
	bool changed;              /* the helper has found something else */
	struct err err;            /* what is wrong with it */
	int rc;                    /* 0: it is good */
};

struct reload {
	uv_work_t work;            /* the helper */
	bool busy;                 /* it is at work */
	char *cert, *key, *ca;     /* paths, owned; NULL: none */
	char *tokens;              /* the same */
	struct reload_part tls;    /* cert, key and CA */
	struct reload_part access; /* tokens */
	struct tls_set *set;       /* new, when tls.changed and good */
	struct access *table;      /* the same of access */
	/* Told in the loop what has been read anew; it owns what is not NULL. */
	void (*changed)(void *ctx, struct tls_set *set, struct access *table);
	void *ctx;
};

/*
 * Keeps the paths and reads all files for the first time; *ret_set and
 * *ret_table are NULL without files.  0, or a negative errno and err says which
 * is wrong; reload_fini() is due in any case.
 */
int reload_init(struct reload *reload, const char *cert, const char *key, const char *ca,
		const char *tokens, struct tls_set **ret_set, struct access **ret_table,
		struct err *err);

/* When it is not busy. */
void reload_fini(struct reload *reload);

/* Looks at the files, unless it is doing so already; calls changed() later. */
void reload_look(struct reload *reload, uv_loop_t *loop);

#endif
