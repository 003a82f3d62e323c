/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Explicit congestion notification (RFC 3168): who may use it, what a mark
 * means at either end. Thread: the owning lcore. Which frames carry the
 * codepoint is segment.c's business, what a reduction is the congestion
 * control's.
 */
#include "dataplane/tcp/recovery.h"

#define SETUP_SYN (RTE_TCP_ECE_FLAG | RTE_TCP_CWR_FLAG)

/*
 * 6.1.1. A SYN that got no answer may have been dropped for these very flags:
 * it is repeated without (6.1.1.1), and then we never set ECT ourselves.
 */
uint8_t
qp_tcp_ecn_syn_flags(struct qp_tcp_conn *c)
{
	if (c->tcb.state == QP_TCP_SYN_RECEIVED)
		return c->ecn & QP_ECN_SEND ? RTE_TCP_ECE_FLAG : 0;
	if (c->tcp->cfg.ecn < 2 || (c->flags & QP_TF_SYN_RTX))
		return 0;
	c->ecn |= QP_ECN_ASKED;
	return SETUP_SYN;
}

void
qp_tcp_ecn_syn_input(struct qp_tcp_conn *c, uint8_t flags)
{
	bool asked = (c->flags & QP_TF_PASSIVE) || (c->ecn & QP_ECN_ASKED);

	if ((flags & SETUP_SYN) == SETUP_SYN && c->tcp->cfg.ecn != 0 && asked) {
		/* Later is too late: our side of the handshake has gone out without. */
		if (!(c->flags & QP_TF_SYN_RTX))
			c->ecn |= QP_ECN_SEND | QP_ECN_RECEIVE;
		return;
	}
	/* "… received at least one non-ECN-setup SYN …: SHOULD NOT set ECT"; it may still send marks. */
	c->ecn &= ~QP_ECN_SEND;
}

void
qp_tcp_ecn_syn_ack_input(struct qp_tcp_conn *c, uint8_t flags)
{
	/* Both flags: an old host that sends our own back. */
	if (!(c->ecn & QP_ECN_ASKED) || (flags & SETUP_SYN) != RTE_TCP_ECE_FLAG)
		return;
	/* It believes that marks are echoed, whether or not our later SYNs said so. */
	c->ecn |= QP_ECN_RECEIVE;
	if (!(c->flags & QP_TF_SYN_RTX))
		c->ecn |= QP_ECN_SEND;
}

/* 6.1.3. A super-segment has its first segment's CWR and the marks of all: CWR first. */
void
qp_tcp_ecn_text(struct qp_tcp_conn *c, const struct qp_tcp_seg *s)
{
	if (!(c->ecn & QP_ECN_RECEIVE) || s->data_len == 0)
		return;
	if (s->flags & RTE_TCP_CWR_FLAG) {
		c->ecn &= ~QP_ECN_ECHO;
		c->flags |= QP_TF_ACK_NOW; /* its cwnd may be a single segment now */
	}
	if ((s->pkt->tos & QP_TOS_ECN) == QP_TOS_CE) {
		QP_TCP_COUNT(c->tcp, ecn_marks_in);
		c->ecn |= QP_ECN_ECHO;
		c->flags |= QP_TF_ACK_NOW;
	}
}

bool
qp_tcp_ecn_heard(struct qp_tcp_conn *c, const struct qp_tcp_seg *s)
{
	if ((c->ecn & QP_ECN_REDUCED) && seq_lt(c->ecn_recover, c->snd_una))
		c->ecn &= ~QP_ECN_REDUCED;
	if (!(s->flags & RTE_TCP_ECE_FLAG) || !(c->ecn & QP_ECN_SEND))
		return false;
	/* Congestion there was, whatever became of the segments. */
	if (c->ca != QP_CA_OPEN)
		c->x->undo = QP_UNDO_NONE;
	return true;
}

bool
qp_tcp_ecn_reduced_already(const struct qp_tcp_conn *c)
{
	return (c->ecn & QP_ECN_REDUCED) && seq_lt(c->snd_una, c->ecn_recover);
}

/*
 * 6.1.2: as a loss, but nothing goes again; once a window of data. cwnd does
 * not go below ssthresh's floor of two segments (RFC 5681), so the rule for a
 * cwnd of one, to wait for the retransmission timer, is not needed.
 */
void
qp_tcp_ecn_congested(struct qp_tcp_conn *c)
{
	if (c->ca != QP_CA_OPEN || (c->ecn & QP_ECN_REDUCED))
		return;
	QP_TCP_COUNT(c->tcp, ecn_reductions);
	c->tcp->cc->congested(c);
	c->cwnd = qp_min(c->cwnd, c->ssthresh);
	qp_tcp_ecn_reduced(c);
}

/* "… for any reason": the next new data says so. */
void
qp_tcp_ecn_reduced(struct qp_tcp_conn *c)
{
	if (!(c->ecn & QP_ECN_SEND))
		return;
	c->ecn |= QP_ECN_CWR | QP_ECN_REDUCED;
	c->ecn_recover = c->snd_nxt;
}
