/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_TLS_H
#define QP_CLIENT_TLS_H

#include <ngtcp2/ngtcp2_crypto.h>

#include "common/cert.h"
#include "common/error.h"
#include "common/quicglue.h"

/*
 * The client's TLS: no certificate authority is ever asked; the signature over
 * the handshake is checked, and the caller judges the certificate by its
 * fingerprint. One thread at a time.
 */
#define QPC_CERT_NAME_BYTES 256u
#define QPC_CERT_DATE_BYTES 40u

/* What a person needs to judge a server. Names are the server's own claims, made printable. */
struct qpc_cert {
	char fingerprint[QP_FINGERPRINT_TEXT_BYTES];
	char subject[QPC_CERT_NAME_BYTES];
	char issuer[QPC_CERT_NAME_BYTES];
	char not_before[QPC_CERT_DATE_BYTES];
	char not_after[QPC_CERT_DATE_BYTES];
};

/* The context that sessions share; wolfSSL_CTX_free ends it. QP_E_CRYPTO, QP_E_NOMEM. */
int qpc_tls_context(WOLFSSL_CTX **out, struct qp_errmsg *msg) __attribute__((warn_unused_result));

/* One session, not started; wolfSSL_free ends it. `ref` is borrowed for its life. */
int qpc_tls_session(WOLFSSL_CTX *ctx, ngtcp2_crypto_conn_ref *ref, WOLFSSL **out,
	struct qp_errmsg *msg) __attribute__((warn_unused_result));

/* After the handshake. QP_E_CRYPTO when the server showed no certificate that can be read. */
int qpc_tls_peer_cert(WOLFSSL *ssl, struct qpc_cert *out) __attribute__((warn_unused_result));

#endif
