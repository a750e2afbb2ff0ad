/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much a row and the tenant may hold, and how fast a row may be put into:
 * what the owner asks before it takes a put on (owner.c, plan.c), with the texts
 * that name the figure.
 *
 * Bytes are those of the batches that are stored, cells below a row's floor
 * included as long as their keys are kept. Pure: no clock, no I/O, one thread.
 */
#ifndef AGGREGATOR_ROWS_LIMITS_H
#define AGGREGATOR_ROWS_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

/* What a put may run into; each is counted. */
enum limit {
	LIMIT_ROWS,        /* of the tenant */
	LIMIT_WAITING,     /* puts that wait for this owner */
	LIMIT_RATE,        /* puts a second into the row */
	LIMIT_ROW_BYTES,
	LIMIT_TENANT_BYTES,
	LIMIT_TRANSACTION, /* bytes that the engine takes at once */
	LIMIT_ENGINE,      /* bytes that the engine holds */
	LIMIT_SNAPSHOT,    /* of the state of a row's check: SNAPSHOT_SIZE_MAX */
	LIMITS,
};

/* What is set; 0: no bound. */
struct limits_set {
	uint64_t row_bytes;
	uint64_t tenant_bytes;
	uint64_t puts_per_s; /* into one row; at most LIMIT_RATE_MAX */
	/* Kept by others, who ask limits_reach() for the text. */
	uint64_t rows;        /* of the tenant */
	uint64_t waiting;     /* puts at one owner */
	uint64_t transaction; /* bytes */
};

#define LIMIT_RATE_MAX 1000000

struct limits {
	struct limits_set set;
	char text[LIMITS][96];    /* for whoever meets it: names the figure */
	uint64_t reached[LIMITS]; /* how often */
};

void limits_init(struct limits *limits, const struct limits_set *set);

/*
 * May one more put into a row go on at `now` (ns)? *due, 0 at first, is the row's:
 * when its share would be used up evenly. A second's share may come at once.
 */
bool limits_rate(const struct limits *limits, uint64_t *due, uint64_t now);

/* Would the row or the tenant, which hold so many, have too much with `more`? LIMITS: no. */
enum limit limits_bytes(const struct limits *limits, uint64_t row, uint64_t tenant, uint64_t more);

/* Somebody is turned away for it: counts that, and gives the text. */
const char *limits_reach(struct limits *limits, enum limit limit);

/* "row_bytes", as metrics name it. */
const char *limit_name(enum limit limit);

#endif
