/* SPDX-License-Identifier: Apache-2.0 */
/* The prompt's ports in nic mode: what the devices say, and engines to choose from. Main thread. */
#include <rte_ethdev.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/nic/nic_port.h"
#include "dataplane/port.h"
#include "dataplane/prompt_gateway_impl.h"

static const char *const engines[] = {QP_NIC_ENGINE_NAMES};
_Static_assert(sizeof(engines) / sizeof(engines[0]) == QP_NIC_NENGINES, "each engine has a name");

static unsigned
nports(void *ctx)
{
	const struct qp_prompt_gateway *g = ctx;

	return g->nic->nports;
}

static const struct qp_nic_port *
port_of(const struct qp_prompt_gateway *g, unsigned port)
{
	return port < g->nic->nports ? &g->nic->port[port] : NULL;
}

static bool
port_info(void *ctx, unsigned port, struct qp_prompt_info *out)
{
	const struct qp_prompt_gateway *g = ctx;
	const struct qp_nic_port *p = port_of(g, port);
	uint32_t mbps;

	if (p == NULL)
		return false;
	*out = (struct qp_prompt_info) {.socket = p->socket, .mtu = p->mtu, .nrx = p->nrx, .ntx = p->ntx,
		.rx_offloads = p->rx_offloads, .tx_offloads = p->tx_offloads};
	snprintf(out->name, sizeof(out->name), "%s", p->name);
	snprintf(out->driver, sizeof(out->driver), "%s", p->driver);
	memcpy(out->mac, p->mac, sizeof(out->mac));
	/* What the port owner has seen: some drivers ask the card in a way that is one process's only. */
	mbps = __atomic_load_n(&p->link_mbps, __ATOMIC_RELAXED);
	out->up = mbps != 0 && (qp_order(&g->orders->ports_off) >> port & 1) == 0;
	out->full_duplex = mbps != 0;
	out->speed_mbps = mbps == UINT32_MAX ? 0 : mbps;
	qp_eth_port_descriptors(p->port_id, &out->rx_descriptors, &out->tx_descriptors);
	out->promiscuous = rte_eth_promiscuous_get(p->port_id) == 1;
	out->allmulticast = rte_eth_allmulticast_get(p->port_id) == 1;
	return true;
}

/* The workers' sums. Some devices have no counters, others none while their other end is gone. */
static void
add_own(const struct qp_prompt_gateway *g, unsigned port, struct qp_prompt_stats *own)
{
	for (uint32_t i = 0; i < g->nworkers; i++) {
		const struct qp_port *p = qp_worker_port(g->worker[i]);
		const struct qp_port_counters *c;

		if (p == NULL)
			continue;
		c = qp_nic_port_of(p, port);
		own->ipackets += qp_shared_read(&c->rx_frames);
		own->ibytes += qp_shared_read(&c->rx_bytes);
		own->opackets += qp_shared_read(&c->tx_frames);
		own->obytes += qp_shared_read(&c->tx_bytes);
	}
}

/* The device's, of all generations; at least what this one has carried. */
static bool
port_stats(void *ctx, unsigned port, struct qp_prompt_stats *out)
{
	const struct qp_nic_port *p = port_of(ctx, port);
	struct qp_prompt_stats own = {0};
	struct rte_eth_stats s = {0};

	if (p == NULL)
		return false;
	(void)rte_eth_stats_get(p->port_id, &s); /* a device without any: zeros */
	add_own(ctx, port, &own);
	*out = (struct qp_prompt_stats) {RTE_MAX(s.ipackets, own.ipackets),
		RTE_MAX(s.opackets, own.opackets), RTE_MAX(s.ibytes, own.ibytes),
		RTE_MAX(s.obytes, own.obytes), s.imissed, s.ierrors, s.oerrors, s.rx_nombuf};
	return true;
}

static bool
port_xstat(void *ctx, unsigned port, unsigned i, struct qp_prompt_xstat *out)
{
	const struct qp_nic_port *p = port_of(ctx, port);
	struct rte_eth_xstat_name name;
	uint64_t id = i;

	if (p == NULL || rte_eth_xstats_get_names_by_id(p->port_id, &name, 1, &id) != 1 ||
		rte_eth_xstats_get_by_id(p->port_id, &id, &out->value, 1) != 1)
		return false;
	snprintf(out->name, sizeof(out->name), "%s", name.name);
	return true;
}

/* Worker by worker, each with its queues of each port. */
static bool
stream(void *ctx, unsigned i, struct qp_prompt_stream *out)
{
	const struct qp_prompt_gateway *g = ctx;
	const unsigned port = i % g->nic->nports, worker = i / g->nic->nports;
	const struct qp_port *p = worker < g->nworkers ? qp_worker_port(g->worker[worker]) : NULL;
	const struct qp_port_counters *c;

	if (worker >= g->nworkers)
		return false;
	*out = (struct qp_prompt_stream) {.lcore = worker, .rx_port = port, .rx_queue = worker, .tx_port = port,
		.tx_queue = worker};
	if (p == NULL)
		return true;
	c = qp_nic_port_of(p, port);
	out->rx_packets = qp_shared_read(&c->rx_frames);
	out->tx_packets = qp_shared_read(&c->tx_frames);
	out->tx_dropped = qp_shared_read(&c->tx_dropped);
	return true;
}

static int
promisc(void *ctx, unsigned port, bool on, struct qp_errmsg *msg)
{
	const struct qp_nic_port *p = port_of(ctx, port);
	const int err = on ? rte_eth_promiscuous_enable(p->port_id) : rte_eth_promiscuous_disable(p->port_id);

	return err == 0 ? 0 : qp_fail(msg, QP_E_UNSUPPORTED, "%s", rte_strerror(-err));
}

static const char *
fwd(void *ctx)
{
	const struct qp_prompt_gateway *g = ctx;

	return engines[qp_order(&g->orders->engine)];
}

static int
set_fwd(void *ctx, const char *engine, struct qp_errmsg *msg)
{
	const struct qp_prompt_gateway *g = ctx;

	for (uint32_t i = 0; i < QP_NIC_NENGINES; i++) {
		if (strcmp(engine, engines[i]) == 0) {
			atomic_store(&g->orders->engine, i);
			return 0;
		}
	}
	return qp_fail(msg, QP_E_INVAL,
		"set fwd %s: there is no such engine: tunnel, io, mac, macswap or rxonly", engine);
}

const struct qp_prompt_ops qp_prompt_nic_ops = {
	.nports = nports,
	.port_info = port_info,
	.port_stats = port_stats,
	.port_xstat = port_xstat,
	.port_start = qp_prompt_gw_port_start,
	.port_promisc = promisc,
	.stream = stream,
	.lcore = qp_prompt_gw_lcore,
	.running = qp_prompt_gw_running,
	.start = qp_prompt_gw_start,
	.fwd = fwd,
	.set_fwd = set_fwd,
	.fwd_engines = "tunnel|io|mac|macswap|rxonly",
	.burst = qp_prompt_gw_burst,
	.set_burst = qp_prompt_gw_set_burst,
	.verbose = qp_prompt_gw_verbose,
	.set_verbose = qp_prompt_gw_set_verbose,
	.show_neighbours = qp_prompt_gw_show_neighbours,
	.show_tunnels = qp_prompt_gw_show_tunnels,
};
