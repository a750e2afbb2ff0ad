/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For whom a request between members is meant (docs/rows-api.md, "Among members"): an
 * address may have become another process's, perhaps one of another tenant's, and must
 * not be believed.  Each such request names the group, the tenant and the process; who is not
 * meant does nothing and says so (421).  Tenant and process are compared where heads are read
 * (aggregator/http/intake.c), before rights, which are another tenant's as well; the group here, since a process that
 * starts does not know it yet.  See api.h.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/rows/api/api.h"
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
	http->own[0] = (struct http_field){ TENANT_FIELD, http->tenant };
	http->own[1] = (struct http_field){ ROWS_PROCESS_FIELD, http->process };
	http->own[2] = (struct http_field){ NULL, NULL };
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
	struct mp_str value;
	int n = http_header(req, GROUP_FIELD, &value);

	/* An older program names nobody, and is believed as it always was. */
	if (!n || (n == 1 && slice_eq(value, slice_of(group_uuid(http->group)))))
		return true;
	http->misdirected++;
	http_answer_error(req, 421, "misdirected", "this is not whom the request is for (%s): nothing was done", GROUP_FIELD);
	return false;
}
