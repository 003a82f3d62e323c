/* SPDX-License-Identifier: Apache-2.0 */
/* The stack's own invariants, looked at from outside. For any test's thread. */
#include "tests/tcp/check.h"

#include "dataplane/tcp/internal.h"

#define HOLDS(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			return #condition;                                                         \
	} while (0)

/* Is (m, off) the place of stream offset `at` in the send queue? */
static bool
position_is(const struct qp_tcp_conn *c, const struct rte_mbuf *m, uint32_t off, uint32_t at)
{
	for (const struct rte_mbuf *q = c->x->sndq.head; q != NULL; q = q->next) {
		if (q == m)
			return off >= q->data_off && off <= (uint32_t)q->data_off + q->data_len &&
			       off - q->data_off == at;
		if (at < q->data_len)
			return false;
		at -= q->data_len;
	}
	return false;
}

static const char *
check_send_queue(const struct qp_tcp_conn *c)
{
	uint32_t bytes = 0, segs = 0;

	if (c->x == NULL) {
		HOLDS(c->snd_una == c->snd_nxt && c->snd_nxt == c->snd_end + !!(c->flags & QP_TF_FIN_SENT));
		HOLDS(c->ca == QP_CA_OPEN);
		return NULL;
	}
	for (const struct rte_mbuf *m = c->x->sndq.head; m != NULL; m = m->next) {
		HOLDS(m->data_len > 0);
		HOLDS(m->next != NULL || m == c->x->sndq.tail);
		bytes += m->data_len;
		segs++;
	}
	HOLDS(bytes == c->x->sndq.bytes && segs == c->x->sndq.segs);
	HOLDS(bytes == (qp_tcp_fin_acked(c) ? 0 : c->snd_end - c->snd_una));
	return NULL;
}

static const char *
check_records(const struct qp_tcp_conn *c)
{
	uint32_t seq = c->snd_una, sacked = 0, lost = 0, timed = 0, records = 0;
	bool hint_found = false;
	const struct qp_tcp_rec *prev = NULL;
	uint64_t latest = 0;

	if (c->x == NULL)
		return NULL;
	for (const struct qp_tcp_rec *r = c->x->rec_head; r != NULL; prev = r, r = r->next) {
		uint32_t fin = !!(r->flags & QP_REC_FIN);
		unsigned kinds = !!(r->flags & QP_REC_SACKED) + !!(r->flags & QP_REC_LOST) +
				 !!(r->flags & QP_REC_TIMED);

		records++;
		hint_found |= r == c->x->sack_hint;
		HOLDS(r->prev == prev);
		HOLDS(r->seq == seq && seq_lt(r->seq, r->end));
		HOLDS(kinds == 1);
		HOLDS(!fin || r == c->x->rec_tail);
		if (r->end - r->seq > fin)
			HOLDS(position_is(c, r->m, r->off, r->seq - c->snd_una));
		sacked += r->flags & QP_REC_SACKED ? r->end - r->seq : 0;
		lost += r->flags & QP_REC_LOST ? r->end - r->seq : 0;
		timed += !!(r->flags & QP_REC_TIMED);
		seq = r->end;
	}
	HOLDS(prev == c->x->rec_tail && seq == c->snd_nxt);
	HOLDS(records == c->x->recs && (c->x->sack_hint == NULL || hint_found));
	HOLDS(sacked == c->x->sacked_bytes && lost == c->x->lost_bytes);
	HOLDS(sacked == 0 || (c->flags & QP_TF_SACK));
	for (const struct qp_tcp_rec *r = c->x->timed_head; r != NULL; r = r->tnext, timed--) {
		HOLDS(r->flags & QP_REC_TIMED);
		HOLDS(r->tnext != NULL ? r->tnext->tprev == r : r == c->x->timed_tail);
		HOLDS(r->xmit_ns >= latest || c->reo_mult > 1 || (c->flags & QP_TF_REORDERING));
		latest = r->xmit_ns;
	}
	HOLDS(timed == 0);
	return NULL;
}

static const char *
check_pmtu(const struct qp_tcp_conn *c)
{
	uint32_t headers = qp_ipaddr_is_v4(&c->tcb.flow.local) ? 40 : 60;
	uint32_t link = qp_tcp_link_mtu(c->tcp, &c->tcb.flow) - headers;
	const struct qp_tcp_rec *r;

	HOLDS(c->path_mss <= link && c->path_mss >= qp_min(link, headers == 40 ? 512u : 1220u));
	HOLDS(c->mtu_high <= qp_min(link, (uint32_t)c->peer_mss));
	if (c->x == NULL)
		return NULL;
	HOLDS(!c->x->probe_lost); /* judged at once */
	HOLDS((c->x->probe != NULL) == (c->x->probe_mss != 0));
	HOLDS(c->x->claim_mss == 0 || c->x->claim_mss < c->path_mss);
	for (r = c->x->rec_head; r != NULL && r != c->x->probe; r = r->next)
		continue;
	HOLDS(r == c->x->probe);
	HOLDS(r == NULL || ((r->flags & QP_REC_TIMED) && !(r->flags & QP_REC_RTX) && r->end - r->seq == r->mss));
	return NULL;
}

static const char *
check_runs(const struct qp_tcp_conn *c, uint32_t *segs)
{
	uint32_t after = c->rcv_nxt, n = 0;
	const struct qp_tcp_ooo *prev = NULL;

	for (const struct qp_tcp_ooo *o = c->ooo_head; o != NULL; prev = o, o = o->next) {
		HOLDS(o->prev == prev);
		HOLDS(seq_lt(after, o->seq)); /* a gap before each */
		HOLDS(o->end - o->seq == o->q.bytes);
		HOLDS(o->q.bytes > 0 || o->fin);
		HOLDS(seq_leq(o->end, c->rcv_adv));
		HOLDS(!o->fin || o->next == NULL);
		*segs += o->q.segs;
		after = o->end;
		n++;
	}
	HOLDS(prev == c->ooo_tail && n == c->ooo_ranges);
	HOLDS(n == 0 || !(c->flags & QP_TF_FIN_RCVD));
	return NULL;
}

/* What the budget must know of. */
static uint64_t
payload_held(const struct qp_tcp_conn *c)
{
	uint64_t bytes = c->rcv_held;

	if (c->x != NULL)
		bytes += c->x->sndq.bytes;
	for (const struct qp_tcp_ooo *o = c->ooo_head; o != NULL; o = o->next)
		bytes += o->q.bytes;
	return bytes;
}

/* Nothing waits for ever. */
static const char *
check_timers(const struct qp_tcp_conn *c)
{
	uint64_t first = UINT64_MAX;

	for (unsigned i = 0; i < QP_TMR_N; i++) {
		first = RTE_MIN(first, qp_tcp_timer_due_ns(c, i));
	}
	if (first != UINT64_MAX)
		HOLDS(qp_timer_armed(&c->timer) && c->timer.at_ns <= first);
	if (c->snd_una != c->snd_nxt)
		HOLDS(c->due[QP_TMR_RTX] != 0);
	if (qp_tcp_synchronized(c) && qp_tcp_queued(c) > 0)
		HOLDS(c->due[QP_TMR_RTX] != 0 || c->due[QP_TMR_RETRY] != 0 || c->due[QP_TMR_PACE] != 0);
	if (qp_tcp_synchronized(c) && c->rcv_nxt != c->last_ack_sent)
		HOLDS(c->due[QP_TMR_ACK] != 0 || c->due[QP_TMR_RETRY] != 0);
	if ((c->x != NULL && c->x->lost_bytes > 0) || ((c->flags & QP_TF_FIN_QUEUED) && !(c->flags & QP_TF_FIN_SENT)))
		HOLDS(!qp_tcp_synchronized(c) || c->due[QP_TMR_RTX] != 0 ||
			c->due[QP_TMR_RETRY] != 0 || c->due[QP_TMR_PACE] != 0);
	return NULL;
}

static const char *
check_conn(const struct qp_tcp_conn *c, uint32_t *ooo_segs)
{
	const char *bad = check_timers(c);

	HOLDS(!(c->flags & QP_TF_IN_WORK));
	HOLDS(!(c->ecn & (QP_ECN_CWR | QP_ECN_REDUCED)) || (c->ecn & QP_ECN_SEND));
	HOLDS(!(c->ecn & (QP_ECN_ECHO | QP_ECN_SEND)) || (c->ecn & QP_ECN_RECEIVE));
	HOLDS(seq_leq(c->snd_una, c->snd_nxt));
	HOLDS(seq_leq(c->rcv_nxt, c->rcv_adv));
	HOLDS(seq_leq(c->last_ack_sent, c->rcv_nxt));
	HOLDS(!(c->fastopen & QP_FO_PENDING) || c->tcb.state == QP_TCP_SYN_RECEIVED);
	if (bad == NULL && (qp_tcp_synchronized(c) || (c->fastopen & QP_FO_PENDING))) {
		HOLDS(c->cwnd > 0);
		HOLDS(seq_leq(c->snd_nxt, c->snd_end + !!(c->flags & QP_TF_FIN_SENT)));
		bad = check_send_queue(c);
		if (bad == NULL)
			bad = check_records(c);
		if (bad == NULL)
			bad = check_pmtu(c);
		if (bad == NULL)
			bad = check_runs(c, ooo_segs);
	}
	return bad;
}

/* All that have something to send, by the time when they last got rid of some of it. */
static const char *
check_stalls(const struct qp_tcp *tcp, uint32_t senders)
{
	const struct qp_tcp_conn *prev = NULL;

	for (const struct qp_tcp_conn *c = tcp->stall_oldest; c != NULL; prev = c, c = c->x->stall_next, senders--) {
		HOLDS(c->x != NULL && c->x->stall_prev == prev);
		HOLDS(prev == NULL || (int32_t)(c->x->stall_ms - prev->x->stall_ms) >= 0);
	}
	HOLDS(prev == tcp->stall_newest && senders == 0);
	return NULL;
}

const char *
tcp_check(const struct qp_tcp *tcp)
{
	uint32_t n = 0, half = 0, ooo_segs = 0, senders = 0, fastopen = 0;
	uint64_t held = 0;

	HOLDS(tcp->work_head == NULL);
	for (uint32_t i = 0; n < tcp->nconns && i <= tcp->bucket_mask; i++) {
		for (const struct qp_tcp_tcb *b = tcp->buckets[i]; b != NULL; b = b->next, n++) {
			const struct qp_tcp_conn *c = (const void *)b;
			const char *bad;

			HOLDS(b->state != QP_TCP_CLOSED && b->hash == qp_tcp_hash(tcp, &b->flow));
			if (b->state == QP_TCP_TIME_WAIT)
				continue;
			half += !!(c->flags & QP_TF_HALF_OPEN);
			senders += c->x != NULL;
			fastopen += !!(c->fastopen & QP_FO_PENDING);
			held += payload_held(c);
			bad = check_conn(c, &ooo_segs);
			if (bad != NULL)
				return bad;
		}
	}
	HOLDS(fastopen == tcp->fastopen_pending);
	HOLDS(n == tcp->nconns && half == tcp->half_open && ooo_segs == tcp->ooo_segs);
	HOLDS(held == tcp->held_bytes);
	return check_stalls(tcp, senders);
}
