/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The breaker's options: the table, and how checked values become its
 * configuration.
 *
 * For filter.c only.  What the table cannot say (options that contradict one
 * another) is checked here, and the message names the option, the value and
 * what is allowed.
 */
#ifndef MIDDLEPIPES_BREAKER_OPTIONS_H
#define MIDDLEPIPES_BREAKER_OPTIONS_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include <middlepipe/filter.h>

#include "middlepipes/breaker/breaker_cache.h"

enum fallback { FALLBACK_RAISE, FALLBACK_STATIC, FALLBACK_LAST_GOOD, FALLBACK_EMPTY };
enum mode { MODE_ENFORCE, MODE_DRY_RUN, MODE_FORCED_OPEN, MODE_FORCED_CLOSED };

enum option {
	O_WINDOW_MS,
	O_BUCKETS,
	O_VOLUME,
	O_ERROR_PERCENT,
	O_SLOW_PERCENT,
	O_SLOW_MS,
	O_CONSECUTIVE,
	O_ERROR_STATUSES,
	O_SOFT_STATUSES,
	O_ERRORS,
	O_OPEN_MS,
	O_OPEN_FACTOR,
	O_OPEN_MAX_MS,
	O_OPEN_JITTER,
	O_RETRY_AFTER,
	O_PROBES,
	O_PROBES_AT_ONCE,
	O_PROBES_PERCENT,
	O_PROBE_MS,
	O_RAMP_MS,
	O_RAMP_PERCENT,
	O_FALLBACK,
	O_STATIC_STATUS,
	O_STATIC_FIELDS,
	O_STATIC_BODY,
	O_LAST_GOOD_ENTRIES,
	O_LAST_GOOD_BYTES,
	O_LAST_GOOD_MS,
	O_LAST_GOOD_VARY,
	O_MODE,
	O_PREFIXES,
	O_COUNT
};

#define DAY_MS 86400000.0

static const struct mp_option breaker_options[] = {
	[O_WINDOW_MS] = {"window_ms", MP_OPTION_DURATION, 0, "10000", 100, 3600000, NULL,
		"Calls that ended within this time are counted.",
		"Hystrix metrics.rollingStats.timeInMilliseconds (10000); resilience4j slidingWindowSize with TIME_BASED"},
	[O_BUCKETS] = {"buckets", MP_OPTION_INT, 0, "10", 1, WINDOW_BUCKETS_MAX, NULL,
		"The window moves on in this many steps; window_ms must be a multiple of it.",
		"Hystrix metrics.rollingStats.numBuckets (10); resilience4j: one a second"},
	[O_VOLUME] = {"volume", MP_OPTION_INT, 0, "20", 1, 1000000, NULL,
		"With fewer calls in the window no percentage opens the circuit.",
		"Hystrix circuitBreaker.requestVolumeThreshold (20); resilience4j minimumNumberOfCalls (100)"},
	[O_ERROR_PERCENT] = {"error_percent", MP_OPTION_INT, 0, "50", 0, 100, NULL,
		"Opens when this share of the window's calls or more are errors; 0: never.",
		"Hystrix circuitBreaker.errorThresholdPercentage (50, >=); resilience4j failureRateThreshold (50, >=)"},
	[O_SLOW_PERCENT] = {"slow_percent", MP_OPTION_INT, 0, "0", 0, 100, NULL,
		"Opens when this share of the window's calls or more are slow; 0: never.",
		"Hystrix: none; resilience4j slowCallRateThreshold (100, >=)"},
	[O_SLOW_MS] = {"slow_ms", MP_OPTION_DURATION, 0, "60000", 1, DAY_MS, NULL,
		"A call that takes longer, to its response's head, is slow.",
		"Hystrix: none; resilience4j slowCallDurationThreshold (60000, >)"},
	[O_CONSECUTIVE] = {"consecutive", MP_OPTION_INT, 0, "0", 0, 1000000, NULL,
		"Opens after this many errors in a row, whatever the volume; 0: never.",
		"Hystrix, resilience4j: none (linkerd: 7)"},
	[O_ERROR_STATUSES] = {"error_statuses", MP_OPTION_RANGES, 0, "[\"500-599\"]", 0, 64, NULL,
		"Responses with these statuses are errors.",
		"Hystrix: what run() throws; resilience4j recordResult, recordExceptions"},
	[O_SOFT_STATUSES] = {"soft_statuses", MP_OPTION_RANGES, 0, "[]", 0, 64, NULL,
		"Errors that count in error_percent and for probes, but not in a row: 429, say.",
		"Hystrix, resilience4j: none (linkerd: 429)"},
	[O_ERRORS] = {"errors", MP_OPTION_STRINGS, 0,
		"[\"refused\", \"timeout\", \"broken\", \"protocol\", \"other\"]", 0, 8,
		"refused|timeout|broken|protocol|cancelled|other",
		"Calls without a response that are errors; other kinds are neither good nor bad.",
		"Hystrix: FAILURE and TIMEOUT, not BAD_REQUEST; resilience4j recordExceptions, ignoreExceptions"},
	[O_OPEN_MS] = {"open_ms", MP_OPTION_DURATION, 0, "5000", 1, DAY_MS, NULL,
		"How long an open circuit refuses every call before it lets probes through.",
		"Hystrix circuitBreaker.sleepWindowInMilliseconds (5000); resilience4j waitDurationInOpenState (60000)"},
	[O_OPEN_FACTOR] = {"open_factor", MP_OPTION_NUMBER, 0, "1", 1, 10, NULL,
		"Each open time that follows failed probes is this many times longer than the one before.",
		"Hystrix: none; resilience4j IntervalFunction.ofExponentialBackoff (1.5)"},
	[O_OPEN_MAX_MS] = {"open_max_ms", MP_OPTION_DURATION, 0, "60000", 1, DAY_MS, NULL,
		"No open time is longer; not less than open_ms.",
		"Hystrix: none; resilience4j ofExponentialBackoff's maxInterval"},
	[O_OPEN_JITTER] = {"open_jitter", MP_OPTION_NUMBER, 0, "0", 0, 1, NULL,
		"Spreads the open time evenly over 1 - jitter to 1 + jitter times its length.",
		"Hystrix: none; resilience4j IntervalFunction.ofRandomized (0.5)"},
	[O_RETRY_AFTER] = {"retry_after", MP_OPTION_BOOL, 0, "false", 0, 0, NULL,
		"Errors with Retry-After (in seconds) lengthen the open time, up to open_max_ms; "
		"costs a copy of each response's head.",
		"Hystrix, resilience4j: none (linkerd honours it)"},
	[O_PROBES] = {"probes", MP_OPTION_INT, 0, "1", 1, BREAKER_PROBES_MAX, NULL,
		"A half-open circuit lets this many calls through and is decided by their results.",
		"Hystrix: 1; resilience4j permittedNumberOfCallsInHalfOpenState (10)"},
	[O_PROBES_AT_ONCE] = {"probes_at_once", MP_OPTION_INT, 0, "0", 0, BREAKER_PROBES_MAX, NULL,
		"At most this many of them at the same time; 0: all.",
		"Hystrix: 1; resilience4j: all"},
	[O_PROBES_PERCENT] = {"probes_percent", MP_OPTION_INT, 0, "100", 1, 100, NULL,
		"The circuit closes when this share of the probes or more succeed, and opens again as "
		"soon as it no longer can.",
		"Hystrix: 100; resilience4j: more than 100 - failureRateThreshold"},
	[O_PROBE_MS] = {"probe_ms", MP_OPTION_DURATION, 0, "10000", 1, DAY_MS, NULL,
		"A probe that has not ended by then has failed.",
		"Hystrix execution.isolation.thread.timeoutInMilliseconds (1000); resilience4j "
		"maxWaitDurationInHalfOpenState (0: waits for ever)"},
	[O_RAMP_MS] = {"ramp_ms", MP_OPTION_DURATION, 0, "0", 0, DAY_MS, NULL,
		"After good probes the admitted share grows to all calls within this time; 0: all at once.",
		"Hystrix, resilience4j: none"},
	[O_RAMP_PERCENT] = {"ramp_percent", MP_OPTION_INT, 0, "10", 1, 100, NULL,
		"The share admitted at the beginning of the ramp.",
		"Hystrix, resilience4j: none"},
	[O_FALLBACK] = {"fallback", MP_OPTION_ENUM, 0, "\"raise\"", 0, 0, "raise|static|last-good|empty",
		"What a refused call gets: an exception, the static response, the last good answer, or "
		"204 without content.",
		"Hystrix getFallback(), else HystrixRuntimeException; resilience4j CallNotPermittedException"},
	[O_STATIC_STATUS] = {"static_status", MP_OPTION_INT, 0, "200", 200, 599, NULL,
		"Status of the static response.", NULL},
	[O_STATIC_FIELDS] = {"static_fields", MP_OPTION_FIELDS, 0, "{}", 0, 32, NULL,
		"Header fields of the static response.", NULL},
	[O_STATIC_BODY] = {"static_body", MP_OPTION_STRING, 0, "\"\"", 0, 16384, NULL,
		"Body of the static response.", NULL},
	[O_LAST_GOOD_ENTRIES] = {"last_good_entries", MP_OPTION_INT, 0, "64", 1, 1024, NULL,
		"Answers kept for last-good.", NULL},
	[O_LAST_GOOD_BYTES] = {"last_good_bytes", MP_OPTION_INT, 0, "1048576", 1024, 67108864, NULL,
		"Bytes kept for last-good.", NULL},
	[O_LAST_GOOD_MS] = {"last_good_ms", MP_OPTION_DURATION, 0, "3600000", 1, DAY_MS, NULL,
		"Answers older than this are not given.", NULL},
	[O_LAST_GOOD_VARY] = {"last_good_vary", MP_OPTION_STRINGS, 0,
		"[\"accept\", \"accept-encoding\", \"accept-language\"]", 0, 16, NULL,
		"Request fields on which answers depend, beside those that the service names in Vary.", NULL},
	[O_MODE] = {"mode", MP_OPTION_ENUM, 0, "\"enforce\"", 0, 0,
		"enforce|dry-run|forced-open|forced-closed",
		"enforce; dry-run: refuse nothing, but say what would have happened; forced-open; forced-closed.",
		"Hystrix circuitBreaker.forceOpen, forceClosed; resilience4j METRICS_ONLY, FORCED_OPEN, DISABLED"},
	[O_PREFIXES] = {"prefixes", MP_OPTION_PREFIXES, 0, "[]", 0, 64, NULL,
		"Path prefixes that have a circuit of their own.",
		"Hystrix: a HystrixCommandKey each; resilience4j: an instance each"},
	[O_COUNT] = {0},
};

/* What the options say; made by config_load(), read by everything else. */
struct config {
	struct breaker_rules rules;
	uint64_t window_ns;
	uint32_t n_buckets;
	uint64_t slow_ns;         /* 0: slowness is not looked at */
	uint64_t statuses[8];     /* errors, as in struct mp_failure */
	uint64_t soft[8];         /* soft errors likewise */
	uint32_t errors;          /* bit MP_ERROR_* */
	bool retry_after;
	enum fallback fallback;
	enum mode mode;
	int32_t static_status;
	struct mp_field *fields; /* of the static response, in `memory` */
	size_t n_fields;
	struct mp_str body;      /* likewise */
	struct mp_str vary;      /* names, each ended by a comma, likewise */
	size_t cache_entries;
	size_t cache_bytes;
	uint64_t cache_age_ns;
	void *memory; /* owns the copies; free() */
};

__attribute__((format(printf, 3, 4))) static inline int32_t
config_refuse(char *error, size_t size, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(error, size, fmt, args); /* a message that is cut is still one */
	va_end(args);
	return -EINVAL;
}

static inline uint64_t config_ns(const struct mp_value *value)
{
	return (uint64_t)value->integer * BREAKER_MS;
}

/* Sets the bits of the statuses; false: one is none. */
static inline bool config_statuses(const struct mp_value *value, uint64_t bits[8])
{
	for (size_t i = 0; i < value->n_ranges; i++) {
		const struct mp_range *range = &value->ranges[i];

		if (range->first < 100 || range->last > 599 || range->first > range->last)
			return false;
		for (uint32_t status = range->first; status <= range->last; status++)
			bits[(status - 100) / 64] |= 1ull << (status - 100) % 64;
	}
	return true;
}

static const struct {
	const char *name;
	int32_t error;
} config_error_kinds[] = {
	{"refused", MP_ERROR_REFUSED}, {"timeout", MP_ERROR_TIMEOUT},
	{"broken", MP_ERROR_BROKEN}, {"protocol", MP_ERROR_PROTOCOL},
	{"cancelled", MP_ERROR_CANCELLED}, {"other", MP_ERROR_OTHER},
};
#define CONFIG_ERROR_KINDS (sizeof(config_error_kinds) / sizeof(config_error_kinds[0]))

static inline const char *config_error_name(int32_t error)
{
	for (size_t i = 0; i < CONFIG_ERROR_KINDS; i++)
		if (config_error_kinds[i].error == error)
			return config_error_kinds[i].name;
	return "unknown";
}

/* The table's choices leave only names that are found. */
static inline uint32_t config_errors(const struct mp_value *value)
{
	uint32_t bits = 0;

	for (size_t i = 0; i < value->n_fields; i++)
		for (size_t k = 0; k < CONFIG_ERROR_KINDS; k++)
			if (cache_same(value->fields[i].name, cache_word(config_error_kinds[k].name)))
				bits |= 1u << config_error_kinds[k].error;
	return bits;
}

static inline void config_rules(const struct mp_value *values, struct breaker_rules *rules)
{
	uint32_t probes = (uint32_t)values[O_PROBES].integer;
	uint32_t at_once = (uint32_t)values[O_PROBES_AT_ONCE].integer;
	uint32_t percent = (uint32_t)values[O_PROBES_PERCENT].integer;

	*rules = (struct breaker_rules){
		.volume = (uint32_t)values[O_VOLUME].integer,
		.error_percent = (uint32_t)values[O_ERROR_PERCENT].integer,
		.slow_percent = (uint32_t)values[O_SLOW_PERCENT].integer,
		.consecutive = (uint32_t)values[O_CONSECUTIVE].integer,
		.open_ns = config_ns(&values[O_OPEN_MS]),
		.open_max_ns = config_ns(&values[O_OPEN_MAX_MS]),
		.open_factor = values[O_OPEN_FACTOR].number,
		.open_jitter = values[O_OPEN_JITTER].number,
		.probes = probes,
		.probes_at_once = at_once && at_once < probes ? at_once : probes,
		.probes_needed = (probes * percent + 99) / 100,
		.probe_ns = config_ns(&values[O_PROBE_MS]),
		.ramp_ns = config_ns(&values[O_RAMP_MS]),
		.ramp_percent = (uint32_t)values[O_RAMP_PERCENT].integer,
	};
	if (!values[O_OPEN_MAX_MS].given && rules->open_max_ns < rules->open_ns)
		rules->open_max_ns = rules->open_ns;
}

static inline bool config_is_token(struct mp_str name)
{
	for (size_t i = 0; i < name.len; i++) {
		char c = name.ptr[i];

		if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
		    (!c || !strchr("!#$%&'*+-.^_`|~", c)))
			return false;
	}
	return name.len > 0;
}

static inline bool config_is_value(struct mp_str value)
{
	for (size_t i = 0; i < value.len; i++)
		if (value.ptr[i] == '\r' || value.ptr[i] == '\n' || value.ptr[i] == '\0')
			return false;
	return true;
}

static inline int32_t config_check_fields(const struct mp_value *value, char *error, size_t size)
{
	for (size_t i = 0; i < value->n_fields; i++) {
		const struct mp_field *f = &value->fields[i];
		int len = (int)(f->name.len < 64 ? f->name.len : 64);

		if (!config_is_token(f->name) || !config_is_value(f->value))
			return config_refuse(error, size,
					     "static_fields: \"%.*s\" is no header field: names are tokens, values have no CR, LF or NUL",
					     len, f->name.ptr);
		if (cache_name_is_in(f->name, cache_dropped_fields))
			return config_refuse(error, size,
					     "static_fields: \"%.*s\" belongs to the connection or to Middlepipe; leave it out",
					     len, f->name.ptr);
	}
	return 0;
}

/* Copies the borrowed bytes that outlive load(): fields, body, names. */
static inline int32_t config_copy(struct config *config, const struct mp_value *values)
{
	const struct mp_value *fields = &values[O_STATIC_FIELDS];
	const struct mp_value *vary = &values[O_LAST_GOOD_VARY];
	size_t size = fields->n_fields * sizeof(struct mp_field) + values[O_STATIC_BODY].string.len + 1;
	char *at;

	for (size_t i = 0; i < fields->n_fields; i++)
		size += fields->fields[i].name.len + fields->fields[i].value.len;
	for (size_t i = 0; i < vary->n_fields; i++)
		size += vary->fields[i].name.len + 1;
	config->memory = malloc(size);
	if (!config->memory)
		return -ENOMEM;
	config->fields = config->memory;
	config->n_fields = fields->n_fields;
	at = (char *)(config->fields + config->n_fields);
	for (size_t i = 0; i < fields->n_fields; i++)
		config->fields[i] = (struct mp_field){cache_copy(&at, fields->fields[i].name),
						      cache_copy(&at, fields->fields[i].value)};
	config->body = cache_copy(&at, values[O_STATIC_BODY].string);
	config->vary.ptr = at;
	for (size_t i = 0; i < vary->n_fields; i++) {
		(void)cache_copy(&at, vary->fields[i].name); /* it is the place that counts */
		*at++ = ',';
	}
	config->vary.len = (size_t)(at - config->vary.ptr);
	return 0;
}

static inline int32_t config_check(const struct config *config, const struct mp_value *values,
				   char *error, size_t size)
{
	const struct mp_value *vary = &values[O_LAST_GOOD_VARY];
	uint64_t names = 0;

	if (values[O_WINDOW_MS].integer % values[O_BUCKETS].integer)
		return config_refuse(error, size,
				     "window_ms: %lld is not a multiple of buckets (%lld)",
				     (long long)values[O_WINDOW_MS].integer,
				     (long long)values[O_BUCKETS].integer);
	if (config->rules.open_max_ns < config->rules.open_ns)
		return config_refuse(error, size, "open_max_ms: %lld is less than open_ms (%lld)",
				     (long long)values[O_OPEN_MAX_MS].integer,
				     (long long)values[O_OPEN_MS].integer);
	for (size_t i = 0; i < vary->n_fields; i++) {
		names += vary->fields[i].name.len + 1;
		if (!config_is_token(vary->fields[i].name))
			return config_refuse(error, size,
					     "last_good_vary: entry %zu is no field name", i);
	}
	if (names > CACHE_VARIANT_MAX / 2)
		return config_refuse(error, size, "last_good_vary: names are over %u bytes together",
				     CACHE_VARIANT_MAX / 2);
	return config_check_fields(&values[O_STATIC_FIELDS], error, size);
}

/* Fills config; free(config->memory) is due in any case. */
static inline int32_t config_load(struct config *config, const struct mp_value *values, char *error,
				  size_t size)
{
	config_rules(values, &config->rules);
	config->window_ns = config_ns(&values[O_WINDOW_MS]);
	config->n_buckets = (uint32_t)values[O_BUCKETS].integer;
	config->slow_ns = values[O_SLOW_PERCENT].integer ? config_ns(&values[O_SLOW_MS]) : 0;
	config->errors = config_errors(&values[O_ERRORS]);
	config->retry_after = values[O_RETRY_AFTER].integer != 0;
	config->fallback = (enum fallback)values[O_FALLBACK].integer;
	config->mode = (enum mode)values[O_MODE].integer;
	config->static_status = (int32_t)values[O_STATIC_STATUS].integer;
	config->cache_entries = (size_t)values[O_LAST_GOOD_ENTRIES].integer;
	config->cache_bytes = (size_t)values[O_LAST_GOOD_BYTES].integer;
	config->cache_age_ns = config_ns(&values[O_LAST_GOOD_MS]);
	if (!config_statuses(&values[O_ERROR_STATUSES], config->statuses))
		return config_refuse(error, size, "error_statuses: statuses are 100 to 599");
	if (!config_statuses(&values[O_SOFT_STATUSES], config->soft))
		return config_refuse(error, size, "soft_statuses: statuses are 100 to 599");
	if (config_check(config, values, error, size))
		return -EINVAL;
	return config_copy(config, values);
}

#endif
