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

/* The header is rebuilt: options and extension headers of the request are not sent back. */
static void
answer_v4(struct rte_mbuf *m, const struct qp_packet *pkt)
{
	struct rte_ipv4_hdr *ip;
	char *p = rte_pktmbuf_adj(m, pkt->l4_off);

	retype((struct rte_icmp_hdr *)(void *)p, V4_ECHO_REPLY);
	ip = (void *)rte_pktmbuf_prepend(m, sizeof(*ip));
	*ip = (struct rte_ipv4_hdr) {
		.version_ihl = RTE_IPV4_VHL_DEF,
		.type_of_service = pkt->tos & 0xfc,
		.total_length = rte_cpu_to_be_16((uint16_t)m->pkt_len),
		.fragment_offset = RTE_BE16(RTE_IPV4_HDR_DF_FLAG),
		.time_to_live = HOP_LIMIT,
		.next_proto_id = IPPROTO_ICMP,
		.src_addr = pkt->flow.local.w[3],
		.dst_addr = pkt->flow.remote.w[3],
	};
	ip->hdr_checksum = rte_ipv4_cksum(ip);
	(void)rte_pktmbuf_prepend(m, QP_NET_ETHER_BYTES);
	rte_pktmbuf_mtod(m, struct rte_ether_hdr *)->ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV4);
}

/* The received mbufs are the answer: it is as long, and a jumbo frame's chain is large. */
static void
echo(struct qp_net *net, struct rte_mbuf *m, const struct qp_packet *pkt)
{
	if (!qp_net_take(net, &net->echoes)) {
		qp_net_drop(m, &net->counters.echo_limited);
		return;
	}
	m->ol_flags = 0;
	answer_v4(m, pkt);
	m->l2_len = QP_NET_ETHER_BYTES;
	m->l3_len = sizeof(struct rte_ipv4_hdr);
	/* No mark: it takes the best route. */
	memset(rte_pktmbuf_mtod(m, void *), 0, 2 * RTE_ETHER_ADDR_LEN);
	QP_NET_COUNT(net, echo_replies);
	qp_net_output(net, m);
}

enum qp_net_verdict
qp_icmp_input(struct qp_net *net, unsigned port, struct rte_mbuf *m)
{
	struct qp_packet pkt;
	const struct rte_icmp_hdr *icmp;

	if (qp_ip_parse(m, &pkt) != QP_IP_OK) {
		qp_net_drop(m, &net->counters.drop_icmp);
		return QP_NET_CONSUMED;
	}
	icmp = rte_pktmbuf_mtod_offset(m, const struct rte_icmp_hdr *, pkt.l4_off);
	if (is_error(pkt.proto, icmp->icmp_type))
		return QP_NET_UP;
	if (pkt.proto == IPPROTO_ICMP && icmp->icmp_type == V4_ECHO_REQUEST && icmp->icmp_code == 0)
		echo(net, m, &pkt);
	else
		qp_net_drop(m, &net->counters.drop_icmp);
	return QP_NET_CONSUMED;
}
