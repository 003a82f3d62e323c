/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP errors about packets that went up or could not: RFC 1122, 3.2.2; RFC 4443,
 * 2.4. Those about errors, pieces, and what came to many never get here; the rest
 * is bounded in number, by a limit that others cannot count with. Runs on the lcore.
 */
#include <netinet/in.h>
#include <string.h>

#include "dataplane/net/internal.h"

#define HEADER_BYTES   8u
#define V4_QUOTE_BYTES (576u - 20 - HEADER_BYTES) /* RFC 1812, 4.3.2.3 */
#define V6_QUOTE_BYTES (QP_NET_V6_MIN_MTU - 40 - HEADER_BYTES)

/*
 * A message costs its tokens and up to as many more, at random: whoever probes ports behind a
 * spoofed source cannot tell from what is left how many answers went elsewhere.
 */
static bool
within_rate(struct qp_net *net)
{
	struct qp_bucket *b = &net->errors;

	if (b->rate == 0)
		return true;
	(void)qp_bucket_refill(b, *net->env.now_ns);
	if (b->tokens < (int64_t)QP_NET_ERROR_TOKENS)
		return false;
	b->tokens -= (int64_t)(QP_NET_ERROR_TOKENS +
			       net->env.random(net->env.random_ctx) % QP_NET_ERROR_TOKENS);
	return true;
}

static void
ends(const struct rte_mbuf *m, bool v4, struct qp_flow *flow)
{
	const uint8_t *ip = rte_pktmbuf_mtod_offset(m, const uint8_t *, QP_NET_ETHER_BYTES);
	uint32_t source, dest;

	if (v4) {
		memcpy(&source, ip + 12, 4);
		memcpy(&dest, ip + 16, 4);
		flow->remote = qp_ipaddr_v4(source);
		flow->local = qp_ipaddr_v4(dest);
		return;
	}
	memcpy(&flow->remote, ip + 8, 16);
	memcpy(&flow->local, ip + 24, 16);
}

/* What is quoted: the packet without the padding of its frame. */
static uint32_t
quoted_bytes(const struct rte_mbuf *m, bool v4)
{
	const uint8_t *ip = rte_pktmbuf_mtod_offset(m, const uint8_t *, QP_NET_ETHER_BYTES);
	uint32_t bytes = v4 ? (uint32_t)(ip[2] << 8 | ip[3]) : 40u + (uint32_t)(ip[4] << 8 | ip[5]);

	bytes = RTE_MIN(bytes, m->pkt_len - QP_NET_ETHER_BYTES);
	return RTE_MIN(bytes, v4 ? V4_QUOTE_BYTES : V6_QUOTE_BYTES);
}

static struct rte_mbuf *
build(struct qp_net *net, const struct rte_mbuf *about, bool v4, uint8_t type, uint8_t code,
	uint32_t param)
{
	const uint32_t quoted = quoted_bytes(about, v4);
	struct rte_mbuf *m = rte_pktmbuf_alloc(net->env.pool);
	const void *quote;
	uint8_t *icmp;

	if (m == NULL) {
		QP_NET_COUNT(net, drop_no_memory);
		return NULL;
	}
	(void)rte_pktmbuf_append(m, (uint16_t)(HEADER_BYTES + quoted));
	icmp = rte_pktmbuf_mtod(m, uint8_t *);
	memset(icmp, 0, HEADER_BYTES);
	icmp[0] = type;
	icmp[1] = code;
	param = rte_cpu_to_be_32(param);
	memcpy(icmp + 4, &param, sizeof(param));
	quote = rte_pktmbuf_read(about, QP_NET_ETHER_BYTES, quoted, icmp + HEADER_BYTES);
	if (quote != icmp + HEADER_BYTES)
		memcpy(icmp + HEADER_BYTES, quote, quoted);
	return m;
}

void
qp_icmp_error(struct qp_net *net, unsigned port, const struct rte_mbuf *about, uint8_t type,
	uint8_t code, uint32_t param)
{
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(about, const struct rte_ether_hdr *);
	const bool v4 = eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4);
	struct qp_flow flow = {0};
	struct rte_mbuf *m;

	if (!within_rate(net)) {
		QP_NET_COUNT(net, errors_limited);
		return;
	}
	ends(about, v4, &flow);
	qp_net_mark(flow.l2.peer_mac, port);
	m = build(net, about, v4, type, code, param);
	if (m == NULL)
		return;
	qp_ip_encap(m, &flow, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, 0, net->port[port].mac);
	QP_NET_COUNT(net, errors_sent);
	qp_net_output(net, m);
}

void
qp_net_port_unreachable(struct qp_net *net, unsigned port, struct rte_mbuf *m)
{
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	const bool v4 = eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4);
	struct qp_packet pkt;

	/* A wrong checksum may be about anybody. */
	if (qp_ip_parse(m, &pkt) == QP_IP_OK && pkt.proto == IPPROTO_UDP)
		qp_icmp_error(net, port, m, v4 ? 3 : 1, v4 ? 3 : 4, 0);
	qp_net_drop(m, &net->counters.drop_no_port);
}
