/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chain file that was accepted last, in memory that outlives a worker.
 *
 * Made by the supervisor and inherited by every worker, so that the next one
 * goes on with what was in force, whatever has become of the file on disk and
 * whether there is a state file or not.  Written by the control thread only;
 * a worker may die at any instruction of keep_put().
 */
#ifndef SCHEDULER_KEEP_H
#define SCHEDULER_KEEP_H

struct keep;

/* Makes the mapping; NULL without memory.  Pages cost nothing before they are used. */
struct keep *keep_new(void);

/* Keeps a copy of a text of at most CHAIN_TEXT_MAX bytes; a longer one is not kept. */
void keep_put(struct keep *keep, const char *text);

/* The text that was kept last, or NULL; valid until the next keep_put() but one. */
const char *keep_get(const struct keep *keep);

#endif
