/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's TLS certificate: made once, kept on disk, checked at each
 * start. Blocks on files; for start-up. Needs wolfSSL, hence a library of its
 * own. Who trusts the certificate is the client's affair (known_hosts).
 */
/* wolfSSL's options come before any other of its headers. */
#include <wolfssl/options.h>

#include "common/cert.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>

#include "common/cert_der.h"
#include "common/file.h"

#define PEM_MAX 65536u
#define DER_MAX 4096u
#define P256_BYTES 32
#define DAY_S 86400
#define VALID_DAYS 36525L /* 100 years */

static int
fail_wolf(struct qp_errmsg *msg, const char *what, const char *path, int code)
{
	return qp_fail(msg, QP_E_CRYPTO, "cannot %s %s: %s", what, path,
		wc_GetErrorString(code));
}

/* DER bytes as PEM into a new file. QP_E_INUSE: another process was first. */
static int
write_pem(const char *path, const uint8_t *der, size_t len, int type, mode_t mode,
	struct qp_errmsg *msg)
{
	uint8_t pem[DER_MAX * 2];
	int n = wc_DerToPem(der, (word32)len, pem, sizeof(pem), type);
	int err;

	if (n < 0)
		return fail_wolf(msg, "encode", path, n);
	err = qp_file_write(path, pem, (size_t)n, mode, false, msg);
	sodium_memzero(pem, sizeof(pem));
	return err;
}

static int
key_create(const char *path, WC_RNG *rng, struct qp_errmsg *msg)
{
	uint8_t der[DER_MAX];
	word32 len = sizeof(der);
	ecc_key key;
	int n = wc_ecc_init(&key);
	int err;

	if (n != 0)
		return fail_wolf(msg, "make", path, n);
	n = wc_ecc_make_key_ex(rng, P256_BYTES, &key, ECC_SECP256R1);
	if (n == 0)
		n = wc_EccKeyToPKCS8(&key, der, &len);
	wc_ecc_free(&key);
	/* The length comes back either way, by version. */
	if (n > 0)
		len = (word32)n;
	err = n < 0 ? fail_wolf(msg, "make", path, n) :
		      write_pem(path, der, len, PKCS8_PRIVATEKEY_TYPE, 0600, msg);
	sodium_memzero(der, sizeof(der));
	return err;
}

/* Decodes into `key`; a key file may leave out the public half. */
static bool
is_p256(ecc_key *key, const uint8_t *der, word32 len)
{
	word32 at = 0;

	if (wc_EccPrivateKeyDecode(der, &at, key, len) != 0 ||
		wc_ecc_get_curve_id(key->idx) != ECC_SECP256R1)
		return false;
	return key->type != ECC_PRIVATEKEY_ONLY || wc_ecc_make_pub(key, NULL) == 0;
}

/* The key in `path`, which the caller frees by wc_ecc_free after QP_OK. */
static int
key_load(const char *path, ecc_key *key, struct qp_errmsg *msg)
{
	uint8_t der[DER_MAX];
	size_t len;
	char *pem;
	int n, err = qp_file_read(path, PEM_MAX, &pem, &len, NULL, msg);

	if (err != QP_OK)
		return err;
	n = wc_KeyPemToDer((const uint8_t *)pem, (int)len, der, sizeof(der), NULL);
	qp_file_free(pem);
	if (n < 0)
		return qp_fail(msg, QP_E_INVAL, "%s: not a private key in PEM form", path);
	err = wc_ecc_init(key);
	if (err == 0 && !is_p256(key, der, (word32)n)) {
		wc_ecc_free(key);
		err = -1;
	}
	sodium_memzero(der, sizeof(der));
	if (err != 0)
		return qp_fail(msg, QP_E_INVAL,
			"%s: expected a P-256 private key; put its certificate beside it, or move "
			"it away to get new ones", path);
	return QP_OK;
}

/* From a day ago, for a clock that is behind; the fingerprint decides anyway. */
static int
fill_fields(struct qp_cert_fields *f, ecc_key *key)
{
	word32 len = sizeof(f->point);
	int n = wc_ecc_export_x963(key, f->point, &len);

	if (n == 0 && len != sizeof(f->point))
		n = ECC_BAD_ARG_E;
	randombytes_buf(f->serial, sizeof(f->serial));
	f->not_before = time(NULL) - DAY_S;
	f->not_after = f->not_before + VALID_DAYS * DAY_S;
	return n;
}

/* A self-signed certificate for `key`, at the end of `der`. 0, or wolfSSL's negative code. */
static int
sign_cert(ecc_key *key, WC_RNG *rng, uint8_t der[QP_CERT_DER_MAX], size_t *der_len)
{
	uint8_t tbs[QP_CERT_DER_MAX], hash[crypto_hash_sha256_BYTES], sig[ECC_MAX_SIG_SIZE];
	word32 sig_len = sizeof(sig);
	struct qp_cert_fields f;
	size_t tbs_len;
	int n = fill_fields(&f, key);

	if (n != 0)
		return n;
	tbs_len = qp_cert_tbs(&f, tbs);
	crypto_hash_sha256(hash, tbs + sizeof(tbs) - tbs_len, tbs_len);
	n = wc_ecc_sign_hash(hash, sizeof(hash), sig, &sig_len, rng, key);
	if (n != 0)
		return n;
	*der_len = qp_cert_signed(tbs + sizeof(tbs) - tbs_len, tbs_len, sig, sig_len, der);
	return *der_len == 0 ? BUFFER_E : 0;
}

static int
cert_create(const char *cert_path, const char *key_path, WC_RNG *rng, struct qp_errmsg *msg)
{
	uint8_t der[QP_CERT_DER_MAX];
	size_t len;
	ecc_key key;
	int n, err = key_load(key_path, &key, msg);

	if (err != QP_OK)
		return err;
	n = sign_cert(&key, rng, der, &len);
	wc_ecc_free(&key);
	if (n != 0)
		return fail_wolf(msg, "make", cert_path, n);
	return write_pem(cert_path, der + sizeof(der) - len, len, CERT_TYPE, 0644, msg);
}

/*
 * The key first: a process that dies in between leaves a key without a
 * certificate, which the next start completes. A file that appears meanwhile
 * was made by another process and counts.
 */
static int
create_missing(const char *cert_path, const char *key_path, bool have_key, struct qp_errmsg *msg)
{
	WC_RNG rng;
	int err = qp_file_make_parents(cert_path, msg);

	if (err == QP_OK)
		err = qp_file_make_parents(key_path, msg);
	if (err != QP_OK)
		return err;
	if (wolfSSL_Init() != WOLFSSL_SUCCESS || wc_InitRng(&rng) != 0)
		return qp_fail(msg, QP_E_CRYPTO, "cannot make %s: wolfSSL does not start",
			key_path);
	if (!have_key)
		err = key_create(key_path, &rng, msg);
	if (err == QP_OK || err == QP_E_INUSE)
		err = cert_create(cert_path, key_path, &rng, msg);
	wc_FreeRng(&rng);
	wolfSSL_Cleanup(); /* counted: undoes our Init alone */
	return err == QP_E_INUSE ? QP_OK : err;
}

int
qp_cert_ensure(const char *cert_path, const char *key_path, bool *created, struct qp_errmsg *msg)
{
	/* In this order: the key of a certificate that another process just made is there. */
	bool have_cert = access(cert_path, F_OK) == 0;
	bool have_key = access(key_path, F_OK) == 0;

	if (created != NULL)
		*created = false;
	if (have_cert && !have_key)
		return qp_fail(msg, QP_E_NOTFOUND,
			"certificate %s has no private key %s: put it back, or move the "
			"certificate away to get new ones", cert_path, key_path);
	if (!have_cert) {
		int err = create_missing(cert_path, key_path, have_key, msg);

		if (err != QP_OK)
			return err;
		if (created != NULL)
			*created = true;
	}
	return qp_cert_check(cert_path, key_path, msg);
}

static int
check_readable(const char *path, struct qp_errmsg *msg)
{
	size_t len;
	char *data;
	int err = qp_file_read(path, PEM_MAX, &data, &len, NULL, msg);

	if (err == QP_OK)
		qp_file_free(data);
	return err;
}

static int
check_in_context(WOLFSSL_CTX *ctx, const char *cert_path, const char *key_path,
	struct qp_errmsg *msg)
{
	if (wolfSSL_CTX_use_certificate_file(ctx, cert_path, WOLFSSL_FILETYPE_PEM) !=
		WOLFSSL_SUCCESS)
		return qp_fail(msg, QP_E_INVAL, "%s: not a certificate in PEM form", cert_path);
	if (wolfSSL_CTX_use_PrivateKey_file(ctx, key_path, WOLFSSL_FILETYPE_PEM) !=
		WOLFSSL_SUCCESS)
		return qp_fail(msg, QP_E_INVAL, "%s: not a private key in PEM form, or not the "
						"one of %s", key_path, cert_path);
	if (wolfSSL_CTX_check_private_key(ctx) != WOLFSSL_SUCCESS)
		return qp_fail(msg, QP_E_INVAL, "private key %s does not belong to certificate %s",
			key_path, cert_path);
	return QP_OK;
}

int
qp_cert_check(const char *cert_path, const char *key_path, struct qp_errmsg *msg)
{
	WOLFSSL_CTX *ctx;
	int err = check_readable(cert_path, msg);

	if (err == QP_OK)
		err = check_readable(key_path, msg);
	if (err != QP_OK)
		return err;
	if (wolfSSL_Init() != WOLFSSL_SUCCESS)
		return qp_fail(msg, QP_E_CRYPTO, "wolfSSL does not start");
	ctx = wolfSSL_CTX_new(wolfTLSv1_3_server_method());
	err = ctx == NULL ? qp_fail(msg, QP_E_NOMEM, "out of memory") :
			    check_in_context(ctx, cert_path, key_path, msg);
	wolfSSL_CTX_free(ctx);
	wolfSSL_Cleanup();
	return err;
}

void
qp_cert_fingerprint(const uint8_t *der, size_t len, char out[QP_FINGERPRINT_TEXT_BYTES])
{
	uint8_t hash[crypto_hash_sha256_BYTES];

	_Static_assert(QP_FINGERPRINT_TEXT_BYTES == crypto_hash_sha256_BYTES * 3, "AA: … FF, NUL");
	crypto_hash_sha256(hash, der, len);
	for (size_t i = 0; i < sizeof(hash); i++) {
		out[i * 3] = "0123456789ABCDEF"[hash[i] >> 4];
		out[i * 3 + 1] = "0123456789ABCDEF"[hash[i] & 15];
		out[i * 3 + 2] = ':';
	}
	out[QP_FINGERPRINT_TEXT_BYTES - 1] = '\0'; /* instead of the last colon */
}

int
qp_cert_fingerprint_file(const char *cert_path, char out[QP_FINGERPRINT_TEXT_BYTES],
	struct qp_errmsg *msg)
{
	uint8_t der[DER_MAX * 4];
	size_t len;
	char *pem;
	int n, err = qp_file_read(cert_path, PEM_MAX, &pem, &len, NULL, msg);

	if (err != QP_OK)
		return err;
	n = wc_CertPemToDer((const uint8_t *)pem, (int)len, der, sizeof(der), CERT_TYPE);
	qp_file_free(pem);
	if (n < 0)
		return qp_fail(msg, QP_E_INVAL, "%s: not a certificate in PEM form", cert_path);
	qp_cert_fingerprint(der, (size_t)n, out);
	return QP_OK;
}
