/* SPDX-License-Identifier: Apache-2.0 */
/* Segments of a burst that become one, and each difference that keeps them apart. */
#include "dataplane/join.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <string.h>

#include <rte_mbuf.h>
#include <rte_tcp.h>

#include "tests/tcp/eal.h"

#define L4 34u
#define OPTIONS 12u
#define HLEN (20u + OPTIONS)
#define TEXT 1400u
#define MOST 20u

static struct rte_mempool *pool;
static struct rte_mbuf *frames[MOST];
static struct qp_packet pkt[MOST];
static enum qp_ip_verdict verdict[MOST];
static uint16_t n;

static void
start(void)
{
	test_eal_init();
	pool = test_pool("join", 511, RTE_PKTMBUF_HEADROOM + 2048);
	n = 0;
}

/* Everything that was made has been given back. */
static void
end(void)
{
	for (uint16_t i = 0; i < n; i++)
		rte_pktmbuf_free(frames[i]);
	cr_expect_eq(rte_mempool_in_use_count(pool), 0);
}

TestSuite(join, .init = start, .fini = end);

static struct rte_tcp_hdr *
header(uint16_t i)
{
	return rte_pktmbuf_mtod_offset(frames[i], struct rte_tcp_hdr *, L4);
}

static uint8_t
byte_at(uint32_t seq)
{
	return (uint8_t)(seq * 31 + (seq >> 8));
}

/* A segment of the connection from `port`; its text is that of its place. */
static void
segment(uint16_t port, uint32_t seq, uint32_t text)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	uint8_t *p = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(L4 + HLEN + text));
	struct rte_tcp_hdr *h = (void *)(p + L4);

	memset(p, 0, L4 + HLEN);
	*h = (struct rte_tcp_hdr) {.sent_seq = rte_cpu_to_be_32(seq), .recv_ack = 7,
		.data_off = HLEN / 4 << 4, .tcp_flags = RTE_TCP_ACK_FLAG, .rx_win = 9};
	for (uint32_t i = 0; i < text; i++)
		p[L4 + HLEN + i] = byte_at(seq + i);
	frames[n] = m;
	verdict[n] = QP_IP_OK;
	pkt[n++] = (struct qp_packet) {.l3_off = 14, .l4_off = L4, .l4_len = HLEN + text,
		.proto = IPPROTO_TCP, .ttl = 64, .flow = {.rport_be = port, .lport_be = 80}};
}

/* Frame `i` is a chain of the bytes from `seq` on. */
static void
expect_text(uint16_t i, uint32_t seq, uint32_t text, uint16_t segsz)
{
	struct rte_mbuf *m = frames[i];
	uint32_t sum = 0, segs = 0;
	uint8_t b;

	cr_assert_not_null(m);
	cr_expect_eq(pkt[i].l4_len, HLEN + text);
	cr_expect_eq(pkt[i].segsz, segsz);
	cr_expect_eq(m->pkt_len, L4 + HLEN + text);
	for (const struct rte_mbuf *s = m; s != NULL; s = s->next, segs++)
		sum += s->data_len;
	cr_expect_eq(sum, m->pkt_len);
	cr_expect_eq(segs, m->nb_segs);
	for (uint32_t k = 0; k < text; k++) {
		const uint8_t *got = rte_pktmbuf_read(m, L4 + HLEN + k, 1, &b);

		cr_assert_eq(*got, byte_at(seq + k), "byte %u", k);
	}
}

Test(join, train_of_segments_becomes_one_across_the_end_of_sequence_space)
{
	const uint32_t seq = UINT32_MAX - 2 * TEXT + 11;

	for (uint32_t i = 0; i < 5; i++)
		segment(1, seq + i * TEXT, i < 4 ? TEXT : 600);
	header(4)->tcp_flags |= RTE_TCP_PSH_FLAG;
	cr_assert_eq(qp_join_segments(frames, pkt, verdict, n), 4);
	expect_text(0, seq, 4 * TEXT + 600, TEXT);
	cr_expect_eq(header(0)->tcp_flags, RTE_TCP_ACK_FLAG | RTE_TCP_PSH_FLAG);
	for (uint16_t i = 1; i < n; i++)
		cr_expect_null(frames[i]);
}

Test(join, connections_that_stand_mixed_are_joined_each_by_itself)
{
	for (uint32_t i = 0; i < 4; i++)
		for (uint16_t port = 1; port <= 3; port++)
			segment(port, 1000 * port + i * TEXT, TEXT);
	cr_assert_eq(qp_join_segments(frames, pkt, verdict, n), 9);
	for (uint16_t port = 1; port <= 3; port++)
		expect_text(port - 1, 1000 * port, 4 * TEXT, TEXT);
}

/* It knows eight, and the ninth takes the place of the first. */
Test(join, more_connections_than_it_knows_keep_their_segments)
{
	for (uint32_t i = 0; i < 2; i++)
		for (uint16_t port = 1; port <= 9; port++)
			segment(port, i * TEXT, TEXT);
	segment(9, 2 * TEXT, TEXT);
	cr_assert_eq(qp_join_segments(frames, pkt, verdict, n), 1);
	for (uint16_t i = 0; i < 17; i++)
		expect_text(i, i / 9 * TEXT, TEXT, 0);
	expect_text(17, TEXT, 2 * TEXT, TEXT);
}

/* What comes after a segment that is not joined does not overtake it. */
Test(join, segment_between_that_is_different_ends_the_run)
{
	segment(1, 0, TEXT);
	segment(1, TEXT, TEXT);
	header(1)->tcp_flags |= RTE_TCP_FIN_FLAG;
	segment(1, TEXT, TEXT);
	cr_assert_eq(qp_join_segments(frames, pkt, verdict, n), 0);
	for (uint16_t i = 0; i < n; i++)
		cr_expect_not_null(frames[i]);
}

Test(join, no_segment_follows_a_pushed_or_a_short_one)
{
	segment(1, 0, TEXT);
	header(0)->tcp_flags |= RTE_TCP_PSH_FLAG;
	segment(1, TEXT, TEXT);
	segment(2, 0, TEXT);
	segment(2, TEXT, TEXT - 1);
	segment(2, 2 * TEXT - 1, TEXT - 1);
	cr_assert_eq(qp_join_segments(frames, pkt, verdict, n), 1);
	expect_text(0, 0, TEXT, 0);
	expect_text(1, TEXT, TEXT, 0);
	expect_text(2, 0, 2 * TEXT - 1, TEXT);
	expect_text(4, 2 * TEXT - 1, TEXT - 1, 0);
}

enum difference {
	GAP, OVERLAP, LARGER, ACKED, WINDOW, OPTION, SYN, URG, RST, ECE, CWR, NO_ACK, TOS, TTL, MAC, MTU, LOCAL_PORT,
	REMOTE, SUPER, CHAIN, SMALL, BARE_ACK, UDP, BAD, DIFFERENCES,
};

static void
differ(enum difference d)
{
	static const uint8_t flags[] = {[SYN] = RTE_TCP_SYN_FLAG, [URG] = RTE_TCP_URG_FLAG,
		[RST] = RTE_TCP_RST_FLAG, [ECE] = RTE_TCP_ECE_FLAG, [CWR] = RTE_TCP_CWR_FLAG};

	segment(1, d == GAP ? TEXT + 1 : d == OVERLAP ? TEXT - 1 : TEXT,
		d == LARGER ? TEXT + 1 : d == SMALL ? 100 : d == BARE_ACK ? 0 : TEXT);
	switch (d) {
	case ACKED: header(1)->recv_ack++; break;
	case WINDOW: header(1)->rx_win++; break;
	case OPTION: ((uint8_t *)(header(1) + 1))[OPTIONS - 1] = 1; break;
	case SYN: case URG: case RST: case ECE: case CWR: header(1)->tcp_flags |= flags[d]; break;
	case NO_ACK: header(1)->tcp_flags = 0; break;
	case TOS: pkt[1].tos = 3; break;
	case TTL: pkt[1].ttl--; break;
	case MAC: pkt[1].flow.l2.peer_mac[5]++; break;
	case MTU: pkt[1].flow.l2.mtu++; break;
	case LOCAL_PORT: pkt[1].flow.lport_be++; break;
	case REMOTE: pkt[1].flow.remote.b[15]++; break;
	case SUPER: pkt[1].segsz = 700; break;
	case CHAIN: frames[1]->nb_segs = 2; break;
	case UDP: pkt[1].proto = IPPROTO_UDP; break;
	case BAD: verdict[1] = QP_IP_BAD_HEADER; break;
	default: break;
	}
}

Test(join, each_difference_keeps_segments_apart)
{
	for (unsigned d = 0; d < DIFFERENCES; d++) {
		n = 0;
		segment(1, 0, TEXT);
		differ(d);
		cr_expect_eq(qp_join_segments(frames, pkt, verdict, n), 0, "difference %u", d);
		expect_text(0, 0, TEXT, 0);
		cr_assert_not_null(frames[1]);
		frames[1]->nb_segs = 1;
		rte_pktmbuf_free(frames[0]);
		rte_pktmbuf_free(frames[1]);
		n = 0;
	}
}

Test(join, header_that_is_longer_than_the_segment_or_too_short_is_left_alone)
{
	for (unsigned words = 0; words < 16; words += words == 4 ? 4 : 1) {
		n = 0;
		segment(1, 0, TEXT);
		segment(1, TEXT, 0);
		header(1)->data_off = (uint8_t)(words << 4);
		cr_expect_eq(qp_join_segments(frames, pkt, verdict, n), 0);
		cr_assert_not_null(frames[1]);
		rte_pktmbuf_free(frames[0]);
		rte_pktmbuf_free(frames[1]);
		n = 0;
	}
}
