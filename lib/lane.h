/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shared memory between the processes of an app and their scheduler: the
 * layout of board, lane and answers, and the messages of the socket that
 * carries their descriptors.  It is the wire format of the request path:
 * libmiddlepipe and mp-scheduler include it, and nothing else is shared.
 *
 *   object   written by  mapped by the other side   one for each
 *   board    scheduler   read-only, sealed          scheduler
 *   answers  scheduler   read-only, sealed          app process
 *   lane     app         read-write (hostile)       app process
 *
 * Every object starts with a header page: magic and version first, then the
 * geometry, then words that change, each writer's on cache lines of its own.
 * The scheduler keeps the geometry in private memory and never reads it back;
 * the library copies and checks it once, when it maps the object.
 *
 * A zeroed lane (an app can punch holes) is valid and empty.
 *
 * Rules: ../docs/request-path.md.  All words are native-endian; 64-bit atomics
 * must be lock-free.  Read-only mappings forbid every read-modify-write.
 */
#ifndef LIB_LANE_H
#define LIB_LANE_H

#include <stdatomic.h>
#include <stdint.h>

#define LANE_MAJOR 1 /* another major does not talk */
#define LANE_MINOR 0 /* the smaller of both minors is spoken */

#define LANE_PAGE 4096u
#define LANE_SETS 16u        /* chain sets alive at once; see board_word() */
#define LANE_SLOTS_MAX 256u  /* bound of --slots */
#define LANE_HEAD_MAX 65536u /* bytes of an encoded head */
#define LANE_FIELDS_MAX 256u /* header fields in a message */

#define BOARD_MAGIC 0x314452414f42504dull   /* "MPBOARD1" */
#define LANE_MAGIC 0x3031454e414c504dull    /* "MPLANE10" */
#define ANSWERS_MAGIC 0x305352574e41504dull /* "MPANWRS0" */

/* ------------------------------------------------------------------- board */

/*
 * The header word {epoch, set, table}: the epoch in the upper 56 bits, the
 * chain set (the scheduler's slot for the chains of that epoch, 0..15), and
 * which of the two tables holds it.  0: no chains yet, nothing is there.
 */
static inline uint64_t board_word(uint64_t epoch, unsigned set, unsigned table)
{
	return epoch << 8 | (uint64_t)(set & 15u) << 1 | (table & 1u);
}
static inline uint64_t board_word_epoch(uint64_t word) { return word >> 8; }
static inline unsigned board_word_set(uint64_t word) { return (unsigned)(word >> 1) & 15u; }
static inline unsigned board_word_table(uint64_t word) { return (unsigned)word & 1u; }

/* First page of the board.  Byte offsets are checked below. */
struct board_header {
	uint64_t magic;         /* BOARD_MAGIC */
	uint16_t major;         /* LANE_MAJOR */
	uint16_t minor;         /* LANE_MINOR */
	uint32_t header_size;   /* sizeof(struct board_header) */
	uint64_t size;          /* bytes of the whole object */
	uint64_t tables_offset; /* of table 0; table 1 follows table_size later */
	uint64_t table_size;    /* bytes of one table, page-aligned */
	uint64_t blobs_offset;  /* of the REPLY blobs */
	uint64_t blobs_size;    /* bytes of that area */
	uint64_t started_ns;    /* CLOCK_MONOTONIC: names this life of the scheduler */
	_Alignas(64) _Atomic uint64_t word; /* board_word() of what holds now */
	_Alignas(64) _Atomic uint64_t beat; /* CLOCK_MONOTONIC of the last tick */
	_Alignas(64) _Atomic uint32_t asleep;  /* 1: blocked; a question must ring */
	_Alignas(64) _Atomic uint32_t ticking; /* 0: nobody drains; an outcome must ring */
};

/*
 * A table: struct board_table, then keys, destinations, entries and text, in
 * that order, at the offsets that it names (from the table's start).  Readers
 * re-read the header word after they have copied what they need.
 */
struct board_table {
	_Atomic uint32_t overflow;       /* 1: not all fitted; "not there" means ASK the set */
	_Atomic uint32_t n_keys;         /* slots of the hash, a power of two */
	_Atomic uint32_t n_destinations;
	_Atomic uint32_t n_entries;
	_Atomic uint32_t keys_offset;
	_Atomic uint32_t destinations_offset;
	_Atomic uint32_t entries_offset;
	_Atomic uint32_t text_offset;
	_Atomic uint32_t text_size;
	_Atomic uint32_t overflow_closed; /* 1: something that did not fit is on_failure: closed */
	uint32_t reserved[6];
};

/*
 * A hash slot: open addressing, linear probing from hash & (n_keys - 1), text
 * size 0 ends a run.  The text is "host" (any port) or "host:port", the host
 * normalised as lane_key.h says; the hash is lane_hash() of it.
 */
struct board_key {
	_Atomic uint64_t hash;
	_Atomic uint32_t text; /* offset in the table's text */
	_Atomic uint32_t size; /* bytes of text; 0: empty slot */
	_Atomic uint32_t destination;
	uint32_t reserved;
};

/* The entries of one destination: longest prefix first, "" last. */
struct board_destination {
	_Atomic uint32_t first;
	_Atomic uint32_t count;
};

/* board_entry.flags */
#define ENTRY_CLOSED 0x01u        /* on_failure: closed */
#define ENTRY_RESPONSE 0x02u      /* responses are decided on: waited for */
#define ENTRY_COPY 0x04u          /* exchanges are copied, not waited for */
#define ENTRY_REQUEST_BODY 0x08u  /* with request bodies */
#define ENTRY_RESPONSE_BODY 0x10u /* with response bodies */
#define ENTRY_OUTCOME 0x20u       /* some filter wants outcomes */

/*
 * One chain at one path prefix.  `seq` is odd while standing, until and blob
 * are written; the rest changes only with the table.
 */
struct board_entry {
	_Atomic uint64_t seq;
	_Atomic uint64_t standing; /* MP_STANDING_* */
	_Atomic uint64_t until_ns; /* REPLY: past it, ASK; 0: no end */
	_Atomic uint64_t blob;     /* REPLY: offset in blobs << 32 | size */
	_Atomic uint32_t prefix;   /* offset in the table's text */
	_Atomic uint32_t prefix_size;
	_Atomic uint32_t flags;       /* ENTRY_* */
	_Atomic uint32_t fail_errors; /* bit MP_ERROR_*: rings the doorbell */
	_Atomic uint64_t fail_statuses[8]; /* as in struct mp_failure */
	_Atomic uint64_t fail_slow_ns; /* 0: no limit */
	_Atomic uint32_t pipe;      /* text: the binding that a refusal names */
	_Atomic uint32_t pipe_size;
};

/* -------------------------------------------------------------------- lane */

/* Kinds of lane_slot.kind. */
#define LANE_REQUEST 1u  /* a request is asked; an answer follows */
#define LANE_RESPONSE 2u /* a response is asked; an answer follows */
#define LANE_COPY 3u     /* an exchange is copied; done is set, nothing is decided */

/* lane_slot.flags */
#define LANE_REQUEST_COMPLETE 0x1u  /* the request body is all of it */
#define LANE_RESPONSE_COMPLETE 0x2u /* the response body is all of it */

/* Lane counters, by index: what the library did, in the app's own words. */
enum lane_counter {
	LANE_UNFILTERED,  /* let through because something failed */
	LANE_REFUSED,     /* refused because of on_failure: closed */
	LANE_OVER_BUDGET, /* waits ended by the budget */
	LANE_NO_SLOT,     /* no free slot */
	LANE_COUNTERS = 8
};

/* First page of a lane. */
struct lane_header {
	uint64_t magic;       /* LANE_MAGIC, written by the scheduler when it makes the lane */
	uint16_t major;
	uint16_t minor;
	uint32_t header_size; /* sizeof(struct lane_header) */
	uint64_t size;        /* bytes of the whole object */
	uint32_t n_slots;     /* up to LANE_SLOTS_MAX */
	uint32_t n_ring;      /* entries of the outcome ring, a power of two */
	uint64_t ring_offset;
	uint64_t slots_offset; /* of the slots' control lines */
	uint64_t data_offset;  /* of slot 0's data; slot i follows i * data_size later */
	uint64_t data_size;    /* bytes of data a slot: encoded head, then bodies */
	_Alignas(64) _Atomic uint64_t pending[LANE_SLOTS_MAX / 64]; /* slots with a question */
	_Alignas(64) _Atomic uint64_t ring_head; /* next index to claim */
	_Alignas(64) _Atomic uint64_t lost_ok;   /* outcomes that did not fit, ever */
	_Atomic uint64_t lost_failed;
	_Atomic uint64_t counters[LANE_COUNTERS];
	_Alignas(64) _Atomic uint64_t begun[LANE_SETS]; /* calls begun, by chain set */
	_Alignas(64) _Atomic uint64_t ended[LANE_SETS];
};

/* Control line of a slot.  Written by the app before its pending bit. */
struct lane_slot {
	_Alignas(64) _Atomic uint32_t ticket; /* names this question; never 0 */
	_Atomic uint32_t waiting; /* 1: a thread sleeps on answers_slot.done: wake it */
	_Atomic uint32_t kind;    /* LANE_REQUEST ... */
	_Atomic uint32_t set;     /* chain set of the call */
	_Atomic uint32_t entry;   /* index in that set's table; LANE_ENTRY_NONE on overflow */
	_Atomic uint32_t flags;   /* LANE_*_COMPLETE */
	_Atomic uint64_t exchange; /* from the answer to the request; 0: none yet */
	_Atomic uint32_t head_size; /* bytes of the encoded head (wire.h) at the data's start */
	_Atomic uint32_t request_body_size;  /* bytes that follow the head */
	_Atomic uint32_t response_body_size; /* bytes that follow that */
	_Atomic uint32_t status;      /* 100..599 or 0 */
	_Atomic uint32_t error;       /* MP_ERROR_* */
	_Atomic uint32_t duration_us; /* to the response's head */
};
#define LANE_ENTRY_NONE 0xffffffffu

/*
 * An outcome.  seq is its index + 1 once it is published (release); a reader
 * that finds another value waits up to a second, then skips it as lost.
 */
struct lane_outcome {
	_Atomic uint64_t seq;
	_Atomic uint64_t where;    /* entry << 32 | set << 24 | standing << 16 | error << 12 | status */
	_Atomic uint64_t exchange; /* 0: it was not asked */
	_Atomic uint64_t duration_ns;
};
static inline uint64_t lane_where(uint32_t entry, unsigned set, unsigned standing,
				  unsigned error, unsigned status)
{
	return (uint64_t)entry << 32 | (uint64_t)(set & 15u) << 24 |
	       (uint64_t)(standing & 3u) << 16 | (uint64_t)(error & 15u) << 12 |
	       (status & 0xfffu);
}

/* ----------------------------------------------------------------- answers */

/* First page of a lane's answers. */
struct answers_header {
	uint64_t magic; /* ANSWERS_MAGIC */
	uint16_t major;
	uint16_t minor;
	uint32_t header_size; /* sizeof(struct answers_header) */
	uint64_t size;
	uint64_t slots_offset; /* of the control lines */
	uint64_t data_offset;  /* of slot 0's data */
	uint64_t data_size;    /* bytes a slot */
	uint32_t n_slots;
	uint32_t reserved;
	_Alignas(64) _Atomic uint64_t ring_tail; /* next index that the scheduler reads */
};

/* answers_slot.verdict beyond MP_VERDICT_*: the scheduler could not serve it. */
#define ANSWER_STALE 16 /* that chain set is gone: begin again */
#define ANSWER_FAILED 17 /* not served (bad question, no room): on_failure applies */
#define ANSWER_REFUSED 18 /* an ejected filter is bound `closed` */

/*
 * Control line of an answer.  `done` is the futex that the app waits on: the
 * ticket of the question answered last.  While an exchange is held, `held` is
 * its ticket and delay_ns says for how long at most; done follows later.
 */
struct answers_slot {
	_Alignas(64) _Atomic uint32_t done;
	_Atomic uint32_t held;
	_Atomic uint32_t verdict;   /* MP_VERDICT_* or ANSWER_* */
	_Atomic uint32_t status;    /* of a REPLY, or the edited status, or 0 */
	_Atomic uint64_t exchange;  /* to be named in what follows; 0: nothing may follow */
	_Atomic uint64_t delay_ns;  /* DELAY, HOLD */
	_Atomic uint64_t retry_at_ns; /* REPLY: gives Retry-After; 0: none */
	_Atomic uint32_t head_size; /* encoded edits or reply (wire.h) */
	_Atomic uint32_t body_size; /* bytes that follow the head */
	_Atomic uint32_t has_body;  /* 1: the body is part of the verdict, even if empty */
	uint32_t reserved[3];
};

/* A REPLY blob on the board: this, the head, the body.  Immutable. */
struct board_blob {
	uint32_t status;
	uint32_t head_size;
	uint32_t body_size;
	uint32_t reserved;
	uint64_t retry_at_ns; /* 0: no Retry-After */
};

/* ------------------------------------------------------------------ socket */

#define HELLO_MAGIC 0x4f4c4c4548504d31ull

/* The library's first and only message. */
struct lane_hello {
	uint64_t magic;
	uint16_t major;
	uint16_t minor;
	uint32_t size;  /* sizeof(struct lane_hello) of the sender */
	uint32_t flags; /* 0 */
	uint32_t reserved;
};

/* lane_welcome.error */
#define WELCOME_OK 0       /* descriptors: board, lane, answers, doorbell (eventfd) */
#define WELCOME_FULL 1     /* no lane is free: the board only */
#define WELCOME_VERSION 2  /* the majors differ: no descriptor, stay inert */

/* The scheduler's answer; it sends nothing more on this socket. */
struct lane_welcome {
	uint64_t magic;
	uint16_t major;
	uint16_t minor; /* the one to speak: the smaller */
	uint32_t size;
	uint32_t error;  /* WELCOME_* */
	uint32_t lane;   /* its number, for people */
	uint32_t reserved[2];
};
#define WELCOME_FDS 4

/* ------------------------------------------------------------- layout proof */

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit atomics must be lock-free");
_Static_assert(sizeof(struct board_header) <= LANE_PAGE, "one page");
_Static_assert(sizeof(struct lane_header) <= LANE_PAGE, "one page");
_Static_assert(sizeof(struct board_table) == 64, "one line");
_Static_assert(sizeof(struct board_key) == 24, "layout");
_Static_assert(sizeof(struct board_entry) == 128, "two lines");
_Static_assert(sizeof(struct lane_slot) == 64, "one line");
_Static_assert(sizeof(struct lane_outcome) == 32, "two a line");
_Static_assert(sizeof(struct answers_slot) == 64, "one line");

#endif
