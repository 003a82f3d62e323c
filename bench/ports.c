/* SPDX-License-Identifier: Apache-2.0 */
/* Ports and pools of ports.h. */
#include "bench/ports.h"

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdio.h>
#include <string.h>

#define DESCRIPTORS 1024u
#define POOL_CACHE  256u
#define ROOM_MIN    2048u
#define HEADERS     64u /* Ethernet, VLAN and what IPv6 and UDP need in front of QUIC */
#define CKSUMS      (RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM)

static void
pool_name(char out[RTE_MEMPOOL_NAMESIZE], unsigned worker, bool indirect)
{
	snprintf(out, RTE_MEMPOOL_NAMESIZE, "qpb_%s_%u", indirect ? "clone" : "mbuf", worker);
}

struct rte_mempool *
qpb_pool(const struct qpb *b, unsigned worker, bool indirect)
{
	char name[RTE_MEMPOOL_NAMESIZE];

	pool_name(name, worker, indirect);
	return rte_mempool_lookup(name);
}

int
qpb_pools_new(struct qpb *b, const unsigned *lcores, struct qp_errmsg *msg)
{
	uint32_t room = RTE_MAX(ROOM_MIN, b->cfg.mtu + HEADERS) + RTE_PKTMBUF_HEADROOM;
	char name[RTE_MEMPOOL_NAMESIZE];

	for (unsigned i = 0; i < 2 * b->nworkers; i++) {
		bool indirect = i % 2;

		pool_name(name, i / 2, indirect);
		if (rte_pktmbuf_pool_create(name, b->cfg.mbufs, POOL_CACHE, 0,
			    (uint16_t)(indirect ? 0 : room),
			    (int)rte_lcore_to_socket_id(lcores[i / 2])) == NULL)
			return qp_fail(msg, QP_E_NOMEM,
				"no memory for %u packet buffers a worker (%s): reserve more huge "
				"pages or ask for fewer with --mbufs", b->cfg.mbufs,
				rte_strerror(rte_errno));
	}
	return 0;
}

static int
configure(struct qpb *b, struct qpb_port *p, const struct rte_eth_dev_info *info,
	struct qp_errmsg *msg)
{
	struct rte_eth_conf conf = {0};
	const uint16_t n = (uint16_t)b->nworkers;
	int rc;

	p->tx_cksum = (info->tx_offload_capa & CKSUMS) == CKSUMS;
	conf.txmode.offloads = (p->tx_cksum ? CKSUMS : 0) |
		(info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
	conf.rxmode.offloads = info->rx_offload_capa & RTE_ETH_RX_OFFLOAD_CHECKSUM;
	conf.rxmode.mtu = b->cfg.mtu;
	if (n > 1 && info->flow_type_rss_offloads != 0) {
		/* By destination address alone would do; what arrives elsewhere is handed over. */
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf = info->flow_type_rss_offloads & RTE_ETH_RSS_IP;
	}
	if (n > info->max_rx_queues || n > info->max_tx_queues)
		return qp_fail(msg, QP_E_UNSUPPORTED,
			"port %u (%s) has %u receive and %u transmit queues: give at most so many "
			"worker lcores", p->port_id, info->driver_name, info->max_rx_queues,
			info->max_tx_queues);
	rc = rte_eth_dev_configure(p->port_id, n, n, &conf);
	return rc == 0 ? 0 : qp_fail(msg, qp_err_from_errno(-rc), "port %u (%s) refuses its configuration: %s",
		p->port_id, info->driver_name, rte_strerror(-rc));
}

static int
set_up_queues(struct qpb *b, struct qpb_port *p, struct qp_errmsg *msg)
{
	uint16_t nrx = DESCRIPTORS, ntx = DESCRIPTORS;
	int socket = rte_eth_dev_socket_id(p->port_id);
	int rc = rte_eth_dev_adjust_nb_rx_tx_desc(p->port_id, &nrx, &ntx);

	for (uint16_t q = 0; rc == 0 && q < b->nworkers; q++) {
		rc = rte_eth_rx_queue_setup(p->port_id, q, nrx, (unsigned)socket, NULL,
			qpb_pool(b, q, false));
		if (rc == 0)
			rc = rte_eth_tx_queue_setup(p->port_id, q, ntx, (unsigned)socket, NULL);
	}
	if (rc == 0)
		rc = rte_eth_dev_start(p->port_id);
	return rc == 0 ? 0 : qp_fail(msg, qp_err_from_errno(-rc), "port %u does not start: %s",
		p->port_id, rte_strerror(-rc));
}

static int
open_port(struct qpb *b, struct qpb_port *p, struct qp_errmsg *msg)
{
	struct rte_eth_dev_info info;
	struct rte_ether_addr mac;
	int rc = rte_eth_dev_info_get(p->port_id, &info);

	if (rc != 0)
		return qp_fail(msg, qp_err_from_errno(-rc), "port %u cannot be used: %s", p->port_id,
			rte_strerror(-rc));
	rc = configure(b, p, &info, msg);
	if (rc == 0)
		rc = set_up_queues(b, p, msg);
	if (rc < 0)
		return rc;
	/* Some drivers take the size only here; those that cannot have had it by configure(). */
	(void)rte_eth_dev_set_mtu(p->port_id, b->cfg.mtu);
	rc = rte_eth_macaddr_get(p->port_id, &mac);
	if (rc != 0)
		return qp_fail(msg, qp_err_from_errno(-rc), "port %u has no address: %s", p->port_id,
			rte_strerror(-rc));
	memcpy(p->mac, mac.addr_bytes, sizeof(p->mac));
	p->mtu = b->cfg.mtu;
	return 0;
}

int
qpb_ports_open(struct qpb *b, struct qp_errmsg *msg)
{
	unsigned found = rte_eth_dev_count_avail(), i = 0;
	uint16_t id;
	int rc;

	if (found != b->nports)
		return qp_fail(msg, QP_E_NOTFOUND,
			"%u ports found, and addresses (--ip) for %u: check --port, --vdev and -a "
			"(EAL starts without a device that fails)", found, b->nports);
	RTE_ETH_FOREACH_DEV (id) {
		b->port[i].port_id = id;
		rc = open_port(b, &b->port[i++], msg);
		if (rc < 0)
			return rc;
	}
	return 0;
}

void
qpb_ports_close(struct qpb *b)
{
	for (unsigned i = 0; i < b->nports; i++) {
		(void)rte_eth_dev_stop(b->port[i].port_id);
		(void)rte_eth_dev_close(b->port[i].port_id);
	}
}
