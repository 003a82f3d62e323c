/* SPDX-License-Identifier: Apache-2.0 */
/* Ports, lcores, runs and commands of the generator, for the prompt. Main thread: relaxed looks at what workers count. */
#include "bench/prompt_ops.h"

#include <cmdline_parse_string.h>
#include <rte_ethdev.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/report.h"
#include "bench/worker.h"

#define ROWS_AT_ONCE 256u /* of a worker: the prompt has other things to do */

static const struct qpb *
bench(void *ctx)
{
	return &((const struct qpb_prompt_target *)ctx)->p->b;
}

static unsigned
nports(void *ctx)
{
	return bench(ctx)->nports;
}

static bool
port_info(void *ctx, unsigned port, struct qp_prompt_info *out)
{
	const struct qp_nic_port *n = &bench(ctx)->port[port].nic;
	struct rte_eth_link link = {0};

	if (port >= nports(ctx))
		return false;
	(void)rte_eth_link_get_nowait(n->port_id, &link);
	*out = (struct qp_prompt_info) {
		.socket = n->socket,
		.up = link.link_status == RTE_ETH_LINK_UP,
		.full_duplex = link.link_duplex == RTE_ETH_LINK_FULL_DUPLEX,
		.promiscuous = rte_eth_promiscuous_get(n->port_id) == 1,
		.allmulticast = rte_eth_allmulticast_get(n->port_id) == 1,
		.speed_mbps = link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : link.link_speed,
		.mtu = n->mtu,
		.nrx = n->nrx,
		.ntx = n->ntx,
		.rx_offloads = n->rx_offloads,
		.tx_offloads = n->tx_offloads,
	};
	qp_eth_port_descriptors(n->port_id, &out->rx_descriptors, &out->tx_descriptors);
	snprintf(out->name, sizeof(out->name), "%s", n->name);
	snprintf(out->driver, sizeof(out->driver), "%s", n->driver);
	memcpy(out->mac, n->mac, sizeof(out->mac));
	return true;
}

static bool
port_stats(void *ctx, unsigned port, struct qp_prompt_stats *out)
{
	struct rte_eth_stats t;

	if (port >= nports(ctx) || rte_eth_stats_get(bench(ctx)->port[port].nic.port_id, &t) != 0)
		return false;
	*out = (struct qp_prompt_stats) {t.ipackets, t.opackets, t.ibytes, t.obytes, t.imissed,
		t.ierrors, t.oerrors, t.rx_nombuf};
	return true;
}

static bool
port_xstat(void *ctx, unsigned port, unsigned i, struct qp_prompt_xstat *out)
{
	struct rte_eth_xstat_name name;
	uint64_t id = i;
	uint16_t port_id;

	if (port >= nports(ctx))
		return false;
	port_id = bench(ctx)->port[port].nic.port_id;
	if (rte_eth_xstats_get_names_by_id(port_id, &name, 1, &id) != 1 ||
		rte_eth_xstats_get_by_id(port_id, &id, &out->value, 1) != 1)
		return false;
	snprintf(out->name, sizeof(out->name), "%s", name.name);
	return true;
}

/* Each worker at each port. What it counts is of all ports: the first one has it. */
static bool
stream(void *ctx, unsigned i, struct qp_prompt_stream *out)
{
	const struct qpb_prompt_target *t = ctx;
	const struct qpb *b = &t->p->b;
	struct qpb_figures f;
	unsigned worker = i / b->nports, port = i % b->nports;

	if (worker >= b->nworkers)
		return false;
	*out = (struct qp_prompt_stream) {.lcore = worker,
		.rx_port = port,
		.tx_port = port,
		.rx_queue = worker % b->port[port].nic.nrx,
		.tx_queue = worker};
	if (port != 0)
		return true;
	qpb_program_figures(t->p, worker, &f);
	out->rx_packets = f.rx_frames;
	out->tx_packets = f.tx_frames;
	out->tx_dropped = f.tx_dropped;
	return true;
}

static bool
lcore(void *ctx, unsigned i, struct qp_prompt_lcore *out)
{
	const struct qpb_prompt_target *t = ctx;
	struct qpb_figures f;

	if (i >= t->p->b.nworkers)
		return false;
	qpb_program_figures(t->p, i, &f);
	*out = (struct qp_prompt_lcore) {
		.id = t->p->lcore[i],
		.cpu = (uint32_t)rte_lcore_to_cpu_id((int)t->p->lcore[i]),
		.socket = (int)rte_lcore_to_socket_id(t->p->lcore[i]),
		.busy_cycles = f.cycles_busy,
		.idle_cycles = f.cycles_idle,
		.packets = f.rx_frames + f.tx_frames,
		.bytes = f.user_tx_bytes + f.user_rx_bytes,
	};
	return true;
}

static bool
running(void *ctx)
{
	const struct qpb_prompt_target *t = ctx;

	return t->wanted || t->p->running;
}

static int
start(void *ctx, bool on, struct qp_errmsg *msg)
{
	struct qpb_prompt_target *t = ctx;
	int rc = on ? qpb_program_check(t->p, msg) : 0;

	if (rc < 0)
		return rc;
	t->wanted = on;
	t->stop = !on;
	return 0;
}

static int
port_start(void *ctx, unsigned port, bool on, struct qp_errmsg *msg)
{
	struct qpb_prompt_target *t = ctx;
	struct qpb_port *p = &t->p->b.port[port];
	int rc;

	if (running(ctx))
		return qp_fail(msg, QP_E_INUSE, "Please stop first: a run is under way");
	if (p->stopped != on)
		return 0;
	rc = on ? rte_eth_dev_start(p->nic.port_id) : rte_eth_dev_stop(p->nic.port_id);
	if (rc != 0)
		return qp_fail(msg, QP_E_IO, "port %u: %s", port, rte_strerror(-rc));
	p->stopped = !on;
	return 0;
}

static int
port_promisc(void *ctx, unsigned port, bool on, struct qp_errmsg *msg)
{
	uint16_t id = bench(ctx)->port[port].nic.port_id;
	int rc = on ? rte_eth_promiscuous_enable(id) : rte_eth_promiscuous_disable(id);

	return rc == 0 ? 0 : qp_fail(msg, QP_E_UNSUPPORTED, "%s", rte_strerror(-rc));
}

static uint32_t
burst(void *ctx)
{
	return atomic_load(&bench(ctx)->burst);
}

static int
set_burst(void *ctx, uint32_t n, struct qp_errmsg *msg)
{
	atomic_store(&((struct qpb_prompt_target *)ctx)->p->b.burst, n);
	return 0;
}

static uint32_t
verbose(void *ctx)
{
	return atomic_load(&bench(ctx)->verbose);
}

static int
set_verbose(void *ctx, uint32_t level, struct qp_errmsg *msg)
{
	if (level > 3)
		return qp_fail(msg, QP_E_INVAL,
			"set verbose %u: 0 is none, 1 received frames, 2 sent ones, 3 both", level);
	atomic_store(&((struct qpb_prompt_target *)ctx)->p->b.verbose, level);
	return 0;
}

static const char *
fwd(void *ctx)
{
	return qpb_scenario_names[bench(ctx)->cfg.scenario];
}

static int
set_load(struct qpb_prompt_target *t, const char *name, const char *text, struct qp_errmsg *msg)
{
	if (running(t))
		return qp_fail(msg, QP_E_INUSE, "Please stop first: a run is under way");
	return qpb_options_set(&t->p->o, &t->p->b.cfg, name, text, msg);
}

static int
set_fwd(void *ctx, const char *engine, struct qp_errmsg *msg)
{
	return set_load(ctx, "scenario", engine, msg);
}

static void
show_tunnels(void *ctx, struct qp_prompt_session *to)
{
	const struct qpb *b = bench(ctx);
	uint32_t n = 0;

	for (uint32_t i = 0; b->open != NULL && i < b->clients.count; i++) {
		if (!atomic_load_explicit(&b->open[i], memory_order_acquire))
			continue;
		qp_prompt_say(to, "  tunnel %u: port %u\n", i, b->opened_port[i]);
		n++;
	}
	qp_prompt_say(to, "  %u tunnels are open\n", n);
}

static void
show_load(void *ctx, struct qp_prompt_session *to)
{
	char *text = qpb_report_config(bench(ctx));

	qp_prompt_say(to, "%s", text != NULL ? text : "no memory\n");
	free(text);
}

static void
quit(void *ctx)
{
	((struct qpb_prompt_target *)ctx)->quit = true;
}

const struct qp_prompt_ops qpb_prompt_ops = {
	.nports = nports,
	.port_info = port_info,
	.port_stats = port_stats,
	.port_xstat = port_xstat,
	.port_start = port_start,
	.port_promisc = port_promisc,
	.stream = stream,
	.lcore = lcore,
	.running = running,
	.start = start,
	.fwd = fwd,
	.set_fwd = set_fwd,
	.fwd_engines = "bulk|requests|connections|handshakes|idle|udp",
	.burst = burst,
	.set_burst = set_burst,
	.verbose = verbose,
	.set_verbose = set_verbose,
	.show_tunnels = show_tunnels,
	.show_config = show_load,
	.quit = quit,
};

void
qpb_prompt_show_frames(const struct qpb_prompt_target *t, struct qp_prompt_session *s)
{
	char text[QP_VERBOSE_TEXT];
	struct qp_verbose_row row;
	uint64_t lost;

	for (unsigned i = 0; i < t->p->b.nworkers; i++) {
		struct qp_verbose *v = t->p->b.shown[i];

		for (unsigned n = 0; n < ROWS_AT_ONCE && qp_verbose_next(v, &row); n++) {
			qp_verbose_text(&row, 0, i, text, sizeof(text));
			qp_prompt_say(s, "%s", text);
		}
		lost = qp_verbose_lost(v);
		if (lost > 0)
			qp_prompt_say(s, "worker %u: %llu packets were not shown\n", i,
				(unsigned long long)lost);
	}
}

void
qpb_prompt_show_result(const struct qpb_prompt_target *t, struct qp_prompt_session *s)
{
	char *text = NULL;
	size_t len;
	FILE *f;

	if (!t->p->has_last) {
		qp_prompt_say(s, "No run has ended yet\n");
		return;
	}
	f = open_memstream(&text, &len);
	if (f != NULL) {
		qpb_report_text(&t->p->b, &t->p->last, f);
		fclose(f);
	}
	qp_prompt_say(s, "%s", text != NULL ? text : "no memory\n");
	free(text);
}

/* Commands of our own. */

struct load_args {
	cmdline_fixed_string_t set, load, name, value;
};

static struct qpb_prompt_target
	*target; /* the prompt's commands have no owner; see qpb_prompt_bind */

void
qpb_prompt_bind(struct qpb_prompt_target *t)
{
	target = t;
}

static void
on_set(void *parsed, struct cmdline *cl, void *data)
{
	const struct load_args *a = parsed;
	struct qp_errmsg msg;

	if (set_load(target, a->name, a->value, &msg) < 0)
		qp_prompt_say(qp_prompt_speaking(), "%s\n", msg.text);
}

static void
on_show(void *parsed, struct cmdline *cl, void *data)
{
	const struct load_args *a = parsed;

	if (strcmp(a->load, "load") == 0)
		show_load(target, qp_prompt_speaking());
	else
		qpb_prompt_show_result(target, qp_prompt_speaking());
}

static cmdline_parse_token_string_t word_set = TOKEN_STRING_INITIALIZER(
	struct load_args, set, "set");
static cmdline_parse_token_string_t word_show = TOKEN_STRING_INITIALIZER(
	struct load_args, set, "show");
static cmdline_parse_token_string_t word_load = TOKEN_STRING_INITIALIZER(
	struct load_args, load, "load");
static cmdline_parse_token_string_t word_what = TOKEN_STRING_INITIALIZER(
	struct load_args, load, "load#result");
static cmdline_parse_token_string_t word_name = TOKEN_STRING_INITIALIZER(
	struct load_args, name, NULL);
static cmdline_parse_token_string_t word_value = TOKEN_STRING_INITIALIZER(
	struct load_args, value, NULL);

static cmdline_parse_inst_t set_command = {
	.f = on_set,
	.help_str = "set load NAME VALUE",
	.tokens = {(void *)&word_set, (void *)&word_load, (void *)&word_name, (void *)&word_value,
		NULL},
};
static cmdline_parse_inst_t show_command = {
	.f = on_show,
	.help_str = "show load|result",
	.tokens = {(void *)&word_show, (void *)&word_what, NULL},
};

cmdline_parse_inst_t *const qpb_prompt_commands[] = {&set_command, &show_command, NULL};
