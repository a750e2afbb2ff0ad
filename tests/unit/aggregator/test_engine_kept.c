/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was acknowledged and is not there any more: the embedded engine says so, and serves
 * nothing until somebody accepts that loss (aggregator/rows/engine/sqlite_kept.h).
 *
 * The files are those of a process that was killed (a copy of them while the engine has them
 * open), or of a power failure (the same with a mark of some time before, or none); then each is
 * cut, has bits turned, is gone, or is that of another time.  No damage of the log may be
 * served, and nothing that a sound disk can leave behind may be refused: that is test_engine_faulty's, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aggregator/rows/engine/sqlite.h"
#include "tests/unit/aggregator/engine_suite.h"

#define PUTS 10
#define HEADER 32
#define FRAME (24 + 4096)
#define STEP 211 /* bytes from one to the next that is damaged in a page; a prime */

static char folder[] = "/tmp/test_engine_kept.XXXXXX";
static char path[64];
static char said[256]; /* why it was not opened */

enum { DATA, LOG, MARK, PARTS };
static const char *const names[PARTS] = { "", "-wal", "-mark" };

/* The files at some time; size 0: it is not there, or empty. */
struct image {
	char *bytes[PARTS];
	size_t size[PARTS];
};

/* ------------------------------------------------------------------------ files */

static const char *name_of(int part)
{
	static char name[80];

	(void)snprintf(name, sizeof(name), "%s%s", path, names[part]);
	return name;
}

static void save_part(struct image *to, int part)
{
	FILE *file = fopen(name_of(part), "rb");
	struct stat st;

	to->bytes[part] = NULL;
	to->size[part] = 0;
	if (!file || fstat(fileno(file), &st) < 0)
		return;
	to->bytes[part] = malloc((size_t)st.st_size + 1);
	to->size[part] = to->bytes[part] ? fread(to->bytes[part], 1, (size_t)st.st_size, file) : 0;
	(void)fclose(file);
}

static struct image save(void)
{
	struct image ret;

	for (int i = 0; i < PARTS; i++)
		save_part(&ret, i);
	return ret;
}

static void forget(struct image *image)
{
	for (int i = 0; i < PARTS; i++)
		free(image->bytes[i]);
}

static void put_part(const struct image *from, int part, size_t size)
{
	FILE *file;

	(void)unlink(name_of(part)); /* it may not be there */
	if (!size)
		return;
	file = fopen(name_of(part), "wb");
	if (!file || fwrite(from->bytes[part], 1, size, file) != size || fclose(file))
		ok(false, "%s is written", name_of(part));
}

static void restore(const struct image *image)
{
	for (int i = 0; i < PARTS; i++)
		put_part(image, i, image->size[i]);
}

/* ----------------------------------------------------------------------- engine */

static int open_with(const char *accept)
{
	const struct engine_sqlite_options options = { .path = path, .accept_loss = accept };
	struct err err = { 0 };
	int r = engine_sqlite_open(&suite_loop, &options, &suite_engine, &err);

	(void)snprintf(said, sizeof(said), "%s", r ? err.text : "");
	return r;
}

/* The greatest number that was put and is there, with all before it; -1: something is missing in between. */
static int held(void)
{
	int last = 0;

	for (int i = 1; i <= PUTS * 2; i++) {
		char key[16];

		(void)snprintf(key, sizeof(key), "k/%02d", i);
		if (suite_get(key).n == 0)
			continue;
		if (last != i - 1)
			return -1;
		last = i;
	}
	return last;
}

static void put_some(int from, int to)
{
	static char value[3000];

	memset(value, 'v', sizeof(value) - 1);
	for (int i = from; i <= to; i++) {
		char key[16];

		(void)snprintf(key, sizeof(key), "k/%02d", i);
		if (suite_put(key, value).outcome != ENGINE_COMMITTED)
			ok(false, "put %d", i);
	}
}

/* 0: all is there; 1: it was refused, as missing or damaged; 2: less is there, and nobody says so. */
static int outcome_of(const struct image *image, int want)
{
	int r, have;

	restore(image);
	r = open_with(NULL);
	if (r)
		return r == -EINVAL && said[0] ? 1 : 2;
	have = held();
	suite_close();
	return have == want ? 0 : 2;
}

/* --------------------------------------------------------------------- the log */

/* Each byte of heads and some of each page: one bit of it turned.  How many were served as less. */
static int turn_bits(struct image *image, size_t from, size_t to, int want, int *ret_n)
{
	int silent = 0;

	for (size_t at = from; at < to; at++) {
		size_t in = at < HEADER ? 0 : (at - HEADER) % FRAME;
		char *byte = &image->bytes[LOG][at];
		int how;

		if (in >= 24 && in % STEP)
			continue;
		*byte ^= (char)(1 << (at * 5 % 8));
		how = outcome_of(image, want);
		*byte ^= (char)(1 << (at * 5 % 8));
		silent += how != 1;
		(*ret_n)++;
		if (how != 1)
			note("byte %zu (frame %zu, byte %zu of it): %s", at, (at - HEADER) / FRAME + 1, in,
			     how ? "less was served" : "served");
	}
	return silent;
}

static void test_turned(struct image *image)
{
	int n = 0, silent = turn_bits(image, 0, image->size[LOG], PUTS, &n);

	is_int(silent, 0, "killed: a bit turned anywhere in the log is named: %d places", n);
}

/* Where the frames of the last commit begin. */
static size_t last_commit(const struct image *image)
{
	size_t at = image->size[LOG] - FRAME;

	while (at > HEADER && !memcmp(image->bytes[LOG] + at - FRAME + 4, "\0\0\0", 4))
		at -= FRAME;
	return at;
}

/* Without a mark the frames tell, as long as something was committed behind them. */
static void test_turned_unmarked(struct image *image)
{
	size_t last = last_commit(image), size = image->size[MARK];
	int n = 0, silent;

	image->size[MARK] = 0;
	silent = turn_bits(image, 0, last, PUTS, &n);
	is_int(silent, 0, "no mark: one in any commit but the last is named: %d places", n);
	image->bytes[LOG][last + 100] ^= 1;
	is_int(outcome_of(image, PUTS - 1), 0, "the last one may have been cut by a power failure");
	image->bytes[LOG][last + 100] ^= 1;
	image->size[MARK] = size;
}

static void test_cut(struct image *image)
{
	size_t whole = image->size[LOG];
	int silent = 0, n = 0;

	for (size_t size = 0; size < whole; size += size % 512 ? 1 : 511, n++) {
		image->size[LOG] = size;
		silent += outcome_of(image, PUTS) != 1;
	}
	image->size[LOG] = whole;
	is_int(silent, 0, "a log that is cut or gone is named: %d sizes", n);
}

static void test_zeros(struct image *image)
{
	int silent = 0, n = 0;

	for (size_t at = 0; at + 512 <= image->size[LOG]; at += 512, n++) {
		char sector[512];

		memcpy(sector, image->bytes[LOG] + at, sizeof(sector));
		memset(image->bytes[LOG] + at, 0, sizeof(sector));
		silent += memcmp(sector, image->bytes[LOG] + at, sizeof(sector)) && outcome_of(image, PUTS) != 1;
		memcpy(image->bytes[LOG] + at, sector, sizeof(sector));
	}
	is_int(silent, 0, "and so is a sector of zeros: %d places", n);
}

/* A power failure: the mark is of some time before, the last commit was not synced, older frames lie behind. */
static void test_sound(struct image *image, const struct image *before)
{
	struct image mixed = *image;
	size_t frames = (image->size[LOG] - HEADER) / FRAME;

	is_int(outcome_of(image, PUTS), 0, "what a killed process leaves is opened");
	mixed.bytes[MARK] = before->bytes[MARK];
	mixed.size[MARK] = before->size[MARK];
	is_int(outcome_of(&mixed, PUTS), 0, "with a mark of some time before, too");
	mixed.size[LOG] = HEADER + (frames - 1) * FRAME + 512;
	is_int(outcome_of(&mixed, PUTS - 1), 0, "and without the end of a commit that nobody has heard of");
	mixed.size[MARK] = 0;
	mixed.size[LOG] = image->size[LOG];
	is_int(outcome_of(&mixed, PUTS), 0, "and without a mark");
}

/* -------------------------------------------------------------------- other files */

static void is_missing(const struct image *image, const char *what, const char *name)
{
	ok(outcome_of(image, -2) == 1 && strstr(said, "acknowledged cells are missing") && strstr(said, what) &&
	   strstr(said, path), "%s: %s", name, said);
}

/* The number that the last refusal gave. */
static const char *number_said(void)
{
	static char number[9];
	const char *at = strstr(said, "--accept-loss ");

	(void)snprintf(number, sizeof(number), "%.8s", at ? at + 14 : "");
	return number;
}

static void accept_loss(int want)
{
	char number[9], other[9];

	(void)snprintf(number, sizeof(number), "%s", number_said());
	(void)snprintf(other, sizeof(other), "%s", number);
	other[7] = other[7] == '0' ? '1' : '0';
	is_int(open_with(other), -EINVAL, "another number accepts nothing");
	is_int(open_with(number), 0, "its own does: %s", said);
	ok(engine_sqlite_lost(suite_engine), "which is known");
	is_int(held(), want, "what is left is served");
	put_some(want + 1, want + 1);
	suite_close();
	is_int(open_with(NULL), 0, "from then on it is whole: %s", said);
	ok(!engine_sqlite_lost(suite_engine), "and nothing more is to be accepted");
	is_int(held(), want + 1, "with what was put since");
	suite_close();
}

/* `early`: stopped in order with half of it; `late`: all of it, killed; `ended`: likewise, stopped in order. */
static void test_backups(const struct image *early, const struct image *late, const struct image *ended)
{
	struct image mixed = *late;

	mixed.size[DATA] = 0;
	is_missing(&mixed, "is gone", "no file");
	accept_loss(0);
	mixed = *ended;
	mixed.size[DATA] = 0;
	is_missing(&mixed, "is gone", "no file, when its log was empty");
	accept_loss(0);
	mixed = *ended;
	mixed.bytes[DATA] = early->bytes[DATA];
	mixed.size[DATA] = early->size[DATA];
	is_missing(&mixed, "older file", "an older file");
	accept_loss(PUTS / 2);
	mixed = *late;
	mixed.bytes[DATA] = early->bytes[DATA];
	mixed.size[DATA] = early->size[DATA];
	mixed.size[LOG] = 0;
	is_missing(&mixed, "log is gone", "one without the log");
	mixed = *ended;
	mixed.bytes[LOG] = late->bytes[LOG];
	mixed.size[LOG] = late->size[LOG];
	is_int(outcome_of(&mixed, PUTS + 3), 1, "a file with a log of before: %s", said);
	is_int(outcome_of(early, PUTS / 2), 0, "all files of another time cannot be told");
}

/* After an accepted loss the backup of what was lost is older, too: no count comes twice. */
static void test_lineage(const struct image *early, const struct image *ended)
{
	struct image mixed = *ended;
	struct image now;

	mixed.bytes[DATA] = early->bytes[DATA];
	mixed.size[DATA] = early->size[DATA];
	is_missing(&mixed, "older file", "an older file again");
	accept_loss(PUTS / 2);
	now = save();
	mixed = now;
	mixed.bytes[DATA] = ended->bytes[DATA];
	mixed.size[DATA] = ended->size[DATA];
	is_missing(&mixed, "older file", "the file that was lost, found again");
	forget(&now);
}

int main(void)
{
	struct image early, before, late, ended;

	if (!mkdtemp(folder) || suite_uv_init())
		return 1;
	(void)snprintf(path, sizeof(path), "%s/rows", folder);
	is_int(open_with(NULL), 0, "a new file");
	put_some(1, PUTS / 2);
	suite_close();
	early = save();
	is_int(open_with(NULL), 0, "opened again");
	put_some(PUTS / 2 + 1, PUTS - 3);
	before = save();
	put_some(PUTS - 2, PUTS);
	late = save();
	put_some(PUTS + 1, PUTS + 3);
	suite_close();
	ended = save();
	ok(late.size[LOG] > HEADER + 4 * FRAME && !ended.size[LOG], "a log of %zu bytes, and none after the end",
	   late.size[LOG]);
	test_sound(&late, &before);
	test_turned(&late);
	test_turned_unmarked(&late);
	test_cut(&late);
	test_zeros(&late);
	test_backups(&early, &late, &ended);
	test_lineage(&early, &ended);
	for (int i = 0; i < PARTS; i++)
		(void)unlink(name_of(i)); /* it may not be there */
	(void)rmdir(folder);
	forget(&early);
	forget(&before);
	forget(&late);
	forget(&ended);
	suite_uv_fini();
	return done();
}
