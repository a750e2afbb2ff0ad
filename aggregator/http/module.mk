# SPDX-License-Identifier: Apache-2.0
AGGREGATOR_SRC += aggregator/http/access.c aggregator/http/answer.c aggregator/http/calm.c aggregator/http/conn.c \
	aggregator/http/guard.c aggregator/http/intake.c aggregator/http/listen.c \
	aggregator/http/queue.c aggregator/http/reload.c aggregator/http/request.c \
	aggregator/http/audit.c aggregator/http/rights.c aggregator/http/server.c aggregator/http/stream.c \
	aggregator/http/target.c aggregator/http/tls.c aggregator/http/worker.c
UNIT_TESTS += tests/unit/aggregator/test_http_access.c tests/unit/aggregator/test_http_guard.c \
	tests/unit/aggregator/test_http_target.c
