/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TIME-WAIT: 128 bytes that remember enough to answer an old segment, to
 * acknowledge a repeated FIN, and to let a new SYN take the port pair over
 * (RFC 6191). All wait equally long, so they queue by age behind one timer.
 * Thread: the owning lcore.
 */
#include <string.h>

#include "dataplane/tcp/internal.h"

/* RFC 7323, 5.5: a timestamp does not outlive the clock's half turn. */
#define TS_MAX_AGE_S (24u * 86400u)

bool
qp_tcp_paws_old(uint32_t tsval, uint32_t ts_recent, uint32_t ts_recent_s, uint64_t now_ns)
{
	return seq_lt(tsval, ts_recent) &&
	       (uint32_t)(now_ns / QP_SEC_NS) - ts_recent_s < TS_MAX_AGE_S;
}

static void
queue_append(struct qp_tcp *tcp, struct qp_tcp_tw *tw)
{
	tw->until_ns = qp_tcp_now(tcp) + tcp->cfg.time_wait_s * QP_SEC_NS;
	tw->newer = NULL;
	tw->older = tcp->tw_newest;
	if (tcp->tw_newest != NULL)
		tcp->tw_newest->newer = tw;
	else
		tcp->tw_oldest = tw;
	tcp->tw_newest = tw;
	if (!qp_timer_armed(&tcp->tw_timer))
		qp_timer_arm(tcp->env.wheel, &tcp->tw_timer, tw->until_ns);
}

static void
queue_remove(struct qp_tcp *tcp, struct qp_tcp_tw *tw)
{
	if (tw->older != NULL)
		tw->older->newer = tw->newer;
	else
		tcp->tw_oldest = tw->newer;
	if (tw->newer != NULL)
		tw->newer->older = tw->older;
	else
		tcp->tw_newest = tw->older;
}

void
qp_tcp_tw_free(struct qp_tcp *tcp, struct qp_tcp_tw *tw)
{
	queue_remove(tcp, tw);
	qp_tcp_remove(tcp, &tw->tcb);
	qp_slab_put(&tcp->tws, tw);
}

void
qp_tcp_tw_on_timer(struct qp_timer *t, uint64_t now_ns)
{
	struct qp_tcp *tcp = (struct qp_tcp *)((char *)t - offsetof(struct qp_tcp, tw_timer));

	while (tcp->tw_oldest != NULL && tcp->tw_oldest->until_ns <= now_ns)
		qp_tcp_tw_free(tcp, tcp->tw_oldest);
	if (tcp->tw_oldest != NULL)
		qp_timer_arm(tcp->env.wheel, t, tcp->tw_oldest->until_ns);
}

void
qp_tcp_time_wait(struct qp_tcp_conn *c)
{
	struct qp_tcp *tcp = c->tcp;
	struct qp_tcp_tw *tw = tcp->cfg.time_wait_s != 0 ? qp_slab_get(&tcp->tws) : NULL;

	if (tw != NULL) {
		memset(tw, 0, sizeof(*tw));
		tw->tcb.flow = c->tcb.flow;
		tw->tcb.state = QP_TCP_TIME_WAIT;
		tw->snd_nxt = c->snd_nxt;
		tw->rcv_nxt = c->rcv_nxt;
		tw->rcv_wnd = qp_min((c->rcv_adv - c->rcv_nxt) >> c->rcv_wscale, UINT16_MAX);
		tw->ts = c->flags & QP_TF_TS;
		tw->ts_recent = c->ts_recent;
		tw->ts_recent_s = c->ts_recent_s;
		tw->ts_offset = c->ts_offset;
	}
	qp_tcp_conn_end(c, QP_TCP_END_NORMAL);
	if (tw != NULL) {
		qp_tcp_insert(tcp, &tw->tcb);
		queue_append(tcp, tw);
	}
}

static void
tw_ack(struct qp_tcp *tcp, const struct qp_tcp_tw *tw)
{
	struct qp_tcp_reply r = {
		.flow = &tw->tcb.flow,
		.seq = tw->snd_nxt,
		.ack = tw->rcv_nxt,
		.flags = RTE_TCP_ACK_FLAG,
		.wnd = tw->rcv_wnd,
	};

	if (tw->ts) {
		r.opt.has_ts = true;
		r.opt.tsval = (uint32_t)(qp_tcp_now(tcp) / QP_MS_NS) + tw->ts_offset;
		r.opt.tsecr = tw->ts_recent;
	}
	qp_tcp_send_reply(tcp, &r);
}

/*
 * RFC 6191, 2; without timestamps RFC 9293, 3.10.7.4's rule on sequence numbers.
 * A SYN that no listener will take ends nothing.
 */
static bool
new_life(const struct qp_tcp_tw *tw, const struct qp_tcp_seg *s)
{
	const uint8_t all = RTE_TCP_SYN_FLAG | RTE_TCP_ACK_FLAG | RTE_TCP_FIN_FLAG;

	if ((s->flags & all) != RTE_TCP_SYN_FLAG || qp_tcp_find_listener(s->tcp, &s->pkt->flow) == NULL)
		return false;
	if (tw->ts && s->opt.has_ts && s->opt.tsval != tw->ts_recent)
		return seq_lt(tw->ts_recent, s->opt.tsval);
	return seq_lt(tw->rcv_nxt, s->seq);
}

/* A twin on the other side may answer our ACKs with ACKs: not more than so many a second. */
static bool
may_answer(struct qp_tcp *tcp, struct qp_tcp_tw *tw)
{
	uint32_t second = (uint32_t)(qp_tcp_now(tcp) / QP_SEC_NS);

	if (second != tw->challenge_s) {
		tw->challenge_s = second;
		tw->challenges = 0;
	}
	if (tw->challenges >= QP_TCP_CHALLENGES)
		return false;
	tw->challenges++;
	return true;
}

/*
 * 3.10.7.4 for TIME-WAIT. A reset is ignored: it could be an old one, and
 * would end the watch early (RFC 1337, 2 a).
 */
bool
qp_tcp_tw_input(struct qp_tcp *tcp, struct qp_tcp_tw *tw, struct qp_tcp_seg *s, uint32_t *iss_floor)
{
	if (s->flags & RTE_TCP_RST_FLAG)
		return false;
	if (new_life(tw, s)) {
		*iss_floor = tw->snd_nxt;
		qp_tcp_tw_free(tcp, tw);
		return true;
	}
	if (!may_answer(tcp, tw))
		return false;
	tw->tcb.flow.l2 = s->pkt->flow.l2;
	if ((s->flags & RTE_TCP_FIN_FLAG) && s->seq + s->len == tw->rcv_nxt) {
		queue_remove(tcp, tw);
		queue_append(tcp, tw);
	}
	/* The ACK that ends the peer's LAST-ACK needs no answer, everything else gets one. */
	if (s->len > 0 || s->seq != tw->rcv_nxt || s->ack != tw->snd_nxt)
		tw_ack(tcp, tw);
	return false;
}
