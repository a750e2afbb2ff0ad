/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The etcd engine with TLS, mutual TLS, and a user: certificates are made by
 * openssl, users by etcdctl.  Where users log in, etcd's gateway takes no client
 * certificate that has a common name.
 */
#include "aggregator/rows/engine/etcd.h"
#include "aggregator/rows/engine/etcd_answer.h"
#include "lib/slice.h"
#include "tests/unit/aggregator/engine_suite.h"
#include "tests/unit/aggregator/etcd_group.h"

static struct etcd_group group;
static char ca[96], cert[96], key[96]; /* files */

/* True when the command, run inside of the folder, succeeds. */
__attribute__((format(printf, 1, 2))) static bool run(const char *fmt, ...)
{
	char command[1200];
	size_t n = (size_t)snprintf(command, sizeof(command), "cd %s && export ETCDCTL_API=3 && ", group.folder);
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(command + n, sizeof(command) - n, fmt, args);
	va_end(args);
	strncat(command, " >>commands.log 2>&1", sizeof(command) - strlen(command) - 1);
	return etcd_group_run(command);
}

static bool make_certificates(void)
{
	(void)snprintf(ca, sizeof(ca), "%s/ca.crt", group.folder);
	(void)snprintf(cert, sizeof(cert), "%s/one.crt", group.folder);
	(void)snprintf(key, sizeof(key), "%s/one.key", group.folder);
	return run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca -keyout "
		   "ca.key -out ca.crt") &&
	       run("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /O=one -keyout one.key -out "
		   "one.csr") &&
	       run("printf 'subjectAltName=IP:127.0.0.1\n' >ext && openssl x509 -req -in one.csr -CA ca.crt -CAkey ca.key "
		   "-CAcreateserial -days 2 -extfile ext -out one.crt") &&
	       run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=strange "
		   "-keyout strange.key -out strange.crt");
}

static void open_engine(const struct engine_etcd_options *with)
{
	struct engine_etcd_options options = *with;
	struct err err = { "" };

	options.endpoints = group.urls;
	options.n_endpoints = 1;
	options.timeout_ms = options.timeout_ms ? options.timeout_ms : 5000;
	is_int(engine_etcd_open(&suite_loop, &options, &suite_engine, &err), 0, "opened %s", err.text);
}

static void test_refused(const struct engine_etcd_options *options, const char *what)
{
	struct suite_answer answer;

	open_engine(options);
	answer = suite_put("s/a", "1");
	is_int((int)answer.outcome, ENGINE_REFUSED, "%s: %s", what, answer.why);
	suite_close();
}

static void test_tls(void)
{
	const struct engine_etcd_options good = { .ca = ca, .cert = cert, .key = key };
	const struct engine_etcd_options no_ca = { .cert = cert, .key = key, .timeout_ms = 1500 };
	const struct engine_etcd_options no_cert = { .ca = ca, .timeout_ms = 1500 };
	char strange_cert[96], strange_key[96];
	const struct engine_etcd_options strange = { .ca = ca, .cert = strange_cert, .key = strange_key, .timeout_ms = 1500 };

	(void)snprintf(strange_cert, sizeof(strange_cert), "%s/strange.crt", group.folder);
	(void)snprintf(strange_key, sizeof(strange_key), "%s/strange.key", group.folder);
	open_engine(&good);
	suite_run(suite_engine);
	test_refused(&no_ca, "a server that nobody vouches for");
	test_refused(&no_cert, "without a certificate of our own");
	test_refused(&strange, "with one that the server does not know");
}

/* Certificates that were replaced are used by the next connection. */
static void test_new_certificates(void)
{
	char mine[96];
	const struct engine_etcd_options options = { .ca = mine, .cert = cert, .key = key };
	struct suite_answer answer;

	(void)snprintf(mine, sizeof(mine), "%s/mine.crt", group.folder);
	ok(run("cp strange.crt mine.crt"), "a wrong file");
	open_engine(&options);
	answer = suite_put("s/a", "1");
	is_int((int)answer.outcome, ENGINE_REFUSED, "is not trusted: %s", answer.why);
	ok(run("cp ca.crt mine.crt"), "it is replaced");
	answer = suite_put("s/a", "1");
	is_int((int)answer.outcome, ENGINE_COMMITTED, "and read again: %s", answer.why);
	suite_close();
}

#define ETCDCTL "etcdctl --endpoints=%s --cacert=ca.crt --cert=one.crt --key=one.key "

static bool make_users(void)
{
	return run(ETCDCTL "user add root:pw", group.url[0]) && run(ETCDCTL "user grant-role root root", group.url[0]) &&
	       run(ETCDCTL "role add part", group.url[0]) &&
	       run(ETCDCTL "role grant-permission part --prefix=true readwrite mine/", group.url[0]) &&
	       run(ETCDCTL "user add part:secret", group.url[0]) &&
	       run(ETCDCTL "user grant-role part part", group.url[0]) && run(ETCDCTL "auth enable", group.url[0]);
}

static void test_users(void)
{
	const struct engine_etcd_options root = { .ca = ca, .cert = cert, .key = key, .user = "root", .password = "pw" };
	const struct engine_etcd_options wrong = { .ca = ca, .cert = cert, .key = key, .user = "root", .password = "no",
						   .timeout_ms = 1500 };
	const struct engine_etcd_options part = { .ca = ca, .cert = cert, .key = key, .user = "part", .password = "secret" };
	const struct engine_etcd_options probing = { .ca = ca, .cert = cert, .key = key, .user = "part",
						     .password = "secret", .probe = "mine/" };
	static struct suite_watch watch;
	struct suite_answer answer;
	struct engine_health health;

	test_refused(&wrong, "a wrong password");
	open_engine(&root);
	answer = suite_put("mine/a", "0");
	is_int((int)answer.outcome, ENGINE_COMMITTED, "root: %s", answer.why);
	suite_is("mine/a", "0", "may read, too");
	suite_close();
	open_engine(&part);
	watch = (struct suite_watch){ .text = "" };
	answer = suite_put("mine/a", "1");
	is_int((int)answer.outcome, ENGINE_COMMITTED, "a user's own keys: %s", answer.why);
	(void)suite_watch("mine/", "mine0", answer.revision, &watch);
	(void)suite_put("mine/b", "1");
	suite_watched(&watch, "+mine/b=1|", "are watched, too");
	answer = suite_put("other/a", "1");
	is_int((int)answer.outcome, ENGINE_UNKNOWN, "and another's: %s", answer.why);
	suite_engine->ops->health(suite_engine, &health);
	ok(strstr(health.text, "permission"), "the health says so: %s", health.text);
	suite_close();
	open_engine(&probing);
	answer = suite_put("mine/a", "1");
	is_int((int)answer.outcome, ENGINE_COMMITTED, "asked for a key of its own: %s", answer.why);
	etcd_group_kill(&group, 0, SIGKILL); /* its tokens are gone with it */
	etcd_group_start(&group, 0);
	answer = suite_put("mine/a", "2");
	if (answer.outcome == ENGINE_UNKNOWN)
		answer = suite_put("mine/a", "2"); /* the old connection broke, or the old token was sent */
	is_int((int)answer.outcome, ENGINE_COMMITTED, "it logs in again: %s", answer.why);
	suite_close();
}

/* Tokens that say themselves who it is, and for how long: much longer than etcd's simple ones. */
static void test_jwt(void)
{
	static const char *const options[] = { "--cert-file", cert, "--key-file", key, "--trusted-ca-file", ca,
					       "--client-cert-auth", "--auth-token",
					       "jwt,pub-key=jwt.pub,priv-key=jwt.key,sign-method=RS256,ttl=3s", NULL };
	const struct engine_etcd_options part = { .ca = ca, .cert = cert, .key = key, .user = "part", .password = "secret",
						  .probe = "mine/" };
	uint64_t end;
	struct suite_answer answer;

	etcd_group_kill(&group, 0, SIGKILL);
	group.extra = options;
	if (!ok(run("openssl genrsa -out jwt.key 4096 && openssl rsa -in jwt.key -pubout -out jwt.pub") && !chdir(group.folder),
		"a key to sign tokens with"))
		return;
	etcd_group_start(&group, 0);
	open_engine(&part);
	answer = suite_put("mine/j", "1");
	is_int((int)answer.outcome, ENGINE_COMMITTED, "a user with a long token: %s", answer.why);
	for (end = uv_hrtime() + UINT64_C(4000000000); uv_hrtime() < end;)
		uv_run(&suite_loop, UV_RUN_ONCE); /* the token's own time */
	for (unsigned i = 0; i < 3; i++) {
		answer = suite_put("mine/j", "2"); /* with the old one it was not attempted, or nobody knows */
		if (answer.outcome == ENGINE_COMMITTED)
			break;
	}
	is_int((int)answer.outcome, ENGINE_COMMITTED, "it logs in again when the token has run out: %s", answer.why);
	suite_is("mine/j", "2", "and reads");
	suite_close();
}

/* A log-in's answer with a token of so many bytes. */
static void log_in(struct etcd_answer *answer, size_t size, char byte)
{
	static char text[ETCD_USER_TOKEN_MAX + 64];
	size_t message = size + 3;
	char *at = text;

	*at++ = 0; /* not compressed */
	*at++ = 0;
	*at++ = 0;
	*at++ = (char)(message >> 8);
	*at++ = (char)(message & 0xff);
	*at++ = 2 << 3 | 2; /* the token */
	*at++ = (char)((size & 0x7f) | 0x80);
	*at++ = (char)(size >> 7);
	memset(at, byte, size);
	etcd_answer_again(answer, ETCD_LOGIN, 0);
	(void)etcd_answer_feed(answer, slice_make(text, 5 + message));
}

static void test_tokens(void)
{
	struct etcd_answer answer;

	etcd_answer_init(&answer, 65536);
	log_in(&answer, 128, 'a');
	ok(answer.token && strlen(answer.token) == 128, "a token");
	log_in(&answer, ETCD_USER_TOKEN_MAX, 'b');
	ok(answer.token && strlen(answer.token) == ETCD_USER_TOKEN_MAX && answer.token[0] == 'b', "one as long as it may be");
	log_in(&answer, ETCD_USER_TOKEN_MAX + 1, 'c');
	ok(!answer.token && strstr(answer.wrong, "4097 bytes"), "one that is longer: %s", answer.wrong);
	log_in(&answer, 128, '\n');
	ok(!answer.token && answer.wrong[0], "one that would end a header: %s", answer.wrong);
	log_in(&answer, 200, 'd');
	ok(answer.token && !answer.wrong[0], "another one");
	etcd_answer_again(&answer, ETCD_RANGE, 0);
	ok(!answer.token, "which is forgotten");
	etcd_answer_fini(&answer);
}

int main(void)
{
	const char *const options[] = { "--cert-file", cert, "--key-file", key, "--trusted-ca-file", ca,
					"--client-cert-auth", NULL };

	if (!etcd_group_run("command -v etcdctl >/dev/null 2>&1 && command -v openssl >/dev/null 2>&1") || !etcd_group_prepare(&group, 1, "https", options))
		return skip_all("no etcd, etcdctl or openssl (Debian packages etcd-server, etcd-client, openssl)");
	is_int(suite_uv_init(), 0, "a loop");
	test_tokens();
	ok(make_certificates(), "certificates");
	etcd_group_start(&group, 0);
	test_tls();
	test_new_certificates();
	ok(make_users(), "users");
	test_users();
	test_jwt();
	etcd_group_close(&group);
	suite_uv_fini();
	return done();
}
