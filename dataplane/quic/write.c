/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection's turn to send: ngtcp2 writes each packet straight into an mbuf;
 * runs of packets of one size become one super-segment. Runs on the owning
 * lcore, from qp_quic_flush.
 */
#include "dataplane/quic/internal.h"

#include <netinet/udp.h>
#include <rte_mbuf.h>

#define VECTORS    8u
#define UDP_BYTES  8u
#define IP4_BYTES  20u
#define IP6_BYTES  40u

struct rte_mbuf *
qp_quic_mbuf(struct qp_quic *q)
{
	struct rte_mbuf *m = q->spare;

	q->spare = NULL;
	if (m == NULL)
		return rte_pktmbuf_alloc(q->env.pool);
	rte_pktmbuf_reset(m);
	return m;
}

static void
send_frame(struct qp_quic *q, struct rte_mbuf *m, const struct qp_flow *flow, uint8_t tos)
{
	uint16_t len = (uint16_t)(m->pkt_len + sizeof(struct udphdr));
	struct udphdr *udp = (struct udphdr *)rte_pktmbuf_prepend(m, sizeof(*udp));

	udp->source = flow->lport_be;
	udp->dest = flow->rport_be;
	udp->len = htons(len);
	udp->check = 0;
	m->l4_len = sizeof(*udp);
	qp_ip_encap(m, flow, IPPROTO_UDP, tos, q->env.own_mac);
	q->env.transmit(q->env.transmit_ctx, m);
}

void
qp_quic_send_single(struct qp_quic *q, struct rte_mbuf *m, const struct qp_flow *flow, uint8_t tos)
{
	q->env.counters->quic_packets_out++;
	send_frame(q, m, flow, tos);
}

void
qp_quic_batch_flush(struct qp_quic *q)
{
	struct qp_quic_batch *b = &q->batch;
	struct rte_mbuf *m = b->head;

	if (m == NULL)
		return;
	m->nb_segs = b->count;
	m->pkt_len = b->bytes;
	if (b->count > 1) {
		m->ol_flags |= RTE_MBUF_F_TX_UDP_SEG;
		m->tso_segsz = b->segsz;
	}
	q->env.counters->quic_packets_out += b->count;
	send_frame(q, m, &b->flow, b->tos);
	*b = (struct qp_quic_batch) {0};
}

/* RFC-less, from the kernel's UDP_SEGMENT: all datagrams of a run but the last have one size. */
static bool
fits_batch(const struct qp_quic *q, const struct rte_mbuf *m, const struct qp_flow *flow,
	uint8_t tos)
{
	const struct qp_quic_batch *b = &q->batch;

	return q->env.udp_segmentation && b->count < QP_QUIC_MAX_SEGMENTS &&
		m->data_len <= b->segsz && b->bytes + m->data_len <= QP_QUIC_MAX_SUPER_BYTES &&
		b->tos == tos && qp_flow_same_ends(&b->flow, flow);
}

static void
batch_add(struct qp_quic *q, struct rte_mbuf *m, const struct qp_flow *flow, uint8_t tos)
{
	struct qp_quic_batch *b = &q->batch;

	if (b->head != NULL && !fits_batch(q, m, flow, tos))
		qp_quic_batch_flush(q);
	if (b->head == NULL) {
		b->head = m;
		b->flow = *flow;
		b->tos = tos;
		b->segsz = m->data_len;
	} else {
		b->tail->next = m;
	}
	b->tail = m;
	b->bytes += m->data_len;
	b->count++;
	if (m->data_len < b->segsz)
		qp_quic_batch_flush(q);
}

static void
unready(struct qp_quic_conn *c, struct qp_quic_stream *s)
{
	TAILQ_REMOVE(&c->ready, s, ready_link);
	s->ready = false;
}

/* `len` bytes of the stream (and its end, if `fin`) went into a packet. */
static void
stream_sent(struct qp_quic_conn *c, struct qp_quic_stream *s, uint64_t len, bool fin)
{
	qp_sendq_sent(&s->sendq, len);
	s->fin_sent |= fin;
	if (s->sendq.unsent_bytes == 0 && s->fin_queued == s->fin_sent)
		unready(c, s);
}

/* ngtcp2 takes no more for this stream. True when the whole connection is out of credit. */
static bool
stream_refused(struct qp_quic_conn *c, struct qp_quic_stream *s, ngtcp2_ssize rv)
{
	if (rv == NGTCP2_ERR_STREAM_DATA_BLOCKED) {
		if (ngtcp2_conn_get_max_data_left(c->ng) == 0)
			return true;
		s->blocked = true;
		unready(c, s);
		return false;
	}
	/* STREAM_SHUT_WR, STREAM_NOT_FOUND: the peer sent STOP_SENDING. */
	s->write_ended = true;
	unready(c, s);
	qp_sendq_clear(&s->sendq);
	if (s->ctx != NULL)
		c->quic->ops->stream_stopped(s->ctx, 0);
	return false;
}

/*
 * What the first hop takes now, as the peer's last datagram came with: it may have become
 * less than the path's discovered MTU, which ngtcp2 never lowers.
 */
static size_t
link_room(const struct qp_quic_conn *c)
{
	const size_t headers = (qp_ipaddr_is_v4(&c->flow.local) ? IP4_BYTES : IP6_BYTES) + UDP_BYTES;
	const size_t mtu = c->flow.l2.mtu;

	if (mtu == 0) /* nobody says */
		return SIZE_MAX;
	return RTE_MAX(mtu, headers + NGTCP2_MAX_UDP_PAYLOAD_SIZE) - headers;
}

/* One packet into `m`: its length, 0 when there is none to send now, or ngtcp2's error. */
static ngtcp2_ssize
write_packet(struct qp_quic_conn *c, struct rte_mbuf *m, ngtcp2_path *path, ngtcp2_pkt_info *pi)
{
	const size_t most = RTE_MIN(c->quic->cfg.max_udp_payload, link_room(c));
	const size_t room = RTE_MIN((size_t)rte_pktmbuf_tailroom(m), most);
	uint8_t *dest = rte_pktmbuf_mtod(m, uint8_t *);
	bool blocked = false;

	for (;;) {
		struct qp_quic_stream *s = blocked ? NULL : TAILQ_FIRST(&c->ready);
		uint32_t flags = NGTCP2_WRITE_STREAM_FLAG_NONE;
		ngtcp2_ssize taken = -1, n;
		ngtcp2_vec vec[VECTORS];
		size_t nvec = 0, offered = 0;

		if (s != NULL) {
			nvec = qp_sendq_peek(&s->sendq, vec, VECTORS, room);
			for (size_t i = 0; i < nvec; i++)
				offered += vec[i].len;
			flags = NGTCP2_WRITE_STREAM_FLAG_MORE;
			if (s->fin_queued && offered == s->sendq.unsent_bytes)
				flags |= NGTCP2_WRITE_STREAM_FLAG_FIN;
		}
		n = ngtcp2_conn_writev_stream(c->ng, path, pi, dest, room, &taken, flags,
			s != NULL ? s->id : -1, vec, nvec, *c->quic->env.now_ns);
		if (s != NULL && taken >= 0)
			stream_sent(c, s, (uint64_t)taken,
				(flags & NGTCP2_WRITE_STREAM_FLAG_FIN) && (size_t)taken == offered);
		switch (n) {
		case NGTCP2_ERR_WRITE_MORE:
			break;
		case NGTCP2_ERR_STREAM_DATA_BLOCKED:
		case NGTCP2_ERR_STREAM_SHUT_WR:
		case NGTCP2_ERR_STREAM_NOT_FOUND:
			blocked = stream_refused(c, s, n);
			break;
		default:
			return n;
		}
	}
}

/*
 * ngtcp2 chose the path: that is where answers, and the next word of close, go.
 * A path's link-layer address is that of its own datagrams.
 */
void
qp_quic_conn_take_path(struct qp_quic_conn *c, const ngtcp2_path *path)
{
	struct qp_flow flow = c->flow;

	(void)qp_ipaddr_from_sockaddr(path->local.addr, &flow.local, &flow.lport_be);
	(void)qp_ipaddr_from_sockaddr(path->remote.addr, &flow.remote, &flow.rport_be);
	if (qp_flow_same_ends(&flow, &c->flow))
		return;
	if (qp_flow_same_ends(&flow, &c->other_flow))
		flow.l2 = c->other_flow.l2;
	c->other_flow = c->flow;
	c->flow = flow;
	c->farewell_stale = true;
}

/* Streams take turns, so that one with much to send does not starve the others. */
static void
rotate(struct qp_quic_conn *c)
{
	struct qp_quic_stream *s = TAILQ_FIRST(&c->ready);

	if (s == NULL || TAILQ_NEXT(s, ready_link) == NULL)
		return;
	TAILQ_REMOVE(&c->ready, s, ready_link);
	TAILQ_INSERT_TAIL(&c->ready, s, ready_link);
}

static void
fail(struct qp_quic_conn *c, ngtcp2_ssize rv)
{
	ngtcp2_ccerr_set_liberr(&c->ccerr, (int)rv, NULL, 0);
	qp_quic_batch_flush(c->quic);
	qp_quic_conn_shut(c);
}

/* What ngtcp2 has written is on its way for it: a frame that the port drops is a loss to the peer. */
static bool
port_full(const struct qp_quic *q)
{
	return q->env.full != NULL && q->env.full(q->env.transmit_ctx);
}

bool
qp_quic_conn_write(struct qp_quic_conn *c)
{
	struct qp_quic *q = c->quic;
	ngtcp2_path_storage ps;
	ngtcp2_pkt_info pi;
	size_t budget, i;
	bool starved = false;

	if (c->ng == NULL)
		return false;
	if (c->close_asked) {
		qp_quic_conn_shut(c);
		return false;
	}
	ngtcp2_path_storage_zero(&ps);
	budget = RTE_MAX(ngtcp2_conn_get_send_quantum(c->ng) / q->cfg.max_udp_payload, 1u);
	for (i = 0; i < budget; i++) {
		struct rte_mbuf *m = port_full(q) ? NULL : qp_quic_mbuf(q);
		ngtcp2_ssize n;

		if (m == NULL) {
			starved = true; /* no timer would tell: ask again in the next turn */
			break;
		}
		n = write_packet(c, m, &ps.path, &pi);
		if (n <= 0) {
			q->spare = m;
			if (n == 0)
				break;
			fail(c, n);
			return false;
		}
		m->data_len = (uint16_t)n;
		m->pkt_len = (uint32_t)n;
		qp_quic_conn_take_path(c, &ps.path);
		batch_add(q, m, &c->flow, pi.ecn);
		if (i % QP_QUIC_STREAM_TURN == QP_QUIC_STREAM_TURN - 1)
			rotate(c);
	}
	/* Also when congestion control ends turns early, all the time. */
	rotate(c);
	ngtcp2_conn_update_pkt_tx_time(c->ng, *q->env.now_ns);
	qp_quic_conn_rearm(c);
	return i == budget || starved;
}
