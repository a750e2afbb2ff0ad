# SPDX-License-Identifier: Apache-2.0
PIPES_SRC += middlepipes/headers/filter.c
PIPES_SHARED += middlepipes/headers/filter.c
UNIT_TESTS += tests/unit/middlepipes/test_headers.c
