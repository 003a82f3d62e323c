/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP and ICMPv6 about UDP forwards: port unreachable to the outside when the
 * client has nobody behind its port, and what the outside says of our
 * datagrams. Runs on the owning lcore. RFC 792, RFC 4443, RFC 1122 (4.1.3.3).
 */
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <string.h>

#include "dataplane/udp/internal.h"

#define ICMP_HEADER_BYTES 8u
#define SECOND_NS UINT64_C(1000000000)

enum icmp_meaning {
	ICMP_NOTHING,     /* may pass */
	ICMP_UNREACHABLE, /* nobody is there */
	ICMP_MTU,
};

static bool
within_rate(struct qp_udp *u)
{
	uint64_t second = *u->env.now_ns / SECOND_NS;

	if (second != u->icmp_second) {
		u->icmp_second = second;
		u->icmp_now = 0;
	}
	return u->icmp_now++ < u->cfg.icmp_limit;
}

void
qp_udp_unreachable(struct qp_udp_flow *f)
{
	const bool v4 = qp_ipaddr_is_v4(&f->flow.local);
	struct qp_udp *u = f->udp;
	struct rte_mbuf *m;
	uint8_t *icmp;

	/* The destination of a local forward has not asked for anything. */
	if (f->quote_len == 0 || f->local != NULL)
		return;
	if (!within_rate(u)) {
		QP_UDP_COUNT(u, icmp_limited);
		return;
	}
	m = rte_pktmbuf_alloc(u->env.pool);
	if (m == NULL) {
		QP_UDP_COUNT(u, drop_no_memory);
		return;
	}
	icmp = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(ICMP_HEADER_BYTES + f->quote_len));
	memset(icmp, 0, ICMP_HEADER_BYTES);
	icmp[0] = v4 ? 3 : 1; /* destination unreachable: */
	icmp[1] = v4 ? 3 : 4; /* … port */
	memcpy(icmp + ICMP_HEADER_BYTES, f->quote, f->quote_len);
	qp_ip_encap(m, &f->flow, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, 0, u->env.own_mac);
	QP_UDP_COUNT(u, icmp_sent);
	u->env.transmit(u->env.transmit_ctx, m);
}

static uint32_t
get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return ntohl(v);
}

static enum icmp_meaning
meaning_v4(const uint8_t *icmp)
{
	/* Protocol or port. "Fragmentation needed" cannot be meant: our datagrams may be fragmented. */
	if (icmp[0] == 3 && (icmp[1] == 2 || icmp[1] == 3))
		return ICMP_UNREACHABLE;
	return ICMP_NOTHING;
}

static enum icmp_meaning
meaning_v6(const uint8_t *icmp, uint32_t *mtu)
{
	if (icmp[0] == 1 && icmp[1] == 4)
		return ICMP_UNREACHABLE;
	if (icmp[0] != 2)
		return ICMP_NOTHING;
	*mtu = RTE_MAX(get32(icmp + 4), QP_UDP_V6_MIN_MTU);
	return ICMP_MTU;
}

/* The UDP header in what an ICMPv4 error quotes, which we have sent; NULL: none. */
static const uint8_t *
quoted_v4(const uint8_t *icmp, uint32_t len, struct qp_flow *flow)
{
	const uint8_t *ip = icmp + ICMP_HEADER_BYTES;
	uint32_t hlen, local, remote;

	if (len < ICMP_HEADER_BYTES + 20 || ip[0] >> 4 != 4 || ip[9] != IPPROTO_UDP)
		return NULL;
	hlen = (ip[0] & 15) * 4u;
	if (hlen < 20 || len < ICMP_HEADER_BYTES + hlen + 8 || ((ip[6] & 0x1f) | ip[7]) != 0)
		return NULL;
	memcpy(&local, ip + 12, 4);
	memcpy(&remote, ip + 16, 4);
	flow->local = qp_ipaddr_v4(local);
	flow->remote = qp_ipaddr_v4(remote);
	return ip + hlen;
}

static const uint8_t *
quoted_v6(const uint8_t *icmp, uint32_t len, struct qp_flow *flow)
{
	const uint8_t *ip = icmp + ICMP_HEADER_BYTES, *udp = ip + 40;

	if (len < ICMP_HEADER_BYTES + 40 + 8 || ip[0] >> 4 != 6)
		return NULL;
	/* The first of our own fragments. */
	if (ip[6] == IPPROTO_FRAGMENT && udp[0] == IPPROTO_UDP && (udp[2] | (udp[3] & 0xf8)) == 0 &&
		len >= ICMP_HEADER_BYTES + 40 + 8 + 8)
		udp += 8;
	else if (ip[6] != IPPROTO_UDP)
		return NULL;
	memcpy(&flow->local, ip + 8, 16);
	memcpy(&flow->remote, ip + 24, 16);
	return udp;
}

static void
apply(struct qp_udp *u, const struct qp_flow *flow, enum icmp_meaning meaning, uint32_t mtu)
{
	struct qp_udp_flow *f = qp_udp_flow_find(u, flow);

	if (f == NULL || meaning == ICMP_NOTHING) {
		QP_UDP_COUNT(u, icmp_ignored);
		return;
	}
	if (meaning == ICMP_UNREACHABLE) {
		QP_UDP_COUNT(u, flows_unreachable);
		if (f->local != NULL)
			qp_local_flow_refused(f->tunnel, f->local);
		qp_udp_flow_abort(f, QP_STREAM_REFUSED);
		return;
	}
	QP_UDP_COUNT(u, icmp_mtu_taken);
	f->path_mtu = f->path_mtu != 0 ? RTE_MIN(f->path_mtu, mtu) : mtu;
}

bool
qp_udp_icmp_input(struct qp_udp *u, struct rte_mbuf *m, const struct qp_packet *pkt)
{
	uint8_t copy[ICMP_HEADER_BYTES + 60 + 8];
	uint32_t len = RTE_MIN(pkt->l4_len, (uint32_t)sizeof(copy)), mtu = 0;
	const uint8_t *icmp = rte_pktmbuf_read(m, pkt->l4_off, len, copy), *udp;
	const bool v4 = pkt->proto == IPPROTO_ICMP;
	struct qp_flow flow = {0};
	enum icmp_meaning meaning;

	if (icmp == NULL)
		return false;
	udp = v4 ? quoted_v4(icmp, len, &flow) : quoted_v6(icmp, len, &flow);
	if (udp == NULL)
		return false;
	memcpy(&flow.lport_be, udp, 2);
	memcpy(&flow.rport_be, udp + 2, 2);
	meaning = v4 ? meaning_v4(icmp) : meaning_v6(icmp, &mtu);
	apply(u, &flow, meaning, mtu);
	rte_pktmbuf_free(m);
	return true;
}
