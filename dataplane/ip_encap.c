/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A transport segment to a frame: IP and Ethernet headers before it, checksums
 * left to the port as DPDK's offloads want them. Any lcore; no state.
 */
#include "dataplane/ip.h"

#include <assert.h>

#include <rte_ether.h>
#include <rte_icmp.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "dataplane/cksum.h"

#define ETHER_BYTES ((uint16_t)sizeof(struct rte_ether_hdr))
#define HOP_LIMIT   64

static void
push_v4(struct rte_mbuf *m, const struct qp_flow *flow, uint8_t proto, uint8_t tos)
{
	struct rte_ipv4_hdr *ip = (void *)rte_pktmbuf_prepend(m, sizeof(*ip));

	assert(ip != NULL && m->pkt_len <= UINT16_MAX);
	*ip = (struct rte_ipv4_hdr) {
		.version_ihl = RTE_IPV4_VHL_DEF,
		.type_of_service = tos,
		.total_length = rte_cpu_to_be_16(m->pkt_len),
		/* DF and never fragmented: the id carries nothing (RFC 6864, 4.1). */
		.fragment_offset = RTE_BE16(RTE_IPV4_HDR_DF_FLAG),
		.time_to_live = HOP_LIMIT,
		.next_proto_id = proto,
		.src_addr = flow->local.w[3],
		.dst_addr = flow->remote.w[3],
	};
	m->l3_len = sizeof(*ip);
	m->ol_flags |= RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
}

static void
push_v6(struct rte_mbuf *m, const struct qp_flow *flow, uint8_t proto, uint8_t tos)
{
	uint32_t payload = m->pkt_len;
	struct rte_ipv6_hdr *ip = (void *)rte_pktmbuf_prepend(m, sizeof(*ip));

	assert(ip != NULL && payload <= UINT16_MAX);
	ip->vtc_flow = rte_cpu_to_be_32(UINT32_C(6) << 28 | (uint32_t)tos << 20);
	ip->payload_len = rte_cpu_to_be_16(payload);
	ip->proto = proto;
	ip->hop_limits = HOP_LIMIT;
	memcpy(ip->src_addr, &flow->local, 16);
	memcpy(ip->dst_addr, &flow->remote, 16);
	m->l3_len = sizeof(*ip);
	m->ol_flags |= RTE_MBUF_F_TX_IPV6;
}

/* What the port adds the payload's sum to; without the length when it will segment. */
static uint16_t
offload_sum(const struct rte_mbuf *m, const struct qp_flow *flow, uint8_t proto)
{
	bool segmented = m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG);

	return qp_cksum_pseudo(flow, proto, segmented ? 0 : m->pkt_len);
}

/* No port sums ICMP. */
static void
sum_icmp(struct rte_mbuf *m, const struct qp_flow *flow, uint8_t proto)
{
	struct rte_icmp_hdr *icmp = rte_pktmbuf_mtod(m, struct rte_icmp_hdr *);
	uint64_t sum;

	icmp->icmp_cksum = 0;
	sum = qp_cksum_chain(m, 0, m->pkt_len);
	if (proto == IPPROTO_ICMPV6)
		sum += qp_cksum_pseudo(flow, proto, m->pkt_len);
	icmp->icmp_cksum = ~qp_cksum_fold(sum);
}

void
qp_ip_encap(struct rte_mbuf *m, const struct qp_flow *flow, uint8_t proto, uint8_t tos,
	const uint8_t own_mac[6])
{
	bool v4 = qp_ipaddr_is_v4(&flow->local);
	struct rte_ether_hdr *eth;

	if (proto == IPPROTO_TCP) {
		rte_pktmbuf_mtod(m, struct rte_tcp_hdr *)->cksum = offload_sum(m, flow, proto);
		m->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM;
	} else if (proto == IPPROTO_UDP) {
		rte_pktmbuf_mtod(m, struct rte_udp_hdr *)->dgram_cksum = offload_sum(m, flow, proto);
		m->ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM;
	} else {
		sum_icmp(m, flow, proto);
	}
	if (v4)
		push_v4(m, flow, proto, tos);
	else
		push_v6(m, flow, proto, tos);
	eth = (void *)rte_pktmbuf_prepend(m, ETHER_BYTES);
	assert(eth != NULL);
	memcpy(&eth->dst_addr, flow->l2.peer_mac, 6);
	memcpy(&eth->src_addr, own_mac, 6);
	eth->ether_type = v4 ? RTE_BE16(RTE_ETHER_TYPE_IPV4) : RTE_BE16(RTE_ETHER_TYPE_IPV6);
	m->l2_len = ETHER_BYTES;
}
