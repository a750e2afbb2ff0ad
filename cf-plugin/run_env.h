/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The variables by which languages load our hooks, composed with what the user
 * has in them.  Pure; for cmd_run.c.
 *
 * Ours comes first.  What an outer `middlepipe run` put there is dropped, so
 * that nothing is loaded twice.
 */
#ifndef CF_PLUGIN_RUN_ENV_H
#define CF_PLUGIN_RUN_ENV_H

#include <stdbool.h>

#include "lib/buf.h"

/* Where the hooks are in their folder; their ends are how old ones are known. */
#define RUN_HOOK_RUBY "/ruby/middlepipe.rb"
#define RUN_HOOK_PYTHON "/python"
#define RUN_HOOK_NODE "/node/middlepipe.cjs"

/* Each appends the new value.  old: the present one or NULL; hooks: the folder. */
void run_env_ruby(const char *old, const char *hooks, struct buf *out);   /* RUBYOPT */
void run_env_python(const char *old, const char *hooks, struct buf *out); /* PYTHONPATH */
void run_env_node(const char *old, const char *hooks, struct buf *out);   /* NODE_OPTIONS */

/* True when the folder's name cannot stand in all of them: it needs a link. */
bool run_env_needs_link(const char *hooks);

#endif
