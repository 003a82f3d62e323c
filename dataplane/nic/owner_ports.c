/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port owner's hand on the dedicated ports: pools to receive into, the block
 * that all processes share (common/nic.h). Polls nothing itself.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include "dataplane/nic/owner_ports.h"

#include <stdio.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_memzone.h>

#include "common/log.h"
#include "dataplane/nic/port_setup.h"

#define POOL_NAME "qp_rx_%u_%u" /* port, worker */
#define DEFAULT_MBUFS 16384u
/* A buffer of a pool with all that belongs to it. */
#define MBUF_BYTES (RTE_MBUF_DEFAULT_BUF_SIZE + sizeof(struct rte_mbuf) + 2 * RTE_CACHE_LINE_SIZE)

static struct qp_nic *nic; /* NULL: no ports */

static uint32_t
mbufs_of(const struct qp_owner_ports *want)
{
	return want->mbufs != 0 ? want->mbufs : DEFAULT_MBUFS;
}

int
qp_owner_ports_check(const struct qp_owner_ports *want, const char *args[QP_OWNER_PCI_ARGS],
	unsigned *n, struct qp_errmsg *msg)
{
	char name[64], other[64];
	bool pci;

	*n = 0;
	if (want->n > QP_NIC_MAX_PORTS)
		return qp_fail(msg, QP_E_INVAL, "--port: %u ports, %u are possible", want->n,
			QP_NIC_MAX_PORTS);
	for (uint32_t i = 0; i < want->n; i++) {
		int rc = qp_port_devargs_check(want->port[i].devargs, &pci, msg);

		if (rc != 0)
			return rc;
		qp_port_devargs_name(want->port[i].devargs, name);
		for (uint32_t k = 0; k < i; k++) {
			qp_port_devargs_name(want->port[k].devargs, other);
			if (strcmp(name, other) == 0)
				return qp_fail(msg, QP_E_INVAL, "--port %s: given twice", name);
		}
		if (pci) {
			args[(*n)++] = "-a";
			args[(*n)++] = want->port[i].devargs;
		}
	}
	return 0;
}

uint64_t
qp_owner_ports_bytes(const struct qp_owner_ports *want)
{
	const uint64_t queues = (uint64_t)want->n * (want->queues != 0 ? want->queues : 1);

	return want->n == 0 ? 0 : sizeof(struct qp_nic) + queues * mbufs_of(want) * MBUF_BYTES;
}

/* Which pool is asked for. */
struct making {
	const struct qp_owner_ports *want;
	uint32_t port;
};

static struct rte_mempool *
make_pool(void *ctx, uint16_t worker, int socket, uint32_t min, uint16_t data_room,
	struct qp_errmsg *msg)
{
	const struct making *m = ctx;
	/* Larger ones are fewer, in the same memory; what the device holds has to be there. */
	const uint32_t fit = (uint32_t)((uint64_t)mbufs_of(m->want) * RTE_MBUF_DEFAULT_BUF_SIZE / data_room);
	const uint32_t n = RTE_MAX(fit, min);
	char name[RTE_MEMPOOL_NAMESIZE];
	struct rte_mempool *pool;

	snprintf(name, sizeof(name), POOL_NAME, m->port, worker);
	pool = rte_pktmbuf_pool_create_by_ops(
		name, n, RTE_MEMPOOL_CACHE_MAX_SIZE / 2, 0, data_room, socket, "lf_stack");
	if (pool == NULL)
		qp_fail(msg, QP_E_NOMEM,
			"--port %s: no hugepage memory for %u packet buffers of %u bytes (%s): "
			"raise --memory, or lower --port-mbufs",
			m->want->port[m->port].devargs, n, data_room, rte_strerror(rte_errno));
	return pool;
}

static int
open_port(const struct qp_owner_ports *want, uint32_t i, struct qp_errmsg *msg)
{
	struct making making = {want, i};
	const struct qp_port_want port = {
		.devargs = want->port[i].devargs,
		.workers = (uint16_t)(want->queues != 0 ? want->queues : 1),
		.slots = (uint16_t)(want->slots != 0 ? want->slots : QP_NIC_MAX_GENS),
		.mtu = want->port[i].mtu,
		.vlan = want->port[i].vlan != 0,
		.pool = make_pool,
		.ctx = &making,
	};
	uint32_t workers;
	int rc = qp_port_setup_open(&port, &nic->port[i], msg);

	if (rc != 0)
		return rc;
	workers = nic->port[i].ntx / nic->port[i].nslots;
	nic->nqueues = i == 0 ? workers : RTE_MIN(nic->nqueues, workers);
	qp_log(QP_LOG_INFO, "port is open", QP_LOG_STR("port", nic->port[i].name),
		QP_LOG_STR("driver", nic->port[i].driver), QP_LOG_U64("rx_queues", nic->port[i].nrx),
		QP_LOG_U64("tx_queues", nic->port[i].ntx),
		QP_LOG_U64("slots", nic->port[i].nslots), QP_LOG_U64("mtu", nic->port[i].mtu));
	return 0;
}

int
qp_owner_ports_open(const struct qp_owner_ports *want, struct qp_errmsg *msg)
{
	const struct rte_memzone *zone;

	if (want->n == 0)
		return 0;
	zone = rte_memzone_reserve_aligned(QP_NIC_ZONE, sizeof(*nic), SOCKET_ID_ANY, 0, 64);
	if (zone == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no hugepage memory for nic mode: raise --memory");
	nic = zone->addr;
	memset(nic, 0, sizeof(*nic));
	for (uint32_t i = 0; i < want->n; i++) {
		int rc = open_port(want, i, msg);

		if (rc != 0)
			return rc;
	}
	nic->nports = want->n;
	nic->version = QP_NIC_VERSION;
	__atomic_store_n(&nic->magic, QP_NIC_MAGIC, __ATOMIC_RELEASE);
	return 0;
}
