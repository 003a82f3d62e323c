/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's side of an authentication, in the control plane. The client's
 * answer is computed ahead, when its challenge is made (X25519 gives both ends
 * the same secret), so that nothing but 32 expected bytes waits for it.
 */
#include "common/auth_impl.h"

#include <string.h>

/* A fresh ephemeral key and challenge, and what a client that knows its private key answers. */
static int
challenge_client(const struct qp_auth_policy *policy, const uint8_t client_public[32],
	uint8_t ephemeral_public[32], uint8_t challenge[32], uint8_t expected[32])
{
	uint8_t ephemeral[32];
	int err = QP_E_CRYPTO;

	qp_auth_fill(&policy->random, ephemeral, sizeof(ephemeral));
	qp_auth_fill(&policy->random, challenge, 32);
	if (crypto_scalarmult_base(ephemeral_public, ephemeral) == 0)
		err = qp_auth_shared_hmac(ephemeral, client_public, challenge, expected);
	sodium_memzero(ephemeral, sizeof(ephemeral));
	return err;
}

static int
begin_x25519(const struct qp_auth_policy *policy, const uint8_t *bytes,
	struct qp_auth_server *state, uint8_t *reply, const char **why)
{
	struct qp_x25519_step1 in;
	struct qp_x25519_step2 out;
	int err;

	memcpy(&in, bytes, sizeof(in));
	if (policy->knows == NULL || !policy->knows(policy->ctx, in.client_public))
		return qp_auth_refuse(why, QP_E_AUTH, "client key is not authorized");
	memcpy(out.server_public, policy->public_key, sizeof(out.server_public));
	err = qp_auth_shared_hmac(policy->private_key->bytes, in.client_public, in.challenge,
		out.response);
	if (err == QP_OK)
		err = challenge_client(policy, in.client_public, out.ephemeral_public,
			out.challenge, state->expected);
	if (err != QP_OK)
		return qp_auth_refuse(why, err, "client key is a point of low order");
	memcpy(state->client_key, in.client_public, sizeof(state->client_key));
	memcpy(reply, &out, sizeof(out));
	return QP_OK;
}

static bool
clock_ok(uint64_t theirs, uint64_t ours)
{
	uint64_t off = theirs > ours ? theirs - ours : ours - theirs;

	return off <= QP_WIRE_PSK_WINDOW_S;
}

/* All are tried, whichever it is: time tells how many there are, no more. */
static bool
find_psk(const struct qp_auth_policy *policy, const struct qp_psk_step1 *in, unsigned *out)
{
	unsigned found = 0, index = 0;
	uint8_t mac[32];

	for (unsigned i = 0; i < policy->npsks; i++) {
		const struct qp_secret *psk = policy->psks[i];
		unsigned equal;

		qp_auth_hmac(psk->bytes, psk->len, in->time_be, sizeof(in->time_be),
			in->ephemeral_public, sizeof(in->ephemeral_public), mac);
		equal = sodium_memcmp(mac, in->mac, sizeof(mac)) == 0;
		index |= i & (0u - equal);
		found |= equal;
	}
	sodium_memzero(mac, sizeof(mac));
	*out = index;
	return found != 0;
}

static int
begin_psk(const struct qp_auth_policy *policy, const uint8_t *bytes, uint64_t now_unix_s,
	struct qp_auth_server *state, uint8_t *reply, const char **why)
{
	const struct qp_secret *psk;
	struct qp_psk_step1 in;
	struct qp_psk_step2 out;
	int err;

	memcpy(&in, bytes, sizeof(in));
	if (!find_psk(policy, &in, &state->psk))
		return qp_auth_refuse(why, QP_E_AUTH, "pre-shared key differs");
	psk = policy->psks[state->psk];
	if (!clock_ok(qp_get_u64(in.time_be), now_unix_s))
		return qp_auth_refuse(why, QP_E_AUTH, "client's clock is more than 30 s off");
	err = challenge_client(policy, in.ephemeral_public, out.ephemeral_public, out.challenge,
		state->expected);
	if (err != QP_OK)
		return qp_auth_refuse(why, err, "client's ephemeral key is a point of low order");
	qp_auth_hmac(psk->bytes, psk->len, out.challenge, sizeof(out.challenge),
		out.ephemeral_public, sizeof(out.ephemeral_public), out.mac);
	memcpy(reply, &out, sizeof(out));
	return QP_OK;
}

static bool
method_on(const struct qp_auth_policy *policy, enum qp_auth_method method)
{
	switch (method) {
	case QP_AUTH_X25519:
		return policy->private_key != NULL && policy->private_key->len == QP_KEY_BYTES;
	case QP_AUTH_PSK:
		return policy->npsks > 0;
	case QP_AUTH_NONE:
		break;
	}
	return false;
}

int
qp_auth_server_begin(const struct qp_auth_policy *policy, const uint8_t *step1, size_t len,
	uint64_t now_unix_s, struct qp_auth_server *state,
	uint8_t reply[QP_WIRE_MAX_STEP2_BYTES], size_t *reply_len, const char **why)
{
	enum qp_auth_method method = qp_auth_step1_method(step1, len);
	int err;

	memset(state, 0, sizeof(*state));
	*reply_len = 0;
	if (!method_on(policy, QP_AUTH_X25519) && !method_on(policy, QP_AUTH_PSK))
		return qp_auth_refuse(why, QP_E_AUTH, "no authentication is configured");
	if (!method_on(policy, method))
		return qp_auth_refuse(why, QP_E_PROTO, "client asks for another method");
	if ((int)len != qp_auth_step1_length(step1, len))
		return qp_auth_refuse(why, QP_E_PROTO, "first step has the wrong length");
	if (method == QP_AUTH_X25519)
		err = begin_x25519(policy, step1, state, reply, why);
	else
		err = begin_psk(policy, step1, now_unix_s, state, reply, why);
	if (err != QP_OK) {
		qp_auth_server_clear(state);
		sodium_memzero(reply, QP_WIRE_MAX_STEP2_BYTES);
		return err;
	}
	state->method = method;
	*reply_len = method == QP_AUTH_X25519 ? QP_WIRE_X25519_STEP2_BYTES :
						QP_WIRE_PSK_STEP2_BYTES;
	return QP_OK;
}

int
qp_auth_server_finish(struct qp_auth_server *state, const uint8_t *step3, size_t len,
	const char **why)
{
	bool begun = state->method != QP_AUTH_NONE;
	bool equal = len == QP_WIRE_STEP3_BYTES &&
		     sodium_memcmp(state->expected, step3, sizeof(state->expected)) == 0;

	/* All zero would be an answer to a state that was never begun: `begun` decides first. */
	state->method = QP_AUTH_NONE;
	sodium_memzero(state->expected, sizeof(state->expected));
	if (!begun)
		return qp_auth_refuse(why, QP_E_AUTH, "answer without a challenge");
	if (!equal)
		return qp_auth_refuse(why, QP_E_AUTH, "client's answer is wrong");
	return QP_OK;
}

void
qp_auth_server_clear(struct qp_auth_server *state)
{
	sodium_memzero(state, sizeof(*state));
}
