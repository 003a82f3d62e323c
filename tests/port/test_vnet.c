/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames without a device: the virtio-net header both ways, and UDP
 * segmentation in software, whose packets a socket pair catches.
 */
#include <criterion/criterion.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_tcp.h>
#include <rte_udp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/port_uso.h"
#include "dataplane/port_vnet.h"
#include "tests/port/responder.h"

#define IPV6_FLAGS RTE_MBUF_F_TX_IPV6
#define IPV4_FLAGS (RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM)

static struct rte_mempool *pool;

static void
set_up(void)
{
	pool = responder_eal(255);
}

struct rx_case {
	const char *what;
	struct virtio_net_hdr hdr;
	uint64_t flags;
	uint16_t segsz;
};

static const struct rx_case rx_cases[] = {
	{"nothing known", {.gso_type = VIRTIO_NET_HDR_GSO_NONE}, 0, 0},
	{"from this host", {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34,
		.csum_offset = 16}, RTE_MBUF_F_RX_L4_CKSUM_GOOD, 0},
	{"verified by the NIC", {.flags = VIRTIO_NET_HDR_F_DATA_VALID},
		RTE_MBUF_F_RX_L4_CKSUM_GOOD, 0},
	{"TCP over IPv4", {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_size = 1448,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4},
		RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_LRO, 1448},
	{"TCP over IPv6 with ECN", {.flags = VIRTIO_NET_HDR_F_DATA_VALID, .gso_size = 1428,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV6 | VIRTIO_NET_HDR_GSO_ECN},
		RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_LRO, 1428},
	{"UDP", {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_size = 1200,
		.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4},
		RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_LRO, 1200},
	{"a kind that we did not ask for", {.gso_size = 1200,
		.gso_type = VIRTIO_NET_HDR_GSO_UDP}, 0, 0},
};

Test(vnet, received_header_becomes_mbuf_flags, .init = set_up)
{
	for (unsigned i = 0; i < RTE_DIM(rx_cases); i++) {
		const struct rx_case *c = &rx_cases[i];
		struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

		qp_vnet_to_mbuf(&c->hdr, m);
		cr_expect_eq(m->ol_flags, c->flags, "%s: %lx", c->what, m->ol_flags);
		cr_expect_eq(m->tso_segsz, c->segsz, "%s", c->what);
		rte_pktmbuf_free(m);
	}
}

struct tx_case {
	const char *what;
	uint64_t flags;
	uint16_t payload, segsz;
	struct virtio_net_hdr want;
};

static const struct tx_case tx_cases[] = {
	{"no offload", 0, 100, 0, {.hdr_len = 34}},
	{"IPv4 header only", IPV4_FLAGS, 100, 0, {.hdr_len = 34}},
	{"TCP over IPv4", IPV4_FLAGS | RTE_MBUF_F_TX_TCP_CKSUM, 100, 0,
		{.flags = 1, .hdr_len = 54, .csum_start = 34, .csum_offset = 16}},
	{"TCP over IPv6", IPV6_FLAGS | RTE_MBUF_F_TX_TCP_CKSUM, 100, 0,
		{.flags = 1, .hdr_len = 74, .csum_start = 54, .csum_offset = 16}},
	{"UDP over IPv4", IPV4_FLAGS | RTE_MBUF_F_TX_UDP_CKSUM, 100, 0,
		{.flags = 1, .hdr_len = 42, .csum_start = 34, .csum_offset = 6}},
	{"TCP super-segment, IPv4",
		IPV4_FLAGS | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_TCP_SEG, 1000, 400,
		{.flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .hdr_len = 54, .gso_size = 400,
			.csum_start = 34, .csum_offset = 16}},
	{"TCP super-segment, IPv6", IPV6_FLAGS | RTE_MBUF_F_TX_TCP_SEG, 1000, 400,
		{.flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_TCPV6, .hdr_len = 74, .gso_size = 400,
			.csum_start = 54, .csum_offset = 16}},
	{"UDP super-segment, IPv6", IPV6_FLAGS | RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_UDP_SEG,
		1000, 400,
		{.flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_UDP_L4, .hdr_len = 62, .gso_size = 400,
			.csum_start = 54, .csum_offset = 6}},
	{"super-segment that fits one packet", IPV4_FLAGS | RTE_MBUF_F_TX_TCP_SEG, 400, 400,
		{.flags = 1, .hdr_len = 54, .csum_start = 34, .csum_offset = 16}},
};

static bool
is_tcp(uint64_t flags)
{
	return (flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_TCP_CKSUM ||
		(flags & RTE_MBUF_F_TX_TCP_SEG);
}

/* A frame as qp_ip_encap leaves it, pseudo-header checksum by DPDK's rules. */
static struct rte_mbuf *
make_frame(uint64_t flags, uint16_t payload, uint16_t segsz)
{
	const bool v6 = flags & RTE_MBUF_F_TX_IPV6, tcp = is_tcp(flags);
	const uint16_t l3 = v6 ? 40 : 20, l4 = tcp ? 20 : 8;
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	uint8_t *data = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(14 + l3 + l4 + payload));
	struct rte_ipv4_hdr *ip4 = (void *)(data + 14);
	struct rte_ipv6_hdr *ip6 = (void *)(data + 14);
	/* DPDK 22.11's functions know that a TCP super-segment's sum has no length in it. */
	const uint64_t sum_as = segsz != 0 ? RTE_MBUF_F_TX_TCP_SEG : 0;
	uint16_t sum;

	cr_assert_not_null(data);
	for (unsigned i = 0; i < m->data_len; i++)
		data[i] = (uint8_t)(i * 7);
	m->l2_len = 14;
	m->l3_len = l3;
	m->l4_len = l4;
	m->tso_segsz = segsz;
	m->ol_flags = flags;
	if (v6) {
		*ip6 = (struct rte_ipv6_hdr) {.vtc_flow = htonl(6u << 28), .hop_limits = 64,
			.proto = tcp ? IPPROTO_TCP : IPPROTO_UDP,
			.payload_len = htons((uint16_t)(l4 + payload)), .src_addr = {0xfd, 1},
			.dst_addr = {0xfd, 2}};
		sum = rte_ipv6_phdr_cksum(ip6, sum_as);
	} else {
		*ip4 = (struct rte_ipv4_hdr) {.version_ihl = 0x45, .time_to_live = 64,
			.next_proto_id = tcp ? IPPROTO_TCP : IPPROTO_UDP, .hdr_checksum = 0xdead,
			.packet_id = htons(77), .total_length = htons((uint16_t)(l3 + l4 + payload)),
			.src_addr = htonl(0x0a000001), .dst_addr = htonl(0x0a000002)};
		sum = rte_ipv4_phdr_cksum(ip4, sum_as);
	}
	if (tcp) {
		((struct rte_tcp_hdr *)(data + 14 + l3))->cksum = sum;
		((struct rte_tcp_hdr *)(data + 14 + l3))->tcp_flags = RTE_TCP_ACK_FLAG;
	} else
		*(struct rte_udp_hdr *)(data + 14 + l3) = (struct rte_udp_hdr) {
			.src_port = htons(1), .dst_port = htons(2),
			.dgram_len = htons((uint16_t)(8 + payload)), .dgram_cksum = sum};
	return m;
}

/* Linux wants the whole length in a super-segment's pseudo-header. */
static uint16_t
full_pseudo_header(const struct rte_mbuf *m)
{
	const void *ip = rte_pktmbuf_mtod_offset(m, void *, 14);

	return m->l3_len == 40 ? rte_ipv6_phdr_cksum(ip, 0) : rte_ipv4_phdr_cksum(ip, 0);
}

Test(vnet, sent_mbuf_becomes_header, .init = set_up)
{
	for (unsigned i = 0; i < RTE_DIM(tx_cases); i++) {
		const struct tx_case *c = &tx_cases[i];
		struct rte_mbuf *m = make_frame(c->flags, c->payload, c->segsz);
		struct rte_ipv4_hdr *ip4 = rte_pktmbuf_mtod_offset(m, void *, 14);
		struct virtio_net_hdr h;
		uint8_t before[2048];

		memcpy(before, rte_pktmbuf_mtod(m, void *), m->data_len);
		cr_expect_eq(qp_vnet_from_mbuf(m, &h), 0, "%s", c->what);
		cr_expect_eq(memcmp(&h, &c->want, sizeof(h)), 0,
			"%s: flags %u gso %u hdr_len %u size %u start %u offset %u", c->what,
			h.flags, h.gso_type, h.hdr_len, h.gso_size, h.csum_start, h.csum_offset);
		if (c->want.flags != 0) {
			uint16_t got = *rte_pktmbuf_mtod_offset(m, uint16_t *,
				h.csum_start + h.csum_offset);

			cr_expect_eq(got, full_pseudo_header(m), "%s: %x", c->what, got);
		}
		if (c->flags & RTE_MBUF_F_TX_IP_CKSUM)
			cr_expect_eq(rte_ipv4_cksum(ip4), 0, "%s: IPv4 checksum", c->what);
		/* Not sent after all: the caller gets back what it gave, the filled checksum aside. */
		qp_vnet_restore(m);
		if (c->flags & RTE_MBUF_F_TX_IP_CKSUM)
			ip4->hdr_checksum = 0xdead;
		cr_expect_eq(memcmp(before, rte_pktmbuf_mtod(m, void *), m->data_len), 0,
			"%s: not restored", c->what);
		rte_pktmbuf_free(m);
	}
}

/* RFC 3168, 6.1.2: whoever cuts the frame must leave CWR out of all but the first. */
Test(vnet, super_segment_with_cwr_says_so, .init = set_up)
{
	static const uint64_t kinds[] = {IPV4_FLAGS, IPV6_FLAGS};

	for (unsigned i = 0; i < RTE_DIM(kinds); i++) {
		for (unsigned cwr = 0; cwr < 2; cwr++) {
			struct rte_mbuf *m = make_frame(kinds[i] | RTE_MBUF_F_TX_TCP_SEG, 1000, 400);
			struct rte_tcp_hdr *t = rte_pktmbuf_mtod_offset(m, void *, 14 + m->l3_len);
			struct virtio_net_hdr h;

			t->tcp_flags = cwr ? RTE_TCP_ACK_FLAG | RTE_TCP_CWR_FLAG : RTE_TCP_ACK_FLAG;
			cr_expect_eq(qp_vnet_from_mbuf(m, &h), 0);
			cr_expect_eq(!!(h.gso_type & VIRTIO_NET_HDR_GSO_ECN), cwr);
			cr_expect_eq(h.gso_type & ~VIRTIO_NET_HDR_GSO_ECN,
				i == 0 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6);
			rte_pktmbuf_free(m);
		}
	}
}

Test(vnet, contradictory_lengths_are_refused, .init = set_up)
{
	const uint64_t seg = IPV4_FLAGS | RTE_MBUF_F_TX_TCP_SEG;
	struct rte_mbuf *m = make_frame(seg, 100, 0);
	struct virtio_net_hdr h;

	cr_expect_eq(qp_vnet_from_mbuf(m, &h), QP_E_INVAL, "no segment size");
	m->tso_segsz = 50;
	m->l3_len = 500;
	cr_expect_eq(qp_vnet_from_mbuf(m, &h), QP_E_INVAL, "headers beyond the first mbuf");
	m->l3_len = 0;
	cr_expect_eq(qp_vnet_from_mbuf(m, &h), QP_E_INVAL, "no IPv4 header to sum");
	m->l3_len = 20;
	m->pkt_len = 70000;
	cr_expect_eq(qp_vnet_from_mbuf(m, &h), QP_E_INVAL, "longer than IP can be");
	m->pkt_len = m->data_len;
	cr_expect_eq(qp_vnet_from_mbuf(m, &h), 0);
	rte_pktmbuf_free(m);
}

/* Splits a frame into a chain whose payload straddles segments, one of them empty. */
static struct rte_mbuf *
make_chain(uint64_t flags, uint16_t payload, uint16_t segsz)
{
	struct rte_mbuf *m = make_frame(flags, payload, segsz), *tail = m;
	const uint16_t hdr = (uint16_t)(m->l2_len + m->l3_len + m->l4_len);
	const uint8_t *data = rte_pktmbuf_mtod_offset(m, uint8_t *, hdr);

	for (uint16_t at = 0, n = 0; at < payload; n++) {
		struct rte_mbuf *seg = rte_pktmbuf_alloc(pool);
		uint16_t take = RTE_MIN((uint16_t)(n == 1 ? 0 : 333), (uint16_t)(payload - at));

		memcpy(rte_pktmbuf_append(seg, take), data + at, take);
		at = (uint16_t)(at + take);
		tail->next = seg;
		tail = seg;
		m->nb_segs++;
	}
	m->data_len = hdr;
	return m;
}

static void
check_segment(const uint8_t *frame, size_t len, bool v6, uint16_t index, uint16_t payload,
	uint16_t at)
{
	const struct virtio_net_hdr *h = (const void *)frame;
	const uint16_t l3 = v6 ? 40 : 20, hdr = (uint16_t)(14 + l3 + 8);
	const struct rte_ipv4_hdr *ip4 = (const void *)(frame + sizeof(*h) + 14);
	const struct rte_ipv6_hdr *ip6 = (const void *)ip4;
	const struct rte_udp_hdr *udp = (const void *)((const uint8_t *)ip4 + l3);

	cr_assert_eq(len, sizeof(*h) + hdr + payload, "packet %u has %zu bytes", index, len);
	cr_expect_eq(h->flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	cr_expect_eq(h->gso_type, VIRTIO_NET_HDR_GSO_NONE);
	cr_expect_eq(h->csum_start, 14 + l3);
	cr_expect_eq(ntohs(udp->dgram_len), 8 + payload);
	if (v6) {
		cr_expect_eq(ntohs(ip6->payload_len), 8 + payload);
		cr_expect_eq(udp->dgram_cksum, rte_ipv6_phdr_cksum(ip6, 0), "packet %u", index);
	} else {
		cr_expect_eq(ntohs(ip4->total_length), 28 + payload);
		cr_expect_eq(ntohs(ip4->packet_id), 77 + index);
		cr_expect_eq(rte_ipv4_cksum(ip4), 0, "packet %u", index);
		cr_expect_eq(udp->dgram_cksum, rte_ipv4_phdr_cksum(ip4, 0), "packet %u", index);
	}
	for (uint16_t i = 0; i < payload; i++)
		cr_assert_eq(((const uint8_t *)(udp + 1))[i], (uint8_t)((hdr + at + i) * 7),
			"packet %u, byte %u", index, i);
}

Test(uso, super_segment_is_cut_into_right_packets, .init = set_up)
{
	for (unsigned v6 = 0; v6 < 2; v6++) {
		const uint64_t flags = (v6 ? IPV6_FLAGS : IPV4_FLAGS) | RTE_MBUF_F_TX_UDP_CKSUM |
			RTE_MBUF_F_TX_UDP_SEG;
		struct rte_mbuf *m = make_chain(flags, 1000, 400);
		uint8_t got[2048];
		int s[2];

		cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, s), 0);
		cr_expect_eq(qp_uso_write(s[0], m), 0);
		for (uint16_t i = 0; i < 3; i++) {
			ssize_t n = recv(s[1], got, sizeof(got), 0);

			cr_assert_gt(n, 0, "packet %u is missing", i);
			check_segment(got, (size_t)n, v6, i, i == 2 ? 200 : 400,
				(uint16_t)(i * 400));
		}
		cr_expect_eq(recv(s[1], got, sizeof(got), 0), -1, "one too many");
		close(s[0]);
		close(s[1]);
		rte_pktmbuf_free(m);
	}
}

Test(uso, bad_frame_is_refused, .init = set_up)
{
	struct rte_mbuf *m = make_frame(IPV4_FLAGS | RTE_MBUF_F_TX_UDP_SEG, 100, 0);

	cr_expect_neq(qp_uso_write(-1, m), 0, "no segment size");
	m->tso_segsz = 50;
	m->l3_len = 400;
	cr_expect_neq(qp_uso_write(-1, m), 0, "headers too long");
	m->l3_len = 20;
	cr_expect_neq(qp_uso_write(-1, m), 0, "nowhere to write to");
	rte_pktmbuf_free(m);
}
