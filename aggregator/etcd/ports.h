/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports for an etcd of our own, and its URLs.  Called at start, before the child is.
 * Whoever is told of a free port does not have it: another may be faster, then
 * etcd ends and the next start draws anew.
 */
#ifndef AGGREGATOR_ETCD_PORTS_H
#define AGGREGATOR_ETCD_PORTS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * May etcd listen there?  address: digits of IPv4 or IPv6 (without brackets); a name
 * stands for all addresses of the machine.
 */
bool port_is_free(const char *address, int port);

/*
 * One that is free, not `except`, and, if there is any, outside of the range from which
 * the kernel gives ports to clients: while etcd is down nobody takes it by chance.
 * 0: there is none.
 */
int port_draw(const char *address, int except);

/* "https://[::1]:2379".  False: it does not fit. */
bool etcd_url(char *out, size_t size, bool tls, const char *address, int port);

/*
 * What etcd binds to for an address that others use: itself when it is one in digits, else all
 * of the machine.
 */
const char *etcd_bind_address(const char *address);

/* Its address, without brackets.  False: it is none that etcd_url() made, or does not fit. */
bool etcd_url_address(const char *url, char *out, size_t size);

/* The port at the end of an URL that etcd_url() made; 0: it has none. */
int etcd_url_port(const char *url);

#endif
