/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's TLS 1.3 by wolfSSL: context and certificate. Any thread
 * makes it; its sessions stay on one lcore.
 */
#include "common/quicseal.h"
#include "dataplane/quic/internal.h"

static int
load_identity(WOLFSSL_CTX *tls, const struct qp_quic_config *cfg, struct qp_errmsg *msg)
{
	if (wolfSSL_CTX_use_certificate_file(tls, cfg->cert_file, WOLFSSL_FILETYPE_PEM) !=
		WOLFSSL_SUCCESS)
		return qp_fail(msg, QP_E_IO,
			"cannot use %s as certificate: remove it and its key to have new ones made",
			cfg->cert_file);
	if (wolfSSL_CTX_use_PrivateKey_file(tls, cfg->key_file, WOLFSSL_FILETYPE_PEM) !=
		WOLFSSL_SUCCESS)
		return qp_fail(msg, QP_E_IO,
			"cannot use %s as private key: remove it and its certificate to have new ones made",
			cfg->key_file);
	if (wolfSSL_CTX_check_private_key(tls) != WOLFSSL_SUCCESS)
		return qp_fail(msg, QP_E_INVAL, "%s is not the key of %s", cfg->key_file,
			cfg->cert_file);
	return 0;
}

int
qp_quic_tls_new(const struct qp_quic_config *cfg, WOLFSSL_CTX **out, struct qp_errmsg *msg)
{
	WOLFSSL_CTX *tls;
	int rc = qp_quic_init();

	if (rc < 0)
		return qp_fail(msg, rc, "the cryptographic libraries do not start");
	tls = wolfSSL_CTX_new(wolfTLSv1_3_server_method());
	if (tls == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no memory for TLS");
	if (ngtcp2_crypto_wolfssl_configure_server_context(tls) != 0) {
		rc = qp_fail(msg, QP_E_CRYPTO, "wolfSSL refuses QUIC");
		goto err;
	}
	/* Clients prove who they are on stream 0, not by certificates. */
	wolfSSL_CTX_set_verify(tls, WOLFSSL_VERIFY_NONE, NULL);
	/* No client resumes a session: its next connection can be another lcore's, or another data plane's. */
	if (wolfSSL_CTX_no_ticket_TLSv13(tls) != 0) {
		rc = qp_fail(msg, QP_E_CRYPTO, "wolfSSL refuses to send no tickets");
		goto err;
	}
	rc = qp_tls_configure_ctx(tls, msg);
	if (rc == 0)
		rc = qp_seal_configure_ctx(tls, msg);
	if (rc == 0)
		rc = load_identity(tls, cfg, msg);
	if (rc < 0)
		goto err;
	*out = tls;
	return 0;
err:
	wolfSSL_CTX_free(tls);
	return rc;
}

WOLFSSL *
qp_quic_tls_session(WOLFSSL_CTX *tls, ngtcp2_crypto_conn_ref *ref)
{
	WOLFSSL *ssl = wolfSSL_new(tls);

	if (ssl == NULL)
		return NULL;
	wolfSSL_set_app_data(ssl, ref);
	wolfSSL_set_accept_state(ssl);
	if (qp_tls_configure_alpn(ssl, NULL) < 0) {
		wolfSSL_free(ssl);
		return NULL;
	}
	return ssl;
}
