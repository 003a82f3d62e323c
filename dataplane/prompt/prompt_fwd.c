/* SPDX-License-Identifier: Apache-2.0 */
/* `start`, `stop`, what streams and lcores have done, in testpmd's layout. The prompt's thread. */
#include <inttypes.h>
#include <rte_cycles.h>
#include <string.h>

#include "dataplane/prompt/prompt_impl.h"

#define BORDER "----------------------"
#define SUM_BORDER "+++++++++++++++"

bool
qp_prompt_stream(struct qp_prompt *p, unsigned i, struct qp_prompt_stream *out)
{
	const struct qp_prompt_stream *c;

	if (i >= QP_PROMPT_MAX_STREAMS || p->cfg.ops->stream == NULL ||
		!p->cfg.ops->stream(p->cfg.ctx, i, out))
		return false;
	c = &p->stream_cleared[i];
	out->rx_packets = qp_prompt_since(out->rx_packets, c->rx_packets);
	out->tx_packets = qp_prompt_since(out->tx_packets, c->tx_packets);
	out->tx_dropped = qp_prompt_since(out->tx_dropped, c->tx_dropped);
	return true;
}

static bool
lcore_since(struct qp_prompt *p, unsigned i, struct qp_prompt_lcore *out)
{
	const struct qp_prompt_lcore *c;

	if (i >= QP_PROMPT_MAX_LCORES || !p->cfg.ops->lcore(p->cfg.ctx, i, out))
		return false;
	c = &p->lcore_cleared[i];
	out->busy_cycles = qp_prompt_since(out->busy_cycles, c->busy_cycles);
	out->idle_cycles = qp_prompt_since(out->idle_cycles, c->idle_cycles);
	out->packets = qp_prompt_since(out->packets, c->packets);
	out->bytes = qp_prompt_since(out->bytes, c->bytes);
	return true;
}

/* What forwarding has done with a port, or with all. */
struct sums {
	uint64_t rx, rx_dropped, tx, tx_dropped;
};

static void
show_sums(struct qp_prompt_session *s, const struct sums *a)
{
	qp_prompt_say(s,
		"  RX-packets: %-14" PRIu64 " RX-dropped: %-14" PRIu64 "RX-total: %-" PRIu64 "\n"
		"  TX-packets: %-14" PRIu64 " TX-dropped: %-14" PRIu64 "TX-total: %-" PRIu64 "\n",
		a->rx, a->rx_dropped, a->rx + a->rx_dropped, a->tx, a->tx_dropped,
		a->tx + a->tx_dropped);
}

/* What the port itself dropped belongs to it, whoever polls it. */
static void
add_missed(struct qp_prompt *p, unsigned port, struct sums *a)
{
	struct qp_prompt_stats t;

	if (p->cfg.ops->port_stats(p->cfg.ctx, port, &t))
		a->rx_dropped += qp_prompt_since(t.imissed, p->port[port].cleared.imissed);
}

static void
show_port_sums(struct qp_prompt_session *s, unsigned port, struct sums *all)
{
	struct qp_prompt_stream st;
	struct sums a = {0};

	for (unsigned i = 0; qp_prompt_stream(s->prompt, i, &st); i++) {
		if (st.rx_port == port)
			a.rx += st.rx_packets;
		if (st.tx_port == port) {
			a.tx += st.tx_packets;
			a.tx_dropped += st.tx_dropped;
		}
	}
	add_missed(s->prompt, port, &a);
	qp_prompt_say(s, "\n  %s Forward statistics for port %-2u %s\n", BORDER, port, BORDER);
	show_sums(s, &a);
	qp_prompt_say(s, "  %s--------------------------------%s\n", BORDER, BORDER);
	all->rx += a.rx;
	all->rx_dropped += a.rx_dropped;
	all->tx += a.tx;
	all->tx_dropped += a.tx_dropped;
}

/* One a queue, when there are more of them than ports. */
static void
show_streams(struct qp_prompt_session *s)
{
	struct qp_prompt_stream st;
	unsigned n = 0;

	while (qp_prompt_stream(s->prompt, n, &st))
		n++;
	for (unsigned i = 0; n > qp_prompt_nports(s->prompt) && i < n; i++) {
		if (!qp_prompt_stream(s->prompt, i, &st) || (st.rx_packets | st.tx_packets) == 0)
			continue;
		qp_prompt_say(s, "\n  ------- Forward Stats for RX Port=%2u/Queue=%2u -> TX Port=%2u/Queue=%2u -------\n",
			st.rx_port, st.rx_queue, st.tx_port, st.tx_queue);
		qp_prompt_say(s,
			"  RX-packets: %-14" PRIu64 " TX-packets: %-14" PRIu64 " TX-dropped: %-14" PRIu64 "\n",
			st.rx_packets, st.tx_packets, st.tx_dropped);
	}
}

static void
show_fwd_stats(struct qp_prompt_session *s)
{
	struct sums all = {0};

	show_streams(s);
	for (unsigned i = 0; i < qp_prompt_nports(s->prompt); i++)
		show_port_sums(s, i, &all);
	qp_prompt_say(s, "\n  %s Accumulated forward statistics for all ports%s\n", SUM_BORDER, SUM_BORDER);
	show_sums(s, &all);
	qp_prompt_say(s, "  %s++++++++++++++++++++++++++++++++++++++++++++++%s\n", SUM_BORDER, SUM_BORDER);
}

static void
on_fwd_stats(void *parsed, struct cmdline *cl, void *data)
{
	const struct qp_prompt_args *a = parsed;
	struct qp_prompt_session *s = qp_prompt_speaking();
	struct qp_prompt *p = s->prompt;

	(void)cl, (void)data;
	if (strcmp(a->word[0], "show") == 0) {
		show_fwd_stats(s);
		return;
	}
	for (unsigned i = 0; i < QP_PROMPT_MAX_STREAMS && p->cfg.ops->stream != NULL; i++) {
		if (!p->cfg.ops->stream(p->cfg.ctx, i, &p->stream_cleared[i]))
			break;
	}
	for (unsigned i = 0; i < QP_PROMPT_MAX_LCORES && p->cfg.ops->lcore != NULL; i++) {
		if (!p->cfg.ops->lcore(p->cfg.ctx, i, &p->lcore_cleared[i]))
			break;
	}
}

static double
each(uint64_t cycles, uint64_t n)
{
	return n == 0 ? 0 : (double)cycles / (double)n;
}

static void
show_lcore(struct qp_prompt_session *s, const struct qp_prompt_lcore *l)
{
	const uint64_t all = l->busy_cycles + l->idle_cycles, hz = rte_get_tsc_hz();
	const double byte = each(l->busy_cycles, l->bytes);

	qp_prompt_say(s, "\n  %s Cycles of lcore %-3u (CPU %u, socket %u) %s\n", BORDER, l->id, l->cpu,
		qp_prompt_socket(l->socket), BORDER);
	qp_prompt_say(s, "  Busy-cycles: %-18" PRIu64 " Idle-cycles: %-18" PRIu64 " Busy-percent: %.1f\n",
		l->busy_cycles, l->idle_cycles, 100.0 * each(l->busy_cycles, all));
	qp_prompt_say(s, "  Packets: %-22" PRIu64 " Cycles/packet: %.1f\n", l->packets,
		each(l->busy_cycles, l->packets));
	qp_prompt_say(s, "  Bytes: %-24" PRIu64 " Cycles/byte: %.3f         ns/byte: %.3f\n", l->bytes, byte,
		hz == 0 ? 0 : byte * 1e9 / (double)hz);
	qp_prompt_say(s, "  TSC-MHz: %.1f\n", (double)hz / 1e6);
	qp_prompt_say(s, "  %s------------------------------------%s\n", BORDER, BORDER);
}

static void
on_cycles(void *parsed, struct cmdline *cl, void *data)
{
	struct qp_prompt_session *s = qp_prompt_speaking();
	struct qp_prompt_lcore l;

	(void)parsed, (void)cl, (void)data;
	if (s->prompt->cfg.ops->lcore == NULL) {
		qp_prompt_lacks(s, "lcores");
		return;
	}
	for (unsigned i = 0; lcore_since(s->prompt, i, &l); i++)
		show_lcore(s, &l);
}

static void
on_start(void *parsed, struct cmdline *cl, void *data)
{
	struct qp_prompt_session *s = qp_prompt_speaking();
	const struct qp_prompt_config *cfg = &s->prompt->cfg;
	struct qp_errmsg msg;

	(void)parsed, (void)cl, (void)data;
	if (cfg->ops->running(cfg->ctx)) {
		qp_prompt_say(s, "Packet forwarding already started\n");
	} else if (cfg->ops->start(cfg->ctx, true, &msg) != 0) {
		qp_prompt_say(s, "%s\n", msg.text);
	} else {
		qp_prompt_config_fwd(s);
		qp_prompt_config_rxtx(s);
	}
}

static void
on_stop(void *parsed, struct cmdline *cl, void *data)
{
	struct qp_prompt_session *s = qp_prompt_speaking();
	const struct qp_prompt_config *cfg = &s->prompt->cfg;
	struct qp_errmsg msg;

	(void)parsed, (void)cl, (void)data;
	if (!cfg->ops->running(cfg->ctx)) {
		qp_prompt_say(s, "Packet forwarding not started\n");
		return;
	}
	qp_prompt_say(s, "Telling cores to stop...\nWaiting for lcores to finish...\n");
	if (cfg->ops->start(cfg->ctx, false, &msg) != 0) {
		qp_prompt_say(s, "%s\n", msg.text);
		return;
	}
	show_fwd_stats(s);
	qp_prompt_say(s, "\nDone.\n");
}

QP_PROMPT_WORD(word_show, 0, "show#clear");
QP_PROMPT_WORD(word_fwd, 1, "fwd");
QP_PROMPT_WORD(word_stats, 2, "stats");
QP_PROMPT_WORD(word_all, 3, "all");
QP_PROMPT_WORD(word_only_show, 0, "show");
QP_PROMPT_WORD(word_lcore, 1, "lcore");
QP_PROMPT_WORD(word_cycles, 2, "cycles");
QP_PROMPT_WORD(word_start, 0, "start");
QP_PROMPT_WORD(word_stop, 0, "stop");

static cmdline_parse_inst_t fwd_stats = {
	.f = on_fwd_stats,
	.help_str = "show|clear fwd stats all",
	.tokens = {(void *)&word_show, (void *)&word_fwd, (void *)&word_stats, (void *)&word_all, NULL},
};
/* As it is said, too. */
static cmdline_parse_inst_t fwd_stats_short = {
	.f = on_fwd_stats,
	.help_str = "show|clear fwd stats",
	.tokens = {(void *)&word_show, (void *)&word_fwd, (void *)&word_stats, NULL},
};
static cmdline_parse_inst_t cycles = {
	.f = on_cycles,
	.help_str = "show lcore cycles",
	.tokens = {(void *)&word_only_show, (void *)&word_lcore, (void *)&word_cycles, NULL},
};
static cmdline_parse_inst_t start = {
	.f = on_start,
	.help_str = "start",
	.tokens = {(void *)&word_start, NULL},
};
static cmdline_parse_inst_t stop = {
	.f = on_stop,
	.help_str = "stop",
	.tokens = {(void *)&word_stop, NULL},
};

cmdline_parse_inst_t *const qp_prompt_fwd_commands[] = {
	&fwd_stats, &fwd_stats_short, &cycles, &start, &stop, NULL};
