/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the chain checker share: chain.c walks the document,
 * chain_match.c reads matches, chain_value.c the options of a filter.
 *
 * Nobody else includes it.
 */
#ifndef LIB_CHAIN_PRIV_H
#define LIB_CHAIN_PRIV_H

#include "lib/arena.h"
#include "lib/chain.h"

/* A match in the index of a file, sorted by host, port and place. */
struct chain_ref {
	const struct lane_key *key; /* in its destination */
	uint32_t port;              /* 0: any port */
	uint32_t destination;       /* index of the destination */
	uint32_t match;             /* index of the match in it */
};

/* A filter that the file uses: its defaults are read once. */
struct chain_type {
	const struct mp_filter *filter; /* from the catalog */
	struct chain_type *next;        /* the one found before it */
	const struct mp_value *values;  /* defaults, one per option */
	const char **names;             /* of the options, NULL at the end */
	size_t n_options;               /* rows of its table */
	bool broken;                    /* a default is wrong: told once */
};

struct chains {
	struct arena arena;                     /* owns all below */
	const char *app;                        /* for whom */
	int64_t epoch;                          /* 1 and up */
	struct chain_destination *destinations; /* in the order of the file */
	size_t n_destinations;
	struct chain_ref *index; /* every match of the file */
	size_t n_index;
	const char *identity; /* canonical, without the epoch */
	const char *text;     /* as given */
};

/* One run of the checker. */
struct chain_parser {
	struct chains *chains;                /* under construction */
	struct arena *arena;                  /* its arena */
	const struct chain_catalog *catalog;  /* borrowed */
	struct json_errs *errs;               /* the mistakes, borrowed */
	struct chain_type *types;             /* those met so far, in the arena */
	const json_t *root;                   /* the document, borrowed */
};

/* "one of a, b, c" in a message. */
#define CHAIN_WORDS_SIZE 160

/* Adds "wants WANTS, not VALUE" for a value. */
void chain_wants(struct chain_parser *parser, const struct json_at *at, const char *wants);

/*
 * Reads one match.  NULL and *key and *port, or why the text is no match, as
 * the end of a sentence.
 */
const char *chain_match_read(struct mp_str text, struct lane_key *key, uint32_t *ret_port);

/* Sorts parser->chains->index and refuses matches that overlap. */
void chain_index(struct chain_parser *parser);

/* The entry of the index that a call to host and port meets, or NULL. */
const struct chain_ref *chain_index_find(const struct chains *chains, struct mp_str host,
					 uint32_t port);

/* The filter's row among those met, made when it is new; NULL without memory. */
const struct chain_type *chain_type_get(struct chain_parser *parser,
					const struct mp_filter *filter,
					const struct json_at *at);

/*
 * Reads a configuration by the filter's table: sets binding->values and
 * ->prefixes.  config->value may be NULL: all defaults.
 */
void chain_values(struct chain_parser *parser, const struct json_at *config,
		  const struct chain_type *type, struct chain_binding *binding);

#endif
