/* SPDX-License-Identifier: Apache-2.0 */
/* What the documents of the control API share: status.c and explain.c. */
#ifndef SCHEDULER_STATUS_PRIV_H
#define SCHEDULER_STATUS_PRIV_H

#include "lib/json.h"
#include "scheduler/data.h"

json_t *time_json(const struct data *data, uint64_t at_ns); /* monotonic; 0: null */
json_t *wall_json(uint64_t wall_ns);
const char *standing_name(int standing);
json_t *unit_status_json(const struct data *data, const struct unit *unit);
json_t *ejected_json(const struct unit *unit);

#endif
