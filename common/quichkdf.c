/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HKDF (RFC 5869) for ngtcp2's backend and for TLS. wolfSSL's own functions for
 * QUIC make an EVP key context each time, and with it a random generator, which
 * tests itself and opens the kernel's source of entropy: 9 µs for what are two
 * hashes; wolfCrypt's HMAC takes half as long again as its hashes. A handshake has
 * 67 of those. The linker puts these in their place (common/meson.build). Any thread.
 */
#include <sodium.h>
#include <string.h>

#include <wolfssl/options.h>
#include <wolfssl/openssl/evp.h>
#include <wolfssl/quic.h>
#include <wolfssl/wolfcrypt/hmac.h>
#include <wolfssl/wolfcrypt/sha256.h>

#define IPAD UINT64_C(0x3636363636363636)
#define OPAD UINT64_C(0x5c5c5c5c5c5c5c5c)
#define BLOCK_WORDS (WC_SHA256_BLOCK_SIZE / sizeof(uint64_t))

int __wrap_wolfSSL_quic_hkdf_extract(uint8_t *dest, const WOLFSSL_EVP_MD *md, const uint8_t *secret,
	size_t secret_len, const uint8_t *salt, size_t salt_len);
int __wrap_wolfSSL_quic_hkdf_expand(uint8_t *dest, size_t len, const WOLFSSL_EVP_MD *md,
	const uint8_t *secret, size_t secret_len, const uint8_t *info, size_t info_len);
int __wrap_wolfSSL_quic_hkdf(uint8_t *dest, size_t len, const WOLFSSL_EVP_MD *md,
	const uint8_t *secret, size_t secret_len, const uint8_t *salt, size_t salt_len,
	const uint8_t *info, size_t info_len);
int __wrap_wc_HKDF_Extract_ex(int hash, const byte *salt, word32 salt_len, const byte *secret,
	word32 secret_len, byte *dest, void *heap, int device);
int __wrap_wc_HKDF_Expand_ex(int hash, const byte *secret, word32 secret_len, const byte *info,
	word32 info_len, byte *dest, word32 len, void *heap, int device);
/* wolfCrypt's. */
int __real_wc_HKDF_Extract_ex(int hash, const byte *salt, word32 salt_len, const byte *secret,
	word32 secret_len, byte *dest, void *heap, int device);
int __real_wc_HKDF_Expand_ex(int hash, const byte *secret, word32 secret_len, const byte *info,
	word32 info_len, byte *dest, word32 len, void *heap, int device);

/* All that an HMAC leaves behind, to be wiped at once. */
struct hmac {
	wc_Sha256 hash;
	uint64_t key[BLOCK_WORDS], padded[BLOCK_WORDS];
	uint8_t inner[WC_SHA256_DIGEST_SIZE];
};

static int
hash_padded_key(struct hmac *h, uint64_t pad)
{
	for (size_t i = 0; i < BLOCK_WORDS; i++)
		h->padded[i] = h->key[i] ^ pad;
	return wc_Sha256Update(&h->hash, (const uint8_t *)h->padded, sizeof(h->padded));
}

/* HMAC-SHA-256 (RFC 2104) of `text`, and of the byte `last` unless it is 0; the key is a block at most. */
static int
hmac(uint8_t *mac, const uint8_t *key, size_t key_len, const uint8_t *text, size_t len, uint8_t last)
{
	struct hmac h = {0};
	int rc = wc_InitSha256(&h.hash);

	if (key_len > 0)
		memcpy(h.key, key, key_len);
	if (rc == 0)
		rc = hash_padded_key(&h, IPAD);
	if (rc == 0 && len > 0)
		rc = wc_Sha256Update(&h.hash, text, (word32)len);
	if (rc == 0 && last != 0)
		rc = wc_Sha256Update(&h.hash, &last, 1);
	if (rc == 0)
		rc = wc_Sha256Final(&h.hash, h.inner); /* and begins anew */
	if (rc == 0)
		rc = hash_padded_key(&h, OPAD);
	if (rc == 0)
		rc = wc_Sha256Update(&h.hash, h.inner, sizeof(h.inner));
	if (rc == 0)
		rc = wc_Sha256Final(&h.hash, mac);
	wc_Sha256Free(&h.hash);
	sodium_memzero(&h, sizeof(h));
	return rc;
}

int
__wrap_wc_HKDF_Extract_ex(int hash, const byte *salt, word32 salt_len, const byte *secret,
	word32 secret_len, byte *dest, void *heap, int device)
{
	/* No salt is one of zeros, with which HMAC fills up a key anyway. */
	const size_t key_len = salt != NULL ? salt_len : 0;

	if (hash != WC_SHA256 || key_len > WC_SHA256_BLOCK_SIZE)
		return __real_wc_HKDF_Extract_ex(
			hash, salt, salt_len, secret, secret_len, dest, heap, device);
	return hmac(dest, salt, key_len, secret, secret_len, 0);
}

int
__wrap_wc_HKDF_Expand_ex(int hash, const byte *secret, word32 secret_len, const byte *info,
	word32 info_len, byte *dest, word32 len, void *heap, int device)
{
	uint8_t mac[WC_SHA256_DIGEST_SIZE];
	int rc;

	/* Keys are of one round; more than one is for wolfCrypt. */
	if (hash != WC_SHA256 || secret_len > WC_SHA256_BLOCK_SIZE || len > sizeof(mac))
		return __real_wc_HKDF_Expand_ex(
			hash, secret, secret_len, info, info_len, dest, len, heap, device);
	rc = hmac(mac, secret, secret_len, info, info_len, 1);
	if (rc == 0)
		memcpy(dest, mac, len);
	sodium_memzero(mac, sizeof(mac));
	return rc;
}

/* Those of TLS 1.3's suites; WC_HASH_TYPE_NONE, which wolfCrypt refuses, for all others. */
static int
hash_of(const WOLFSSL_EVP_MD *md)
{
	switch (wolfSSL_EVP_MD_type(md)) {
	case NID_sha256:
		return WC_SHA256;
	case NID_sha384:
		return WC_SHA384;
	}
	return WC_HASH_TYPE_NONE;
}

static int
verdict(int rc)
{
	return rc == 0 ? WOLFSSL_SUCCESS : WOLFSSL_FAILURE;
}

int
__wrap_wolfSSL_quic_hkdf_extract(uint8_t *dest, const WOLFSSL_EVP_MD *md, const uint8_t *secret,
	size_t secret_len, const uint8_t *salt, size_t salt_len)
{
	return verdict(__wrap_wc_HKDF_Extract_ex(hash_of(md), salt, (word32)salt_len, secret,
		(word32)secret_len, dest, NULL, INVALID_DEVID));
}

int
__wrap_wolfSSL_quic_hkdf_expand(uint8_t *dest, size_t len, const WOLFSSL_EVP_MD *md,
	const uint8_t *secret, size_t secret_len, const uint8_t *info, size_t info_len)
{
	return verdict(__wrap_wc_HKDF_Expand_ex(hash_of(md), secret, (word32)secret_len, info,
		(word32)info_len, dest, (word32)len, NULL, INVALID_DEVID));
}

int
__wrap_wolfSSL_quic_hkdf(uint8_t *dest, size_t len, const WOLFSSL_EVP_MD *md,
	const uint8_t *secret, size_t secret_len, const uint8_t *salt, size_t salt_len,
	const uint8_t *info, size_t info_len)
{
	uint8_t prk[WC_MAX_DIGEST_SIZE];
	const int prk_len = wc_HmacSizeByType(hash_of(md));
	int done = WOLFSSL_FAILURE;

	if (prk_len > 0)
		done = __wrap_wolfSSL_quic_hkdf_extract(prk, md, secret, secret_len, salt, salt_len);
	if (done == WOLFSSL_SUCCESS)
		done = __wrap_wolfSSL_quic_hkdf_expand(
			dest, len, md, prk, (size_t)prk_len, info, info_len);
	sodium_memzero(prk, sizeof(prk));
	return done;
}
