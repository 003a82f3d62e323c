/* SPDX-License-Identifier: Apache-2.0 */
/* Authentication over ring messages, with the golden bytes of the wire protocol. */
#include <criterion/criterion.h>
#include <string.h>
#include <time.h>

#include "controlplane/authd.h"
#include "tests/common/support.h"
#include "tests/controlplane/support.h"

static json_t *golden;
static struct qp_auth_policy policy;
static const struct qp_secret *psk;
static struct qp_loop *loop;
static struct qp_tunnels *tunnels;
static struct qp_authd *authd;
static struct outbox box;

/* The draws of the golden server, in order: ephemeral private key, challenge. */
static uint8_t draws[64];
static size_t drawn;

static void
draw(void *ctx, void *buf, size_t len)
{
	memcpy(buf, draws + drawn, len);
	drawn = (drawn + len) % sizeof(draws);
}

static uint64_t
golden_time(void)
{
	return 1700000000;
}

static void
open_authd(void)
{
	loop = qp_loop_new();
	tunnels = qp_tunnels_new();
	authd = qp_authd_new(&(struct qp_authd_config) {.loop = loop,
		.tunnels = tunnels,
		.sender = outbox_sender(&box),
		.policy = &policy,
		.unix_time = golden_time});
	policy.random = (struct qp_auth_random) {.fill = draw};
}

static void
start_x25519(void)
{
	uint8_t key[32];
	struct qp_keyset *clients;

	cr_assert_eq(qp_keys_init(), 0);
	golden = vectors_load();
	vector_bytes(golden, draws, 32, "x25519", "server_ephemeral_private", NULL);
	vector_bytes(golden, draws + 32, 32, "x25519", "server_challenge", NULL);
	vector_bytes(golden, key, 32, "x25519", "server_private", NULL);
	policy.private_key = qp_secret_new(key, 32);
	cr_assert_eq(qp_key_public(policy.private_key, policy.public_key), 0);
	clients = qp_keyset_new();
	vector_bytes(golden, key, 32, "x25519", "client_public", NULL);
	cr_assert_eq(qp_keyset_add(clients, key), 0);
	policy.knows = qp_keyset_knows;
	policy.ctx = clients;
	open_authd();
}

static void
start_psk(void)
{
	const char *text;

	cr_assert_eq(qp_keys_init(), 0);
	golden = vectors_load();
	text = json_string_value(json_object_get(json_object_get(golden, "psk"), "psk"));
	vector_bytes(golden, draws, 32, "psk", "server_ephemeral_private", NULL);
	vector_bytes(golden, draws + 32, 32, "psk", "challenge", NULL);
	psk = qp_secret_new(text, strlen(text));
	policy.psks = &psk;
	policy.npsks = 1;
	open_authd();
}

static void
stop(void)
{
	qp_authd_free(authd);
	qp_tunnels_free(tunnels);
	qp_loop_free(loop);
	qp_secret_free((struct qp_secret *)(uintptr_t)policy.private_key);
	qp_secret_free((struct qp_secret *)(uintptr_t)psk);
	qp_keyset_free((struct qp_keyset *)(uintptr_t)policy.ctx);
	json_decref(golden);
}

TestSuite(authd_x25519, .init = start_x25519, .fini = stop);
TestSuite(authd_psk, .init = start_psk, .fini = stop);

static const struct qp_origin one = {.server_id = 1000, .worker = 1, .id = 1};

static struct qp_msg
step1(const char *method)
{
	struct qp_msg m = {.type = QP_MSG_AUTH_BEGIN};

	m.auth_begin.len = (uint16_t)vector_bytes(golden, m.auth_begin.bytes,
		sizeof(m.auth_begin.bytes), method, "step1_client", NULL);
	return m;
}

static struct qp_msg
step3(const char *method)
{
	struct qp_msg m = {.type = QP_MSG_AUTH_FINISH};

	m.auth_bytes.len = (uint16_t)vector_bytes(golden, m.auth_bytes.bytes,
		sizeof(m.auth_bytes.bytes), method, "step3_client", NULL);
	return m;
}

static void
assert_reply(const char *method)
{
	const struct qp_msg *reply = outbox_last(&box, QP_MSG_AUTH_REPLY);
	uint8_t want[128];
	size_t len = vector_bytes(golden, want, sizeof(want), method, "step2_server", NULL);

	cr_expect_eq(reply->auth_bytes.len, len);
	cr_expect_arr_eq(reply->auth_bytes.bytes, want, len);
}

static void
golden_conversation(const char *method)
{
	struct qp_msg begin = step1(method), finish = step3(method);

	qp_authd_begin(authd, &one, &begin);
	assert_reply(method);
	cr_expect_eq(qp_tunnels_count(tunnels, QP_TUNNEL_CHALLENGED), 1u);
	qp_authd_finish(authd, &one, &finish);
	cr_expect_eq(outbox_last(&box, QP_MSG_VERDICT)->verdict.accepted, 1);
	cr_expect(qp_origin_equal(&box.sent[box.n - 1].to, &one));
	cr_expect_eq(qp_tunnels_find(tunnels, &one)->state, QP_TUNNEL_AUTHENTICATED);
}

Test(authd_x25519, golden_client_is_accepted)
{
	uint8_t key[32];

	golden_conversation("x25519");
	vector_bytes(golden, key, 32, "x25519", "client_public", NULL);
	cr_expect_arr_eq(qp_tunnels_find(tunnels, &one)->client_key, key, 32);
	cr_expect_eq(qp_authd_counters(authd)->x25519_success, 1u);
	cr_expect_eq(qp_authd_counters(authd)->x25519_failed, 0u);
}

Test(authd_psk, golden_client_is_accepted)
{
	golden_conversation("psk");
	cr_expect_eq(qp_authd_counters(authd)->psk_success, 1u);
}

static void
assert_refused_at_once(const struct qp_msg *begin)
{
	qp_authd_begin(authd, &one, begin);
	cr_expect_eq(outbox_last(&box, QP_MSG_VERDICT)->verdict.accepted, 0);
	cr_expect_null(qp_tunnels_find(tunnels, &one), "a refused tunnel is kept");
}

Test(authd_x25519, unknown_client_is_refused)
{
	struct qp_msg begin = step1("x25519");

	begin.auth_begin.bytes[13] ^= 1;
	assert_refused_at_once(&begin);
	cr_expect_eq(qp_authd_counters(authd)->x25519_failed, 1u);
}

Test(authd_x25519, psk_client_is_refused_and_counted_as_such)
{
	struct qp_msg begin = step1("psk");

	assert_refused_at_once(&begin);
	cr_expect_eq(qp_authd_counters(authd)->psk_failed, 1u);
	cr_expect_eq(qp_authd_counters(authd)->x25519_failed, 0u);
}

Test(authd_psk, every_truncation_is_refused)
{
	struct qp_msg whole = step1("psk");

	for (uint16_t len = 0; len < whole.auth_begin.len; len++) {
		struct qp_msg begin = whole;

		begin.auth_begin.len = len;
		box.n = 0;
		assert_refused_at_once(&begin);
	}
	whole.auth_begin.len = 65535; /* more than the message holds */
	assert_refused_at_once(&whole);
}

Test(authd_psk, old_clock_is_refused)
{
	struct qp_msg begin = step1("psk");

	begin.auth_begin.bytes[12 + 7] -= 31;
	assert_refused_at_once(&begin);
}

Test(authd_x25519, wrong_answer_is_refused_once)
{
	struct qp_msg begin = step1("x25519"), finish = step3("x25519"), wrong = finish;

	wrong.auth_bytes.bytes[31] ^= 1;
	qp_authd_begin(authd, &one, &begin);
	qp_authd_finish(authd, &one, &wrong);
	cr_expect_eq(outbox_last(&box, QP_MSG_VERDICT)->verdict.accepted, 0);
	cr_expect_eq(qp_authd_counters(authd)->x25519_failed, 1u);
	/* The right answer comes too late: there is nothing to answer any more. */
	qp_authd_finish(authd, &one, &finish);
	cr_expect_eq(box.n, 2u);
	cr_expect_eq(qp_authd_counters(authd)->x25519_success, 0u);
}

Test(authd_x25519, answer_without_begin_is_ignored)
{
	struct qp_msg finish = step3("x25519");

	qp_authd_finish(authd, &one, &finish);
	cr_expect_eq(box.n, 0u);
}

Test(authd_x25519, begun_twice_is_refused)
{
	struct qp_msg begin = step1("x25519");

	qp_authd_begin(authd, &one, &begin);
	qp_authd_begin(authd, &one, &begin);
	cr_expect_eq(outbox_last(&box, QP_MSG_VERDICT)->verdict.accepted, 0);
}

Test(authd_x25519, too_many_waiting_are_refused)
{
	struct qp_msg begin = step1("x25519");

	for (uint64_t i = 1; i <= QP_TUNNELS_MAX_WAITING; i++) {
		struct qp_origin o = {.server_id = 1000, .id = i};

		box.n = 0;
		qp_authd_begin(authd, &o, &begin);
		outbox_last(&box, QP_MSG_AUTH_REPLY);
	}
	assert_refused_at_once(&begin);
	cr_expect_eq(qp_tunnels_count(tunnels, QP_TUNNEL_CHALLENGED), QP_TUNNELS_MAX_WAITING);
}

Test(authd_x25519, silent_client_is_refused_in_time)
{
	struct qp_msg begin = step1("x25519");
	struct qp_tunnel *tun;

	qp_authd_begin(authd, &one, &begin);
	/* As if it had begun long ago; the timer that stands is moved by a second client's. */
	tun = qp_tunnels_find(tunnels, &one);
	tun->challenged_at_ns -= QP_AUTHD_TIMEOUT_MS * 1000000ull;
	qp_authd_free(authd);
	authd = qp_authd_new(&(struct qp_authd_config) {.loop = loop,
		.tunnels = tunnels,
		.sender = outbox_sender(&box),
		.policy = &policy,
		.unix_time = golden_time});
	qp_authd_begin(authd, &(struct qp_origin) {.server_id = 1000, .id = 2}, &begin);
	box.n = 0;
	qp_loop_turn(loop, 1000);
	cr_assert_eq(box.n, 1u);
	cr_expect(qp_origin_equal(&box.sent[0].to, &one));
	cr_expect_eq(outbox_last(&box, QP_MSG_VERDICT)->verdict.accepted, 0);
	cr_expect_null(qp_tunnels_find(tunnels, &one));
	cr_expect_eq(qp_tunnels_count(tunnels, QP_TUNNEL_CHALLENGED), 1u, "the second one waits");
}
