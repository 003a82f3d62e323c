/* SPDX-License-Identifier: Apache-2.0 */
/* Virtual connections: who gets a stream, what goes on it, the limits and the ends. */
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

TestSuite(udp_flows, .init = begin, .fini = end);

static const struct qp_udp_counters *
counters(void)
{
	return qp_udp_counters(w->udp);
}

static void
expect_record(const struct qp_quic_stream *s, unsigned nth, size_t len, unsigned salt)
{
	const uint8_t *data;
	size_t got;

	cr_assert(uw_record(s, nth, &data, &got), "no record %u", nth);
	cr_assert_eq(got, len, "record %u has %zu bytes, not %zu", nth, got, len);
	for (size_t i = 0; i < len; i++)
		cr_assert_eq(data[i], uw_pattern(i, salt), "record %u, byte %zu", nth, i);
}

Test(udp_flows, first_datagram_opens_a_stream_that_says_its_id)
{
	uw_start(w);
	uw_datagram(w, false, 1000, 5, 1, 0);
	cr_assert_eq(w->nstreams, 1u);
	cr_expect_eq(w->announced, 1u);
	cr_expect_eq(qp_wire_get_conn_id(w->stream[0]->out), w->last_announced);
	cr_expect_eq(w->stream[0]->out_len, 4u + 4 + 5);
	expect_record(w->stream[0], 0, 5, 1);
	cr_expect_eq(w->counters.conns_active, 1u);
}

Test(udp_flows, each_source_has_a_stream_and_keeps_it)
{
	uw_start(w);
	for (unsigned round = 0; round < 2; round++)
		for (uint16_t peer = 1000; peer < 1010; peer++) {
			uw_datagram(w, false, peer, 20, peer, 0);
			uw_datagram(w, true, peer, 30, peer, 0);
		}
	cr_assert_eq(w->nstreams, 20u);
	for (unsigned i = 0; i < 20; i++) {
		cr_assert_eq(uw_records(w->stream[i]), 2u);
		expect_record(w->stream[i], 1, i % 2 == 0 ? 20 : 30, 1000 + i / 2);
	}
	cr_expect_eq(counters()->flows, 20u);
}

Test(udp_flows, record_holds_the_datagram_whatever_its_length)
{
	static const size_t lens[] = {0, 1, 3, 511, 512, 513, 1472, 1920, 1921, 8972, 65507};

	uw_start(w);
	for (unsigned i = 0; i < RTE_DIM(lens); i++) {
		uw_datagram(w, false, 7, lens[i], i, 0);
		expect_record(w->stream[0], i, lens[i], i);
		uw_acked(w->stream[0]);
	}
	cr_expect_eq(counters()->datagrams_in, RTE_DIM(lens));
	cr_expect_eq(w->nstreams, 1u);
}

/* With GRO a frame of the host's holds several datagrams: each is a record of its own. */
Test(udp_flows, super_segment_becomes_a_record_a_datagram)
{
	const uint8_t *data;
	size_t len;

	uw_start(w);
	uw_datagram(w, false, 7, 3500, 3, 1000);
	cr_assert_eq(uw_records(w->stream[0]), 4u);
	for (unsigned i = 0; i < 4; i++) {
		cr_assert(uw_record(w->stream[0], i, &data, &len));
		cr_assert_eq(len, i < 3 ? 1000u : 500u);
		for (size_t at = 0; at < len; at++)
			cr_assert_eq(data[at], uw_pattern(i * 1000 + at, 3));
	}
	uw_datagram(w, true, 7, 64 * 1000, 5, 1000);
	cr_assert_eq(uw_records(w->stream[1]), 64u);
	cr_assert_eq(counters()->datagrams_in, 68u);
}

Test(udp_flows, super_segment_of_one_datagram_is_one_record)
{
	uw_start(w);
	uw_datagram(w, false, 7, 900, 3, 900);
	uw_datagram(w, false, 7, 900, 4, 1200);
	cr_assert_eq(uw_records(w->stream[0]), 2u);
	expect_record(w->stream[0], 1, 900, 4);
}

Test(udp_flows, longer_than_a_record_may_be_is_dropped_and_counted)
{
	uw_start(w);
	uw_datagram(w, true, 7, 65508, 0, 0); /* IPv6 has room for 20 bytes more */
	cr_expect_eq(counters()->drop_too_long, 1u);
	uw_datagram(w, true, 7, 65507, 0, 0);
	expect_record(w->stream[0], 0, 65507, 0);
}

Test(udp_flows, other_ports_and_source_port_0_are_nobodys)
{
	uint8_t udp[8 + 4];
	const struct uw_ip ip = {.proto = IPPROTO_UDP};

	uw_start(w);
	uw_datagram(w, false, 0, 4, 0, 0);
	uw_udp(udp, false, 9, 4, 0);
	udp[3]++; /* the next port up; the checksum follows */
	udp[7]--;
	uw_input(w, uw_frame(w, &ip, udp, sizeof(udp)));
	cr_expect_eq(counters()->drop_no_port, 2u);
	cr_expect_eq(w->nstreams, 0u);
}

Test(udp_flows, forward_of_one_address_answers_on_no_other)
{
	struct qp_ipaddr addr = qp_ipaddr_v4(htonl(0xc0000202));

	uw_start(w);
	qp_udp_unlisten(w->tunnel.udp_port);
	cr_assert_eq(qp_udp_listen(w->udp, &addr, htons(UW_PORT), &w->tunnel, &w->tunnel.udp_port), 0);
	uw_datagram(w, false, 7, 10, 0, 0);
	cr_expect_eq(counters()->drop_no_port, 1u);
	qp_udp_unlisten(w->tunnel.udp_port);
	addr = qp_ipaddr_v4(htonl(0xc0000201));
	cr_assert_eq(qp_udp_listen(w->udp, &addr, htons(UW_PORT), &w->tunnel, &w->tunnel.udp_port), 0);
	uw_datagram(w, false, 7, 10, 0, 0);
	cr_expect_eq(w->nstreams, 1u);
}

Test(udp_flows, port_in_use_is_refused_and_free_again_after_unlisten)
{
	struct qp_udp_port *p;

	uw_start(w);
	cr_expect_eq(qp_udp_listen(w->udp, NULL, htons(UW_PORT), &w->tunnel, &p), QP_E_INUSE);
	qp_udp_unlisten(w->tunnel.udp_port);
	cr_expect_eq(
		qp_udp_listen(w->udp, NULL, htons(UW_PORT), &w->tunnel, &w->tunnel.udp_port), 0);
}

Test(udp_flows, limit_of_the_tunnel_keeps_who_is_there)
{
	w->cfg.max_flows_per_tunnel = 3;
	uw_start(w);
	for (uint16_t peer = 1; peer <= 5; peer++)
		uw_datagram(w, false, peer, 10, peer, 0);
	cr_expect_eq(w->nstreams, 3u);
	cr_expect_eq(counters()->drop_tunnel_limit, 2u);
	cr_expect_eq(counters()->drop_limit, 0u);
	uw_datagram(w, false, 1, 10, 9, 0);
	expect_record(w->stream[0], 1, 10, 9);
}

Test(udp_flows, limit_in_all_keeps_who_is_there)
{
	w->cfg.max_flows = 3;
	uw_start(w);
	for (uint16_t peer = 1; peer <= 5; peer++)
		uw_datagram(w, false, peer, 10, peer, 0);
	cr_expect_eq(w->nstreams, 3u);
	cr_expect_eq(counters()->drop_limit, 2u);
	qp_udp_flow_close(w->stream[0]->ctx, QP_WIRE_TIMEOUT);
	uw_datagram(w, false, 5, 10, 5, 0);
	cr_expect_eq(w->nstreams, 4u, "the place of one that ended is free");
}

/* Its worker listens, and the port is not its tunnel's yet. */
Test(udp_flows, before_the_grant_datagrams_wait)
{
	uw_start(w);
	w->tunnel.state = QP_TUNNEL_GRANT;
	uw_datagram(w, false, 1000, 5, 1, 0);
	uw_datagram(w, false, 1000, 6, 2, 0);
	uw_allow(w, 1);
	cr_expect_eq(w->nstreams, 0u);
	cr_expect_eq(w->tunnel.nwaiting, 1u);
	w->tunnel.state = QP_TUNNEL_OPEN;
	qp_udp_open_waiting(&w->tunnel);
	cr_assert_eq(w->nstreams, 1u);
	expect_record(w->stream[0], 0, 5, 1);
	expect_record(w->stream[0], 1, 6, 2);
}

Test(udp_flows, port_given_to_another_tunnel_old_flows_stay)
{
	struct qp_tunnel other = w->tunnel;

	uw_start(w);
	other = w->tunnel;
	other.state = QP_TUNNEL_LAST;
	uw_datagram(w, false, 1000, 5, 1, 0);
	qp_udp_port_give(w->tunnel.udp_port, NULL, &other);
	uw_datagram(w, false, 1000, 6, 2, 0);
	uw_datagram(w, false, 1001, 7, 3, 0);
	cr_expect_eq(w->nstreams, 1u, "the other tunnel has no use for the second one");
	cr_expect_eq(counters()->drop_no_port, 1u);
	expect_record(w->stream[0], 1, 6, 2);
	qp_udp_port_give(w->tunnel.udp_port, NULL, &w->tunnel);
	uw_datagram(w, false, 1001, 7, 3, 0);
	cr_expect_eq(w->nstreams, 2u);
}

Test(udp_flows, without_streams_left_datagrams_wait_in_order)
{
	uw_start(w);
	w->conn.streams_left = 0;
	for (unsigned i = 0; i < 4; i++)
		uw_datagram(w, false, 1, i % 2 == 0 ? 100 : 1400, i, 0);
	uw_datagram(w, true, 2, 50, 7, 0);
	cr_expect_eq(w->nstreams, 0u);
	cr_expect_eq(w->tunnel.nwaiting, 2u);
	uw_allow(w, 1);
	cr_assert_eq(w->nstreams, 1u);
	for (unsigned i = 0; i < 4; i++)
		expect_record(w->stream[0], i, i % 2 == 0 ? 100 : 1400, i);
	uw_allow(w, 1);
	cr_assert_eq(w->nstreams, 2u);
	expect_record(w->stream[1], 0, 50, 7);
	cr_expect_eq(w->tunnel.nwaiting, 0u);
}

Test(udp_flows, what_waits_for_a_stream_is_bounded)
{
	w->cfg.max_waiting = 2;
	uw_start(w);
	w->conn.streams_left = 0;
	for (uint16_t peer = 1; peer <= 4; peer++)
		uw_datagram(w, false, peer, 10, 0, 0);
	cr_expect_eq(w->tunnel.nwaiting, 2u);
	cr_expect_eq(counters()->drop_no_stream, 2u);
	for (unsigned i = 0; i < 100; i++)
		uw_datagram(w, false, 1, 1000, 0, 0);
	cr_expect_leq(counters()->queued_bytes, 16u * 1024 + 100);
	cr_expect_geq(counters()->drop_no_stream, 2u + 84);
}

Test(udp_flows, silent_flow_gives_its_stream_to_one_that_waits)
{
	uw_start(w);
	w->conn.streams_left = 1;
	uw_datagram(w, false, 1, 10, 0, 0);
	uw_datagram(w, false, 2, 10, 0, 0);
	uw_wait(w, 1500 * UW_MS);
	cr_expect_not(w->stream[0]->aborted, "it has a question open");
	uw_wait(w, 1000 * UW_MS);
	cr_expect(w->stream[0]->aborted);
	cr_expect_eq(w->stream[0]->code, QP_STREAM_TIMEOUT);
	cr_expect_eq(counters()->flows_reclaimed, 1u);
}

Test(udp_flows, answered_flow_gives_its_stream_sooner)
{
	uw_start(w);
	w->conn.streams_left = 1;
	uw_datagram(w, false, 1, 10, 0, 0);
	uw_answer(w, w->stream[0], 10, 0);
	uw_wait(w, 100 * UW_MS);
	uw_datagram(w, false, 2, 10, 0, 0);
	cr_expect_not(w->stream[0]->aborted);
	uw_wait(w, 900 * UW_MS);
	cr_expect(w->stream[0]->aborted);
}

/* Its silence was counted from its datagram: it lost the stream before an answer could come. */
Test(udp_flows, flow_that_waited_long_keeps_the_stream_that_it_got)
{
	uw_start(w);
	w->conn.streams_left = 1;
	for (uint16_t peer = 1; peer <= 3; peer++)
		uw_datagram(w, false, peer, 10, peer, 0);
	uw_wait(w, 2500 * UW_MS);
	cr_assert(w->stream[0]->aborted);
	uw_wait(w, 2000 * UW_MS); /* until the client gives the credit back */
	uw_allow(w, 1);
	cr_assert_eq(w->nstreams, 2u);
	uw_wait(w, 1500 * UW_MS);
	cr_expect_not(w->stream[1]->aborted, "two thirds of its time are over");
	uw_answer(w, w->stream[1], 10, 2);
	uw_wait(w, 1000 * UW_MS);
	cr_expect(w->stream[1]->aborted, "the third waits");
}

Test(udp_flows, nobody_waits_then_silence_costs_no_stream)
{
	uw_start(w);
	for (uint16_t peer = 1; peer <= 3; peer++)
		uw_datagram(w, false, peer, 10, peer, 0);
	uw_wait(w, 30000 * UW_MS);
	cr_expect_eq(counters()->flows, 3u);
}

Test(udp_flows, silence_both_ways_ends_a_flow)
{
	w->cfg.idle_ns = 1000 * UW_MS;
	uw_start(w);
	uw_datagram(w, false, 1, 10, 0, 0);
	uw_datagram(w, false, 2, 10, 0, 0);
	uw_datagram(w, false, 3, 10, 0, 0);
	uw_wait(w, 900 * UW_MS);
	uw_answer(w, w->stream[1], 10, 0);
	uw_datagram(w, false, 3, 10, 0, 0);
	uw_wait(w, 900 * UW_MS);
	cr_expect(w->stream[0]->aborted);
	cr_expect_eq(w->stream[0]->code, QP_STREAM_TIMEOUT);
	cr_expect_not(w->stream[1]->aborted || w->stream[2]->aborted);
	cr_expect_eq(counters()->flows_idle, 1u);
	uw_wait(w, 200 * UW_MS);
	cr_expect_eq(counters()->flows, 0u);
	uw_datagram(w, false, 1, 10, 0, 0);
	cr_expect_eq(w->nstreams, 4u, "it may come back");
}

/* What was not acknowledged yet counted as queued: a flow had 512 KiB a round trip at most. */
Test(udp_flows, what_is_on_its_way_leaves_room_for_more)
{
	w->cfg.queue_bytes = 10000;
	w->cfg.flight_bytes = 50000;
	uw_start(w);
	for (unsigned i = 0; i < 100; i++) {
		uw_datagram(w, false, 1, 1000, 0, 0);
		if (i % 5 == 4)
			uw_sent(w->stream[0]);
	}
	cr_expect_eq(uw_records(w->stream[0]), 49u);
	cr_expect_eq(counters()->drop_queue_full, 51u);
	uw_acked(w->stream[0]);
	uw_datagram(w, false, 1, 1000, 0, 0);
	cr_expect_eq(uw_records(w->stream[0]), 50u);
}

Test(udp_flows, queue_of_a_flow_is_bounded_until_it_is_sent)
{
	w->cfg.queue_bytes = 10000;
	uw_start(w);
	for (unsigned i = 0; i < 20; i++)
		uw_datagram(w, false, 1, 1000, 0, 0);
	cr_expect_eq(uw_records(w->stream[0]), 9u);
	cr_expect_eq(counters()->drop_queue_full, 11u);
	uw_datagram(w, false, 2, 1000, 0, 0);
	cr_expect_eq(uw_records(w->stream[1]), 1u, "another one's queue is its own");
	uw_acked(w->stream[0]);
	cr_expect_eq(counters()->queued_bytes, 4u + 1004);
	uw_datagram(w, false, 1, 1000, 0, 0);
	cr_expect_eq(uw_records(w->stream[0]), 10u);
}

Test(udp_flows, scarce_memory_takes_nothing_new)
{
	uw_start(w);
	uw_datagram(w, false, 1, 10, 0, 0);
	w->mem_level = QP_MEM_SCARCE;
	uw_datagram(w, false, 1, 10, 0, 0);
	uw_datagram(w, false, 2, 10, 0, 0);
	cr_expect_eq(counters()->drop_no_memory, 2u);
	cr_expect_eq(w->nstreams, 1u);
	w->mem_level = QP_MEM_PLENTY;
	uw_datagram(w, false, 1, 10, 0, 0);
	cr_expect_eq(uw_records(w->stream[0]), 2u);
}

Test(udp_flows, relief_ends_those_that_hold_most)
{
	uw_start(w);
	uw_datagram(w, false, 1, 10, 0, 0);
	for (unsigned i = 0; i < 50; i++)
		uw_datagram(w, false, 2, 1000, 0, 0);
	w->conn.streams_left = 0;
	for (unsigned i = 0; i < 15; i++)
		uw_datagram(w, false, 3, 1000, 0, 0);
	qp_udp_abort_largest(&w->tunnel);
	cr_expect_not(w->stream[0]->aborted);
	cr_expect(w->stream[1]->aborted);
	cr_expect_eq(w->stream[1]->code, QP_STREAM_LIMIT);
	qp_udp_abort_largest(&w->tunnel);
	cr_expect_eq(w->tunnel.nwaiting, 0u, "those that wait hold memory, too");
}

Test(udp_flows, closed_tunnel_ends_all_its_flows)
{
	uw_start(w);
	for (uint16_t peer = 1; peer <= 100; peer++)
		uw_datagram(w, peer % 2, peer, 600, 0, 0);
	w->conn.streams_left = 0;
	uw_datagram(w, false, 999, 600, 0, 0);
	qp_udp_abort_all(&w->tunnel);
	cr_expect_eq(counters()->flows, 0u);
	for (unsigned i = 0; i < 100; i++)
		cr_expect_eq(w->stream[i]->code, QP_STREAM_CLOSED);
}

Test(udp_flows, stream_that_closes_ends_its_flow_alone)
{
	uw_start(w);
	uw_datagram(w, false, 1, 10, 0, 0);
	uw_datagram(w, false, 2, 10, 0, 0);
	qp_udp_stream_closed(w->stream[0]->ctx);
	cr_expect_eq(counters()->flows, 1u);
	uw_datagram(w, false, 1, 10, 0, 0);
	cr_expect_eq(w->nstreams, 3u);
}

Test(udp_flows, many_thousand_flows_are_found_again)
{
	w->cfg.max_flows_per_tunnel = 20000;
	uw_start(w);
	for (unsigned round = 0; round < 2; round++)
		for (unsigned peer = 1; peer <= 10000; peer++) {
			uw_datagram(w, false, (uint16_t)peer, 4, peer, 0);
			if (round == 0)
				uw_acked(w->stream[peer - 1]);
		}
	cr_assert_eq(w->nstreams, 10000u);
	for (unsigned i = 0; i < 10000; i++)
		cr_assert_eq(uw_records(w->stream[i]), 2u);
}
