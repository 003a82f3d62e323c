/* SPDX-License-Identifier: Apache-2.0 */
/* The main thread's side of ports that come and go. */
#include "dataplane/nic/port_link.h"

#include <rte_bus_vdev.h>
#include <rte_ethdev.h>

#define NEVER 0u /* the port owner counts from 1 */

static void
ask_driver(uint16_t port_id)
{
	struct rte_eth_link link;

	(void)rte_eth_link_get_nowait(port_id, &link);
}

/*
 * A driver that was not asked while the link was down, which may be a moment,
 * keeps what it has mapped. So the device is let go of, here and not in other
 * processes, and attached again.
 */
static void
attach_anew(const char *name)
{
	if (rte_vdev_uninit(name) == 0)
		(void)rte_vdev_init(name, NULL);
}

static bool
all_have_stopped(const struct qp_port_links *l, uint32_t port, uint32_t epoch)
{
	for (uint32_t w = 0; w < l->nworkers; w++) {
		if (__atomic_load_n(&l->worker[w].active, __ATOMIC_SEQ_CST) != 0 &&
			__atomic_load_n(&l->worker[w].stopped[port], __ATOMIC_ACQUIRE) != epoch)
			return false;
	}
	return true;
}

static void
look(struct qp_port_links *l, uint32_t port)
{
	const struct qp_nic_port *p = &l->nic->port[port];
	const uint32_t epoch = __atomic_load_n(&p->link_epoch, __ATOMIC_ACQUIRE);
	bool up;

	if (epoch == l->done[port])
		return;
	__atomic_store_n(&l->open[port], NEVER, __ATOMIC_SEQ_CST);
	if (!all_have_stopped(l, port, epoch))
		return;
	up = __atomic_load_n(&p->link_mbps, __ATOMIC_RELAXED) != 0;
	if (up && l->was_up[port] && p->shares_memory)
		l->anew(p->name);
	l->was_up[port] = l->was_up[port] || up;
	l->map(p->port_id);
	l->done[port] = epoch;
	if (up)
		__atomic_store_n(&l->open[port], epoch, __ATOMIC_RELEASE);
}

void
qp_port_links_turn(struct qp_port_links *l)
{
	for (uint32_t i = 0; i < l->nic->nports && i < QP_NIC_MAX_PORTS; i++)
		look(l, i);
}

void
qp_port_links_init(struct qp_port_links *l, const struct qp_nic *nic, uint32_t nworkers)
{
	*l = (struct qp_port_links) {.nic = nic, .nworkers = nworkers, .map = ask_driver,
		.anew = attach_anew};
	qp_port_links_turn(l);
}

void
qp_port_link_join(struct qp_port_links *l, uint32_t worker)
{
	/* Before it looks at `open`: either it finds the port closed, or it is waited for. */
	__atomic_store_n(&l->worker[worker].active, 1, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void
qp_port_link_leave(struct qp_port_links *l, uint32_t worker)
{
	__atomic_store_n(&l->worker[worker].active, 0, __ATOMIC_RELEASE);
}
