# SPDX-License-Identifier: Apache-2.0
AGGREGATOR_SRC += aggregator/rows/batch.c aggregator/rows/checks.c aggregator/rows/copy.c aggregator/rows/copy_cells.c aggregator/rows/copy_read.c \
	aggregator/rows/flight.c aggregator/rows/group.c aggregator/rows/group_meta.c aggregator/rows/head.c aggregator/rows/keys.c \
	aggregator/rows/limits.c aggregator/rows/members.c aggregator/rows/members_checks.c aggregator/rows/members_few.c aggregator/rows/meta.c \
	aggregator/rows/owner.c aggregator/rows/owner_shards.c aggregator/rows/owner_text.c aggregator/rows/owner_txn.c aggregator/rows/parcel.c \
	aggregator/rows/plan.c aggregator/rows/plan_snapshot.c aggregator/rows/put.c aggregator/rows/reader.c aggregator/rows/restored.c \
	aggregator/rows/retain.c aggregator/rows/row.c aggregator/rows/row_keys.c aggregator/rows/snapshot.c aggregator/rows/snapshot_load.c \
	aggregator/rows/snapshot_try.c aggregator/rows/subscribe.c
UNIT_TESTS += tests/unit/aggregator/test_batch.c tests/unit/aggregator/test_checks.c tests/unit/aggregator/test_checks_sim.c \
	tests/unit/aggregator/test_copy.c tests/unit/aggregator/test_copy_cells.c tests/unit/aggregator/test_deletes.c \
	tests/unit/aggregator/test_flight.c tests/unit/aggregator/test_group.c tests/unit/aggregator/test_head.c tests/unit/aggregator/test_keys.c \
	tests/unit/aggregator/test_limits.c tests/unit/aggregator/test_members.c tests/unit/aggregator/test_members_sim.c \
	tests/unit/aggregator/test_members_still.c tests/unit/aggregator/test_owner_sim.c tests/unit/aggregator/test_parcel.c \
	tests/unit/aggregator/test_put.c tests/unit/aggregator/test_restored.c tests/unit/aggregator/test_row.c tests/unit/aggregator/test_sim.c \
	tests/unit/aggregator/test_snapshot.c
TESTS_SRC += tests/lib/sim.c tests/unit/aggregator/engine_sim.c tests/unit/aggregator/engine_sim_fault.c tests/unit/aggregator/engine_sim_store.c \
	tests/unit/aggregator/engine_sim_watch.c tests/unit/aggregator/faulty_disk.c tests/unit/aggregator/faulty_file.c \
	tests/unit/aggregator/sim_map.c
