# SPDX-License-Identifier: Apache-2.0
LIB_SRC += lib/wire.c lib/lane_key.c lib/markers.c
UNIT_TESTS += tests/unit/lib/test_wire.c tests/unit/lib/test_lane_key.c \
	tests/unit/lib/test_markers.c
