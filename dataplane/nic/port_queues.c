/* SPDX-License-Identifier: Apache-2.0 */
/* How many queues a port has, whose they are, and their making. Main thread. */
#include <string.h>

#include <rte_errno.h>

#include "dataplane/nic/port_setup_internal.h"

/* By addresses and ports; a fragment has no ports. */
#define RSS_WANTED                                                                                 \
	(RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV4_UDP |                             \
		RTE_ETH_RSS_NONFRAG_IPV6_TCP | RTE_ETH_RSS_NONFRAG_IPV6_UDP |                      \
		RTE_ETH_RSS_IPV6_TCP_EX | RTE_ETH_RSS_IPV6_UDP_EX | RTE_ETH_RSS_FRAG_IPV4 |        \
		RTE_ETH_RSS_FRAG_IPV6)

static uint16_t
at_least_one(uint32_t n)
{
	return n > 0 ? (uint16_t)n : 1;
}

/* As many receive as transmit queues. */
void
qp_setup_pair_queues(struct qp_setup *s)
{
	const uint32_t most = RTE_MIN((uint32_t)at_least_one(s->info.max_rx_queues), QP_NIC_MAX_QUEUES);

	if (most < s->workers)
		return;
	s->slots = (uint16_t)RTE_MIN((uint32_t)s->slots, most / s->workers);
	s->nrx = s->ntx = (uint16_t)(s->workers * s->slots);
}

bool
qp_setup_fewer_queues(struct qp_setup *s)
{
	const bool pairs = s->nrx == s->ntx;

	if (s->slots <= 1)
		return false;
	s->slots--;
	s->ntx = (uint16_t)(s->workers * s->slots);
	if (pairs)
		s->nrx = s->ntx;
	return true;
}

/*
 * net_tap hands a descriptor for each queue of either kind to other processes in one
 * message of EAL's, and writes beyond its end when there are more than fit. It does not say so.
 */
void
qp_setup_limit_descriptors(struct qp_setup *s)
{
	if (s->info.driver_name == NULL || strcmp(s->info.driver_name, "net_tap") != 0)
		return;
	s->info.max_rx_queues = RTE_MIN(s->info.max_rx_queues, RTE_MP_MAX_FD_NUM / 2);
	s->info.max_tx_queues = RTE_MIN(s->info.max_tx_queues, RTE_MP_MAX_FD_NUM / 2);
}

/*
 * One transmit queue for each worker of each generation, as far as the device
 * has them. A device without RSS is told by nobody which of its queues receive:
 * it uses those of all pairs, so each transmit queue has a receive queue.
 */
void
qp_setup_choose_queues(struct qp_setup *s)
{
	const uint32_t max_tx = at_least_one(s->info.max_tx_queues);
	const uint32_t max_rx = at_least_one(s->info.max_rx_queues);
	const uint32_t workers = RTE_MIN(at_least_one(s->want->workers), QP_NIC_MAX_QUEUES);

	s->workers = (uint16_t)RTE_MIN(workers, max_tx);
	s->slots = (uint16_t)RTE_MIN((uint32_t)at_least_one(s->want->slots), max_tx / s->workers);
	s->nrx = (uint16_t)RTE_MIN(workers, max_rx);
	s->ntx = (uint16_t)(s->workers * s->slots);
	if ((s->info.flow_type_rss_offloads & RSS_WANTED) == 0)
		qp_setup_pair_queues(s);
}

void
qp_setup_spread(struct qp_setup *s)
{
	if (s->nrx <= 1 || (s->info.flow_type_rss_offloads & RSS_WANTED) == 0)
		return;
	s->conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
	s->conf.rx_adv_conf.rss_conf.rss_hf = s->info.flow_type_rss_offloads & RSS_WANTED;
}

static int
set_up_receive(const struct qp_setup *s, uint16_t queue, struct qp_errmsg *msg)
{
	struct rte_eth_rxconf conf = s->info.default_rxconf;
	const int node = rte_eth_dev_socket_id(s->id);
	struct rte_mempool *pool = s->pool[queue % s->workers];
	int rc;

	conf.offloads = s->conf.rxmode.offloads;
	/* A queue that nobody empties must not hold up the others. */
	conf.rx_drop_en = s->nrx > 1;
	rc = rte_eth_rx_queue_setup(s->id, queue, s->nrxd, (unsigned)node, &conf, pool);
	return rc == 0 ? 0 : qp_fail(msg, QP_E_IO, "--port %s: receive queue %u: %s", s->name, queue,
				     rte_strerror(-rc));
}

int
qp_setup_queues(struct qp_setup *s, struct qp_errmsg *msg)
{
	struct rte_eth_txconf tx = s->info.default_txconf;
	const unsigned node = (unsigned)rte_eth_dev_socket_id(s->id);
	int rc;

	s->nrxd = s->ntxd = QP_PORT_DESCRIPTORS;
	rc = rte_eth_dev_adjust_nb_rx_tx_desc(s->id, &s->nrxd, &s->ntxd);
	if (rc != 0)
		return qp_fail(msg, QP_E_IO, "--port %s: descriptors: %s", s->name, rte_strerror(-rc));
	rc = qp_setup_pools(s, msg);
	if (rc != 0)
		return rc;
	for (uint16_t q = 0; q < s->nrx; q++) {
		rc = set_up_receive(s, q, msg);
		if (rc != 0)
			return rc;
	}
	tx.offloads = s->conf.txmode.offloads;
	for (uint16_t q = 0; q < s->ntx; q++) {
		rc = rte_eth_tx_queue_setup(s->id, q, s->ntxd, node, &tx);
		if (rc != 0)
			return qp_fail(msg, QP_E_IO, "--port %s: transmit queue %u: %s", s->name, q,
				rte_strerror(-rc));
	}
	return 0;
}
