/* SPDX-License-Identifier: Apache-2.0 */
/* Neighbour discovery's messages of ours (RFC 4861, 4). Runs on the lcore. */
#include <netinet/in.h>
#include <rte_ip.h>
#include <string.h>

#include "dataplane/cksum.h"
#include "dataplane/net/internal.h"

#define HOP_LIMIT   255u
#define MLD_HOPS    1u
#define TYPE_RS     133u
#define TYPE_NS     135u
#define TYPE_NA     136u
#define OPT_SOURCE  1u
#define OPT_TARGET  2u
#define NA_SOLICITED 0x40u
#define NA_OVERRIDE  0x20u
#define ALERT_BYTES 8u

static const struct qp_ipaddr all_nodes = {.b = {0xff, 2, [15] = 1}};
static const struct qp_ipaddr all_routers = {.b = {0xff, 2, [15] = 2}};
static const struct qp_ipaddr unspecified;

struct qp_ipaddr
qp_ndp_solicited_node(const struct qp_ipaddr *addr)
{
	return (struct qp_ipaddr) {
		.b = {0xff, 2, [11] = 1, 0xff, addr->b[13], addr->b[14], addr->b[15]}};
}

/* Behind the addresses: hop-by-hop options with a router alert for MLD (RFC 2711). */
static void
put_alert(uint8_t *p)
{
	static const uint8_t alert[ALERT_BYTES] = {IPPROTO_ICMPV6, 0, 5, 2, 0, 0, 1, 0};

	memcpy(p, alert, sizeof(alert));
}

static void
put_header(uint8_t *p, const struct qp_flow *flow, uint16_t payload, bool alert)
{
	struct rte_ipv6_hdr *ip = (void *)p;

	ip->vtc_flow = RTE_BE32(UINT32_C(6) << 28);
	ip->payload_len = rte_cpu_to_be_16(payload);
	ip->proto = alert ? IPPROTO_HOPOPTS : IPPROTO_ICMPV6;
	ip->hop_limits = alert ? MLD_HOPS : HOP_LIMIT;
	memcpy(ip->src_addr, &flow->local, 16);
	memcpy(ip->dst_addr, &flow->remote, 16);
	if (alert)
		put_alert(p + sizeof(*ip));
}

static void
put_message(uint8_t *p, const struct qp_flow *flow, const void *icmp, uint16_t len)
{
	uint16_t sum;

	memcpy(p, icmp, len);
	sum = (uint16_t)~qp_cksum_fold(
		qp_cksum_bytes(p, len) + qp_cksum_pseudo(flow, IPPROTO_ICMPV6, len));
	memcpy(p + 2, &sum, sizeof(sum));
}

void
qp_ndp_send(struct qp_net *net, unsigned port, const struct qp_ipaddr *from, const struct qp_ipaddr *to,
	const uint8_t *mac, const void *icmp, uint16_t len, bool router_alert)
{
	const uint8_t group[6] = {0x33, 0x33, to->b[12], to->b[13], to->b[14], to->b[15]};
	const uint16_t payload = (uint16_t)(len + (router_alert ? ALERT_BYTES : 0));
	const struct qp_flow flow = {.local = *from, .remote = *to};
	struct rte_mbuf *m = qp_net_frame(
		net, port, mac != NULL ? mac : group, RTE_BE16(RTE_ETHER_TYPE_IPV6));
	uint8_t *p;

	if (m == NULL)
		return;
	(void)rte_pktmbuf_append(m, (uint16_t)(sizeof(struct rte_ipv6_hdr) + payload));
	p = rte_pktmbuf_mtod_offset(m, uint8_t *, QP_NET_ETHER_BYTES);
	put_header(p, &flow, payload, router_alert);
	put_message(p + sizeof(struct rte_ipv6_hdr) + payload - len, &flow, icmp, len);
	m->l3_len = sizeof(struct rte_ipv6_hdr);
	qp_net_send(net, port, m);
}

/* NS and NA: `kind` has type and flags; `opt`: as which option our MAC address is told, 0: not. */
static void
send_neighbour(struct qp_net *net, unsigned port, const struct qp_ipaddr *from, const struct qp_ipaddr *to,
	const uint8_t *mac, const uint8_t kind[5], const struct qp_ipaddr *target, uint8_t opt)
{
	uint8_t icmp[32] = {kind[0], 0, 0, 0, kind[4]};

	memcpy(icmp + 8, target, 16);
	icmp[24] = opt;
	icmp[25] = 1;
	memcpy(icmp + 26, net->port[port].mac, 6);
	QP_NET_COUNT(net, nd_out);
	qp_ndp_send(net, port, from, to, mac, icmp, opt != 0 ? 32 : 24, false);
}

void
qp_ndp_ask(struct qp_net *net, const struct qp_net_neigh *n, const uint8_t *mac)
{
	static const uint8_t kind[5] = {TYPE_NS};
	const struct qp_ipaddr group = qp_ndp_solicited_node(&n->addr);
	const struct qp_net_own *own = qp_net_own_for(net, n->port, &n->addr);

	if (own != NULL)
		send_neighbour(net, n->port, &own->addr, mac != NULL ? &n->addr : &group, mac, kind,
			&n->addr, OPT_SOURCE);
}

void
qp_ndp_probe(struct qp_net *net, const struct qp_net_own *own)
{
	static const uint8_t kind[5] = {TYPE_NS};
	const struct qp_ipaddr group = qp_ndp_solicited_node(&own->addr);

	send_neighbour(net, own->port, &unspecified, &group, NULL, kind, &own->addr, 0);
}

void
qp_ndp_advertise(struct qp_net *net, const struct qp_net_own *own, const struct qp_ipaddr *to,
	const uint8_t *mac)
{
	const uint8_t kind[5] = {TYPE_NA, [4] = NA_OVERRIDE | (to != NULL ? NA_SOLICITED : 0)};

	send_neighbour(net, own->port, &own->addr, to != NULL ? to : &all_nodes, mac, kind, &own->addr,
		OPT_TARGET);
}

void
qp_ndp_ask_routers(struct qp_net *net, unsigned port)
{
	const struct qp_ipaddr link = {.b = {0xfe, 0x80}};
	const struct qp_net_own *own = qp_net_own_for(net, port, &link);
	uint8_t icmp[16] = {TYPE_RS, [8] = OPT_SOURCE, 1};

	memcpy(icmp + 10, net->port[port].mac, 6);
	qp_ndp_send(net, port, own != NULL ? &own->addr : &unspecified, &all_routers, NULL, icmp,
		own != NULL ? 16 : 8, false);
}
