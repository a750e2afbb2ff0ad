# SPDX-License-Identifier: Apache-2.0
PIPES_SRC += middlepipes/sum/aggregator.c
PIPES_HALVES += middlepipes/sum/aggregator.c
UNIT_TESTS += tests/unit/middlepipes/test_sum.c
