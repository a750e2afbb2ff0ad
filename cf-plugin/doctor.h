/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What aggregators say of themselves, judged: what is wrong, in plain words,
 * and what to do.  For `middlepipe rows doctor`, which asks them.  Pure.
 */
#ifndef CF_PLUGIN_DOCTOR_H
#define CF_PLUGIN_DOCTOR_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"

/* An aggregator as it was found; borrowed. */
struct patient {
	const char *url;
	int http_status;        /* of /v1/status; 0: no answer */
	int ready_status;       /* of /readyz; 0: no answer */
	const char *why;        /* no answer, or not ready: the reason; "" else */
	const json_t *status;   /* what /v1/status says; NULL: nothing */
	const json_t *owners;   /* likewise /v1/owners */
	const json_t *members;  /* likewise /v1/members */
	int64_t clock_ms;       /* its clock minus ours */
	int64_t round_ms;       /* that the call took: the clock is known to half of it */
};

enum severity { DOCTOR_WARNING, DOCTOR_PROBLEM };

/* Is called with each finding; url: "" for one that concerns the group.  Texts are borrowed for the call. */
typedef void doctor_find_fn(void *ctx, enum severity severity, const char *url, const char *what,
			    const char *advice);

/* Judges n aggregators, each alone and all together.  version: of this program. */
void doctor_judge(const struct patient *patients, size_t n, const char *version, doctor_find_fn *find, void *ctx);

#endif
