/* SPDX-License-Identifier: Apache-2.0 */
/* scheduler/keep.c: the last text survives the process that put it there. */
#include "scheduler/keep.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/chain.h"
#include "tests/lib/tap.h"

static void put_elsewhere(struct keep *keep, const char *text)
{
	pid_t pid = fork();

	if (!pid) {
		keep_put(keep, text);
		_exit(0);
	}
	(void)waitpid(pid, NULL, 0);
}

int main(void)
{
	static const char *const texts[] = { "one", "two, longer", "3" };
	struct keep *keep = keep_new();
	char *big = malloc(CHAIN_TEXT_MAX + 2);

	if (!keep || !big)
		return 1;
	ok(!keep_get(keep), "nothing is kept at first");
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		put_elsewhere(keep, texts[i]);
		is_str(keep_get(keep), texts[i], "what a dead process kept last");
	}
	memset(big, 'x', CHAIN_TEXT_MAX + 1);
	big[CHAIN_TEXT_MAX + 1] = '\0';
	keep_put(keep, big);
	is_str(keep_get(keep), "3", "a text that is too long is not kept");
	big[CHAIN_TEXT_MAX] = '\0';
	keep_put(keep, big);
	ok(!strcmp(keep_get(keep), big), "the longest one is");
	free(big);
	return done();
}
