/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mp-aggregator, put together: the engine, the group and the HTTP front on one
 * loop, from the options to the end by a signal.
 */
#ifndef AGGREGATOR_SERVE_H
#define AGGREGATOR_SERVE_H

#include <stdbool.h>
#include <stdint.h>

#include "aggregator/http/server.h"

/* All that can be said on the command line. */
struct serve_options {
	struct http_options http;  /* the front */
	const char *listen;        /* "ADDRESS:PORT", "[ADDRESS]:PORT" or a path */
	const char *data;          /* directory of what is stored; NULL: see serve.c */
	int64_t disk_reserve;      /* alone: bytes, see rows/engine/sqlite_room.h; 0: none */
	const char *accept_loss;   /* alone: number of a loss, see rows/engine/sqlite_kept.h; NULL: none */
	const char *group;         /* URLs of an etcd, with commas; "managed": its own; NULL: alone */
	const char *advertise;     /* URL where other members reach this one; NULL: where it listens */
	const char *tenant;
	const char *halves_dir;    /* folder of `.so` halves; NULL: built-in ones only */
	const char *member;        /* id; NULL: one that is drawn and kept in the data directory */
	const char *etcd_ca, *etcd_cert, *etcd_key, *etcd_user, *etcd_password_file;
	const char *etcd_program;  /* managed: etcd itself */
	const char *etcd_address;  /* managed: where others reach it; NULL: see managed.h */
	int64_t etcd_client_port, etcd_peer_port; /* managed; 0: drawn */
	int64_t etcd_quota;        /* bytes of etcd's database; 0: 4 GiB of our own, 2 GiB of somebody else's */
	const char *join, *join_token; /* managed: a member's URL, and what it shows there */
	int64_t replace_after_ms;  /* managed: see managed.h */
	bool leave;                /* managed: takes this member out of its group, and ends */
	int64_t connections, per_address, threads; /* for http */
	int64_t put_ms, read_ms;   /* that a put, a read may take */
	int64_t rows_max;
	int64_t row_bytes, tenant_bytes, puts_per_s; /* see limits.h */
	int64_t cell_bytes, request_bytes; /* of a put */
	int64_t waiting_max;       /* puts */
	int64_t snapshot_cells;    /* behind the last snapshot, before retention takes another */
	int64_t snapshot_bytes;    /* likewise */
	int64_t stop_ms;           /* that a stop may take */
	int64_t shards;            /* of a group that is made */
	int64_t ready_fd;          /* where to write the address when it serves; -1: nowhere */
};

/* Runs until a signal.  The program's exit code. */
int serve(struct serve_options *options);

#endif
