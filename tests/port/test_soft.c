/* SPDX-License-Identifier: Apache-2.0 */
/* Offloads in software: what a device without any is given to send. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_tcp.h>
#include <rte_udp.h>
#include <string.h>

#include "dataplane/port_soft.h"
#include "tests/port/responder.h"

#define ETH sizeof(struct rte_ether_hdr)
#define SEQ 0xfffffc00u /* it wraps on the way */

/* A frame as TCP or UDP make it, its payload in mbufs of `each` bytes. */
struct made {
	bool v6, udp, super, vlan;
	uint32_t payload, each;
	uint16_t mss;
};

static uint32_t
header_bytes(const struct made *d)
{
	return (uint32_t)(ETH + (d->v6 ? sizeof(struct rte_ipv6_hdr) : sizeof(struct rte_ipv4_hdr)) +
			  (d->udp ? sizeof(struct rte_udp_hdr) : sizeof(struct rte_tcp_hdr)));
}

static void
write_ip(const struct made *d, struct rte_mbuf *m, uint16_t l4_bytes)
{
	const uint8_t proto = d->udp ? IPPROTO_UDP : IPPROTO_TCP;

	if (d->v6) {
		struct rte_ipv6_hdr *ip = rte_pktmbuf_mtod_offset(m, struct rte_ipv6_hdr *, ETH);

		*ip = (struct rte_ipv6_hdr) {.vtc_flow = htonl(6u << 28), .proto = proto,
			.payload_len = htons(l4_bytes), .hop_limits = 64,
			.src_addr = {0xfd, 1}, .dst_addr = {0xfd, 2}};
		m->l3_len = sizeof(*ip);
		m->ol_flags |= RTE_MBUF_F_TX_IPV6;
	} else {
		struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(m, struct rte_ipv4_hdr *, ETH);

		*ip = (struct rte_ipv4_hdr) {.version_ihl = 0x45, .time_to_live = 64,
			.next_proto_id = proto, .packet_id = htons(0xffff),
			.total_length = htons((uint16_t)(sizeof(*ip) + l4_bytes)),
			.src_addr = htonl(0x0a000001), .dst_addr = htonl(0x0a000002)};
		m->l3_len = sizeof(*ip);
		m->ol_flags |= RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
	}
}

static void
write_l4(const struct made *d, struct rte_mbuf *m, uint16_t l4_bytes)
{
	const uint64_t sum_as = d->super ? RTE_MBUF_F_TX_TCP_SEG : 0; /* without the length */
	void *ip = rte_pktmbuf_mtod_offset(m, void *, ETH);
	void *l4 = (char *)ip + m->l3_len;
	uint16_t sum = d->v6 ? rte_ipv6_phdr_cksum(ip, sum_as) : rte_ipv4_phdr_cksum(ip, sum_as);

	if (d->udp) {
		*(struct rte_udp_hdr *)l4 = (struct rte_udp_hdr) {.src_port = htons(1),
			.dst_port = htons(2), .dgram_len = htons(l4_bytes), .dgram_cksum = sum};
		m->l4_len = sizeof(struct rte_udp_hdr);
		m->ol_flags |= d->super ? RTE_MBUF_F_TX_UDP_SEG : RTE_MBUF_F_TX_UDP_CKSUM;
	} else {
		*(struct rte_tcp_hdr *)l4 = (struct rte_tcp_hdr) {.src_port = htons(1),
			.dst_port = htons(2), .sent_seq = htonl(SEQ), .data_off = 0x50, .cksum = sum,
			.tcp_flags = RTE_TCP_ACK_FLAG | RTE_TCP_PSH_FLAG | RTE_TCP_FIN_FLAG |
				     RTE_TCP_CWR_FLAG};
		m->l4_len = sizeof(struct rte_tcp_hdr);
		m->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM | (d->super ? RTE_MBUF_F_TX_TCP_SEG : 0);
	}
	m->tso_segsz = d->super ? d->mss : 0;
}

static struct rte_mbuf *
make(const struct made *d, struct rte_mempool *pool)
{
	const uint32_t hdr = header_bytes(d);
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	const uint16_t l4_bytes = (uint16_t)(d->payload + hdr - ETH -
					     (d->v6 ? sizeof(struct rte_ipv6_hdr) : sizeof(struct rte_ipv4_hdr)));

	memset(rte_pktmbuf_append(m, (uint16_t)hdr), 0, hdr);
	rte_pktmbuf_mtod(m, struct rte_ether_hdr *)->ether_type =
		htons(d->v6 ? RTE_ETHER_TYPE_IPV6 : RTE_ETHER_TYPE_IPV4);
	m->l2_len = ETH;
	write_ip(d, m, l4_bytes);
	write_l4(d, m, l4_bytes);
	for (uint32_t at = 0; at < d->payload;) {
		struct rte_mbuf *seg = rte_pktmbuf_alloc(pool);
		uint32_t len = RTE_MIN(d->each, d->payload - at);
		uint8_t *to = (uint8_t *)rte_pktmbuf_append(seg, (uint16_t)len);

		while (len-- > 0)
			*to++ = (uint8_t)(at++ * 7);
		cr_assert_eq(rte_pktmbuf_chain(m, seg), 0);
	}
	if (d->vlan) {
		m->ol_flags |= RTE_MBUF_F_TX_VLAN;
		m->vlan_tci = 0x6123;
	}
	return m;
}

/* What a receiver checks. `off`: where in the payload it is. Returns its payload bytes. */
static uint32_t
check(const struct made *d, struct rte_mbuf *m, unsigned index, uint32_t off)
{
	const uint32_t tag = d->vlan ? 4 : 0, hdr = header_bytes(d) + tag;
	uint8_t flat[4096];
	void *ip = flat + ETH + tag;
	const uint32_t bytes = m->pkt_len - hdr;
	const bool last = off + bytes == d->payload;

	cr_assert_leq(m->pkt_len, sizeof(flat));
	cr_expect_eq(m->nb_segs, 1);
	memcpy(flat, rte_pktmbuf_mtod(m, void *), m->pkt_len);
	if (d->vlan) {
		cr_expect_eq(flat[12], 0x81);
		cr_expect_eq(flat[14] << 8 | flat[15], 0x6123);
	}
	cr_expect_eq(flat[12 + tag] << 8 | flat[13 + tag], d->v6 ? RTE_ETHER_TYPE_IPV6 : RTE_ETHER_TYPE_IPV4);
	if (d->v6) {
		struct rte_ipv6_hdr *h = ip;

		cr_expect_eq(ntohs(h->payload_len), m->pkt_len - tag - ETH - sizeof(*h));
		cr_expect_eq(rte_ipv6_udptcp_cksum(h, h + 1), d->udp ? 0xffff : 0, "packet %u", index);
	} else {
		struct rte_ipv4_hdr *h = ip;

		cr_expect_eq(ntohs(h->total_length), m->pkt_len - tag - ETH);
		cr_expect_eq(ntohs(h->packet_id), (uint16_t)(0xffff + index));
		cr_expect_eq(rte_ipv4_cksum(h), 0, "its own sum included");
		cr_expect_eq(rte_ipv4_udptcp_cksum(h, h + 1), d->udp ? 0xffff : 0, "packet %u", index);
	}
	if (d->udp) {
		struct rte_udp_hdr *udp = (void *)(flat + hdr - sizeof(*udp));

		cr_expect_eq(ntohs(udp->dgram_len), bytes + sizeof(*udp));
	} else {
		struct rte_tcp_hdr *tcp = (void *)(flat + hdr - sizeof(*tcp));

		cr_expect_eq(ntohl(tcp->sent_seq), SEQ + off);
		cr_expect_eq((tcp->tcp_flags & RTE_TCP_FIN_FLAG) != 0, last);
		cr_expect_eq((tcp->tcp_flags & RTE_TCP_PSH_FLAG) != 0, last);
		cr_expect_eq((tcp->tcp_flags & RTE_TCP_CWR_FLAG) != 0, index == 0);
	}
	for (uint32_t i = 0; i < bytes; i++)
		cr_assert_eq(flat[hdr + i], (uint8_t)((off + i) * 7), "byte %u", off + i);
	return bytes;
}

ParameterizedTestParameters(soft, frames_are_what_a_receiver_expects)
{
	static struct made d[] = {
		{.super = true, .payload = 5000, .each = 333, .mss = 1000},
		{.super = true, .payload = 3000, .each = 2000, .mss = 1000, .vlan = true},
		{.super = true, .v6 = true, .payload = 2001, .each = 1, .mss = 1000},
		{.super = true, .udp = true, .payload = 4001, .each = 1200, .mss = 1200},
		{.super = true, .udp = true, .v6 = true, .payload = 1201, .each = 700, .mss = 1200, .vlan = true},
		{.super = true, .udp = true, .payload = 10, .each = 5, .mss = 1200},
		{.payload = 1400, .each = 300},
		{.payload = 0, .each = 1},
		{.v6 = true, .payload = 1, .each = 1, .vlan = true},
		{.udp = true, .payload = 700, .each = 700},
		{.udp = true, .v6 = true, .payload = 701, .each = 100},
	};

	return cr_make_param_array(struct made, d, sizeof(d) / sizeof(d[0]));
}

ParameterizedTest(struct made *d, soft, frames_are_what_a_receiver_expects)
{
	struct rte_mempool *pool = responder_eal(4095);
	struct rte_mbuf *out[QP_SOFT_PIECES], *m = make(d, pool);
	const unsigned pieces = d->super ? (d->payload + d->mss - 1u) / d->mss : 1;
	uint32_t off = 0;
	struct qp_soft s;
	unsigned n;

	qp_soft_init(&s, 0, 0, 0, pool);
	cr_assert(qp_soft_needed(&s, m));
	n = qp_soft_frames(&s, m, out);
	cr_assert_eq(n, pieces);
	for (unsigned i = 0; i < n; i++) {
		cr_expect_not(qp_soft_needed(&s, out[i]), "nothing is left for a device");
		off += check(d, out[i], i, off);
	}
	cr_expect_eq(off, d->payload);
	cr_expect_eq(s.cut, d->super);
	rte_pktmbuf_free_bulk(out, n);
	cr_expect_eq(rte_mempool_avail_count(pool), 4095);
}

Test(soft, device_with_all_offloads_gets_frames_as_they_are)
{
	struct rte_mempool *pool = responder_eal(511);
	const struct made d = {.super = true, .payload = 3000, .each = 1000, .mss = 1000, .vlan = true};
	struct rte_mbuf *m = make(&d, pool);
	struct qp_soft s;

	qp_soft_init(&s, UINT64_MAX, 0, 0, pool);
	cr_expect_not(qp_soft_needed(&s, m));
	qp_soft_init(&s, UINT64_MAX & ~RTE_ETH_TX_OFFLOAD_UDP_TSO, 0, 0, pool);
	cr_expect_not(qp_soft_needed(&s, m), "it is TCP");
	qp_soft_init(&s, UINT64_MAX, 3, 0, pool);
	cr_expect(qp_soft_needed(&s, m), "four mbufs, three are possible");
	qp_soft_init(&s, UINT64_MAX, 40, 3, pool);
	cr_expect_not(qp_soft_needed(&s, m), "four, but no packet is of more than two");
	m->tso_segsz = 200;
	cr_expect(qp_soft_needed(&s, m), "pieces that are too small for a device");
	rte_pktmbuf_free(m);
}

/* What i40e and ice stop their queue for: each packet of eight mbufs at most, header included. */
Test(soft, super_segment_is_cut_here_when_one_of_its_packets_is_in_too_many_mbufs)
{
	struct rte_mempool *pool = responder_eal(1023);
	struct made d = {.super = true, .payload = 14480, .each = 500, .mss = 1448};
	struct rte_mbuf *out[QP_SOFT_PIECES], *m = make(&d, pool);
	struct qp_soft s;
	unsigned n;

	qp_soft_init(&s, UINT64_MAX, 255, 8, pool);
	cr_assert_gt(m->nb_segs, 8);
	cr_expect_not(qp_soft_needed(&s, m), "five at most in 1448 bytes");
	rte_pktmbuf_free(m);
	d.each = 200;
	m = make(&d, pool);
	cr_assert_leq(m->nb_segs, 255);
	cr_assert(qp_soft_needed(&s, m), "nine with the header");
	n = qp_soft_frames(&s, m, out);
	cr_assert_eq(n, 10);
	for (unsigned i = 0; i < n; i++) {
		cr_expect_eq(out[i]->pkt_len, header_bytes(&d) + 1448u);
		cr_expect_eq(out[i]->nb_segs, 1);
	}
	rte_pktmbuf_free_bulk(out, n);
	/* All at the end: what is sent last counts, too. */
	d.each = 1448;
	m = make(&d, pool);
	for (unsigned i = 0; i < 9; i++) {
		struct rte_mbuf *tail = rte_pktmbuf_alloc(pool);

		cr_assert_not_null(tail);
		memset(rte_pktmbuf_append(tail, 100), 1, 100);
		cr_assert_eq(rte_pktmbuf_chain(m, tail), 0);
	}
	cr_expect(qp_soft_needed(&s, m));
	rte_pktmbuf_free(m);
	cr_expect_eq(rte_mempool_avail_count(pool), 1023);
}

Test(soft, packet_in_too_many_mbufs_is_made_fewer)
{
	struct rte_mempool *pool = responder_eal(511);
	const struct made d = {.payload = 1000, .each = 100};
	struct rte_mbuf *out[QP_SOFT_PIECES], *m = make(&d, pool);
	struct qp_soft s;

	qp_soft_init(&s, RTE_ETH_TX_OFFLOAD_MULTI_SEGS, 255, 8, pool);
	cr_assert(qp_soft_needed(&s, m), "eleven, eight are possible");
	cr_assert_eq(qp_soft_frames(&s, m, out), 1);
	check(&d, out[0], 0, 0);
	rte_pktmbuf_free(out[0]);
	cr_expect_eq(rte_mempool_avail_count(pool), 511);
}

Test(soft, without_mbufs_a_super_segment_is_dropped_whole)
{
	struct rte_mempool *pool = responder_eal(15);
	const struct made d = {.super = true, .payload = 10000, .each = 1000, .mss = 1000};
	struct rte_mbuf *out[QP_SOFT_PIECES], *m = make(&d, pool);
	struct qp_soft s;

	qp_soft_init(&s, 0, 0, 0, pool);
	cr_expect_eq(qp_soft_frames(&s, m, out), 0);
	cr_expect_eq(s.no_mbuf, 1);
	cr_expect_eq(rte_mempool_avail_count(pool), 15);
}

Test(soft, header_that_others_hold_is_not_written_into)
{
	struct rte_mempool *pool = responder_eal(63);
	const struct made d = {.payload = 0, .each = 1};
	struct rte_mbuf *out[QP_SOFT_PIECES], *m = make(&d, pool);
	struct qp_soft s;

	rte_mbuf_refcnt_update(m, 1);
	qp_soft_init(&s, 0, 0, 0, pool);
	cr_assert_eq(qp_soft_frames(&s, m, out), 1);
	cr_expect_neq(out[0], m);
	check(&d, out[0], 0, 0);
	cr_expect_eq(rte_mbuf_refcnt_read(m), 1, "the other's");
	rte_pktmbuf_free(m);
	rte_pktmbuf_free(out[0]);
}

Test(soft, super_segment_that_makes_no_sense_is_counted)
{
	struct rte_mempool *pool = responder_eal(255);
	struct made d = {.super = true, .payload = 3000, .each = 1000, .mss = 0};
	struct rte_mbuf *out[QP_SOFT_PIECES];
	struct qp_soft s;

	qp_soft_init(&s, 0, 0, 0, pool);
	cr_expect_eq(qp_soft_frames(&s, make(&d, pool), out), 0, "pieces of no bytes");
	d.mss = 11;
	cr_expect_eq(qp_soft_frames(&s, make(&d, pool), out), 0, "273 pieces");
	cr_expect_eq(s.bad, 2);
	cr_expect_eq(rte_mempool_avail_count(pool), 255);
}

/* net_tap sums mbuf by mbuf, so that a chain with an odd piece gets a wrong checksum there. */
Test(soft, chain_with_an_odd_mbuf_is_gathered_for_a_device_that_sums_pieces)
{
	const struct made odd = {.payload = 900, .each = 301}, even = {.payload = 900, .each = 300};
	const struct made cut = {.payload = 4000, .each = 500, .super = true, .mss = 1001};
	const uint64_t hw = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM |
			    RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	struct rte_mempool *pool = responder_eal(255);
	struct rte_mbuf *out[QP_SOFT_PIECES], *m;
	struct qp_soft s;

	qp_soft_init(&s, hw, 0, 0, pool);
	m = make(&odd, pool);
	cr_expect_not(qp_soft_needed(&s, m), "a device is trusted");
	s.even_only = true;
	cr_assert(qp_soft_needed(&s, m));
	cr_assert_eq(qp_soft_frames(&s, m, out), 1u);
	cr_expect_eq(out[0]->nb_segs, 1);
	cr_expect_neq(out[0]->ol_flags & RTE_MBUF_F_TX_TCP_CKSUM, 0, "of one piece it is right");
	rte_pktmbuf_free(out[0]);
	m = make(&even, pool);
	cr_expect_not(qp_soft_needed(&s, m));
	rte_pktmbuf_free(m);
	m = make(&cut, pool);
	cr_assert(qp_soft_needed(&s, m));
	cr_assert_eq(qp_soft_frames(&s, m, out), 4u);
	for (unsigned i = 0; i < 4; i++)
		cr_expect_eq(out[i]->nb_segs, 1);
	rte_pktmbuf_free_bulk(out, 4);
	cr_expect_eq(rte_mempool_avail_count(pool), 255u);
}
