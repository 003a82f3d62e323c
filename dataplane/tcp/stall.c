/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers that hold our memory by taking nothing, or next to nothing: a window
 * that stays closed for too long ends the connection (RFC 6429 allows it), and
 * while mbufs are short those that have stalled longest go first. Thread: the
 * owning lcore.
 *
 * All connections that have something to send are in one list, by the time
 * when the peer last took what it was owed, or a fair piece of it. So the
 * front is always who has stalled longest.
 */
#include "dataplane/tcp/internal.h"

static void
append(struct qp_tcp_conn *c)
{
	struct qp_tcp *tcp = c->tcp;

	c->x->stall_next = NULL;
	c->x->stall_prev = tcp->stall_newest;
	if (tcp->stall_newest != NULL)
		tcp->stall_newest->x->stall_next = c;
	else
		tcp->stall_oldest = c;
	tcp->stall_newest = c;
}

void
qp_tcp_stall_end(struct qp_tcp_conn *c)
{
	struct qp_tcp_conn *prev = c->x->stall_prev, *next = c->x->stall_next;

	if (prev != NULL)
		prev->x->stall_next = next;
	else
		c->tcp->stall_oldest = next;
	if (next != NULL)
		next->x->stall_prev = prev;
	else
		c->tcp->stall_newest = prev;
}

/* The clock starts; it starts anew when what is queued now, or a piece of it, is acknowledged. */
static void
restart(struct qp_tcp_conn *c)
{
	uint32_t piece = qp_min(c->snd_end - c->snd_una, QP_TCP_STALL_BYTES);

	c->x->stall_seq = c->snd_una + qp_max(piece, 1u);
	c->x->stall_ms = qp_tcp_now_ms(c->tcp);
	append(c);
}

void
qp_tcp_stall_begin(struct qp_tcp_conn *c)
{
	restart(c);
}

void
qp_tcp_stall_queued(struct qp_tcp_conn *c)
{
	if (qp_tcp_queued(c) > 0)
		return;
	qp_tcp_stall_end(c);
	restart(c);
}

void
qp_tcp_stall_acked(struct qp_tcp_conn *c)
{
	if (c->x == NULL || qp_tcp_fin_acked(c) || seq_lt(c->snd_una, c->x->stall_seq))
		return;
	qp_tcp_stall_end(c);
	restart(c);
}

bool
qp_tcp_stalled_too_long(const struct qp_tcp_conn *c)
{
	uint32_t limit = c->tcp->cfg.zero_window_s;

	return limit != 0 && c->x != NULL &&
	       qp_tcp_now_ms(c->tcp) - c->x->stall_ms >= limit * UINT64_C(1000);
}

void
qp_tcp_stall_relieve(struct qp_tcp *tcp)
{
	uint32_t patience = qp_tcp_memory(tcp) == QP_MEM_SCARCE ? QP_TCP_STALL_SCARCE_MS : QP_TCP_STALL_TIGHT_MS;
	struct qp_tcp_conn *worst = NULL, *c = tcp->stall_oldest;

	/* Of the oldest few the one that holds most; the next turn sees what that has given back. */
	for (unsigned i = 0; i < QP_TCP_STALL_LOOK && c != NULL; i++, c = c->x->stall_next) {
		if (qp_tcp_now_ms(tcp) - c->x->stall_ms < patience)
			break;
		if (qp_tcp_queued(c) > 0 && (worst == NULL || qp_tcp_queued(worst) < qp_tcp_queued(c)))
			worst = c;
	}
	if (worst == NULL)
		return;
	QP_TCP_COUNT(tcp, slow_peers_ended);
	qp_tcp_send_rst(worst, QP_TCP_RST_NO_MEMORY);
	qp_tcp_conn_end(worst, QP_TCP_END_TIMEOUT);
}
