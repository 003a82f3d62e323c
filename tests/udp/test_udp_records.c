/* SPDX-License-Identifier: Apache-2.0 */
/* Records of the client to datagrams outside: cut anywhere, of any length, good and bad. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "tests/udp/world.h"

static struct uw *w;
static uint8_t bytes[70000];

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

TestSuite(udp_records, .init = begin, .fini = end);

static const struct qp_udp_counters *
counters(void)
{
	return qp_udp_counters(w->udp);
}

/* A flow from `peer`; its stream. */
static struct qp_quic_stream *
flow(bool v6, uint16_t peer)
{
	uw_datagram(w, v6, peer, 1, 0, 0);
	return w->stream[w->nstreams - 1];
}

static void
expect_pattern(const uint8_t *data, size_t len, unsigned salt)
{
	for (size_t i = 0; i < len; i++)
		cr_assert_eq(data[i], uw_pattern(i, salt), "byte %zu of %zu", i, len);
}

/* The next packet out is that datagram; the size of the frame that it was in, in datagrams. */
static unsigned
expect_datagram(bool v6, uint16_t peer, size_t len, unsigned salt)
{
	const struct qp_flow f = uw_flow(v6, peer);
	struct uw_packet *p = uw_take(w);
	unsigned in_super;

	cr_assert_not_null(p, "nothing was sent");
	cr_assert_eq(p->proto, IPPROTO_UDP);
	cr_assert(qp_flow_same_ends(&p->flow, &f));
	cr_assert_not(p->fragment || p->df);
	cr_assert_eq(p->len, len);
	expect_pattern(p->data, len, salt);
	in_super = p->in_super;
	free(p);
	return in_super;
}

Test(udp_records, record_becomes_a_datagram_to_who_asked)
{
	uw_start(w);
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct qp_quic_stream *s = flow(v6, 4711);
		uint64_t window = s->consumed;

		cr_expect_geq(window, 65507u, "the longest datagram does not wait for credit");
		uw_answer(w, s, 333, 8);
		expect_datagram(v6, 4711, 333, 8);
		cr_expect_null(uw_take(w));
		cr_expect_eq(s->consumed - window, 337u, "credit comes back at once");
	}
	cr_expect_eq(w->conn.consumed, 2u * 337);
	cr_expect_eq(counters()->bytes_out, 2u * 333);
}

Test(udp_records, records_may_be_cut_anywhere)
{
	struct qp_quic_stream *s;
	size_t len = 0;

	uw_start(w);
	s = flow(false, 1);
	for (unsigned n = 0; n < 5; n++) { /* 0, 1, 4, 9, 16 bytes */
		bytes[len + 3] = (uint8_t)(n * n);
		for (unsigned i = 0; i < n * n; i++)
			bytes[len + 4 + i] = uw_pattern(i, n);
		len += 4 + n * n;
	}
	for (size_t step = 1; step <= len; step++) {
		for (size_t at = 0; at < len; at += step)
			uw_bytes(s, bytes + at, RTE_MIN(step, len - at), false);
		for (unsigned n = 0; n < 5; n++)
			expect_datagram(false, 1, n * n, n);
		cr_assert_null(uw_take(w));
	}
}

Test(udp_records, run_of_one_size_leaves_as_one_frame)
{
	uw_start(w);
	flow(false, 1);
	for (unsigned i = 0; i < 10; i++)
		uw_answer(w, w->stream[0], i < 9 ? 1000 : 300, i);
	for (unsigned i = 0; i < 10; i++)
		cr_expect_eq(expect_datagram(false, 1, i < 9 ? 1000 : 300, i), 10u);
	cr_expect_eq(counters()->super_segments_out, 1u);
	cr_expect_eq(counters()->datagrams_out, 10u);
}

Test(udp_records, frame_holds_no_more_than_linux_takes)
{
	uw_start(w);
	flow(true, 1);
	for (unsigned i = 0; i < 200; i++)
		uw_answer(w, w->stream[0], 100, i);
	for (unsigned i = 0; i < 200; i++)
		cr_assert_leq(expect_datagram(true, 1, 100, i), 64u);
	for (unsigned i = 0; i < 60; i++)
		uw_answer(w, w->stream[0], 1400, i);
	for (unsigned i = 0; i < 60; i++)
		cr_assert_leq(expect_datagram(true, 1, 1400, i), 46u);
}

Test(udp_records, sizes_flows_and_empty_datagrams_keep_their_order)
{
	static const size_t lens[] = {10, 20, 0, 0, 20, 20, 7, 30};

	uw_start(w);
	flow(false, 1);
	flow(false, 2);
	for (unsigned i = 0; i < RTE_DIM(lens); i++)
		uw_answer(w, w->stream[i / 6], lens[i], i);
	for (unsigned i = 0; i < RTE_DIM(lens); i++)
		expect_datagram(false, (uint16_t)(1 + i / 6), lens[i], i);
}

Test(udp_records, port_that_cannot_segment_gets_single_datagrams)
{
	w->segmentation = false;
	uw_start(w);
	flow(false, 1);
	for (unsigned i = 0; i < 5; i++)
		uw_answer(w, w->stream[0], 500, i);
	for (unsigned i = 0; i < 5; i++)
		cr_expect_eq(expect_datagram(false, 1, 500, i), 1u);
}

Test(udp_records, length_beyond_65507_ends_that_flow_alone)
{
	static const uint8_t head[] = {0, 0, 0xff, 0xe4}, huge[] = {0xff, 0xff, 0xff, 0xff};

	uw_start(w);
	flow(false, 1);
	flow(false, 2);
	flow(false, 3);
	uw_bytes(w->stream[0], head, 4, false);
	uw_bytes(w->stream[2], huge, 4, false);
	cr_expect(w->stream[0]->aborted && w->stream[2]->aborted);
	cr_expect_eq(w->stream[0]->code, QP_STREAM_PROTOCOL);
	cr_expect_eq(counters()->flows_bad_record, 2u);
	uw_answer(w, w->stream[1], 50, 0);
	expect_datagram(false, 2, 50, 0);
	cr_expect_null(uw_take(w));
}

struct cut {
	size_t len; /* of the stream, which holds a good record of 6 bytes, then one of 8 */
	bool clean;
};

ParameterizedTestParameters(udp_records, stream_that_ends)
{
	static struct cut cuts[] = {
		{0, true}, {1, false}, {9, false}, {10, true}, {12, false}, {14, false}, {21, false}, {22, true}};

	return cr_make_param_array(struct cut, cuts, RTE_DIM(cuts));
}

/* Half a record and the end of the stream: that virtual connection is over, and no other. */
ParameterizedTest(struct cut *c, udp_records, stream_that_ends)
{
	static const uint8_t two[] = {0, 0, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8};
	unsigned whole = (c->len >= 10) + (c->len >= 22);
	struct uw_packet *p;

	uw_start(w);
	flow(false, 1);
	flow(false, 2);
	uw_bytes(w->stream[0], two, c->len, true);
	cr_expect_eq(w->stream[0]->aborted, !c->clean);
	cr_expect_eq(w->stream[0]->fin, c->clean);
	cr_expect_eq(counters()->flows_bad_record, !c->clean);
	cr_expect_eq(counters()->flows, 1u);
	for (unsigned i = 0; i < whole; i++) {
		p = uw_take(w);
		cr_assert_not_null(p, "what was whole has left");
		free(p);
	}
	cr_expect_null(uw_take(w));
	uw_answer(w, w->stream[1], 50, 0);
	expect_datagram(false, 2, 50, 0);
	uw_datagram(w, false, 1, 10, 0, 0);
	cr_expect_eq(w->nstreams, 3u, "the source gets a new one");
}

Test(udp_records, half_a_record_counts_against_the_tunnel_until_its_flow_ends)
{
	static const uint8_t head[] = {0, 0, 0xff, 0xe3};

	w->cfg.idle_ns = 1000 * UW_MS;
	uw_start(w);
	flow(false, 1);
	qp_udp_stream_acked(w->stream[0]->ctx, UINT64_MAX);
	uw_bytes(w->stream[0], head, 4, false);
	uw_bytes(w->stream[0], bytes, 60000, false);
	cr_expect_eq(w->tunnel.held_bytes, 60000u);
	uw_wait(w, 1100 * UW_MS);
	cr_expect_eq(w->tunnel.held_bytes, 0u);
	flow(false, 2);
	uw_bytes(w->stream[1], head, 4, false);
	uw_bytes(w->stream[1], bytes, 60000, false);
	qp_udp_abort_largest(&w->tunnel);
	cr_expect(w->stream[1]->aborted);
}

Test(udp_records, scarce_memory_loses_a_record_and_not_the_stream)
{
	static const uint8_t head[] = {0, 0, 0x10, 0};

	uw_start(w);
	flow(false, 1);
	uw_bytes(w->stream[0], head, 4, false);
	uw_bytes(w->stream[0], bytes, 2000, false);
	w->mem_level = QP_MEM_SCARCE;
	uw_bytes(w->stream[0], bytes, 1000, false);
	w->mem_level = QP_MEM_PLENTY;
	uw_bytes(w->stream[0], bytes, 1096, false);
	cr_expect_null(uw_take(w));
	cr_expect_eq(counters()->drop_no_memory, 1u);
	uw_answer(w, w->stream[0], 50, 3);
	expect_datagram(false, 1, 50, 3);
}

/* Fragments. */

struct path {
	bool v6;
	uint16_t mtu;  /* of the interface; 0: not told */
	size_t len;
	uint32_t most; /* bytes that a packet may have */
};

ParameterizedTestParameters(udp_records, datagram_beyond_the_mtu)
{
	static struct path paths[] = {{false, 1500, 1473, 1500}, {false, 1500, 65507, 1500},
		{false, 0, 3000, 1500}, {false, 9000, 65507, 9000}, {false, 576, 60000, 576},
		{false, 68, 5000, 68}, {false, 20, 5000, 68}, {true, 1500, 1453, 1500},
		{true, 1500, 65507, 1500}, {true, 1280, 65507, 1280}, {true, 68, 65507, 1280},
		{true, 0, 3000, 1500}, {true, 9000, 65507, 9000}};

	return cr_make_param_array(struct path, paths, RTE_DIM(paths));
}

ParameterizedTest(struct path *path, udp_records, datagram_beyond_the_mtu)
{
	const struct qp_flow f = uw_flow(path->v6, 9);
	size_t got = 0, total = path->len + 8;
	uint32_t id = 0;
	bool more = true;

	w->mtu = path->mtu;
	uw_start(w);
	flow(path->v6, 9);
	uw_answer(w, w->stream[0], path->len, 4);
	for (unsigned n = 0; more; n++) {
		struct uw_packet *p = uw_take(w);

		cr_assert_not_null(p);
		cr_assert(p->fragment && p->proto == IPPROTO_UDP && !p->df);
		cr_assert_leq(p->wire_bytes, path->most);
		cr_assert_eq(p->off, got);
		cr_assert(n == 0 || p->id == id, "one identification for all");
		cr_assert(!p->more || p->len % 8 == 0);
		cr_assert(qp_ipaddr_equal(&p->flow.remote, &f.remote));
		memcpy(bytes + got, p->data, p->len);
		id = p->id;
		got += p->len;
		more = p->more;
		free(p);
	}
	cr_assert_eq(got, total);
	expect_pattern(bytes + 8, path->len, 4);
	cr_expect_eq(uw_sum(uw_pseudo(path->v6, &f, IPPROTO_UDP, total), bytes, total), 0xffff);
	cr_expect_null(uw_take(w));
	cr_expect_eq(counters()->datagrams_out, 1u);
	cr_expect_gt(counters()->fragments_out, 1u);
}

Test(udp_records, datagrams_have_identifications_of_their_own)
{
	uint32_t last = 0;

	uw_start(w);
	flow(true, 1);
	for (unsigned i = 0; i < 20; i++) {
		uw_answer(w, w->stream[0], 2000, i);
		for (unsigned piece = 0; piece < 2; piece++) {
			struct uw_packet *p = uw_take(w);

			cr_assert(p != NULL && p->fragment);
			cr_assert(piece == 0 ? p->id != last : p->id == last);
			last = p->id;
			free(p);
		}
	}
}

Test(udp_records, fragments_leave_behind_what_was_said_before)
{
	struct uw_packet *p;

	uw_start(w);
	flow(false, 1);
	uw_answer(w, w->stream[0], 100, 1);
	uw_answer(w, w->stream[0], 2000, 2);
	uw_answer(w, w->stream[0], 100, 3);
	expect_datagram(false, 1, 100, 1);
	for (unsigned i = 0; i < 2; i++) {
		p = uw_take(w);
		cr_assert(p != NULL && p->fragment);
		free(p);
	}
	expect_datagram(false, 1, 100, 3);
}

Test(udp_records, longest_datagram_in_one_frame_over_lo)
{
	w->mtu = 65535;
	uw_start(w);
	flow(false, 1);
	uw_answer(w, w->stream[0], 65507, 1);
	expect_datagram(false, 1, 65507, 1);
}
