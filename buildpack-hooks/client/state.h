/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libmiddlepipe remembers between calls, and the state of one call.
 *
 * All that changes lives in `struct live`, pages that the kernel wipes in a
 * forked child (MADV_WIPEONFORK): the child finds zeros, which is the state
 * before the first call.  Nothing there is a lock that anybody waits for.
 * What a child has to close and unmap is in ordinary memory instead (conn.h).
 *
 * Every file of the library includes this.  No function here is public.
 */
#ifndef CLIENT_STATE_H
#define CLIENT_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>
#include <sys/un.h>
#include <time.h>

#pragma GCC visibility push(default)
#include <middlepipe/client.h>
#pragma GCC visibility pop

#include "lib/clock.h"
#include "lib/lane.h"

#define CLIENT_CONNS 8u                    /* connections mapped at once: one current, old ones in use */
#define CLIENT_BEAT_NS (20 * NS_PER_MS)    /* an older beat is doubted */
#define CLIENT_PIPE_MAX 64u                /* bytes of a middlepipe's name */

#define LOAD(word) atomic_load_explicit(&(word), memory_order_acquire)
#define STORE(word, value) atomic_store_explicit(&(word), (value), memory_order_relaxed)

/* Rows of struct mp_counters, in its order. */
enum client_counter {
	COUNT_PASSED,
	COUNT_REPLIED,
	COUNT_ASKED,
	COUNT_UNFILTERED,
	COUNT_REFUSED,
	COUNT_OVER_BUDGET,
	COUNT_NO_SLOT,
	COUNT_AWAY,
	COUNT_LOST,
	COUNT_CONNECTS,
	COUNT_DOORBELLS,
	CLIENT_COUNTERS
};

enum client_mode {
	MODE_FRESH,    /* no call yet in this process */
	MODE_STARTING, /* a thread is reading the environment */
	MODE_READY,
	MODE_INERT, /* no socket is named, or disabled */
};

/* The changing half of a connection; the other half is struct conn. */
struct conn_live {
	_Alignas(64) _Atomic uint64_t refs; /* calls, and 1 while it is current */
	_Atomic uint64_t state;             /* id << 3 | enum conn_phase */
	_Alignas(64) _Atomic uint64_t suspect_ns; /* when the beat below was doubted */
	_Atomic uint64_t suspect_beat;            /* the stale beat; 0: none */
	_Atomic uint32_t half;                    /* 1: the half-full ring was announced */
	_Alignas(64) _Atomic uint64_t busy[LANE_SLOTS_MAX / 64]; /* slots taken */
	_Atomic uint64_t left[LANE_SLOTS_MAX / 64]; /* of these: nobody waits, answer outstanding */
	_Atomic uint32_t ticket[LANE_SLOTS_MAX];    /* of each slot's last question */
};

/* A socket whose scheduler speaks another major version. */
struct foreign {
	uint64_t until_ns; /* not asked again before; 0: none */
	dev_t device;      /* the socket's file ... */
	ino_t inode;
	struct timespec changed; /* ... and its ctime: inode numbers are reused */
};

struct live {
	_Atomic uint32_t mode; /* enum client_mode */
	/* Configuration; fixed once the mode is ready. */
	bool required;      /* MIDDLEPIPE_REQUIRED */
	uint64_t budget_ns; /* MIDDLEPIPE_BUDGET_MS */
	uint64_t grace_ns;  /* how old a beat may be */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* MIDDLEPIPE_SOCK */
	/* The current connection: id << 8 | CONN_AWAY | index + 1; 0: none was ever there. */
	_Alignas(64) _Atomic uint64_t current;
	_Atomic uint64_t look_ns; /* when a call without a chain looks for life next */
	/* Connecting. */
	_Alignas(64) _Atomic uint32_t connecting; /* 1: a thread is at it; the rest below is its own */
	_Atomic uint64_t retry_ns;                /* no attempt before that */
	uint64_t backoff_ns;                      /* last pause between attempts */
	struct foreign foreign;
	_Alignas(64) _Atomic uint64_t counters[CLIENT_COUNTERS];
	_Atomic uint64_t untold[LANE_COUNTERS]; /* counted without a lane; the next one gets it */
	struct conn_live conns[CLIENT_CONNS];
};

/* ------------------------------------------------------------------- calls */

enum call_phase {
	CALL_NONE,    /* nothing begun, or ended: every function ignores it */
	CALL_OPEN,    /* begun; `key` is valid */
	CALL_ASKED,   /* the chain has answered, or failed to; `exchange` is valid from here on */
	CALL_HELD,    /* its slot waits for the end of a HOLD */
	CALL_REPLIED, /* answered by the chain: mp_end publishes `status` as its own */
	CALL_DECIDED, /* the chain replaced the response: mp_end publishes the service's `status` */
	CALL_REFUSED, /* answered by this library: mp_end publishes nothing */
};

#define CALL_ERROR 0x1000u /* in call_state.status: no status but an error */

/* What mp_call.private_ holds. */
struct call_state {
	uint64_t conn; /* as in live.current, without CONN_AWAY; 0: none */
	uint64_t word; /* of the board, when the call began */
	union {
		struct {
			uint64_t hash, host_hash; /* finds the destination again */
		} key;
		struct {
			uint64_t id;       /* of the exchange; 0: none */
			uint64_t until_ns; /* HELD: the chain ends it by then */
		} exchange;
	};
	uint32_t entry;    /* in the board's table, or LANE_ENTRY_NONE */
	uint32_t ticket;   /* HELD: of the question */
	uint8_t set;       /* chain set */
	uint8_t standing;  /* MP_STANDING_* that the call goes by */
	uint8_t flags;     /* ENTRY_* */
	uint8_t pipe_size; /* bytes of pipe */
	uint8_t slot;      /* HELD: of the question */
	uint8_t phase;     /* enum call_phase */
	uint16_t status;   /* REPLIED, DECIDED: what mp_end publishes; CALL_ERROR | MP_ERROR_* */
	char pipe[CLIENT_PIPE_MAX]; /* of a closed entry: what a refusal names */
} __attribute__((may_alias));

_Static_assert(sizeof(struct call_state) <= sizeof(((struct mp_call *)0)->private_),
	       "the state fits into the public struct");

static inline struct call_state *call_state(struct mp_call *call)
{
	return (struct call_state *)call->private_;
}

/* --------------------------------------------------------------- functions */

extern _Atomic(struct live *) client_page;

/* First call of a process: reads the environment.  NULL when inert. */
struct live *client_start(void);

/* The state of this process, or NULL when the library is inert. */
static inline struct live *client_live(void)
{
	struct live *live = LOAD(client_page);
	uint32_t mode = live ? LOAD(live->mode) : MODE_FRESH;

	if (mode == MODE_READY)
		return live;
	return mode == MODE_INERT ? NULL : client_start();
}

static inline uint64_t client_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static inline void client_count(struct live *live, enum client_counter counter)
{
	atomic_fetch_add_explicit(&live->counters[counter], 1, memory_order_relaxed);
}

/*
 * Orders plain reads of shared memory before the loads that follow.  GCC's
 * ThreadSanitizer knows no fences; it runs on x86 only, where this is enough.
 */
static inline void client_fence(void)
{
#ifdef __SANITIZE_THREAD__
	__asm__ volatile("" ::: "memory");
#else
	atomic_thread_fence(memory_order_acquire);
#endif
}

/*
 * Around system calls: the application's errno survives, and a thread that is
 * being cancelled is not cancelled in here, where it would leave things held.
 */
struct quiet {
	int error;  /* errno */
	int cancel; /* the thread's cancelability */
};
struct quiet client_quiet(void);
void client_quiet_end(struct quiet quiet);

#endif
