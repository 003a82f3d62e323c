/* SPDX-License-Identifier: Apache-2.0 */
/* `show config`: what stands between ports, streams and lcores, in testpmd's layout. The prompt's thread. */
#include <inttypes.h>

#include "dataplane/prompt/prompt_impl.h"

static const char *
engine(const struct qp_prompt *p)
{
	return p->cfg.ops->fwd != NULL ? p->cfg.ops->fwd(p->cfg.ctx) : "own";
}

static unsigned
count_lcores(const struct qp_prompt *p)
{
	struct qp_prompt_lcore l;
	unsigned n = 0;

	while (p->cfg.ops->lcore != NULL && n < QP_PROMPT_MAX_LCORES &&
		p->cfg.ops->lcore(p->cfg.ctx, n, &l))
		n++;
	return n;
}

static unsigned
count_streams(struct qp_prompt *p, unsigned lcore, bool of_any)
{
	struct qp_prompt_stream st;
	unsigned n = 0;

	for (unsigned i = 0; qp_prompt_stream(p, i, &st); i++)
		n += of_any || st.lcore == lcore;
	return n;
}

static void
show_queues(struct qp_prompt_session *s, const char *way, uint32_t n, uint32_t descriptors)
{
	for (unsigned q = 0; q < n; q++) {
		qp_prompt_say(s, "    %s queue: %u\n", way, q);
		if (descriptors > 0)
			qp_prompt_say(s, "      %s desc=%u\n", way, descriptors);
	}
}

static void
show_port_queues(struct qp_prompt_session *s, unsigned port)
{
	struct qp_prompt_info i;

	if (!s->prompt->cfg.ops->port_info(s->prompt->cfg.ctx, port, &i))
		return;
	qp_prompt_say(s, "  port %u: RX queue number: %u Tx queue number: %u\n", port, i.nrx, i.ntx);
	qp_prompt_say(s, "    Rx offloads=0x%" PRIx64 " Tx offloads=0x%" PRIx64 "\n", i.rx_offloads,
		i.tx_offloads);
	show_queues(s, "RX", i.nrx, i.rx_descriptors);
	show_queues(s, "TX", i.ntx, i.tx_descriptors);
}

void
qp_prompt_config_rxtx(struct qp_prompt_session *s)
{
	struct qp_prompt *p = s->prompt;

	qp_prompt_say(s, "  %s packet forwarding packets/burst=%u\n", engine(p),
		p->cfg.ops->burst != NULL ? p->cfg.ops->burst(p->cfg.ctx) : 0);
	qp_prompt_say(s, "  nb forwarding cores=%u - nb forwarding ports=%u\n", count_lcores(p),
		qp_prompt_nports(p));
	for (unsigned i = 0; i < qp_prompt_nports(p); i++)
		show_port_queues(s, i);
}

static unsigned
socket_of(struct qp_prompt *p, unsigned port)
{
	struct qp_prompt_info i;

	return p->cfg.ops->port_info(p->cfg.ctx, port, &i) ? qp_prompt_socket(i.socket) : 0;
}

static void
show_lcore_streams(struct qp_prompt_session *s, unsigned lcore)
{
	struct qp_prompt *p = s->prompt;
	struct qp_prompt_stream st;
	struct qp_prompt_lcore l;

	if (!p->cfg.ops->lcore(p->cfg.ctx, lcore, &l))
		return;
	qp_prompt_say(s, "Logical Core %u (socket %u) forwards packets on %u streams:\n", l.id,
		qp_prompt_socket(l.socket), count_streams(p, lcore, false));
	for (unsigned i = 0; qp_prompt_stream(p, i, &st); i++) {
		if (st.lcore == lcore)
			qp_prompt_say(s, "  RX P=%u/Q=%u (socket %u) -> TX P=%u/Q=%u (socket %u)\n",
				st.rx_port, st.rx_queue, socket_of(p, st.rx_port), st.tx_port,
				st.tx_queue, socket_of(p, st.tx_port));
	}
}

void
qp_prompt_config_fwd(struct qp_prompt_session *s)
{
	struct qp_prompt *p = s->prompt;

	qp_prompt_say(s, "%s packet forwarding - ports=%u - cores=%u - streams=%u\n", engine(p),
		qp_prompt_nports(p), count_lcores(p), count_streams(p, 0, true));
	for (unsigned i = 0; i < count_lcores(p); i++)
		show_lcore_streams(s, i);
	qp_prompt_say(s, "\n");
	if (p->cfg.ops->show_config != NULL)
		p->cfg.ops->show_config(p->cfg.ctx, s);
}

void
qp_prompt_config_cores(struct qp_prompt_session *s)
{
	struct qp_prompt *p = s->prompt;
	struct qp_prompt_lcore l;

	qp_prompt_say(s, "List of forwarding lcores:");
	for (unsigned i = 0; i < count_lcores(p) && p->cfg.ops->lcore(p->cfg.ctx, i, &l); i++)
		qp_prompt_say(s, " %2u", l.id);
	qp_prompt_say(s, "\n");
}
