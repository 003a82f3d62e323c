/* SPDX-License-Identifier: Apache-2.0 */
/* A policy made true: limits told, tunnels ended when it changes or time is over. */
#include <criterion/criterion.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/addr.h"
#include "common/wire.h"
#include "controlplane/enforce.h"
#include "controlplane/ports.h"
#include "tests/controlplane/support.h"

static struct qp_loop *loop;
static struct qp_tunnels *tunnels;
static struct qp_enforce *enforce;
static struct qp_policy *fresh; /* being made */
static struct outbox box;
static uint64_t now = 1000;
static bool room = true;
static struct qp_port ports[64];
static unsigned nports;

static uint64_t
clock_of_test(void)
{
	return now;
}

static bool
has_room(void *ctx, const struct qp_origin *to)
{
	(void)ctx, (void)to;
	return room;
}

static unsigned
workers(void *ctx, uint32_t server_id)
{
	(void)ctx;
	return server_id == 1000 ? 4 : 0;
}

static struct qp_psk_marks marks; /* none, unless a test opens them */

static void
start(void)
{
	cr_assert_eq(qp_keys_init(), 0);
	loop = qp_loop_new();
	tunnels = qp_tunnels_new();
	enforce = qp_enforce_new(&(struct qp_enforce_config) {.loop = loop,
					 .tunnels = tunnels,
					 .sender = outbox_sender(&box),
					 .has_room = has_room,
					 .workers = workers,
					 .unix_time = clock_of_test,
					 .marks = &marks},
		qp_policy_new());
	fresh = qp_policy_new();
}

static void
leave(void *ctx, struct qp_tunnel *tun)
{
	(void)ctx;
	while (!LIST_EMPTY(&tun->ports))
		LIST_REMOVE(LIST_FIRST(&tun->ports), of_tunnel);
	box.n = 0;
	qp_enforce_left(enforce, tun);
	qp_tunnels_remove(tunnels, tun);
}

static void
stop(void)
{
	qp_tunnels_each_of(tunnels, 1000, leave, NULL);
	qp_enforce_free(enforce);
	qp_policy_free(fresh);
	qp_tunnels_free(tunnels);
	qp_loop_free(loop);
}

TestSuite(enforce, .init = start, .fini = stop);

static void
key_of(const char *name, uint8_t key[32])
{
	crypto_generichash(key, 32, (const uint8_t *)name, strlen(name), NULL, 0);
}

static void
client(const char *name, const struct qp_grants *grants)
{
	struct qp_errmsg msg;
	uint8_t key[32];

	key_of(name, key);
	cr_assert_eq(qp_policy_add_key(fresh, name, NULL, NULL, key, grants, &msg), 0, "%s",
		msg.text);
}

static void
psk(const char *name, const char *secret)
{
	cr_assert_eq(qp_policy_add_psk(fresh, name, NULL, NULL,
			     qp_secret_new(secret, strlen(secret)),
			     &(struct qp_grants) {.any_port = true}, NULL), 0);
}

/* What was made is in force now. Returns how many tunnels it ends. */
static unsigned
apply(void)
{
	struct qp_enforce_result r;

	box.n = 0;
	qp_enforce_replace(enforce, fresh, &r);
	fresh = qp_policy_new();
	return r.ended;
}

static struct qp_tunnel *
tunnel(uint64_t id, const char *name, enum qp_auth_method method)
{
	const struct qp_origin o = {.server_id = 1000, .worker = (uint16_t)(id / 100), .id = id};
	const struct qp_policy_client *c = qp_policy_by_name(qp_enforce_policy(enforce), name);
	struct qp_tunnel *tun = qp_tunnels_add(tunnels, &o, 0);

	tun->identity.client_id = c->id;
	tun->identity.method = (uint8_t)method;
	strcpy(tun->identity.name, name);
	if (method == QP_AUTH_X25519)
		key_of(name, tun->identity.key);
	cr_assert_eq(qp_enforce_admit(enforce, tun), 0);
	qp_tunnels_authenticated(tunnels, tun);
	qp_enforce_admitted(enforce, tun);
	return tun;
}

static struct qp_tunnel *
keyed(uint64_t id, const char *name)
{
	return tunnel(id, name, QP_AUTH_X25519);
}

static void
hold(struct qp_tunnel *tun, int protocol, uint16_t number)
{
	struct qp_port *port = &ports[nports++];

	*port = (struct qp_port) {.port = number, .protocol = (uint8_t)protocol, .tunnel = tun};
	LIST_INSERT_HEAD(&tun->ports, port, of_tunnel);
}

/* The phrase that the tunnel was told to end with; NULL: it was not. */
static const char *
told(const struct qp_tunnel *tun)
{
	const char *phrase = NULL;

	for (unsigned i = 0; i < box.n; i++) {
		if (box.sent[i].m.type != QP_MSG_TUNNEL_CLOSE ||
			!qp_origin_equal(&box.sent[i].to, &tun->origin))
			continue;
		cr_expect_null(phrase, "told twice");
		cr_expect_eq(box.sent[i].m.tunnel_close.code, QP_APP_REFUSED);
		phrase = box.sent[i].m.tunnel_close.phrase;
	}
	return phrase;
}

static void
expect_ended(const struct qp_tunnel *tun, const char *words)
{
	cr_assert_not_null(told(tun), "it goes on");
	cr_expect_not_null(strstr(told(tun), words), "“%s” does not say “%s”", told(tun), words);
	cr_expect(tun->ending);
}

static unsigned
count(uint16_t type)
{
	unsigned n = 0;

	for (unsigned i = 0; i < box.n; i++)
		n += box.sent[i].m.type == type;
	return n;
}

static const struct qp_grants anything = {.any_port = true};

Test(enforce, revoked_key_ends_its_tunnels_and_no_other)
{
	struct qp_tunnel *alice, *bob;

	client("alice", &anything);
	client("bob", &anything);
	apply();
	alice = keyed(1, "alice");
	bob = keyed(2, "bob");
	client("bob", &anything);
	cr_expect_eq(apply(), 1u);
	expect_ended(alice, "does not know this client");
	cr_expect_null(told(bob));
	cr_expect_eq(box.n, 1u, "bob's worker was told something that has not changed");
	/* The next change does not tell it once more. */
	client("bob", &anything);
	cr_expect_eq(apply(), 0u);
	cr_expect_null(told(alice));
}

Test(enforce, key_that_is_another_clients_now_ends_its_tunnels)
{
	struct qp_tunnel *alice;
	uint8_t key[32];

	client("alice", &anything);
	apply();
	alice = keyed(1, "alice");
	key_of("alice", key);
	cr_assert_eq(qp_policy_add_key(fresh, "eve", NULL, NULL, key, &anything, NULL), 0);
	client("bob", &anything);
	cr_expect_eq(apply(), 1u);
	expect_ended(alice, "does not know");
}

Test(enforce, key_roll_over_keeps_the_tunnels_of_keys_that_stay)
{
	struct qp_tunnel *old;
	uint8_t key[32];

	client("alice", &anything);
	apply();
	old = keyed(1, "alice");
	client("alice", &anything);
	key_of("alice's new one", key);
	cr_assert_eq(qp_policy_add_another_key(fresh, "alice", NULL, key, NULL), 0);
	cr_expect_eq(apply(), 0u);
	cr_assert_eq(qp_policy_add_key(fresh, "alice", NULL, NULL, key, &anything, NULL), 0);
	cr_expect_eq(apply(), 1u);
	expect_ended(old, "key was revoked");
}

Test(enforce, psk_that_changes_or_goes_ends_its_tunnels)
{
	struct qp_tunnel *one, *two, *three;

	psk("one", "1");
	psk("two", "2");
	psk("three", "3");
	apply();
	one = tunnel(1, "one", QP_AUTH_PSK);
	two = tunnel(2, "two", QP_AUTH_PSK);
	three = tunnel(3, "three", QP_AUTH_PSK);
	psk("one", "1");
	psk("two", "2, but changed");
	cr_expect_eq(apply(), 2u);
	cr_expect_null(told(one));
	expect_ended(two, "pre-shared key was changed");
	expect_ended(three, "does not know");
}

Test(enforce, port_that_is_not_granted_any_more_ends_its_tunnel_alone)
{
	static const struct qp_port_range tcp = {1, 9000, 9099};
	struct qp_tunnel *kept, *gone, *udp;

	client("alice", &anything);
	apply();
	kept = keyed(1, "alice");
	gone = keyed(2, "alice");
	udp = keyed(3, "alice");
	hold(kept, IPPROTO_TCP, 9099);
	hold(gone, IPPROTO_TCP, 9100);
	hold(udp, IPPROTO_UDP, 9000);
	client("alice", &(struct qp_grants) {.nports = 1, .ports = &tcp});
	cr_expect_eq(apply(), 2u);
	cr_expect_null(told(kept));
	expect_ended(gone, "port 9100/tcp");
	expect_ended(udp, "port 9000/udp");
}

Test(enforce, local_forward_that_is_not_granted_any_more_ends_its_tunnel)
{
	struct qp_allow wide = {0}, narrow = {0};
	struct qp_tunnel *kept, *gone;

	cr_assert_eq(qp_allow_add(&wide, "10.0.0.0/8", NULL), 0);
	cr_assert_eq(qp_allow_add(&narrow, "10.0.0.1:443", NULL), 0);
	client("alice", &(struct qp_grants) {.any_port = true, .locals = &wide});
	apply();
	kept = keyed(1, "alice");
	gone = keyed(2, "alice");
	kept->local = gone->local = (struct qp_tunnel_local) {.open = true, .n = 1, .port = 443};
	cr_assert_eq(qp_ip_parse_text("10.0.0.1", &kept->local.addr[0], NULL), 0);
	cr_assert_eq(qp_ip_parse_text("10.0.0.2", &gone->local.addr[0], NULL), 0);
	client("alice", &(struct qp_grants) {.any_port = true, .locals = &narrow});
	cr_expect_eq(apply(), 1u);
	cr_expect_null(told(kept));
	expect_ended(gone, "local forward");
	client("alice", &anything);
	cr_expect_eq(apply(), 1u, "no local forward at all is allowed now");
	expect_ended(kept, "local forward");
}

Test(enforce, fewer_tunnels_end_the_newest)
{
	struct qp_tunnel *tun[4];

	client("alice", &anything);
	apply();
	for (unsigned i = 0; i < 4; i++)
		tun[i] = keyed(i + 1, "alice");
	client("alice", &(struct qp_grants) {.any_port = true, .limits = {.tunnels = 2}});
	cr_expect_eq(apply(), 2u);
	cr_expect_null(told(tun[0]));
	cr_expect_null(told(tun[1]));
	expect_ended(tun[2], "may have 2 tunnels");
	expect_ended(tun[3], "may have 2 tunnels");
}

Test(enforce, fewer_forwards_end_the_newest_that_has_one)
{
	struct qp_tunnel *tun[3];

	client("alice", &anything);
	apply();
	for (unsigned i = 0; i < 3; i++)
		tun[i] = keyed(i + 1, "alice");
	hold(tun[0], IPPROTO_TCP, 9000);
	hold(tun[2], IPPROTO_TCP, 9001);
	client("alice", &(struct qp_grants) {.any_port = true, .limits = {.forwards = 1}});
	cr_expect_eq(apply(), 1u);
	cr_expect_null(told(tun[1]), "it has none");
	expect_ended(tun[2], "1 forward");
}

Test(enforce, tunnels_beyond_the_limit_may_only_take_the_place_of_one)
{
	struct qp_tunnel *old, *tun[3];
	struct qp_errmsg msg;

	client("alice", &(struct qp_grants) {.any_port = true, .limits = {.tunnels = 1}});
	apply();
	old = keyed(1, "alice");
	cr_expect_eq(qp_enforce_room(enforce, old, &msg), 0);
	hold(old, IPPROTO_TCP, 9000);
	for (unsigned i = 0; i < 3; i++)
		tun[i] = keyed(i + 2, "alice");
	cr_expect_null(told(tun[0]));
	cr_expect_null(told(tun[1]));
	expect_ended(tun[2], "3 tunnels already, and may have 1");
	cr_expect_eq(qp_enforce_room(enforce, tun[0], &msg), QP_E_PERM);
	cr_expect_not_null(strstr(msg.text, "may have 1"), "%s", msg.text);
	/* As when its port is taken over. */
	LIST_REMOVE(LIST_FIRST(&old->ports), of_tunnel);
	cr_expect_eq(qp_enforce_room(enforce, tun[0], &msg), 0);
}

Test(enforce, forwards_are_counted_over_all_tunnels)
{
	struct qp_tunnel *one, *two;
	struct qp_errmsg msg;

	client("alice", &(struct qp_grants) {.any_port = true, .limits = {.forwards = 2}});
	apply();
	one = keyed(1, "alice");
	two = keyed(2, "alice");
	one->local.open = true;
	cr_expect_eq(qp_enforce_room(enforce, two, &msg), 0);
	hold(two, IPPROTO_UDP, 53);
	cr_expect_eq(qp_enforce_room(enforce, one, &msg), QP_E_PERM);
	cr_expect_eq(qp_enforce_room(enforce, keyed(3, "alice"), &msg), QP_E_PERM);
}

Test(enforce, limits_are_told_once_for_each_worker_and_forgotten_with_its_last_tunnel)
{
	const struct qp_msg_client_limits *l;
	struct qp_tunnel *one;

	client("alice", &(struct qp_grants) {.any_port = true,
		.limits = {.conns = 10, .conns_per_s = 3, .in_bytes_per_s = 4000}});
	apply();
	one = keyed(1, "alice");
	l = &outbox_last(&box, QP_MSG_CLIENT_LIMITS)->client_limits;
	cr_expect_eq(l->client_id, one->identity.client_id);
	cr_expect_eq(l->max_conns, 2u, "a quarter");
	cr_expect_eq(l->conns_per_s, 1u, "a quarter, but not none");
	cr_expect_eq(l->in_bytes_per_s, 1000u);
	cr_expect_eq(l->out_bytes_per_s, 0u, "no limit stays none");
	keyed(2, "alice");
	cr_expect_eq(box.n, 1u);
	keyed(301, "alice");
	cr_expect_eq(count(QP_MSG_CLIENT_LIMITS), 2u);
	cr_expect_eq(box.sent[1].to.worker, 3);
	box.n = 0;
	qp_enforce_left(enforce, one);
	qp_tunnels_remove(tunnels, one);
	cr_expect_eq(box.n, 0u, "another is there");
	one = qp_tunnels_find(tunnels, &(struct qp_origin) {.server_id = 1000, .id = 2});
	qp_enforce_left(enforce, one);
	cr_expect_eq(outbox_last(&box, QP_MSG_CLIENT_FORGET)->client_forget.client_id,
		one->identity.client_id);
	qp_tunnels_remove(tunnels, one);
}

Test(enforce, networks_are_told_in_pieces)
{
	struct qp_msg_network net[60] = {{.prefix = 0}};

	for (unsigned i = 0; i < 60; i++)
		net[i].prefix = (uint8_t)(i + 1);
	client("alice", &(struct qp_grants) {.any_port = true, .nsources = 60, .sources = net});
	apply();
	keyed(1, "alice");
	cr_assert_eq(box.n, 4u);
	cr_expect_eq(box.sent[0].m.client_limits.nsources, 60u);
	for (unsigned i = 0; i < 3; i++) {
		const struct qp_msg_client_sources *s = &box.sent[i + 1].m.client_sources;

		cr_expect_eq(box.sent[i + 1].m.type, QP_MSG_CLIENT_SOURCES);
		cr_expect_eq(s->first, i * QP_MSG_NETWORKS);
		cr_expect_eq(s->n, i < 2 ? 24u : 12u);
		cr_expect_eq(s->network[0].prefix, i * QP_MSG_NETWORKS + 1);
	}
}

Test(enforce, changed_limits_and_sources_are_told_and_unchanged_are_not)
{
	struct qp_msg_network net = {.prefix = 96};

	client("alice", &anything);
	client("bob", &anything);
	apply();
	keyed(1, "alice");
	keyed(2, "bob");
	client("alice", &anything);
	client("bob", &(struct qp_grants) {.any_port = true, .limits = {.conns = 40}});
	cr_expect_eq(apply(), 0u);
	cr_assert_eq(box.n, 1u);
	cr_expect_eq(outbox_last(&box, QP_MSG_CLIENT_LIMITS)->client_limits.max_conns, 10u);
	client("alice", &(struct qp_grants) {.any_port = true, .nsources = 1, .sources = &net});
	client("bob", &(struct qp_grants) {.any_port = true, .limits = {.conns = 40}});
	cr_expect_eq(apply(), 0u);
	cr_expect_eq(box.n, 2u);
	cr_expect_eq(count(QP_MSG_CLIENT_SOURCES), 1u);
}

Test(enforce, time_that_is_over_ends_tunnels_within_a_second)
{
	struct qp_tunnel *alice, *bob;
	uint64_t began;

	client("alice", &(struct qp_grants) {.any_port = true, .expires_at = 1002});
	client("bob", &(struct qp_grants) {.any_port = true, .expires_at = 2000});
	apply();
	alice = keyed(1, "alice");
	bob = keyed(2, "bob");
	box.n = 0;
	qp_loop_turn(loop, 300);
	cr_expect_eq(box.n, 0u);
	now = 1002;
	began = qp_now_ns();
	while (box.n == 0 && qp_now_ns() - began < 5000000000ull)
		qp_loop_turn(loop, 100);
	cr_expect_lt(qp_now_ns() - began, 1000000000ull);
	expect_ended(alice, "time is over");
	cr_expect_null(told(bob));
}

Test(enforce, expiry_that_comes_with_a_new_policy_counts)
{
	struct qp_tunnel *alice;

	client("alice", &anything);
	apply();
	alice = keyed(1, "alice");
	client("alice", &(struct qp_grants) {.any_port = true, .expires_at = 1000});
	cr_expect_eq(apply(), 1u);
	expect_ended(alice, "time is over");
}

Test(enforce, full_ring_delays_and_loses_nothing)
{
	struct qp_tunnel *tun[20];

	client("alice", &anything);
	client("bob", &anything);
	apply();
	for (unsigned i = 0; i < 20; i++)
		tun[i] = keyed(i + 1, "alice");
	keyed(50, "bob");
	room = false;
	client("bob", &(struct qp_grants) {.any_port = true, .limits = {.conns = 4}});
	cr_expect_eq(apply(), 20u);
	cr_expect_eq(box.n, 0u);
	/* One of them leaves by itself meanwhile. */
	leave(NULL, tun[7]);
	qp_loop_turn(loop, 20);
	cr_expect_eq(box.n, 0u);
	room = true;
	for (unsigned i = 0; i < 100 && box.n < 20; i++)
		qp_loop_turn(loop, 20);
	cr_expect_eq(count(QP_MSG_TUNNEL_CLOSE), 19u);
	cr_expect_eq(count(QP_MSG_CLIENT_LIMITS), 1u);
}

Test(enforce, ending_tunnel_is_granted_nothing)
{
	struct qp_tunnel *alice;
	struct qp_errmsg msg;

	client("alice", &anything);
	apply();
	alice = keyed(1, "alice");
	cr_expect_not_null(qp_enforce_client(enforce, alice, &msg));
	cr_expect(qp_enforce_end(enforce, alice, "an operator says so"));
	expect_ended(alice, "an operator says so");
	cr_expect_not(qp_enforce_end(enforce, alice, "once more"));
	cr_expect_null(qp_enforce_client(enforce, alice, &msg));
	cr_expect_eq(qp_enforce_room(enforce, alice, &msg), QP_E_PERM);
	cr_expect_str_eq(msg.text, "an operator says so");
}

Test(enforce, adopted_tunnel_must_be_allowed)
{
	const struct qp_origin a = {.server_id = 1000, .id = 1}, b = {.server_id = 1000, .id = 2};
	struct qp_tunnel *good, *bad;

	client("alice", &anything);
	apply();
	good = qp_tunnels_add(tunnels, &a, 0);
	bad = qp_tunnels_add(tunnels, &b, 0);
	good->identity = (struct qp_msg_identity) {.client_id = 7, .method = QP_AUTH_X25519,
		.name = "alice"};
	key_of("alice", good->identity.key);
	bad->identity = good->identity;
	key_of("a key that was revoked meanwhile", bad->identity.key);
	qp_tunnels_authenticated(tunnels, good);
	qp_tunnels_authenticated(tunnels, bad);
	qp_enforce_adopt(enforce, good);
	qp_enforce_adopt(enforce, bad);
	cr_expect_null(told(good));
	expect_ended(bad, "key was revoked");
	cr_expect_eq(count(QP_MSG_CLIENT_LIMITS), 1u);
	cr_expect_eq(box.sent[0].m.client_limits.client_id, 7u, "as its data plane knows it");
}

/* As its data plane tells it to the next control plane, which has other marks in hand. */
static struct qp_tunnel *
told_again(uint64_t id, const struct qp_msg_identity *identity)
{
	const struct qp_origin o = {.server_id = 1000, .id = id};
	struct qp_tunnel *tun = qp_tunnels_add(tunnels, &o, 0);

	tun->identity = *identity;
	qp_tunnels_authenticated(tunnels, tun);
	qp_enforce_adopt(enforce, tun);
	return tun;
}

Test(enforce, adopted_tunnel_must_have_come_by_the_psk_of_now)
{
	struct qp_msg_identity came, of_old_release;
	char dir[] = "/tmp/qp-marks-XXXXXX", path[64];
	struct qp_tunnel *tun;

	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/psk-marks", dir);
	qp_psk_marks_open(&marks, dir);
	psk("homes", "the first secret of homes");
	apply();
	tun = tunnel(1, "homes", QP_AUTH_PSK);
	of_old_release = tun->identity;
	qp_enforce_mark(enforce, tun);
	came = tun->identity;
	cr_expect_null(memmem(came.key, sizeof(came.key), "secret", 6));
	qp_psk_marks_close(&marks);

	qp_psk_marks_open(&marks, dir);
	cr_expect_null(told(told_again(2, &came)), "the PSK is the same");
	psk("homes", "the second secret of homes");
	apply();
	expect_ended(told_again(3, &came), "pre-shared key was changed");
	cr_expect_null(told(told_again(4, &of_old_release)), "nobody knows by which PSK it came");
	qp_psk_marks_close(&marks);

	/* Nor does who finds no key, or another one. */
	cr_assert_eq(unlink(path), 0);
	qp_psk_marks_open(&marks, dir);
	cr_expect_null(told(told_again(5, &came)));
	qp_psk_marks_close(&marks);
	cr_expect_eq(unlink(path), 0);
	cr_expect_eq(rmdir(dir), 0);
}

/* Ten thousand tunnels under a hundred clients; one client goes. */
Test(enforce, change_is_quick_with_many_tunnels)
{
	char name[16];
	uint64_t began;

	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "client%u", i);
		client(name, &(struct qp_grants) {.any_port = true, .limits = {.tunnels = 200}});
	}
	apply();
	for (unsigned i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "client%u", i % 100);
		keyed(i + 1, name);
		box.n = 0;
	}
	room = false; /* the outbox is small */
	for (unsigned i = 1; i < 100; i++) {
		snprintf(name, sizeof(name), "client%u", i);
		client(name, &(struct qp_grants) {.any_port = true, .limits = {.tunnels = 200}});
	}
	began = qp_now_ns();
	cr_expect_eq(apply(), 100u);
	fprintf(stderr, "10,000 tunnels looked at in %.1f ms\n", (qp_now_ns() - began) / 1e6);
	cr_expect_lt(qp_now_ns() - began, 500000000ull);
}
