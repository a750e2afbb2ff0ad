/* SPDX-License-Identifier: Apache-2.0 */
/* The list of what happened: the newest events, for GET /v1/events.  Data thread. */
#include <stdio.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/slice.h"
#include "scheduler/data.h"

static void fields_render(const struct mp_field *fields, size_t n, char *out, size_t size)
{
	json_t *object = json_object();
	char *text;

	for (size_t i = 0; object && i < n; i++) {
		char *name = slice_dup(fields[i].name);

		if (name)
			json_object_set_new(object, name, json_stringn(fields[i].value.ptr,
								       fields[i].value.len));
		free(name);
	}
	text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	/* What does not fit is left out whole: half an object is none. */
	snprintf(out, size, "%s", text && strlen(text) < size ? text : "{}");
	free(text);
	json_decref(object);
}

void data_event(struct data *d, const struct unit *u, const char *event,
		const struct mp_field *fields, size_t n_fields)
{
	struct data_event *e = &d->events[d->n_events % DATA_EVENTS];

	e->seq = ++d->n_events;
	e->wall_ns = clock_wall_now();
	snprintf(e->event, sizeof(e->event), "%s", event);
	snprintf(e->middlepipe, sizeof(e->middlepipe), "%s", u ? u->middlepipe : "");
	snprintf(e->destination, sizeof(e->destination), "%s", u ? u->destination : "");
	fields_render(fields, n_fields, e->fields, sizeof(e->fields));
	log_info("event", "name=%s middlepipe=%s destination=%s", LOG_STR(e->event),
		 LOG_STR(e->middlepipe), LOG_STR(e->destination));
}
