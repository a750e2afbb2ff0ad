# SPDX-License-Identifier: Apache-2.0
# Unit tests are listed in the module.mk of the folder that they test.

# Programs that functional tests and benches run.
TEST_PROGRAMS += \
	tests/bench/request/bench_ask.c \
	tests/bench/request/bench_failover.c \
	tests/bench/request/bench_filters.c \
	tests/bench/request/bench_lanes.c \
	tests/bench/request/bench_open.c \
	tests/bench/request/bench_service.c \
	tests/bench/request/bench_standing.c \
	tests/bench/rows/bare_disk.c \
	tests/bench/rows/bare_handler.c \
	tests/bench/rows/bare_txn.c \
	tests/bench/rows/load.c \
	tests/bench/rows/subscribers.c \
	tests/functional/prog/counting_service.c \
	tests/functional/prog/hostile.c \
	tests/functional/prog/http_front.c \
	tests/functional/prog/lanes.c \
	tests/functional/prog/load.c \
	tests/functional/prog/processes.c \
	tests/functional/prog/rows_client.c
TESTS_SRC += tests/functional/prog/rows_client_call.c tests/functional/prog/rows_client_read.c \
	tests/functional/prog/rows_client_say.c

TESTS_SRC += tests/bench/rows/bare_commit.c

# Filters that only tests load: build/*/tests/filters/NAME.so.
TEST_FILTERS += \
	tests/filters/badload.c \
	tests/filters/crash.c \
	tests/filters/error.c \
	tests/filters/hold.c \
	tests/filters/loop.c \
	tests/filters/noop.c \
	tests/filters/observe.c \
	tests/filters/slow.c \
	tests/filters/stamp.c \
	tests/filters/wrongabi.c \
	tests/filters/wrongsize.c

# Aggregator halves likewise: build/*/tests/halves/NAME.so.
TEST_FILTERS += \
	tests/halves/both.c \
	tests/halves/neither.c \
	tests/halves/newer.c

# One for each source of bytes; seeds in tests/fuzz/corpus/NAME/.
FUZZ_TARGETS += \
	tests/fuzz/fuzz_api.c \
	tests/fuzz/fuzz_batch.c \
	tests/fuzz/fuzz_chain.c \
	tests/fuzz/fuzz_engine_answer.c \
	tests/fuzz/fuzz_frames.c \
	tests/fuzz/fuzz_half.c \
	tests/fuzz/fuzz_http.c \
	tests/fuzz/fuzz_import.c \
	tests/fuzz/fuzz_lane.c \
	tests/fuzz/fuzz_marker.c \
	tests/fuzz/fuzz_rows_answer.c \
	tests/fuzz/fuzz_rows_http.c \
	tests/fuzz/fuzz_members.c \
	tests/fuzz/fuzz_parcel.c \
	tests/fuzz/fuzz_snapshot.c \
	tests/fuzz/fuzz_wire.c

# Run one after another, in this order.
FUNCTIONAL_TESTS += \
	tests/functional/20-check.t \
	tests/functional/21-filters.t \
	tests/functional/22-install.t \
	tests/functional/23-sources.t \
	tests/functional/24-halves.t \
	tests/functional/30-run.t \
	tests/functional/31-terminal.t \
	tests/functional/32-operate.t \
	tests/functional/33-private.t \
	tests/functional/50-ruby-verdicts.t \
	tests/functional/50-ruby.t \
	tests/functional/51-python.t \
	tests/functional/52-node.t \
	tests/functional/60-swap.t \
	tests/functional/61-kill.t \
	tests/functional/62-filters.t \
	tests/functional/63-hostile.t \
	tests/functional/64-processes.t \
	tests/functional/65-chains.t \
	tests/functional/70-http-front.t \
	tests/functional/70-http-rights.t \
	tests/functional/71-checker.t \
	tests/functional/71-workload.t \
	tests/functional/72-aggregator-local.t \
	tests/functional/72-rows-audit.t \
	tests/functional/72-rows-cli.t \
	tests/functional/72-rows-cli-odd.t \
	tests/functional/72-rows-cli-safe.t \
	tests/functional/72-rows-progress.t \
	tests/functional/72-rows-rights.t \
	tests/functional/73-rows-cli-group.t \
	tests/functional/73-rows-client.t \
	tests/functional/74-managed-alone.t \
	tests/functional/75-checks.t \
	tests/functional/75-checks-group.t \
	tests/functional/75-checks-saved.t \
	tests/functional/75-managed-group.t \
	tests/functional/76-rows-alone.t \
	tests/functional/77-rows-group.t \
	tests/functional/77-rows-few.t \
	tests/functional/77-rows-managed.t \
	tests/functional/78-rows-partitions.t \
	tests/functional/79-rows-parcels.t \
	tests/functional/79-rows-tenants.t \
	tests/functional/79-rows-late.t \
	tests/functional/79-rows-stop.t \
	tests/functional/78-rows-huge.t \
	tests/functional/78-rows-limits.t \
	tests/functional/81-openapi.t \
	tests/functional/82-rows-quota.t \
	tests/functional/83-rows-etcd-user.t \
	tests/functional/83-rows-tls.t \
	tests/functional/80-rows-backup.t \
	tests/functional/80-rows-restored.t \
	tests/functional/80-rows-restored-managed.t \
	tests/functional/80-rows-disk.t \
	tests/functional/80-rows-disk-load.t \
	tests/functional/80-rows-disk-group.t \
	tests/functional/80-rows-formats.t \
	tests/functional/90-demo.t
