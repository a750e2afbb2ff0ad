/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making an instance of an aggregator half, and taking its snapshot, for
 * whoever hosts one (middlepipe/aggregator.h): the aggregator, and tests.
 */
#ifndef MIDDLEPIPES_HALF_H
#define MIDDLEPIPES_HALF_H

#include <middlepipe/aggregator.h>

#include "lib/buf.h"
#include "lib/err.h"

#define HALF_CONFIG_MAX 65536 /* bytes of a configuration */

/*
 * An instance of the half.  config: a JSON object by the half's options, the same
 * at every member; empty: all defaults.  0 and *ret, for half->fini(); -EINVAL, -E2BIG:
 * the configuration is wrong, err says where; or what init() says, -ENOMEM.
 */
int half_new(const struct mp_aggregator *half, const struct mp_aggregator_host *host,
	     struct mp_instance *instance, struct mp_str config, void **ret, struct err *err);

/* Appends the instance's snapshot.  0; -E2BIG above MP_SNAPSHOT_MAX; or what the half says. */
int half_snapshot(const struct mp_aggregator *half, void *self, struct buf *out);

#endif
