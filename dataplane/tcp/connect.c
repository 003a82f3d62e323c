/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OPEN, active (RFC 9293, 3.10.1): the ends, a local port that nobody guesses
 * (RFC 6056), the SYN. Thread: the owning lcore. What comes back is input.c's.
 */
#include "common/error.h"
#include "dataplane/tcp/internal.h"

/*
 * May the port pair of a TIME-WAIT be opened anew? As RFC 6191 has it for the
 * other end: timestamps tell the lives apart, once ours has moved on.
 */
static bool
reusable(const struct qp_tcp *tcp, const struct qp_tcp_tcb *b)
{
	const struct qp_tcp_tw *tw = (const struct qp_tcp_tw *)b;

	return b->state == QP_TCP_TIME_WAIT && tw->ts &&
	       qp_tcp_now(tcp) + tcp->cfg.time_wait_s * QP_SEC_NS >= tw->until_ns + QP_SEC_NS;
}

/*
 * A local port that this remote end does not know yet (RFC 6056, 3.3.3), or
 * the first of those that may be used again; 0: none.
 */
static uint16_t
choose_port(struct qp_tcp *tcp, const struct qp_flow *flow)
{
	struct qp_flow f = *flow;
	uint32_t offset;
	uint16_t second_best = 0;

	f.lport_be = 0;
	offset = (uint32_t)qp_tcp_keyed(tcp->isn_key, &f, 1);
	for (uint32_t i = 0; i < tcp->port_count; i++) {
		const struct qp_tcp_tcb *b;

		f.lport_be = rte_cpu_to_be_16(
			tcp->port_first + (offset + tcp->port_counter++) % tcp->port_count);
		if (qp_tcp_find_listener(tcp, &f) != NULL)
			continue;
		b = qp_tcp_lookup(tcp, &f);
		if (b == NULL)
			return f.lport_be;
		if (second_best == 0 && reusable(tcp, b))
			second_best = f.lport_be;
	}
	return second_best;
}

/* The last life's TIME-WAIT, if any, gives way; what its numbers demand of the new ISN. */
static uint32_t
take_over(struct qp_tcp *tcp, const struct qp_flow *f)
{
	struct qp_tcp_tcb *b = qp_tcp_lookup(tcp, f);
	uint32_t iss = qp_tcp_isn(tcp, f);

	if (b != NULL) {
		iss = qp_tcp_later_iss(iss, ((struct qp_tcp_tw *)b)->snd_nxt);
		qp_tcp_tw_free(tcp, (struct qp_tcp_tw *)b);
	}
	return iss;
}

/* The ends in full, or QP_E_INUSE. */
static int
find_ends(struct qp_tcp *tcp, const struct qp_flow *flow, struct qp_flow *f)
{
	const struct qp_tcp_tcb *b;

	*f = *flow;
	if (f->lport_be == 0) {
		f->lport_be = choose_port(tcp, f);
		if (f->lport_be != 0)
			return 0;
		QP_TCP_COUNT(tcp, drop_no_port);
		return QP_E_INUSE;
	}
	b = qp_tcp_lookup(tcp, f);
	return b == NULL || reusable(tcp, b) ? 0 : QP_E_INUSE;
}

void
qp_tcp_set_ports(struct qp_tcp *tcp, uint16_t first, uint32_t count)
{
	tcp->port_first = first;
	tcp->port_count = count;
}

int
qp_tcp_connect(struct qp_tcp *tcp, const struct qp_flow *flow, const struct qp_tcp_ops *ops,
	void *ctx, struct qp_tcp_conn **out)
{
	struct qp_tcp_conn *c;
	struct qp_flow f;
	uint32_t iss;

	if (find_ends(tcp, flow, &f) != 0)
		return QP_E_INUSE;
	iss = take_over(tcp, &f);
	c = qp_tcp_conn_new(tcp, &f);
	if (c == NULL)
		return QP_E_NOMEM;
	c->ops = ops;
	c->ctx = ctx;
	c->flags = QP_TF_APP | QP_TF_SACK | QP_TF_TS | QP_TF_WSCALE;
	c->rcv_wscale = qp_tcp_rcv_wscale(tcp);
	qp_tcp_set_iss(c, iss);
	c->tcb.state = QP_TCP_SYN_SENT;
	QP_TCP_COUNT(tcp, active_opens);
	qp_tcp_send_syn(c);
	qp_tcp_timer_set(c, QP_TMR_RTX, qp_tcp_now(tcp) + c->rto_ns);
	*out = c;
	return 0;
}
