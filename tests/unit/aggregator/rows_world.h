/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated group: members with a copy and an owner each over one simulated
 * store, and clients that put into a few rows and ask again until they know.
 *
 * What clients were told is compared with what is stored in the end:
 * world_check().
 */
#ifndef TESTS_UNIT_AGGREGATOR_ROWS_WORLD_H
#define TESTS_UNIT_AGGREGATOR_ROWS_WORLD_H

#include "aggregator/rows/copy_priv.h"
#include "aggregator/rows/members_priv.h"
#include "aggregator/rows/owner_priv.h"
#include "aggregator/rows/reader_priv.h"
#include "aggregator/rows/subscribe.h"
#include "tests/unit/aggregator/engine_sim.h"

#define WORLD_MEMBERS 5
#define WORLD_CLIENTS 8
#define WORLD_ROWS 6
#define WORLD_SHARDS 4
#define WORLD_OPS 4096 /* puts of all clients */
#define WORLD_PINGS 64 /* likewise */
#define WORLD_ATTEMPTS 512 /* under way at once */
#define WORLD_CELLS 3  /* of one put, at most */
#define WORLD_READERS 4
#define WORLD_SUBS 3
#define WORLD_GOT (WORLD_OPS * WORLD_CELLS)

struct world;

struct member {
	struct world *world;
	char name[16];
	struct sim_actor actor;
	struct engine *engine; /* NULL while it is dead */
	struct rows_host host;
	struct copy *copy;
	struct owner *owner;
	struct reader *reader;
	struct members *members; /* NULL: it takes shards as it pleases */
	uint64_t members_at;   /* ns; when it is to be woken */
	uint64_t timer;        /* its next wake */
	unsigned life;         /* how often it was started */
	unsigned hurried;      /* turns, one behind the other, after which it wanted the next at once */
};

/* A ping on its way. */
struct sim_ping {
	struct member *from, *to; /* from NULL: this place is free */
	uint64_t nonce;           /* of the process that is meant */
	unsigned life;            /* of who asked */
};

struct op;

/* One time that a put was sent to a member.  The client may have given it up before it is answered. */
struct attempt {
	struct put put;
	struct op *op;      /* NULL: this place is free */
	struct member *at;
	bool given_up;      /* its answer reaches nobody */
};

/* A put of a client. */
struct op {
	struct world *world;
	enum put_kind kind;
	unsigned client, row;
	struct attempt *now;    /* that it waits for; NULL: between two */
	uint64_t patience;      /* event that gives it up */
	char key[24];           /* also when it is put without one */
	bool keyed;
	char bytes[WORLD_CELLS][24];
	struct mp_str content[WORLD_CELLS];
	size_t n;
	bool has_if_match;
	uint64_t if_match;
	struct base base;
	uint64_t invoked, began, returned; /* ns; first and last attempt, 0: not yet */
	uint64_t floor, keep_cells; /* of PUT_FLOOR, PUT_POLICIES */
	uint64_t unanswered_until; /* ns; by then no unanswered attempt can be carried out; 0: there is none */
	enum put_code code;     /* how it ended for the client */
	uint64_t incarnation, seq;
};

/* A client that reads rows, one after the other. */
struct sim_read {
	struct read read;      /* the member's while `at` */
	struct world *world;
	struct member *at;     /* that it has asked; NULL: between two */
	unsigned row;
	uint64_t revision;     /* of the store when it asked */
	uint64_t acked;        /* greatest seq of the row that a client had been told of by then */
};

/* A client that subscribes to a row, at one member after the other. */
struct sim_sub {
	struct subscription sub;
	struct sim_read ask;   /* a read comes first, as over HTTP */
	struct world *world;
	unsigned row;
	struct member *at;     /* NULL: it has to begin (again) */
	uint64_t incarnation;  /* that it goes on with; 0: of any life, from its floor */
	uint64_t next;         /* seq that it wants */
	bool goes_on;          /* the next cell has to follow the one before */
	struct sim_got {
		uint64_t incarnation, seq;
		unsigned op;
		size_t part;
		bool goes_on;
	} got[WORLD_GOT];      /* cells that it was given */
	size_t n_got;
};

/* What a planted fault does. */
enum plant { PLANT_NONE, PLANT_STALE, PLANT_GAP, PLANT_TWICE };

struct world {
	struct sim *sim;
	struct sim_store *store;
	struct member member[WORLD_MEMBERS];
	unsigned n_members;
	bool admin;             /* clients delete, compact and change policies, too */
	bool agree;             /* members prefer owners, and look after one another */
	struct op op[WORLD_OPS];
	struct attempt attempt[WORLD_ATTEMPTS];
	struct sim_ping ping[WORLD_PINGS];
	struct sim_read reader[WORLD_READERS];
	struct sim_sub sub[WORLD_SUBS];
	enum plant plant;
	uint64_t reads, unread, delivered, resumed, ended;
	unsigned n_ops, left;   /* begun, and still to begin */
	unsigned busy;          /* clients that have not ended */
	uint64_t acked, repeated, refused, gone, deleted, unknown, given_up, retries, lives, takeovers, kills, found, lost;
};

#endif
