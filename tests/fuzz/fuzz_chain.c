/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chain files of any bytes: chains_parse() must refuse with a message or give
 * something that holds together.  With FUZZ_PLANT the target itself has a bug
 * in what it does with a right file, to show that it gets that far.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/chain.h"
#include "lib/slice.h"
#include "tests/fuzz/replay.h"
#include "tests/lib/sample_filter.h"

static const char *const names[] = {"plain", "sample", NULL};

static const struct mp_filter *find(const struct chain_catalog *catalog, const char *type)
{
	(void)catalog;
	if (!strcmp(type, "sample"))
		return &sample;
	return strcmp(type, "plain") ? NULL : &plain;
}

static const struct chain_catalog catalog = {find, names};

#ifdef FUZZ_PLANT
/* The planted bug: a name of up to CHAIN_NAME_MAX bytes is copied into less. */
static void plant(const struct chain_binding *binding)
{
	char *copy = malloc(8);

	for (size_t i = 0; copy && binding->middlepipe[i]; i++)
		((char *volatile)copy)[i] = binding->middlepipe[i];
	free(copy);
}
#else
static void plant(const struct chain_binding *binding)
{
	(void)binding; /* no bug in an honest build */
}
#endif

static void check_binding(const struct chain_binding *binding)
{
	FUZZ_CHECK(binding->filter && binding->middlepipe[0]);
	FUZZ_CHECK(binding->n_values == 0 || binding->filter == &sample);
	for (size_t i = 0; i < binding->n_prefixes; i++) {
		struct mp_str prefix = binding->prefixes[i].name;

		FUZZ_CHECK(prefix.len > 1 && prefix.ptr[0] == '/');
		FUZZ_CHECK(slice_eq(chain_binding_prefix(binding, prefix), prefix));
	}
	plant(binding);
}

static void check_matches(const struct chains *chains, const struct chain_destination *destination)
{
	for (size_t i = 0; i < destination->n_matches; i++) {
		const struct lane_key *key = &destination->matches[i];
		struct mp_str host = slice_make(key->text, key->host_size);
		uint64_t port = 1;
		size_t match = 0;

		if (key->size > key->host_size)
			FUZZ_CHECK(!slice_to_u64(slice_make(key->text + key->host_size + 1,
							    key->size - key->host_size - 1),
						 &port));
		FUZZ_CHECK(chains_find(chains, host, (uint32_t)port, &match) == destination);
		FUZZ_CHECK(match == i);
	}
}

static void check_destination(const struct chains *chains,
			      const struct chain_destination *destination)
{
	size_t n = destination->n_prefixes;

	FUZZ_CHECK(n >= 1 && n <= CHAIN_PREFIXES_MAX && !destination->prefixes[n - 1].len);
	FUZZ_CHECK(destination->n_bindings <= MP_CHAIN_MAX);
	for (size_t i = 0; i < n; i++)
		FUZZ_CHECK(chain_prefix_find(destination, destination->prefixes[i]) == i);
	for (size_t i = 0; i < destination->n_bindings; i++)
		check_binding(&destination->bindings[i]);
	check_matches(chains, destination);
}

/* The canonical text of a file is a file, with the same canonical text. */
static void check_identity(const struct chains *chains)
{
	struct chains *again = NULL;
	struct json_errs errs;

	json_errs_init(&errs, 20);
	FUZZ_CHECK(!chains_parse(slice_of(chains_identity(chains)), &catalog, &again, &errs));
	FUZZ_CHECK(!strcmp(chains_identity(again), chains_identity(chains)));
	chains_free(again);
	json_errs_fini(&errs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct chains *chains = NULL;
	struct json_errs errs;
	size_t n = 0;

	json_errs_init(&errs, 20);
	if (chains_parse(slice_make(data, size), &catalog, &chains, &errs)) {
		FUZZ_CHECK(errs.count && !chains);
	} else {
		const struct chain_destination *destinations = chains_destinations(chains, &n);

		FUZZ_CHECK(!errs.count && chains_epoch(chains) >= 1);
		for (size_t i = 0; i < n; i++)
			check_destination(chains, &destinations[i]);
		check_identity(chains);
	}
	chains_free(chains);
	json_errs_fini(&errs);
	return 0;
}
