# SPDX-License-Identifier: Apache-2.0
PIPES_SRC += middlepipes/unique/aggregator.c
PIPES_HALVES += middlepipes/unique/aggregator.c
UNIT_TESTS += tests/unit/middlepipes/test_unique.c
