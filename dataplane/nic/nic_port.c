/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A nic port's beginning and end, on the worker's lcore: a queue pair of each port, the
 * host's part, the tables of steering.
 */
#include "dataplane/nic/nic_port.h"

#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/lines.h"
#include "dataplane/nic/nic_internal.h"
#include "dataplane/nic/port_link.h"
#include "dataplane/nic/rx_pool.h"

static struct qp_nic_worker_port *
worker_port(const struct qp_port *p)
{
	return (struct qp_nic_worker_port *)(uintptr_t)p;
}

const struct qp_nic_port_counters *
qp_nic_port_counters(const struct qp_port *p)
{
	return &worker_port(p)->counters;
}

const struct qp_net_counters *
qp_nic_port_net_counters(const struct qp_port *p)
{
	return qp_net_counters(worker_port(p)->net);
}

static struct qp_handoff_door *
door(const struct qp_nic_worker_port *w)
{
	return qp_handoff_door(w->cfg.handoff, w->cfg.nworkers, w->cfg.worker);
}

void
qp_nic_port_set_load(struct qp_port *p, uint32_t connections)
{
	__atomic_store_n(&door(worker_port(p))->load, connections, __ATOMIC_RELAXED);
}

void
qp_nic_port_order(struct qp_port *p, enum qp_nic_engine engine, uint32_t ports_off)
{
	struct qp_nic_worker_port *w = (struct qp_nic_worker_port *)p;

	w->engine = engine;
	w->ports_off = ports_off;
}

const struct qp_net *
qp_nic_port_net(const struct qp_port *p)
{
	return worker_port(p)->net;
}

const struct qp_port_counters *
qp_nic_port_of(const struct qp_port *p, unsigned port)
{
	return &worker_port(p)->tx[port].port->counters;
}

uint32_t
qp_nic_port_rx_eighths(const struct qp_port *p)
{
	const struct qp_nic_worker_port *w = worker_port(p);
	uint32_t least = 8;

	for (uint32_t i = 0; i < w->cfg.nic->nports; i++) {
		const struct rte_mempool *mp =
			(const struct rte_mempool *)(uintptr_t)w->cfg.nic->rx_pool[i][w->cfg.worker];

		if (mp != NULL)
			least = RTE_MIN(least, (uint32_t)((uint64_t)rte_mempool_avail_count(mp) * 8 / mp->size));
	}
	return least;
}

static bool
rings_empty(const struct qp_nic_worker_port *w)
{
	for (uint32_t s = 0; s < QP_NIC_MAX_GENS; s++) {
		const struct qp_steer_gen *g = &w->steer.gen[s];

		for (uint32_t i = 0; g->server_id != 0 && i < g->nworkers; i++) {
			const struct qp_handoff_ring *r = qp_handoff_ring(
				w->cfg.handoff, w->cfg.nworkers, s, i, w->cfg.worker);

			if (__atomic_load_n(&r->tail, __ATOMIC_RELAXED) != r->head)
				return false;
		}
	}
	return true;
}

static bool
nic_nap_begin(struct qp_port *p)
{
	struct qp_nic_worker_port *w = worker_port(p);

	if (!qp_nic_tx_flush(w))
		return false;
	__atomic_store_n(&door(w)->napping, 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* said, then looked: pairs with nic_out.c's wake */
	if (!rings_empty(w)) {
		__atomic_store_n(&door(w)->napping, 0, __ATOMIC_RELAXED);
		return false;
	}
	w->counters.naps++;
	return true;
}

static void
nic_nap_end(struct qp_port *p)
{
	__atomic_store_n(&door(worker_port(p))->napping, 0, __ATOMIC_RELAXED);
}

static void
free_rings(struct qp_nic_worker_port *w)
{
	uint64_t item[QP_NIC_BURST];
	unsigned n;

	for (uint32_t s = 0; s < QP_NIC_MAX_GENS; s++) {
		for (uint32_t i = 0; i < QP_NIC_MAX_QUEUES; i++) {
			struct qp_handoff_ring *r = qp_handoff_ring(
				w->cfg.handoff, w->cfg.nworkers, s, i, w->cfg.worker);

			while ((n = qp_handoff_take(r, item, QP_NIC_BURST)) > 0)
				while (n > 0)
					rte_pktmbuf_free(qp_nic_item_mbuf(item[--n]));
		}
	}
}

/* Frames that wait, in any direction. */
static void
free_frames(struct qp_nic_worker_port *w)
{
	(void)qp_nic_tx_flush(w);
	for (uint32_t i = 0; i < QP_NIC_MAX_PORTS; i++)
		rte_pktmbuf_free_bulk(w->tx[i].frame, w->tx[i].n);
	for (unsigned q = 0; q < QP_CLS_NQUEUES; q++) {
		struct qp_nic_waiting *wait = &w->waiting[q];

		while (wait->head != wait->tail)
			rte_pktmbuf_free(wait->frame[wait->head++ % QP_NIC_WAITING]);
	}
	free_rings(w);
}

static void
destroy(struct qp_nic_worker_port *w)
{
	qp_net_free(w->net);
	for (uint32_t i = 0; i < QP_NIC_MAX_PORTS; i++)
		qp_port_close(w->tx[i].port);
	qp_strangers_free(w->strangers);
	qp_steer_fini(&w->steer);
	if (w->cfg.links != NULL)
		qp_port_link_leave(w->cfg.links, w->cfg.worker);
	free(w);
}

static void
nic_close(struct qp_port *p)
{
	struct qp_nic_worker_port *w = worker_port(p);

	qp_hold_release(&w->hold);
	free_frames(w);
	qp_rx_pools_flush();
	destroy(w);
}

static const struct qp_port_ops nic_ops = {
	.rx = qp_nic_rx,
	.tx = qp_nic_tx,
	.close = nic_close,
	.nap_begin = nic_nap_begin,
	.nap_end = nic_nap_end,
};

/* The queue that we send by; we receive by those that we hold. */
static int
open_port(struct qp_nic_worker_port *w, uint32_t i, struct qp_errmsg *msg)
{
	const struct qp_nic_port_config *cfg = &w->cfg;
	const struct qp_nic_port *port = &cfg->nic->port[i];
	const struct qp_eth_port_config eth = {.port_id = port->port_id,
		.tx_queue = qp_nic_tx_queue(port, w->slot, cfg->worker),
		.mtu = port->mtu,
		.tx_offloads = port->tx_offloads,
		.pool = cfg->pool,
		.links = cfg->links,
		.port = i,
		.worker = cfg->worker};

	if (w->slot >= port->nslots)
		return qp_fail(msg, QP_E_INVAL,
			"--port %s: it has transmit queues for %u data planes, and older ones have "
			"them: end one, or use fewer --workers", port->name, port->nslots);
	return cfg->open(cfg->open_ctx, &eth, &w->tx[i].port, msg);
}

/* What all ports can do is what the worker may ask for. */
static void
sum_up(struct qp_nic_worker_port *w, uint32_t i)
{
	const struct qp_port *tx = w->tx[i].port;
	struct qp_port *p = &w->port;

	if (i == 0) {
		p->tx_offloads = tx->tx_offloads;
		p->max_frame_bytes = tx->max_frame_bytes;
		p->mtu = tx->mtu;
		memcpy(p->mac, tx->mac, sizeof(p->mac));
	}
	p->tx_offloads &= tx->tx_offloads;
	p->max_frame_bytes = RTE_MIN(p->max_frame_bytes, tx->max_frame_bytes);
	p->mtu = RTE_MIN(p->mtu, tx->mtu);
}

static int
open_ports(struct qp_nic_worker_port *w, struct qp_errmsg *msg)
{
	int rc = 0;

	for (uint32_t i = 0; i < w->cfg.nic->nports && rc == 0; i++) {
		rc = open_port(w, i, msg);
		if (rc == 0)
			sum_up(w, i);
	}
	return rc;
}

static int
open_net(struct qp_nic_worker_port *w)
{
	const struct qp_nic *nic = w->cfg.nic;
	const struct qp_net_env env = {
		.now_ns = w->cfg.now_ns,
		.wheel = w->cfg.wheel,
		.pool = w->cfg.pool,
		.transmit = qp_nic_transmit,
		.transmit_ctx = w,
		.replicate = qp_nic_replicate,
		.replicate_ctx = w,
		.random = w->cfg.random,
		.random_ctx = w->cfg.random_ctx,
	};
	struct qp_net_port ports[QP_NIC_MAX_PORTS];
	struct qp_net_config cfg;
	bool alone = true;

	for (uint32_t i = 0; i < nic->nports; i++) {
		ports[i] = (struct qp_net_port) {.mtu = nic->port[i].mtu,
			.insert_vlan = (nic->port[i].tx_offloads & RTE_ETH_TX_OFFLOAD_VLAN_INSERT) != 0};
		memcpy(ports[i].mac, nic->port[i].mac, sizeof(ports[i].mac));
	}
	qp_net_config_default(&cfg);
	w->net = qp_net_new(&env, &cfg, ports, nic->nports);
	if (w->net == NULL)
		return QP_E_NOMEM;
	for (uint32_t i = 0; i < QP_NIC_MAX_GENS; i++)
		alone = alone && (w->steer.gen[i].server_id == 0 || i == w->slot);
	(void)qp_net_poll_config(w->net, &nic->net, alone);
	return 0;
}

static int
open_all(struct qp_nic_worker_port *w, struct qp_errmsg *msg)
{
	const struct qp_nic_port_config *cfg = &w->cfg;
	int rc = qp_steer_init(&w->steer, cfg->nic, cfg->server_id, cfg->worker, cfg->nworkers,
		(uint32_t)cfg->random(cfg->random_ctx));

	if (rc != 0)
		return qp_fail(msg, rc, "no memory for worker %u's port", cfg->worker);
	qp_steer_turn(&w->steer);
	w->slot = w->steer.own;
	if (w->slot >= QP_NIC_MAX_GENS)
		return qp_fail(msg, QP_E_PROTO, "the control plane gave this data plane no transmit slot");
	qp_hold_init(&w->hold, cfg->nic, cfg->server_id, cfg->worker, cfg->nworkers);
	if (cfg->links != NULL)
		qp_port_link_join(cfg->links, cfg->worker);
	rc = open_ports(w, msg);
	if (rc != 0)
		return rc;
	w->strangers = qp_strangers_new((uint32_t)cfg->random(cfg->random_ctx));
	if (w->strangers == NULL || open_net(w) != 0)
		return qp_fail(msg, QP_E_NOMEM, "no memory for worker %u's port", cfg->worker);
	return 0;
}

static int
open_eth(void *ctx, const struct qp_eth_port_config *cfg, struct qp_port **out, struct qp_errmsg *msg)
{
	(void)ctx;
	return qp_eth_port_open(cfg, out, msg);
}

int
qp_nic_port_open(const struct qp_nic_port_config *cfg, struct qp_port **out, struct qp_errmsg *msg)
{
	struct qp_nic_worker_port *w;
	int rc;

	if (cfg->nic->nports == 0 || cfg->nic->nports > QP_NIC_MAX_PORTS)
		return qp_fail(msg, QP_E_INVAL, "the port owner has no port");
	if (cfg->nworkers > cfg->nic->nqueues)
		return qp_fail(msg, QP_E_INVAL, "the ports have queues for %u workers, not for %u: "
			"use --workers %u, or restart the port owner", cfg->nic->nqueues, cfg->nworkers,
			cfg->nic->nqueues);
	w = qp_lines_alloc(sizeof(*w));
	if (w == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no memory for worker %u's port", cfg->worker);
	w->cfg = *cfg;
	if (cfg->open == NULL) {
		w->cfg.open = open_eth;
		w->cfg.receive = qp_eth_port_rx;
	}
	w->port = (struct qp_port) {.ops = &nic_ops, .strangers = true, .ifindex = QP_NIC_IFINDEX(0), .wake_fd = {-1, -1, -1, -1}};
	rc = open_all(w, msg);
	if (rc != 0) {
		destroy(w);
		return rc;
	}
	*out = &w->port;
	return 0;
}
