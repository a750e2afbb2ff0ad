/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For whom a request between members is meant (docs/rows-api.md, "Among members"): an
 * address may have become another process's, perhaps one of another tenant's, and must
 * not be believed.  Each such request names the group, the tenant and the process; who is not
 * meant does nothing and says so (421).  See http.h.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/rows/http.h"
#include "lib/slice.h"

#define GROUP_FIELD "Middlepipe-Group"
#define TENANT_FIELD "Middlepipe-Tenant"

/* A field's value has no blanks at its ends, and ASCII only: all that is not plain is percent-encoded. */
static void encode(char *out, struct mp_str text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t n = 0;

	for (size_t i = 0; i < text.len && i < ROW_TENANT_MAX; i++) {
		if (memchr(plain, text.ptr[i], sizeof(plain) - 1))
			out[n++] = text.ptr[i];
		else
			n += (size_t)snprintf(out + n, 4, "%%%02X", (unsigned)(unsigned char)text.ptr[i]);
	}
	out[n] = '\0';
}

void rows_http_name(struct rows_http *http, struct mp_str tenant)
{
	encode(http->tenant, tenant);
	(void)snprintf(http->process, sizeof(http->process), "%016" PRIx64, group_nonce(http->group));
}

void rows_meant(const struct rows_http *http, uint64_t nonce, struct rows_meant *text, const char **fields)
{
	(void)snprintf(text->group, sizeof(text->group), GROUP_FIELD ": %s", group_uuid(http->group));
	(void)snprintf(text->tenant, sizeof(text->tenant), TENANT_FIELD ": %s", http->tenant);
	(void)snprintf(text->process, sizeof(text->process), ROWS_PROCESS_FIELD ": %016" PRIx64, nonce);
	fields[0] = text->group;
	fields[1] = text->tenant;
	fields[2] = text->process;
}

bool rows_is_meant(struct rows_http *http, struct http_req *req)
{
	const struct {
		const char *field, *is, *what;
	} names[ROWS_MEANT_FIELDS] = {
		{ GROUP_FIELD, group_uuid(http->group), "group" },
		{ TENANT_FIELD, http->tenant, "tenant" },
		{ ROWS_PROCESS_FIELD, http->process, "process" },
	};
	struct mp_str value;

	for (size_t i = 0; i < ROWS_MEANT_FIELDS; i++) {
		int n = http_header(req, names[i].field, &value);

		/* An older program names nobody, and is believed as it always was. */
		if (!n || (n == 1 && slice_eq(value, slice_of(names[i].is))))
			continue;
		http->misdirected++;
		http_answer_error(req, 421, "misdirected", "this is not the %s that the request is for (%s): nothing was done",
				  names[i].what, names[i].field);
		return false;
	}
	return true;
}
