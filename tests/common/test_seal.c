/* SPDX-License-Identifier: Apache-2.0 */
/* Packet protection against the examples of RFC 9001, appendix A, and against ngtcp2's backend. */
#include "common/quicseal.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <string.h>
#include <wolfssl/openssl/evp.h>

static ngtcp2_crypto_md sha256;
static ngtcp2_crypto_aead aead;

static void
choose(const WOLFSSL_EVP_CIPHER *cipher)
{
	aead = (ngtcp2_crypto_aead) {.native_handle = (void *)(uintptr_t)cipher,
		.max_overhead = wolfSSL_quic_get_aead_tag_len(cipher)};
}

static void
start(void)
{
	cr_assert_eq(qp_quic_init(), QP_OK);
	ngtcp2_crypto_md_init(&sha256, (void *)(uintptr_t)wolfSSL_EVP_sha256());
	choose(wolfSSL_EVP_aes_128_gcm());
}

TestSuite(seal, .init = start, .timeout = 60);

static size_t
from_hex(const char *hex, uint8_t *out, size_t cap)
{
	size_t len;

	cr_assert_eq(sodium_hex2bin(out, cap, hex, strlen(hex), NULL, &len, NULL), 0);
	return len;
}

static void
expect_hex(const char *what, const uint8_t *bytes, size_t len, const char *hex)
{
	char text[600];

	cr_assert_lt(2 * len, sizeof(text));
	sodium_bin2hex(text, sizeof(text), bytes, len);
	cr_expect_str_eq(text, hex, "%s", what);
}

#define SERVER_SECRET "3c199828fd139efd216c155ad844cc81fb82fa8d7446fa7d78be803acdda951b"
#define SERVER_HEADER "c1000000010008f067a5502a4262b50040750001"
#define SERVER_PLAIN                                                                               \
	"02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf73988cfc79825df566dc5430b9a" \
	"045a1200130100002e00330024001d00209d3c940d89690b84d08a60993c144eca684d1081287c834d5311bc" \
	"f32bb9da1a002b00020304"
#define SERVER_SEALED                                                                              \
	"5a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb38cc5a99f5ede4cf73c3ec2493a1839b3" \
	"dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84022f8ef4cdd93795d77d06ed" \
	"bb7aaf2f58891850abbdca3d20398c276456cbc42158407dd074ee"

static struct qp_seal_keys
derive(const char *secret_hex)
{
	struct qp_seal_keys keys;
	uint8_t secret[32];

	from_hex(secret_hex, secret, sizeof(secret));
	cr_assert_eq(qp_seal_derive(&keys, 16, &sha256, secret, sizeof(secret)), QP_OK);
	return keys;
}

/* A.1 */
Test(seal, keys_are_those_of_the_rfc)
{
	struct qp_seal_keys keys =
		derive("c00cf151ca5be075ed0ebfb5c80323c42d6b7db67881289af4008f1f6c357aea");

	expect_hex("client key", keys.key, 16, "1f369613dd76d5467730efcbe3b1a22d");
	expect_hex("client iv", keys.iv, 12, "fa044b2f42a3fd3b46fb255c");
	expect_hex("client hp", keys.hp, 16, "9f50449e04a0e810283a1e9933adedd2");
	keys = derive(SERVER_SECRET);
	expect_hex("server key", keys.key, 16, "cf3a5331653c364c88f0f379b6067e37");
	expect_hex("server iv", keys.iv, 12, "0ac1493ca1905853b0bba03e");
	expect_hex("server hp", keys.hp, 16, "c206b8d9b9f0f37644430b490eeaa314");
}

static void
mask(const struct qp_seal_keys *keys, const char *sample_hex, const char *expected)
{
	ngtcp2_crypto_cipher_ctx hp = {0};
	uint8_t sample[16], out[16];

	from_hex(sample_hex, sample, sizeof(sample));
	cr_assert_eq(qp_seal_hp_new(&hp, keys->hp, keys->key_len), QP_OK);
	cr_assert_eq(qp_seal_hp_mask(out, NULL, &hp, sample), 0);
	expect_hex("mask", out, 5, expected);
	qp_seal_delete_cipher(NULL, &hp, NULL);
}

/* A.2, A.3 */
Test(seal, masks_are_those_of_the_rfc)
{
	struct qp_seal_keys keys =
		derive("c00cf151ca5be075ed0ebfb5c80323c42d6b7db67881289af4008f1f6c357aea");

	mask(&keys, "d1b1c98dd7689fb8ec11d242b123dc9b", "437b9aec36");
	keys = derive(SERVER_SECRET);
	mask(&keys, "2cd0991cd25b0aac406a5816b6394100", "2ec0d8356a");
}

/* The nonce of packet number 1 (RFC 9001, 5.3). */
static void
nonce_of_one(const struct qp_seal_keys *keys, uint8_t nonce[12])
{
	memcpy(nonce, keys->iv, 12);
	nonce[11] ^= 1;
}

/* A.3 */
Test(seal, packet_is_that_of_the_rfc_in_place_too)
{
	struct qp_seal_keys keys = derive(SERVER_SECRET);
	uint8_t header[32], plain[128], packet[160], nonce[12];
	size_t header_len = from_hex(SERVER_HEADER, header, sizeof(header));
	size_t len = from_hex(SERVER_PLAIN, plain, sizeof(plain));
	ngtcp2_crypto_aead_ctx ctx = {0};

	nonce_of_one(&keys, nonce);
	cr_assert_eq(qp_seal_aead_new(&ctx, keys.key, keys.key_len), QP_OK);
	cr_assert_eq(qp_seal_encrypt(packet, &aead, &ctx, plain, len, nonce, 12, header, header_len),
		0);
	expect_hex("packet", packet, len + 16, SERVER_SEALED);
	memcpy(packet, plain, len);
	cr_assert_eq(
		qp_seal_encrypt(packet, &aead, &ctx, packet, len, nonce, 12, header, header_len), 0);
	expect_hex("packet in place", packet, len + 16, SERVER_SEALED);
	cr_assert_eq(qp_seal_decrypt(packet, &aead, &ctx, packet, len + 16, nonce, 12, header,
			     header_len),
		0);
	cr_expect_arr_eq(packet, plain, len);
	qp_seal_delete_aead(NULL, &ctx, NULL);
}

/* Every bit of packet, header and nonce counts. */
Test(seal, nothing_that_was_changed_opens)
{
	struct qp_seal_keys keys = derive(SERVER_SECRET);
	uint8_t header[32], packet[160], out[160], nonce[12];
	size_t header_len = from_hex(SERVER_HEADER, header, sizeof(header));
	size_t len = from_hex(SERVER_SEALED, packet, sizeof(packet));
	ngtcp2_crypto_aead_ctx ctx = {0};
	struct {
		uint8_t *bytes;
		size_t len;
	} parts[] = {{packet, len}, {header, header_len}, {nonce, sizeof(nonce)}};

	nonce_of_one(&keys, nonce);
	cr_assert_eq(qp_seal_aead_new(&ctx, keys.key, keys.key_len), QP_OK);
	for (size_t p = 0; p < 3; p++) {
		for (size_t bit = 0; bit < 8 * parts[p].len; bit++) {
			parts[p].bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
			cr_assert_eq(qp_seal_decrypt(out, &aead, &ctx, packet, len, nonce, 12, header,
					     header_len),
				NGTCP2_ERR_DECRYPT, "part %zu, bit %zu", p, bit);
			parts[p].bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
	for (size_t n = 0; n < 16; n++)
		cr_assert_eq(
			qp_seal_decrypt(out, &aead, &ctx, packet, n, nonce, 12, header, header_len),
			NGTCP2_ERR_DECRYPT, "%zu bytes", n);
	cr_assert_eq(qp_seal_decrypt(out, &aead, &ctx, packet, len, nonce, 12, header, header_len), 0);
	qp_seal_delete_aead(NULL, &ctx, NULL);
}

/* Any length, either key size: what the backend seals we open, and the other way round. */
Test(seal, the_backend_understands_us_at_any_length)
{
	uint8_t key[32], nonce[12], header[40], plain[1500], ours[1520], theirs[1520], out[1520];

	for (size_t key_len = 16; key_len <= 32; key_len += 16) {
		ngtcp2_crypto_aead_ctx mine = {0}, enc = {0};

		choose(key_len == 16 ? wolfSSL_EVP_aes_128_gcm() : wolfSSL_EVP_aes_256_gcm());
		randombytes_buf(key, sizeof(key));
		randombytes_buf(nonce, sizeof(nonce));
		randombytes_buf(header, sizeof(header));
		randombytes_buf(plain, sizeof(plain));
		cr_assert_eq(qp_seal_aead_new(&mine, key, key_len), QP_OK);
		cr_assert_eq(ngtcp2_crypto_aead_ctx_encrypt_init(&enc, &aead, key, 12), 0);
		for (size_t len = 0; len <= sizeof(plain); len += len < 300 ? 1 : 97) {
			cr_assert_eq(qp_seal_encrypt(ours, &aead, &mine, plain, len, nonce, 12,
					     header, len % sizeof(header)),
				0);
			cr_assert_eq(qp_seal_encrypt(theirs, &aead, &enc, plain, len, nonce, 12,
					     header, len % sizeof(header)),
				0);
			cr_assert_arr_eq(ours, theirs, len + 16, "%zu bytes", len);
			cr_assert_eq(qp_seal_decrypt(out, &aead, &mine, theirs, len + 16, nonce, 12,
					     header, len % sizeof(header)),
				0);
			cr_assert_arr_eq(out, plain, len, "%zu bytes", len);
		}
		qp_seal_delete_aead(NULL, &mine, NULL);
		qp_seal_delete_aead(NULL, &enc, NULL);
	}
}

/* RFC 5869, A.1: what the linker puts in the place of wolfSSL's functions. */
Test(seal, hkdf_is_that_of_the_rfc)
{
	uint8_t ikm[22], salt[13], info[10], prk[32], okm[42];

	memset(ikm, 0x0b, sizeof(ikm));
	for (size_t i = 0; i < sizeof(salt); i++)
		salt[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof(info); i++)
		info[i] = (uint8_t)(0xf0 + i);
	cr_assert_eq(ngtcp2_crypto_hkdf_extract(prk, &sha256, ikm, sizeof(ikm), salt, sizeof(salt)), 0);
	expect_hex("PRK", prk, sizeof(prk),
		"077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
	cr_assert_eq(ngtcp2_crypto_hkdf_expand(
			     okm, sizeof(okm), &sha256, prk, sizeof(prk), info, sizeof(info)),
		0);
	expect_hex("OKM", okm, sizeof(okm),
		"3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
	memset(okm, 0, sizeof(okm));
	cr_assert_eq(ngtcp2_crypto_hkdf(okm, sizeof(okm), &sha256, ikm, sizeof(ikm), salt,
			     sizeof(salt), info, sizeof(info)),
		0);
	expect_hex("OKM at once", okm, sizeof(okm),
		"3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
}

/* No suite has it; rather no key than a wrong one. */
Test(seal, hkdf_with_another_hash_is_refused)
{
	ngtcp2_crypto_md sha1 = {.native_handle = (void *)(uintptr_t)wolfSSL_EVP_sha1()};
	uint8_t secret[20] = {0}, out[16];

	cr_expect_neq(ngtcp2_crypto_hkdf_expand(
			      out, sizeof(out), &sha1, secret, sizeof(secret), secret, 1),
		0);
}
