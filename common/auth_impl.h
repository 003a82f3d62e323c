/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_AUTH_IMPL_H
#define QP_COMMON_AUTH_IMPL_H

#include <sodium.h>

#include "common/auth.h"

/*
 * For auth*.c alone: the layout of the steps as structs of bytes (no padding,
 * no alignment), and the primitives.
 */
struct qp_x25519_step1 {
	uint8_t magic[QP_WIRE_X25519_MAGIC_BYTES];
	uint8_t client_public[32];
	uint8_t challenge[32];
};

struct qp_x25519_step2 {
	uint8_t server_public[32];
	uint8_t ephemeral_public[32];
	uint8_t challenge[32];
	uint8_t response[32];
};

struct qp_psk_step1 {
	uint8_t magic[QP_WIRE_PSK_MAGIC_BYTES];
	uint8_t time_be[8];
	uint8_t ephemeral_public[32]; /* follows time_be: the HMAC covers both */
	uint8_t mac[32];
};

struct qp_psk_step2 {
	uint8_t ephemeral_public[32];
	uint8_t challenge[32];
	uint8_t mac[32];
};

_Static_assert(sizeof(struct qp_x25519_step1) == QP_WIRE_X25519_STEP1_BYTES, "wire layout");
_Static_assert(sizeof(struct qp_x25519_step2) == QP_WIRE_X25519_STEP2_BYTES, "wire layout");
_Static_assert(sizeof(struct qp_psk_step1) == QP_WIRE_PSK_STEP1_BYTES, "wire layout");
_Static_assert(sizeof(struct qp_psk_step2) == QP_WIRE_PSK_STEP2_BYTES, "wire layout");

void qp_auth_fill(const struct qp_auth_random *random, void *buf, size_t len);

/* HMAC-SHA256(key, a ‖ b). b may be empty. */
void qp_auth_hmac(const uint8_t *key, size_t key_len, const void *a, size_t a_len, const void *b,
	size_t b_len, uint8_t out[32]);

/* HMAC-SHA256(X25519(private, public), challenge). QP_E_AUTH for a low-order point. */
int qp_auth_shared_hmac(const uint8_t private_key[32], const uint8_t public_key[32],
	const uint8_t challenge[32], uint8_t out[32]) __attribute__((warn_unused_result));

static inline int
qp_auth_refuse(const char **why, int err, const char *text)
{
	if (why != NULL)
		*why = text;
	return err;
}

#endif
