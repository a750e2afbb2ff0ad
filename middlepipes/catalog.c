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

#define SHARED_MAX 64 /* `.so` files */
#define NAMES_MAX 128 /* built-in filters, and halves */

/* What a `.so` that was loaded holds: one of the two at the least. */
struct shared {
	const struct mp_filter *filter;   /* NULL: none */
	const struct mp_aggregator *half; /* likewise */
};

struct catalog {
	struct chain_catalog chain; /* first, so that find() gets back to us */
	struct catalog_options options; /* folder is our own copy */
	struct shared shared[SHARED_MAX]; /* loaded so far */
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

static bool half_complete(const struct mp_aggregator *h)
{
	return h->size >= MP_AGGREGATOR_1_0 && h->name && h->rules && h->options && h->init &&
	       h->fini && h->apply && h->check && h->snapshot && h->restore;
}

int catalog_check_half(const struct mp_aggregator *h, const char *name, struct err *err)
{
	if (h->abi_major != MP_AGGREGATOR_ABI_MAJOR || h->abi_minor > MP_AGGREGATOR_ABI_MINOR)
		return err_set(err, -EINVAL, "half %s needs ABI %u.%u, we have %u.%u", name,
			       h->abi_major, h->abi_minor, MP_AGGREGATOR_ABI_MAJOR,
			       MP_AGGREGATOR_ABI_MINOR);
	if (!half_complete(h))
		return err_set(err, -EINVAL, "half %s has an incomplete table (%u of %zu bytes)",
			       name, h->size, MP_AGGREGATOR_1_0);
	if (strcmp(h->name, name))
		return err_set(err, -EINVAL, "half %s calls itself %s", name, h->name);
	return 0;
}

/* ------------------------------------------------------------------ .so files */

/* The tables that fit; of the others refused() is told. */
static struct shared shared_open(struct catalog *c, const char *path, const char *type)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	struct shared found = { NULL, NULL };
	struct err err = { 0 };

	if (!handle) {
		c->options.refused(path, dlerror());
		return found;
	}
	found.filter = dlsym(handle, MP_FILTER_SYMBOL);
	found.half = dlsym(handle, MP_AGGREGATOR_SYMBOL);
	if (!found.filter && !found.half)
		(void)err_set(&err, -EINVAL, "%s has neither symbol %s nor %s", path,
			      MP_FILTER_SYMBOL, MP_AGGREGATOR_SYMBOL);
	if (found.filter && catalog_check(found.filter, type, &err))
		found.filter = NULL;
	if (err.text[0])
		c->options.refused(path, err.text);
	if (found.half && catalog_check_half(found.half, type, &err)) {
		found.half = NULL;
		c->options.refused(path, err.text);
	}
	if (!found.filter && !found.half)
		dlclose(handle); /* else it stays: units point into it */
	return found;
}

/* The file is there: do we take what it holds? */
static const struct shared *shared_take(struct catalog *c, const char *path, const char *type)
{
	struct shared found;
	struct err err = { 0 };

	if (!type_ok(type))
		err_set(&err, -EINVAL, "a type is [a-z][a-z0-9-]*, at most %d bytes", CHAIN_NAME_MAX - 1);
	else if (c->n_shared == SHARED_MAX)
		err_set(&err, -ENOSPC, "more than %d files from the folder", SHARED_MAX);
	if (err.text[0]) {
		c->options.refused(path, err.text);
		return NULL;
	}
	found = shared_open(c, path, type);
	if (!found.filter && !found.half)
		return NULL;
	c->shared[c->n_shared] = found;
	return &c->shared[c->n_shared++];
}

static const struct shared *shared_known(const struct catalog *c, const char *type)
{
	for (unsigned i = 0; i < c->n_shared; i++) {
		const struct shared *s = &c->shared[i];

		if (!strcmp(s->filter ? s->filter->name : s->half->name, type))
			return s;
	}
	return NULL;
}

/* What the `.so` of that name holds. */
static struct shared shared_find(struct catalog *c, const char *type)
{
	const struct shared *s = shared_known(c, type);
	char *path = NULL;

	/* A type is no path: nothing outside of the folder is looked at. */
	if (!s && c->options.folder && !strchr(type, '/') &&
	    asprintf(&path, "%s/%s.so", c->options.folder, type) >= 0) {
		if (access(path, F_OK) == 0)
			s = shared_take(c, path, type);
		free(path);
	}
	return s ? *s : (struct shared){ NULL, NULL };
}

/* -------------------------------------------------------------------- finding */

static const struct mp_filter *find(const struct chain_catalog *chain, const char *type)
{
	struct catalog *c = (struct catalog *)(uintptr_t)chain;
	bool shared_first = c->options.prefer_shared;
	const struct mp_filter *f = shared_first ? shared_find(c, type).filter : registry_find(type);

	if (f)
		return f;
	return shared_first ? registry_find(type) : shared_find(c, type).filter;
}

const struct mp_filter *catalog_find(const struct catalog *c, const char *type)
{
	return find(&c->chain, type);
}

const struct mp_aggregator *catalog_find_half(struct catalog *c, const char *name)
{
	const struct mp_aggregator *built_in = registry_find_half(name), *h;

	if (built_in && !c->options.prefer_shared)
		return built_in;
	h = shared_find(c, name).half;
	return h ? h : built_in;
}

static int is_so(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return len > 3 && !strcmp(entry->d_name + len - 3, ".so");
}

/* Loads what lies in the folder, by name; of what is neither refused() is told. */
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

const struct mp_filter **catalog_all(struct catalog *c)
{
	const struct mp_filter **all = calloc(NAMES_MAX + SHARED_MAX + 1, sizeof(*all));
	size_t n = 0;

	if (!all)
		return NULL;
	shared_load_all(c);
	for (size_t i = 0; c->names[i]; i++) {
		const struct shared *s = shared_known(c, c->names[i]);

		if (!c->options.prefer_shared || !s || !s->filter)
			all[n++] = registry[i];
	}
	for (unsigned i = 0; i < c->n_shared; i++) {
		const struct mp_filter *f = c->shared[i].filter;

		if (f && (c->options.prefer_shared || !registry_find(f->name)))
			all[n++] = f;
	}
	return all;
}

const struct mp_aggregator **catalog_all_halves(struct catalog *c)
{
	const struct mp_aggregator **all = calloc(NAMES_MAX + SHARED_MAX + 1, sizeof(*all));
	size_t n = 0;

	if (!all)
		return NULL;
	shared_load_all(c);
	for (size_t i = 0; registry_halves[i] && i < NAMES_MAX; i++) {
		const struct shared *s = shared_known(c, registry_halves[i]->name);

		if (!c->options.prefer_shared || !s || !s->half)
			all[n++] = registry_halves[i];
	}
	for (unsigned i = 0; i < c->n_shared; i++) {
		const struct mp_aggregator *h = c->shared[i].half;

		if (h && (c->options.prefer_shared || !registry_find_half(h->name)))
			all[n++] = h;
	}
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
