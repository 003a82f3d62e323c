/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A flow's stream, and silence. A client allows so many streams: beyond, flows
 * wait, and those that are silent make room for them. Runs on the owning lcore.
 */
#include <rte_mbuf.h>

#include "dataplane/udp/internal.h"

#define SECOND_NS UINT64_C(1000000000)
/*
 * A flow without a word for so long gives its stream to one that waits for a
 * stream: when the last word was the client's, and when it was the outside's.
 */
#define ANSWERED_NS (SECOND_NS / 2)
#define RECLAIM_NS (2 * SECOND_NS)
#define RECHECK_NS (SECOND_NS / 4)
#define RECLAIM_LOOK 64u

/* Opens the stream and gives it what has come in the meantime. */
static int
open_stream(struct qp_udp_flow *f)
{
	uint8_t prefix[QP_WIRE_CONN_ID_BYTES];
	int rc = qp_quic_stream_open(f->tunnel->conn, f, &f->stream);

	if (rc < 0)
		return rc;
	qp_udp_open_window(f->stream);
	qp_wire_put_conn_id(prefix, f->id);
	rc = qp_quic_stream_write_bytes(f->stream, prefix, sizeof(prefix));
	if (rc < 0)
		return rc;
	qp_udp_flow_queued(f, sizeof(prefix));
	if (f->held.head != NULL)
		qp_quic_stream_write(f->stream, qp_mbufq_take(&f->held));
	qp_tunnel_announce(f->tunnel, f->id);
	return 0;
}

void
qp_udp_open_waiting(struct qp_tunnel *t)
{
	struct qp_udp_flow *f;
	int rc;

	if (t->state != QP_TUNNEL_OPEN)
		return;
	while ((f = TAILQ_FIRST(&t->waiting_flows)) != NULL) {
		rc = open_stream(f);
		if (rc == QP_E_AGAIN)
			return;
		qp_udp_flow_dequeue(f);
		qp_udp_flow_enqueue(f, false);
		/* The client hears of it only now: before, the silence was ours. */
		qp_udp_flow_touch(f, false);
		if (rc < 0) {
			QP_UDP_COUNT(f->udp, drop_no_memory);
			qp_udp_flow_abort(f, QP_STREAM_LIMIT);
		}
	}
}

/*
 * The client allows no more streams. Flows that were silent longest give up
 * theirs, if they were silent for a while: a question and its answer take
 * moments, and the idle time is meant for those who have room. An eighth of
 * them at once, since clients give credit back in lots of that size.
 */
static void
reclaim_streams(struct qp_tunnel *t, uint64_t now_ns)
{
	uint32_t most = 1 + t->nflows / 8, look = RECLAIM_LOOK;
	struct qp_udp_flow *f, *next;

	for (f = TAILQ_FIRST(&t->flows); f != NULL && most > 0 && look-- > 0; f = next) {
		uint64_t enough_ns = f->answered ? ANSWERED_NS : RECLAIM_NS;

		next = TAILQ_NEXT(f, link);
		if (now_ns - f->last_ns < ANSWERED_NS)
			return;
		if (now_ns - f->last_ns < enough_ns)
			continue;
		most--;
		QP_UDP_COUNT(f->udp, flows_reclaimed);
		qp_usage_why(&f->use.why, QP_END_LIMIT);
		qp_udp_flow_abort(f, QP_STREAM_TIMEOUT);
	}
}

static void
wait_for_stream(struct qp_udp_flow *f)
{
	struct qp_udp *u = f->udp;

	qp_udp_flow_dequeue(f);
	qp_udp_flow_enqueue(f, true);
	qp_timer_arm(u->env.wheel, &f->idle, f->last_ns + RTE_MIN(RECHECK_NS, u->cfg.idle_ns));
	reclaim_streams(f->tunnel, *u->env.now_ns);
}

/* Silence is measured when the timer fires: a datagram only notes the time. */
void
qp_udp_flow_on_idle(struct qp_timer *timer, uint64_t now_ns)
{
	struct qp_udp_flow *f =
		(struct qp_udp_flow *)((char *)timer - offsetof(struct qp_udp_flow, idle));
	uint64_t end_ns = f->last_ns + f->udp->cfg.idle_ns;

	if (end_ns > now_ns) {
		/* One that waits looks from time to time whether others have fallen silent. */
		if (f->waiting) {
			end_ns = RTE_MIN(end_ns, now_ns + RECHECK_NS);
			reclaim_streams(f->tunnel, now_ns);
		}
		qp_timer_arm(f->udp->env.wheel, timer, end_ns);
		return;
	}
	QP_UDP_COUNT(f->udp, flows_idle);
	if (f->waiting)
		QP_UDP_COUNT(f->udp, drop_no_stream);
	qp_udp_flow_abort(f, QP_STREAM_TIMEOUT);
}

int
qp_udp_flow_start(struct qp_udp_flow *f)
{
	bool wait = f->tunnel->nwaiting > 0 || f->tunnel->state != QP_TUNNEL_OPEN;
	int rc = wait ? QP_E_AGAIN : open_stream(f);

	if (rc != QP_E_AGAIN)
		return rc;
	wait_for_stream(f);
	return 0;
}
