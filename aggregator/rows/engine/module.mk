# SPDX-License-Identifier: Apache-2.0
AGGREGATOR_SRC += aggregator/rows/engine/deliver.c aggregator/rows/engine/etcd.c aggregator/rows/engine/etcd_answer.c \
	aggregator/rows/engine/etcd_body.c aggregator/rows/engine/etcd_ends.c aggregator/rows/engine/etcd_judge.c \
	aggregator/rows/engine/etcd_lease.c aggregator/rows/engine/etcd_options.c aggregator/rows/engine/etcd_range.c \
	aggregator/rows/engine/etcd_rpc.c aggregator/rows/engine/etcd_watch.c aggregator/rows/engine/sqlite.c aggregator/rows/engine/sqlite_file.c \
	aggregator/rows/engine/sqlite_kept.c aggregator/rows/engine/sqlite_known.c aggregator/rows/engine/sqlite_log.c \
	aggregator/rows/engine/sqlite_mark.c aggregator/rows/engine/sqlite_room.c
PROTOS += aggregator/rows/engine/etcd.proto
UNIT_TESTS += tests/unit/aggregator/test_engine_etcd.c tests/unit/aggregator/test_engine_etcd_group.c \
	tests/unit/aggregator/test_engine_etcd_hostile.c tests/unit/aggregator/test_engine_etcd_secure.c tests/unit/aggregator/test_engine_faulty.c \
	tests/unit/aggregator/test_engine_kept.c tests/unit/aggregator/test_engine_sim.c tests/unit/aggregator/test_engine_sim_many.c \
	tests/unit/aggregator/test_engine_sqlite.c
