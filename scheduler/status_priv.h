/* SPDX-License-Identifier: Apache-2.0 */
/* What the documents of the control API share: status.c and explain.c. */
#ifndef SCHEDULER_STATUS_PRIV_H
#define SCHEDULER_STATUS_PRIV_H

#include "lib/json.h"
#include "scheduler/look.h"

json_t *time_json(uint64_t at_ns); /* monotonic; 0: null */
json_t *wall_json(uint64_t wall_ns);
const char *standing_name(int standing);
json_t *ejected_json(const struct look_unit *seen);
/* What the unit said of itself; takes its part off *said. */
json_t *said_json(const struct look_unit *seen, struct mp_str *said);

#endif
