/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sender's state comes and goes: a connection has it while something is
 * queued, in flight, or waits for a verdict, and an idle one does without.
 * What outlives it (RTT, cwnd, RACK's windows) is in the connection. Thread:
 * the owning lcore.
 */
#include <string.h>

#include "dataplane/tcp/internal.h"

struct qp_tcp_xmit *
qp_tcp_xmit(struct qp_tcp_conn *c)
{
	struct qp_tcp_xmit *x = c->x;

	if (x != NULL)
		return x;
	x = qp_slab_get(&c->tcp->xmits);
	if (x == NULL) {
		QP_TCP_COUNT(c->tcp, drop_no_memory);
		return NULL;
	}
	memset(x, 0, sizeof(*x));
	/* All before is acknowledged: no episode is open, nothing counts as reordered. */
	x->recover = c->snd_una - 1;
	x->fack = c->snd_una;
	x->rack_end = c->snd_una;
	c->x = x;
	qp_tcp_stall_begin(c);
	return x;
}

void
qp_tcp_xmit_rest(struct qp_tcp_conn *c)
{
	if (c->x == NULL || c->snd_una != c->snd_nxt || c->x->sndq.bytes > 0)
		return;
	qp_tcp_stall_end(c);
	qp_slab_put(&c->tcp->xmits, c->x);
	c->x = NULL;
}

void
qp_tcp_xmit_drop(struct qp_tcp_conn *c)
{
	if (c->x == NULL)
		return;
	while (c->x->rec_head != NULL)
		qp_tcp_rec_unlink(c, c->x->rec_head);
	qp_mbufq_clear(&c->x->sndq);
	qp_tcp_stall_end(c);
	qp_slab_put(&c->tcp->xmits, c->x);
	c->x = NULL;
}
