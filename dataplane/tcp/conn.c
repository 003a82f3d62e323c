/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life and death of a connection: made, established, dropped; the backlog of
 * half-open ones; the list of those with work for the next flush. Thread: the
 * owning lcore. What segments do to it is left to input.c and its like.
 */
#include <assert.h>
#include <string.h>

#include "dataplane/tcp/internal.h"

/* An idle connection's memory: with its table slot the whole of it. */
_Static_assert(sizeof(struct qp_tcp_conn) <= 512, "an idle connection is eight cache lines");
_Static_assert(sizeof(struct qp_tcp_tw) <= 128, "a TIME-WAIT is two cache lines");

static bool
make_room(struct qp_tcp *tcp)
{
	if (tcp->nconns < tcp->cfg.max_conns)
		return true;
	/* The oldest TIME-WAIT has kept its watch longest. */
	if (tcp->tw_oldest == NULL)
		return false;
	QP_TCP_COUNT(tcp, time_wait_evicted);
	qp_tcp_tw_free(tcp, tcp->tw_oldest);
	return true;
}

struct qp_tcp_conn *
qp_tcp_conn_new(struct qp_tcp *tcp, const struct qp_flow *flow)
{
	struct qp_tcp_conn *c = make_room(tcp) ? qp_slab_get(&tcp->conns) : NULL;

	if (c == NULL)
		return NULL;
	memset(c, 0, sizeof(*c));
	c->tcp = tcp;
	c->tcb.flow = *flow;
	c->rcv_buf = tcp->cfg.rcv_buf_bytes;
	c->timer.fn = qp_tcp_on_timer;
	c->rto_ns = QP_TCP_RTO_INIT_NS;
	c->peer_mss = qp_ipaddr_is_v4(&flow->local) ? 536 : 1220; /* RFC 9293, 3.7.1 */
	qp_tcp_set_path_mss(c, qp_tcp_link_mtu(tcp, flow));
	c->ts_offset = qp_tcp_ts_offset(tcp, flow);
	c->progress_ms = c->last_rx_ms = qp_tcp_now_ms(tcp);
	c->last_tx_ns = qp_tcp_now(tcp);
	c->reo_mult = 1;
	qp_tcp_insert(tcp, &c->tcb);
	return c;
}

void
qp_tcp_set_path_mss(struct qp_tcp_conn *c, uint32_t mtu)
{
	uint32_t headers = (qp_ipaddr_is_v4(&c->tcb.flow.local) ? 20 : 40) + 20;
	uint32_t mss = mtu > headers + QP_TCP_MIN_MSS ? mtu - headers : QP_TCP_MIN_MSS;

	c->path_mss = qp_min(mss, UINT16_MAX);
}

void
qp_tcp_conn_established(struct qp_tcp_conn *c)
{
	struct qp_tcp *tcp = c->tcp;

	c->tcb.state = QP_TCP_ESTABLISHED;
	c->quick_acks = QP_TCP_QUICK_ACKS;
	c->rcv_seg = qp_min(c->path_mss, c->peer_mss);
	c->progress_ms = c->last_rx_ms;
	qp_tcp_rto_reset(c);
	/* RFC 6298, 5.7: a lost SYN leaves a cautious RTO for the first data. */
	if ((c->flags & QP_TF_SYN_RTX) && c->srtt_ns == 0)
		c->rto_ns = 3 * QP_SEC_NS;
	if (c->cwnd == 0) /* Fast Open has sent already */
		tcp->cc->init(c);
	qp_tcp_timer_clear(c, QP_TMR_RTX);
	if (tcp->cfg.keepalive_s != 0)
		qp_tcp_timer_set(c, QP_TMR_KEEP, qp_tcp_now(tcp) + qp_tcp_keepalive_ns(c));
	qp_tcp_uto_offer(c);
	tcp->counters.established++;
}

void
qp_tcp_conn_drop(struct qp_tcp_conn *c)
{
	struct qp_tcp *tcp = c->tcp;

	if (c->tcb.state == QP_TCP_CLOSED)
		return;
	if (c->flags & QP_TF_HALF_OPEN)
		qp_tcp_half_close(c);
	qp_tcp_fastopen_end(c);
	if (qp_tcp_synchronized(c))
		tcp->counters.established--;
	if (c->flags & QP_TF_PASSIVE)
		qp_tcp_source_give(tcp, &c->tcb.flow);
	qp_timer_cancel(tcp->env.wheel, &c->timer);
	qp_tcp_xmit_drop(c);
	qp_tcp_reass_clear(c);
	qp_tcp_remove(tcp, &c->tcb);
	c->tcb.state = QP_TCP_CLOSED;
	qp_tcp_work(c);
}

void
qp_tcp_conn_end(struct qp_tcp_conn *c, enum qp_tcp_end why)
{
	bool tell = c->flags & QP_TF_APP;

	if (c->tcb.state == QP_TCP_CLOSED)
		return;
	qp_tcp_conn_drop(c);
	if (tell)
		c->ops->ended(c->ctx, why);
}

void
qp_tcp_work(struct qp_tcp_conn *c)
{
	struct qp_tcp *tcp = c->tcp;

	if (c->flags & QP_TF_IN_WORK)
		return;
	c->flags |= QP_TF_IN_WORK;
	c->work_next = NULL;
	if (tcp->work_tail == NULL)
		tcp->work_head = c;
	else
		tcp->work_tail->work_next = c;
	tcp->work_tail = c;
}

/* Until the application sets its own, ctx says whose backlog the connection is in. */
void
qp_tcp_half_open(struct qp_tcp_conn *c, struct qp_tcp_listener *l)
{
	c->flags |= QP_TF_HALF_OPEN;
	c->ctx = l;
	c->half_next = l->half;
	c->half_pprev = &l->half;
	if (l->half != NULL)
		l->half->half_pprev = &c->half_next;
	l->half = c;
	c->tcp->half_open++;
}

struct qp_tcp_listener *
qp_tcp_half_listener(const struct qp_tcp_conn *c)
{
	assert(c->flags & QP_TF_HALF_OPEN);
	return c->ctx;
}

void
qp_tcp_half_close(struct qp_tcp_conn *c)
{
	*c->half_pprev = c->half_next;
	if (c->half_next != NULL)
		c->half_next->half_pprev = c->half_pprev;
	c->half_next = NULL;
	c->half_pprev = NULL;
	c->flags &= ~QP_TF_HALF_OPEN;
	c->ctx = NULL;
	c->tcp->half_open--;
}
