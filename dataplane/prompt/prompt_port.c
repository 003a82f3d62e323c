/* SPDX-License-Identifier: Apache-2.0 */
/* `show port`, `clear port`, `port start|stop`, in testpmd's layout. The prompt's thread. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "dataplane/prompt/prompt_impl.h"

#define BORDER "########################"

/* Since the last clear. False: there is no such port any more. */
static bool
stats_since(struct qp_prompt *p, unsigned port, struct qp_prompt_stats *out)
{
	const struct qp_prompt_stats *c = &p->port[port].cleared;

	if (!p->cfg.ops->port_stats(p->cfg.ctx, port, out))
		return false;
	out->ipackets = qp_prompt_since(out->ipackets, c->ipackets);
	out->opackets = qp_prompt_since(out->opackets, c->opackets);
	out->ibytes = qp_prompt_since(out->ibytes, c->ibytes);
	out->obytes = qp_prompt_since(out->obytes, c->obytes);
	out->imissed = qp_prompt_since(out->imissed, c->imissed);
	out->ierrors = qp_prompt_since(out->ierrors, c->ierrors);
	out->oerrors = qp_prompt_since(out->oerrors, c->oerrors);
	out->rx_nombuf = qp_prompt_since(out->rx_nombuf, c->rx_nombuf);
	return true;
}

/* What came each second since it was last shown. */
static uint64_t
rate(uint64_t now, uint64_t before, uint64_t ns)
{
	return ns == 0 || now < before ? 0 : (uint64_t)((double)(now - before) * 1e9 / (double)ns);
}

void
qp_prompt_port_stats(struct qp_prompt_session *s, unsigned port)
{
	struct qp_prompt_port *known = &s->prompt->port[port];
	const struct qp_prompt_stats before = known->shown;
	const uint64_t now_ns = qp_now_ns();
	const uint64_t ns = known->shown_ns == 0 ? 0 : now_ns - known->shown_ns;
	struct qp_prompt_stats t;

	if (!stats_since(s->prompt, port, &t))
		return;
	qp_prompt_say(s, "\n  %s NIC statistics for port %-2u %s\n", BORDER, port, BORDER);
	qp_prompt_say(s,
		"  RX-packets: %-10" PRIu64 " RX-missed: %-10" PRIu64 " RX-bytes:  %-" PRIu64 "\n"
		"  RX-errors: %-" PRIu64 "\n"
		"  RX-nombuf:  %-10" PRIu64 "\n"
		"  TX-packets: %-10" PRIu64 " TX-errors: %-10" PRIu64 " TX-bytes:  %-" PRIu64 "\n",
		t.ipackets, t.imissed, t.ibytes, t.ierrors, t.rx_nombuf, t.opackets, t.oerrors,
		t.obytes);
	qp_prompt_say(s,
		"\n  Throughput (since last show)\n"
		"  Rx-pps: %12" PRIu64 "          Rx-bps: %12" PRIu64 "\n"
		"  Tx-pps: %12" PRIu64 "          Tx-bps: %12" PRIu64 "\n",
		rate(t.ipackets, before.ipackets, ns), rate(t.ibytes, before.ibytes, ns) * 8,
		rate(t.opackets, before.opackets, ns), rate(t.obytes, before.obytes, ns) * 8);
	qp_prompt_say(s, "  %s############################%s\n", BORDER, BORDER);
	known->shown = t;
	known->shown_ns = now_ns;
}

static void
clear_stats(struct qp_prompt_session *s, unsigned port)
{
	struct qp_prompt_port *known = &s->prompt->port[port];

	if (!s->prompt->cfg.ops->port_stats(s->prompt->cfg.ctx, port, &known->cleared))
		return;
	memset(&known->shown, 0, sizeof(known->shown));
	known->shown_ns = 0;
	qp_prompt_say(s, "\n  NIC statistics for port %u cleared\n", port);
}

static void
show_xstats(struct qp_prompt_session *s, unsigned port)
{
	struct qp_prompt *p = s->prompt;
	const struct qp_prompt_port *known = &p->port[port];
	struct qp_prompt_xstat x;

	qp_prompt_say(s, "###### NIC extended statistics for port %-2u\n", port);
	for (unsigned i = 0; p->cfg.ops->port_xstat(p->cfg.ctx, port, i, &x); i++)
		qp_prompt_say(s, "%s: %" PRIu64 "\n", x.name,
			qp_prompt_since(x.value, i < known->nxcleared ? known->xcleared[i] : 0));
}

static void
clear_xstats(struct qp_prompt_session *s, unsigned port)
{
	struct qp_prompt *p = s->prompt;
	struct qp_prompt_port *known = &p->port[port];
	struct qp_prompt_xstat x;
	unsigned n = 0;
	uint64_t *values;

	while (p->cfg.ops->port_xstat(p->cfg.ctx, port, n, &x))
		n++;
	values = calloc(n + 1u, sizeof(values[0]));
	if (values == NULL) {
		qp_prompt_say(s, "no memory to clear them\n");
		return;
	}
	for (unsigned i = 0; i < n && p->cfg.ops->port_xstat(p->cfg.ctx, port, i, &x); i++)
		values[i] = x.value;
	free(known->xcleared);
	known->xcleared = values;
	known->nxcleared = n;
}

static void
show_speed(struct qp_prompt_session *s, uint32_t mbps)
{
	if (mbps == 0)
		qp_prompt_say(s, "Link speed: None\n");
	else if (mbps % 1000 == 0)
		qp_prompt_say(s, "Link speed: %u Gbps\n", mbps / 1000);
	else
		qp_prompt_say(s, "Link speed: %u Mbps\n", mbps);
}

static void
show_info(struct qp_prompt_session *s, unsigned port)
{
	struct qp_prompt_info i;

	if (!s->prompt->cfg.ops->port_info(s->prompt->cfg.ctx, port, &i))
		return;
	qp_prompt_say(s, "\n********************* Infos for port %-2u *********************\n", port);
	qp_prompt_say(s,
		"MAC address: %02X:%02X:%02X:%02X:%02X:%02X\nDevice name: %s\nDriver name: %s\n"
		"Connect to socket: %u\nLink status: %s\n",
		i.mac[0], i.mac[1], i.mac[2], i.mac[3], i.mac[4], i.mac[5], i.name, i.driver,
		qp_prompt_socket(i.socket), i.up ? "up" : "down");
	show_speed(s, i.speed_mbps);
	qp_prompt_say(s,
		"Link duplex: %s\nMTU: %u\nPromiscuous mode: %s\nAllmulticast mode: %s\n"
		"Current number of RX queues: %u\nCurrent number of TX queues: %u\n",
		i.full_duplex ? "full-duplex" : "half-duplex", i.mtu,
		i.promiscuous ? "enabled" : "disabled", i.allmulticast ? "enabled" : "disabled",
		i.nrx, i.ntx);
}

static void
each_port(struct qp_prompt_session *s, void (*f)(struct qp_prompt_session *, unsigned))
{
	for (unsigned i = 0; i < qp_prompt_nports(s->prompt); i++)
		f(s, i);
}

/* What `data` is to a command: all ports, or the one that was named. */
#define ALL ((void *)1)

static void
on_ports(const struct qp_prompt_args *a, void *data, void (*f)(struct qp_prompt_session *, unsigned))
{
	struct qp_prompt_session *s = qp_prompt_speaking();

	if (data == ALL)
		each_port(s, f);
	else if (qp_prompt_port_ok(s, a->port))
		f(s, a->port);
}

static void
on_show(void *parsed, struct cmdline *cl, void *data)
{
	const struct qp_prompt_args *a = parsed;

	(void)cl;
	if (strcmp(a->word[2], "info") == 0)
		on_ports(a, data, show_info);
	else if (strcmp(a->word[2], "stats") == 0)
		on_ports(a, data, qp_prompt_port_stats);
	else
		on_ports(a, data, show_xstats);
}

static void
on_clear(void *parsed, struct cmdline *cl, void *data)
{
	const struct qp_prompt_args *a = parsed;

	(void)cl;
	on_ports(a, data, strcmp(a->word[2], "stats") == 0 ? clear_stats : clear_xstats);
}

static void
start_or_stop(struct qp_prompt_session *s, unsigned port, bool start)
{
	const struct qp_prompt *p = s->prompt;
	struct qp_prompt_info i;
	struct qp_errmsg msg;

	if (p->cfg.ops->port_start(p->cfg.ctx, port, start, &msg) != 0)
		qp_prompt_say(s, "Port %u: %s\n", port, msg.text);
	else if (start && p->cfg.ops->port_info(p->cfg.ctx, port, &i))
		qp_prompt_say(s, "Port %u: %02X:%02X:%02X:%02X:%02X:%02X\n", port, i.mac[0], i.mac[1],
			i.mac[2], i.mac[3], i.mac[4], i.mac[5]);
}

static void
start_port(struct qp_prompt_session *s, unsigned port)
{
	start_or_stop(s, port, true);
}

static void
stop_port(struct qp_prompt_session *s, unsigned port)
{
	start_or_stop(s, port, false);
}

static void
on_operate(void *parsed, struct cmdline *cl, void *data)
{
	const struct qp_prompt_args *a = parsed;
	struct qp_prompt_session *s = qp_prompt_speaking();
	const bool start = strcmp(a->word[1], "start") == 0;

	(void)cl;
	if (s->prompt->cfg.ops->port_start == NULL) {
		qp_prompt_lacks(s, "port start and stop");
		return;
	}
	if (!start)
		qp_prompt_say(s, "Stopping ports...\n");
	on_ports(a, data, start ? start_port : stop_port);
	qp_prompt_say(s, "Checking link statuses...\nDone\n");
}

QP_PROMPT_WORD(word_show, 0, "show");
QP_PROMPT_WORD(word_clear, 0, "clear");
QP_PROMPT_WORD(word_port, 1, "port");
QP_PROMPT_WORD(word_shown, 2, "info#stats#xstats");
QP_PROMPT_WORD(word_cleared, 2, "stats#xstats");
QP_PROMPT_WORD(word_all3, 3, "all");
QP_PROMPT_WORD(word_port0, 0, "port");
QP_PROMPT_WORD(word_operation, 1, "start#stop");
QP_PROMPT_WORD(word_all2, 2, "all");
static cmdline_parse_token_num_t number =
	TOKEN_NUM_INITIALIZER(struct qp_prompt_args, port, RTE_UINT16);

static cmdline_parse_inst_t show_one = {
	.f = on_show,
	.help_str = "show port info|stats|xstats PORT",
	.tokens = {(void *)&word_show, (void *)&word_port, (void *)&word_shown, (void *)&number, NULL},
};
static cmdline_parse_inst_t show_all = {
	.f = on_show,
	.data = ALL,
	.help_str = "show port info|stats|xstats all",
	.tokens = {(void *)&word_show, (void *)&word_port, (void *)&word_shown, (void *)&word_all3, NULL},
};
static cmdline_parse_inst_t clear_one = {
	.f = on_clear,
	.help_str = "clear port stats|xstats PORT",
	.tokens = {(void *)&word_clear, (void *)&word_port, (void *)&word_cleared, (void *)&number, NULL},
};
static cmdline_parse_inst_t clear_all = {
	.f = on_clear,
	.data = ALL,
	.help_str = "clear port stats|xstats all",
	.tokens = {(void *)&word_clear, (void *)&word_port, (void *)&word_cleared, (void *)&word_all3, NULL},
};
static cmdline_parse_inst_t operate_one = {
	.f = on_operate,
	.help_str = "port start|stop PORT",
	.tokens = {(void *)&word_port0, (void *)&word_operation, (void *)&number, NULL},
};
static cmdline_parse_inst_t operate_all = {
	.f = on_operate,
	.data = ALL,
	.help_str = "port start|stop all",
	.tokens = {(void *)&word_port0, (void *)&word_operation, (void *)&word_all2, NULL},
};

cmdline_parse_inst_t *const qp_prompt_port_commands[] = {
	&show_one, &show_all, &clear_one, &clear_all, &operate_one, &operate_all, NULL};
