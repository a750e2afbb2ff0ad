/* SPDX-License-Identifier: Apache-2.0 */
/* mp-aggregator: keeps a tenant's rows. */
#include <errno.h>
#include <stdio.h>

#include "aggregator/rows/api/api.h"
#include "aggregator/rows/keys.h"
#include "aggregator/serve.h"
#include "lib/log.h"
#include "lib/opt.h"

static struct serve_options options;
static const char *log_level;
static bool print_man;

static const struct opt opts[] = {
	{ .name = "listen", .letter = 'l', .type = OPT_STRING, .target = &options.listen,
	  .def = "127.0.0.1:9780", .arg = "ADDRESS:PORT", .env = "MP_AGGREGATOR_LISTEN",
	  .help = "where to serve: an IPv4 or [IPv6] address and a port (0: any), or the path of a socket" },
	{ .name = "data", .letter = 'd', .type = OPT_STRING, .target = &options.data, .arg = "DIR",
	  .env = "MP_AGGREGATOR_DATA",
	  .help = "directory of the rows (default: /var/lib/middlepipe for root, else "
		  "~/.local/state/middlepipe)" },
	{ .name = "group", .letter = 'g', .type = OPT_STRING, .target = &options.group, .arg = "URL[,URL]",
	  .env = "MP_AGGREGATOR_GROUP",
	  .help = "keep the rows in that etcd (3.4 or later), and nothing on disk; \"managed\": in one that it "
		  "runs itself" },
	{ .name = "disk-reserve", .type = OPT_SIZE, .target = &options.disk_reserve, .def = "16M",
	  .max = INT64_C(1) << 36, .arg = "SIZE",
	  .help = "alone: keep so much of the disk for deletions, floors and a start when it is full (0: nothing)" },
	{ .name = "accept-loss", .type = OPT_STRING, .target = &options.accept_loss, .arg = "NUMBER",
	  .help = "go on although acknowledged cells are missing, from the directory or from an etcd that was restored "
		  "from a backup: the number that the refusal to start gives, good for that loss alone" },
	{ .name = "join", .type = OPT_STRING, .target = &options.join, .arg = "URL",
	  .env = "MP_AGGREGATOR_JOIN",
	  .help = "managed: take part in the group of that member, unless it does already; without it a group is begun" },
	{ .name = "join-token", .type = OPT_STRING, .target = &options.join_token, .arg = "TOKEN",
	  .env = "MP_AGGREGATOR_JOIN_TOKEN", .help = "which that member gave (POST /v1/members/token); good for once" },
	{ .name = "leave", .type = OPT_FLAG, .target = &options.leave,
	  .help = "managed: take the member that is stopped out of its group, empty its directory, and end" },
	{ .name = "replace-after", .type = OPT_DURATION_MS, .target = &options.replace_after_ms, .def = "10m",
	  .max = INT64_C(604800000), .arg = "TIME",
	  .help = "managed: an etcd member that is silent for so long is taken out when another one joins (0: never)" },
	{ .name = "etcd-program", .type = OPT_STRING, .target = &options.etcd_program, .def = "etcd",
	  .arg = "FILE", .help = "managed: which etcd to run" },
	{ .name = "etcd-address", .type = OPT_STRING, .target = &options.etcd_address, .arg = "HOST",
	  .help = "managed: where the other members reach this one's etcd (default: as before, or 127.0.0.1); it "
		  "listens there, or everywhere when that is a name" },
	{ .name = "etcd-client-port", .type = OPT_INT, .target = &options.etcd_client_port, .def = "0",
	  .max = 65535, .arg = "PORT", .help = "managed: of its etcd (0: as before, or one that is free)" },
	{ .name = "etcd-peer-port", .type = OPT_INT, .target = &options.etcd_peer_port, .def = "0",
	  .max = 65535, .arg = "PORT", .help = "managed: likewise for etcd's among themselves" },
	{ .name = "etcd-quota", .type = OPT_SIZE, .target = &options.etcd_quota, .def = "0",
	  .max = INT64_C(1) << 36, .arg = "SIZE",
	  .help = "most bytes of etcd's database; managed: that it is started with (0: 4G), somebody else's: what its "
		  "--quota-backend-bytes says (0: 2G). From 80 % on puts of cells are answered 507" },
	{ .name = "advertise", .type = OPT_STRING, .target = &options.advertise, .arg = "URL",
	  .env = "MP_AGGREGATOR_ADVERTISE",
	  .help = "where other members of the group reach this one (default: where it listens)" },
	{ .name = "tenant", .letter = 't', .type = OPT_STRING, .target = &options.tenant, .def = "default",
	  .arg = "NAME", .env = "MP_AGGREGATOR_TENANT", .help = "whose rows" },
	{ .name = "member", .letter = 'm', .type = OPT_STRING, .target = &options.member, .arg = "ID",
	  .env = "MP_AGGREGATOR_MEMBER",
	  .help = "id of this member (default: drawn, and kept in the data directory)" },
	{ .name = "halves-dir", .type = OPT_STRING, .target = &options.halves_dir, .arg = "DIR",
	  .env = "MP_AGGREGATOR_HALVES",
	  .help = "folder of aggregator halves (checks of rows) to load as NAME.so; no other place is "
		  "looked at" },
	{ .name = "shards", .type = OPT_INT, .target = &options.shards, .def = "64", .min = 1,
	  .max = SHARDS_MAX, .arg = "N", .help = "of rows that are begun; fixed from then on" },
	{ .name = "tls-cert", .type = OPT_STRING, .target = &options.http.cert_file, .arg = "FILE",
	  .help = "serve HTTPS with that certificate chain (PEM; read again when it changes)" },
	{ .name = "tls-key", .type = OPT_STRING, .target = &options.http.key_file, .arg = "FILE",
	  .help = "its key" },
	{ .name = "tls-ca", .type = OPT_STRING, .target = &options.http.ca_file, .arg = "FILE",
	  .help = "ask clients for certificates of these authorities" },
	{ .name = "tokens", .type = OPT_STRING, .target = &options.http.token_file, .arg = "FILE",
	  .env = "MP_AGGREGATOR_TOKENS",
	  .help = "bearer tokens and their rights (JSON; read again when it changes)" },
	{ .name = "etcd-ca", .type = OPT_STRING, .target = &options.etcd_ca, .arg = "FILE",
	  .help = "authorities of etcd's certificate; managed: of its clients' and peers', too" },
	{ .name = "etcd-cert", .type = OPT_STRING, .target = &options.etcd_cert, .arg = "FILE",
	  .help = "certificate to show etcd; managed: also its own" },
	{ .name = "etcd-key", .type = OPT_STRING, .target = &options.etcd_key, .arg = "FILE", .help = "its key" },
	{ .name = "etcd-user", .type = OPT_STRING, .target = &options.etcd_user, .arg = "NAME",
	  .help = "log in to etcd" },
	{ .name = "etcd-password-file", .type = OPT_STRING, .target = &options.etcd_password_file, .arg = "FILE",
	  .help = "whose first line is the password" },
	{ .name = "threads", .type = OPT_INT, .target = &options.threads, .def = "2", .min = 1, .max = 64,
	  .arg = "N", .help = "threads that take in requests" },
	{ .name = "connections", .type = OPT_INT, .target = &options.connections, .def = "12000", .min = 1,
	  .max = 1000000, .arg = "N", .help = "most connections at once" },
	{ .name = "per-address", .type = OPT_INT, .target = &options.per_address, .def = "4000",
	  .max = 1000000, .arg = "N", .help = "of one address (0: no bound)" },
	{ .name = "rows", .type = OPT_INT, .target = &options.rows_max, .def = "100000", .min = 1,
	  .max = 10000000, .arg = "N", .help = "most rows" },
	{ .name = "row-bytes", .type = OPT_SIZE, .target = &options.row_bytes, .def = "0", .arg = "SIZE",
	  .help = "most bytes of the batches of one row (0: no bound)" },
	{ .name = "tenant-bytes", .type = OPT_SIZE, .target = &options.tenant_bytes, .def = "0", .arg = "SIZE",
	  .help = "the same of all rows" },
	{ .name = "puts-per-second", .type = OPT_INT, .target = &options.puts_per_s, .def = "0",
	  .max = LIMIT_RATE_MAX, .arg = "N", .help = "most puts a second into one row (0: no bound)" },
	{ .name = "cell-bytes", .type = OPT_SIZE, .target = &options.cell_bytes, .def = "1M", .min = 1,
	  .max = CELL_BYTES_MAX, .arg = "SIZE", .help = "largest cell that is put" },
	{ .name = "request-bytes", .type = OPT_SIZE, .target = &options.request_bytes, .def = "4M", .min = 1,
	  .max = ROWS_REQUEST_MAX, .arg = "SIZE", .help = "largest put" },
	{ .name = "waiting", .type = OPT_INT, .target = &options.waiting_max, .def = "65536", .min = 1,
	  .max = 10000000, .arg = "N", .help = "most puts that wait; more are answered 503" },
	{ .name = "snapshot-cells", .type = OPT_INT, .target = &options.snapshot_cells, .def = "10000", .min = 1,
	  .max = 1000000000, .arg = "N",
	  .help = "retention of a row with a check stores its state anew after so many cells" },
	{ .name = "snapshot-bytes", .type = OPT_INT, .target = &options.snapshot_bytes, .def = "1048576", .min = 1,
	  .max = 1000000000, .arg = "N", .help = "or after so many bytes of them" },
	{ .name = "put-time", .type = OPT_DURATION_MS, .target = &options.put_ms, .def = "5s", .min = 100,
	  .max = 60000, .arg = "TIME", .help = "a put is answered by then: 503 or 504 when it is not done" },
	{ .name = "read-time", .type = OPT_DURATION_MS, .target = &options.read_ms, .def = "5s", .min = 100,
	  .max = 60000, .arg = "TIME", .help = "likewise a read" },
	{ .name = "stop-time", .type = OPT_DURATION_MS, .target = &options.stop_ms, .def = "5s", .min = 0,
	  .max = 600000, .arg = "TIME", .help = "requests under way are given so long when it stops" },
	{ .name = "ready-fd", .type = OPT_INT, .target = &options.ready_fd, .def = "-1", .min = -1,
	  .max = 65535, .arg = "FD", .help = "write the address there, and a newline, when it serves" },
	{ .name = "log", .type = OPT_STRING, .target = &log_level, .arg = "error|warn|info|debug|off",
	  .env = "MIDDLEPIPE_LOG", .def = "info", .help = "how much to log on standard error" },
	{ .name = "man", .type = OPT_FLAG, .target = &print_man, .help = "print this as a man page" },
	{ .name = NULL },
};

static const struct opt_command command = {
	.name = "mp-aggregator",
	.usage = "[OPTION]...",
	.summary = "keep a tenant's rows, agreed on and durable",
	.text = "Rows are ordered lists of cells that everybody agrees on: chains, claims of ports, shares of\n"
		"bandwidth, states of breakers. Alone, with no option at all, it keeps them in an SQLite file;\n"
		"with --group in an etcd, which several of it may share: somebody else's, or with --group managed\n"
		"one that it runs itself, below its data directory, whose members are up to five of those that\n"
		"joined. That etcd lives on when mp-aggregator dies, and is found again when it starts.\n\n"
		"Without TLS client certificates or tokens it serves on loopback and Unix sockets only.\n"
		"SIGTERM and SIGINT end it: it gives its shards to others, takes no more and finishes what is under way.",
	.opts = opts,
	.examples = "mp-aggregator\n"
		    "mp-aggregator --group managed\n"
		    "mp-aggregator --group managed --join http://10.0.0.5:9780 --join-token TOKEN --etcd-address 10.0.0.6\n"
		    "mp-aggregator --group http://10.0.0.5:2379,http://10.0.0.6:2379 --tenant shop \\\n"
		    "    --listen 10.0.0.7:9780 --tls-cert cert.pem --tls-key key.pem --tokens tokens.json\n"
		    "curl -d hello http://127.0.0.1:9780/v1/rows/greetings/cells",
	.exit_codes = "0  ended by a signal\n"
		      "1  it cannot be started, or its rows cannot be used\n"
		      "2  wrong usage\n"
		      "111  a system call failed",
	.man_section = 8,
};

static int usage_error(const char *text)
{
	fprintf(stderr, "mp-aggregator: %s\nTry 'mp-aggregator --help'.\n", text);
	return 2;
}

int main(int argc, char **argv)
{
	struct err err = { 0 };
	int first = 0, r;

	options.http = http_options_default();
	r = opt_parse(&command, argc, argv, &first, &err);
	if (r == OPT_HELP || print_man) {
		(print_man ? opt_print_man : opt_print_help)(stdout, &command);
		return 0;
	}
	if (r == OPT_VERSION) {
		printf("mp-aggregator %s\n", MIDDLEPIPE_VERSION);
		return 0;
	}
	if (r < 0)
		return usage_error(err.text);
	if (first < argc)
		return usage_error("no operand is expected");
	r = log_level_parse(log_level);
	if (r == -EINVAL)
		return usage_error("--log: error, warn, info, debug or off is expected");
	log_open("mp-aggregator", r);
	return serve(&options);
}
