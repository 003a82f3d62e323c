/* SPDX-License-Identifier: Apache-2.0 */
/* HKDF (common/quichkdf.c) against RFC 5869's examples and libsodium's HMAC. */
#include <criterion/criterion.h>
#include <sodium.h>
#include <string.h>

#include "common/quicglue.h"

#include <wolfssl/openssl/evp.h>
#include <wolfssl/quic.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/hmac.h>

#define MOST 200

static void
start(void)
{
	cr_assert_eq(qp_quic_init(), QP_OK);
}

TestSuite(hkdf, .init = start, .timeout = 60);

static size_t
from_hex(const char *hex, uint8_t *out)
{
	size_t len;

	cr_assert_eq(sodium_hex2bin(out, MOST, hex, strlen(hex), NULL, &len, NULL), 0);
	return len;
}

static void
counted(uint8_t *out, uint8_t from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(from + i);
}

static void
expect(const uint8_t *secret, size_t nsecret, const uint8_t *salt, size_t nsalt, const uint8_t *info,
	size_t ninfo, const char *hex)
{
	uint8_t expected[MOST], got[MOST], prk[32];
	const size_t len = from_hex(hex, expected);
	const WOLFSSL_EVP_MD *md = wolfSSL_EVP_sha256();

	cr_assert_eq(wolfSSL_quic_hkdf(got, len, md, secret, nsecret, salt, nsalt, info, ninfo),
		WOLFSSL_SUCCESS);
	cr_expect_arr_eq(got, expected, len, "at once");
	cr_assert_eq(wolfSSL_quic_hkdf_extract(prk, md, secret, nsecret, salt, nsalt), WOLFSSL_SUCCESS);
	/* One round, as keys are made; a longer one is wolfCrypt's. */
	for (size_t n = 1; n <= len; n++) {
		memset(got, 0, sizeof(got));
		cr_assert_eq(wolfSSL_quic_hkdf_expand(got, n, md, prk, sizeof(prk), info, ninfo),
			WOLFSSL_SUCCESS);
		cr_expect_arr_eq(got, expected, n, "%zu bytes", n);
		cr_expect_eq(got[n], 0, "beyond %zu bytes", n);
	}
}

Test(hkdf, rfc_5869_basic)
{
	uint8_t secret[MOST], salt[MOST], info[MOST];

	memset(secret, 0x0b, 22);
	counted(salt, 0, 13);
	counted(info, 0xf0, 10);
	expect(secret, 22, salt, 13, info, 10,
		"3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
}

Test(hkdf, rfc_5869_longer_than_a_block)
{
	uint8_t secret[MOST], salt[MOST], info[MOST];

	counted(secret, 0, 80);
	counted(salt, 0x60, 80);
	counted(info, 0xb0, 80);
	expect(secret, 80, salt, 80, info, 80,
		"b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c6"
		"5e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87");
}

Test(hkdf, rfc_5869_no_salt)
{
	uint8_t secret[MOST];

	memset(secret, 0x0b, 22);
	expect(secret, 22, NULL, 0, NULL, 0,
		"8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}

/* TLS asks wolfCrypt's functions. */
Test(hkdf, extract_is_hmac_of_any_length)
{
	uint8_t key[100], text[150], got[32], expected[32];
	crypto_auth_hmacsha256_state state;

	for (unsigned nkey = 0; nkey <= sizeof(key); nkey++) {
		const unsigned ntext = nkey * 3 / 2;

		randombytes_buf(key, sizeof(key));
		randombytes_buf(text, sizeof(text));
		crypto_auth_hmacsha256_init(&state, key, nkey);
		crypto_auth_hmacsha256_update(&state, text, ntext);
		crypto_auth_hmacsha256_final(&state, expected);
		cr_assert_eq(wc_HKDF_Extract_ex(
				     WC_SHA256, key, nkey, text, ntext, got, NULL, INVALID_DEVID),
			0);
		cr_expect_arr_eq(got, expected, 32, "a key of %u bytes", nkey);
		/* In place, as TLS does it. */
		memcpy(text, key, nkey);
		cr_assert_eq(wc_HKDF_Extract_ex(
				     WC_SHA256, key, nkey, text, nkey, got, NULL, INVALID_DEVID),
			0);
		if (nkey >= 32) {
			cr_assert_eq(wc_HKDF_Extract_ex(
					     WC_SHA256, key, nkey, text, nkey, text, NULL, INVALID_DEVID),
				0);
			cr_expect_arr_eq(text, got, 32, "a key of %u bytes, in place", nkey);
		}
	}
}

Test(hkdf, sha_384_is_wolfcrypts)
{
	uint8_t secret[48], label[20], whole[MOST], once[48], prk[48];
	const WOLFSSL_EVP_MD *md = wolfSSL_EVP_sha384();

	randombytes_buf(secret, sizeof(secret));
	randombytes_buf(label, sizeof(label));
	cr_assert_eq(wolfSSL_quic_hkdf_extract(prk, md, secret, 48, label, 20), WOLFSSL_SUCCESS);
	cr_assert_eq(wolfSSL_quic_hkdf_expand(once, 48, md, prk, 48, label, 20), WOLFSSL_SUCCESS);
	cr_assert_eq(wc_HKDF(WC_HASH_TYPE_SHA384, secret, 48, label, 20, label, 20, whole, 48), 0);
	cr_expect_arr_eq(once, whole, 48);
}

Test(hkdf, another_hash_is_refused)
{
	uint8_t secret[16] = {1}, out[16];

	cr_expect_eq(wolfSSL_quic_hkdf(out, 16, wolfSSL_EVP_sha1(), secret, 16, NULL, 0, NULL, 0),
		WOLFSSL_FAILURE);
}
