/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The embedded engine: the conformance suite, and what a file may do to it: a
 * second process, another program's file, damage, a disk that fails (a VFS of
 * the test's own makes it), and the doubt after a failed COMMIT.
 */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "aggregator/rows/engine/sqlite.h"
#include "tests/unit/aggregator/engine_suite.h"

static char folder[] = "/tmp/test_engine_sqlite.XXXXXX";
static char path[64];

/* ------------------------------------------------------ a disk that can fail */

static sqlite3_vfs vfs;
static sqlite3_io_methods methods[2];         /* of the log, of the file: they differ in locks */
static const sqlite3_io_methods *real;        /* writing and syncing are the same for both */
static int fail_writes, fail_syncs; /* result code of every one; 0: none fails */
static int fail_errno;              /* with which errno */

static int failing_write(sqlite3_file *file, const void *from, int amount, sqlite3_int64 at)
{
	if (fail_writes)
		errno = fail_errno;
	return fail_writes ? fail_writes : real->xWrite(file, from, amount, at);
}

static int failing_sync(sqlite3_file *file, int flags)
{
	return fail_syncs ? fail_syncs : real->xSync(file, flags);
}

static int failing_open(sqlite3_vfs *self, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
	sqlite3_vfs *below = self->pAppData;
	sqlite3_io_methods *own = &methods[!!(flags & SQLITE_OPEN_MAIN_DB)];
	int rc = below->xOpen(below, name, file, flags, ret_flags);

	if (rc != SQLITE_OK || !file->pMethods)
		return rc;
	real = file->pMethods;
	*own = *real;
	own->xWrite = failing_write;
	own->xSync = failing_sync;
	file->pMethods = own;
	return rc;
}

static void vfs_register(void)
{
	sqlite3_vfs *below = sqlite3_vfs_find(NULL);

	vfs = *below;
	vfs.zName = "failing";
	vfs.pAppData = below;
	vfs.xOpen = failing_open;
	sqlite3_vfs_register(&vfs, 0);
}

/* -------------------------------------------------------------------- helpers */

static int open_engine(const char *with)
{
	const struct engine_sqlite_options options = { .path = path, .vfs = with };
	struct err err = { 0 };
	int r = engine_sqlite_open(&suite_loop, &options, &suite_engine, &err);

	if (r)
		note("%s", err.text);
	return r;
}

static void remove_file(void)
{
	static const char *const behind[] = { "", "-wal", "-mark" };

	for (size_t i = 0; i < sizeof(behind) / sizeof(behind[0]); i++) {
		char name[80];

		(void)snprintf(name, sizeof(name), "%s%s", path, behind[i]);
		(void)unlink(name); /* it may not be there */
	}
}

static struct engine_health health(void)
{
	struct engine_health ret;

	suite_engine->ops->health(suite_engine, &ret);
	return ret;
}

/* ---------------------------------------------------------------------- tests */

static void test_durable(void)
{
	is_int(open_engine(NULL), 0, "opened again");
	suite_is("last", "1", "what was answered last is there");
	suite_is("t/a", "2", "and what was answered before");
	suite_close();
}

static void test_locked(void)
{
	int status = -1;
	pid_t pid;

	is_int(open_engine(NULL), 0, "opened");
	pid = fork();
	if (!pid)
		_exit(open_engine(NULL) == -EBUSY ? 0 : 1);
	ok(pid > 0 && waitpid(pid, &status, 0) == pid && !status, "a second process is refused");
	suite_close();
}

static void test_foreign(void)
{
	sqlite3 *db = NULL;
	int fd;

	remove_file();
	ok(sqlite3_open(path, &db) == SQLITE_OK &&
	   sqlite3_exec(db, "CREATE TABLE theirs (x)", NULL, NULL, NULL) == SQLITE_OK, "a file of somebody else");
	sqlite3_close(db);
	is_int(open_engine(NULL), -EINVAL, "is refused");
	ok(sqlite3_open(path, &db) == SQLITE_OK &&
	   sqlite3_exec(db, "SELECT * FROM theirs", NULL, NULL, NULL) == SQLITE_OK, "and left as it is");
	sqlite3_close(db);
	remove_file();
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	ok(fd >= 0 && write(fd, "this is no database at all, just a text of some length\n", 55) == 55, "a text");
	close(fd);
	is_int(open_engine(NULL), -EINVAL, "is refused, too");
	remove_file();
}

static void test_damaged(void)
{
	char noise[4096];
	int fd;

	is_int(open_engine(NULL), 0, "a new file");
	for (int i = 0; i < 200; i++) {
		char key[32];

		(void)snprintf(key, sizeof(key), "key/%03d", i);
		(void)suite_put(key, "a value of some thirty bytes");
	}
	suite_close();
	memset(noise, 0x5a, sizeof(noise));
	fd = open(path, O_WRONLY);
	ok(fd >= 0 && pwrite(fd, noise, sizeof(noise), 8192) == sizeof(noise), "a page is overwritten");
	close(fd);
	is_int(open_engine(NULL), -EINVAL, "which is found when it is opened");
	remove_file();
}

static void test_full(void)
{
	struct suite_answer answer;

	is_int(open_engine("failing"), 0, "a disk");
	(void)suite_put("f/a", "1");
	fail_writes = SQLITE_FULL;
	answer = suite_put("f/a", "2");
	ok(answer.outcome == ENGINE_REFUSED || answer.outcome == ENGINE_UNKNOWN, "is full: %s", answer.why);
	ok(health().full && !health().serving && strstr(health().text, "no space"), "the health says so");
	fail_writes = 0;
	suite_is("f/a", "1", "what was there is there");
	is_int((int)suite_put("f/a", "3").outcome, ENGINE_COMMITTED, "there is space again");
	ok(!health().full && health().serving && !health().text[0], "and the health says that");
	suite_close();
	remove_file();
}

static struct mp_str or_nothing(const char *value)
{
	const struct mp_str nothing = { 0 };

	return value ? slice_of(value) : nothing;
}

/* The key has that value, or is absent when it is NULL, for a comparison, too. */
static void compares(const char *value, const char *name)
{
	struct engine_compare compare = { .key = MP_LIT("c/a"), .value = or_nothing(value) };
	const struct engine_txn txn = { .compares = &compare, .n_compares = 1 };

	is_int((int)suite_commit(&txn).outcome, ENGINE_COMMITTED, "%s", name);
	compare.value = or_nothing(value ? NULL : "");
	is_int((int)suite_commit(&txn).outcome, ENGINE_FAILED, "and nothing else");
}

static void change(enum engine_op_kind kind, struct mp_str end)
{
	const struct engine_op op = { kind, MP_LIT("c/a"), end, false };

	is_int((int)suite_commit(&(struct engine_txn){ .ops = &op, .n_ops = 1 }).outcome, ENGINE_COMMITTED, "changed");
}

/* Values that were compared are remembered: never longer than they hold. */
static void test_compared(void)
{
	char large[2000] = "";

	is_int(open_engine("failing"), 0, "a disk");
	compares(NULL, "nothing is there");
	(void)suite_put("c/a", "1");
	compares("1", "what was written");
	(void)suite_put("c/a", "");
	compares("", "an empty value");
	change(ENGINE_DELETE, (struct mp_str){ 0 });
	compares(NULL, "nothing again");
	memset(large, 'l', sizeof(large) - 1);
	(void)suite_put("c/a", large);
	compares(large, "a large one");
	(void)suite_put("c/a", "2");
	compares("2", "a small one again");
	change(ENGINE_DELETE_RANGE, MP_LIT("c/b"));
	compares(NULL, "nothing of the range");
	(void)suite_put("c/a", "3");
	compares("3", "what was written again");
	fail_writes = SQLITE_FULL;
	is_int((int)suite_put("c/a", "4").outcome, ENGINE_REFUSED, "the disk is full");
	fail_writes = 0;
	compares("3", "what was there before");
	fail_syncs = SQLITE_IOERR_FSYNC;
	is_int((int)suite_put("c/a", "5").outcome, ENGINE_UNKNOWN, "its sync fails");
	fail_syncs = 0;
	compares(suite_get("c/a").value[0], "what is found then");
	suite_close();
	remove_file();
}

/* A file system that turns read-only: nothing is in doubt, and reads go on. */
static void test_read_only(void)
{
	struct suite_answer answer;

	is_int(open_engine("failing"), 0, "a disk");
	(void)suite_put("r/a", "1");
	fail_writes = SQLITE_IOERR_WRITE;
	fail_errno = EROFS;
	answer = suite_put("r/a", "2");
	is_int((int)answer.outcome, ENGINE_REFUSED, "takes no writes any more: %s", answer.why);
	ok(health().read_only && strstr(health().text, "mount it for writing"), "the health says so, and what to do");
	suite_is("r/a", "1", "reads go on");
	is_int((int)suite_put("r/b", "1").outcome, ENGINE_REFUSED, "and nothing is written");
	ok(health().read_only && health().serving == false, "which is still told");
	fail_writes = fail_errno = 0;
	is_int((int)suite_put("r/a", "3").outcome, ENGINE_COMMITTED, "it takes writes again");
	ok(!health().read_only && health().serving && !health().text[0], "and the health says that");
	suite_is("r/a", "3", "what was put is there");
	suite_close();
	remove_file();
}

/* After a COMMIT that failed nobody knows; nothing else is said until the file was read anew. */
static void test_doubt(void)
{
	struct suite_answer answer;

	is_int(open_engine("failing"), 0, "a disk");
	(void)suite_put("d/a", "1");
	fail_syncs = SQLITE_IOERR_FSYNC;
	answer = suite_put("d/a", "2");
	is_int((int)answer.outcome, ENGINE_UNKNOWN, "whose sync fails: unknown: %s", answer.why);
	answer = suite_get("d/a");
	is_int((int)answer.outcome, ENGINE_UNKNOWN, "nothing is read before the disk is well");
	answer = suite_put("d/a", "3");
	is_int((int)answer.outcome, ENGINE_REFUSED, "nor is anything begun");
	fail_syncs = 0;
	answer = suite_get("d/a");
	is_int((int)answer.outcome, ENGINE_COMMITTED, "then it is read");
	ok(answer.n == 1 && (!strcmp(answer.value[0], "1") || !strcmp(answer.value[0], "2")),
	   "and tells which it is: %s", answer.value[0]);
	is_int((int)suite_put("d/a", "4").outcome, ENGINE_COMMITTED, "it goes on");
	suite_is("d/a", "4", "with what was put");
	suite_close();
	remove_file();
}

/* The map is that of another start: what happened meanwhile is not kept. */
static void test_watch_before(void)
{
	struct suite_watch watch = { .text = "" };
	const struct engine_watch calls = { suite_events, suite_ended, &watch };

	is_int(open_engine(NULL), 0, "opened");
	(void)suite_put("a", "1");
	(void)suite_engine->ops->watch(suite_engine, MP_LIT("a"), MP_LIT("b"), 1, &calls);
	(void)suite_put("a", "2");
	is_str(watch.text, "!", "a watch of the past ends, and is told nothing else");
	ok(watch.compacted == 2, "with the revision to read at");
	suite_close();
}

int main(void)
{
	if (!mkdtemp(folder) || suite_uv_init())
		return 1;
	(void)snprintf(path, sizeof(path), "%s/rows", folder);
	vfs_register();
	is_int(open_engine(NULL), 0, "the embedded engine");
	suite_run(suite_engine);
	test_durable();
	test_locked();
	test_foreign();
	test_damaged();
	test_full();
	test_read_only();
	test_compared();
	test_doubt();
	test_watch_before();
	remove_file();
	(void)rmdir(folder);
	suite_uv_fini();
	return done();
}
