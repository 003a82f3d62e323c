/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wolfSSL on the client's side. The loop's thread. Leaves the verdict on a
 * certificate to whoever started the session.
 */
#include "client/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/quicseal.h"
#include "common/wire.h"

int
qpc_tls_context(WOLFSSL_CTX **out, struct qp_errmsg *msg)
{
	WOLFSSL_CTX *ctx = wolfSSL_CTX_new(wolfTLSv1_3_client_method());
	int err;

	if (ctx == NULL)
		return qp_fail(msg, QP_E_NOMEM, "TLS: out of memory");
	if (ngtcp2_crypto_wolfssl_configure_client_context(ctx) != 0) {
		wolfSSL_CTX_free(ctx);
		return qp_fail(msg, QP_E_CRYPTO, "TLS: wolfSSL was built without QUIC");
	}
	err = qp_tls_configure_ctx(ctx, msg);
	if (err == QP_OK)
		err = qp_seal_configure_ctx(ctx, msg);
	if (err != QP_OK) {
		wolfSSL_CTX_free(ctx);
		return err;
	}
	/* No chain to check: the fingerprint decides. CertificateVerify is checked nonetheless. */
	wolfSSL_CTX_set_verify(ctx, WOLFSSL_VERIFY_NONE, NULL);
	*out = ctx;
	return QP_OK;
}

int
qpc_tls_session(WOLFSSL_CTX *ctx, ngtcp2_crypto_conn_ref *ref, WOLFSSL **out,
	struct qp_errmsg *msg)
{
	WOLFSSL *ssl = wolfSSL_new(ctx);
	int err;

	if (ssl == NULL)
		return qp_fail(msg, QP_E_NOMEM, "TLS: out of memory");
	err = qp_tls_configure_client(ssl, msg);
	if (err != QP_OK) {
		wolfSSL_free(ssl);
		return err;
	}
	wolfSSL_set_app_data(ssl, ref);
	wolfSSL_set_connect_state(ssl);
	*out = ssl;
	return QP_OK;
}

/* A name in one line ("/CN=…"), harmless on a terminal. */
static void
copy_name(WOLFSSL_X509_NAME *name, char out[QPC_CERT_NAME_BYTES])
{
	char raw[QPC_CERT_NAME_BYTES] = "";

	if (name != NULL)
		wolfSSL_X509_NAME_oneline(name, raw, sizeof(raw));
	raw[sizeof(raw) - 1] = '\0';
	qp_slice_printable(qp_slice_of(raw), out, QPC_CERT_NAME_BYTES);
}

static void
copy_date(const WOLFSSL_ASN1_TIME *time, char out[QPC_CERT_DATE_BYTES])
{
	char raw[QPC_CERT_DATE_BYTES] = "";

	if (time == NULL ||
		wolfSSL_ASN1_TIME_to_string((WOLFSSL_ASN1_TIME *)time, raw, sizeof(raw)) == NULL)
		snprintf(raw, sizeof(raw), "unknown");
	qp_slice_printable(qp_slice_of(raw), out, QPC_CERT_DATE_BYTES);
}

int
qpc_tls_peer_cert(WOLFSSL *ssl, struct qpc_cert *out)
{
	WOLFSSL_X509 *x509 = wolfSSL_get_peer_certificate(ssl);
	const unsigned char *der;
	int len = 0;

	if (x509 == NULL)
		return QP_E_CRYPTO;
	der = wolfSSL_X509_get_der(x509, &len);
	if (der == NULL || len <= 0) {
		wolfSSL_X509_free(x509);
		return QP_E_CRYPTO;
	}
	qp_cert_fingerprint(der, (size_t)len, out->fingerprint);
	copy_name(wolfSSL_X509_get_subject_name(x509), out->subject);
	copy_name(wolfSSL_X509_get_issuer_name(x509), out->issuer);
	copy_date(wolfSSL_X509_get_notBefore(x509), out->not_before);
	copy_date(wolfSSL_X509_get_notAfter(x509), out->not_after);
	wolfSSL_X509_free(x509);
	return QP_OK;
}
