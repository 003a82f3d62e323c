/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HKDF (RFC 5869) for ngtcp2's backend. wolfSSL's own functions for QUIC make an
 * EVP key context each time, and with it a random generator, which tests itself
 * and opens the kernel's source of entropy: 9 µs for what are two hashes, twenty
 * times a handshake. The linker puts these in their place (common/meson.build).
 * Any thread.
 */
#include <wolfssl/options.h>
#include <wolfssl/openssl/evp.h>
#include <wolfssl/quic.h>
#include <wolfssl/wolfcrypt/hmac.h>

int __wrap_wolfSSL_quic_hkdf_extract(uint8_t *dest, const WOLFSSL_EVP_MD *md, const uint8_t *secret,
	size_t secret_len, const uint8_t *salt, size_t salt_len);
int __wrap_wolfSSL_quic_hkdf_expand(uint8_t *dest, size_t len, const WOLFSSL_EVP_MD *md,
	const uint8_t *secret, size_t secret_len, const uint8_t *info, size_t info_len);
int __wrap_wolfSSL_quic_hkdf(uint8_t *dest, size_t len, const WOLFSSL_EVP_MD *md,
	const uint8_t *secret, size_t secret_len, const uint8_t *salt, size_t salt_len,
	const uint8_t *info, size_t info_len);

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
	return verdict(wc_HKDF_Extract(
		hash_of(md), salt, (word32)salt_len, secret, (word32)secret_len, dest));
}

int
__wrap_wolfSSL_quic_hkdf_expand(uint8_t *dest, size_t len, const WOLFSSL_EVP_MD *md,
	const uint8_t *secret, size_t secret_len, const uint8_t *info, size_t info_len)
{
	return verdict(wc_HKDF_Expand(hash_of(md), secret, (word32)secret_len, info,
		(word32)info_len, dest, (word32)len));
}

int
__wrap_wolfSSL_quic_hkdf(uint8_t *dest, size_t len, const WOLFSSL_EVP_MD *md,
	const uint8_t *secret, size_t secret_len, const uint8_t *salt, size_t salt_len,
	const uint8_t *info, size_t info_len)
{
	return verdict(wc_HKDF(hash_of(md), secret, (word32)secret_len, salt, (word32)salt_len, info,
		(word32)info_len, dest, (word32)len));
}
