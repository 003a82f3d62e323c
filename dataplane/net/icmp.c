/* SPDX-License-Identifier: Apache-2.0 */
/* Echo (RFC 792, RFC 4443). Runs on the lcore. */
#include <rte_icmp.h>
#include <rte_ip.h>
#include <string.h>

#include "dataplane/cksum.h"
#include "dataplane/net/internal.h"

#define V4_ECHO_REPLY   0u
#define V4_UNREACHABLE  3u
#define V4_ECHO_REQUEST 8u
#define V4_TIME         11u
#define V4_PARAMETER    12u
#define V6_ECHO_REQUEST 128u
#define V6_ECHO_REPLY   129u
#define HOP_LIMIT       64u
#define DS_FIELD        0xfcu /* of the traffic class: ECN is not the answer's */

/* What TCP and UDP have to know. */
static bool
is_error(uint8_t proto, uint8_t type)
{
	if (proto == IPPROTO_ICMP)
		return type == V4_UNREACHABLE || type == V4_TIME || type == V4_PARAMETER;
	return type < 128;
}

/* RFC 1624, eqn. 3, for the first word of an ICMP header. */
static void
retype(struct rte_icmp_hdr *icmp, uint8_t type)
{
	uint16_t old, new;

	memcpy(&old, icmp, sizeof(old));
	icmp->icmp_type = type;
	memcpy(&new, icmp, sizeof(new));
	icmp->icmp_cksum = (uint16_t)~qp_cksum_fold(
		(uint64_t)(uint16_t)~icmp->icmp_cksum + (uint16_t)~old + new);
}

/* The headers are rebuilt: options and extension headers of the request are not sent back. */
static void
answer_v4(struct rte_mbuf *m, const struct qp_packet *pkt)
{
	struct rte_ipv4_hdr *ip;

	retype(rte_pktmbuf_mtod(m, struct rte_icmp_hdr *), V4_ECHO_REPLY);
	ip = (void *)rte_pktmbuf_prepend(m, sizeof(*ip));
	*ip = (struct rte_ipv4_hdr) {
		.version_ihl = RTE_IPV4_VHL_DEF,
		.type_of_service = pkt->tos & DS_FIELD,
		.total_length = rte_cpu_to_be_16((uint16_t)m->pkt_len),
		.fragment_offset = RTE_BE16(RTE_IPV4_HDR_DF_FLAG),
		.time_to_live = HOP_LIMIT,
		.next_proto_id = IPPROTO_ICMP,
		.src_addr = pkt->flow.local.w[3],
		.dst_addr = pkt->flow.remote.w[3],
	};
	ip->hdr_checksum = rte_ipv4_cksum(ip);
	m->l3_len = sizeof(*ip);
}

static void
answer_v6(struct rte_mbuf *m, const struct qp_packet *pkt)
{
	struct rte_icmp_hdr *icmp = rte_pktmbuf_mtod(m, struct rte_icmp_hdr *);
	const uint16_t len = (uint16_t)m->pkt_len;
	struct rte_ipv6_hdr *ip;

	icmp->icmp_type = V6_ECHO_REPLY;
	icmp->icmp_cksum = 0;
	icmp->icmp_cksum = (uint16_t)~qp_cksum_fold((uint64_t)qp_cksum_chain(m, 0, len) +
						    qp_cksum_pseudo(&pkt->flow, IPPROTO_ICMPV6, len));
	ip = (void *)rte_pktmbuf_prepend(m, sizeof(*ip));
	ip->vtc_flow = rte_cpu_to_be_32(UINT32_C(6) << 28 | (uint32_t)(pkt->tos & DS_FIELD) << 20);
	ip->payload_len = rte_cpu_to_be_16(len);
	ip->proto = IPPROTO_ICMPV6;
	ip->hop_limits = HOP_LIMIT;
	memcpy(ip->src_addr, &pkt->flow.local, 16);
	memcpy(ip->dst_addr, &pkt->flow.remote, 16);
	m->l3_len = sizeof(*ip);
}

/* The received mbufs are the answer: it is as long, and a jumbo frame's chain is large. */
static void
echo(struct qp_net *net, unsigned port, struct rte_mbuf *m, const struct qp_packet *pkt)
{
	const bool v4 = pkt->proto == IPPROTO_ICMP;
	struct rte_ether_hdr *eth;

	if (!qp_net_take(net, &net->echoes)) {
		qp_net_drop(m, &net->counters.echo_limited);
		return;
	}
	/* What the port said of it as received; not how its memory is held, which may be a device's. */
	m->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
	(void)rte_pktmbuf_adj(m, pkt->l4_off);
	if (v4)
		answer_v4(m, pkt);
	else
		answer_v6(m, pkt);
	(void)rte_pktmbuf_prepend(m, QP_NET_ETHER_BYTES);
	eth = rte_pktmbuf_mtod(m, struct rte_ether_hdr *);
	/* By the port that it came in by, among equals. */
	qp_net_mark(eth->dst_addr.addr_bytes, port);
	eth->ether_type = v4 ? RTE_BE16(RTE_ETHER_TYPE_IPV4) : RTE_BE16(RTE_ETHER_TYPE_IPV6);
	m->l2_len = QP_NET_ETHER_BYTES;
	QP_NET_COUNT(net, echo_replies);
	qp_net_output(net, m);
}

enum qp_net_verdict
qp_icmp_input(struct qp_net *net, unsigned port, struct rte_mbuf *m, const struct qp_net_own *own)
{
	struct qp_packet pkt;
	uint8_t type;

	if (qp_ip_parse(m, &pkt) != QP_IP_OK) {
		qp_net_drop(m, &net->counters.drop_icmp);
		return QP_NET_CONSUMED;
	}
	type = *rte_pktmbuf_mtod_offset(m, const uint8_t *, pkt.l4_off);
	if (is_error(pkt.proto, type))
		return QP_NET_UP;
	pkt.flow.local = own->addr;
	if (type == (pkt.proto == IPPROTO_ICMP ? V4_ECHO_REQUEST : V6_ECHO_REQUEST))
		echo(net, port, m, &pkt);
	else
		qp_net_drop(m, &net->counters.drop_icmp);
	return QP_NET_CONSUMED;
}
