/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ARP (RFC 826) and neighbour discovery (RFC 4861) for a load generator: answers
 * for all addresses of its network, and knows one neighbour, the next hop.
 */
#include <netinet/icmp6.h>
#include <netinet/ip6.h>
#include <rte_arp.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <string.h>

#include "bench/worker.h"

#define ND_OPTION_BYTES 8u

/* A neighbour solicitation or advertisement with one link-layer option, as it is on the wire. */
struct nd_packet {
	struct rte_ether_hdr eth;
	struct rte_ipv6_hdr ip;
	uint8_t type, code;
	uint16_t cksum;
	uint32_t flags;
	uint8_t target[16];
	uint8_t option, option_len;
	uint8_t mac[6];
} __attribute__((packed, aligned(2)));

struct arp_packet {
	struct rte_ether_hdr eth;
	struct rte_arp_hdr arp;
} __attribute__((packed, aligned(2)));

static bool
is_ours(const struct qpb_port *p, const struct qp_ipaddr *a)
{
	/* The gateway asks for its own address, whether another has it: not us. */
	if (qp_ipaddr_equal(a, &p->hop))
		return false;
	return qp_ipaddr_equal(a, &p->addr) || qpb_in_prefix(a, &p->net, p->net_prefix);
}

/* Several workers may hear an answer; one writes it down. */
static void
learn(struct qpb_port *p, const uint8_t mac[6])
{
	if (atomic_load_explicit(&p->hop_known, memory_order_relaxed) ||
		atomic_exchange_explicit(&p->hop_busy, true, memory_order_acquire))
		return;
	memcpy(p->hop_mac, mac, 6);
	atomic_store_explicit(&p->hop_known, true, memory_order_release);
}

static void *
packet(struct qpb_path *path, uint16_t len, uint16_t ether_type, struct rte_mbuf **m)
{
	struct rte_ether_hdr *eth;

	*m = rte_pktmbuf_alloc(path->w->pool);
	if (*m == NULL)
		return NULL;
	(*m)->data_len = len; /* pools' mbufs have room for much more */
	(*m)->pkt_len = len;
	eth = rte_pktmbuf_mtod(*m, struct rte_ether_hdr *);
	memset(eth, 0, len);
	memcpy(eth->src_addr.addr_bytes, path->port->nic.mac, 6);
	eth->ether_type = htons(ether_type);
	return eth;
}

static void
arp_send(struct qpb_path *path, uint16_t op, const uint8_t to[6], uint32_t from_be, uint32_t to_be)
{
	static const uint8_t zero[6];
	struct rte_mbuf *m;
	struct arp_packet *a = packet(path, sizeof(*a), RTE_ETHER_TYPE_ARP, &m);

	if (a == NULL)
		return;
	if (memcmp(to, zero, 6) == 0)
		memset(a->eth.dst_addr.addr_bytes, 0xff, 6);
	else
		memcpy(a->eth.dst_addr.addr_bytes, to, 6);
	a->arp.arp_hardware = htons(RTE_ARP_HRD_ETHER);
	a->arp.arp_protocol = htons(RTE_ETHER_TYPE_IPV4);
	a->arp.arp_hlen = 6;
	a->arp.arp_plen = 4;
	a->arp.arp_opcode = htons(op);
	memcpy(a->arp.arp_data.arp_sha.addr_bytes, path->port->nic.mac, 6);
	a->arp.arp_data.arp_sip = from_be;
	memcpy(a->arp.arp_data.arp_tha.addr_bytes, to, 6);
	a->arp.arp_data.arp_tip = to_be;
	qpb_path_transmit(path, m);
}

static void
arp_input(struct qpb_path *path, const struct rte_mbuf *m)
{
	const struct arp_packet *a = rte_pktmbuf_mtod(m, const struct arp_packet *);
	struct qp_ipaddr to, from;

	if (m->data_len < sizeof(*a) || a->arp.arp_protocol != htons(RTE_ETHER_TYPE_IPV4))
		return;
	to = qp_ipaddr_v4(a->arp.arp_data.arp_tip);
	from = qp_ipaddr_v4(a->arp.arp_data.arp_sip);
	if (qp_ipaddr_equal(&from, &path->port->hop))
		learn(path->port, a->arp.arp_data.arp_sha.addr_bytes);
	if (a->arp.arp_opcode == htons(RTE_ARP_OP_REQUEST) && is_ours(path->port, &to))
		arp_send(path, RTE_ARP_OP_REPLY, a->arp.arp_data.arp_sha.addr_bytes,
			a->arp.arp_data.arp_tip, a->arp.arp_data.arp_sip);
}

static void
nd_send(struct qpb_path *path, uint8_t type, const uint8_t mac[6], const uint8_t from[16],
	const uint8_t to[16], const uint8_t target[16])
{
	struct rte_mbuf *m;
	struct nd_packet *n = packet(path, sizeof(*n), RTE_ETHER_TYPE_IPV6, &m);

	if (n == NULL)
		return;
	memcpy(n->eth.dst_addr.addr_bytes, mac, 6);
	n->ip.vtc_flow = htonl(6u << 28);
	n->ip.payload_len = htons(sizeof(*n) - offsetof(struct nd_packet, type));
	n->ip.proto = IPPROTO_ICMPV6;
	n->ip.hop_limits = 255;
	memcpy(n->ip.src_addr, from, 16);
	memcpy(n->ip.dst_addr, to, 16);
	n->type = type;
	/* Solicited and override. */
	n->flags = type == ND_NEIGHBOR_ADVERT ? htonl(0x60000000) : 0;
	memcpy(n->target, target, 16);
	n->option = type == ND_NEIGHBOR_ADVERT ? ND_OPT_TARGET_LINKADDR : ND_OPT_SOURCE_LINKADDR;
	n->option_len = 1;
	memcpy(n->mac, path->port->nic.mac, 6);
	n->cksum = rte_ipv6_udptcp_cksum(&n->ip, &n->type);
	qpb_path_transmit(path, m);
}

static bool
nd_input(struct qpb_path *path, const struct rte_mbuf *m)
{
	const struct nd_packet *n = rte_pktmbuf_mtod(m, const struct nd_packet *);
	struct qp_ipaddr target;

	if (m->data_len < offsetof(struct nd_packet, option) || n->ip.proto != IPPROTO_ICMPV6 ||
		n->ip.hop_limits != 255)
		return false;
	memcpy(&target, n->target, sizeof(target));
	if (n->type == ND_NEIGHBOR_SOLICIT) {
		if (is_ours(path->port, &target))
			nd_send(path, ND_NEIGHBOR_ADVERT, n->eth.src_addr.addr_bytes, n->target,
				n->ip.src_addr, n->target);
		return true;
	}
	if (n->type != ND_NEIGHBOR_ADVERT)
		return false;
	if (qp_ipaddr_equal(&target, &path->port->hop))
		learn(path->port, m->data_len >= sizeof(*n) && n->option == ND_OPT_TARGET_LINKADDR
					  ? n->mac
					  : n->eth.src_addr.addr_bytes);
	return true;
}

bool
qpb_l2_input(struct qpb_path *path, struct rte_mbuf *m)
{
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);

	if (m->data_len < sizeof(*eth))
		return false; /* the parser says so */
	if (eth->ether_type == htons(RTE_ETHER_TYPE_ARP))
		arp_input(path, m);
	else if (eth->ether_type != htons(RTE_ETHER_TYPE_IPV6) || !nd_input(path, m))
		return false;
	rte_pktmbuf_free(m);
	return true;
}

void
qpb_l2_ask(struct qpb_path *path)
{
	static const uint8_t zero[6];
	const struct qpb_port *p = path->port;
	uint8_t group[16] = {0xff, 0x02, [11] = 1, [12] = 0xff}, mac[6] = {0x33, 0x33, 0xff};

	if (qp_ipaddr_is_v4(&p->hop)) {
		arp_send(path, RTE_ARP_OP_REQUEST, zero, p->addr.w[3], p->hop.w[3]);
		return;
	}
	memcpy(group + 13, p->hop.b + 13, 3);
	memcpy(mac + 3, p->hop.b + 13, 3);
	nd_send(path, ND_NEIGHBOR_SOLICIT, mac, p->addr.b, group, p->hop.b);
}
