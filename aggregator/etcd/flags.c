/* SPDX-License-Identifier: Apache-2.0 */
/* See flags.h. */
#include "aggregator/etcd/flags.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX ((size_t)64 << 10)

/*
 * What is the same at each start.  --name=value, when that flag is known; of lines
 * that follow one another and have the same `what` only the first known one counts.
 */
static const struct fixed {
	const char *what;  /* equal for the names of one thing */
	const char *name;
	const char *value;
} fixed[] = {
	{ "prevote", "pre-vote", "true" },
	/* Takeover within two seconds: rows.md 8. */
	{ "beat", "heartbeat-interval", "50" },
	{ "election", "election-timeout", "500" },
	{ "compact", "auto-compaction-mode", "revision" },
	{ "keep", "auto-compaction-retention", "100000" },
	{ "ops", "max-txn-ops", "4096" },
	{ "bytes", "max-request-bytes", "10485760" },
	{ "strict", "strict-reconfig-check", "true" },
	{ "logger", "logger", "zap" },
	{ "outputs", "log-outputs", "stderr" },
	{ "corrupt", "experimental-initial-corrupt-check", "true" },
	{ "corrupt", "feature-gates", "InitialCorruptCheck=true" },
	{ "again", "corrupt-check-time", "1h" },
	{ "again", "experimental-corrupt-check-time", "1h" },
	{ "progress", "watch-progress-notify-interval", "5s" },
	{ "progress", "experimental-watch-progress-notify-interval", "5s" },
	{ "v2", "enable-v2", "false" },
};

_Static_assert(ETCD_TXN_OPS == 4096 && ETCD_REQUEST_BYTES == 10485760, "the table says so, too");

bool etcd_knows(const char *help, const char *flag)
{
	size_t len = strlen(flag);

	for (const char *at = strstr(help, "--"); at; at = strstr(at + 2, "--")) {
		char end = strncmp(at + 2, flag, len) == 0 ? at[2 + len] : 'x';

		if (end == '\0' || end == ' ' || end == '\n' || end == '=' || end == '\t')
			return true;
	}
	return false;
}

/* Ends the argument that was begun at `from`. */
static void arg_end(struct etcd_args *args, size_t from)
{
	if (args->n + 1 >= FLAGS_MAX)
		args->text.error = -E2BIG;
	if (args->text.error)
		return;
	(void)buf_add(&args->text, "", 1);
	args->at[args->n++] = from;
}

static void add(struct etcd_args *args, const char *name, const char *value)
{
	size_t from = args->text.len;

	(void)buf_printf(&args->text, "--%s=%s", name, value);
	arg_end(args, from);
}

static void add_fixed(struct etcd_args *args, const char *help)
{
	const char *done = "";

	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
		if (strcmp(fixed[i].what, done) == 0 || !etcd_knows(help, fixed[i].name))
			continue;
		add(args, fixed[i].name, fixed[i].value);
		done = fixed[i].what;
	}
}

/* Clients and peers show certificates of the same authorities. */
static void add_tls(struct etcd_args *args, const struct etcd_start *start)
{
	if (!start->cert)
		return;
	add(args, "cert-file", start->cert);
	add(args, "key-file", start->key);
	add(args, "peer-cert-file", start->cert);
	add(args, "peer-key-file", start->key);
	if (!start->ca)
		return;
	add(args, "trusted-ca-file", start->ca);
	add(args, "client-cert-auth", "true");
	add(args, "peer-trusted-ca-file", start->ca);
	add(args, "peer-client-cert-auth", "true");
}

int etcd_args_make(struct etcd_args *args, const struct etcd_start *start)
{
	char quota[24];

	*args = (struct etcd_args){ .n = 0 };
	buf_init(&args->text, TEXT_MAX);
	(void)buf_add_str(&args->text, start->program);
	arg_end(args, 0);
	add(args, "name", start->name);
	add(args, "data-dir", start->dir);
	add(args, "listen-peer-urls", start->listen_peer);
	add(args, "listen-client-urls", start->listen_client);
	add(args, "initial-advertise-peer-urls", start->peer);
	add(args, "advertise-client-urls", start->client);
	add(args, "initial-cluster", start->initial);
	add(args, "initial-cluster-token", start->group);
	add(args, "initial-cluster-state", start->fresh ? "new" : "existing");
	if (start->force)
		add(args, "force-new-cluster", "true");
	(void)snprintf(quota, sizeof(quota), "%" PRId64, start->quota);
	add(args, "quota-backend-bytes", quota);
	add_tls(args, start);
	add_fixed(args, start->help);
	for (size_t i = 0; i < args->n && !args->text.error; i++)
		args->argv[i] = args->text.ptr + args->at[i]; /* it moves no more */
	args->argv[args->n] = NULL;
	return args->text.error;
}

void etcd_args_fini(struct etcd_args *args)
{
	buf_fini(&args->text);
	args->n = 0;
}
