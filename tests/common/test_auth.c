/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Authentication: golden bytes of both methods and both sides, then every way
 * to get it wrong.
 */
#include "common/auth.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/common/support.h"

#define NOW 1700000000u

/* A random source that deals out what the vectors say, in the documented order. */
struct script {
	uint8_t bytes[64];
	size_t at;
};

static void
deal(void *ctx, void *buf, size_t len)
{
	struct script *s = ctx;

	cr_assert(le(sz, s->at + len, sizeof(s->bytes)));
	memcpy(buf, s->bytes + s->at, len);
	s->at += len;
}

/* One golden exchange, with policy and client configuration that produce it. */
struct exchange {
	uint8_t step1[128], step2[128], step3[32];
	size_t step1_len, step2_len;
	struct script server_random, client_random;
	struct qp_secret *server_secret, *client_secret; /* X25519 keys, or the PSK twice */
	const struct qp_secret *psks[3];
	struct qp_keyset *set;
	struct qp_auth_policy policy;
	struct qp_auth_client_config client;
};

static void
load_steps(struct exchange *x, const json_t *part)
{
	x->step1_len = vector_bytes(part, x->step1, sizeof(x->step1), "step1_client", NULL);
	x->step2_len = vector_bytes(part, x->step2, sizeof(x->step2), "step2_server", NULL);
	cr_assert(eq(sz, vector_bytes(part, x->step3, 32, "step3_client", NULL), 32));
	vector_bytes(part, x->server_random.bytes, 32, "server_ephemeral_private", NULL);
	x->policy.random = (struct qp_auth_random) {deal, &x->server_random};
	x->client.random = (struct qp_auth_random) {deal, &x->client_random};
}

static struct exchange *
x25519_exchange(void)
{
	struct exchange *x = calloc(1, sizeof(*x));
	json_t *root = vectors_load();
	const json_t *part = json_object_get(root, "x25519");
	struct qp_keyset *set = qp_keyset_new();
	uint8_t key[32];

	cr_assert(eq(int, qp_keys_init(), QP_OK));
	load_steps(x, part);
	vector_bytes(part, x->server_random.bytes + 32, 32, "server_challenge", NULL);
	vector_bytes(part, x->client_random.bytes, 32, "client_challenge", NULL);
	vector_bytes(part, key, 32, "client_private", NULL);
	x->client_secret = qp_secret_new(key, 32);
	vector_bytes(part, key, 32, "server_private", NULL);
	x->server_secret = qp_secret_new(key, 32);
	vector_bytes(part, key, 32, "client_public", NULL);
	cr_assert(eq(int, qp_keyset_add(set, key), QP_OK));
	x->client.method = QP_AUTH_X25519;
	x->policy.private_key = x->server_secret;
	x->policy.knows = qp_keyset_knows;
	x->policy.ctx = x->set = set;
	cr_assert(eq(int, qp_key_public(x->server_secret, x->policy.public_key), QP_OK));
	x->client.private_key = x->client_secret;
	vector_bytes(part, x->client.server_key, 32, "server_public", NULL);
	json_decref(root);
	return x;
}

static struct exchange *
psk_exchange(void)
{
	struct exchange *x = calloc(1, sizeof(*x));
	json_t *root = vectors_load();
	const json_t *part = json_object_get(root, "psk");
	const char *psk = json_string_value(json_object_get(part, "psk"));

	cr_assert(eq(int, qp_keys_init(), QP_OK));
	cr_assert(eq(llong, json_integer_value(json_object_get(part, "time")), NOW));
	load_steps(x, part);
	vector_bytes(part, x->server_random.bytes + 32, 32, "challenge", NULL);
	vector_bytes(part, x->client_random.bytes, 32, "client_ephemeral_private", NULL);
	x->server_secret = qp_secret_new(psk, strlen(psk));
	x->client_secret = qp_secret_new(psk, strlen(psk));
	x->client.method = QP_AUTH_PSK;
	x->psks[0] = x->server_secret;
	x->policy.psks = x->psks;
	x->policy.npsks = 1;
	x->client.psk = x->client_secret;
	json_decref(root);
	return x;
}

static void
exchange_free(struct exchange *x)
{
	qp_secret_free(x->server_secret);
	qp_secret_free(x->client_secret);
	qp_keyset_free(x->set);
	free(x);
}

static struct exchange *
exchange_new(enum qp_auth_method method)
{
	return method == QP_AUTH_X25519 ? x25519_exchange() : psk_exchange();
}

static const enum qp_auth_method methods[] = {QP_AUTH_X25519, QP_AUTH_PSK};

/* Server's begin on given bytes, from memory of exactly that size. */
static int
begin(struct exchange *x, const uint8_t *bytes, size_t len, uint64_t now,
	struct qp_auth_server *state, const char **why)
{
	uint8_t *copy = malloc(len + (len == 0)), reply[QP_WIRE_MAX_STEP2_BYTES];
	size_t reply_len = 999;
	int err;

	memcpy(copy, bytes, len);
	x->server_random.at = 0;
	err = qp_auth_server_begin(&x->policy, copy, len, now, state, reply, &reply_len, why);
	free(copy);
	if (err != QP_OK) {
		static const struct qp_auth_server zero;

		cr_assert(eq(sz, reply_len, 0), "nothing may go to a refused client");
		cr_assert(eq(int, memcmp(state, &zero, sizeof(zero)), 0));
	}
	return err;
}

Test(auth, golden_server_answers_to_the_byte)
{
	for (size_t m = 0; m < 2; m++) {
		struct exchange *x = exchange_new(methods[m]);
		uint8_t reply[QP_WIRE_MAX_STEP2_BYTES];
		struct qp_auth_server state;
		const char *why = NULL;
		size_t len;

		cr_assert(eq(int, qp_auth_server_begin(&x->policy, x->step1, x->step1_len, NOW,
			&state, reply, &len, &why), QP_OK), "%s", why);
		cr_assert(eq(sz, len, x->step2_len));
		cr_assert(eq(int, memcmp(reply, x->step2, len), 0));
		cr_assert(eq(int, qp_auth_server_finish(&state, x->step3, 32, &why), QP_OK));
		if (methods[m] == QP_AUTH_X25519)
			cr_assert(qp_keyset_contains(x->set, state.client_key));
		exchange_free(x);
	}
}

Test(auth, golden_client_speaks_to_the_byte)
{
	for (size_t m = 0; m < 2; m++) {
		struct exchange *x = exchange_new(methods[m]);
		uint8_t step1[QP_WIRE_MAX_STEP1_BYTES], step3[32];
		struct qp_auth_client *c;
		const char *why = NULL;
		size_t len;

		cr_assert(eq(int, qp_auth_client_begin(&x->client, NOW, &c, step1, &len), QP_OK));
		cr_assert(eq(sz, len, x->step1_len));
		cr_assert(eq(int, memcmp(step1, x->step1, len), 0));
		cr_assert(eq(sz, qp_auth_client_reply_bytes(c), x->step2_len));
		cr_assert(eq(int, qp_auth_client_reply(c, x->step2, x->step2_len, step3, &why),
			QP_OK), "%s", why);
		cr_assert(eq(int, memcmp(step3, x->step3, 32), 0));
		qp_auth_client_free(c);
		exchange_free(x);
	}
}

Test(auth, fresh_exchanges_succeed_and_differ)
{
	for (size_t m = 0; m < 2; m++) {
		struct exchange *x = exchange_new(methods[m]);
		uint8_t seen[2][QP_WIRE_MAX_STEP2_BYTES] = {{0}};

		x->policy.random = x->client.random = (struct qp_auth_random) {0};
		for (int round = 0; round < 2; round++) {
			uint8_t step1[QP_WIRE_MAX_STEP1_BYTES], step3[32];
			struct qp_auth_server state;
			struct qp_auth_client *c;
			size_t n1, n2;

			cr_assert(eq(int, qp_auth_client_begin(&x->client, NOW, &c, step1, &n1),
				QP_OK));
			cr_assert(eq(int, qp_auth_server_begin(&x->policy, step1, n1, NOW, &state,
				seen[round], &n2, NULL), QP_OK));
			cr_assert(eq(int, qp_auth_client_reply(c, seen[round], n2, step3, NULL),
				QP_OK));
			cr_assert(eq(int, qp_auth_server_finish(&state, step3, 32, NULL), QP_OK));
			qp_auth_client_free(c);
		}
		cr_assert(ne(int, memcmp(seen[0] + 32, seen[1] + 32, 32), 0));
		exchange_free(x);
	}
}

Test(auth, step1_length_is_known_from_the_magic_alone)
{
	for (size_t n = 0; n < QP_WIRE_X25519_MAGIC_BYTES; n++)
		cr_assert(eq(int, qp_auth_step1_length((const uint8_t *)"QUICPORT_AUTH", n),
			QP_E_AGAIN), "%zu", n);
	cr_assert(eq(int, qp_auth_step1_length((const uint8_t *)"QUICPORT_AUTH", 13), 77));
	for (size_t n = 0; n < QP_WIRE_PSK_MAGIC_BYTES; n++)
		cr_assert(eq(int, qp_auth_step1_length((const uint8_t *)"QUICPORT_PSK", n),
			QP_E_AGAIN), "%zu", n);
	cr_assert(eq(int, qp_auth_step1_length((const uint8_t *)"QUICPORT_PSK", 12), 84));
}

Test(auth, step1_wrong_magic_is_refused_at_its_first_wrong_byte)
{
	for (size_t i = 0; i < 12; i++) {
		uint8_t bytes[13];

		memcpy(bytes, "QUICPORT_AUTH", 13);
		bytes[i] ^= 0x20;
		for (size_t n = 0; n <= i; n++)
			cr_assert(eq(int, qp_auth_step1_length(bytes, n), QP_E_AGAIN));
		cr_assert(eq(int, qp_auth_step1_length(bytes, i + 1), QP_E_PROTO));
	}
	cr_assert(eq(int, qp_auth_step1_length((const uint8_t *)"QUICPORT_AUTx", 13), QP_E_PROTO));
}

Test(auth, server_every_truncation_and_excess_of_step1_is_refused)
{
	for (size_t m = 0; m < 2; m++) {
		struct exchange *x = exchange_new(methods[m]);
		struct qp_auth_server state;

		for (size_t len = 0; len <= sizeof(x->step1); len++) {
			if (len == x->step1_len)
				continue;
			cr_assert(eq(int, begin(x, x->step1, len, NOW, &state, NULL), QP_E_PROTO),
				"%zu", len);
			cr_assert(eq(int, qp_auth_server_finish(&state, x->step3, 32, NULL),
				QP_E_AUTH));
		}
		exchange_free(x);
	}
}

/*
 * X25519 ignores the top bit of a public key, and its first step is not signed
 * as a whole: a flipped challenge changes the answer only.
 */
Test(auth, server_any_flipped_bit_of_step1_never_authenticates_the_recorded_answer_of_psk)
{
	struct exchange *x = psk_exchange();
	struct qp_auth_server state;

	for (size_t bit = 0; bit < x->step1_len * 8; bit++) {
		int err;

		x->step1[bit / 8] ^= (uint8_t)(1u << bit % 8);
		err = begin(x, x->step1, x->step1_len, NOW, &state, NULL);
		cr_assert(eq(int, err, bit / 8 < 12 ? QP_E_PROTO : QP_E_AUTH), "bit %zu", bit);
		x->step1[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	exchange_free(x);
}

Test(auth, server_any_flipped_bit_of_the_clients_key_is_an_unknown_key)
{
	struct exchange *x = x25519_exchange();
	struct qp_auth_server state;
	const char *why = "";

	for (size_t bit = 13 * 8; bit < (13 + 32) * 8; bit++) {
		x->step1[bit / 8] ^= (uint8_t)(1u << bit % 8);
		cr_assert(eq(int, begin(x, x->step1, x->step1_len, NOW, &state, &why), QP_E_AUTH));
		cr_assert(eq(str, (char *)why, "client key is not authorized"));
		x->step1[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	exchange_free(x);
}

Test(auth, server_any_flipped_bit_of_step3_is_refused)
{
	for (size_t m = 0; m < 2; m++) {
		struct exchange *x = exchange_new(methods[m]);
		struct qp_auth_server state;

		for (size_t bit = 0; bit < 256; bit++) {
			cr_assert(eq(int, begin(x, x->step1, x->step1_len, NOW, &state, NULL),
				QP_OK));
			x->step3[bit / 8] ^= (uint8_t)(1u << bit % 8);
			cr_assert(eq(int, qp_auth_server_finish(&state, x->step3, 32, NULL),
				QP_E_AUTH));
			x->step3[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		exchange_free(x);
	}
}

Test(auth, server_every_truncation_of_step3_is_refused)
{
	for (size_t m = 0; m < 2; m++) {
		struct exchange *x = exchange_new(methods[m]);
		struct qp_auth_server state;

		for (size_t len = 0; len < 32; len++) {
			uint8_t *cut = malloc(len + 1);

			memcpy(cut, x->step3, len);
			cr_assert(eq(int, begin(x, x->step1, x->step1_len, NOW, &state, NULL),
				QP_OK));
			cr_assert(eq(int, qp_auth_server_finish(&state, cut, len, NULL),
				QP_E_AUTH));
			free(cut);
		}
		exchange_free(x);
	}
}

Test(auth, server_state_is_good_for_one_try)
{
	static const uint8_t zero[32];
	struct exchange *x = psk_exchange();
	struct qp_auth_server state = {0};

	cr_assert(eq(int, qp_auth_server_finish(&state, zero, 32, NULL), QP_E_AUTH),
		"a state that was not begun must not accept its own zeros");
	cr_assert(eq(int, begin(x, x->step1, x->step1_len, NOW, &state, NULL), QP_OK));
	cr_assert(eq(int, qp_auth_server_finish(&state, zero, 32, NULL), QP_E_AUTH));
	cr_assert(eq(int, qp_auth_server_finish(&state, x->step3, 32, NULL), QP_E_AUTH));
	cr_assert(eq(int, begin(x, x->step1, x->step1_len, NOW, &state, NULL), QP_OK));
	cr_assert(eq(int, qp_auth_server_finish(&state, x->step3, 32, NULL), QP_OK));
	cr_assert(eq(int, memcmp(state.expected, zero, 32), 0), "wiped after use");
	cr_assert(eq(int, qp_auth_server_finish(&state, x->step3, 32, NULL), QP_E_AUTH));
	exchange_free(x);
}

Test(auth, server_other_method_is_refused)
{
	struct exchange *a = x25519_exchange(), *b = psk_exchange();
	struct qp_auth_server state;

	cr_assert(eq(int, begin(a, b->step1, b->step1_len, NOW, &state, NULL), QP_E_PROTO));
	cr_assert(eq(int, begin(b, a->step1, a->step1_len, NOW, &state, NULL), QP_E_PROTO));
	cr_assert(eq(int, qp_auth_step1_method(a->step1, a->step1_len), QP_AUTH_X25519));
	cr_assert(eq(int, qp_auth_step1_method(b->step1, b->step1_len), QP_AUTH_PSK));
	cr_assert(eq(int, qp_auth_step1_method((const uint8_t *)"QUICPORT_", 9), QP_AUTH_NONE));
	exchange_free(a);
	exchange_free(b);
}

Test(auth, server_without_keys_admits_nobody)
{
	struct exchange *x = x25519_exchange();
	struct qp_auth_policy none = {0};
	struct qp_auth_server state;
	uint8_t reply[QP_WIRE_MAX_STEP2_BYTES];
	size_t len;

	x->policy.ctx = NULL;
	cr_assert(eq(int, begin(x, x->step1, x->step1_len, NOW, &state, NULL), QP_E_AUTH));
	x->policy.knows = NULL;
	cr_assert(eq(int, begin(x, x->step1, x->step1_len, NOW, &state, NULL), QP_E_AUTH));
	cr_assert(eq(int, qp_auth_server_begin(&none, x->step1, x->step1_len, NOW, &state, reply,
		&len, NULL), QP_E_AUTH));
	exchange_free(x);
}

Test(auth, server_psk_clock_window_is_thirty_seconds_each_way)
{
	static const struct {
		uint64_t now;
		int err;
	} rows[] = {
		{NOW, QP_OK}, {NOW + 30, QP_OK}, {NOW - 30, QP_OK}, {NOW + 31, QP_E_AUTH},
		{NOW - 31, QP_E_AUTH}, {0, QP_E_AUTH}, {UINT64_MAX, QP_E_AUTH},
	};
	struct exchange *x = psk_exchange();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct qp_auth_server state;

		cr_assert(eq(int, begin(x, x->step1, x->step1_len, rows[i].now, &state, NULL),
			rows[i].err), "row %zu", i);
	}
	exchange_free(x);
}

Test(auth, server_psk_of_another_text_is_refused)
{
	struct exchange *x = psk_exchange();
	struct qp_auth_server state;
	const char *why = "";

	qp_secret_free(x->server_secret);
	x->psks[0] = x->server_secret = qp_secret_new("correct horse battery stapl", 27);
	cr_assert(eq(int, begin(x, x->step1, x->step1_len, NOW, &state, &why), QP_E_AUTH));
	cr_assert(eq(str, (char *)why, "pre-shared key differs"));
	exchange_free(x);
}

Test(auth, server_tells_by_which_psk_the_client_came)
{
	struct exchange *x = psk_exchange();
	struct qp_secret *others[2] = {qp_secret_new("other", 5), qp_secret_new("more", 4)};
	struct qp_auth_server state;

	for (unsigned at = 0; at < 3; at++) {
		for (unsigned i = 0; i < 3; i++)
			x->psks[i] = i == at ? x->server_secret : others[i > at ? i - 1 : i];
		x->policy.npsks = 3;
		cr_assert(eq(int, begin(x, x->step1, x->step1_len, NOW, &state, NULL), QP_OK));
		cr_assert(eq(u32, state.psk, at));
		cr_assert(eq(int, qp_auth_server_finish(&state, x->step3, 32, NULL), QP_OK));
		x->policy.npsks = at;
		cr_assert(eq(int, begin(x, x->step1, x->step1_len, NOW, &state, NULL), QP_E_AUTH),
			"without it");
	}
	qp_secret_free(others[0]);
	qp_secret_free(others[1]);
	exchange_free(x);
}

Test(auth, server_of_both_methods_answers_each_to_the_byte)
{
	struct exchange *keys = x25519_exchange(), *psk = psk_exchange();

	keys->policy.psks = psk->policy.psks;
	keys->policy.npsks = 1;
	for (int m = 0; m < 2; m++) {
		struct exchange *x = m == 0 ? keys : psk;
		uint8_t reply[QP_WIRE_MAX_STEP2_BYTES];
		struct qp_auth_server state;
		size_t len;

		keys->policy.random = x->policy.random;
		cr_assert(eq(int, qp_auth_server_begin(&keys->policy, x->step1, x->step1_len, NOW,
			&state, reply, &len, NULL), QP_OK));
		cr_assert(eq(sz, len, x->step2_len));
		cr_assert(eq(int, memcmp(reply, x->step2, len), 0));
		cr_assert(eq(int, state.method, (int)methods[m]));
		cr_assert(eq(int, qp_auth_server_finish(&state, x->step3, 32, NULL), QP_OK));
	}
	exchange_free(keys);
	exchange_free(psk);
}

/* The points of low order on Curve25519 that are below 2^255, and two of their aliases. */
static const char *const low_order[] = {
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

Test(auth, server_low_order_client_key_is_refused_even_if_authorized)
{
	for (size_t i = 0; i < sizeof(low_order) / sizeof(low_order[0]); i++) {
		struct exchange *x = x25519_exchange();
		struct qp_keyset *set = x->set;
		struct qp_auth_server state;

		from_hex(low_order[i], x->step1 + 13, 32);
		cr_assert(eq(int, qp_keyset_add(set, x->step1 + 13), QP_OK));
		cr_assert(eq(int, begin(x, x->step1, x->step1_len, NOW, &state, NULL), QP_E_AUTH),
			"%s", low_order[i]);
		exchange_free(x);
	}
}

Test(auth, client_low_order_ephemeral_key_is_refused)
{
	for (size_t i = 0; i < sizeof(low_order) / sizeof(low_order[0]); i++) {
		struct exchange *x = x25519_exchange();
		uint8_t step1[QP_WIRE_MAX_STEP1_BYTES], step3[32];
		struct qp_auth_client *c;
		const char *why = "";
		size_t len;

		cr_assert(eq(int, qp_auth_client_begin(&x->client, NOW, &c, step1, &len), QP_OK));
		from_hex(low_order[i], x->step2 + 32, 32);
		cr_assert(eq(int, qp_auth_client_reply(c, x->step2, x->step2_len, step3, &why),
			QP_E_AUTH));
		cr_assert(eq(str, (char *)why, "server's ephemeral key is a point of low order"));
		qp_auth_client_free(c);
		exchange_free(x);
	}
}

/* The client's answer to given bytes of a fresh golden exchange. */
static int
client_answer(struct exchange *x, const uint8_t *step2, size_t len, const char **why)
{
	uint8_t step1[QP_WIRE_MAX_STEP1_BYTES], step3[32];
	uint8_t *copy = malloc(len + (len == 0));
	struct qp_auth_client *c;
	size_t n;
	int err;

	memcpy(copy, step2, len);
	x->client_random.at = 0;
	cr_assert(eq(int, qp_auth_client_begin(&x->client, NOW, &c, step1, &n), QP_OK));
	err = qp_auth_client_reply(c, copy, len, step3, why);
	cr_assert(eq(int, qp_auth_client_reply(c, x->step2, x->step2_len, step3, NULL), QP_E_AUTH),
		"one try a state");
	qp_auth_client_free(c);
	free(copy);
	return err;
}

Test(auth, client_every_truncation_of_step2_is_refused)
{
	for (size_t m = 0; m < 2; m++) {
		struct exchange *x = exchange_new(methods[m]);

		for (size_t len = 0; len < x->step2_len; len++)
			cr_assert(eq(int, client_answer(x, x->step2, len, NULL), QP_E_PROTO));
		exchange_free(x);
	}
}

Test(auth, client_another_server_key_is_refused_before_all)
{
	struct exchange *x = x25519_exchange();
	const char *why = "";

	x->client.server_key[0] ^= 1;
	cr_assert(eq(int, client_answer(x, x->step2, x->step2_len, &why), QP_E_AUTH));
	cr_assert(eq(str, (char *)why, "server has another key than the expected one"));
	exchange_free(x);
}

/* Of X25519's reply only the ephemeral key and the challenge are not proven by the server. */
Test(auth, client_any_flipped_bit_of_the_servers_proof_is_refused)
{
	for (size_t m = 0; m < 2; m++) {
		struct exchange *x = exchange_new(methods[m]);

		for (size_t bit = 0; bit < x->step2_len * 8; bit++) {
			bool proven = methods[m] == QP_AUTH_PSK || bit / 8 < 32 || bit / 8 >= 96;

			if (!proven)
				continue;
			x->step2[bit / 8] ^= (uint8_t)(1u << bit % 8);
			cr_assert(eq(int, client_answer(x, x->step2, x->step2_len, NULL),
				QP_E_AUTH), "bit %zu", bit);
			x->step2[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		exchange_free(x);
	}
}

Test(auth, client_incomplete_configuration_is_refused)
{
	struct qp_secret *short_key = NULL;
	struct qp_auth_client_config none = {0}, no_key = {.method = QP_AUTH_X25519},
				     no_psk = {.method = QP_AUTH_PSK}, bad_key;
	uint8_t step1[QP_WIRE_MAX_STEP1_BYTES];
	struct qp_auth_client *c;
	size_t len;

	cr_assert(eq(int, qp_keys_init(), QP_OK));
	short_key = qp_secret_new("31 bytes are not a private key.", 31);
	bad_key = (struct qp_auth_client_config) {.method = QP_AUTH_X25519,
		.private_key = short_key};
	cr_assert(eq(int, qp_auth_client_begin(&none, NOW, &c, step1, &len), QP_E_INVAL));
	cr_assert(eq(int, qp_auth_client_begin(&no_key, NOW, &c, step1, &len), QP_E_INVAL));
	cr_assert(eq(int, qp_auth_client_begin(&no_psk, NOW, &c, step1, &len), QP_E_INVAL));
	cr_assert(eq(int, qp_auth_client_begin(&bad_key, NOW, &c, step1, &len), QP_E_INVAL));
	qp_auth_client_free(NULL);
	qp_secret_free(short_key);
}
