# SPDX-License-Identifier: Apache-2.0
PIPES_SRC += middlepipes/catalog.c middlepipes/half.c middlepipes/registry.c
UNIT_TESTS += tests/unit/middlepipes/test_catalog.c tests/unit/middlepipes/test_half.c \
	tests/unit/middlepipes/test_half_memory.c tests/unit/middlepipes/test_registry.c
