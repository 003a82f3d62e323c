/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port owner's hand on the dedicated ports: pools to receive into, the block
 * that all processes share (common/nic.h). Polls nothing itself.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include "dataplane/nic/owner_ports.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_memzone.h>

#include "common/clock.h"
#include "common/log.h"
#include "dataplane/nic/port_flow.h"
#include "dataplane/nic/port_setup.h"
#include "dataplane/nic/port_virtio.h"
#include "dataplane/nic/rx_pool.h"

#define DEFAULT_MBUFS 16384u
/* A buffer of a pool with all that belongs to it. */
#define MBUF_BYTES (RTE_MBUF_DEFAULT_BUF_SIZE + sizeof(struct rte_mbuf) + 2 * RTE_CACHE_LINE_SIZE)

/* A peer that goes and comes back in less is not seen to have gone. */
#define LOOK_MS 20u
#define STEER_MS 200u /* what it costs until then is a hop for each packet */
/* A port that connects to its peer does so again, so long after it was lost or did not answer. */
#define CONNECT_MS 1000u

static struct qp_nic *nic; /* NULL: no ports */
static struct qp_port_flow *flow[QP_NIC_MAX_PORTS]; /* NULL: the device cannot steer */

/* What only the port owner knows of a port. */
static struct {
	bool connects;         /* its driver does not by itself, after its peer was gone */
	bool was_up;
	uint64_t down_at_ms;   /* when it was last seen to be, or was started anew */
} mine[QP_NIC_MAX_PORTS];

static uint32_t
mbufs_of(const struct qp_owner_ports *want)
{
	return want->mbufs != 0 ? want->mbufs : DEFAULT_MBUFS;
}

/*
 * Drivers that keep what a queue needs in the process that made it: in a data plane they
 * move nothing, or crash it. They say so nowhere.
 */
static bool
is_for_one_process(const char *name)
{
	static const char *const drivers[] = {"net_af_packet", "net_af_xdp", "net_vhost"};

	for (unsigned i = 0; i < RTE_DIM(drivers); i++) {
		if (strncmp(name, drivers[i], strlen(drivers[i])) == 0)
			return true;
	}
	return false;
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
		if (is_for_one_process(name))
			return qp_fail(msg, QP_E_UNSUPPORTED,
				"--port %s: this driver works in the process alone that opens it, and data "
				"planes are others: use net_tap, net_memif, net_virtio_user or a PCI card", name);
		rc = qp_port_virtio_check(want->port[i].devargs, msg);
		if (rc != 0)
			return rc;
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
	struct rte_mempool *pool = qp_rx_pool_new(m->port, worker, n, data_room, socket);

	nic->rx_pool[m->port][worker] = (uint64_t)(uintptr_t)pool;
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
	int rc;

	qp_port_virtio_prepare(port.devargs);
	rc = qp_port_setup_open(&port, &nic->port[i], msg);
	if (rc != 0)
		return rc;
	workers = nic->port[i].ntx / nic->port[i].nslots;
	/* By the arguments: a device of its own, with a peer that it is not the server of. */
	mine[i].connects = strstr(port.devargs, "socket=") != NULL && strstr(port.devargs, "server") == NULL;
	nic->port[i].shares_memory = strstr(port.devargs, "socket=") != NULL;
	mine[i].was_up = nic->port[i].link_mbps != 0;
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
	int rc;

	if (want->n == 0)
		return 0;
	zone = rte_memzone_reserve_aligned(QP_NIC_ZONE, sizeof(*nic), SOCKET_ID_ANY, 0, 64);
	if (zone == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no hugepage memory for nic mode: raise --memory");
	nic = zone->addr;
	memset(nic, 0, sizeof(*nic));
	rc = qp_rx_pools_begin(nic, msg);
	for (uint32_t i = 0; rc == 0 && i < want->n; i++)
		rc = open_port(want, i, msg);
	if (rc != 0)
		return rc;
	/* Drivers have what they need; the rest is for who polls. */
	qp_rx_pools_flush();
	for (uint32_t i = 0; i < want->n; i++) {
		nic->port[i].link_epoch = 1;
		flow[i] = qp_port_flow_new(&nic->port[i]);
	}
	nic->nports = want->n;
	nic->version = QP_NIC_VERSION;
	__atomic_store_n(&nic->magic, QP_NIC_MAGIC, __ATOMIC_RELEASE);
	return 0;
}

static uint64_t
now_ms(void)
{
	return qp_now_ns() / 1000000u;
}

/* Its peer may be back: net_memif as a client connects when it starts, and only then. */
static void
connect_again(uint32_t i)
{
	if (!mine[i].connects || !mine[i].was_up || now_ms() - mine[i].down_at_ms < CONNECT_MS)
		return;
	(void)rte_eth_dev_stop(nic->port[i].port_id);
	(void)rte_eth_dev_start(nic->port[i].port_id);
	mine[i].down_at_ms = now_ms();
}

/*
 * What peers share with us, in memory files of theirs or ours: another sum when
 * one of them has gone and come back, and if it was in a moment.
 */
static uint64_t
peers_memory(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	uint64_t sum = 0;

	while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
		unsigned long inode;

		if (strstr(line, "/memfd:") != NULL &&
			sscanf(line, "%*s %*s %*s %*s %lu", &inode) == 1)
			sum += inode * 0x9e3779b97f4a7c15u;
	}
	if (maps != NULL)
		fclose(maps);
	return sum;
}

/* `other_memory`: since the last look, some port's. */
static void
look(uint32_t i, bool other_memory)
{
	struct qp_nic_port *p = &nic->port[i];
	const uint32_t mbps = qp_port_setup_link(p->port_id);

	if (mbps == 0)
		connect_again(i);
	if (mbps == p->link_mbps && (mbps == 0 || !other_memory || !p->shares_memory))
		return;
	qp_log(QP_LOG_INFO, mbps != 0 ? "the link of a port is up" : "the link of a port is down",
		QP_LOG_STR("port", p->name), QP_LOG_U64("mbps", mbps));
	mine[i].was_up = mine[i].was_up || mbps != 0;
	mine[i].down_at_ms = now_ms();
	__atomic_store_n(&p->link_mbps, mbps, __ATOMIC_RELAXED);
	__atomic_store_n(&p->link_epoch, p->link_epoch + 1, __ATOMIC_RELEASE);
}

/* Devices that can steer are asked to, for ports that came and went. */
static void
steer(void)
{
	static uint64_t steered_ms;

	if (now_ms() - steered_ms < STEER_MS)
		return;
	steered_ms = now_ms();
	for (uint32_t i = 0; i < nic->nports; i++)
		if (flow[i] != NULL)
			(void)qp_port_flow_turn(flow[i], nic);
}

int
qp_owner_ports_wait(void)
{
	return nic != NULL ? (int)LOOK_MS : -1;
}

void
qp_owner_ports_turn(void)
{
	static uint64_t looked_ms, memory;
	uint64_t now;

	if (nic == NULL || now_ms() - looked_ms < LOOK_MS)
		return;
	looked_ms = now_ms();
	now = peers_memory();
	for (uint32_t i = 0; i < nic->nports; i++)
		look(i, now != memory);
	memory = now;
	steer();
}

bool
qp_owner_ports_release(
	uint32_t server_id, bool (*lives)(void *ctx, uint32_t server_id), void *ctx)
{
	unsigned n;

	if (nic == NULL)
		return true;
	if (!qp_owner_slots_clean(nic, server_id))
		return false;
	n = qp_rx_pools_reclaim(lives, ctx);
	if (n > 0)
		qp_log(QP_LOG_INFO, "packet buffers of a dead data plane are free again",
			QP_LOG_U64("data_plane", server_id), QP_LOG_U64("buffers", n));
	return true;
}
