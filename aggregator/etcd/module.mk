# SPDX-License-Identifier: Apache-2.0
AGGREGATOR_SRC += aggregator/etcd/admit.c aggregator/etcd/child.c aggregator/etcd/cluster.c aggregator/etcd/cluster_answer.c \
	aggregator/etcd/flags.c aggregator/etcd/identity.c aggregator/etcd/life.c aggregator/etcd/managed.c \
	aggregator/etcd/managed_address.c aggregator/etcd/managed_do.c aggregator/etcd/managed_restored.c aggregator/etcd/ports.c aggregator/etcd/proc.c aggregator/etcd/room.c aggregator/etcd/spawn.c \
	aggregator/etcd/steps.c aggregator/etcd/token.c
UNIT_TESTS += tests/unit/aggregator/test_etcd_identity.c tests/unit/aggregator/test_etcd_steps.c \
	tests/unit/aggregator/test_etcd_child.c tests/unit/aggregator/test_etcd_cluster.c tests/unit/aggregator/test_etcd_room.c
