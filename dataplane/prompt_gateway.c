/* SPDX-License-Identifier: Apache-2.0 */
/* The prompt's ports, streams and lcores in a data plane. Main thread: relaxed looks at what workers count. */
#include "dataplane/prompt_gateway_impl.h"

#include <net/if.h>
#include <rte_lcore.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/nic/nic_port.h"
#include "dataplane/port.h"

static const struct qp_worker_counters *
counters(const struct qp_prompt_gateway *g, unsigned worker)
{
	return &qp_shared_worker(g->shared, worker)->c;
}

static unsigned
host_nports(void *ctx)
{
	const struct qp_prompt_gateway *g = ctx;

	return g->nworkers;
}

static const struct qp_port *
port_of(const struct qp_prompt_gateway *g, unsigned port)
{
	return port < g->nworkers ? qp_worker_port(g->worker[port]) : NULL;
}

static bool
is_off(const struct qp_prompt_gateway *g, unsigned port)
{
	return (qp_order(&g->orders->ports_off) >> port & 1) != 0;
}

static bool
host_port_info(void *ctx, unsigned port, struct qp_prompt_info *out)
{
	const struct qp_prompt_gateway *g = ctx;
	const struct qp_port *p = port_of(g, port);
	char name[IF_NAMESIZE];

	if (port >= g->nworkers)
		return false;
	*out = (struct qp_prompt_info) {.driver = "quicport_tap", .socket = -1, .nrx = 1, .ntx = 1,
		.full_duplex = true};
	if (p == NULL) {
		snprintf(out->name, sizeof(out->name), "not open yet");
		return true;
	}
	snprintf(out->name, sizeof(out->name), "%s",
		if_indextoname(p->ifindex, name) != NULL ? name : "gone");
	memcpy(out->mac, p->mac, sizeof(out->mac));
	out->mtu = p->mtu;
	out->nrx = QP_CLS_NQUEUES;
	out->tx_offloads = p->tx_offloads;
	out->up = !is_off(g, port);
	return true;
}

/* What the kernel could not queue for us. */
static uint64_t
kernel_drops(uint32_t ifindex)
{
	char name[IF_NAMESIZE], path[96], text[32] = "";
	unsigned long long n = 0;
	FILE *f;

	if (if_indextoname(ifindex, name) == NULL)
		return 0;
	snprintf(path, sizeof(path), "/sys/class/net/%s/statistics/tx_dropped", name);
	f = fopen(path, "re");
	if (f == NULL)
		return 0;
	if (fgets(text, sizeof(text), f) == NULL || sscanf(text, "%llu", &n) != 1)
		n = 0;
	fclose(f);
	return n;
}

static bool
host_port_stats(void *ctx, unsigned port, struct qp_prompt_stats *out)
{
	const struct qp_prompt_gateway *g = ctx;
	const struct qp_port *p = port_of(g, port);

	if (port >= g->nworkers)
		return false;
	*out = (struct qp_prompt_stats) {0};
	if (p == NULL)
		return true;
	*out = (struct qp_prompt_stats) {
		.ipackets = qp_shared_read(&p->counters.rx_frames),
		.ibytes = qp_shared_read(&p->counters.rx_bytes),
		.opackets = qp_shared_read(&p->counters.tx_frames),
		.obytes = qp_shared_read(&p->counters.tx_bytes),
		.imissed = kernel_drops(p->ifindex),
		.ierrors = qp_shared_read(&p->counters.rx_errors),
		.oerrors = qp_shared_read(&p->counters.tx_dropped) + qp_shared_read(&counters(g, port)->tx_dropped),
		.rx_nombuf = qp_shared_read(&p->counters.rx_nombuf),
	};
	return true;
}

/* A TAP's own, then all that its worker counts. */
static bool
host_port_xstat(void *ctx, unsigned port, unsigned i, struct qp_prompt_xstat *out)
{
	static const char *const names[] = {"rx_good_packets", "tx_good_packets", "rx_good_bytes",
		"tx_good_bytes", "rx_missed_errors", "rx_errors", "tx_errors",
		"rx_mbuf_allocation_errors"};
	const struct qp_prompt_gateway *g = ctx;
	uint64_t values[sizeof(names) / sizeof(names[0])];
	struct qp_shared_name name;
	struct qp_prompt_stats t;

	if (port >= g->nworkers)
		return false;
	if (i < sizeof(names) / sizeof(names[0])) {
		(void)host_port_stats(ctx, port, &t);
		memcpy(values, (const uint64_t[]) {t.ipackets, t.opackets, t.ibytes, t.obytes, t.imissed,
				       t.ierrors, t.oerrors, t.rx_nombuf}, sizeof(values));
		snprintf(out->name, sizeof(out->name), "%s", names[i]);
		out->value = values[i];
		return true;
	}
	if (!qp_shared_name(&g->view, i - (unsigned)(sizeof(names) / sizeof(names[0])), &name))
		return false;
	snprintf(out->name, sizeof(out->name), "%s", name.name);
	out->value = qp_shared_word(&g->view, port, &name, 0);
	return true;
}

void
qp_prompt_gw_ring(const struct qp_prompt_gateway *g)
{
	const uint64_t one = 1;

	/* A counter at its maximum wakes as well. */
	for (uint32_t i = 0; i < g->nworkers; i++)
		(void)!write(g->doorbell[i], &one, sizeof(one));
}

int
qp_prompt_gw_port_start(void *ctx, unsigned port, bool on, struct qp_errmsg *msg)
{
	struct qp_prompt_gateway *g = ctx;
	const uint32_t bit = UINT32_C(1) << port;

	(void)msg;
	if (on)
		atomic_fetch_and(&g->orders->ports_off, ~bit);
	else
		atomic_fetch_or(&g->orders->ports_off, bit);
	qp_prompt_gw_ring(g);
	return 0;
}

static bool
host_stream(void *ctx, unsigned i, struct qp_prompt_stream *out)
{
	const struct qp_prompt_gateway *g = ctx;
	struct qp_prompt_stats t;

	if (!host_port_stats(ctx, i, &t))
		return false;
	*out = (struct qp_prompt_stream) {.lcore = i, .rx_port = i, .tx_port = i,
		.rx_packets = t.ipackets, .tx_packets = t.opackets,
		.tx_dropped = qp_shared_read(&counters(g, i)->tx_dropped)};
	return true;
}

static uint64_t
packets(const struct qp_prompt_gateway *g, const struct qp_port *p)
{
	uint64_t n = 0;

	if (p == NULL)
		return 0;
	for (uint32_t i = 0; g->nic != NULL && i < g->nic->nports; i++) {
		const struct qp_port_counters *c = qp_nic_port_of(p, i);

		n += qp_shared_read(&c->rx_frames) + qp_shared_read(&c->tx_frames);
	}
	return g->nic != NULL ? n
			      : qp_shared_read(&p->counters.rx_frames) + qp_shared_read(&p->counters.tx_frames);
}

bool
qp_prompt_gw_lcore(void *ctx, unsigned i, struct qp_prompt_lcore *out)
{
	const struct qp_prompt_gateway *g = ctx;
	const struct qp_worker_counters *c;
	const struct qp_port *p = port_of(g, i);

	if (i >= g->nworkers)
		return false;
	c = counters(g, i);
	*out = (struct qp_prompt_lcore) {
		.id = g->lcore_base + 1 + i,
		.cpu = g->cpu[i],
		.socket = (int)rte_lcore_to_socket_id(g->lcore_base + 1 + i),
		.busy_cycles = qp_shared_read(&c->cycles_busy),
		.idle_cycles = qp_shared_read(&c->cycles_idle),
		.packets = packets(g, p),
		.bytes = qp_shared_read(&c->relay_bytes_in) + qp_shared_read(&c->relay_bytes_out),
	};
	return true;
}

bool
qp_prompt_gw_running(void *ctx)
{
	const struct qp_prompt_gateway *g = ctx;

	return qp_order(&g->orders->stopped) == 0;
}

int
qp_prompt_gw_start(void *ctx, bool on, struct qp_errmsg *msg)
{
	struct qp_prompt_gateway *g = ctx;

	(void)msg;
	atomic_store(&g->orders->stopped, !on);
	qp_prompt_gw_ring(g);
	return 0;
}

static const char *
fwd(void *ctx)
{
	(void)ctx;
	return "tunnel";
}

static int
set_fwd(void *ctx, const char *engine, struct qp_errmsg *msg)
{
	(void)ctx;
	if (strcmp(engine, "tunnel") == 0)
		return 0;
	return qp_fail(msg, QP_E_UNSUPPORTED,
		"set fwd %s: in host mode the ports are the kernel's, and `tunnel` is the only engine",
		engine);
}

uint32_t
qp_prompt_gw_burst(void *ctx)
{
	const struct qp_prompt_gateway *g = ctx;

	return qp_order(&g->orders->burst);
}

int
qp_prompt_gw_set_burst(void *ctx, uint32_t n, struct qp_errmsg *msg)
{
	struct qp_prompt_gateway *g = ctx;

	(void)msg;
	atomic_store(&g->orders->burst, n);
	return 0;
}

static const struct qp_prompt_ops host_ops = {
	.nports = host_nports,
	.port_info = host_port_info,
	.port_stats = host_port_stats,
	.port_xstat = host_port_xstat,
	.port_start = qp_prompt_gw_port_start,
	.stream = host_stream,
	.lcore = qp_prompt_gw_lcore,
	.running = qp_prompt_gw_running,
	.start = qp_prompt_gw_start,
	.fwd = fwd,
	.set_fwd = set_fwd,
	.fwd_engines = "tunnel",
	.burst = qp_prompt_gw_burst,
	.set_burst = qp_prompt_gw_set_burst,
	.verbose = qp_prompt_gw_verbose,
	.set_verbose = qp_prompt_gw_set_verbose,
	.show_tunnels = qp_prompt_gw_show_tunnels,
};

int
qp_prompt_gateway_init(struct qp_prompt_gateway *g, struct qp_errmsg *msg)
{
	return qp_shared_open(&g->view, g->shared,
		qp_shared_bytes(g->nworkers, g->shared->ring_bytes), msg);
}

const struct qp_prompt_ops *
qp_prompt_gateway_ops(const struct qp_prompt_gateway *g)
{
	return g->nic != NULL ? &qp_prompt_nic_ops : &host_ops;
}

