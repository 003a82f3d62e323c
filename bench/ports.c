/* SPDX-License-Identifier: Apache-2.0 */
/* Ports and pools of ports.h. */
#include "bench/ports.h"

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/nic/port_setup.h"

#define POOL_CACHE 256u
#define ROOM_MIN 2048u
#define HEADERS 64u /* Ethernet, a tag and what a driver asks for beside */

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
				"pages or ask for fewer with --mbufs",
				b->cfg.mbufs, rte_strerror(rte_errno));
	}
	return 0;
}

static struct rte_mempool *
receive_pool(
	void *ctx, uint16_t worker, int socket, uint32_t min, uint16_t room, struct qp_errmsg *msg)
{
	struct rte_mempool *pool = qpb_pool(ctx, worker, false);

	if (pool->size < min)
		(void)qp_fail(msg, QP_E_NOMEM,
			"the port's queues need %u packet buffers: give more with --mbufs", min);
	else if (rte_pktmbuf_data_room_size(pool) < room)
		(void)qp_fail(msg, QP_E_UNSUPPORTED,
			"the port needs buffers of %u bytes, more than --mtu asks for", room);
	else
		return pool;
	return NULL;
}

static int
open_port(struct qpb *b, struct qpb_port *p, const char *devargs, struct qp_errmsg *msg)
{
	const struct qp_port_want want = {
		.devargs = devargs,
		.workers = (uint16_t)b->nworkers,
		.slots = (uint16_t)((b->cfg.queues + b->nworkers - 1) / b->nworkers),
		.mtu = b->cfg.mtu,
		.pool = receive_pool,
		.ctx = b,
	};
	int rc = qp_port_setup_open(&want, &p->nic, msg);

	if (rc < 0)
		return rc;
	/* Those beyond have no other end. */
	p->nic.ntx = (uint16_t)RTE_MIN((uint32_t)p->nic.ntx, b->cfg.queues);
	p->nic.nrx = (uint16_t)RTE_MIN((uint32_t)p->nic.nrx, b->cfg.queues);
	if (p->nic.ntx < b->nworkers)
		return qp_fail(msg, QP_E_UNSUPPORTED,
			"port %s has %u transmit queues: give at most so many worker lcores, or more "
			"--queues",
			p->nic.name, p->nic.ntx);
	return 0;
}

int
qpb_ports_open(struct qpb *b, const char *const *devargs, unsigned n, struct qp_errmsg *msg)
{
	char name[QPB_MAX_PORTS][RTE_ETH_NAME_MAX_LEN];
	const char *text[QPB_MAX_PORTS];
	unsigned found = 0;
	uint16_t id;
	int rc = 0;

	RTE_ETH_FOREACH_DEV(id)
	{
		if (found < QPB_MAX_PORTS && rte_eth_dev_get_name_by_port(id, name[found]) == 0)
			text[found] = name[found];
		found++;
	}
	for (unsigned i = 0; i < n; i++, found++)
		if (found < QPB_MAX_PORTS)
			text[found] = devargs[i];
	if (found != b->nports)
		return qp_fail(msg, QP_E_NOTFOUND,
			"%u ports, and addresses (--ip) for %u: check --port, --vdev and -a", found,
			b->nports);
	for (unsigned i = 0; rc == 0 && i < found; i++)
		rc = open_port(b, &b->port[i], text[i], msg);
	return rc;
}

void
qpb_ports_close(struct qpb *b)
{
	for (unsigned i = 0; i < b->nports; i++)
		if (b->port[i].nic.ntx > 0)
			qp_port_setup_close(b->port[i].nic.port_id);
}
