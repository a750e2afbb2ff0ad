/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the copy: copy.c takes changes in and keeps the watch, copy_read.c
 * reads what is stored, copy_cells.c all cells at the start.
 */
#ifndef AGGREGATOR_ROWS_COPY_PRIV_H
#define AGGREGATOR_ROWS_COPY_PRIV_H

#include "aggregator/rows/copy.h"
#include "lib/buf.h"
#include "lib/map.h"

#define COPY_READINGS 8      /* rows that are read again at once */
#define COPY_OTHERS_MAX 4096 /* members and forks */
#define COPY_PAGE ((size_t)4 << 20) /* bytes that are asked for at a time, about */

/* The value of a key that is neither head nor cells. */
struct stored {
	char *text;        /* owned; NULL: there is no such key */
	size_t size;       /* bytes of it */
	uint64_t revision; /* as of which it is known */
	uint64_t seen;     /* copy->reads, when it was last found there */
	bool touched;      /* an owner's: the transaction has changed it */
};

struct reading; /* copy_read.c */

/* A range of cells: of some rows from the first cell on, or a part of one's. */
struct copy_stretch {
	struct row **rows;  /* that have cells, or were deleted and may have some, as these are in order; owned */
	size_t n_rows;      /* of them */
	size_t first, last; /* places in `rows`, of rows that exist; first n_rows: all were read */
	uint64_t seq;       /* cells of the first row below that one were read; 0: where the next one is nobody knows */
	uint64_t end;       /* and of the last row are meant below that one, or CELLS_END */
};

enum copy_state {
	COPY_WAITS,   /* for copy_start(), or for retry_at */
	COPY_OTHERS,  /* reads all but the cells */
	COPY_CELLS,   /* reads all cells: at the start only */
	COPY_FOLLOWS, /* the watch runs */
};

/* Keys that it keeps at hand. */
enum copy_text {
	COPY_PREFIX,      /* "middlepipe/<tenant>/" */
	COPY_END,         /* where snapshots begin, which it does not hold; nothing else is behind them */
	COPY_CELLS_END,   /* where cells end, and all other keys begin */
	COPY_FROM,        /* where the next page of all begins */
	COPY_TO,          /* where it ends, while cells are read */
	COPY_COMPARE,     /* where the next page to compare begins; empty: at the first */
	COPY_TEXTS,
};

struct copy {
	struct engine *engine;       /* borrowed */
	const struct rows_host *host; /* borrowed */
	struct copy_calls calls;     /* whom it tells */
	uint32_t n_shards;           /* of the group */
	bool loaded;                 /* calls.loaded() was called */
	bool dead;                   /* copy_free() was called; the last answer frees it */
	unsigned asked;              /* answers that the engine owes */
	enum copy_state state;
	struct copy_stretch stretch; /* COPY_CELLS: the cells that are read */
	uint64_t watch;              /* id, 0: none */
	uint64_t revision;           /* at which it reads; then that of the last change taken in */
	uint64_t reads;              /* times that all was read */
	uint64_t retry_at;           /* ns; when to begin again; 0: not */
	uint64_t backoff;            /* ns; how long it will wait next time */
	uint64_t compare_at;         /* ns; when to compare a page of heads */
	bool compare_again;          /* the same one as last time */
	struct buf text[COPY_TEXTS]; /* by enum copy_text */
	struct map rows;             /* struct row by name, owned */
	uint64_t bytes;              /* of the batches that they hold */
	struct map others;           /* struct stored by the whole key, owned: members, forks, meta */
	struct stored owner[SHARDS_MAX]; /* by shard */
	struct list touched;         /* rows that the transaction has changed */
	bool owners_touched;         /* and some of the owners */
	struct list doubtful;        /* rows that wait to be read again */
	unsigned reading;            /* rows that are being read again */
	struct reading *readings[COPY_READINGS]; /* they, in any order; NULL: free places */
	uint64_t reread_at;          /* ns; not before, because the last time failed */
	struct copy_counts counts;
};

static inline struct mp_str copy_text(const struct copy *copy, enum copy_text which)
{
	return buf_slice(&copy->text[which]);
}

/* copy.c */
void copy_take(struct copy *copy, struct mp_str key, struct mp_str value, uint64_t revision);
/* Counts what of the row could not be read, and says it once; seq 0: the head.  rc, err: of the attempt; others are no damage. */
void copy_say_damaged(struct copy *copy, struct row *row, uint64_t seq, int rc, const struct err *err);
void copy_settle(struct copy *copy); /* the end of a transaction: tells of what was touched */
void copy_later(struct copy *copy);  /* something went wrong: from the start, after a while */
void copy_begin_watch(struct copy *copy);

/* copy_cells.c */
void copy_read_cells(struct copy *copy); /* goes on with the watch */

/* copy_read.c */
void copy_read_all(struct copy *copy);    /* from the start */

/* Asks for what is between COPY_FROM and that key, at copy->revision.  It begins anew when it cannot. */
void copy_ask_page(struct copy *copy, enum copy_text end, engine_done_fn *done);

/* Takes the page in.  False: that is all, it begins anew, or the copy has gone. */
bool copy_take_page(struct copy *copy, const struct engine_answer *answer);

void copy_read_doubtful(struct copy *copy);
void copy_forget_readings(struct copy *copy); /* nobody will answer them */
void copy_compare(struct copy *copy);

/*
 * Asks the engine; done() gets ctx, which must begin with a struct copy *.
 * False without memory: nothing is called.
 */
bool copy_ask(struct copy *copy, const struct engine_range *range, engine_done_fn *done, void *ctx);

/* To be called first by every done(): false when the copy has gone. */
bool copy_answered(struct copy *copy);

#endif
