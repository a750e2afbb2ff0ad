/* SPDX-License-Identifier: Apache-2.0 */
/* lib/address.h: what only this machine reaches, and what is no address. */
#include "lib/address.h"

#include "tests/lib/tap.h"

int main(void)
{
	static const char *const here[] = { "127.0.0.1", "127.0.0.2", "127.255.255.255", "::1" };
	static const char *const elsewhere[] = { "10.0.0.1", "128.0.0.1", "0.0.0.0", "::", "::2", "localhost", "[::1]",
						 "127.1", "127.0.0.1 ", "" };

	for (unsigned i = 0; i < sizeof(here) / sizeof(here[0]); i++)
		ok(address_is_loopback(here[i]), "%s", here[i]);
	for (unsigned i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++)
		ok(!address_is_loopback(elsewhere[i]), "not %s", elsewhere[i]);
	return done();
}
