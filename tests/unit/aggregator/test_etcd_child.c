/* SPDX-License-Identifier: Apache-2.0 */
/* What managed etcd's start rests on: /proc, ports, URLs, flags. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "aggregator/etcd/child.h"
#include "aggregator/etcd/flags.h"
#include "aggregator/etcd/ports.h"
#include "aggregator/etcd/proc.h"
#include "tests/lib/tap.h"

static void test_stat(void)
{
	static const char text[] = "17 (a (b) c) S 1 17 17 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99 100\n";
	uint64_t value = 0;
	char state = 0;

	ok(proc_stat_field(text, 22, &value, &state), "the 22nd field");
	is_u64(value, 4711, "is when it began");
	is_int(state, 'S', "it sleeps");
	ok(proc_stat_field(text, 4, &value, &state) && value == 1, "the 4th is its parent");
	ok(!proc_stat_field(text, 80, &value, &state), "there is no 80th");
	ok(!proc_stat_field("", 22, &value, &state), "nothing");
	ok(!proc_stat_field("17 (a", 22, &value, &state), "a torn one");
	ok(!proc_stat_field("17 (a)", 22, &value, &state), "torn behind the name");
	ok(proc_started(getpid()) > 0, "this process has begun");
	is_u64(proc_started(0), 0, "none has the number 0");
}

static void test_proc(char **argv)
{
	ok(proc_has_arg(getpid(), argv[0]), "this process has its name among its arguments");
	ok(!proc_has_arg(getpid(), "--data-dir=/nowhere"), "and nothing else");
	is_int(proc_find("--data-dir=/nowhere/at/all"), 0, "nobody has that");
}

static void test_ports(void)
{
	struct sockaddr_in where = { .sin_family = AF_INET };
	socklen_t size = sizeof(where);
	int fd = socket(AF_INET, SOCK_STREAM, 0), port;

	where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (!ok(fd >= 0 && bind(fd, (struct sockaddr *)&where, size) == 0 && listen(fd, 1) == 0 &&
		getsockname(fd, (struct sockaddr *)&where, &size) == 0, "a port"))
		return;
	port = ntohs(where.sin_port);
	ok(!port_is_free("127.0.0.1", port), "is not free");
	(void)close(fd);
	ok(port_is_free("127.0.0.1", port), "and then it is");
	ok(!port_is_free("127.0.0.1", 0) && !port_is_free("127.0.0.1", 65536), "what is no port is not free");
	port = port_draw("127.0.0.1", 0);
	ok(port >= 16384 && port < 32768, "one is drawn (%d)", port);
	ok(port_draw("127.0.0.1", port) != port, "another one");
	is_int(port_draw("192.0.2.1", 0), 0, "none at an address of somebody else");
}

static void test_urls(void)
{
	char url[64], address[64];

	ok(etcd_url(url, sizeof(url), false, "127.0.0.1", 2379), "IPv4");
	is_str(url, "http://127.0.0.1:2379", "plain");
	ok(etcd_url(url, sizeof(url), true, "::1", 2379), "IPv6");
	is_str(url, "https://[::1]:2379", "in brackets");
	is_int(etcd_url_port(url), 2379, "its port");
	ok(etcd_url_address(url, address, sizeof(address)), "its address");
	is_str(address, "::1", "without brackets");
	ok(etcd_url_address("http://etcd-0.example:80", address, sizeof(address)), "a name");
	is_str(address, "etcd-0.example", "as it is");
	ok(!etcd_url(url, 8, false, "127.0.0.1", 1), "too long");
	ok(!etcd_url_address("http://x", address, sizeof(address)), "no port");
	ok(!etcd_url_address("nonsense", address, sizeof(address)), "no URL");
	is_int(etcd_url_port("http://x"), 0, "no port");
	is_int(etcd_url_port("http://x:99999"), 0, "none that large");
	is_str(etcd_bind_address("10.0.0.1"), "10.0.0.1", "digits are bound to");
	is_str(etcd_bind_address("etcd-0"), "0.0.0.0", "a name is not");
}

/* The arguments in one line. */
static void join(const struct etcd_args *args, char *out, size_t size)
{
	out[0] = '\0';
	for (size_t i = 0; i < args->n; i++)
		(void)snprintf(out + strlen(out), size - strlen(out), " %s", args->argv[i]);
}

static void test_flags(void)
{
	struct etcd_start start = { .program = "etcd", .help = "  --pre-vote 'false'\n  --log-outputs x\n", .name = "m1",
				    .dir = "/d/etcd", .group = "aa", .listen_peer = "http://1:1", .listen_client = "http://1:2",
				    .peer = "http://1:1", .client = "http://1:2", .initial = "m1=http://1:1", .fresh = true,
				    .quota = 5 };
	struct etcd_args args;
	char line[4096];

	is_int(etcd_args_make(&args, &start), 0, "arguments");
	join(&args, line, sizeof(line));
	ok(strstr(line, " --initial-cluster-state=new ") && strstr(line, " --initial-cluster-token=aa "), "of a new cluster");
	ok(strstr(line, " --pre-vote=true") && !strstr(line, "experimental"), "only flags that it knows");
	ok(!strstr(line, "cert") && args.argv[args.n] == NULL, "without TLS");
	etcd_args_fini(&args);
	start.fresh = false;
	start.cert = "c";
	start.key = "k";
	start.ca = "a";
	start.help = "--experimental-initial-corrupt-check \n--watch-progress-notify-interval '1s'\n"
		     "--experimental-watch-progress-notify-interval 'x'\n--feature-gates";
	is_int(etcd_args_make(&args, &start), 0, "arguments with TLS");
	join(&args, line, sizeof(line));
	ok(strstr(line, " --initial-cluster-state=existing ") != NULL, "of one that exists");
	ok(strstr(line, "--peer-client-cert-auth=true") && strstr(line, "--client-cert-auth=true"), "both sides show who they are");
	ok(strstr(line, " --watch-progress") && !strstr(line, "experimental-watch"), "the newer of two names alone");
	ok(!strstr(line, "feature-gates"), "and the first of two ways");
	etcd_args_fini(&args);
	ok(!etcd_knows("--pre-vote-x", "pre-vote") && etcd_knows("--pre-vote", "pre-vote"), "a flag is a whole word");
}

static void test_ask(void)
{
	struct err err = { 0 };
	char out[64];

	is_int(etcd_child_ask("echo", "hello", out, sizeof(out), &err), 0, "a program is asked");
	is_str(out, "hello\n", "and says so");
	ok(etcd_child_ask("/nonexistent", "-h", out, sizeof(out), &err) < 0, "one that is not there: %s", err.text);
	is_int(etcd_child_ask("yes", "x", out, sizeof(out), &err), 0, "one that does not end");
	is_u64(strlen(out), sizeof(out) - 1, "is cut");
}

int main(int argc, char **argv)
{
	(void)argc;
	test_stat();
	test_proc(argv);
	test_ports();
	test_urls();
	test_flags();
	test_ask();
	return done();
}
