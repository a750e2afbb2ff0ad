/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every fuzz target starts with.  Under libFuzzer it supplies main();
 * without it this header does, and runs the files (or the files in the
 * folders) that are named: `make fuzz-corpus`, coverage, and a debugger.
 */
#ifndef TESTS_FUZZ_REPLAY_H
#define TESTS_FUZZ_REPLAY_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that must hold for every input; libFuzzer keeps the input. */
#define FUZZ_CHECK(cond) ((cond) ? (void)0 : __builtin_trap())

#ifndef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLAY_MAX ((size_t)16 << 20) /* bytes of an input */

/* The input is copied to a block of its size, so that ASan sees its end. */
static int replay_file(const char *path, size_t *count)
{
	FILE *file = fopen(path, "rb");
	uint8_t *all = malloc(REPLAY_MAX), *data = NULL;
	size_t size = file && all ? fread(all, 1, REPLAY_MAX, file) : 0;
	int rc = !file || !all || ferror(file) ? -1 : 0;

	if (!rc)
		data = malloc(size ? size : 1);
	if (data) {
		if (size)
			memcpy(data, all, size);
		LLVMFuzzerTestOneInput(data, size);
		(*count)++;
	}
	free(data);
	free(all);
	if (file)
		fclose(file);
	if (rc)
		perror(path);
	return rc;
}

static int replay(const char *path, size_t *count)
{
	DIR *folder = opendir(path);
	struct dirent *entry;
	char inner[4096];
	int rc = 0;

	if (!folder)
		return replay_file(path, count);
	while (!rc && (entry = readdir(folder))) {
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(inner, sizeof(inner), "%s/%s", path, entry->d_name);
		rc = replay_file(inner, count);
	}
	closedir(folder);
	return rc;
}

int main(int argc, char **argv)
{
	size_t count = 0;

	for (int i = 1; i < argc; i++) {
		if (replay(argv[i], &count))
			return 1;
	}
	printf("%s: %zu inputs\n", argv[0], count);
	return 0;
}

#endif
#endif
