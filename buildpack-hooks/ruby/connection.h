/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Middlepipe::Call says of the process's connection to its scheduler:
 * Call.enabled?, Call.body_limit and Call.counters.  For middlepipe_ext.c.
 */
#ifndef BUILDPACK_HOOKS_RUBY_CONNECTION_H
#define BUILDPACK_HOOKS_RUBY_CONNECTION_H

#include <ruby/ruby.h>

void connection_define(VALUE class);

#endif
