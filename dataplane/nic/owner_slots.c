/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A dead generation's transmit queues: what its drivers' rings still point to
 * must be gone before the memory is. Port owner, main thread.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include <string.h>
#include <time.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "common/log.h"
#include "dataplane/nic/owner_ports.h"
#include "dataplane/nic/port_setup.h"

/* How long a device that still sends is waited for. */
#define DONE_TRIES 20u
#define DONE_NS    1000000
#define FILL_TRIES 200u
/* For local experiments (IEEE 802): nobody takes it for anything. */
#define FILLER_TYPE  0x88b6u
#define FILLER_BYTES 60u

static const struct timespec done_pause = {.tv_nsec = DONE_NS};

/* What gets each frame in one mbuf (port_offloads.c) has copied it when it says that it has sent. */
static bool
copies(const struct qp_nic_port *p)
{
	return (p->tx_offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) == 0;
}

static struct rte_mbuf *
filler(const struct qp_nic_port *p, struct rte_mempool *pool)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	struct rte_ether_hdr *eth =
		m != NULL ? (struct rte_ether_hdr *)rte_pktmbuf_append(m, FILLER_BYTES) : NULL;

	if (eth == NULL)
		return m;
	memset(eth, 0, FILLER_BYTES);
	memcpy(&eth->dst_addr, p->mac, sizeof(p->mac));
	memcpy(&eth->src_addr, p->mac, sizeof(p->mac));
	eth->ether_type = rte_cpu_to_be_16(FILLER_TYPE);
	return m;
}

/*
 * Some drivers (virtio, vmxnet3) let go of a sent mbuf when its place in the
 * ring is used again, and else never: so each place is, by frames to ourselves.
 */
static bool
fill_queue(const struct qp_nic *nic, const struct qp_nic_port *p, uint16_t queue)
{
	const size_t i = (size_t)(p - nic->port);
	struct rte_mempool *pool = (struct rte_mempool *)(uintptr_t)nic->rx_pool[i][0];
	struct rte_eth_txq_info info;
	const uint16_t places = rte_eth_tx_queue_info_get(p->port_id, queue, &info) == 0
					? info.nb_desc
					: QP_PORT_DESCRIPTORS;
	uint32_t sent = 0;

	for (unsigned tries = 0; sent < places && tries < FILL_TRIES;) {
		struct rte_mbuf *m = filler(p, pool);

		if (m != NULL && rte_eth_tx_burst(p->port_id, queue, &m, 1) == 1) {
			sent++;
			continue;
		}
		rte_pktmbuf_free(m);
		tries++;
		(void)nanosleep(&done_pause, NULL);
	}
	return sent == places;
}

/* What was sent is freed; 0: all, after some patience with a device that sends. */
static int
free_sent(uint16_t port_id, uint16_t queue)
{
	int rc = rte_eth_tx_done_cleanup(port_id, queue, 0);

	for (unsigned i = 0; rc >= 0 && i < DONE_TRIES; i++) {
		(void)nanosleep(&done_pause, NULL);
		rc = rte_eth_tx_done_cleanup(port_id, queue, 0);
	}
	return rc < 0 ? rc : 0;
}

/* A stopped queue has given back all. */
static bool
clean_queue(const struct qp_nic *nic, const struct qp_nic_port *p, uint16_t queue)
{
	int rc = rte_eth_dev_tx_queue_stop(p->port_id, queue);

	if (rc == 0)
		return rte_eth_dev_tx_queue_start(p->port_id, queue) == 0;
	rc = free_sent(p->port_id, queue);
	if (rc == 0)
		return p->link_mbps != 0;
	return copies(p) || (p->link_mbps != 0 && fill_queue(nic, p, queue));
}

/* A port whose link is down sends nothing ever, and nobody uses it: all of it is emptied. */
static bool
restart_port(const struct qp_nic_port *p)
{
	return p->link_mbps == 0 && rte_eth_dev_stop(p->port_id) == 0 &&
	       rte_eth_dev_start(p->port_id) == 0;
}

static bool
clean_port(const struct qp_nic *nic, const struct qp_nic_port *p, uint32_t slot)
{
	const uint32_t workers = p->ntx / p->nslots;
	bool clean = true;

	if (slot >= p->nslots)
		return true;
	for (uint32_t w = 0; w < workers; w++)
		clean = clean_queue(nic, p, qp_nic_tx_queue(p, slot, w)) && clean;
	return clean || restart_port(p);
}

bool
qp_owner_slots_clean(const struct qp_nic *nic, uint32_t server_id)
{
	bool clean = true;

	for (uint32_t s = 0; s < QP_NIC_MAX_GENS; s++) {
		if (__atomic_load_n(&nic->gen[s].server_id, __ATOMIC_ACQUIRE) != server_id)
			continue;
		for (uint32_t i = 0; i < nic->nports; i++) {
			if (clean_port(nic, &nic->port[i], nic->gen[s].slot))
				continue;
			clean = false;
			qp_log(QP_LOG_ERROR, "a port still holds what a dead data plane gave it: its memory is kept",
				QP_LOG_STR("port", nic->port[i].name), QP_LOG_U64("data_plane", server_id));
		}
	}
	return clean;
}
