# SPDX-License-Identifier: Apache-2.0
LIB_SRC += lib/address.c lib/base64.c lib/buf.c lib/clock.c lib/err.c lib/file.c lib/flat.c lib/hist.c lib/hist_wire.c \
	lib/http_client.c lib/http_curl.c lib/http_multi.c lib/json.c lib/json_errs.c lib/json_text.c lib/ledger.c lib/log.c lib/map.c lib/near.c \
	lib/opt.c lib/opt_help.c lib/pool.c lib/slice.c lib/spsc.c lib/utf8.c
UNIT_TESTS += tests/unit/lib/test_address.c tests/unit/lib/test_base64.c tests/unit/lib/test_buf.c tests/unit/lib/test_cleanup.c \
	tests/unit/lib/test_clock.c tests/unit/lib/test_err.c tests/unit/lib/test_file.c tests/unit/lib/test_flat.c tests/unit/lib/test_hex.c \
	tests/unit/lib/test_hist.c tests/unit/lib/test_http_client.c tests/unit/lib/test_http_multi.c \
	tests/unit/lib/test_json.c tests/unit/lib/test_json_text.c tests/unit/lib/test_ledger.c tests/unit/lib/test_list.c tests/unit/lib/test_log.c \
	tests/unit/lib/test_map.c tests/unit/lib/test_near.c tests/unit/lib/test_opt.c \
	tests/unit/lib/test_pool.c tests/unit/lib/test_slice.c tests/unit/lib/test_spsc.c
LIB_SRC += lib/arena.c lib/chain.c lib/chain_match.c lib/chain_value.c
UNIT_TESTS += tests/unit/lib/test_arena.c tests/unit/lib/test_chain.c
LIB_SRC += lib/data_dir.c lib/export.c
UNIT_TESTS += tests/unit/lib/test_data_dir.c tests/unit/lib/test_export.c
LIB_SRC += lib/rows_client.c lib/rows_frames.c lib/rows_get.c lib/rows_lives.c lib/rows_put.c lib/rows_read.c lib/rows_request.c \
	lib/rows_retry.c lib/rows_subscribe.c
UNIT_TESTS += tests/unit/lib/test_rows_client.c tests/unit/lib/test_rows_frames.c tests/unit/lib/test_rows_lives.c tests/unit/lib/test_rows_retry.c
