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
	tests/functional/prog/counting_service.c \
	tests/functional/prog/load.c

# Filters that only tests load: build/*/tests/filters/NAME.so.
TEST_FILTERS += \
	tests/filters/crash.c \
	tests/filters/error.c \
	tests/filters/hold.c \
	tests/filters/loop.c \
	tests/filters/noop.c \
	tests/filters/observe.c \
	tests/filters/slow.c \
	tests/filters/stamp.c

# One for each source of bytes; seeds in tests/fuzz/corpus/NAME/.
FUZZ_TARGETS += \
	tests/fuzz/fuzz_chain.c

# Run one after another, in this order.
FUNCTIONAL_TESTS += \
	tests/functional/50-ruby-verdicts.t \
	tests/functional/50-ruby.t \
	tests/functional/51-python.t \
	tests/functional/60-swap.t \
	tests/functional/61-kill.t
