/* SPDX-License-Identifier: Apache-2.0 */
/* ICMP both ways: nobody behind the client's port, and what the outside says of our datagrams. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "tests/udp/world.h"

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

TestSuite(udp_icmp, .init = begin, .fini = end);

static const struct qp_udp_counters *
counters(void)
{
	return qp_udp_counters(w->udp);
}

static struct qp_quic_stream *
flow(bool v6, uint16_t peer)
{
	uw_datagram(w, v6, peer, 30, 0, 0);
	return w->stream[w->nstreams - 1];
}

/* An error about a datagram of ours to `peer`, `len` bytes of it quoted. */
struct error {
	bool v6;
	uint8_t type, code;
	uint32_t mtu;
	uint16_t peer;
	uint8_t proto;
	bool fragment;
	size_t len;
};

/* What we had sent: IP header, perhaps a fragment header, UDP header, zeros. */
static void
put_quote(uint8_t *p, const struct error *e)
{
	const struct qp_flow f = uw_flow(e->v6, e->peer);
	uint8_t *l4 = p + (e->v6 ? 40 : 20);

	p[0] = e->v6 ? 0x60 : 0x45;
	p[e->v6 ? 6 : 9] = e->fragment ? IPPROTO_FRAGMENT : e->proto;
	memcpy(p + (e->v6 ? 8 : 12), e->v6 ? f.local.b : &f.local.b[12], e->v6 ? 16 : 4);
	memcpy(p + (e->v6 ? 24 : 16), e->v6 ? f.remote.b : &f.remote.b[12], e->v6 ? 16 : 4);
	if (e->fragment) {
		l4[0] = e->proto;
		l4[3] = 1; /* offset 0, more */
		l4 += 8;
	}
	memcpy(l4, &f.lport_be, 2);
	memcpy(l4 + 2, &f.rport_be, 2);
}

static void
icmp(const struct error *e)
{
	const struct uw_ip ip = {.v6 = e->v6, .proto = e->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP};
	const struct qp_flow f = uw_flow(e->v6, 0);
	const uint32_t mtu = htonl(e->mtu);
	uint8_t p[8 + 128] = {e->type, e->code};
	size_t len = 8 + e->len;
	uint16_t sum;

	memcpy(p + 4, &mtu, 4);
	put_quote(p + 8, e);
	sum = (uint16_t)~uw_sum(e->v6 ? uw_pseudo(true, &f, ip.proto, len) : 0, p, len);
	p[2] = (uint8_t)(sum >> 8);
	p[3] = (uint8_t)sum;
	uw_input(w, uw_frame(w, &ip, p, len));
}

static void
expect_unreachable(bool v6, uint16_t peer)
{
	const struct qp_flow f = uw_flow(v6, peer);
	struct uw_packet *p = uw_take(w);
	const uint8_t *ip;

	cr_assert_not_null(p, "nothing was sent");
	cr_assert_eq(p->proto, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
	cr_assert(qp_ipaddr_equal(&p->flow.remote, &f.remote));
	cr_expect_eq(p->data[0], v6 ? 1 : 3);
	cr_expect_eq(p->data[1], v6 ? 4 : 3);
	ip = p->data + 8;
	cr_assert_eq(p->len, 8u + (v6 ? 48 : 28));
	cr_expect_eq(ip[0] >> 4, v6 ? 6 : 4);
	/* Its datagram, from its port to ours. */
	cr_expect_arr_eq(ip + (v6 ? 40 : 20), &f.rport_be, 2);
	cr_expect_arr_eq(ip + (v6 ? 42 : 22), &f.lport_be, 2);
	free(p);
}

Test(udp_icmp, client_that_refuses_is_port_unreachable_outside)
{
	uw_start(w);
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct qp_quic_stream *s = flow(v6, 4000);

		qp_udp_flow_close(s->ctx, QP_WIRE_REFUSED);
		expect_unreachable(v6, 4000);
		cr_expect(s->aborted);
	}
	cr_expect_eq(counters()->icmp_sent, 2u);
	cr_expect_eq(counters()->flows_refused, 2u);
	cr_expect_eq(counters()->flows, 0u);
}

Test(udp_icmp, reset_and_stop_are_port_unreachable_outside)
{
	uw_start(w);
	qp_udp_stream_reset(flow(false, 1)->ctx, QP_STREAM_REFUSED);
	expect_unreachable(false, 1);
	qp_udp_stream_reset(flow(false, 2)->ctx, QP_STREAM_RESET);
	expect_unreachable(false, 2);
	qp_udp_stream_stopped(flow(true, 3)->ctx, QP_STREAM_RESET);
	expect_unreachable(true, 3);
}

Test(udp_icmp, client_that_had_enough_says_nothing_outside)
{
	uw_start(w);
	qp_udp_flow_close(flow(false, 1)->ctx, QP_WIRE_TIMEOUT);
	qp_udp_stream_reset(flow(false, 2)->ctx, QP_STREAM_TIMEOUT);
	/* Our client, after its own idle time. */
	qp_udp_stream_stopped(flow(false, 3)->ctx, QP_STREAM_CLOSED);
	cr_expect_null(uw_take(w));
	cr_expect_eq(counters()->flows, 0u);
}

Test(udp_icmp, port_unreachable_is_limited_a_second)
{
	w->cfg.icmp_limit = 5;
	uw_start(w);
	for (uint16_t peer = 1; peer <= 8; peer++)
		qp_udp_flow_close(flow(false, peer)->ctx, QP_WIRE_REFUSED);
	cr_expect_eq(counters()->icmp_sent, 5u);
	cr_expect_eq(counters()->icmp_limited, 3u);
	uw_wait(w, 1000 * UW_MS);
	qp_udp_flow_close(flow(false, 1)->ctx, QP_WIRE_REFUSED);
	cr_expect_eq(counters()->icmp_sent, 6u);
}

Test(udp_icmp, outside_that_is_gone_ends_its_flow_alone)
{
	uw_start(w);
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct qp_quic_stream *s = flow(v6, 4000), *other = flow(v6, 4001);

		icmp(&(struct error) {.v6 = v6, .type = v6 ? 1 : 3, .code = v6 ? 4 : 3, .peer = 4000,
			.proto = IPPROTO_UDP, .len = 48});
		cr_expect(s->aborted);
		cr_expect_eq(s->code, QP_STREAM_REFUSED);
		cr_expect_not(other->aborted);
	}
	cr_expect_eq(counters()->flows_unreachable, 2u);
}

Test(udp_icmp, what_may_pass_ends_nothing)
{
	static const uint8_t codes[] = {0, 1, 4, 5, 9, 10, 13};

	uw_start(w);
	flow(false, 1);
	flow(true, 1);
	for (unsigned i = 0; i < RTE_DIM(codes); i++)
		icmp(&(struct error) {.type = 3, .code = codes[i], .peer = 1, .proto = IPPROTO_UDP, .len = 28});
	icmp(&(struct error) {.type = 11, .peer = 1, .proto = IPPROTO_UDP, .len = 28});
	icmp(&(struct error) {.v6 = true, .type = 1, .peer = 1, .proto = IPPROTO_UDP, .len = 48});
	icmp(&(struct error) {.v6 = true, .type = 3, .peer = 1, .proto = IPPROTO_UDP, .len = 48});
	cr_expect_eq(counters()->flows, 2u);
	cr_expect_eq(counters()->icmp_ignored, RTE_DIM(codes) + 3);
}

Test(udp_icmp, error_about_nobodys_datagram_ends_nothing)
{
	uw_start(w);
	flow(false, 1);
	icmp(&(struct error) {.type = 3, .code = 3, .peer = 2, .proto = IPPROTO_UDP, .len = 28});
	cr_expect_eq(counters()->icmp_ignored, 1u);
	cr_expect_eq(counters()->flows, 1u);
}

Test(udp_icmp, cut_quotes_and_other_protocols_are_not_taken)
{
	uw_start(w);
	flow(false, 1);
	flow(true, 1);
	for (size_t len = 0; len < 28; len++)
		icmp(&(struct error) {.type = 3, .code = 3, .peer = 1, .proto = IPPROTO_UDP, .len = len});
	for (size_t len = 0; len < 48; len++)
		icmp(&(struct error) {
			.v6 = true, .type = 1, .code = 4, .peer = 1, .proto = IPPROTO_UDP, .len = len});
	icmp(&(struct error) {.type = 3, .code = 3, .peer = 1, .proto = IPPROTO_TCP, .len = 28});
	cr_expect_eq(w->unclaimed, 28u + 48 + 1);
	cr_expect_eq(counters()->flows, 2u);
}

/* What the next datagram's largest packet is. */
static uint32_t
largest_packet(struct qp_quic_stream *s)
{
	struct uw_packet *p;
	uint32_t most = 0;

	uw_answer(w, s, 4000, 0);
	while ((p = uw_take(w)) != NULL) {
		most = RTE_MAX(most, p->wire_bytes);
		free(p);
	}
	return most;
}

/* The MTU was read after it had been passed on: it was taken, counted, and 0. */
Test(udp_icmp, packet_too_big_lowers_the_flows_mtu)
{
	struct qp_quic_stream *s, *other;

	uw_start(w);
	s = flow(true, 1);
	other = flow(true, 2);
	cr_expect_gt(largest_packet(s), 1400u);
	icmp(&(struct error) {
		.v6 = true, .type = 2, .mtu = 1400, .peer = 1, .proto = IPPROTO_UDP, .len = 48});
	cr_expect_leq(largest_packet(s), 1400u);
	cr_expect_gt(largest_packet(s), 1380u);
	cr_expect_gt(largest_packet(other), 1400u);
	/* The first of our fragments is quoted with its fragment header. */
	icmp(&(struct error) {.v6 = true, .type = 2, .mtu = 1300, .peer = 2, .proto = IPPROTO_UDP,
		.fragment = true, .len = 56});
	cr_expect_leq(largest_packet(other), 1300u);
	cr_expect_eq(counters()->icmp_mtu_taken, 2u);
}

Test(udp_icmp, packet_too_big_goes_no_lower_than_ipv6_allows)
{
	struct qp_quic_stream *s;

	uw_start(w);
	s = flow(true, 1);
	icmp(&(struct error) {
		.v6 = true, .type = 2, .mtu = 0, .peer = 1, .proto = IPPROTO_UDP, .len = 48});
	cr_expect_leq(largest_packet(s), 1280u);
	cr_expect_gt(largest_packet(s), 1260u);
	icmp(&(struct error) {
		.v6 = true, .type = 2, .mtu = 9000, .peer = 1, .proto = IPPROTO_UDP, .len = 48});
	cr_expect_leq(largest_packet(s), 1280u, "nor up again");
}
