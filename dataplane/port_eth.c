/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ethdev port: one queue pair of a device that the port owner configured
 * and started. Owned by one worker's lcore; it starts and stops nothing.
 */
/* rte_eth_dev_conf_get: experimental in DPDK 22.11, stable and the same since. */
#define ALLOW_EXPERIMENTAL_API
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/port.h"

/* Owner: one lcore. Life: qp_eth_port_open to close. Lock: none. */
struct eth_port {
	struct qp_port port;
	uint16_t port_id;
	uint16_t queue_id;
};

static uint16_t
eth_rx(struct qp_port *p, enum qp_cls_queue queue, struct rte_mbuf **frames, uint16_t n)
{
	struct eth_port *e = (struct eth_port *)p;
	uint16_t got = rte_eth_rx_burst(e->port_id, e->queue_id, frames, n);
	uint64_t bytes = 0;

	for (uint16_t i = 0; i < got; i++)
		bytes += frames[i]->pkt_len;
	p->counters.rx_frames += got;
	p->counters.rx_bytes += bytes;
	p->counters.polls++;
	p->counters.empty_polls += got == 0;
	return got;
}

static uint16_t
eth_tx(struct qp_port *p, struct rte_mbuf **frames, uint16_t n)
{
	struct eth_port *e = (struct eth_port *)p;
	uint16_t done = 0;

	while (done < n) {
		uint16_t left = (uint16_t)(n - done);
		uint16_t ready =
			rte_eth_tx_prepare(e->port_id, e->queue_id, frames + done, left);
		uint64_t bytes = 0;
		uint16_t sent;

		/* The driver frees what it sends: the sizes have to be read before. */
		for (uint16_t i = 0; i < ready; i++)
			bytes += frames[done + i]->pkt_len;
		sent = rte_eth_tx_burst(e->port_id, e->queue_id, frames + done, ready);
		for (uint16_t i = sent; i < ready; i++)
			bytes -= frames[done + i]->pkt_len;
		p->counters.tx_frames += sent;
		p->counters.tx_bytes += bytes;
		done = (uint16_t)(done + sent);
		if (sent < ready)
			break;
		/* tx_prepare stopped at a frame that this device can never send. */
		if (ready < left) {
			rte_pktmbuf_free(frames[done++]);
			p->counters.tx_dropped++;
		}
	}
	return done;
}

static void
eth_close(struct qp_port *p)
{
	free(p);
}

static const struct qp_port_ops eth_ops = {
	.rx = eth_rx,
	.tx = eth_tx,
	.close = eth_close,
};

static uint32_t
largest_frame(uint64_t tx_offloads, uint16_t mtu)
{
	const uint64_t gso = RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_UDP_TSO;

	return (tx_offloads & gso ? UINT16_MAX : mtu) + (uint32_t)RTE_ETHER_HDR_LEN;
}

int
qp_eth_port_open(uint16_t port_id, uint16_t queue_id, struct qp_port **out, struct qp_errmsg *msg)
{
	struct rte_eth_conf conf;
	struct rte_ether_addr mac;
	struct eth_port *e;
	uint16_t mtu;
	int rc = rte_eth_dev_conf_get(port_id, &conf);

	if (rc == 0)
		rc = rte_eth_macaddr_get(port_id, &mac);
	if (rc == 0)
		rc = rte_eth_dev_get_mtu(port_id, &mtu);
	if (rc != 0)
		return qp_fail(msg, qp_err_from_errno(-rc), "port %u cannot be used: %s", port_id,
			rte_strerror(-rc));
	e = calloc(1, sizeof(*e));
	if (e == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no memory for port %u", port_id);
	*e = (struct eth_port) {
		.port = {
			.ops = &eth_ops,
			.tx_offloads = conf.txmode.offloads,
			.max_frame_bytes = largest_frame(conf.txmode.offloads, mtu),
			.mtu = mtu,
			.wake_fd = {-1, -1, -1, -1},
		},
		.port_id = port_id,
		.queue_id = queue_id,
	};
	memcpy(e->port.mac, mac.addr_bytes, sizeof(e->port.mac));
	*out = &e->port;
	return 0;
}
