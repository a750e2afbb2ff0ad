/* SPDX-License-Identifier: Apache-2.0 */
/* See catalog.h. */
#include "middlepipes/catalog.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "middlepipes/registry.h"

#define SHARED_MAX 64 /* `.so` filters */
#define NAMES_MAX 128 /* built-in filters */

struct catalog {
	struct chain_catalog chain; /* first, so that find() gets back to us */
	struct catalog_options options; /* folder is our own copy */
	const struct mp_filter *shared[SHARED_MAX]; /* loaded so far */
	unsigned n_shared;
	const char *names[NAMES_MAX]; /* of the built-in ones, for suggestions */
};

/* A table of 1.0 is whole; members that come later are read only where its size covers them. */
static bool table_complete(const struct mp_filter *f)
{
	return f->size >= MP_FILTER_1_0 && f->name && f->options && f->load && f->unload;
}

static bool type_ok(const char *type)
{
	size_t n = strspn(type, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return n && !type[n] && n < CHAIN_NAME_MAX && type[0] >= 'a' && type[0] <= 'z';
}

int catalog_check(const struct mp_filter *f, const char *type, struct err *err)
{
	if (f->abi_major != MP_ABI_MAJOR)
		return err_set(err, -EINVAL, "filter %s has ABI %u.%u, not %u.%u", type,
			       f->abi_major, f->abi_minor, MP_ABI_MAJOR, MP_ABI_MINOR);
	if (f->abi_minor > MP_ABI_MINOR)
		return err_set(err, -EINVAL, "filter %s needs ABI %u.%u, we have %u.%u", type, f->abi_major, f->abi_minor, MP_ABI_MAJOR, MP_ABI_MINOR);
	if (!table_complete(f))
		return err_set(err, -EINVAL, "filter %s has an incomplete table (%u of %zu bytes)",
			       type, f->size, MP_FILTER_1_0);
	if (strcmp(f->name, type))
		return err_set(err, -EINVAL, "filter %s calls itself %s", type, f->name);
	if (f->level != MP_LEVEL_REQUEST)
		return err_set(err, -EINVAL, "filter %s is of level %u, not a request filter", type,
			       f->level);
	return 0;
}

static const struct mp_filter *shared_open(const char *path, const char *type, struct err *err)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	const struct mp_filter *f;

	if (!handle) {
		err_set(err, -EINVAL, "%s", dlerror());
		return NULL;
	}
	f = dlsym(handle, MP_FILTER_SYMBOL);
	if (!f)
		err_set(err, -EINVAL, "%s has no symbol %s", path, MP_FILTER_SYMBOL);
	else if (catalog_check(f, type, err) == 0)
		return f; /* stays loaded: units point into it */
	dlclose(handle);
	return NULL;
}

/* The file is there: is it a filter that we take? */
static const struct mp_filter *shared_take(struct catalog *c, const char *path, const char *type)
{
	struct err err = { 0 };
	const struct mp_filter *f = NULL;

	if (!type_ok(type))
		err_set(&err, -EINVAL, "a type is [a-z][a-z0-9-]*, at most %d bytes", CHAIN_NAME_MAX - 1);
	else if (c->n_shared == SHARED_MAX)
		err_set(&err, -ENOSPC, "more than %d filters from the folder", SHARED_MAX);
	else
		f = shared_open(path, type, &err);
	if (f)
		c->shared[c->n_shared++] = f;
	else
		c->options.refused(path, err.text);
	return f;
}

static const struct mp_filter *shared_find(struct catalog *c, const char *type)
{
	const struct mp_filter *f = NULL;
	char *path = NULL;

	for (unsigned i = 0; i < c->n_shared; i++)
		if (!strcmp(c->shared[i]->name, type))
			return c->shared[i];
	/* A type is no path: nothing outside of the folder is looked at. */
	if (!c->options.folder || strchr(type, '/') ||
	    asprintf(&path, "%s/%s.so", c->options.folder, type) < 0)
		return NULL;
	if (access(path, F_OK) == 0)
		f = shared_take(c, path, type);
	free(path);
	return f;
}

static const struct mp_filter *find(const struct chain_catalog *chain, const char *type)
{
	struct catalog *c = (struct catalog *)(uintptr_t)chain;
	bool shared_first = c->options.prefer_shared;
	const struct mp_filter *f = shared_first ? shared_find(c, type) : registry_find(type);

	if (f)
		return f;
	return shared_first ? registry_find(type) : shared_find(c, type);
}

const struct mp_filter *catalog_find(const struct catalog *c, const char *type)
{
	return find(&c->chain, type);
}

static int is_so(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return len > 3 && !strcmp(entry->d_name + len - 3, ".so");
}

/* Loads what lies in the folder, by name; of what is no filter refused() is told. */
static void shared_load_all(struct catalog *c)
{
	struct dirent **entries = NULL;
	int n = c->options.folder ? scandir(c->options.folder, &entries, is_so, alphasort) : 0;

	for (int i = 0; i < n; i++) {
		char *type = entries[i]->d_name;

		type[strlen(type) - 3] = '\0';
		(void)shared_find(c, type);
		free(entries[i]);
	}
	free(entries);
}

static bool is_shared(const struct catalog *c, const char *type)
{
	for (unsigned i = 0; i < c->n_shared; i++)
		if (!strcmp(c->shared[i]->name, type))
			return true;
	return false;
}

const struct mp_filter **catalog_all(struct catalog *c)
{
	const struct mp_filter **all = calloc(NAMES_MAX + SHARED_MAX + 1, sizeof(*all));
	size_t n = 0;

	if (!all)
		return NULL;
	shared_load_all(c);
	for (size_t i = 0; c->names[i]; i++)
		if (!c->options.prefer_shared || !is_shared(c, c->names[i]))
			all[n++] = registry[i];
	for (unsigned i = 0; i < c->n_shared; i++)
		if (c->options.prefer_shared || !registry_find(c->shared[i]->name))
			all[n++] = c->shared[i];
	return all;
}

static int folder_check(const char *folder, struct err *err)
{
	DIR *dir = folder ? opendir(folder) : NULL;

	if (folder && !dir)
		return err_set(err, -errno, "filter folder %s: %s", folder, strerror(errno));
	if (dir)
		closedir(dir);
	return 0;
}

int catalog_new(const struct catalog_options *options, struct catalog **ret, struct err *err)
{
	struct catalog *c;
	int r = folder_check(options->folder, err);

	if (r < 0)
		return r;
	c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; registry[i] && i < NAMES_MAX - 1; i++)
		c->names[i] = registry[i]->name;
	c->chain.find = find;
	c->chain.names = c->names;
	c->options = *options;
	c->options.folder = options->folder ? strdup(options->folder) : NULL;
	if (options->folder && !c->options.folder) {
		catalog_free(c);
		return err_set(err, -ENOMEM, "out of memory");
	}
	*ret = c;
	return 0;
}

void catalog_free(struct catalog *c)
{
	if (!c)
		return;
	free((char *)(uintptr_t)c->options.folder);
	free(c);
}

const struct chain_catalog *catalog_chain(const struct catalog *c)
{
	return &c->chain;
}
