/* SPDX-License-Identifier: Apache-2.0 */
/* Authentication over ring messages, with the golden bytes of the wire protocol. */
#include <criterion/criterion.h>
#include <string.h>
#include <time.h>

#include "controlplane/authd.h"
#include "tests/common/support.h"
#include "tests/controlplane/support.h"

static json_t *golden;
static struct qp_policy *policy; /* the enforcer's, once that is there */
static struct qp_secret *server_private;
static uint8_t server_public[QP_KEY_BYTES];
static struct qp_loop *loop;
static struct qp_tunnels *tunnels;
static struct qp_enforce *enforce;
static struct qp_authd *authd;
static struct outbox box;
static uint64_t now = 1700000000;

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
	return now;
}

static struct qp_events *events;
static struct qp_records records;
static unsigned failures_told;

static void
count_failures(void *ctx, const struct qp_event *e)
{
	(void)ctx;
	failures_told += strcmp(e->type, QP_EVENT_AUTH_FAILED) == 0;
}

static struct qp_listener listener = {.event = count_failures};

static void
open_authd(void)
{
	authd = qp_authd_new(&(struct qp_authd_config) {.loop = loop,
		.tunnels = tunnels,
		.sender = outbox_sender(&box),
		.enforce = enforce,
		.private_key = server_private,
		.public_key = server_public,
		.random = {.fill = draw},
		.records = &records,
		.unix_time = golden_time});
}

static void
open_all(void)
{
	events = qp_events_new();
	qp_events_listen(events, &listener);
	records.events = events;
	loop = qp_loop_new();
	tunnels = qp_tunnels_new();
	enforce = qp_enforce_new(&(struct qp_enforce_config) {.loop = loop,
					 .tunnels = tunnels,
					 .sender = outbox_sender(&box),
					 .unix_time = golden_time},
		policy);
	open_authd();
}

static void
add_golden_key(struct qp_policy *p, const char *name, const struct qp_grants *grants)
{
	uint8_t key[32];

	vector_bytes(golden, key, 32, "x25519", "client_public", NULL);
	cr_assert_eq(qp_policy_add_key(p, name, NULL, NULL, key, grants, NULL), 0);
}

static void
add_golden_psk(struct qp_policy *p, const char *name, const struct qp_grants *grants)
{
	const char *text =
		json_string_value(json_object_get(json_object_get(golden, "psk"), "psk"));

	cr_assert_eq(qp_policy_add_psk(p, name, NULL, NULL, qp_secret_new(text, strlen(text)),
			     grants, NULL), 0);
}

static const struct qp_grants anything = {.any_port = true};

static void
start_x25519(void)
{
	uint8_t key[32];

	cr_assert_eq(qp_keys_init(), 0);
	golden = vectors_load();
	vector_bytes(golden, draws, 32, "x25519", "server_ephemeral_private", NULL);
	vector_bytes(golden, draws + 32, 32, "x25519", "server_challenge", NULL);
	vector_bytes(golden, key, 32, "x25519", "server_private", NULL);
	server_private = qp_secret_new(key, 32);
	cr_assert_eq(qp_key_public(server_private, server_public), 0);
	policy = qp_policy_new();
	add_golden_key(policy, "alice", &anything);
	open_all();
}

static void
start_psk(void)
{
	cr_assert_eq(qp_keys_init(), 0);
	golden = vectors_load();
	vector_bytes(golden, draws, 32, "psk", "server_ephemeral_private", NULL);
	vector_bytes(golden, draws + 32, 32, "psk", "challenge", NULL);
	policy = qp_policy_new();
	cr_assert_eq(qp_policy_add_psk(policy, "other", NULL, NULL, qp_secret_new("other", 5),
			     &anything, NULL), 0);
	add_golden_psk(policy, "shop", &anything);
	open_all();
}

static void
remove_tunnel(void *ctx, struct qp_tunnel *tun)
{
	(void)ctx;
	qp_enforce_left(enforce, tun);
	qp_tunnels_remove(tunnels, tun);
}

static void
stop(void)
{
	qp_authd_free(authd);
	box.n = 0;
	qp_tunnels_each_of(tunnels, 1000, remove_tunnel, NULL);
	qp_enforce_free(enforce);
	qp_tunnels_free(tunnels);
	qp_loop_free(loop);
	qp_events_unlisten(events, &listener);
	qp_events_free(events);
	qp_secret_free(server_private);
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
	/* 192.0.2.1 */
	memset(m.auth_begin.peer_addr + 10, 0xff, 2);
	memcpy(m.auth_begin.peer_addr + 12, (uint8_t[]) {192, 0, 2, 1}, 4);
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
	/* The worker hears of the client's limits first. */
	cr_assert_eq(box.n, 3u);
	cr_expect_eq(box.sent[1].m.type, QP_MSG_CLIENT_LIMITS);
	cr_expect_eq(outbox_last(&box, QP_MSG_VERDICT)->verdict.accepted, 1);
	cr_expect_eq(box.sent[1].m.client_limits.client_id,
		box.sent[2].m.verdict.identity.client_id);
	cr_expect_neq(box.sent[2].m.verdict.identity.client_id, 0u);
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
	cr_expect_str_eq(box.sent[2].m.verdict.identity.name, "alice");
	cr_expect_eq(box.sent[2].m.verdict.identity.method, QP_AUTH_X25519);
	cr_expect_eq(box.sent[2].m.verdict.identity.since, now);
	cr_expect_arr_eq(box.sent[2].m.verdict.identity.key, key, 32);
}

Test(authd_psk, golden_client_is_accepted)
{
	golden_conversation("psk");
	cr_expect_str_eq(box.sent[2].m.verdict.identity.name, "shop");
	cr_expect_eq(box.sent[2].m.verdict.identity.method, QP_AUTH_PSK);
	cr_expect_eq(qp_authd_counters(authd)->psk_success, 1u);
}

static bool
verdict_came(void)
{
	return box.n > 0 && box.sent[box.n - 1].m.type == QP_MSG_VERDICT;
}

/* The refusal is told, but not at once; nothing is kept of the tunnel meanwhile. */
static void
wait_for_refusal(void)
{
	cr_expect_null(qp_tunnels_find(tunnels, &one), "a refused tunnel is kept");
	for (unsigned i = 0; i < 1000 && !verdict_came(); i++)
		qp_loop_turn(loop, 100);
	cr_expect_eq(outbox_last(&box, QP_MSG_VERDICT)->verdict.accepted, 0);
}

static void
assert_refused(const struct qp_msg *begin)
{
	qp_authd_begin(authd, &one, begin);
	wait_for_refusal();
}

Test(authd_x25519, unknown_client_is_refused)
{
	struct qp_msg begin = step1("x25519");

	begin.auth_begin.bytes[13] ^= 1;
	assert_refused(&begin);
	cr_expect_eq(qp_authd_counters(authd)->x25519_failed, 1u);
}

Test(authd_x25519, psk_client_is_refused_and_counted_as_such)
{
	struct qp_msg begin = step1("psk");

	assert_refused(&begin);
	cr_expect_eq(qp_authd_counters(authd)->psk_failed, 1u);
	cr_expect_eq(qp_authd_counters(authd)->x25519_failed, 0u);
}

Test(authd_psk, every_truncation_is_refused)
{
	struct qp_msg whole = step1("psk");

	for (uint16_t len = 0; len < whole.auth_begin.len; len++) {
		struct qp_msg begin = whole;

		begin.auth_begin.len = len;
		begin.auth_begin.peer_addr[15] = (uint8_t)len; /* as if each came from elsewhere */
		qp_authd_begin(authd, &one, &begin);
		cr_expect_null(qp_tunnels_find(tunnels, &one), "a refused tunnel is kept");
	}
	cr_expect_eq(box.n, 0u, "one was answered");
	cr_expect_eq(qp_authd_counters(authd)->refused[QP_REFUSED_malformed] +
			     qp_authd_counters(authd)->refused[QP_REFUSED_method_off],
		84u);
	whole.auth_begin.len = 65535; /* more than the message holds */
	qp_authd_begin(authd, &one, &whole);
	cr_expect_null(qp_tunnels_find(tunnels, &one));
}

Test(authd_psk, old_clock_is_refused)
{
	struct qp_msg begin = step1("psk");

	begin.auth_begin.bytes[12 + 7] -= 31;
	assert_refused(&begin);
}

Test(authd_x25519, wrong_answer_is_refused_once)
{
	struct qp_msg begin = step1("x25519"), finish = step3("x25519"), wrong = finish;

	wrong.auth_bytes.bytes[31] ^= 1;
	qp_authd_begin(authd, &one, &begin);
	qp_authd_finish(authd, &one, &wrong);
	wait_for_refusal();
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

/* Around our start a data plane may say it in both of its rings. */
Test(authd_x25519, begun_twice_is_answered_once)
{
	struct qp_msg begin = step1("x25519");

	qp_authd_begin(authd, &one, &begin);
	cr_expect_eq(box.n, 1);
	outbox_last(&box, QP_MSG_AUTH_REPLY);
	qp_authd_begin(authd, &one, &begin);
	cr_expect_eq(box.n, 1);
}

static void
come_from(struct qp_msg *begin, uint8_t last)
{
	static const uint8_t net[16] = {[10] = 0xff, 0xff, 198, 51, 100};

	memcpy(begin->auth_begin.peer_addr, net, sizeof(net));
	begin->auth_begin.peer_addr[15] = last;
}

/* Whether a new tunnel got a challenge. */
static bool
challenged(uint64_t id, const struct qp_msg *begin)
{
	const struct qp_origin o = {.server_id = 1000, .id = id};

	box.n = 0;
	qp_authd_begin(authd, &o, begin);
	return box.n == 1 && box.sent[0].m.type == QP_MSG_AUTH_REPLY;
}

Test(authd_x25519, too_many_waiting_are_refused)
{
	struct qp_msg begin = step1("x25519");

	for (uint64_t i = 1; i <= QP_TUNNELS_MAX_WAITING; i++) {
		come_from(&begin, (uint8_t)(i / 16));
		cr_expect(challenged(i, &begin));
	}
	assert_refused(&begin);
	cr_expect_eq(qp_tunnels_count(tunnels, QP_TUNNEL_CHALLENGED), QP_TUNNELS_MAX_WAITING);
}

Test(authd_x25519, one_address_does_not_take_all_places)
{
	struct qp_msg begin = step1("x25519");
	uint64_t id = 1;

	come_from(&begin, 1);
	while (challenged(id, &begin))
		id++;
	cr_expect_eq(id - 1, QP_TUNNELS_MAX_WAITING / 2);
	come_from(&begin, 2);
	for (unsigned i = 0; i < QP_TUNNELS_MAX_WAITING_OF_ONE; i++)
		cr_expect(challenged(++id, &begin));
	cr_expect_not(challenged(++id, &begin));
	come_from(&begin, 3);
	cr_expect(challenged(++id, &begin));
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
	open_authd();
	qp_authd_begin(authd, &(struct qp_origin) {.server_id = 1000, .id = 2}, &begin);
	box.n = 0;
	qp_loop_turn(loop, 1000);
	cr_expect_eq(qp_authd_counters(authd)->refused[QP_REFUSED_no_answer], 1u);
	wait_for_refusal();
	cr_assert_eq(box.n, 1u);
	cr_expect(qp_origin_equal(&box.sent[0].to, &one));
	cr_expect_eq(outbox_last(&box, QP_MSG_VERDICT)->verdict.accepted, 0);
	cr_expect_null(qp_tunnels_find(tunnels, &one));
	cr_expect_eq(qp_tunnels_count(tunnels, QP_TUNNEL_CHALLENGED), 1u, "the second one waits");
}

/* ---- policy ---- */

static void
begin_and_expect(const char *method, enum qp_authd_reason reason)
{
	struct qp_msg begin = step1(method);

	assert_refused(&begin);
	cr_expect_eq(qp_authd_counters(authd)->refused[reason], 1u, "not %s",
		qp_authd_reason_name(reason));
}

Test(authd_x25519, each_reason_is_counted_by_its_name)
{
	struct qp_msg begin = step1("x25519");

	begin.auth_begin.bytes[13] ^= 1;
	assert_refused(&begin);
	cr_expect_eq(qp_authd_counters(authd)->refused[QP_REFUSED_unknown_key], 1u);
	cr_expect_str_eq(qp_authd_reason_name(QP_REFUSED_unknown_key), "unknown_key");
	begin_and_expect("psk", QP_REFUSED_method_off);
}

Test(authd_psk, expired_client_is_refused)
{
	struct qp_policy *fresh = qp_policy_new();

	add_golden_psk(fresh, "shop",
		&(struct qp_grants) {.any_port = true, .expires_at = 1700000000});
	qp_enforce_replace(enforce, fresh, NULL);
	begin_and_expect("psk", QP_REFUSED_expired);
}

Test(authd_psk, clock_has_a_reason_of_its_own)
{
	now += 31;
	begin_and_expect("psk", QP_REFUSED_wrong_clock);
}

Test(authd_x25519, policy_that_changes_between_challenge_and_proof_decides)
{
	struct qp_msg begin = step1("x25519"), finish = step3("x25519");

	qp_authd_begin(authd, &one, &begin);
	qp_enforce_replace(enforce, qp_policy_new(), NULL);
	qp_authd_finish(authd, &one, &finish);
	wait_for_refusal();
	cr_expect_eq(qp_authd_counters(authd)->refused[QP_REFUSED_policy_changed], 1u);
}

Test(authd_psk, psk_that_changes_between_challenge_and_proof_decides)
{
	struct qp_msg begin = step1("psk"), finish = step3("psk");
	struct qp_policy *fresh = qp_policy_new();

	qp_authd_begin(authd, &one, &begin);
	cr_assert_eq(qp_policy_add_psk(fresh, "shop", NULL, NULL, qp_secret_new("new", 3),
			     &anything, NULL), 0);
	qp_enforce_replace(enforce, fresh, NULL);
	qp_authd_finish(authd, &one, &finish);
	wait_for_refusal();
	cr_expect_eq(qp_authd_counters(authd)->psk_success, 0u);
}

Test(authd_x25519, both_methods_are_taken_side_by_side)
{
	struct qp_policy *fresh = qp_policy_new();
	struct qp_msg finish = step3("psk"), begin = step1("psk");

	add_golden_key(fresh, "alice", &anything);
	add_golden_psk(fresh, "shop", &anything);
	qp_enforce_replace(enforce, fresh, NULL);
	golden_conversation("x25519");
	vector_bytes(golden, draws, 32, "psk", "server_ephemeral_private", NULL);
	vector_bytes(golden, draws + 32, 32, "psk", "challenge", NULL);
	box.n = 0;
	qp_authd_begin(authd, &(struct qp_origin) {.server_id = 1000, .id = 7}, &begin);
	assert_reply("psk");
	qp_authd_finish(authd, &(struct qp_origin) {.server_id = 1000, .id = 7}, &finish);
	cr_expect_str_eq(outbox_last(&box, QP_MSG_VERDICT)->verdict.identity.name, "shop");
}

/* ---- failures slow down ---- */

Test(authd_psk, right_key_gets_in_while_refusals_of_its_address_wait)
{
	struct qp_msg wrong = step1("psk"), begin = step1("psk"), finish = step3("psk");

	wrong.auth_begin.bytes[83] ^= 1;
	for (uint64_t id = 10; id < 13; id++)
		qp_authd_begin(authd, &(struct qp_origin) {.server_id = 1000, .id = id}, &wrong);
	cr_expect_eq(box.n, 0u, "a refusal was told at once");
	qp_authd_begin(authd, &one, &begin);
	qp_authd_finish(authd, &one, &finish);
	cr_expect_eq(outbox_last(&box, QP_MSG_VERDICT)->verdict.accepted, 1);
}

Test(authd_psk, address_with_many_failures_is_not_looked_at_and_others_are)
{
	struct qp_msg wrong = step1("psk"), begin = step1("psk");

	wrong.auth_begin.bytes[83] ^= 1;
	for (uint64_t id = 10; id < 10 + QP_SLOWDOWN_AT_ONCE; id++)
		qp_authd_begin(authd, &(struct qp_origin) {.server_id = 1000, .id = id}, &wrong);
	qp_authd_begin(authd, &one, &begin);
	cr_expect_eq(outbox_last(&box, QP_MSG_VERDICT)->verdict.accepted, 0);
	cr_expect_eq(qp_authd_counters(authd)->refused[QP_REFUSED_slowed], 1u);
	begin.auth_begin.peer_addr[15] = 2;
	qp_authd_begin(authd, &one, &begin);
	outbox_last(&box, QP_MSG_AUTH_REPLY);
}

Test(authd_psk, flood_of_failures_is_told_in_part)
{
	struct qp_msg wrong = step1("psk");

	wrong.auth_begin.bytes[83] ^= 1;
	for (unsigned i = 0; i < 3; i++)
		qp_authd_begin(authd, &(struct qp_origin) {.server_id = 1000, .id = 1 + i}, &wrong);
	cr_expect_eq(failures_told, 3u);
	for (unsigned i = 0; i < 1000; i++) {
		wrong.auth_begin.peer_addr[14] = (uint8_t)(i >> 8);
		wrong.auth_begin.peer_addr[15] = (uint8_t)i;
		qp_authd_begin(authd, &(struct qp_origin) {.server_id = 1000, .id = 10 + i}, &wrong);
	}
	cr_expect_eq(failures_told, 50u);
	now++;
	wrong.auth_begin.peer_addr[13] = 7;
	qp_authd_begin(authd, &one, &wrong);
	cr_expect_eq(failures_told, 51u);
	cr_expect_eq(qp_authd_counters(authd)->psk_failed, 1004u, "all are counted");
}
