/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of our own, VLAN tags on all that leave, and copies for the other lcores. */
#include <string.h>

#include "dataplane/net/internal.h"

#define TAG_BYTES 4u

struct rte_mbuf *
qp_net_frame(struct qp_net *net, unsigned port, const uint8_t dest[6], uint16_t ether_type_be)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(net->env.pool);
	struct rte_ether_hdr *eth;

	if (m == NULL) {
		QP_NET_COUNT(net, drop_no_memory);
		return NULL;
	}
	(void)rte_pktmbuf_append(m, sizeof(*eth));
	eth = rte_pktmbuf_mtod(m, struct rte_ether_hdr *);
	memcpy(&eth->dst_addr, dest, 6);
	memcpy(&eth->src_addr, net->port[port].mac, 6);
	eth->ether_type = ether_type_be;
	m->l2_len = sizeof(*eth);
	return m;
}

/* The tag behind the addresses; false: no headroom. */
static bool
insert_tag(struct rte_mbuf *m, uint16_t vlan)
{
	uint8_t *p = (uint8_t *)rte_pktmbuf_prepend(m, TAG_BYTES);
	const uint16_t tag[] = {RTE_BE16(RTE_ETHER_TYPE_VLAN), rte_cpu_to_be_16(vlan)};

	if (p == NULL)
		return false;
	memmove(p, p + TAG_BYTES, 2 * RTE_ETHER_ADDR_LEN);
	memcpy(p + 2 * RTE_ETHER_ADDR_LEN, tag, sizeof(tag));
	m->l2_len += TAG_BYTES;
	return true;
}

void
qp_net_send(struct qp_net *net, unsigned port, struct rte_mbuf *m)
{
	const uint16_t vlan = net->link[port].vlan;

	if (vlan != 0 && net->port[port].insert_vlan) {
		m->vlan_tci = vlan;
		m->ol_flags |= RTE_MBUF_F_TX_VLAN;
	} else if (vlan != 0 && !insert_tag(m, vlan)) {
		qp_net_drop(m, &net->counters.drop_no_memory);
		return;
	}
	QP_NET_COUNT(net, out);
	net->env.transmit(net->env.transmit_ctx, port, m);
}

void
qp_net_replicate(struct qp_net *net, unsigned port, const struct rte_mbuf *m, enum qp_net_copy kind)
{
	if (net->env.replicate == NULL)
		return;
	if (!qp_net_take(net, &net->copies[kind])) {
		QP_NET_COUNT(net, replicate_limited);
		return;
	}
	QP_NET_COUNT(net, replicated);
	net->env.replicate(net->env.replicate_ctx, port, m);
}
