/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much a connection may hold. The receive window follows what the path and
 * the application take a round trip, from 64 KiB up to the connection's share;
 * the send buffer follows cwnd. What all hold together is counted against the
 * stack's budget, and windows stop growing long before it is used up. Thread:
 * the owning lcore.
 */
#include "dataplane/tcp/internal.h"

#define START_BYTES (64u * 1024)
#define GROWTH      4u
#define SPARE_SEGS  16u

uint32_t
qp_tcp_rcv_limit(const struct qp_tcp_conn *c)
{
	return qp_min(c->rcv_buf, c->rcv_tuned);
}

void
qp_tcp_rcv_start(struct qp_tcp_conn *c)
{
	c->rcv_tuned = qp_min(START_BYTES, c->rcv_buf);
	/* What of a SYN's text (RFC 7413) was taken before, or is not yet, belongs to no round. */
	c->rcv_taken = c->rcv_nxt - c->rcv_held;
	c->rcv_round_bytes = 0;
	c->rcv_round_us = (uint32_t)(qp_tcp_now(c->tcp) / 1000);
}

/* The round trip as the receiver can know it: its own, or by the echo of its ACKs' timestamps. */
static uint32_t
round_trip_us(const struct qp_tcp_conn *c)
{
	if (c->rcv_rtt_us != 0)
		return c->rcv_rtt_us;
	return c->srtt_ns != 0 ? (uint32_t)qp_min(c->srtt_ns / 1000, UINT32_MAX) : 100000;
}

void
qp_tcp_rcv_rtt(struct qp_tcp_conn *c, const struct qp_tcp_seg *s)
{
	uint32_t us;

	/* Text that answers an ACK of ours: at least a round trip, the least of them is one. */
	if (!(c->flags & QP_TF_TS) || !s->opt.has_ts || s->opt.tsecr == 0 || s->data_len == 0)
		return;
	us = (qp_tcp_tsval(c) - s->opt.tsecr) * 1000;
	if ((int32_t)us < 0)
		return;
	us = qp_max(us, 1000u); /* a tick of the clock */
	if (c->rcv_rtt_us == 0 || us < c->rcv_rtt_us)
		c->rcv_rtt_us = us;
	else
		c->rcv_rtt_us += (us - c->rcv_rtt_us) / 64; /* a path may become longer */
}

/*
 * Dynamic right-sizing: what was taken in one round trip, twice, and four times
 * what that is more than in any before. A sender in slow start, which takes
 * half of it more each time, then finds room for its next two doublings: one
 * until we look again, one for what it sends by the ACKs of those. And what the
 * application still holds, since it takes as much again in the time that this
 * waits.
 */
void
qp_tcp_rcv_taken(struct qp_tcp_conn *c)
{
	uint32_t now_us = (uint32_t)(qp_tcp_now(c->tcp) / 1000);
	uint32_t upto = c->rcv_nxt - c->rcv_held, taken = upto - c->rcv_taken;
	uint64_t want;

	if (now_us - c->rcv_round_us < round_trip_us(c))
		return;
	c->rcv_round_us = now_us;
	c->rcv_taken = upto;
	if (taken <= c->rcv_round_bytes || qp_tcp_memory(c->tcp) != QP_MEM_PLENTY)
		return; /* no faster than before: it has room enough; or nobody has */
	want = 2 * (uint64_t)taken + GROWTH * (uint64_t)(taken - c->rcv_round_bytes) + c->rcv_held +
	       SPARE_SEGS * c->rcv_seg;
	c->rcv_round_bytes = taken;
	if (want > c->rcv_tuned)
		c->rcv_tuned = (uint32_t)qp_min(want, (uint64_t)c->tcp->cfg.rcv_buf_bytes);
}

uint32_t
qp_tcp_send_buffer(const struct qp_tcp_conn *c)
{
	uint32_t most = c->tcp->cfg.snd_buf_bytes, window = qp_min(c->cwnd, c->snd_wnd);

	/* What is in flight, and as much again to send when it is acknowledged. */
	return (uint32_t)qp_min(qp_max(2 * (uint64_t)window, START_BYTES), most);
}

/* The budget. */

void
qp_tcp_hold(struct qp_tcp *tcp, int64_t bytes)
{
	tcp->held_bytes += (uint64_t)bytes;
	tcp->counters.held_bytes = tcp->held_bytes;
}

enum qp_mem_level
qp_tcp_memory(const struct qp_tcp *tcp)
{
	enum qp_mem_level mbufs =
		tcp->env.mem_level != NULL ? (enum qp_mem_level)*tcp->env.mem_level : QP_MEM_PLENTY;
	enum qp_mem_level own = QP_MEM_PLENTY;

	if (tcp->held_bytes >= tcp->budget_bytes)
		own = QP_MEM_SCARCE;
	else if (tcp->held_bytes >= tcp->budget_bytes / 2)
		own = QP_MEM_TIGHT;
	return own > mbufs ? own : mbufs;
}
