/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filter ABI: how a network function looks to the host that runs it.
 *
 * A filter is one constant table, `struct mp_filter`, made by MP_FILTER().  The
 * same source builds into the scheduler or as a `.so`; it includes this header
 * and ISO C, nothing else.
 *
 * Words.  A *unit* is one configured filter at one place: it exists once per
 * (destination, middlepipe, path prefix) and is what load() makes.  An
 * *exchange* is one request and its response: one attempt to one authority.
 *
 * Order of calls, all on the host's data thread but load() and unload():
 *
 *   load -> [put] -> start -> { on_request | on_response | on_outcome |
 *   on_abandon | on_lost | on_drained | on_timer | command | status | get }*
 *   -> unload
 *
 * load() and unload() run on another thread, never at the same time as a call
 * to the same unit.  A member that is NULL means: not interested.
 *
 * Memory.  What the host hands over is borrowed until the call returns; what a
 * filter hands to the host is copied before the host's function returns.
 *
 * Time.  Nanoseconds of CLOCK_MONOTONIC from host->now(); a filter reads no
 * clock, opens nothing and never blocks.  One that overruns the host's time
 * budget, crashes, or returns MP_VERDICT_ERROR is ejected from its chains.
 *
 * History: 1.0 the first.  Append-only: new members go at the end and are used
 * only when `size` covers them.
 */
#ifndef MIDDLEPIPE_FILTER_H
#define MIDDLEPIPE_FILTER_H

#include <middlepipe/markers.h>
#include <middlepipe/types.h>

#define MP_ABI_MAJOR 1 /* another major is refused */
#define MP_ABI_MINOR 0 /* a smaller or equal minor is accepted */

#define MP_CHAIN_MAX 32 /* filters in one chain */

/* What a unit needs to see: the cost of its chain follows from this. */
#define MP_NEED_REQUEST 0x01u       /* decides on requests (on_request) */
#define MP_NEED_OUTCOME 0x02u       /* observes outcomes (on_outcome), no wait */
#define MP_NEED_COPY 0x04u          /* observes exchanges (on_response), no wait */
#define MP_NEED_RESPONSE 0x08u      /* decides on responses (on_response), waited for */
#define MP_NEED_REQUEST_BODY 0x10u  /* wants request bodies in the above */
#define MP_NEED_RESPONSE_BODY 0x20u /* wants response bodies in the above */

#define MP_LEVEL_REQUEST 1u /* works on exchanges */

struct mp_unit; /* the host's name for a unit; opaque */

/* ------------------------------------------------------------------ options */

#define MP_OPTION_BOOL 1     /* value.integer 0 or 1 */
#define MP_OPTION_INT 2      /* value.integer within min..max */
#define MP_OPTION_NUMBER 3   /* value.number within min..max */
#define MP_OPTION_DURATION 4 /* value.integer ms; JSON: ms, or "250ms", "5s", "2m" */
#define MP_OPTION_STRING 5   /* value.string, at most max bytes */
#define MP_OPTION_ENUM 6     /* value.integer: index into choices */
#define MP_OPTION_STRINGS 7  /* value.fields[].name; JSON: array of strings */
#define MP_OPTION_FIELDS 8   /* value.fields; JSON: object of header fields */
#define MP_OPTION_RANGES 9   /* value.ranges; JSON: array of 503 and "500-599" */
#define MP_OPTION_PREFIXES 10 /* like STRINGS: path prefixes that get a unit of their own */

/* Whole numbers from first to last, both included. */
struct mp_range {
	uint32_t first;
	uint32_t last;
};

/* One option of a filter.  A table of them ends with a NULL name. */
struct mp_option {
	const char *name;    /* as written in the configuration */
	int32_t type;        /* MP_OPTION_* */
	int32_t reserved;    /* 0 */
	const char *initial; /* the default, as JSON text; NULL: empty or 0 */
	double min;          /* least value, for INT, NUMBER, DURATION (ms) */
	double max;          /* greatest value; STRING: bytes, lists: entries */
	const char *choices; /* ENUM: words divided by '|'; STRINGS may have it too */
	const char *help;    /* one sentence */
	const char *peers;   /* its counterparts in Hystrix and resilience4j, or NULL */
};

/* The value of one option, already checked against its row of the table. */
struct mp_value {
	int32_t given;                 /* 1: by the user, 0: the default */
	int32_t reserved;              /* 0 */
	int64_t integer;               /* BOOL, INT, DURATION, ENUM */
	double number;                 /* NUMBER */
	struct mp_str string;          /* STRING */
	const struct mp_field *fields; /* FIELDS, STRINGS, PREFIXES */
	size_t n_fields;
	const struct mp_range *ranges; /* RANGES */
	size_t n_ranges;
};

/* ---------------------------------------------------------------- exchanges */

/* mp_exchange.flags */
#define MP_X_REQUEST_BODY_COMPLETE 0x1u  /* request_body is all of it */
#define MP_X_RESPONSE_BODY_COMPLETE 0x2u /* response_body is all of it */
#define MP_X_SYNTHESIZED 0x4u /* the response is a filter's own, not the service's */
#define MP_X_COPY 0x8u        /* only observed: verdict and edits are ignored */

/*
 * An exchange as a filter sees it, edits of the filters before it included.
 * The response half is set in on_response only.
 */
struct mp_exchange {
	uint32_t size;  /* bytes of this struct that the host filled */
	uint32_t flags; /* MP_X_* */
	uint64_t id;    /* handle for host->resume; never 0, never reused soon */
	uint64_t memo;  /* a word of this unit's own, kept until the exchange ends */
	struct mp_str method;
	struct mp_str scheme;    /* "http" or "https" */
	struct mp_str authority; /* host or host:port, as called */
	struct mp_str path;      /* with query; never empty */
	const struct mp_field *request_fields;
	size_t n_request_fields;
	struct mp_str request_body; /* bounded: see MP_X_REQUEST_BODY_COMPLETE */
	int32_t status;             /* 100..599; 0 when error is set */
	int32_t error;              /* MP_ERROR_* */
	uint64_t duration_ns;       /* from the call's begin to the response's head */
	const struct mp_field *response_fields;
	size_t n_response_fields;
	struct mp_str response_body; /* bounded likewise */
};

/* How one call ended. */
struct mp_outcome {
	uint32_t size;        /* bytes of this struct that the host filled */
	int32_t status;       /* 100..599; 0 when error is set */
	int32_t error;        /* MP_ERROR_* */
	int32_t standing;     /* MP_STANDING_* that the call went by */
	uint64_t exchange;    /* id of its exchange when it was asked, else 0 */
	uint64_t memo;        /* the unit's word of that exchange, else 0 */
	uint64_t duration_ns; /* to the response's head, by the application's clock */
	uint64_t ended_ns;    /* when the host saw it */
	uint32_t synthesized; /* 1: answered by this chain, not by the service */
	uint32_t reserved;    /* 0 */
};

/* Which outcomes are failures: these ring the host at once. */
struct mp_failure {
	uint64_t statuses[8]; /* bit (status - 100) % 64 of word (status - 100) / 64 */
	uint32_t errors;      /* bit MP_ERROR_* */
	uint32_t reserved;    /* 0 */
	uint64_t slow_ns;     /* longer than this; 0: no such limit */
};

/* A response made by a filter. */
struct mp_reply {
	uint32_t size;  /* sizeof(struct mp_reply) */
	int32_t status; /* 200..599 */
	const struct mp_field *fields;
	size_t n_fields;
	struct mp_str body;
	const struct mp_marker *marker; /* calls back into the application; or NULL */
	/*
	 * Gives Retry-After and the marker's retry-after, which age.  0: none, or
	 * the marker's own, when that is above 0: so long from each call on.
	 */
	uint64_t retry_at_ns;
};

/* What stands for a unit until it posts again. */
struct mp_standing {
	uint32_t size;                /* sizeof(struct mp_standing) */
	int32_t verdict;              /* MP_STANDING_* */
	uint64_t until_ns;            /* REPLY: from then on ASK; 0: no end */
	const struct mp_reply *reply; /* REPLY only */
};

/* What load() tells the host of the unit that it made. */
struct mp_plan {
	uint32_t size;             /* bytes of this struct that the host knows */
	uint32_t needs;            /* MP_NEED_*, a subset of the table's */
	struct mp_failure failure; /* with MP_NEED_OUTCOME */
};

/* ------------------------------------------------------------ host services */

#define MP_LOG_ERROR 0
#define MP_LOG_WARN 1
#define MP_LOG_INFO 2
#define MP_LOG_DEBUG 3

/*
 * What the host does for its units.  Returns are 0 or a negative errno value
 * unless said otherwise.  All but now() and random() may be called only from
 * the hooks of the unit concerned, those with an exchange only inside
 * on_request or on_response.
 */
struct mp_host {
	uint16_t abi_major; /* MP_ABI_MAJOR */
	uint16_t abi_minor; /* MP_ABI_MINOR */
	uint32_t size;      /* sizeof(struct mp_host) of the host */

	uint64_t (*now)(struct mp_unit *unit);    /* ns, monotonic; the same within one hook */
	uint64_t (*wall)(struct mp_unit *unit);   /* ns since 1970, for people only */
	uint32_t (*random)(struct mp_unit *unit); /* 32 random bits; not for secrets */

	void (*log)(struct mp_unit *unit, int32_t level, const char *text);
	void (*count)(struct mp_unit *unit, uint32_t counter, uint64_t n); /* row of counters[] */
	/* Tells the aggregator, and the host's own event list, later and without an answer. */
	void (*report)(struct mp_unit *unit, const char *event,
		       const struct mp_field *fields, size_t n_fields);

	/* The verdict that stands from now on.  -E2BIG: the reply is too large, ASK stands. */
	int32_t (*post)(struct mp_unit *unit, const struct mp_standing *standing);
	/* Calls on_timer at that time; one timer a unit, a new time replaces the old, 0 stops it. */
	int32_t (*timer)(struct mp_unit *unit, uint64_t at_ns);
	/* Ends a HOLD: verdict PASS, or REPLY with reply.  -ENOENT: it is gone already. */
	int32_t (*resume)(struct mp_unit *unit, uint64_t exchange, int32_t verdict,
			  const struct mp_reply *reply);

	/* Edits the request (in on_request) or the response (in on_response).  -EINVAL: CR, LF or NUL. */
	int32_t (*edit)(struct mp_exchange *x, const struct mp_edit *edit);
	int32_t (*set_path)(struct mp_exchange *x, struct mp_str path);           /* request only */
	int32_t (*set_authority)(struct mp_exchange *x, struct mp_str authority); /* request only */
	int32_t (*set_body)(struct mp_exchange *x, struct mp_str body); /* of the half being edited */
	int32_t (*set_status)(struct mp_exchange *x, int32_t status);   /* response only */
	int32_t (*reply)(struct mp_exchange *x, const struct mp_reply *reply); /* goes with REPLY */
	int32_t (*delay)(struct mp_exchange *x, uint64_t ns); /* goes with DELAY; adds up */
	int32_t (*hold)(struct mp_exchange *x, uint64_t until_ns); /* goes with HOLD: then it passes */
};

/* Writes what a unit says of itself, a name and a value at a time. */
struct mp_writer {
	uint32_t size; /* sizeof(struct mp_writer) of the host */
	uint32_t reserved;
	void (*text)(struct mp_writer *w, const char *name, struct mp_str value);
	void (*number)(struct mp_writer *w, const char *name, double value);
	void (*time)(struct mp_writer *w, const char *name, uint64_t at_ns); /* monotonic; 0: never */
};

/* ------------------------------------------------------------------- filter */

struct mp_filter {
	uint16_t abi_major; /* MP_ABI_MAJOR it was built against */
	uint16_t abi_minor; /* MP_ABI_MINOR likewise */
	uint32_t size;      /* sizeof(struct mp_filter) likewise */
	const char *name;   /* the type in chain files: [a-z][a-z0-9-]* */
	const char *summary; /* one line for lists */
	uint32_t level;      /* MP_LEVEL_REQUEST */
	uint32_t needs;      /* the most that a unit of it may need: MP_NEED_* */
	const struct mp_option *options; /* ends with a NULL name */
	const char *const *counters;     /* names, ends with NULL; may be NULL */

	/*
	 * Makes a unit.  values[i] belongs to options[i] and is borrowed for the
	 * call.  On failure returns a negative errno value and says in error what
	 * is wrong and what is allowed.
	 */
	int32_t (*load)(const struct mp_host *host, struct mp_unit *unit,
			const struct mp_value *values, struct mp_plan *plan,
			void **ret_self, char *error, size_t error_size);
	void (*unload)(void *self); /* frees it; takes what a failed load left */
	void (*start)(void *self);  /* first call on the data thread, state put: posts its verdict */

	int32_t (*on_request)(void *self, struct mp_exchange *x);  /* MP_VERDICT_* */
	int32_t (*on_response)(void *self, struct mp_exchange *x); /* MP_VERDICT_*, no DELAY or HOLD */
	void (*on_outcome)(void *self, const struct mp_outcome *outcome);
	/* An asked exchange will have no outcome: its process died or it is overdue. */
	void (*on_abandon)(void *self, uint64_t exchange, uint64_t memo);
	/* Outcomes that did not fit: how many were fine and how many failures. */
	void (*on_lost)(void *self, uint64_t n_ok, uint64_t n_failed);
	/* Every outcome known by now has been delivered: judge. */
	void (*on_drained)(void *self);
	void (*on_timer)(void *self, uint64_t now_ns);

	/* An operator's word: "override" open|closed|auto, "reset" "".  -ENOTSUP: not known. */
	int32_t (*command)(void *self, const char *name, const char *value);
	void (*status)(void *self, struct mp_writer *writer);

	/*
	 * State (OpenMB's southbound side) by key; "state" is all that must
	 * outlive a swap or a restart.  get returns the size of the whole value
	 * and writes no more than size bytes; put takes what any earlier version
	 * of get gave and refuses anything else with -EINVAL, unchanged.
	 */
	int64_t (*get)(void *self, const char *key, void *buf, size_t size);
	int32_t (*put)(void *self, const char *key, const void *data, size_t size);
	int32_t (*del)(void *self, const char *key);
};
#define MP_FILTER_1_0 MP_SIZE_TO(struct mp_filter, del)

/* The name of the symbol that a `.so` exports. */
#define MP_FILTER_SYMBOL "mp_filter_table"

/*
 * Defines the table of filter `id` in both kinds of build:
 *   MP_FILTER(breaker) = { MP_FILTER_HEAD, .name = "breaker", ... };
 */
#ifdef MP_SHARED
#define MP_FILTER(id)                                                          \
	__attribute__((visibility("default"))) extern const struct mp_filter   \
		mp_filter_table;                                               \
	const struct mp_filter mp_filter_table
#else
#define MP_FILTER(id)                                                          \
	extern const struct mp_filter mp_filter_##id;                          \
	const struct mp_filter mp_filter_##id
#endif
#define MP_FILTER_HEAD                                                         \
	.abi_major = MP_ABI_MAJOR, .abi_minor = MP_ABI_MINOR,                  \
	.size = sizeof(struct mp_filter)

#endif
