/* SPDX-License-Identifier: Apache-2.0 */
/* Engines that only pass frames on. The worker's lcore. */
#include "dataplane/nic/bare.h"

#include <rte_ether.h>
#include <rte_mbuf.h>
#include <string.h>

#include "dataplane/nic/nic_internal.h"

static unsigned
pair_of(const struct qp_nic *nic, unsigned port)
{
	return (port ^ 1u) < nic->nports ? port ^ 1u : port;
}

static void
address(const struct qp_nic_worker_port *w, unsigned to, struct rte_mbuf *m)
{
	struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, struct rte_ether_hdr *);
	const struct rte_ether_addr was = eth->src_addr;

	if (w->engine == QP_NIC_ENGINE_MACSWAP) {
		eth->src_addr = eth->dst_addr;
		eth->dst_addr = was;
	} else if (w->engine == QP_NIC_ENGINE_MAC) {
		memcpy(&eth->src_addr, w->cfg.nic->port[to].mac, sizeof(eth->src_addr));
		eth->dst_addr = (struct rte_ether_addr) {{2, 0, 0, 0, 0, (uint8_t)to}};
	}
}

void
qp_nic_bare(struct qp_nic_worker_port *w, unsigned port, struct rte_mbuf **frames, uint16_t n)
{
	const unsigned to = pair_of(w->cfg.nic, port);
	uint16_t sent;

	if (w->engine == QP_NIC_ENGINE_RXONLY) {
		rte_pktmbuf_free_bulk(frames, n);
		return;
	}
	for (uint16_t i = 0; i < n; i++) {
		/* What the port said of it as received says nothing of how it is to be sent. */
		frames[i]->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
		address(w, to, frames[i]);
	}
	sent = qp_port_tx(w->tx[to].port, frames, n);
	rte_pktmbuf_free_bulk(frames + sent, n - sent);
	w->port.counters.tx_dropped += n - sent;
}
