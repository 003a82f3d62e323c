/* SPDX-License-Identifier: Apache-2.0 */
/* Flows that a client of a local forward asks for: their ports, answers, refusals and limits. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/udp/world.h"

#define FIRST 40000u
#define COUNT 4u

static struct uw *w;

static void
begin(void)
{
	uw_init();
	w = uw_new();
}

static void
end(void)
{
	uw_free(w);
}

TestSuite(udp_connect, .init = begin, .fini = end);

/* To 198.51.100.9 or 2001:db8::9, port 53. */
static struct qp_flow
destination(bool v6)
{
	static const uint8_t outside_mac[6] = {2, 0, 0, 0, 0, 9};
	struct qp_flow f = uw_flow(v6, 53);

	f.lport_be = 0;
	memcpy(f.l2.peer_mac, outside_mac, sizeof(f.l2.peer_mac));
	return f;
}

static struct qp_udp_flow *
connect_stream(bool v6, struct qp_quic_stream **s)
{
	const struct qp_flow to = destination(v6);

	*s = uw_stream(w);
	return qp_udp_connect(w->udp, &w->tunnel, &to, *s, UW_LOCAL, 4711);
}

static void
start(void)
{
	uw_start(w);
	qp_udp_set_ports(w->udp, FIRST, COUNT);
}

/* A datagram from the destination to `port`. */
static void
answer_from_destination(bool v6, uint16_t port, size_t len)
{
	uint8_t buf[600];
	uint16_t port_be = htons(port), zero = 0;
	const struct qp_flow f = uw_flow(v6, 53);
	struct qp_flow back = {.local = f.remote, .remote = f.local};
	uint16_t sum;

	uw_udp(buf, v6, 53, len, 3);
	memcpy(buf + 2, &port_be, 2);
	memcpy(buf + 6, &zero, 2);
	sum = (uint16_t)~uw_sum(uw_pseudo(v6, &back, IPPROTO_UDP, len + 8), buf, len + 8);
	sum = htons(sum);
	memcpy(buf + 6, &sum, 2);
	uw_input(w, uw_frame(w, &(struct uw_ip) {.v6 = v6, .proto = IPPROTO_UDP}, buf, len + 8));
}

Test(udp_connect, record_leaves_from_a_port_of_ours_and_the_answer_comes_back)
{
	start();
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct qp_quic_stream *s;
		struct qp_udp_flow *f = connect_stream(v6, &s);
		struct uw_packet *p;

		cr_assert_not_null(f);
		cr_expect_eq(s->ctx, f);
		cr_expect_eq(s->out_len, 0, "the client named it: nothing is written in front");
		uw_answer(w, s, 100, 1);
		uw_flush(w);
		p = uw_take(w);
		cr_assert_not_null(p);
		cr_expect_eq(p->v6, v6);
		cr_expect_eq(ntohs(p->flow.rport_be), 53);
		cr_expect(ntohs(p->flow.lport_be) >= FIRST && ntohs(p->flow.lport_be) < FIRST + COUNT);
		answer_from_destination(v6, ntohs(p->flow.lport_be), 50);
		uw_flush(w);
		cr_assert_eq(s->out_len, 54);
		cr_expect_eq(s->out[3], 50);
		free(p);
	}
}

Test(udp_connect, datagram_of_somebody_else_to_its_port_is_dropped)
{
	struct qp_quic_stream *s;
	struct qp_udp_flow *f;
	uint64_t before;

	start();
	f = connect_stream(false, &s);
	before = qp_udp_counters(w->udp)->drop_no_port;
	/* From the right port, but to another port of the block. */
	answer_from_destination(false,
		(uint16_t)(FIRST + (ntohs(f->flow.lport_be) - FIRST + 1) % COUNT), 50);
	cr_expect_eq(s->out_len, 0);
	cr_expect_eq(qp_udp_counters(w->udp)->drop_no_port, before + 1);
}

Test(udp_connect, all_ports_lead_there_next_one_is_refused_other_destination_is_not)
{
	struct qp_quic_stream *s;
	unsigned got = 0;

	start();
	/* Chosen at random: a few tries may miss the last free one. */
	for (unsigned i = 0; i < 200 && got < COUNT; i++)
		got += connect_stream(false, &s) != NULL;
	cr_assert_eq(got, COUNT);
	cr_expect_null(connect_stream(false, &s));
	cr_expect_gt(qp_udp_counters(w->udp)->no_local_port, 0);
	cr_expect_null(s->ctx, "the stream is still its opener's");
	cr_expect_not_null(connect_stream(true, &s));
}

Test(udp_connect, without_ports_nobody_connects)
{
	struct qp_quic_stream *s;

	uw_start(w);
	cr_expect_null(connect_stream(false, &s));
	cr_expect_eq(qp_udp_counters(w->udp)->no_local_port, 1);
}

Test(udp_connect, beyond_the_tunnels_limit_is_refused)
{
	struct qp_quic_stream *s;

	w->cfg.max_flows_per_tunnel = 2;
	start();
	cr_assert_not_null(connect_stream(false, &s));
	cr_assert_not_null(connect_stream(true, &s));
	cr_expect_null(connect_stream(false, &s));
	cr_expect_eq(qp_udp_counters(w->udp)->drop_tunnel_limit, 1);
}

Test(udp_connect, silence_ends_it_and_its_port_is_free)
{
	struct qp_quic_stream *s;

	start();
	qp_udp_set_ports(w->udp, FIRST, 1);
	cr_assert_not_null(connect_stream(false, &s));
	uw_wait(w, w->cfg.idle_ns + UW_MS);
	cr_expect(s->aborted);
	cr_expect_eq(w->locals_gone, 1);
	cr_expect_not_null(connect_stream(false, &s));
}

Test(udp_connect, client_resets_nothing_is_said_to_the_destination)
{
	struct qp_quic_stream *s;
	struct qp_udp_flow *f;

	start();
	f = connect_stream(false, &s);
	answer_from_destination(false, ntohs(f->flow.lport_be), 50);
	qp_udp_stream_reset(f, QP_STREAM_RESET);
	uw_flush(w);
	cr_expect_null(uw_take(w));
	cr_expect_eq(w->locals_gone, 1);
}

Test(udp_connect, destination_says_port_unreachable_the_asker_is_told)
{
	struct qp_quic_stream *s;
	struct qp_udp_flow *f;
	uint8_t icmp[8 + 28] = {3, 3};
	uint16_t sum;

	start();
	f = connect_stream(false, &s);
	icmp[8] = 0x45;
	icmp[8 + 9] = IPPROTO_UDP;
	memcpy(icmp + 8 + 12, &f->flow.local.b[12], 4);
	memcpy(icmp + 8 + 16, &f->flow.remote.b[12], 4);
	memcpy(icmp + 28, &f->flow.lport_be, 2);
	memcpy(icmp + 30, &f->flow.rport_be, 2);
	sum = htons((uint16_t)~uw_sum(0, icmp, sizeof(icmp)));
	memcpy(icmp + 2, &sum, 2);
	uw_input(w, uw_frame(w, &(struct uw_ip) {.proto = IPPROTO_ICMP}, icmp, sizeof(icmp)));
	cr_expect_eq(w->locals_refused, 1);
	cr_expect_eq(w->locals_gone, 1);
	cr_expect(s->aborted);
	cr_expect_eq(s->code, QP_STREAM_REFUSED);
}
