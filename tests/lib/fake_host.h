/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host for one unit of a filter: a clock that the test moves, and a record
 * of all that the filter asks for.
 *
 *	struct fake_host host;
 *
 *	fake_load(&host, filter, "{\"volume\": 4}");    loads and starts
 *	fake_advance(&host, 5000 * FAKE_MS);            fires the timer on its way
 *	is_int(host.post.verdict, MP_STANDING_REPLY, "open");
 *	fake_unload(&host);
 *
 * Configurations are read by lib/chain.h, so that the options' tables and
 * defaults are what they are in a scheduler.  One thread; bounded; texts that
 * do not fit are cut.  Nothing here sleeps.
 */
#ifndef TESTS_LIB_FAKE_HOST_H
#define TESTS_LIB_FAKE_HOST_H

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <middlepipe/filter.h>

#include "lib/chain.h"

#define FAKE_MS UINT64_C(1000000)
#define FAKE_START (UINT64_C(1000000) * FAKE_MS) /* the clock's first time */
#define FAKE_EVENTS 64
#define FAKE_COUNTERS 32
#define FAKE_STATUS 48
#define FAKE_TEXT 1024
#define FAKE_LINE 320

/* A reply as the host copied it. */
struct fake_reply {
	int32_t status;
	char fields[FAKE_TEXT]; /* "name: value\n" each */
	char body[FAKE_TEXT];
	size_t body_len;
	bool has_marker;
	char marker_type[32], marker_state[32], marker_callback[32];
	int64_t marker_retry_after;
	uint64_t retry_at_ns;
};

/* A posted standing verdict. */
struct fake_post {
	int32_t verdict; /* MP_STANDING_*, as it stands: ASK when the reply was refused */
	uint64_t until_ns;
	struct fake_reply reply; /* REPLY only */
};

struct fake_event {
	char name[32];
	char text[FAKE_TEXT]; /* "name=value\n" each */
};

/* One line of what status() wrote. */
struct fake_status {
	char name[32];
	char text[FAKE_LINE]; /* text() */
	double number;        /* number(), or time() in ns */
};

struct fake_host;
struct mp_unit {
	struct fake_host *host;
};

struct fake_host {
	struct mp_host services;
	struct mp_unit unit;
	const struct mp_filter *filter;
	struct chains *chains; /* owns the values */
	void *self;            /* of the filter */
	struct mp_plan plan;
	int result;            /* of load() or of reading the configuration */
	char error[512];       /* likewise */
	uint64_t now_ns;
	uint64_t seed;   /* of random() */
	uint64_t timer_ns; /* 0: none */
	size_t max_reply;  /* body bytes that fit on the board */
	struct fake_post post;
	size_t n_posts;
	struct fake_event events[FAKE_EVENTS]; /* event i at i % FAKE_EVENTS */
	size_t n_events;
	uint64_t counters[FAKE_COUNTERS];
	struct fake_status status[FAKE_STATUS];
	size_t n_status;
	uint64_t next_exchange;
};

/* An exchange and what the filter did to it; x comes first. */
struct fake_exchange {
	struct mp_exchange x;
	struct fake_host *host;
	char edits[FAKE_TEXT]; /* "set name: value\n" each */
	size_t n_edits;
	bool no_room;          /* edits fail */
	struct fake_reply reply;
	bool has_reply;
	uint64_t delay_ns;
};

/* ------------------------------------------------------------------ services */

static inline struct mp_str fake_str(const char *text)
{
	return (struct mp_str){text, strlen(text)};
}

static inline void fake_copy(char *out, size_t size, struct mp_str text)
{
	(void)snprintf(out, size, "%.*s", (int)text.len, text.ptr ? text.ptr : "");
}

static inline void fake_append(char *out, size_t size, const char *op, const struct mp_field *f)
{
	size_t len = strlen(out);

	(void)snprintf(out + len, size - len, "%s%.*s: %.*s\n", op, (int)f->name.len, f->name.ptr,
		       (int)f->value.len, f->value.ptr ? f->value.ptr : "");
}

static inline void fake_take_reply(struct fake_reply *out, const struct mp_reply *reply)
{
	*out = (struct fake_reply){.status = reply->status, .retry_at_ns = reply->retry_at_ns};
	assert(reply->size == sizeof(*reply) && reply->status >= 200 && reply->status < 600);
	for (size_t i = 0; i < reply->n_fields; i++)
		fake_append(out->fields, sizeof(out->fields), "", &reply->fields[i]);
	fake_copy(out->body, sizeof(out->body), reply->body);
	out->body_len = reply->body.len;
	out->has_marker = reply->marker != NULL;
	if (!reply->marker)
		return;
	fake_copy(out->marker_type, sizeof(out->marker_type), reply->marker->type);
	fake_copy(out->marker_state, sizeof(out->marker_state), reply->marker->state);
	out->marker_retry_after = reply->marker->retry_after;
	fake_copy(out->marker_callback, sizeof(out->marker_callback), reply->marker->callback);
}

static inline uint64_t fake_now(struct mp_unit *unit)
{
	return unit->host->now_ns;
}

static inline uint32_t fake_random(struct mp_unit *unit)
{
	uint64_t *s = &unit->host->seed; /* xorshift64* */

	*s ^= *s >> 12;
	*s ^= *s << 25;
	*s ^= *s >> 27;
	return (uint32_t)(*s * UINT64_C(2685821657736338717) >> 32);
}

static inline void fake_log(struct mp_unit *unit, int32_t level, const char *text)
{
	(void)unit;
	(void)level;
	(void)text;
}

static inline void fake_count(struct mp_unit *unit, uint32_t counter, uint64_t n)
{
	assert(counter < FAKE_COUNTERS && unit->host->filter->counters[counter]);
	unit->host->counters[counter] += n;
}

static inline void fake_report(struct mp_unit *unit, const char *name,
			       const struct mp_field *fields, size_t n)
{
	struct fake_event *event = &unit->host->events[unit->host->n_events++ % FAKE_EVENTS];

	fake_copy(event->name, sizeof(event->name), fake_str(name));
	event->text[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(event->text);

		(void)snprintf(event->text + len, sizeof(event->text) - len, "%.*s=%.*s\n",
			       (int)fields[i].name.len, fields[i].name.ptr,
			       (int)fields[i].value.len, fields[i].value.ptr);
	}
}

static inline int32_t fake_post(struct mp_unit *unit, const struct mp_standing *standing)
{
	struct fake_host *host = unit->host;

	assert(standing->size == sizeof(*standing));
	host->n_posts++;
	host->post = (struct fake_post){standing->verdict, standing->until_ns, {0}};
	if (standing->verdict != MP_STANDING_REPLY)
		return 0;
	if (standing->reply->body.len > host->max_reply) {
		host->post.verdict = MP_STANDING_ASK;
		return -E2BIG;
	}
	fake_take_reply(&host->post.reply, standing->reply);
	return 0;
}

static inline int32_t fake_timer(struct mp_unit *unit, uint64_t at_ns)
{
	unit->host->timer_ns = at_ns;
	return 0;
}

static inline int32_t fake_resume(struct mp_unit *unit, uint64_t exchange, int32_t verdict,
				  const struct mp_reply *reply)
{
	(void)unit;
	(void)exchange;
	(void)verdict;
	(void)reply;
	return -ENOENT; /* nothing is ever held here */
}

static inline int32_t fake_edit(struct mp_exchange *x, const struct mp_edit *edit)
{
	static const char *const names[] = {"set ", "add ", "remove "};
	struct fake_exchange *fx = (struct fake_exchange *)(void *)x;

	if (fx->no_room)
		return -E2BIG;
	fake_append(fx->edits, sizeof(fx->edits), names[edit->op], &edit->field);
	fx->n_edits++;
	return 0;
}

static inline int32_t fake_set_str(struct mp_exchange *x, struct mp_str value)
{
	(void)x;
	(void)value;
	return 0;
}

static inline int32_t fake_set_status(struct mp_exchange *x, int32_t status)
{
	x->status = status;
	return 0;
}

static inline int32_t fake_reply(struct mp_exchange *x, const struct mp_reply *reply)
{
	struct fake_exchange *fx = (struct fake_exchange *)(void *)x;

	fake_take_reply(&fx->reply, reply);
	fx->has_reply = true;
	return 0;
}

static inline int32_t fake_delay(struct mp_exchange *x, uint64_t ns)
{
	((struct fake_exchange *)(void *)x)->delay_ns += ns;
	return 0;
}

static inline const struct mp_host *fake_services(struct fake_host *host)
{
	host->services = (struct mp_host){
		.abi_major = MP_ABI_MAJOR,
		.abi_minor = MP_ABI_MINOR,
		.size = sizeof(struct mp_host),
		.now = fake_now,
		.wall = fake_now,
		.random = fake_random,
		.log = fake_log,
		.count = fake_count,
		.report = fake_report,
		.post = fake_post,
		.timer = fake_timer,
		.resume = fake_resume,
		.edit = fake_edit,
		.set_path = fake_set_str,
		.set_authority = fake_set_str,
		.set_body = fake_set_str,
		.set_status = fake_set_status,
		.reply = fake_reply,
		.delay = fake_delay,
		.hold = fake_delay,
	};
	return &host->services;
}

/* -------------------------------------------------------------- configuration */

/* A catalog of one filter. */
struct fake_catalog {
	struct chain_catalog base;
	const struct mp_filter *filter;
};

static inline const struct mp_filter *fake_find(const struct chain_catalog *catalog,
						const char *type)
{
	const struct mp_filter *filter = ((const struct fake_catalog *)(const void *)catalog)->filter;

	return strcmp(type, filter->name) ? NULL : filter;
}

/* The values of a configuration; NULL, and host->error, when it is refused. */
static inline const struct mp_value *fake_values(struct fake_host *host, const char *config)
{
	const char *const names[] = {host->filter->name, NULL};
	struct fake_catalog catalog = {{fake_find, names}, host->filter};
	const struct chain_destination *destination;
	struct json_errs errs;
	size_t size = strlen(config) + 512, n;
	char *text = malloc(size);

	assert(text);
	(void)snprintf(text, size,
		       "{\"app\":\"test\",\"epoch\":1,\"destinations\":[{\"name\":\"service\","
		       "\"match\":[\"service:80\"],\"chain\":[{\"middlepipe\":\"pipe\","
		       "\"type\":\"%s\",\"config\":%s}]}]}",
		       host->filter->name, config);
	json_errs_init(&errs, 8);
	host->result = chains_parse(fake_str(text), &catalog.base, &host->chains, &errs);
	fake_copy(host->error, sizeof(host->error), fake_str(json_errs_text(&errs)));
	json_errs_fini(&errs);
	free(text);
	if (host->result)
		return NULL;
	destination = chains_destinations(host->chains, &n);
	return destination->bindings[0].values;
}

/* ----------------------------------------------------------------- life cycle */

static inline void fake_init(struct fake_host *host, const struct mp_filter *filter, uint64_t now_ns)
{
	memset(host, 0, sizeof(*host));
	host->filter = filter;
	host->unit.host = host;
	host->now_ns = now_ns;
	host->seed = 88172645463325252ull;
	host->max_reply = 65536;
	host->post.verdict = MP_STANDING_ASK; /* as for any unit that has not posted */
	host->plan.size = sizeof(host->plan);
}

/* Loads only: put() may follow, then fake_start().  Returns host->result. */
static inline int fake_make(struct fake_host *host, const char *config)
{
	const struct mp_value *values = fake_values(host, config);

	if (!values)
		return host->result;
	host->result = host->filter->load(fake_services(host), &host->unit, values, &host->plan,
					  &host->self, host->error, sizeof(host->error));
	assert((host->plan.needs & ~host->filter->needs) == 0);
	return host->result;
}

static inline void fake_start(struct fake_host *host)
{
	if (host->filter->start)
		host->filter->start(host->self);
}

static inline void fake_unload(struct fake_host *host)
{
	host->filter->unload(host->self);
	chains_free(host->chains);
	host->self = NULL;
	host->chains = NULL;
}

/* Loads and starts; returns host->result. */
static inline int fake_load(struct fake_host *host, const struct mp_filter *filter,
			    const char *config)
{
	fake_init(host, filter, FAKE_START);
	if (!fake_make(host, config))
		fake_start(host);
	return host->result;
}

/* ----------------------------------------------------------- time and questions */

/* Moves the clock, firing the timer whenever it is due. */
static inline void fake_advance(struct fake_host *host, uint64_t ns)
{
	uint64_t end_ns = host->now_ns + ns;

	while (host->timer_ns && host->timer_ns <= end_ns) {
		if (host->timer_ns > host->now_ns)
			host->now_ns = host->timer_ns;
		host->timer_ns = 0;
		host->filter->on_timer(host->self, host->now_ns);
	}
	host->now_ns = end_ns;
}

static inline uint64_t fake_counter(const struct fake_host *host, const char *name)
{
	for (size_t i = 0; host->filter->counters[i]; i++)
		if (!strcmp(host->filter->counters[i], name))
			return host->counters[i];
	assert(!"no such counter");
	return 0;
}

/* The newest event, an empty one when there is none. */
static inline const struct fake_event *fake_last_event(const struct fake_host *host)
{
	static const struct fake_event none;

	return host->n_events ? &host->events[(host->n_events - 1) % FAKE_EVENTS] : &none;
}

/* The host's writer; w comes first. */
struct fake_writer {
	struct mp_writer w;
	struct fake_host *host;
};

static inline struct fake_host *fake_writer_host(struct mp_writer *w)
{
	return ((struct fake_writer *)(void *)w)->host;
}

static inline struct fake_status *fake_add_status(struct mp_writer *w, const char *name)
{
	struct fake_host *host = fake_writer_host(w);
	struct fake_status *line = &host->status[host->n_status++];

	assert(host->n_status <= FAKE_STATUS);
	line->text[0] = '\0';
	line->number = 0;
	fake_copy(line->name, sizeof(line->name), fake_str(name));
	return line;
}

static inline void fake_write_text(struct mp_writer *w, const char *name, struct mp_str value)
{
	struct fake_status *line = fake_add_status(w, name);

	fake_copy(line->text, sizeof(line->text), value);
}

static inline void fake_write_number(struct mp_writer *w, const char *name, double value)
{
	fake_add_status(w, name)->number = value;
}

static inline void fake_write_time(struct mp_writer *w, const char *name, uint64_t at_ns)
{
	fake_add_status(w, name)->number = (double)at_ns;
}

/* Has the unit write its status into host->status. */
static inline void fake_read_status(struct fake_host *host)
{
	struct fake_writer writer = {{sizeof(struct mp_writer), 0, fake_write_text,
				      fake_write_number, fake_write_time}, host};

	host->n_status = 0;
	host->filter->status(host->self, &writer.w);
}

/* A line of the status that was read last; an empty one when there is none. */
static inline const struct fake_status *fake_status_line(const struct fake_host *host,
							 const char *name)
{
	static const struct fake_status none;

	for (size_t i = 0; i < host->n_status; i++)
		if (!strcmp(host->status[i].name, name))
			return &host->status[i];
	return &none;
}

/* What the unit says of itself under a name. */
static inline const struct fake_status *fake_status(struct fake_host *host, const char *name)
{
	fake_read_status(host);
	return fake_status_line(host, name);
}

/* ------------------------------------------------------------------ exchanges */

static inline void fake_exchange_init(struct fake_exchange *fx, struct fake_host *host,
				      const char *method, const char *path)
{
	memset(fx, 0, sizeof(*fx));
	fx->host = host;
	fx->x = (struct mp_exchange){
		.size = sizeof(fx->x),
		.id = ++host->next_exchange,
		.method = fake_str(method),
		.scheme = fake_str("http"),
		.authority = fake_str("service"),
		.path = fake_str(path),
	};
}

static inline int32_t fake_request(struct fake_exchange *fx)
{
	return fx->host->filter->on_request(fx->host->self, &fx->x);
}

static inline int32_t fake_response(struct fake_exchange *fx)
{
	return fx->host->filter->on_response(fx->host->self, &fx->x);
}

#endif
