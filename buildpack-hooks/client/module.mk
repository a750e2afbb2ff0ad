# SPDX-License-Identifier: Apache-2.0
LIB_SRC += lib/wire.c lib/lane_key.c lib/markers.c
CLIENT_LIB_SRC := lib/wire.c lib/lane_key.c lib/markers.c
CLIENT_SRC += buildpack-hooks/client/ask.c buildpack-hooks/client/begin.c \
	buildpack-hooks/client/board.c buildpack-hooks/client/client.c \
	buildpack-hooks/client/conn.c buildpack-hooks/client/connect.c \
	buildpack-hooks/client/map.c buildpack-hooks/client/ring.c \
	buildpack-hooks/client/slot.c buildpack-hooks/client/state.c \
	buildpack-hooks/client/verdict.c
UNIT_TESTS += tests/unit/lib/test_wire.c tests/unit/lib/test_lane_key.c \
	tests/unit/lib/test_markers.c tests/unit/client/test_ask.c \
	tests/unit/client/test_begin.c tests/unit/client/test_connect.c \
	tests/unit/client/test_fork.c tests/unit/client/test_outcome.c \
	tests/unit/client/test_respond.c tests/unit/client/test_threads.c
