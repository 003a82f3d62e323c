/* SPDX-License-Identifier: Apache-2.0 */
/* IP fragments of the outside: every order, and everything that is wrong with them. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "tests/udp/world.h"

static struct uw *w;
static uint8_t whole[70000]; /* a UDP datagram as IP carries it */

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

TestSuite(udp_fragments, .init = begin, .fini = end);

static const struct qp_udp_counters *
counters(void)
{
	return qp_udp_counters(w->udp);
}

/* A piece of `whole`. */
static void
piece(bool v6, uint32_t id, uint32_t off, uint32_t len, bool more)
{
	const struct uw_ip ip = {.v6 = v6, .proto = IPPROTO_UDP, .id = id, .off = off, .more = more};

	uw_input(w, uw_frame(w, &ip, whole + off, len));
}

/* Datagram `nth` of the only flow arrived whole. */
static void
expect_whole(unsigned nth, size_t len, unsigned salt)
{
	const uint8_t *data;
	size_t got;

	cr_assert_eq(w->nstreams, 1u, "%u streams", w->nstreams);
	cr_assert(uw_record(w->stream[0], nth, &data, &got), "no datagram %u", nth);
	cr_assert_eq(got, len);
	for (size_t i = 0; i < len; i++)
		cr_assert_eq(data[i], uw_pattern(i, salt), "byte %zu", i);
}

static void
expect_nothing(void)
{
	cr_assert_eq(w->nstreams, 0u);
	cr_assert_eq(counters()->reassembled, 0u);
}

enum order { FORWARD, BACKWARD, EVEN_FIRST };

struct split {
	bool v6;
	size_t len;    /* payload */
	uint32_t each; /* bytes a piece */
	enum order order;
};

ParameterizedTestParameters(udp_fragments, pieces_in_any_order)
{
	static struct split splits[2 * 5 * 3];
	static const struct {
		size_t len;
		uint32_t each;
	} sizes[] = {{3000, 1480}, {1, 8}, {700, 8}, {65507, 1448}, {60000, 8184}};
	size_t n = 0;

	for (unsigned v6 = 0; v6 < 2; v6++)
		for (unsigned i = 0; i < RTE_DIM(sizes); i++)
			for (unsigned o = FORWARD; o <= EVEN_FIRST; o++)
				splits[n++] = (struct split) {v6, sizes[i].len, sizes[i].each, o};
	return cr_make_param_array(struct split, splits, n);
}

ParameterizedTest(struct split *s, udp_fragments, pieces_in_any_order)
{
	uint32_t total = (uint32_t)s->len + 8, n = (total + s->each - 1) / s->each;

	uw_start(w);
	uw_udp(whole, s->v6, 7, s->len, 5);
	for (uint32_t k = 0; k < n; k++) {
		uint32_t i = k, off;

		if (s->order == BACKWARD)
			i = n - 1 - k;
		if (s->order == EVEN_FIRST)
			i = k < (n + 1) / 2 ? 2 * k : 2 * (k - (n + 1) / 2) + 1;
		off = i * s->each;
		cr_assert_eq(w->nstreams, 0u, "before piece %u of %u", k, n);
		piece(s->v6, 77, off, RTE_MIN(s->each, total - off), i < n - 1);
	}
	expect_whole(0, s->len, 5);
	cr_expect_eq(counters()->reassembled, 1u);
	cr_expect_eq(counters()->fragments_in, n);
}

Test(udp_fragments, two_datagrams_by_turns_are_two)
{
	uw_start(w);
	uw_udp(whole, false, 7, 2000, 1);
	piece(false, 1, 0, 1480, true);
	uw_udp(whole, false, 7, 2000, 2);
	piece(false, 2, 0, 1480, true);
	uw_udp(whole, false, 7, 2000, 1);
	piece(false, 1, 1480, 528, false);
	uw_udp(whole, false, 7, 2000, 2);
	piece(false, 2, 1480, 528, false);
	expect_whole(0, 2000, 1);
	expect_whole(1, 2000, 2);
}

Test(udp_fragments, same_piece_twice_does_no_harm)
{
	uw_start(w);
	uw_udp(whole, true, 7, 3000, 1);
	piece(true, 1, 0, 1448, true);
	piece(true, 1, 0, 1448, true);
	piece(true, 1, 2896, 112, false);
	piece(true, 1, 2896, 112, false);
	piece(true, 1, 1448, 1448, true);
	expect_whole(0, 3000, 1);
	cr_expect_eq(counters()->fragment_overlap + counters()->fragment_bad, 0u);
}

struct bad {
	const char *what;
	uint32_t off, len;
	bool more, overlap;
};

/* Beside 0 … 1447 (more) and 2896 … 3007 (the last). */
static struct bad bads[] = {
	{"overlaps the end of the first", 1440, 1456, true, true},
	{"overlaps the start of the last", 1448, 1456, true, true},
	{"lies inside the first", 8, 80, true, true},
	{"covers the first", 0, 1456, true, true},
	{"begins like the first, shorter", 0, 1440, true, true},
	{"covers all", 0, 3000, true, true},
	{"another last one, earlier", 1448, 8, false, false},
	{"another last one, later", 3008, 8, false, false},
	{"beyond the end", 3008, 8, true, false},
	{"the last one, saying that more follow", 2896, 112, true, true},
	{"not a multiple of 8, with more to follow", 1448, 1447, true, false},
	{"no byte", 1448, 0, true, false},
	{"no byte, and the last", 1448, 0, false, false},
};

ParameterizedTestParameters(udp_fragments, contradiction_drops_the_datagram)
{
	return cr_make_param_array(struct bad, bads, RTE_DIM(bads));
}

ParameterizedTest(struct bad *b, udp_fragments, contradiction_drops_the_datagram)
{
	uw_start(w);
	uw_udp(whole, true, 7, 3000, 1);
	piece(true, 1, 0, 1448, true);
	piece(true, 1, 2896, 112, false);
	piece(true, 1, b->off, b->len, b->more);
	cr_expect_eq(counters()->fragment_overlap, b->overlap, "%s", b->what);
	cr_expect_eq(counters()->fragment_bad, !b->overlap, "%s", b->what);
	piece(true, 1, 1448, 1448, true);
	expect_nothing();
}

Test(udp_fragments, beyond_65535_bytes_is_dropped)
{
	uw_start(w);
	piece(true, 1, 65528, 8, false);
	piece(false, 1, 65528, 8, false);
	cr_expect_eq(counters()->fragment_bad, 2u);
	/* IPv4's header must fit, too. */
	for (uint32_t off = 0; off < 65528; off += 8184)
		piece(false, 2, off, off + 8184 < 65528 ? 8184 : 65528 - off, off + 8184 < 65528);
	cr_expect_eq(counters()->fragment_bad, 3u);
	expect_nothing();
}

Test(udp_fragments, wrong_checksum_shows_when_all_is_there)
{
	uw_start(w);
	uw_udp(whole, false, 7, 2000, 1);
	whole[1900] ^= 1;
	piece(false, 1, 0, 1480, true);
	piece(false, 1, 1480, 528, false);
	cr_expect_eq(counters()->fragment_bad, 1u);
	cr_expect_eq(w->nstreams, 0u);
}

Test(udp_fragments, udp_length_beyond_the_pieces_is_dropped)
{
	uw_start(w);
	uw_udp(whole, false, 7, 2000, 1);
	whole[4]++;
	piece(false, 1, 0, 1480, true);
	piece(false, 1, 1480, 528, false);
	cr_expect_eq(counters()->fragment_bad, 1u);
	cr_expect_eq(w->nstreams, 0u);
}

/* RFC 6946: it has to do with no other fragment of its identification. */
Test(udp_fragments, atomic_fragment_is_a_datagram_by_itself)
{
	const struct uw_ip atomic = {.v6 = true, .proto = IPPROTO_UDP, .id = 1, .header = true};
	static uint8_t small[8 + 100];

	uw_start(w);
	uw_udp(whole, true, 7, 2000, 1);
	piece(true, 1, 0, 1448, true);
	uw_udp(small, true, 7, 100, 2);
	uw_input(w, uw_frame(w, &atomic, small, sizeof(small)));
	expect_whole(0, 100, 2);
	piece(true, 1, 1448, 560, false);
	expect_whole(1, 2000, 1);
	cr_expect_eq(counters()->fragment_bad + counters()->fragment_overlap, 0u);
}

Test(udp_fragments, identification_counts_for_its_addresses_only)
{
	uw_start(w);
	uw_udp(whole, false, 7, 2000, 1);
	piece(false, 1, 0, 1480, true);
	uw_udp(whole, true, 7, 2000, 1);
	piece(true, 1, 1480, 528, false);
	expect_nothing();
}

Test(udp_fragments, what_is_not_udp_is_left_alone)
{
	const struct uw_ip tcp = {.proto = IPPROTO_TCP, .id = 1, .more = true};
	const struct uw_ip icmp6 = {.v6 = true, .proto = IPPROTO_ICMPV6, .id = 1, .more = true};

	uw_start(w);
	uw_input(w, uw_frame(w, &tcp, whole, 64));
	uw_input(w, uw_frame(w, &icmp6, whole, 64));
	cr_expect_eq(w->unclaimed, 2u);
	cr_expect_eq(counters()->fragments_in, 0u);
}

Test(udp_fragments, padding_of_the_link_is_not_the_datagrams)
{
	const struct uw_ip last = {.proto = IPPROTO_UDP, .id = 1, .off = 1480};
	struct rte_mbuf *m;

	uw_start(w);
	uw_udp(whole, false, 7, 1480, 1);
	piece(false, 1, 0, 1480, true);
	m = uw_frame(w, &last, whole + 1480, 8);
	memset(rte_pktmbuf_append(m, 18), 0xee, 18);
	uw_input(w, m);
	expect_whole(0, 1480, 1);
}

Test(udp_fragments, missing_piece_is_given_up_in_time)
{
	uw_start(w);
	uw_udp(whole, false, 7, 2000, 1);
	piece(false, 1, 0, 1480, true);
	uw_wait(w, 5000 * UW_MS);
	piece(false, 2, 0, 1480, true);
	uw_wait(w, 10100 * UW_MS);
	cr_expect_eq(counters()->fragment_timeouts, 1u);
	piece(false, 1, 1480, 528, false);
	expect_nothing();
	piece(false, 2, 1480, 528, false);
	expect_whole(0, 2000, 1);
}

Test(udp_fragments, oldest_give_way_when_too_many_are_in_pieces)
{
	uw_start(w);
	uw_udp(whole, false, 7, 2000, 1);
	for (uint32_t id = 1; id <= 1000; id++)
		piece(false, id, 0, 1480, true);
	cr_expect_geq(counters()->fragment_limit, 744u);
	cr_expect_geq(rte_mempool_avail_count(w->pool), UW_POOL - UW_POOL / 16 - 1);
	piece(false, 1, 1480, 528, false);
	expect_nothing();
	piece(false, 1000, 1480, 528, false);
	expect_whole(0, 2000, 1);
}

Test(udp_fragments, datagram_in_too_many_pieces_is_dropped)
{
	uw_start(w);
	uw_udp(whole, false, 7, 4000, 1);
	for (uint32_t off = 0; off < 4000; off += 8)
		piece(false, 1, off, 8, true);
	cr_expect_geq(counters()->fragment_limit, 1u);
	cr_expect_geq(rte_mempool_avail_count(w->pool), UW_POOL - UW_POOL / 16 - 1);
	expect_nothing();
}
