# SPDX-License-Identifier: Apache-2.0
PIPES_SRC += middlepipes/delay/filter.c
PIPES_SHARED += middlepipes/delay/filter.c
UNIT_TESTS += tests/unit/middlepipes/test_delay.c
