/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What acknowledgments are worth to cwnd. They count by bytes, not by number
 * (RFC 3465), so dividing them gains nothing. A peer that acknowledges what it
 * has not seen yet (optimistic ACKs) claims a shorter round trip than there
 * is; that of the handshake it could not shorten, since it had to see our ISN.
 * So at most so many windows of acknowledged bytes count in that time. Thread:
 * the owning lcore.
 */
#include "dataplane/tcp/internal.h"

uint32_t
qp_tcp_credit(struct qp_tcp_conn *c, uint32_t acked)
{
	uint64_t now = qp_tcp_now(c->tcp);
	struct qp_tcp_xmit *x = c->x;

	if (c->syn_rtt_us < QP_TCP_CREDIT_RTT_US)
		return acked;
	if (now - x->credit_ns >= c->syn_rtt_us * UINT64_C(1000)) {
		x->credit_ns = now;
		x->credit_bytes = qp_min(c->cwnd, UINT32_MAX / QP_TCP_CREDIT_WINDOWS) * QP_TCP_CREDIT_WINDOWS;
	}
	if (acked > x->credit_bytes) {
		QP_TCP_COUNT(c->tcp, ack_early);
		acked = x->credit_bytes;
	}
	x->credit_bytes -= acked;
	return acked;
}
