/* SPDX-License-Identifier: Apache-2.0 */
/* See catalog.h. */
#include "scheduler/catalog.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"
#include "middlepipes/registry.h"

#define SHARED_MAX 64 /* `.so` filters */

struct catalog {
	struct chain_catalog chain; /* first, so that find() gets back to us */
	char *folder;               /* NULL: none */
	bool prefer_shared;
	const struct mp_filter *shared[SHARED_MAX]; /* loaded so far */
	unsigned n_shared;
	const char *names[128]; /* of the built-in ones, for suggestions */
};

/* The members up to `load` have been there since 1.0: a table must cover all of that. */
static bool table_complete(const struct mp_filter *f)
{
	return f->size >= sizeof(struct mp_filter) && f->name && f->options && f->load && f->unload;
}

static bool type_ok(const char *type)
{
	size_t n = strspn(type, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return n && !type[n] && n < CHAIN_NAME_MAX && type[0] >= 'a' && type[0] <= 'z';
}

int catalog_check(const struct mp_filter *f, const char *type, struct err *err)
{
	if (f->abi_major != MP_ABI_MAJOR)
		return err_set(err, -EINVAL, "filter %s has ABI %u.%u, this scheduler %u.%u", type,
			       f->abi_major, f->abi_minor, MP_ABI_MAJOR, MP_ABI_MINOR);
	if (f->abi_minor > MP_ABI_MINOR)
		return err_set(err, -EINVAL, "filter %s needs ABI %u.%u, this scheduler has %u.%u",
			       type, f->abi_major, f->abi_minor, MP_ABI_MAJOR, MP_ABI_MINOR);
	if (!table_complete(f))
		return err_set(err, -EINVAL, "filter %s has an incomplete table (%u of %zu bytes)",
			       type, f->size, sizeof(*f));
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

static const struct mp_filter *shared_find(struct catalog *c, const char *type)
{
	struct err err = { 0 };
	const struct mp_filter *f = NULL;
	char *path = NULL;

	for (unsigned i = 0; i < c->n_shared; i++)
		if (!strcmp(c->shared[i]->name, type))
			return c->shared[i];
	if (!c->folder || !type_ok(type) || c->n_shared == SHARED_MAX ||
	    asprintf(&path, "%s/%s.so", c->folder, type) < 0)
		return NULL;
	if (access(path, F_OK) == 0) {
		f = shared_open(path, type, &err);
		if (f)
			c->shared[c->n_shared++] = f;
		else
			log_error("filter refused", "path=%s reason=%s", LOG_STR(path),
				  LOG_STR(err.text));
	}
	free(path);
	return f;
}

static const struct mp_filter *find(const struct chain_catalog *chain, const char *type)
{
	struct catalog *c = (struct catalog *)(uintptr_t)chain;
	const struct mp_filter *f = c->prefer_shared ? shared_find(c, type) : registry_find(type);

	if (f)
		return f;
	return c->prefer_shared ? registry_find(type) : shared_find(c, type);
}

int catalog_new(const char *folder, bool prefer_shared, struct catalog **ret, struct err *err)
{
	struct catalog *c = calloc(1, sizeof(*c));

	if (!c)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; registry[i] && i < sizeof(c->names) / sizeof(c->names[0]) - 1; i++)
		c->names[i] = registry[i]->name;
	c->chain.find = find;
	c->chain.names = c->names;
	c->prefer_shared = prefer_shared;
	c->folder = folder ? strdup(folder) : NULL;
	if (folder && !c->folder) {
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
	free(c->folder);
	free(c);
}

const struct chain_catalog *catalog_chain(const struct catalog *c)
{
	return &c->chain;
}
