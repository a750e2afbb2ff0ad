/* SPDX-License-Identifier: Apache-2.0 */
/* See tls.h. */
#include "aggregator/http/tls.h"

#include <gnutls/x509.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/file.h"

#define FILE_MAX ((size_t)1 << 20)
#define CHAIN_MAX 8       /* certificates of ours, and of a client */
#define CHECK_MS 10000    /* then a client is checked again */

struct tls_set {
	gnutls_x509_crt_t *certs;         /* the chain, our own first; owned */
	unsigned n;                       /* of them */
	gnutls_x509_privkey_t key;        /* of the first */
	gnutls_x509_trust_list_t trust;   /* NULL: clients are not asked */
	struct buf ca;                    /* the PEM of it */
};

struct tls {
	pthread_mutex_t lock; /* of `set` and `number` */
	struct tls_set *set;  /* of the moment; owned */
	uint64_t number;      /* how many there were */
	char *trust;          /* the first CA's PEM, or NULL; owned */
};

/* ------------------------------------------------------------------- loading */

static int fail(struct err *err, const char *path, int code)
{
	return err_set(err, -EINVAL, "%s: %s", path, gnutls_strerror(code));
}

static gnutls_datum_t datum(const struct buf *b)
{
	return (gnutls_datum_t){ (unsigned char *)b->ptr, (unsigned)b->len };
}

static int load_chain(struct tls_set *set, const char *path, struct err *err)
{
	struct buf file;
	gnutls_datum_t pem;
	int rc = file_read(path, FILE_MAX, &file, err);

	if (rc)
		return rc;
	pem = datum(&file);
	rc = gnutls_x509_crt_list_import2(&set->certs, &set->n, &pem, GNUTLS_X509_FMT_PEM,
					  GNUTLS_X509_CRT_LIST_FAIL_IF_UNSORTED);
	buf_fini(&file);
	if (rc < 0)
		return fail(err, path, rc);
	return set->n <= CHAIN_MAX ? 0 : err_set(err, -E2BIG, "%s: more than %d certificates", path,
						  CHAIN_MAX);
}

static int load_key(struct tls_set *set, const char *path, struct err *err)
{
	struct buf file;
	gnutls_datum_t pem;
	int rc = file_read(path, FILE_MAX, &file, err);

	if (rc)
		return rc;
	pem = datum(&file);
	rc = gnutls_x509_privkey_init(&set->key);
	if (rc >= 0)
		rc = gnutls_x509_privkey_import2(set->key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0);
	if (file.ptr)
		explicit_bzero(file.ptr, file.len);
	buf_fini(&file);
	return rc < 0 ? fail(err, path, rc) : 0;
}

static int load_ca(struct tls_set *set, const char *path, struct err *err)
{
	gnutls_datum_t pem;
	int rc = file_read(path, FILE_MAX, &set->ca, err);

	if (rc) {
		buf_init(&set->ca, 0);
		return rc;
	}
	pem = datum(&set->ca);
	rc = gnutls_x509_trust_list_init(&set->trust, 0);
	if (rc >= 0)
		rc = gnutls_x509_trust_list_add_trust_mem(set->trust, &pem, NULL,
							  GNUTLS_X509_FMT_PEM, 0, 0);
	if (rc < 0)
		return fail(err, path, rc);
	return rc ? 0 : err_set(err, -EINVAL, "%s: no certificate in it", path);
}

/* The halves of a pair are written one after the other: in between they do not fit. */
static int check_pair(const struct tls_set *set, const char *cert, const char *key, struct err *err)
{
	unsigned char of_cert[64], of_key[64];
	size_t cert_size = sizeof(of_cert), key_size = sizeof(of_key);

	if (gnutls_x509_crt_get_key_id(set->certs[0], GNUTLS_KEYID_USE_SHA256, of_cert, &cert_size) ||
	    gnutls_x509_privkey_get_key_id(set->key, GNUTLS_KEYID_USE_SHA256, of_key, &key_size))
		return err_set(err, -EINVAL, "%s: of an unknown kind", key);
	if (cert_size != key_size || memcmp(of_cert, of_key, key_size) != 0)
		return err_set(err, -EINVAL, "%s is not the key of %s", key, cert);
	return 0;
}

int tls_load(const char *cert, const char *key, const char *ca, struct tls_set **ret,
	     struct err *err)
{
	struct tls_set *set = calloc(1, sizeof(*set));
	int rc;

	if (!set)
		return err_sys(err, ENOMEM, "certificates");
	rc = load_chain(set, cert, err);
	if (!rc)
		rc = load_key(set, key, err);
	if (!rc)
		rc = check_pair(set, cert, key, err);
	if (!rc && ca)
		rc = load_ca(set, ca, err);
	if (rc)
		tls_set_free(set);
	else
		*ret = set;
	return rc;
}

static int check_time(const struct tls_set *set, const char *cert, struct err *err)
{
	time_t now = (time_t)(clock_wall_now() / NS_PER_S);

	for (unsigned i = 0; i < set->n; i++) {
		if (gnutls_x509_crt_get_expiration_time(set->certs[i]) < now)
			return err_set(err, -EINVAL, "%s: a certificate in it has expired", cert);
		if (gnutls_x509_crt_get_activation_time(set->certs[i]) > now)
			return err_set(err, -EINVAL, "%s: the time of a certificate in it has not come yet", cert);
	}
	return 0;
}

static unsigned judge(const struct tls_set *set, const char *purpose)
{
	gnutls_typed_vdata_st use = { .type = GNUTLS_DT_KEY_PURPOSE_OID, .data = (unsigned char *)purpose };
	unsigned status = ~0u;

	return gnutls_x509_trust_list_verify_crt2(set->trust, set->certs, set->n, &use, 1, 0, &status, NULL) ? ~0u
													     : status;
}

int tls_set_check(const struct tls_set *set, const char *cert, const char *ca, struct err *err)
{
	unsigned status;

	if (check_time(set, cert, err) < 0)
		return -EINVAL;
	if (!ca || !set->trust)
		return 0;
	status = judge(set, GNUTLS_KP_TLS_WWW_SERVER) | judge(set, GNUTLS_KP_TLS_WWW_CLIENT);
	if (status & GNUTLS_CERT_SIGNER_NOT_FOUND)
		return err_set(err, -EINVAL, "%s: none of the authorities of %s has signed it", cert, ca);
	if (status & GNUTLS_CERT_PURPOSE_MISMATCH)
		return err_set(err, -EINVAL, "%s: it has to be for servers and for clients", cert);
	return status ? err_set(err, -EINVAL, "%s: %s would not take it", cert, ca) : 0;
}

void tls_set_free(struct tls_set *set)
{
	if (!set)
		return;
	for (unsigned i = 0; i < set->n; i++)
		gnutls_x509_crt_deinit(set->certs[i]);
	gnutls_free(set->certs);
	gnutls_x509_privkey_deinit(set->key);
	if (set->trust)
		gnutls_x509_trust_list_deinit(set->trust, 1);
	buf_fini(&set->ca);
	free(set);
}

struct tls *tls_new(struct tls_set *set)
{
	struct tls *tls = calloc(1, sizeof(*tls));

	if (tls && set->trust)
		tls->trust = strdup(buf_str(&set->ca));
	if (!tls || (set->trust && !tls->trust)) {
		tls_set_free(set);
		free(tls);
		return NULL;
	}
	pthread_mutex_init(&tls->lock, NULL); /* cannot fail on Linux */
	tls->set = set;
	return tls;
}

void tls_free(struct tls *tls)
{
	if (!tls)
		return;
	tls_set_free(tls->set);
	free(tls->trust);
	pthread_mutex_destroy(&tls->lock);
	free(tls);
}

void tls_use(struct tls *tls, struct tls_set *set)
{
	struct tls_set *old;

	pthread_mutex_lock(&tls->lock);
	old = tls->set;
	tls->set = set;
	tls->number++;
	pthread_mutex_unlock(&tls->lock);
	tls_set_free(old);
}

const char *tls_trust(const struct tls *tls)
{
	return tls->trust;
}

/* ---------------------------------------------------------------- handshakes */

static int copy_key(const struct tls_set *set, gnutls_privkey_t *ret)
{
	int rc = gnutls_privkey_init(ret);

	if (!rc)
		rc = gnutls_privkey_import_x509(*ret, set->key, GNUTLS_PRIVKEY_IMPORT_COPY);
	return rc;
}

/* What was made before a failure is freed by GnuTLS's free functions. */
static int copy_chain(const struct tls_set *set, gnutls_pcert_st *certs)
{
	for (unsigned i = 0; i < set->n; i++) {
		int rc = gnutls_pcert_import_x509(&certs[i], set->certs[i], 0);

		if (rc) {
			while (i--)
				gnutls_pcert_deinit(&certs[i]);
			return rc;
		}
	}
	return 0;
}

int tls_give(struct tls *tls, gnutls_session_t session, gnutls_pcert_st **ret_certs,
	     unsigned *ret_n, gnutls_privkey_t *ret_key, unsigned *ret_flags)
{
	gnutls_pcert_st *certs;
	unsigned n;
	int rc;

	/* The names of the CA as it was at the start would keep newer certificates at home. */
	gnutls_certificate_send_x509_rdn_sequence(session, 1);
	pthread_mutex_lock(&tls->lock);
	n = tls->set->n;
	certs = gnutls_calloc(n, sizeof(*certs));
	rc = certs ? copy_chain(tls->set, certs) : GNUTLS_E_MEMORY_ERROR;
	if (!rc && copy_key(tls->set, ret_key)) {
		for (unsigned i = 0; i < n; i++)
			gnutls_pcert_deinit(&certs[i]);
		rc = GNUTLS_E_MEMORY_ERROR;
	}
	pthread_mutex_unlock(&tls->lock);
	if (rc) {
		gnutls_free(certs);
		return -1;
	}
	*ret_certs = certs;
	*ret_n = n;
	*ret_flags = GNUTLS_CERT_RETR_DEINIT_ALL;
	return 0;
}

/* ------------------------------------------------------------------- clients */

static uint64_t now_ms(void)
{
	return clock_now(&clock_monotonic) / NS_PER_MS;
}

/* False when there is no such part, or one that is too long or has a NUL in it. */
static bool get_part(gnutls_x509_crt_t cert, const char *oid, unsigned i, char *out, size_t size)
{
	size_t len = size;

	if (!gnutls_x509_crt_get_dn_by_oid(cert, oid, i, 0, out, &len) && strlen(out) == len)
		return true;
	out[0] = '\0';
	return false;
}

static void read_names(struct tls_peer *peer, gnutls_x509_crt_t cert)
{
	size_t size = sizeof(peer->subject);

	if (gnutls_x509_crt_get_dn(cert, peer->subject, &size))
		peer->subject[0] = '\0';
	(void)get_part(cert, GNUTLS_OID_X520_COMMON_NAME, 0, peer->cn, sizeof(peer->cn));
	while (peer->n_ous < TLS_OUS &&
	       get_part(cert, GNUTLS_OID_X520_ORGANIZATIONAL_UNIT_NAME, (unsigned)peer->n_ous,
			peer->ous[peer->n_ous], sizeof(peer->ous[0]))) {
		peer->ou[peer->n_ous] = peer->ous[peer->n_ous];
		peer->n_ous++;
	}
}

static bool verify(const struct tls_set *set, gnutls_x509_crt_t *chain, unsigned n)
{
	static char client[] = GNUTLS_KP_TLS_WWW_CLIENT;
	gnutls_typed_vdata_st purpose = { .type = GNUTLS_DT_KEY_PURPOSE_OID,
					  .data = (unsigned char *)client };
	unsigned status = ~0u;

	return set->trust && !gnutls_x509_trust_list_verify_crt2(set->trust, chain, n, &purpose, 1, 0,
								 &status, NULL) && !status;
}

/* Under the lock. */
static void check_chain(const struct tls_set *set, struct tls_peer *peer,
			const gnutls_datum_t *shown, unsigned n)
{
	gnutls_x509_crt_t chain[CHAIN_MAX];
	unsigned have = 0;
	bool good = n <= CHAIN_MAX;

	while (good && have < n) {
		good = !gnutls_x509_crt_init(&chain[have]);
		if (!good)
			break;
		good = !gnutls_x509_crt_import(chain[have], &shown[have], GNUTLS_X509_FMT_DER);
		have++;
	}
	if (good && have)
		peer->ends = gnutls_x509_crt_get_expiration_time(chain[0]);
	if (good && verify(set, chain, n)) {
		peer->verified = true;
		read_names(peer, chain[0]);
	}
	while (have--)
		gnutls_x509_crt_deinit(chain[have]);
}

void tls_check(struct tls *tls, gnutls_session_t session, struct tls_peer **peer)
{
	const gnutls_datum_t *shown;
	struct tls_peer *fresh;
	uint64_t now = now_ms(), number;
	unsigned n = 0;

	pthread_mutex_lock(&tls->lock);
	number = tls->number;
	pthread_mutex_unlock(&tls->lock);
	if (*peer && (*peer)->set == number && now < (*peer)->until)
		return;
	tls_peer_unref(*peer);
	*peer = fresh = calloc(1, sizeof(*fresh));
	if (!fresh)
		return;
	atomic_init(&fresh->refs, 1);
	fresh->set = number;
	fresh->until = now + CHECK_MS;
	shown = gnutls_certificate_get_peers(session, &n);
	fresh->shown = shown && n;
	if (!fresh->shown)
		return;
	pthread_mutex_lock(&tls->lock);
	check_chain(tls->set, fresh, shown, n);
	pthread_mutex_unlock(&tls->lock);
}

bool tls_peer_holds(const struct tls_peer *peer)
{
	return peer && peer->verified && clock_wall_now() / NS_PER_S < (uint64_t)peer->ends;
}

struct tls_peer *tls_peer_ref(struct tls_peer *peer)
{
	if (peer)
		atomic_fetch_add(&peer->refs, 1);
	return peer;
}

void tls_peer_unref(struct tls_peer *peer)
{
	if (peer && atomic_fetch_sub(&peer->refs, 1) == 1)
		free(peer);
}
