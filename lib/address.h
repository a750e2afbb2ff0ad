/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Literal addresses of hosts.
 *
 * Pure; any thread.  Names are not looked up.
 */
#ifndef LIB_ADDRESS_H
#define LIB_ADDRESS_H

#include <stdbool.h>

/* Is it an IPv4 or IPv6 address, without brackets, that only this machine reaches?  A name is not, whatever it stands for. */
bool address_is_loopback(const char *address);

#endif
