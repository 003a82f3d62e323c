/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Authentication from hostile bytes, as server and as client, by both methods.
 * Keys, clock and randomness are those of the golden vectors, so that a corpus
 * can hold exchanges that succeed. An input is the peer's bytes one after the
 * other: a first step and an answer for the server, a reply for the client.
 */
#include "tests/fuzz/fuzz.h"

#include <sodium.h>
#include <string.h>

#include "common/auth.h"

#define NOW 1700000000u

static struct qp_auth_policy policies[2];
static const struct qp_secret *psks[2];
static struct qp_auth_client_config clients[2];
static uint8_t server_draws[64], client_draws[2][32];

/* Every exchange starts the draws anew. */
struct draws {
	const uint8_t *bytes;
	size_t at;
};

static void
deal(void *ctx, void *buf, size_t len)
{
	struct draws *d = ctx;

	memcpy(buf, d->bytes + d->at, len);
	d->at += len;
}

static void
unhex(const char *hex, uint8_t out[32])
{
	FUZZ_CHECK(sodium_hex2bin(out, 32, hex, 64, NULL, NULL, NULL) == 0);
}

static struct qp_secret *
key(const char *hex)
{
	uint8_t bytes[32];

	unhex(hex, bytes);
	return qp_secret_new(bytes, sizeof(bytes));
}

static void
set_up_x25519(void)
{
	struct qp_keyset *set = qp_keyset_new();
	uint8_t client_public[32];

	clients[0].method = QP_AUTH_X25519;
	policies[0].private_key =
		key("f0959f791148f0d7b0d227bea144cd283c9a1cc24e93e100ab8c37c06f074775");
	clients[0].private_key =
		key("9812775ec0f2b89c6a5366e4d1711afab507f970f5958c0c971f711fc6533148");
	FUZZ_CHECK(qp_key_public(policies[0].private_key, policies[0].public_key) == QP_OK);
	memcpy(clients[0].server_key, policies[0].public_key, 32);
	FUZZ_CHECK(qp_key_public(clients[0].private_key, client_public) == QP_OK);
	FUZZ_CHECK(set != NULL && qp_keyset_add(set, client_public) == QP_OK);
	policies[0].knows = qp_keyset_knows;
	policies[0].ctx = set;
}

static void
set_up(void)
{
	static const char psk[] = "correct horse battery staple";

	FUZZ_CHECK(qp_keys_init() == QP_OK);
	set_up_x25519();
	clients[1].method = QP_AUTH_PSK;
	psks[0] = qp_secret_new("another", 7);
	psks[1] = clients[1].psk = qp_secret_new(psk, sizeof(psk) - 1);
	policies[1].psks = psks;
	policies[1].npsks = 2;
	memset(server_draws, 0x77, 32);
	memset(client_draws[1], 0x55, 32);
	for (unsigned i = 0; i < 32; i++) {
		client_draws[0][i] = (uint8_t)i;
		server_draws[32 + i] = (uint8_t)(0x20 + i);
	}
}

static void
fuzz_server(struct qp_auth_policy policy, const uint8_t *data, size_t size)
{
	struct draws draws = {server_draws, 0};
	uint8_t reply[QP_WIRE_MAX_STEP2_BYTES];
	int step1 = qp_auth_step1_length(data, size), err;
	struct qp_auth_server state;
	size_t len, reply_len;
	const char *why = NULL;

	FUZZ_CHECK(step1 > 0 || step1 == QP_E_AGAIN || step1 == QP_E_PROTO);
	/* Once known, the length stays: more bytes change nothing. */
	if (step1 > 0)
		FUZZ_CHECK(qp_auth_step1_length(data, QP_WIRE_X25519_MAGIC_BYTES < size ?
							      QP_WIRE_X25519_MAGIC_BYTES : size) ==
			   step1);
	len = step1 > 0 && (size_t)step1 < size ? (size_t)step1 : size;
	policy.random = (struct qp_auth_random) {deal, &draws};
	err = qp_auth_server_begin(&policy, data, len, NOW, &state, reply, &reply_len, &why);
	FUZZ_CHECK((err == QP_OK) == (reply_len > 0));
	FUZZ_CHECK(err == QP_OK || why != NULL);
	if (err == QP_OK)
		FUZZ_CHECK((int)len == step1 &&
			   reply_len == (policy.npsks > 0 ? 96u : 128u));
	err = qp_auth_server_finish(&state, data + len, size - len, &why);
	FUZZ_CHECK(err == QP_OK || (err == QP_E_AUTH && why != NULL));
	FUZZ_CHECK(qp_auth_server_finish(&state, data + len, size - len, &why) == QP_E_AUTH);
	qp_auth_server_clear(&state);
}

static void
fuzz_client(struct qp_auth_client_config cfg, const uint8_t *client_bytes, const uint8_t *data,
	size_t size)
{
	struct draws draws = {client_bytes, 0};
	uint8_t step1[QP_WIRE_MAX_STEP1_BYTES], step3[QP_WIRE_STEP3_BYTES];
	struct qp_auth_client *c;
	const char *why = NULL;
	size_t len;
	int err;

	cfg.random = (struct qp_auth_random) {deal, &draws};
	FUZZ_CHECK(qp_auth_client_begin(&cfg, NOW, &c, step1, &len) == QP_OK);
	FUZZ_CHECK((int)len == qp_auth_step1_length(step1, len));
	err = qp_auth_client_reply(c, data, size, step3, &why);
	FUZZ_CHECK(err == QP_OK || why != NULL);
	FUZZ_CHECK(err != QP_OK || size == qp_auth_client_reply_bytes(c));
	qp_auth_client_free(c);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (policies[0].private_key == NULL)
		set_up();
	for (unsigned i = 0; i < 2; i++) {
		fuzz_server(policies[i], data, size);
		/* A client's start costs guarded memory: only for what could be a reply. */
		if (size == QP_WIRE_X25519_STEP2_BYTES || size == QP_WIRE_PSK_STEP2_BYTES)
			fuzz_client(clients[i], client_draws[i], data, size);
	}
	return 0;
}
