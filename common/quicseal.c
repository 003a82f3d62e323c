/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-GCM for 1-RTT packets, and the TLS callbacks that hand its keys over. A
 * context's handle is the address of a struct seal with the lowest bit set.
 */
#include "common/quicseal_impl.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>
#include <wolfssl/wolfcrypt/aes.h>


#define TAG_BYTES 16u
#define OURS 1u

struct seal {
	Aes aes;
};

/* Contexts. */

static struct seal *
ours(const void *handle)
{
	uintptr_t at = (uintptr_t)handle;

	return (at & OURS) != 0 ? (struct seal *)(at & ~(uintptr_t)OURS) : NULL;
}

static struct seal *
seal_new(void)
{
	struct seal *s = NULL;

	/* wolfSSL's assembly wants its key schedule aligned; the lowest bit stays free. */
	if (posix_memalign((void **)&s, 64, sizeof(*s)) != 0)
		return NULL;
	memset(s, 0, sizeof(*s));
	if (wc_AesInit(&s->aes, NULL, INVALID_DEVID) == 0)
		return s;
	free(s);
	return NULL;
}

static void
seal_free(struct seal *s)
{
	wc_AesFree(&s->aes);
	sodium_memzero(s, sizeof(*s));
	free(s);
}

static int
seal_finish(struct seal *s, int set_key_result, void **handle)
{
	if (set_key_result != 0) {
		seal_free(s);
		return QP_E_CRYPTO;
	}
	*handle = (void *)((uintptr_t)s | OURS);
	return QP_OK;
}

int
qp_seal_aead_new(ngtcp2_crypto_aead_ctx *ctx, const uint8_t *key, size_t key_len)
{
	struct seal *s = seal_new();

	if (s == NULL)
		return QP_E_NOMEM;
	return seal_finish(s, wc_AesGcmSetKey(&s->aes, key, (word32)key_len), &ctx->native_handle);
}

int
qp_seal_hp_new(ngtcp2_crypto_cipher_ctx *ctx, const uint8_t *key, size_t key_len)
{
	struct seal *s = seal_new();

	if (s == NULL)
		return QP_E_NOMEM;
	return seal_finish(s, wc_AesSetKey(&s->aes, key, (word32)key_len, NULL, AES_ENCRYPTION),
		&ctx->native_handle);
}

void
qp_seal_delete_aead(ngtcp2_conn *conn, ngtcp2_crypto_aead_ctx *ctx, void *user)
{
	struct seal *s = ours(ctx->native_handle);

	if (s == NULL)
		ngtcp2_crypto_delete_crypto_aead_ctx_cb(conn, ctx, user);
	else
		seal_free(s);
}

void
qp_seal_delete_cipher(ngtcp2_conn *conn, ngtcp2_crypto_cipher_ctx *ctx, void *user)
{
	struct seal *s = ours(ctx->native_handle);

	if (s == NULL)
		ngtcp2_crypto_delete_crypto_cipher_ctx_cb(conn, ctx, user);
	else
		seal_free(s);
}

/* Packets. */

int
qp_seal_encrypt(uint8_t *dest, const ngtcp2_crypto_aead *aead, const ngtcp2_crypto_aead_ctx *ctx,
	const uint8_t *plain, size_t plain_len, const uint8_t *nonce, size_t nonce_len,
	const uint8_t *aad, size_t aad_len)
{
	struct seal *s = ours(ctx->native_handle);

	if (s == NULL)
		return ngtcp2_crypto_encrypt_cb(dest, aead, ctx, plain, plain_len, nonce, nonce_len,
			aad, aad_len);
	if (wc_AesGcmEncrypt(&s->aes, dest, plain, (word32)plain_len, nonce, (word32)nonce_len,
		    dest + plain_len, TAG_BYTES, aad, (word32)aad_len) != 0)
		return NGTCP2_ERR_CALLBACK_FAILURE;
	return 0;
}

int
qp_seal_decrypt(uint8_t *dest, const ngtcp2_crypto_aead *aead, const ngtcp2_crypto_aead_ctx *ctx,
	const uint8_t *sealed, size_t sealed_len, const uint8_t *nonce, size_t nonce_len,
	const uint8_t *aad, size_t aad_len)
{
	struct seal *s = ours(ctx->native_handle);
	size_t len = sealed_len - TAG_BYTES;

	if (s == NULL)
		return ngtcp2_crypto_decrypt_cb(dest, aead, ctx, sealed, sealed_len, nonce,
			nonce_len, aad, aad_len);
	if (sealed_len < TAG_BYTES ||
		wc_AesGcmDecrypt(&s->aes, dest, sealed, (word32)len, nonce, (word32)nonce_len,
			sealed + len, TAG_BYTES, aad, (word32)aad_len) != 0)
		return NGTCP2_ERR_DECRYPT;
	return 0;
}

/* RFC 9001, 5.4.3: AES in ECB mode over the sample. */
int
qp_seal_hp_mask(uint8_t *dest, const ngtcp2_crypto_cipher *hp, const ngtcp2_crypto_cipher_ctx *ctx,
	const uint8_t *sample)
{
	struct seal *s = ours(ctx->native_handle);

	if (s == NULL)
		return ngtcp2_crypto_hp_mask_cb(dest, hp, ctx, sample);
	_Static_assert(NGTCP2_HP_SAMPLELEN == AES_BLOCK_SIZE, "a block, for which dest has room");
	return wc_AesEcbEncrypt(&s->aes, dest, sample, AES_BLOCK_SIZE) == 0
		       ? 0
		       : NGTCP2_ERR_CALLBACK_FAILURE;
}

/* Keys. */

/* HKDF-Expand-Label of TLS 1.3 (RFC 8446, 7.1) with an empty context. */
static int
expand_label(uint8_t *out, size_t len, const ngtcp2_crypto_md *md, const uint8_t *secret,
	size_t secret_len, const char *label)
{
	static const char prefix[] = "tls13 ";
	size_t label_len = sizeof(prefix) - 1 + strlen(label);
	uint8_t info[32];

	info[0] = 0;
	info[1] = (uint8_t)len;
	info[2] = (uint8_t)label_len;
	memcpy(info + 3, prefix, sizeof(prefix) - 1);
	memcpy(info + 3 + sizeof(prefix) - 1, label, strlen(label));
	info[3 + label_len] = 0;
	return ngtcp2_crypto_hkdf_expand(out, len, md, secret, secret_len, info, 4 + label_len);
}

int
qp_seal_derive(struct qp_seal_keys *out, size_t key_len, const ngtcp2_crypto_md *md,
	const uint8_t *secret, size_t secret_len)
{
	out->key_len = key_len;
	if (expand_label(out->key, key_len, md, secret, secret_len, "quic key") != 0 ||
		expand_label(out->iv, sizeof(out->iv), md, secret, secret_len, "quic iv") != 0 ||
		expand_label(out->hp, key_len, md, secret, secret_len, "quic hp") != 0)
		return QP_E_CRYPTO;
	return QP_OK;
}

/* New keys for an old suite: the backend derives them, the contexts become ours. */
int
qp_seal_update_key(ngtcp2_conn *conn, uint8_t *rx_secret, uint8_t *tx_secret,
	ngtcp2_crypto_aead_ctx *rx, uint8_t *rx_iv, ngtcp2_crypto_aead_ctx *tx, uint8_t *tx_iv,
	const uint8_t *rx_now, const uint8_t *tx_now, size_t secret_len, void *user)
{
	size_t len = ngtcp2_crypto_aead_keylen(&ngtcp2_conn_get_crypto_ctx(conn)->aead);
	ngtcp2_crypto_aead_ctx theirs_rx = {0}, theirs_tx = {0};
	uint8_t rx_key[64], tx_key[64];
	int err = QP_E_CRYPTO;

	(void)user;
	if (ngtcp2_crypto_update_key(conn, rx_secret, tx_secret, &theirs_rx, rx_key, rx_iv,
		    &theirs_tx, tx_key, tx_iv, rx_now, tx_now, secret_len) != 0)
		return NGTCP2_ERR_CALLBACK_FAILURE;
	if (!qp_seal_serves(conn)) {
		*rx = theirs_rx;
		*tx = theirs_tx;
		err = QP_OK;
	} else {
		ngtcp2_crypto_aead_ctx_free(&theirs_rx);
		ngtcp2_crypto_aead_ctx_free(&theirs_tx);
		err = qp_seal_aead_new(rx, rx_key, len);
		if (err == QP_OK && (err = qp_seal_aead_new(tx, tx_key, len)) != QP_OK) {
			seal_free(ours(rx->native_handle));
			rx->native_handle = NULL;
		}
	}
	sodium_memzero(rx_key, sizeof(rx_key));
	sodium_memzero(tx_key, sizeof(tx_key));
	return err == QP_OK ? 0 : NGTCP2_ERR_CALLBACK_FAILURE;
}
