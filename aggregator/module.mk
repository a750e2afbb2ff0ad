# SPDX-License-Identifier: Apache-2.0
AGGREGATOR_SRC += aggregator/rows/batch.c aggregator/rows/checks.c aggregator/rows/members.c aggregator/rows/members_checks.c aggregator/rows/members_few.c aggregator/rows/copy.c aggregator/rows/copy_cells.c aggregator/rows/copy_read.c \
	aggregator/rows/deliver.c aggregator/rows/engine_sqlite.c aggregator/rows/flight.c \
	aggregator/rows/group.c aggregator/rows/group_meta.c aggregator/rows/http.c aggregator/rows/http_forward.c aggregator/rows/http_meant.c aggregator/rows/http_members.c aggregator/rows/http_put.c \
	aggregator/rows/http_read.c aggregator/rows/http_state.c aggregator/rows/http_snapshot.c aggregator/rows/http_events.c aggregator/rows/http_subscribe.c \
	aggregator/rows/meta.c aggregator/rows/owner.c aggregator/rows/owner_shards.c aggregator/rows/owner_text.c aggregator/rows/owner_txn.c aggregator/rows/plan.c aggregator/rows/plan_snapshot.c aggregator/rows/put.c \
	aggregator/rows/reader.c aggregator/rows/restored.c aggregator/rows/retain.c aggregator/rows/row.c aggregator/rows/row_keys.c \
	aggregator/rows/snapshot.c aggregator/rows/snapshot_load.c aggregator/rows/snapshot_try.c \
	aggregator/rows/subscribe.c aggregator/serve.c aggregator/serve_managed.c \
	aggregator/rows/head.c aggregator/rows/keys.c aggregator/rows/sqlite_file.c aggregator/rows/sqlite_kept.c \
	aggregator/rows/sqlite_known.c aggregator/rows/sqlite_log.c aggregator/rows/sqlite_mark.c
UNIT_TESTS += tests/unit/aggregator/test_batch.c tests/unit/aggregator/test_engine_sqlite.c \
	tests/unit/aggregator/test_head.c tests/unit/aggregator/test_keys.c
UNIT_TESTS += tests/unit/aggregator/test_checks.c tests/unit/aggregator/test_checks_sim.c tests/unit/aggregator/test_deletes.c \
	tests/unit/aggregator/test_group.c \
	tests/unit/aggregator/test_snapshot.c
UNIT_TESTS += tests/unit/aggregator/test_flight.c tests/unit/aggregator/test_restored.c
UNIT_TESTS += tests/unit/aggregator/test_copy.c tests/unit/aggregator/test_copy_cells.c tests/unit/aggregator/test_row.c tests/unit/aggregator/test_put.c tests/unit/aggregator/test_owner_sim.c tests/unit/aggregator/test_engine_sim.c tests/unit/aggregator/test_engine_sim_many.c \
	tests/unit/aggregator/test_sim.c
TESTS_SRC += tests/lib/sim.c tests/unit/aggregator/engine_sim.c \
	tests/unit/aggregator/engine_sim_fault.c tests/unit/aggregator/engine_sim_store.c \
	tests/unit/aggregator/engine_sim_watch.c tests/unit/aggregator/sim_map.c tests/unit/aggregator/faulty_disk.c
TESTS_SRC += tests/unit/aggregator/faulty_file.c
UNIT_TESTS += tests/unit/aggregator/test_engine_faulty.c tests/unit/aggregator/test_engine_kept.c
AGGREGATOR_SRC += aggregator/serve_health.c aggregator/serve_room.c aggregator/rows/sqlite_room.c
AGGREGATOR_SRC += aggregator/rows/engine_etcd.c aggregator/rows/etcd_answer.c aggregator/rows/etcd_body.c \
	aggregator/rows/etcd_ends.c aggregator/rows/etcd_options.c aggregator/rows/etcd_rpc.c \
	aggregator/rows/etcd_judge.c aggregator/rows/etcd_lease.c aggregator/rows/etcd_range.c \
	aggregator/rows/etcd_watch.c
UNIT_TESTS += tests/unit/aggregator/test_engine_etcd.c tests/unit/aggregator/test_engine_etcd_group.c \
	tests/unit/aggregator/test_engine_etcd_hostile.c tests/unit/aggregator/test_engine_etcd_secure.c
AGGREGATOR_SRC += aggregator/rows/http_check.c aggregator/rows/http_export.c aggregator/rows/http_import.c \
	aggregator/rows/http_import_state.c \
	aggregator/rows/http_lines.c
AGGREGATOR_SRC += aggregator/rows/http_metrics.c aggregator/rows/limits.c
UNIT_TESTS += tests/unit/aggregator/test_limits.c tests/unit/aggregator/test_members.c tests/unit/aggregator/test_members_sim.c tests/unit/aggregator/test_members_still.c
AGGREGATOR_SRC += aggregator/rows/http_receive.c aggregator/rows/http_send.c aggregator/rows/parcel.c
UNIT_TESTS += tests/unit/aggregator/test_parcel.c
PROTOS += aggregator/rows/etcd.proto
GENERATED_MAN += $(B)/share/man/man8/mp-aggregator.8
$(B)/share/man/man8/mp-aggregator.8: $(B)/bin/mp-aggregator
	$(call say,MAN,$@)
	@mkdir -p $(@D)
	$(Q)$< --man >$@
