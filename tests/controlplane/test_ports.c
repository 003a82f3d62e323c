/* SPDX-License-Identifier: Apache-2.0 */
/* The table of forwarded ports, over a host that is made up. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <string.h>

#include "common/wire.h"
#include "controlplane/ports.h"
#include "tests/controlplane/support.h"

static const uint16_t reserved[] = {39000, 39001};

/* A host whose port 80 is taken, whose port 81 is forbidden, whose port 82 is broken. */
struct host {
	bool open[65536];     /* TCP */
	bool open_udp[65536];
	struct in6_addr last_addr;
	bool last_had_addr;
	struct qp_origin last_worker;
};

static struct host host;

static bool *
slot_of(struct host *h, int protocol, uint16_t port)
{
	cr_assert(protocol == IPPROTO_TCP || protocol == IPPROTO_UDP);
	return protocol == IPPROTO_UDP ? &h->open_udp[port] : &h->open[port];
}
static struct outbox box;
static struct qp_tunnels *tunnels;
static struct qp_ports *ports;
static uint32_t next_random;

static int
host_open(void *ctx, int protocol, uint16_t port, const struct in6_addr *addr,
	const struct qp_origin *worker, struct qp_errmsg *msg)
{
	struct host *h = ctx;

	cr_assert_not(*slot_of(h, protocol, port), "port %u is opened twice", port);
	if (port == 80)
		return qp_fail(msg, QP_E_INUSE, "port 80/tcp is in use on this host");
	if (port == 81)
		return qp_fail(msg, QP_E_PERM, "port 81/tcp is forbidden");
	if (port == 82)
		return qp_fail(msg, QP_E_IO, "broken");
	*slot_of(h, protocol, port) = true;
	h->last_had_addr = addr != NULL;
	if (addr != NULL)
		h->last_addr = *addr;
	h->last_worker = *worker;
	return 0;
}

static void
host_close(void *ctx, int protocol, uint16_t port)
{
	struct host *h = ctx;

	cr_assert(*slot_of(h, protocol, port), "port %u is closed, but not open", port);
	*slot_of(h, protocol, port) = false;
}

/* 0, 1, 2, … so that a test knows which ports are tried. */
static uint32_t
count_up(uint32_t bound)
{
	return next_random++ % bound;
}

static void
start_at(const char *forward_addr)
{
	struct qp_ports_config cfg = {.sender = outbox_sender(&box),
		.host = {.open = host_open, .close = host_close, .ctx = &host},
		.reserved_tcp = reserved,
		.nreserved_tcp = 2,
		.reserved_udp = 39000,
		.random = count_up};

	tunnels = cfg.tunnels = qp_tunnels_new();
	if (forward_addr != NULL)
		inet_pton(AF_INET6, forward_addr, &cfg.forward_addr);
	ports = qp_ports_new(&cfg);
}

static void
start(void)
{
	start_at(NULL);
}

static void
stop(void)
{
	for (unsigned i = 0; i < 65536; i++) {
		const struct qp_port *p = qp_ports_find(ports, IPPROTO_TCP, (uint16_t)i);
		const struct qp_port *udp = qp_ports_find(ports, IPPROTO_UDP, (uint16_t)i);

		cr_assert_eq(host.open[i], p != NULL, "table and host disagree on port %u", i);
		cr_assert_eq(host.open_udp[i], udp != NULL, "… on port %u/udp", i);
	}
	qp_ports_free(ports);
	for (unsigned i = 0; i < 65536; i++)
		cr_assert_not(host.open[i] || host.open_udp[i], "port %u is left open", i);
	qp_tunnels_free(tunnels);
}

TestSuite(ports, .init = start, .fini = stop);

static struct qp_origin
tunnel(uint64_t id)
{
	struct qp_origin o = {.server_id = 1000, .worker = 2, .id = id};

	if (qp_tunnels_find(tunnels, &o) == NULL)
		qp_tunnels_authenticated(tunnels, qp_tunnels_add(tunnels, &o, 0));
	return o;
}

static const struct qp_msg_forward_answer *
request(uint64_t id, uint16_t port, uint8_t protocol, uint16_t answer)
{
	struct qp_origin from = tunnel(id);
	struct qp_msg m = {
		.type = QP_MSG_FORWARD_REQUEST, .forward = {.port = port, .protocol = protocol}};

	qp_ports_request(ports, &from, &m);
	return &outbox_last(&box, answer)->forward_answer;
}

static void
assert_says(const struct qp_msg_forward_answer *a, const char *text)
{
	cr_expect_eq(a->message_len, strlen(text), "%.*s", a->message_len, a->message);
	cr_expect_arr_eq(a->message, text, strlen(text), "%.*s", a->message_len, a->message);
}

Test(ports, free_port_is_granted)
{
	const struct qp_msg_forward_answer *a = request(1, 9022, QP_WIRE_TCP, QP_MSG_FORWARD_GRANT);

	cr_expect_eq(a->port, 9022);
	cr_expect_eq(a->protocol, QP_WIRE_TCP);
	cr_expect_eq(a->status, QP_WIRE_SUCCESS);
	assert_says(a, "Listening on port 9022");
	cr_expect(host.open[9022]);
	cr_expect_not(host.last_had_addr);
	cr_expect_eq(host.last_worker.worker, 2);
	cr_expect_eq(qp_ports_count(ports), 1u);
}

Test(ports, taken_port_is_denied_as_in_use)
{
	const struct qp_msg_forward_answer *a;

	request(1, 9022, QP_WIRE_TCP, QP_MSG_FORWARD_GRANT);
	a = request(2, 9022, QP_WIRE_TCP, QP_MSG_FORWARD_DENY);
	cr_expect_eq(a->status, QP_WIRE_PORT_IN_USE);
	assert_says(a, "port 9022/tcp is taken by another tunnel");
	cr_expect_eq(qp_ports_count(ports), 1u);
}

Test(ports, port_of_the_host_is_denied_with_its_words)
{
	const struct qp_msg_forward_answer *a;

	a = request(1, 80, QP_WIRE_TCP, QP_MSG_FORWARD_DENY);
	cr_expect_eq(a->status, QP_WIRE_PORT_IN_USE);
	assert_says(a, "port 80/tcp is in use on this host");
	a = request(1, 81, QP_WIRE_TCP, QP_MSG_FORWARD_DENY);
	cr_expect_eq(a->status, QP_WIRE_PERMISSION_DENIED);
	a = request(1, 82, QP_WIRE_TCP, QP_MSG_FORWARD_DENY);
	cr_expect_eq(a->status, QP_WIRE_INTERNAL_ERROR);
	cr_expect_eq(qp_ports_count(ports), 0u);
}

Test(ports, own_port_is_denied)
{
	cr_expect_eq(
		request(1, 39001, QP_WIRE_TCP, QP_MSG_FORWARD_DENY)->status, QP_WIRE_PORT_IN_USE);
	cr_expect_not(host.open[39001]);
}

Test(ports, udp_and_tcp_of_one_number_are_two_ports)
{
	const struct qp_msg_forward_answer *a;

	request(1, 5353, QP_WIRE_TCP, QP_MSG_FORWARD_GRANT);
	a = request(2, 5353, QP_WIRE_UDP, QP_MSG_FORWARD_GRANT);
	cr_expect_eq(a->protocol, QP_WIRE_UDP);
	cr_expect_eq(a->port, 5353);
	cr_expect_eq(qp_ports_count(ports), 2u);
	a = request(3, 5353, QP_WIRE_UDP, QP_MSG_FORWARD_DENY);
	cr_expect_eq(a->status, QP_WIRE_PORT_IN_USE);
	assert_says(a, "port 5353/udp is taken by another tunnel");
}

Test(ports, own_udp_port_is_denied)
{
	const struct qp_msg_forward_answer *a =
		request(1, 39000, QP_WIRE_UDP, QP_MSG_FORWARD_DENY);

	cr_expect_eq(a->status, QP_WIRE_PORT_IN_USE);
	assert_says(a, "port 39000/udp is the gateway's own");
}

Test(ports, unknown_protocol_is_denied)
{
	cr_expect_eq(request(1, 5353, 7, QP_MSG_FORWARD_DENY)->status, QP_WIRE_INTERNAL_ERROR);
	cr_expect_eq(qp_ports_count(ports), 0u);
}

Test(ports, unauthenticated_tunnel_is_denied)
{
	struct qp_origin from = {.server_id = 1000, .worker = 0, .id = 5};
	struct qp_msg m = {.forward = {.port = 9000, .protocol = QP_WIRE_TCP}};

	qp_ports_request(ports, &from, &m);
	cr_expect_eq(outbox_last(&box, QP_MSG_FORWARD_DENY)->forward_answer.status,
		QP_WIRE_PERMISSION_DENIED);
	qp_tunnels_add(tunnels, &from, 0); /* challenged, not more */
	qp_ports_request(ports, &from, &m);
	outbox_last(&box, QP_MSG_FORWARD_DENY);
	cr_expect_eq(qp_ports_count(ports), 0u);
}

Test(ports, port_zero_is_answered_with_a_free_one)
{
	const struct qp_msg_forward_answer *a;

	request(1, 32768, QP_WIRE_TCP, QP_MSG_FORWARD_GRANT);
	a = request(2, 0, QP_WIRE_TCP, QP_MSG_FORWARD_GRANT);
	cr_expect_eq(a->port, 32769, "the first is taken");
	assert_says(a, "Listening on port 32769");
}

Test(ports, closed_port_is_free_at_once)
{
	struct qp_origin one = tunnel(1), two = tunnel(2);
	struct qp_msg m = {.forward_closed = {.port = 9022, .protocol = QP_WIRE_TCP}};

	request(1, 9022, QP_WIRE_TCP, QP_MSG_FORWARD_GRANT);
	qp_ports_closed(ports, &two, &m); /* not its own */
	cr_expect(host.open[9022]);
	qp_ports_closed(ports, &one, &m);
	cr_expect_not(host.open[9022]);
	qp_ports_closed(ports, &one, &m); /* again: nothing */
	request(2, 9022, QP_WIRE_TCP, QP_MSG_FORWARD_GRANT);
}

Test(ports, tunnel_that_ends_gives_all_back)
{
	struct qp_origin one = tunnel(1);

	request(1, 9000, QP_WIRE_TCP, QP_MSG_FORWARD_GRANT);
	request(2, 9001, QP_WIRE_TCP, QP_MSG_FORWARD_GRANT);
	request(1, 9002, QP_WIRE_TCP, QP_MSG_FORWARD_GRANT);
	qp_ports_drop_tunnel(ports, qp_tunnels_find(tunnels, &one), "test", NULL);
	cr_expect_not(host.open[9000]);
	cr_expect(host.open[9001]);
	cr_expect_not(host.open[9002]);
	cr_expect_eq(qp_ports_count(ports), 1u);
}

static void
start_with_addr(void)
{
	stop(); /* the suite's */
	start_at("::ffff:192.0.2.1");
}

Test(ports, forward_addr_goes_to_host_and_data_plane, .init = start_with_addr)
{
	const struct qp_msg_forward_answer *a = request(1, 9022, QP_WIRE_TCP, QP_MSG_FORWARD_GRANT);

	cr_expect(host.last_had_addr);
	cr_expect_eq(host.last_addr.s6_addr[12], 192);
	cr_expect_arr_eq(a->addr, &host.last_addr, 16);
}

Test(ports, destination_longer_than_it_can_be_is_cut)
{
	struct qp_origin from = tunnel(1);
	struct qp_msg m = {
		.forward = {.port = 9000, .protocol = QP_WIRE_TCP, .destination_len = 65535}};

	memset(m.forward.destination, 'x', sizeof(m.forward.destination));
	qp_ports_request(ports, &from, &m);
	outbox_last(&box, QP_MSG_FORWARD_GRANT);
}
