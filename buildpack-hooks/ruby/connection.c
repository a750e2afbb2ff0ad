/* SPDX-License-Identifier: Apache-2.0 */
/* See connection.h. */
#include "buildpack-hooks/ruby/connection.h"

#include <middlepipe/client.h>

static VALUE connection_enabled(VALUE class)
{
	(void)class;
	return mp_enabled() ? Qtrue : Qfalse;
}

static VALUE connection_body_limit(VALUE class)
{
	(void)class;
	return SIZET2NUM(mp_body_limit());
}

/* counters -> {passed: 1, ...}, for tests and diagnosis. */
static VALUE connection_counters(VALUE class)
{
	struct mp_counters n = {.size = sizeof(n)};
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{"passed", (mp_counters_get(&n), n.passed)}, {"replied", n.replied},
		{"asked", n.asked}, {"unfiltered", n.unfiltered}, {"refused", n.refused},
		{"over_budget", n.over_budget}, {"no_slot", n.no_slot}, {"away", n.away},
		{"lost", n.lost}, {"connects", n.connects}, {"doorbells", n.doorbells},
		{"connected", n.connected},
	};
	VALUE hash = rb_hash_new();

	(void)class;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		rb_hash_aset(hash, ID2SYM(rb_intern(rows[i].name)), ULL2NUM(rows[i].value));
	return hash;
}

void connection_define(VALUE class)
{
	rb_define_singleton_method(class, "enabled?", connection_enabled, 0);
	rb_define_singleton_method(class, "body_limit", connection_body_limit, 0);
	rb_define_singleton_method(class, "counters", connection_counters, 0);
}
