/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_QUICGLUE_H
#define QP_COMMON_QUICGLUE_H

#include <stddef.h>
#include <stdint.h>

#include <ngtcp2/ngtcp2.h>
/* wolfSSL's headers read its options first; this one includes them in that order. */
#include <ngtcp2/ngtcp2_crypto_wolfssl.h>

#include "common/error.h"

/*
 * What both ends of a tunnel say to ngtcp2 and wolfSSL in the same words:
 * clock, randomness, error codes, TLS parameters. Library `qpquic`, apart from
 * qpcommon so that processes without QUIC do not link it. No state but
 * wolfSSL's own; any thread after qp_quic_init.
 */

/* Once in a process, before any other call here. QP_E_CRYPTO when a library fails. */
int qp_quic_init(void) __attribute__((warn_unused_result));

/* CLOCK_MONOTONIC in nanoseconds: the timestamp for every ngtcp2 call. */
ngtcp2_tstamp qp_quic_now(void);

/* ngtcp2_callbacks.rand. The context is unused. */
void qp_quic_rand(uint8_t *dest, size_t len, const ngtcp2_rand_ctx *ctx);

/*
 * The place where ngtcp2's codes become ours. 0 and positive values are QP_OK;
 * an unknown code is QP_E_PROTO, as most of them blame the peer.
 */
int qp_quic_err(int liberr);
/* The same code in words for a person; never NULL. */
const char *qp_quic_err_text(int liberr);

/*
 * What a CONNECTION_CLOSE means, in words: the peer's phrase (made printable,
 * cut to fit) when it sent one, else the code's name. `out`: NUL-terminated.
 */
void qp_quic_close_text(const ngtcp2_ccerr *ccerr, char *out, size_t size);

/*
 * wolfSSL's error in words: `ssl` and the return value `ret` of the call that
 * failed; `ssl` NULL: `ret` is the code itself. `out`: NUL-terminated.
 */
void qp_tls_error_text(WOLFSSL *ssl, int ret, char *out, size_t size);

/*
 * Cipher suites (AES-128-GCM first: fastest here), X25519 before P-256 and
 * P-384, TLS 1.3 alone. For a context of either side, after
 * ngtcp2_crypto_wolfssl_configure_*_context. QP_E_CRYPTO with `msg` filled.
 */
int qp_tls_configure_ctx(WOLFSSL_CTX *ctx, struct qp_errmsg *msg)
	__attribute__((warn_unused_result));

/* ALPN quicport/1, mismatch is fatal. A client adds SNI by qp_tls_configure_client. */
int qp_tls_configure_alpn(WOLFSSL *ssl, struct qp_errmsg *msg) __attribute__((warn_unused_result));
/* ALPN, SNI `quicport`, and the X25519 key share that saves a HelloRetryRequest. */
int qp_tls_configure_client(WOLFSSL *ssl, struct qp_errmsg *msg)
	__attribute__((warn_unused_result));

/* QP_OK when the handshake agreed on quicport/1, else QP_E_VERSION. */
int qp_tls_check_alpn(WOLFSSL *ssl);

#endif
