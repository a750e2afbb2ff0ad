/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Test filter: adds the field `field` with its option `value` to each request,
 * and, with `responses`, to each response.  Several of them in one chain leave
 * their values in the order in which they ran: the service, or the app, can
 * tell which chain an exchange went through, and that it was exactly one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <middlepipe/filter.h>

#define STAMP_TEXT_MAX 256

enum option { VALUE, FIELD, RESPONSES };
static const struct mp_option options[] = {
	[VALUE] = { .name = "value", .type = MP_OPTION_STRING, .initial = "\"1\"",
		    .max = STAMP_TEXT_MAX, .help = "what the field says" },
	[FIELD] = { .name = "field", .type = MP_OPTION_STRING, .initial = "\"x-epoch\"",
		    .max = STAMP_TEXT_MAX, .help = "which field is added" },
	[RESPONSES] = { .name = "responses", .type = MP_OPTION_BOOL, .initial = "false",
			.help = "stamp responses as well" },
	{ 0 },
};

struct stamp {
	const struct mp_host *host;  /* services, for the unit's life */
	struct mp_edit edit;         /* what is done to each message; points below */
	char field[STAMP_TEXT_MAX];  /* option field */
	char value[STAMP_TEXT_MAX];  /* option value */
};

/* A copy that lives as long as the unit. */
static struct mp_str keep(char memory[STAMP_TEXT_MAX], struct mp_str text)
{
	if (text.len)
		memcpy(memory, text.ptr, text.len);
	return (struct mp_str){ memory, text.len };
}

static int32_t load(const struct mp_host *host, struct mp_unit *unit, const struct mp_value *values,
		    struct mp_plan *plan, void **ret_self, char *error, size_t error_size)
{
	struct stamp *stamp = calloc(1, sizeof(*stamp));

	(void)unit, (void)error, (void)error_size;
	if (!stamp)
		return -ENOMEM;
	stamp->host = host;
	stamp->edit.op = MP_EDIT_ADD;
	stamp->edit.field.name = keep(stamp->field, values[FIELD].string);
	stamp->edit.field.value = keep(stamp->value, values[VALUE].string);
	plan->needs = MP_NEED_REQUEST | (values[RESPONSES].integer ? MP_NEED_RESPONSE : 0);
	*ret_self = stamp;
	return 0;
}

static int32_t edit(void *self, struct mp_exchange *x)
{
	struct stamp *stamp = self;

	return stamp->host->edit(x, &stamp->edit) ? MP_VERDICT_ERROR : MP_VERDICT_PASS;
}

MP_FILTER(stamp) = {
	MP_FILTER_HEAD,
	.name = "stamp",
	.summary = "test: adds a field to each request",
	.level = MP_LEVEL_REQUEST,
	.needs = MP_NEED_REQUEST | MP_NEED_RESPONSE,
	.options = options,
	.load = load,
	.unload = free,
	.on_request = edit,
	.on_response = edit,
};
