/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP and ICMPv6 errors about segments of ours: path MTU (RFC 1191, 8201),
 * unreachable peers (RFC 1122, 4.2.3.9), believed only as far as RFC 5927
 * advises: the quoted sequence number must be in flight, and an established
 * connection is never ended by one. Thread: the owning lcore. What a claimed
 * MTU is worth is left to pmtu.c.
 */
#include <string.h>

#include <rte_ip.h>

#include "dataplane/tcp/internal.h"

#define V4_MIN_PMTU 552u  /* less is an attack rather than a link */
#define V6_MIN_PMTU 1280u

enum icmp_kind {
	ICMP_SOFT, /* may pass */
	ICMP_HARD, /* nobody will ever answer there */
	ICMP_MTU,
};

struct icmp_error {
	enum icmp_kind kind;
	uint32_t mtu;
	struct qp_flow flow;
	uint32_t seq;
};

static uint32_t
get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return rte_be_to_cpu_32(v);
}

/* RFC 1191, 7: for routers that do not say their MTU, the next lower one that is common. */
static uint32_t
plateau(uint32_t packet_bytes)
{
	static const uint16_t common[] = {32000, 17914, 8166, 4352, 2002, 1492, 1006, V4_MIN_PMTU};

	for (size_t i = 0; i < sizeof(common) / sizeof(common[0]); i++) {
		if (common[i] < packet_bytes)
			return common[i];
	}
	return V4_MIN_PMTU;
}

static bool
classify_v4(const uint8_t *icmp, uint32_t quoted_bytes, struct icmp_error *e)
{
	enum { UNREACHABLE = 3, TIME_EXCEEDED = 11, PARAMETER = 12 };

	if (icmp[0] == TIME_EXCEEDED || icmp[0] == PARAMETER)
		return true;
	if (icmp[0] != UNREACHABLE)
		return false;
	switch (icmp[1]) {
	case 2:  /* protocol */
	case 3:  /* port */
	case 9:  /* network, administratively */
	case 10: /* host, administratively */
	case 13: /* communication, administratively */
		e->kind = ICMP_HARD;
		break;
	case 4: /* fragmentation needed */
		e->kind = ICMP_MTU;
		e->mtu = get32(icmp + 4) & 0xffff;
		if (e->mtu == 0)
			e->mtu = plateau(quoted_bytes);
		e->mtu = qp_max(e->mtu, V4_MIN_PMTU);
		break;
	}
	return true;
}

static bool
classify_v6(const uint8_t *icmp, struct icmp_error *e)
{
	enum { UNREACHABLE = 1, TOO_BIG = 2, TIME_EXCEEDED = 3, PARAMETER = 4 };

	switch (icmp[0]) {
	case UNREACHABLE:
		if (icmp[1] == 1 || icmp[1] == 4) /* prohibited, port */
			e->kind = ICMP_HARD;
		return true;
	case TOO_BIG:
		e->kind = ICMP_MTU;
		e->mtu = qp_max(get32(icmp + 4), V6_MIN_PMTU);
		return true;
	case TIME_EXCEEDED:
	case PARAMETER:
		return true;
	default:
		return false;
	}
}

/* `icmp`: header and what it quotes, `len` bytes in all. */
static bool
parse_v4(const uint8_t *icmp, uint32_t len, struct icmp_error *e)
{
	const uint8_t *ip = icmp + 8, *tcp;
	uint32_t hlen, local, remote;

	if (len < 8 + 20 || ip[0] >> 4 != 4 || ip[9] != IPPROTO_TCP)
		return false;
	hlen = (ip[0] & 15) * 4;
	if (hlen < 20 || len < 8 + hlen + 8 || ((ip[6] & 0x1f) | ip[7]) != 0)
		return false;
	if (!classify_v4(icmp, (uint32_t)ip[2] << 8 | ip[3], e))
		return false;
	tcp = ip + hlen;
	memcpy(&local, ip + 12, 4);
	memcpy(&remote, ip + 16, 4);
	e->flow.local = qp_ipaddr_v4(local);
	e->flow.remote = qp_ipaddr_v4(remote);
	memcpy(&e->flow.lport_be, tcp, 2);
	memcpy(&e->flow.rport_be, tcp + 2, 2);
	e->seq = get32(tcp + 4);
	return true;
}

static bool
parse_v6(const uint8_t *icmp, uint32_t len, struct icmp_error *e)
{
	const uint8_t *ip = icmp + 8, *tcp = ip + 40;

	/* We send no extension headers, so none can be quoted. */
	if (len < 8 + 40 + 8 || ip[0] >> 4 != 6 || ip[6] != IPPROTO_TCP)
		return false;
	if (!classify_v6(icmp, e))
		return false;
	memcpy(&e->flow.local, ip + 8, 16);
	memcpy(&e->flow.remote, ip + 24, 16);
	memcpy(&e->flow.lport_be, tcp, 2);
	memcpy(&e->flow.rport_be, tcp + 2, 2);
	e->seq = get32(tcp + 4);
	return true;
}

static void
apply(struct qp_tcp_conn *c, const struct icmp_error *e)
{
	if (!seq_leq(c->snd_una, e->seq) || !seq_lt(e->seq, c->snd_nxt)) {
		QP_TCP_COUNT(c->tcp, icmp_ignored);
		return;
	}
	if (e->kind == ICMP_MTU)
		qp_tcp_pmtu_claim(c, e->mtu, e->seq);
	else if (e->kind == ICMP_HARD && c->tcb.state == QP_TCP_SYN_SENT)
		qp_tcp_conn_end(c, QP_TCP_END_UNREACHABLE);
}

void
qp_tcp_icmp_input(struct qp_tcp *tcp, struct rte_mbuf *m, const struct qp_packet *pkt)
{
	struct icmp_error e = {.kind = ICMP_SOFT};
	uint8_t copy[8 + 60 + 8];
	uint32_t len = qp_min(pkt->l4_len, (uint32_t)sizeof(copy));
	const uint8_t *icmp = rte_pktmbuf_read(m, pkt->l4_off, len, copy);
	bool v4 = pkt->proto == IPPROTO_ICMP;
	struct qp_tcp_tcb *tcb;

	if (icmp != NULL && (v4 ? parse_v4(icmp, len, &e) : parse_v6(icmp, len, &e))) {
		tcb = qp_tcp_lookup(tcp, &e.flow);
		if (tcb != NULL && tcb->state != QP_TCP_TIME_WAIT)
			apply((struct qp_tcp_conn *)tcb, &e);
		else
			QP_TCP_COUNT(tcp, icmp_ignored);
	} else {
		QP_TCP_COUNT(tcp, icmp_ignored);
	}
	rte_pktmbuf_free(m);
}
