/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP segments of one burst are put together before TCP sees them. Checksums have
 * been verified, each segment's own. Thread: the worker's lcore.
 */
#include "dataplane/join.h"

#include <netinet/in.h>
#include <string.h>

#include <rte_mbuf.h>
#include <rte_tcp.h>

#define RUNS 8u /* connections whose segments may stand mixed in a burst */
#define TEXT_MIN 512u /* less is cheaper copied together, by who keeps it, than to have an mbuf each */

/* What a connection's next segment may be joined to. m NULL: nothing. */
struct run {
	struct rte_mbuf *m, *last;
	struct qp_packet *pkt;
	struct rte_tcp_hdr *tcp;
	uint32_t next_seq, hlen;
	uint32_t text, last_text; /* of its first segment, and of its last */
};

/* Much text in one mbuf, and no flag that asks for attention. */
static bool
has_plain_text(const struct rte_mbuf *m, const struct qp_packet *pkt, const struct rte_tcp_hdr *tcp)
{
	const uint32_t hlen = tcp->data_off >> 4 << 2;

	return pkt->segsz == 0 && m->nb_segs == 1 && hlen >= sizeof(*tcp) &&
	       pkt->l4_len >= hlen + TEXT_MIN &&
	       (tcp->tcp_flags & ~RTE_TCP_PSH_FLAG) == RTE_TCP_ACK_FLAG;
}

/* The segment by itself. */
static void
begin(struct run *r, struct rte_mbuf *m, struct qp_packet *pkt)
{
	struct rte_tcp_hdr *tcp = rte_pktmbuf_mtod_offset(m, struct rte_tcp_hdr *, pkt->l4_off);

	*r = (struct run) {.pkt = pkt, .tcp = tcp};
	if (!has_plain_text(m, pkt, tcp))
		return;
	r->m = r->last = m;
	r->hlen = tcp->data_off >> 4 << 2;
	r->text = r->last_text = pkt->l4_len - r->hlen;
	r->next_seq = rte_be_to_cpu_32(tcp->sent_seq) + r->text;
}

/* All segments of a run but the last are of one size, and none before it is pushed. */
static bool
goes_on(const struct run *r, const struct run *s)
{
	return r->m != NULL && s->m != NULL && !(r->tcp->tcp_flags & RTE_TCP_PSH_FLAG) &&
	       r->last_text == r->text && s->text <= r->text && r->hlen == s->hlen &&
	       rte_be_to_cpu_32(s->tcp->sent_seq) == r->next_seq &&
	       r->tcp->recv_ack == s->tcp->recv_ack && r->tcp->rx_win == s->tcp->rx_win &&
	       memcmp(r->tcp + 1, s->tcp + 1, r->hlen - sizeof(*r->tcp)) == 0 &&
	       r->pkt->tos == s->pkt->tos && r->pkt->ttl == s->pkt->ttl &&
	       memcmp(r->pkt->flow.l2.peer_mac, s->pkt->flow.l2.peer_mac, 6) == 0 &&
	       r->pkt->flow.l2.mtu == s->pkt->flow.l2.mtu;
}

static void
join(struct run *r, const struct run *s)
{
	struct rte_mbuf *m = s->m;
	const uint32_t off = s->pkt->l4_off + s->hlen;

	r->tcp->tcp_flags |= s->tcp->tcp_flags;
	m->data_off += off;
	m->data_len -= off;
	r->last->next = m;
	r->last = m;
	r->m->nb_segs++;
	r->m->pkt_len += s->text;
	r->pkt->l4_len += s->text;
	r->pkt->segsz = (uint16_t)r->text;
	r->next_seq += s->text;
	r->last_text = s->text;
}

static struct run *
find(struct run *runs, unsigned n, const struct qp_flow *flow)
{
	for (unsigned i = RTE_MIN(n, RUNS); i-- > 0;)
		if (qp_flow_same_ends(&runs[i].pkt->flow, flow))
			return &runs[i];
	return NULL;
}

uint16_t
qp_join_segments(struct rte_mbuf **frames, struct qp_packet *pkt,
	const enum qp_ip_verdict *verdict, uint16_t n)
{
	struct run runs[RUNS], next;
	unsigned nruns = 0;
	uint16_t joined = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct run *r;

		if (verdict[i] != QP_IP_OK || pkt[i].proto != IPPROTO_TCP)
			continue;
		begin(&next, frames[i], &pkt[i]);
		r = find(runs, nruns, &pkt[i].flow);
		if (r != NULL && goes_on(r, &next)) {
			join(r, &next);
			frames[i] = NULL;
			joined++;
		} else if (r != NULL) {
			*r = next; /* also when nothing may be joined to it */
		} else if (next.m != NULL) {
			runs[nruns++ % RUNS] = next; /* in the place of the oldest */
		}
	}
	return joined;
}
