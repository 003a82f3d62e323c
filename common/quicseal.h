/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_QUICSEAL_H
#define QP_COMMON_QUICSEAL_H

#include <ngtcp2/ngtcp2_crypto.h>

#include "common/quicglue.h"

/*
 * Packet protection of 1-RTT packets (RFC 9001, 5) by wolfCrypt's AES-GCM and
 * AES themselves, with keys that are expanded once. ngtcp2's backend goes
 * through wolfSSL's EVP layer, which copies each packet twice and costs a third
 * of the whole work (docs/performance.md). Handshake packets, ChaCha20-Poly1305
 * and what else there may be stay with the backend: a key of ours is told from
 * one of its by the lowest bit of its native handle.
 *
 * Any thread; a connection's keys belong to its thread.
 */

/* In place of the backend's method; after ngtcp2_crypto_wolfssl_configure_*_context. */
int qp_seal_configure_ctx(WOLFSSL_CTX *ctx, struct qp_errmsg *msg)
	__attribute__((warn_unused_result));

/* For struct ngtcp2_callbacks, in place of ngtcp2_crypto_*_cb. */
int qp_seal_encrypt(uint8_t *dest, const ngtcp2_crypto_aead *aead,
	const ngtcp2_crypto_aead_ctx *ctx, const uint8_t *plain, size_t plain_len,
	const uint8_t *nonce, size_t nonce_len, const uint8_t *aad, size_t aad_len);
int qp_seal_decrypt(uint8_t *dest, const ngtcp2_crypto_aead *aead,
	const ngtcp2_crypto_aead_ctx *ctx, const uint8_t *sealed, size_t sealed_len,
	const uint8_t *nonce, size_t nonce_len, const uint8_t *aad, size_t aad_len);
int qp_seal_hp_mask(uint8_t *dest, const ngtcp2_crypto_cipher *hp,
	const ngtcp2_crypto_cipher_ctx *ctx, const uint8_t *sample);
int qp_seal_update_key(ngtcp2_conn *conn, uint8_t *rx_secret, uint8_t *tx_secret,
	ngtcp2_crypto_aead_ctx *rx, uint8_t *rx_iv, ngtcp2_crypto_aead_ctx *tx, uint8_t *tx_iv,
	const uint8_t *rx_now, const uint8_t *tx_now, size_t secret_len, void *user);
void qp_seal_delete_aead(ngtcp2_conn *conn, ngtcp2_crypto_aead_ctx *ctx, void *user);
void qp_seal_delete_cipher(ngtcp2_conn *conn, ngtcp2_crypto_cipher_ctx *ctx, void *user);

/* What a traffic secret gives (RFC 9001, 5.1), for an AES-GCM suite. For tests, too. */
struct qp_seal_keys {
	size_t key_len; /* 16 or 32 */
	uint8_t key[32];
	uint8_t iv[12];
	uint8_t hp[32];
};
int qp_seal_derive(struct qp_seal_keys *out, size_t key_len, const ngtcp2_crypto_md *md,
	const uint8_t *secret, size_t secret_len);
/* Contexts of ours; QP_E_NOMEM, QP_E_CRYPTO. Freed by the delete functions above. */
int qp_seal_aead_new(ngtcp2_crypto_aead_ctx *ctx, const uint8_t *key, size_t key_len);
int qp_seal_hp_new(ngtcp2_crypto_cipher_ctx *ctx, const uint8_t *key, size_t key_len);

#endif
