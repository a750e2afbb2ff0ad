/* SPDX-License-Identifier: Apache-2.0 */
/* Where managed etcd will be reached; see managed_priv.h. */
#include <stdio.h>

#include "aggregator/etcd/managed_priv.h"
#include "aggregator/etcd/ports.h"

#define DEFAULT_ADDRESS "127.0.0.1"

/* The option, or what it was, or what is free. */
static int choose_port(int given, const char *was, const char *bind, int except)
{
	int port = etcd_url_port(was);

	if (given)
		return given;
	return port && port != except && port_is_free(bind, port) ? port : port_draw(bind, except);
}

bool managed_choose(struct managed *m)
{
	const struct managed_options *o = &m->options;
	char address[ADDRESS_SIZE] = DEFAULT_ADDRESS;
	const char *bind;
	int peer, client;

	m->chosen = true;
	if (m->id.state == IDENTITY_CLIENT)
		return true;
	if (o->address)
		(void)snprintf(address, sizeof(address), "%s", o->address);
	else if (m->id.peer[0])
		(void)etcd_url_address(m->id.peer, address, sizeof(address)); /* else the default */
	bind = etcd_bind_address(address);
	peer = choose_port(o->peer_port, m->id.peer, bind, o->client_port);
	client = choose_port(o->client_port, m->id.client, bind, peer);
	if (peer && client && etcd_url(m->peer, sizeof(m->peer), o->cert != NULL, address, peer) &&
	    etcd_url(m->client, sizeof(m->client), o->cert != NULL, address, client))
		return true;
	managed_fail(m, "no ports for etcd at %s: is it an address of this machine?", address);
	return false;
}
