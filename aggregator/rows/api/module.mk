# SPDX-License-Identifier: Apache-2.0
AGGREGATOR_SRC += aggregator/rows/api/api.c aggregator/rows/api/check.c aggregator/rows/api/events.c aggregator/rows/api/export.c \
	aggregator/rows/api/forward.c aggregator/rows/api/import.c aggregator/rows/api/import_state.c aggregator/rows/api/lines.c \
	aggregator/rows/api/meant.c aggregator/rows/api/members.c aggregator/rows/api/metrics.c aggregator/rows/api/put.c aggregator/rows/api/read.c \
	aggregator/rows/api/receive.c aggregator/rows/api/send.c aggregator/rows/api/snapshot.c aggregator/rows/api/state.c \
	aggregator/rows/api/subscribe.c
