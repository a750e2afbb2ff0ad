/* SPDX-License-Identifier: Apache-2.0 */
/* See sse.h. */
#include "cf-plugin/sse.h"

#include <stdio.h>

#include "lib/slice.h"

void sse_init(struct sse *sse, size_t max, int (*give)(void *ctx, const char *event, struct mp_str data),
	      void *ctx)
{
	*sse = (struct sse){ .give = give, .ctx = ctx };
	buf_init(&sse->line, max);
	buf_init(&sse->data, max);
}

void sse_fini(struct sse *sse)
{
	buf_fini(&sse->line);
	buf_fini(&sse->data);
}

void sse_reset(struct sse *sse)
{
	buf_reset(&sse->line);
	buf_reset(&sse->data);
	sse->event[0] = '\0';
}

/* An empty line: the event is whole.  One without data is none. */
static int end_event(struct sse *sse)
{
	int rc = sse->data.len ? sse->give(sse->ctx, sse->event, buf_slice(&sse->data)) : 0;

	buf_reset(&sse->data);
	sse->event[0] = '\0';
	return rc;
}

static int take_line(struct sse *sse, struct mp_str line)
{
	struct mp_str name, value;

	if (line.len && line.ptr[line.len - 1] == '\r')
		line.len--;
	if (!line.len)
		return end_event(sse);
	(void)slice_cut(line, ':', &name, &value);
	if (value.len && value.ptr[0] == ' ')
		value = slice_skip(value, 1);
	if (slice_eq(name, MP_LIT("event")))
		(void)snprintf(sse->event, sizeof(sse->event), "%.*s", SLICE_ARG(value));
	else if (slice_eq(name, MP_LIT("data")))
		return buf_add_slice(&sse->data, value);
	return 0;
}

int sse_take(struct sse *sse, struct mp_str part)
{
	struct mp_str head;

	while (part.len) {
		bool whole = slice_cut(part, '\n', &head, &part);
		int rc = buf_add_slice(&sse->line, head);

		if (rc || !whole)
			return rc;
		rc = take_line(sse, buf_slice(&sse->line));
		buf_reset(&sse->line);
		if (rc)
			return rc;
	}
	return 0;
}
