/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS of the front: the certificate that it shows, the CA that it asks
 * clients for, and what is known of a client's certificate.
 *
 * Files are loaded whole into an immutable set, and a set is replaced while the
 * server runs: handshakes take copies, and a client is checked against the set
 * of the moment, again after ten seconds, for certificates expire.
 */
#ifndef AGGREGATOR_HTTP_TLS_H
#define AGGREGATOR_HTTP_TLS_H

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <time.h>

#include "lib/buf.h"
#include "lib/err.h"

#define TLS_OUS 8 /* of a certificate; further ones are not looked at */

struct tls;
struct tls_set;

/* What a client showed.  Immutable but for its references: any thread. */
struct tls_peer {
	_Atomic int refs;         /* users */
	uint64_t set;             /* number of the set that it was checked with */
	uint64_t until;           /* milliseconds, monotonic: then it is checked again */
	bool shown;               /* there was a certificate */
	bool verified;            /* the CA has signed it, it is valid, and for clients */
	time_t ends;              /* when it runs out, by the wall clock; also of one that is not verified */
	char subject[512];        /* RFC 4514; "" unless verified */
	char cn[256];             /* "" without, or unless verified */
	char ous[TLS_OUS][256];   /* in their order */
	const char *ou[TLS_OUS];  /* the same */
	size_t n_ous;             /* of them; 0 unless verified */
};

/* Paths are borrowed for the call; ca may be NULL.  0, or a negative errno and err names the file. */
int tls_load(const char *cert, const char *key, const char *ca, struct tls_set **ret,
	     struct err *err);

/*
 * Will others take it?  0, or -EINVAL and err says why not: its time, or, unless ca is NULL, that
 * none of the set's authorities has signed it for servers and for clients, as it has to be where
 * both ends show one.  `cert` and `ca` are the names of the files, for the text.
 */
int tls_set_check(const struct tls_set *set, const char *cert, const char *ca, struct err *err);

/* NULL is allowed. */
void tls_set_free(struct tls_set *set);

/* set: owned from here on.  NULL without memory. */
struct tls *tls_new(struct tls_set *set);
void tls_free(struct tls *tls);

/* Replaces the set, which is owned from here on.  Any thread. */
void tls_use(struct tls *tls, struct tls_set *set);

/* The CA's PEM as it was at the start, for libmicrohttpd, which then asks for certificates; or NULL. */
const char *tls_trust(const struct tls *tls);

/* For GnuTLS's retrieve_function3: gives the certificate, by copies that GnuTLS frees. */
int tls_give(struct tls *tls, gnutls_session_t session, gnutls_pcert_st **ret_certs,
	     unsigned *ret_n, gnutls_privkey_t *ret_key, unsigned *ret_flags);

/*
 * What the session's client showed; *peer is what is known, or NULL, and is
 * replaced when it is too old.  NULL there without memory.
 */
void tls_check(struct tls *tls, gnutls_session_t session, struct tls_peer **peer);

/* Was it verified, and is it still of now?  NULL is nobody. */
bool tls_peer_holds(const struct tls_peer *peer);

struct tls_peer *tls_peer_ref(struct tls_peer *peer);
void tls_peer_unref(struct tls_peer *peer);

#endif
