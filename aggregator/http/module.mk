# SPDX-License-Identifier: Apache-2.0
AGGREGATOR_SRC += aggregator/http/answer.c aggregator/http/conn.c aggregator/http/guard.c \
	aggregator/http/intake.c aggregator/http/listen.c aggregator/http/queue.c \
	aggregator/http/request.c aggregator/http/rights.c aggregator/http/server.c aggregator/http/stream.c \
	aggregator/http/target.c
