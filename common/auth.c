/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both ends of an authentication share: which method the first bytes ask
 * for, X25519 with the check for low-order points, HMAC-SHA256 over two
 * parts. The ends themselves are in auth_server.c and auth_client.c.
 */
#include "common/auth_impl.h"

#include <string.h>

const char *
qp_auth_method_name(enum qp_auth_method method)
{
	switch (method) {
	case QP_AUTH_NONE:
		return "none";
	case QP_AUTH_X25519:
		return "x25519";
	case QP_AUTH_PSK:
		return "psk";
	}
	return "unknown";
}

/* 1: it is the magic; 0: it could become it; -1: it is not. */
static int
match_magic(const uint8_t *prefix, size_t len, const char *magic, size_t magic_len)
{
	size_t n = len < magic_len ? len : magic_len;

	if (n > 0 && memcmp(prefix, magic, n) != 0)
		return -1;
	return n == magic_len;
}

enum qp_auth_method
qp_auth_step1_method(const uint8_t *step1, size_t len)
{
	if (match_magic(step1, len, QP_WIRE_X25519_MAGIC, QP_WIRE_X25519_MAGIC_BYTES) == 1)
		return QP_AUTH_X25519;
	if (match_magic(step1, len, QP_WIRE_PSK_MAGIC, QP_WIRE_PSK_MAGIC_BYTES) == 1)
		return QP_AUTH_PSK;
	return QP_AUTH_NONE;
}

int
qp_auth_step1_length(const uint8_t *prefix, size_t len)
{
	int x25519 = match_magic(prefix, len, QP_WIRE_X25519_MAGIC, QP_WIRE_X25519_MAGIC_BYTES);
	int psk = match_magic(prefix, len, QP_WIRE_PSK_MAGIC, QP_WIRE_PSK_MAGIC_BYTES);

	if (x25519 == 1)
		return (int)QP_WIRE_X25519_STEP1_BYTES;
	if (psk == 1)
		return (int)QP_WIRE_PSK_STEP1_BYTES;
	return x25519 == 0 || psk == 0 ? QP_E_AGAIN : QP_E_PROTO;
}

void
qp_auth_fill(const struct qp_auth_random *random, void *buf, size_t len)
{
	if (random->fill != NULL)
		random->fill(random->ctx, buf, len);
	else
		randombytes_buf(buf, len);
}

void
qp_auth_hmac(const uint8_t *key, size_t key_len, const void *a, size_t a_len, const void *b,
	size_t b_len, uint8_t out[32])
{
	crypto_auth_hmacsha256_state st;

	crypto_auth_hmacsha256_init(&st, key, key_len);
	crypto_auth_hmacsha256_update(&st, a, a_len);
	if (b_len > 0)
		crypto_auth_hmacsha256_update(&st, b, b_len);
	crypto_auth_hmacsha256_final(&st, out);
	sodium_memzero(&st, sizeof(st));
}

int
qp_auth_shared_hmac(const uint8_t private_key[32], const uint8_t public_key[32],
	const uint8_t challenge[32], uint8_t out[32])
{
	uint8_t shared[32];
	/* Fails for an all-zero result (RFC 7748, 6.1): a point of low order. */
	int rc = crypto_scalarmult(shared, private_key, public_key);

	if (rc == 0)
		qp_auth_hmac(shared, sizeof(shared), challenge, 32, NULL, 0, out);
	sodium_memzero(shared, sizeof(shared));
	return rc == 0 ? QP_OK : QP_E_AUTH;
}
