/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long what was sent may stay unacknowledged (RFC 9293, 3.8.3), as the
 * configuration, the application and the peer have it (RFC 5482). Thread: the
 * owning lcore. The timers that go by it are timers.c's.
 */
#include "dataplane/tcp/internal.h"

/* RFC 5482, 3.1: the bounds of what a peer may make of it. L_LIMIT is RFC 9293's R2. */
#define U_LIMIT_S 3600u
#define L_LIMIT_S 100u

/* ADV_UTO: what we would tell the peer. */
static uint32_t
advertised_s(const struct qp_tcp_conn *c)
{
	if (c->uto & QP_UTO_FIXED)
		return c->user_timeout_s;
	return c->tcp->cfg.user_timeout_s != 0 ? c->tcp->cfg.user_timeout_s : QP_TCP_R2_NS / QP_SEC_NS;
}

uint32_t
qp_tcp_user_timeout_s(const struct qp_tcp_conn *c)
{
	return c->user_timeout_s != 0 ? c->user_timeout_s : advertised_s(c);
}

/* 3.1: both ends' wishes, the longer one, within bounds; not against the application (CHANGEABLE). */
void
qp_tcp_uto_input(struct qp_tcp_conn *c, const struct qp_tcp_options *o)
{
	if (!o->has_uto || !c->tcp->cfg.user_timeout_option || (c->uto & QP_UTO_FIXED))
		return;
	c->user_timeout_s = qp_min(U_LIMIT_S, qp_max(qp_max(advertised_s(c), o->uto_s), L_LIMIT_S));
	c->uto |= QP_UTO_ADOPTED;
}

void
qp_tcp_uto_options(const struct qp_tcp_conn *c, struct qp_tcp_options *o)
{
	o->has_uto = true;
	o->uto_s = advertised_s(c);
}

/* It is advice and comes without an answer: in the SYN, in the first segment after it, when it changes. */
void
qp_tcp_uto_offer(struct qp_tcp_conn *c)
{
	if (c->tcp->cfg.user_timeout_option)
		c->uto |= QP_UTO_SEND;
}

/*
 * 4.2: keep-alives must not end what the user timeout would let live, so they
 * begin after it.
 */
uint64_t
qp_tcp_keepalive_ns(const struct qp_tcp_conn *c)
{
	uint32_t s = c->tcp->cfg.keepalive_s;

	if (s != 0 && (c->uto & QP_UTO_ADOPTED))
		s = qp_max(s, c->user_timeout_s + 1);
	return s * QP_SEC_NS;
}

void
qp_tcp_set_user_timeout(struct qp_tcp_conn *c, uint32_t seconds)
{
	if (c->tcb.state == QP_TCP_CLOSED)
		return;
	c->user_timeout_s = seconds;
	c->uto &= ~(QP_UTO_FIXED | QP_UTO_ADOPTED);
	if (seconds != 0)
		c->uto |= QP_UTO_FIXED;
	if (!c->tcp->cfg.user_timeout_option || !qp_tcp_synchronized(c))
		return;
	qp_tcp_uto_offer(c);
	c->flags |= QP_TF_ACK_NOW;
	qp_tcp_work(c);
}
