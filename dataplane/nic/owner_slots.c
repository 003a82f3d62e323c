/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A dead generation's transmit queues: what its drivers' rings still point to
 * must be gone before the memory is. Port owner, main thread.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include <time.h>

#include <rte_ethdev.h>

#include "common/log.h"
#include "dataplane/nic/owner_ports.h"
#include "dataplane/nic/port_setup.h"

/* How long a device that still sends is waited for. */
#define DONE_TRIES 20u
#define DONE_NS    1000000

static const struct timespec done_pause = {.tv_nsec = DONE_NS};

/* A device in software has copied what it has sent; hardware reads it when it likes. */
static bool
copies(const struct qp_nic_port *p)
{
	bool pci = true;

	return qp_port_devargs_check(p->name, &pci, NULL) == 0 && !pci;
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
clean_queue(const struct qp_nic_port *p, uint16_t queue)
{
	int rc = rte_eth_dev_tx_queue_stop(p->port_id, queue);

	if (rc == 0)
		return rte_eth_dev_tx_queue_start(p->port_id, queue) == 0;
	rc = free_sent(p->port_id, queue);
	if (rc == 0)
		return p->link_mbps != 0;
	return copies(p);
}

/* A port whose link is down sends nothing ever, and nobody uses it: all of it is emptied. */
static bool
restart_port(const struct qp_nic_port *p)
{
	return p->link_mbps == 0 && rte_eth_dev_stop(p->port_id) == 0 &&
	       rte_eth_dev_start(p->port_id) == 0;
}

static bool
clean_port(const struct qp_nic_port *p, uint32_t slot)
{
	const uint32_t workers = p->ntx / p->nslots;
	bool clean = true;

	if (slot >= p->nslots)
		return true;
	for (uint32_t w = 0; w < workers; w++)
		clean = clean_queue(p, qp_nic_tx_queue(p, slot, w)) && clean;
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
			if (clean_port(&nic->port[i], nic->gen[s].slot))
				continue;
			clean = false;
			qp_log(QP_LOG_ERROR, "a port still holds what a dead data plane gave it: its memory is kept",
				QP_LOG_STR("port", nic->port[i].name), QP_LOG_U64("data_plane", server_id));
		}
	}
	return clean;
}
