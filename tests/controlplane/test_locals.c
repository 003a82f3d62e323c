/* SPDX-License-Identifier: Apache-2.0 */
/* Where local forwards lead: policy, routes, names, and the ports that connections come from. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "common/wire.h"
#include "controlplane/locals.h"
#include "tests/controlplane/support.h"

#define COUNT 64u

static bool open_ports[65536];
static uint16_t taken; /* by somebody else on the host */
static struct outbox box;
static struct qp_allow allow;
static struct qp_loop *loop;
static struct qp_tunnels *tunnels;
static struct qp_sources *sources;
static struct qp_locals *locals;
static uint32_t next_random;

static int
host_open(void *ctx, int protocol, uint16_t port, const struct in6_addr *addr,
	const struct qp_origin *worker, struct qp_errmsg *msg)
{
	cr_assert_null(addr);
	cr_assert_not(open_ports[port], "port %u is opened twice", port);
	if (port == taken)
		return qp_fail(msg, QP_E_INUSE, "port %u is in use", port);
	open_ports[port] = true;
	return 0;
}

static void
host_close(void *ctx, int protocol, uint16_t port)
{
	cr_assert(open_ports[port], "port %u is closed, but not open", port);
	open_ports[port] = false;
}

static unsigned
count_open(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 65536; i++)
		n += open_ports[i];
	return n;
}

static uint32_t
count_up(uint32_t bound)
{
	return next_random++ * 10 % bound;
}

/* A host with a way to itself and to 192.0.2.0/24, by interface 7. */
static int
route(void *ctx, const struct in6_addr *dest, struct qp_hostnet_route *out, struct qp_errmsg *msg)
{
	static const uint8_t net[] = {[10] = 0xff, [11] = 0xff, 192, 0, 2};
	struct in6_addr loopback = IN6ADDR_LOOPBACK_INIT;

	if (memcmp(dest, net, sizeof(net)) == 0) {
		*out = (struct qp_hostnet_route) {.ifindex = 7, .mtu = 1400};
		qp_ip_parse_text("192.0.2.1", &out->source, NULL);
		return 0;
	}
	if ((IN6_IS_ADDR_V4MAPPED(dest) && dest->s6_addr[12] == 127) ||
		IN6_ARE_ADDR_EQUAL(dest, &loopback)) {
		*out = (struct qp_hostnet_route) {.ifindex = 1, .mtu = 65536, .source = *dest};
		return 0;
	}
	return qp_fail(msg, QP_E_NOTFOUND, "no route");
}

static const struct qp_allow *
rights(void *ctx, const struct qp_tunnel *tun, struct qp_errmsg *msg)
{
	(void)ctx, (void)tun, (void)msg;
	return &allow;
}

static void
start(void)
{
	struct qp_locals_config cfg = {.sender = outbox_sender(&box),
		.rights = rights,
		.source_count = COUNT,
		.route = route};
	struct qp_errmsg msg;

	loop = cfg.loop = qp_loop_new();
	tunnels = cfg.tunnels = qp_tunnels_new();
	sources = cfg.sources = qp_sources_new(&(struct qp_sources_config) {
		.host = {.open = host_open, .close = host_close}, .count = COUNT, .random = count_up});
	cr_assert_eq(qp_sockaddr_parse("127.0.0.1:39000", &cfg.private_api, &msg), 0);
	cr_assert_eq(qp_locals_new(&cfg, &locals, &msg), 0, "%s", msg.text);
}

static void
stop(void)
{
	qp_locals_free(locals);
	qp_sources_free(sources);
	cr_assert_eq(count_open(), 0, "ports are left");
	qp_tunnels_free(tunnels);
	qp_loop_free(loop);
}

TestSuite(locals, .init = start, .fini = stop);

static struct qp_origin
tunnel(uint64_t id)
{
	struct qp_origin o = {.server_id = 1000, .worker = 2, .id = id};

	if (qp_tunnels_find(tunnels, &o) == NULL)
		qp_tunnels_authenticated(tunnels, qp_tunnels_add(tunnels, &o, 0));
	return o;
}

static void
permit(const char *rule)
{
	struct qp_errmsg msg;

	cr_assert_eq(qp_allow_add(&allow, rule, &msg), 0, "%s", msg.text);
}

static void
ask(const struct qp_origin *from, const char *destination)
{
	struct qp_msg m = {.type = QP_MSG_LOCAL_REQUEST};

	m.local.protocol = QP_WIRE_TCP;
	m.local.destination_len = (uint16_t)strlen(destination);
	memcpy(m.local.destination, destination, m.local.destination_len);
	qp_locals_request(locals, from, &m);
}

static void
expect_denied(const char *destination, enum qp_wire_status status)
{
	struct qp_origin o = tunnel(1);
	const struct qp_msg *m;

	ask(&o, destination);
	m = outbox_last(&box, QP_MSG_LOCAL_DENY);
	cr_expect_eq(m->forward_answer.status, status, "%s: %u, %.*s", destination,
		m->forward_answer.status, m->forward_answer.message_len, m->forward_answer.message);
	cr_expect_gt(m->forward_answer.message_len, 0);
	cr_expect_eq(count_open(), 0);
}

static void
expect_addr(const uint8_t addr[16], const char *text)
{
	struct in6_addr want;

	qp_ip_parse_text(text, &want, NULL);
	cr_expect_eq(memcmp(addr, &want, sizeof(want)), 0, "%s", text);
}

Test(locals, allowed_destination_is_granted_with_its_way)
{
	struct qp_origin o = tunnel(1);
	const struct qp_msg_local_grant *g;

	permit("192.0.2.0/24:80");
	ask(&o, "192.0.2.9:80");
	g = &outbox_last(&box, QP_MSG_LOCAL_GRANT)->local_grant;
	cr_assert_eq(g->naddrs, 1);
	cr_assert_eq(g->port, 80);
	cr_assert_eq(g->protocol, QP_WIRE_TCP);
	expect_addr(g->addr[0].addr, "192.0.2.9");
	expect_addr(g->addr[0].source, "192.0.2.1");
	cr_assert_eq(g->addr[0].ifindex, 7);
	cr_assert_eq(g->addr[0].mtu, 1400);
	cr_assert_eq(g->source_count, COUNT);
	for (unsigned i = 0; i < COUNT; i++)
		cr_assert(open_ports[g->source_first + i]);
	cr_assert_eq(g->message_len, strlen("Forwarding to 192.0.2.9:80"));
	cr_assert_arr_eq(g->message, "Forwarding to 192.0.2.9:80", g->message_len);
	cr_assert(qp_origin_equal(&box.sent[0].to, &o));
}

Test(locals, port_alone_is_the_host_itself)
{
	struct qp_origin o = tunnel(1);
	const struct qp_msg_local_grant *g;

	permit("127.0.0.1");
	ask(&o, "8080");
	g = &outbox_last(&box, QP_MSG_LOCAL_GRANT)->local_grant;
	cr_assert_eq(g->port, 8080);
	expect_addr(g->addr[0].addr, "127.0.0.1");
	cr_assert_eq(g->addr[0].ifindex, 1);
}

Test(locals, nothing_allowed_every_destination_is_denied)
{
	expect_denied("192.0.2.9:80", QP_WIRE_PERMISSION_DENIED);
	expect_denied("127.0.0.1:80", QP_WIRE_PERMISSION_DENIED);
	expect_denied("[::1]:80", QP_WIRE_PERMISSION_DENIED);
	expect_denied("localhost:80", QP_WIRE_PERMISSION_DENIED);
	expect_denied("80", QP_WIRE_PERMISSION_DENIED);
	cr_assert_eq(box.n, 5, "no name was asked for");
}

Test(locals, destination_beyond_the_rules_is_denied)
{
	permit("192.0.2.0/24:80");
	expect_denied("192.0.2.9:81", QP_WIRE_PERMISSION_DENIED);
	expect_denied("192.0.3.9:80", QP_WIRE_PERMISSION_DENIED);
	expect_denied("[::ffff:192.0.3.9]:80", QP_WIRE_PERMISSION_DENIED);
}

Test(locals, v4_in_v6_clothes_is_v4)
{
	struct qp_origin o = tunnel(1);

	permit("192.0.2.0/24");
	ask(&o, "[::ffff:192.0.2.9]:80");
	expect_addr(outbox_last(&box, QP_MSG_LOCAL_GRANT)->local_grant.addr[0].addr, "192.0.2.9");
}

Test(locals, what_is_no_destination_is_refused_even_if_all_is_allowed)
{
	static const char *const none[] = {"0.0.0.0:80", "0.1.2.3:80", "[::]:80", "224.0.0.1:80",
		"255.255.255.255:80", "[ff02::1]:80", "[fe80::1]:80", "198.51.100.1:80", "", ":",
		"192.0.2.1", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:80/tcp", "::1:80", "a b:80"};

	allow.any = true;
	for (unsigned i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		expect_denied(none[i], QP_WIRE_INTERNAL_ERROR);
}

Test(locals, gateways_own_api_is_never_a_destination)
{
	struct qp_origin o = tunnel(1);

	allow.any = true;
	expect_denied("127.0.0.1:39000", QP_WIRE_PERMISSION_DENIED);
	ask(&o, "127.0.0.1:39001");
	outbox_last(&box, QP_MSG_LOCAL_GRANT);
	ask(&o, "192.0.2.9:39000");
	outbox_last(&box, QP_MSG_LOCAL_GRANT);
}

Test(locals, text_with_a_nul_is_refused)
{
	struct qp_origin o = tunnel(1);
	struct qp_msg m = {.type = QP_MSG_LOCAL_REQUEST};

	allow.any = true;
	m.local.protocol = QP_WIRE_TCP;
	m.local.destination_len = 15;
	memcpy(m.local.destination, "127.0.0.1\0:8080", 15);
	qp_locals_request(locals, &o, &m);
	outbox_last(&box, QP_MSG_LOCAL_DENY);
	m.local.destination_len = 5000;
	qp_locals_request(locals, &o, &m);
	cr_assert_eq(box.n, 2);
	outbox_last(&box, QP_MSG_LOCAL_DENY);
}

/* Names: localhost is known to every host's resolver. */

static bool
answered(unsigned n)
{
	for (unsigned i = 0; i < 200 && box.n < n; i++)
		qp_loop_turn(loop, 50);
	return box.n >= n;
}

Test(locals, name_is_resolved_and_only_allowed_addresses_are_granted)
{
	struct qp_origin o = tunnel(1);
	const struct qp_msg_local_grant *g;

	permit("127.0.0.1");
	ask(&o, "localhost:80");
	cr_assert_eq(box.n, 0, "nobody waits for a resolver");
	cr_assert(answered(1));
	g = &outbox_last(&box, QP_MSG_LOCAL_GRANT)->local_grant;
	cr_assert_eq(g->naddrs, 1);
	expect_addr(g->addr[0].addr, "127.0.0.1");
	cr_assert_arr_eq(g->message, "Forwarding to localhost:80 (127.0.0.1:80)", g->message_len);
}

Test(locals, name_whose_addresses_are_not_allowed_is_denied)
{
	struct qp_origin o = tunnel(1);

	permit("192.0.2.0/24");
	ask(&o, "localhost:80");
	cr_assert(answered(1));
	cr_assert_eq(outbox_last(&box, QP_MSG_LOCAL_DENY)->forward_answer.status,
		QP_WIRE_PERMISSION_DENIED);
}

Test(locals, client_that_left_meanwhile_gets_no_answer)
{
	struct qp_origin gone = tunnel(1), there = tunnel(2);

	permit("127.0.0.1");
	ask(&gone, "localhost:80");
	qp_tunnels_remove(tunnels, qp_tunnels_find(tunnels, &gone));
	ask(&there, "localhost:80");
	cr_assert(answered(1));
	qp_loop_turn(loop, 100);
	cr_assert_eq(box.n, 1);
	cr_assert(qp_origin_equal(&box.sent[0].to, &there));
}

Test(locals, many_questions_at_once_are_all_answered)
{
	permit("127.0.0.1");
	for (unsigned i = 1; i <= 50; i++) {
		struct qp_origin o = tunnel(i);

		ask(&o, "localhost:80");
	}
	cr_assert(answered(50));
}

Test(locals, ends_while_questions_are_open)
{
	allow.any = true;
	for (unsigned i = 1; i <= 50; i++) {
		struct qp_origin o = tunnel(i);

		ask(&o, "a-name-that-is-asked-for.invalid:80");
	}
}

/* Ports. */

Test(locals, workers_ports_are_taken_once_and_go_with_the_generation)
{
	struct qp_origin a = tunnel(1), b = tunnel(2);
	uint16_t first;

	permit("192.0.2.0/24");
	ask(&a, "192.0.2.9:80");
	first = outbox_last(&box, QP_MSG_LOCAL_GRANT)->local_grant.source_first;
	ask(&b, "192.0.2.10:81");
	cr_assert_eq(outbox_last(&box, QP_MSG_LOCAL_GRANT)->local_grant.source_first, first);
	cr_assert_eq(count_open(), COUNT);
	b.worker = 3;
	qp_tunnels_authenticated(tunnels, qp_tunnels_add(tunnels, &b, 0));
	next_random += 100;
	ask(&b, "192.0.2.10:81");
	cr_assert_neq(outbox_last(&box, QP_MSG_LOCAL_GRANT)->local_grant.source_first, first);
	cr_assert_eq(count_open(), 2 * COUNT);
	qp_sources_drop_generation(sources, 999);
	cr_assert_eq(count_open(), 2 * COUNT);
	qp_sources_drop_generation(sources, 1000);
	cr_assert_eq(count_open(), 0);
}

Test(locals, port_in_use_within_a_block_another_block_is_taken)
{
	struct qp_origin o = tunnel(1);
	uint16_t first;

	permit("192.0.2.0/24");
	taken = 8192 + 30;
	ask(&o, "192.0.2.9:80");
	first = outbox_last(&box, QP_MSG_LOCAL_GRANT)->local_grant.source_first;
	cr_assert(first > taken || first + COUNT <= taken, "%u", first);
	cr_assert_eq(count_open(), COUNT);
	cr_assert_not(open_ports[taken]);
}

Test(locals, granted_addresses_are_kept_for_a_change_of_policy)
{
	struct qp_origin o = tunnel(1);
	const struct qp_tunnel_local *local = &qp_tunnels_find(tunnels, &o)->local;
	struct in6_addr want;

	permit("192.0.2.0/24");
	ask(&o, "198.51.100.1:80");
	cr_expect_not(local->open, "it was refused");
	ask(&o, "192.0.2.9:80");
	cr_assert(local->open);
	cr_expect_eq(local->n, 1u);
	cr_expect_eq(local->port, 80);
	cr_assert_eq(qp_ip_parse_text("192.0.2.9", &want, NULL), 0);
	cr_expect_arr_eq(local->addr[0].s6_addr, want.s6_addr, 16);
}

Test(locals, adopted_forward_leads_where_it_did)
{
	struct qp_tunnel *tun;
	struct qp_origin o = tunnel(1);
	struct qp_msg_tunnel_state s = {.local = 1, .destination_len = 11,
		.destination = "[::1]:65535"};

	tun = qp_tunnels_find(tunnels, &o);
	qp_locals_adopt(tun, &s);
	cr_expect(tun->local.open);
	cr_expect_eq(tun->local.n, 1u);
	cr_expect_eq(tun->local.port, 65535);
	memcpy(s.destination, "localhost:8", 11);
	qp_locals_adopt(tun, &s);
	cr_expect(tun->local.open);
	cr_expect_eq(tun->local.n, 0u);
	/* Cut, or from a broken data plane. */
	s.destination_len = 65535;
	qp_locals_adopt(tun, &s);
	cr_expect(tun->local.open);
	cr_expect_eq(tun->local.n, 0u);
}
