/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way out: what the worker sends is noted as a conversation that it speaks in, gets
 * its next hop from the host's part, and waits for its port's queue in bursts. The
 * worker's lcore.
 */
#include <netinet/in.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_tcp.h>
#include <string.h>

#include "dataplane/nic/nic_internal.h"

/* A TCP frame of qp_ip_encap's. */
static bool
is_tcp(const struct rte_mbuf *m)
{
	return (m->ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0 ||
	       (m->ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_TCP_CKSUM;
}

static void
learn(struct qp_nic_worker_port *w, const struct rte_mbuf *m)
{
	const uint8_t *ip = rte_pktmbuf_mtod_offset(m, const uint8_t *, m->l2_len);
	const struct rte_tcp_hdr *tcp =
		rte_pktmbuf_mtod_offset(m, const struct rte_tcp_hdr *, m->l2_len + m->l3_len);
	struct qp_steer_flow f = {.proto = IPPROTO_TCP, .lport_be = tcp->src_port,
		.rport_be = tcp->dst_port};

	/* The remote end and our port are what a conversation is known by. */
	if ((m->ol_flags & RTE_MBUF_F_TX_IPV4) != 0)
		f.remote = qp_ipaddr_v4(((const struct rte_ipv4_hdr *)(const void *)ip)->dst_addr);
	else
		memcpy(&f.remote, ((const struct rte_ipv6_hdr *)(const void *)ip)->dst_addr,
			sizeof(f.remote));
	qp_strangers_learn(w->strangers, &f, tcp->tcp_flags);
}

static void
flush(struct qp_nic_worker_port *w, struct qp_nic_tx *tx)
{
	uint16_t done;

	/* Who polls none of the port's queues has no other call that sends the rest. */
	if (tx->n == 0 && tx->port->waiting == 0)
		return;
	if ((w->ports_off >> (tx - w->tx) & 1) != 0) {
		rte_pktmbuf_free_bulk(tx->frame, tx->n);
		w->port.counters.tx_dropped += tx->n;
		tx->n = 0;
		return;
	}
	done = qp_port_tx(tx->port, tx->frame, tx->n);
	tx->n = (uint16_t)(tx->n - done);
	memmove(tx->frame, tx->frame + done, tx->n * sizeof(tx->frame[0]));
	w->port.counters.tx_frames += done;
}

bool
qp_nic_tx_flush(struct qp_nic_worker_port *w)
{
	bool empty = true;

	for (uint32_t i = 0; i < w->cfg.nic->nports; i++) {
		flush(w, &w->tx[i]);
		empty = empty && w->tx[i].n == 0 && w->tx[i].port->waiting == 0;
	}
	return empty;
}

void
qp_nic_transmit(void *ctx, unsigned port, struct rte_mbuf *frame)
{
	struct qp_nic_worker_port *w = ctx;
	struct qp_nic_tx *tx = &w->tx[port];

	if (tx->n == QP_NIC_TX_ROOM)
		flush(w, tx);
	if (tx->n == QP_NIC_TX_ROOM) {
		rte_pktmbuf_free(frame);
		w->port.counters.tx_dropped++;
		return;
	}
	w->port.counters.tx_bytes += frame->pkt_len;
	tx->frame[tx->n++] = frame;
}

/* Whether a frame more finds room, whichever port it leaves by. */
static bool
has_room(const struct qp_nic_worker_port *w)
{
	for (uint32_t i = 0; i < w->cfg.nic->nports; i++)
		if (w->tx[i].n >= QP_NIC_TX_ROOM / 2)
			return false;
	return true;
}

uint16_t
qp_nic_tx(struct qp_port *p, struct rte_mbuf **frames, uint16_t n)
{
	struct qp_nic_worker_port *w = (struct qp_nic_worker_port *)p;
	uint16_t done = 0;

	/* The half that is left is for the host's own packets and those that were held. */
	while (done < n && (has_room(w) || (qp_nic_tx_flush(w), has_room(w)))) {
		struct rte_mbuf *m = frames[done++];

		if (is_tcp(m))
			learn(w, m);
		qp_net_output(w->net, m);
	}
	(void)qp_nic_tx_flush(w);
	return done;
}
