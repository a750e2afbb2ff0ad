/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What state.c and metrics.c share: everything that is counted, at one
 * moment. In the loop's thread.
 */
#ifndef AGGREGATOR_ROWS_API_STATE_H
#define AGGREGATOR_ROWS_API_STATE_H

#include "aggregator/rows/api/api.h"

struct figures {
	struct engine_health health;
	struct copy_counts copy;
	struct owner_counts owner;
	struct reader_counts reader;
	struct http_stats http;
	uint64_t rows, bytes; /* held; values of batches */
	uint64_t size, in_use, quota; /* bytes of etcd's database; 0: not known */
	uint64_t doubtful;    /* rows that are being read again */
	bool follows;
	bool chosen;          /* shards go to this member; else it forwards */
};

/* Zeros for what there is not yet. */
void rows_figures(const struct rows_http *http, struct figures *ret);

#endif
