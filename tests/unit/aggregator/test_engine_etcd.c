/* SPDX-License-Identifier: Apache-2.0 */
/* The etcd engine on a real etcd: the conformance suite. */
#include "aggregator/rows/engine_etcd.h"
#include "tests/unit/aggregator/engine_suite.h"
#include "tests/unit/aggregator/etcd_group.h"

int main(void)
{
	struct etcd_group group;
	struct engine *engine;
	struct err err;

	if (!etcd_group_open(&group, 1, NULL))
		return skip_all("no etcd (Debian package etcd-server)");
	suite_uv_init();
	is_int(engine_etcd_open(&suite_loop, &(struct engine_etcd_options){ .endpoints = group.urls, .n_endpoints = 1, .timeout_ms = 5000 }, &engine, &err), 0, "opened");
	suite_run(engine);
	suite_uv_fini();
	etcd_group_close(&group);
	return done();
}
