/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The private API's certificate. It is imported anew for each handshake, which
 * costs next to nothing at an operator's rate: so a certificate is exchanged
 * while handshakes are under way, and nothing that they use is freed. Loop thread.
 */
#include <assert.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "controlplane/http_internal.h"

#define PEM_BYTES 262144u
#define CHAIN 8u

struct pem {
	char *cert, *key; /* qp_file_free */
	size_t cert_len, key_len;
};

struct qp_http_tls {
	const char *cert_path, *key_path; /* borrowed */
	struct pem pem;
};

/* libmicrohttpd gives its callback nothing to tell servers apart by: there is one with TLS. */
static struct qp_http_tls *current;

static int
import_chain(const struct pem *pem, gnutls_pcert_st **out, unsigned *n)
{
	const gnutls_datum_t data = {(unsigned char *)pem->cert, (unsigned)pem->cert_len};
	/* From gnutls_malloc: it frees what it is given. */
	gnutls_pcert_st *list = gnutls_calloc(CHAIN, sizeof(*list));
	int err;

	if (list == NULL)
		return GNUTLS_E_MEMORY_ERROR;
	*n = CHAIN;
	err = gnutls_pcert_list_import_x509_raw(list, n, &data, GNUTLS_X509_FMT_PEM, 0);
	if (err != 0)
		gnutls_free(list);
	else
		*out = list;
	return err;
}

static int
import_key(const struct pem *pem, gnutls_privkey_t *out)
{
	const gnutls_datum_t data = {(unsigned char *)pem->key, (unsigned)pem->key_len};
	int err = gnutls_privkey_init(out);

	if (err != 0)
		return err;
	err = gnutls_privkey_import_x509_raw(*out, &data, GNUTLS_X509_FMT_PEM, NULL, 0);
	if (err != 0)
		gnutls_privkey_deinit(*out);
	return err;
}

static void
free_chain(gnutls_pcert_st *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		gnutls_pcert_deinit(&list[i]);
	gnutls_free(list);
}

static int
on_handshake(gnutls_session_t session, const struct gnutls_cert_retr_st *info,
	gnutls_pcert_st **certs, unsigned *ncerts, gnutls_ocsp_data_st **ocsp, unsigned *nocsp,
	gnutls_privkey_t *key, unsigned *flags)
{
	(void)session;
	(void)info;
	if (current == NULL || import_chain(&current->pem, certs, ncerts) != 0)
		return -1;
	if (import_key(&current->pem, key) != 0) {
		free_chain(*certs, *ncerts);
		return -1;
	}
	*ocsp = NULL;
	*nocsp = 0;
	*flags = GNUTLS_CERT_RETR_DEINIT_ALL;
	return 0;
}

void *
qp_http_tls_callback(struct qp_http_tls *t)
{
	assert(t == current);
	return (void *)on_handshake;
}

static void
pem_clear(struct pem *pem)
{
	qp_file_free(pem->cert);
	qp_file_free(pem->key);
	*pem = (struct pem) {0};
}

/* Both are what they should be, and belong together. */
static int
check(const struct qp_http_tls *t, const struct pem *pem, struct qp_errmsg *msg)
{
	unsigned char cert_id[64], key_id[64];
	size_t cert_len = sizeof(cert_id), key_len = sizeof(key_id);
	gnutls_pcert_st *chain;
	gnutls_privkey_t key;
	gnutls_pubkey_t public_key = NULL;
	unsigned n;
	int err = import_chain(pem, &chain, &n);

	if (err != 0)
		return qp_fail(msg, QP_E_INVAL,
			"--private-api-tls-cert %s: %s: a certificate in "
			"PEM is expected, its chain after it",
			t->cert_path, gnutls_strerror(err));
	err = import_key(pem, &key);
	if (err != 0) {
		free_chain(chain, n);
		return qp_fail(msg, QP_E_INVAL,
			"--private-api-tls-key %s: %s: a private key in PEM is expected",
			t->key_path, gnutls_strerror(err));
	}
	if (gnutls_pubkey_init(&public_key) != 0 ||
		gnutls_pubkey_import_privkey(public_key, key, 0, 0) != 0 ||
		gnutls_pubkey_get_key_id(public_key, 0, key_id, &key_len) != 0 ||
		gnutls_pubkey_get_key_id(chain[0].pubkey, 0, cert_id, &cert_len) != 0 ||
		key_len != cert_len || memcmp(key_id, cert_id, key_len) != 0)
		err = qp_fail(msg, QP_E_INVAL,
			"--private-api-tls-key %s does not belong to the certificate %s",
			t->key_path, t->cert_path);
	gnutls_pubkey_deinit(public_key);
	gnutls_privkey_deinit(key);
	free_chain(chain, n);
	return err;
}

static int
load(const struct qp_http_tls *t, struct pem *out, struct qp_errmsg *msg)
{
	mode_t mode = 0;
	int err = qp_file_read(t->cert_path, PEM_BYTES, &out->cert, &out->cert_len, NULL, msg);

	if (err == 0)
		err = qp_file_read(t->key_path, PEM_BYTES, &out->key, &out->key_len, &mode, msg);
	if (err == 0 && (mode & 0007) != 0)
		err = qp_fail(msg, QP_E_PERM,
			"--private-api-tls-key %s can be read by everybody: chmod o= %s",
			t->key_path, t->key_path);
	if (err == 0)
		err = check(t, out, msg);
	if (err != 0)
		pem_clear(out);
	return err;
}

int
qp_http_tls_new(const char *cert, const char *key, struct qp_http_tls **out, struct qp_errmsg *msg)
{
	struct qp_http_tls *t = calloc(1, sizeof(*t));
	int err;

	assert(current == NULL);
	if (t == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	t->cert_path = cert;
	t->key_path = key;
	err = load(t, &t->pem, msg);
	if (err != 0) {
		free(t);
		return err;
	}
	*out = current = t;
	return 0;
}

void
qp_http_tls_free(struct qp_http_tls *t)
{
	if (t == NULL)
		return;
	current = NULL;
	pem_clear(&t->pem);
	free(t);
}

int
qp_http_tls_reload(struct qp_http_tls *t, struct qp_errmsg *msg)
{
	struct pem fresh = {0};
	int err = load(t, &fresh, msg);

	if (err != 0)
		return err;
	pem_clear(&t->pem);
	t->pem = fresh;
	return 0;
}
