# SPDX-License-Identifier: Apache-2.0
PIPES_SRC += middlepipes/breaker/filter.c
PIPES_SHARED += middlepipes/breaker/filter.c
UNIT_TESTS += tests/unit/middlepipes/test_breaker_half_open.c \
	tests/unit/middlepipes/test_breaker_last_good.c \
	tests/unit/middlepipes/test_breaker_machine.c \
	tests/unit/middlepipes/test_breaker_model.c \
	tests/unit/middlepipes/test_breaker_modes.c \
	tests/unit/middlepipes/test_breaker_state.c \
	tests/unit/middlepipes/test_breaker_trip.c
