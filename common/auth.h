/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_AUTH_H
#define QP_COMMON_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/keys.h"
#include "common/wire.h"

/*
 * The authentication of quicport/1, both methods and both sides, as pure
 * state machines: bytes in, bytes out, the clock and the random source are
 * arguments. No I/O, no logging. Any thread, one at a time for one state.
 *
 * Every comparison of secrets and keys is constant time. `*why` (a static
 * string, for this side's log and never for the peer) says which check failed;
 * `why` may be NULL.
 */
enum qp_auth_method {
	QP_AUTH_NONE = 0,
	QP_AUTH_X25519 = 1,
	QP_AUTH_PSK = 2,
};

/* "x25519", "psk", "none" */
const char *qp_auth_method_name(enum qp_auth_method method);

/*
 * A random source. All zero: libsodium's. Only golden tests set another.
 * Order of the draws: server: ephemeral private key (32), challenge (32);
 * client: X25519: challenge (32); PSK: ephemeral private key (32).
 */
struct qp_auth_random {
	void (*fill)(void *ctx, void *buf, size_t len);
	void *ctx;
};

/*
 * How a server decides; both methods may be on side by side. Everything is
 * borrowed and read only; one policy serves any number of authentications.
 */
struct qp_auth_policy {
	/* QP_AUTH_X25519 */
	const struct qp_secret *private_key; /* 32 bytes; NULL: the method is off */
	uint8_t public_key[QP_KEY_BYTES];    /* qp_key_public(private_key) */
	/* Whether this client may come; in constant time. NULL: nobody may. */
	bool (*knows)(const void *ctx, const uint8_t key[QP_KEY_BYTES]);
	const void *ctx;
	/* QP_AUTH_PSK: each is tried, whichever matches */
	unsigned npsks;                       /* 0: the method is off */
	const struct qp_secret *const *psks;  /* each of at least one byte */
	struct qp_auth_random random;
};

/*
 * How many bytes the client's first step has, from the first bytes of stream
 * 0: its length (77 or 84), QP_E_AGAIN while `len` bytes do not tell yet,
 * QP_E_PROTO as soon as they are neither magic's beginning.
 */
int qp_auth_step1_length(const uint8_t *prefix, size_t len);

/* The method that a first step asks for; QP_AUTH_NONE when it is neither. For counters. */
enum qp_auth_method qp_auth_step1_method(const uint8_t *step1, size_t len);

/*
 * A server's half-done authentication: what the client must answer, and who it
 * says it is. Holds no key that outlives it (the ephemeral key is gone when
 * begin returns), so a plain struct of the caller's does; copying is allowed.
 * All zero: not begun. Life: from begin to finish or clear.
 */
struct qp_auth_server {
	enum qp_auth_method method;
	uint8_t expected[32];
	uint8_t client_key[QP_KEY_BYTES]; /* X25519: the client's public key; PSK: zeros */
	unsigned psk; /* PSK: its index in the policy that began */
};

/*
 * The client's first step, whole. On 0 `reply` holds `*reply_len` bytes for the
 * client (128 for X25519, 96 for PSK). QP_E_AUTH: not admitted; QP_E_PROTO: not
 * a first step of a method that is on, or of the wrong length; QP_E_CRYPTO. On
 * failure `state` is all zero and `reply` is wiped: close, say nothing.
 */
int qp_auth_server_begin(const struct qp_auth_policy *policy, const uint8_t *step1, size_t len,
	uint64_t now_unix_s, struct qp_auth_server *state,
	uint8_t reply[QP_WIRE_MAX_STEP2_BYTES], size_t *reply_len, const char **why)
	__attribute__((warn_unused_result));

/*
 * The client's answer (32 bytes). 0: authenticated; state->client_key or ->psk says who.
 * QP_E_AUTH otherwise, also for a state that was not begun or was used: one try
 * a state. The expected answer is wiped in either case.
 */
int qp_auth_server_finish(struct qp_auth_server *state, const uint8_t *step3, size_t len,
	const char **why) __attribute__((warn_unused_result));

/* Wipes. Safe on a state that is all zero. */
void qp_auth_server_clear(struct qp_auth_server *state);

/* What a client proves and expects. Borrowed until qp_auth_client_free. */
struct qp_auth_client_config {
	enum qp_auth_method method;
	const struct qp_secret *private_key;  /* X25519: 32 bytes */
	uint8_t server_key[QP_KEY_BYTES];     /* X25519: the only server that is accepted */
	const struct qp_secret *psk;          /* PSK: at least one byte */
	struct qp_auth_random random;
};

/* In guarded memory, wiped when freed. */
struct qp_auth_client;

/*
 * Makes the first step: `*step1_len` bytes. 0, QP_E_INVAL (incomplete
 * configuration), QP_E_NOMEM, QP_E_CRYPTO.
 */
int qp_auth_client_begin(const struct qp_auth_client_config *cfg, uint64_t now_unix_s,
	struct qp_auth_client **out, uint8_t step1[QP_WIRE_MAX_STEP1_BYTES], size_t *step1_len)
	__attribute__((warn_unused_result));

/* The exact length of the server's reply: 128 or 96. */
size_t qp_auth_client_reply_bytes(const struct qp_auth_client *c);

/*
 * The server's reply, whole. On 0 `step3` holds the client's answer. QP_E_AUTH:
 * not the expected server (nothing of ours was revealed), QP_E_PROTO: wrong
 * length, QP_E_CRYPTO. One try a state.
 */
int qp_auth_client_reply(struct qp_auth_client *c, const uint8_t *step2, size_t len,
	uint8_t step3[QP_WIRE_STEP3_BYTES], const char **why) __attribute__((warn_unused_result));

/* Wipes and frees. NULL is allowed. */
void qp_auth_client_free(struct qp_auth_client *c);

#endif
