/* SPDX-License-Identifier: Apache-2.0 */
/* ARP: RFC 826, and RFC 5227 for our own addresses. Runs on the lcore. */
#include <netinet/in.h>
#include <rte_arp.h>
#include <string.h>

#include "dataplane/net/internal.h"

#define ARP_BYTES ((uint16_t)sizeof(struct rte_arp_hdr))

static const uint8_t to_all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

struct arp {
	struct qp_ipaddr sender, target;
	uint8_t mac[6]; /* the sender's */
	bool reply;
};

/* All that does not change is filled in; padded to the shortest frame. */
static void
send_arp(struct qp_net *net, unsigned port, uint16_t op, const uint8_t dest[6], uint32_t sender_be,
	const uint8_t target_mac[6], uint32_t target_be)
{
	struct rte_mbuf *m = qp_net_frame(net, port, dest, RTE_BE16(RTE_ETHER_TYPE_ARP));
	struct rte_arp_hdr *arp;

	if (m == NULL)
		return;
	(void)rte_pktmbuf_append(m, QP_NET_FRAME_BYTES - QP_NET_ETHER_BYTES);
	arp = rte_pktmbuf_mtod_offset(m, struct rte_arp_hdr *, QP_NET_ETHER_BYTES);
	memset(arp, 0, QP_NET_FRAME_BYTES - QP_NET_ETHER_BYTES);
	arp->arp_hardware = RTE_BE16(RTE_ARP_HRD_ETHER);
	arp->arp_protocol = RTE_BE16(RTE_ETHER_TYPE_IPV4);
	arp->arp_hlen = RTE_ETHER_ADDR_LEN;
	arp->arp_plen = sizeof(sender_be);
	arp->arp_opcode = rte_cpu_to_be_16(op);
	memcpy(&arp->arp_data.arp_sha, net->port[port].mac, 6);
	arp->arp_data.arp_sip = sender_be;
	memcpy(&arp->arp_data.arp_tha, target_mac, 6);
	arp->arp_data.arp_tip = target_be;
	QP_NET_COUNT(net, arp_out);
	qp_net_send(net, port, m);
}

void
qp_arp_ask(struct qp_net *net, const struct qp_net_neigh *n, const uint8_t *mac)
{
	static const uint8_t unknown[6];
	const struct qp_net_own *own = qp_net_own_for(net, n->port, &n->addr);

	if (own != NULL)
		send_arp(net, n->port, RTE_ARP_OP_REQUEST, mac != NULL ? mac : to_all, own->addr.w[3],
			unknown, n->addr.w[3]);
}

void
qp_arp_announce(struct qp_net *net, const struct qp_net_own *own, bool probe)
{
	static const uint8_t unknown[6];

	send_arp(net, own->port, RTE_ARP_OP_REQUEST, to_all, probe ? 0 : own->addr.w[3], unknown,
		own->addr.w[3]);
}

static bool
parse(const struct rte_mbuf *m, struct arp *out)
{
	const struct rte_arp_hdr *arp =
		rte_pktmbuf_mtod_offset(m, const struct rte_arp_hdr *, QP_NET_ETHER_BYTES);

	if (m->data_len < QP_NET_ETHER_BYTES + ARP_BYTES)
		return false;
	if (arp->arp_hardware != RTE_BE16(RTE_ARP_HRD_ETHER) ||
		arp->arp_protocol != RTE_BE16(RTE_ETHER_TYPE_IPV4) ||
		arp->arp_hlen != RTE_ETHER_ADDR_LEN || arp->arp_plen != 4)
		return false;
	if (arp->arp_opcode != RTE_BE16(RTE_ARP_OP_REQUEST) &&
		arp->arp_opcode != RTE_BE16(RTE_ARP_OP_REPLY))
		return false;
	if (!rte_is_valid_assigned_ether_addr(&arp->arp_data.arp_sha))
		return false;
	out->sender = qp_ipaddr_v4(arp->arp_data.arp_sip);
	out->target = qp_ipaddr_v4(arp->arp_data.arp_tip);
	memcpy(out->mac, &arp->arp_data.arp_sha, 6);
	out->reply = arp->arp_opcode == RTE_BE16(RTE_ARP_OP_REPLY);
	return true;
}

/* The sender's pair. A new entry only for one that wants something of us (RFC 826). */
static void
learn(struct qp_net *net, unsigned port, const struct arp *a, bool for_us, bool answer)
{
	struct qp_net_neigh *n = qp_neigh_find(net, port, &a->sender);

	if (n == NULL && for_us && !a->reply && qp_net_on_link(net, port, &a->sender))
		n = qp_neigh_get(net, port, &a->sender, &net->heard);
	if (n != NULL)
		qp_neigh_told(n, a->mac, answer, true);
}

static enum qp_net_copy
copy_kind(struct qp_net *net, unsigned port, const struct arp *a)
{
	const struct qp_net_neigh *n = qp_neigh_find(net, port, &a->sender);

	if (n != NULL && n->pinned)
		return QP_NET_COPY_ROUTER;
	return a->reply ? QP_NET_COPY_ANSWER : QP_NET_COPY_QUESTION;
}

/* `target`: the address of ours that it is about, or NULL. */
static void
take(struct qp_net *net, unsigned port, struct rte_mbuf *m, const struct arp *a,
	const struct qp_net_own *target, bool copy)
{
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	const bool answer = a->reply && target != NULL && !rte_is_multicast_ether_addr(&eth->dst_addr);

	if (qp_ipaddr_is_zero_v4(&a->sender)) /* a probe: nothing to learn (RFC 5227) */
		return;
	if (qp_net_martian(net, &a->sender)) {
		QP_NET_COUNT(net, drop_martian);
		return;
	}
	learn(net, port, a, target != NULL, answer);
	if (!copy)
		qp_net_replicate(net, port, m, copy_kind(net, port, a));
}

void
qp_arp_input(struct qp_net *net, unsigned port, struct rte_mbuf *m, bool copy)
{
	struct qp_net_own *target, *claimed;
	struct arp a;

	if (!parse(m, &a)) {
		qp_net_drop(m, &net->counters.drop_arp);
		return;
	}
	target = qp_net_own_here(net, port, &a.target);
	claimed = qp_net_own_here(net, port, &a.sender);
	if (claimed != NULL) {
		qp_net_own_conflict(net, claimed, a.mac, copy);
	} else if (target == NULL && !qp_ipaddr_equal(&a.sender, &a.target)) {
		qp_net_drop(m, &net->counters.drop_arp);
		return;
	} else {
		take(net, port, m, &a, target, copy);
	}
	if (!copy && target != NULL && !a.reply)
		send_arp(net, port, RTE_ARP_OP_REPLY, a.mac, target->addr.w[3], a.mac, a.sender.w[3]);
	rte_pktmbuf_free(m);
}
