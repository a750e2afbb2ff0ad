# SPDX-License-Identifier: Apache-2.0
LIB_SRC += lib/buf.c lib/clock.c lib/err.c lib/file.c lib/log.c lib/near.c lib/slice.c
UNIT_TESTS += tests/unit/lib/test_buf.c tests/unit/lib/test_cleanup.c \
	tests/unit/lib/test_clock.c tests/unit/lib/test_err.c tests/unit/lib/test_file.c \
	tests/unit/lib/test_log.c tests/unit/lib/test_near.c tests/unit/lib/test_slice.c
