/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Outside to tunnel: a datagram becomes a record on its flow's stream. Large
 * ones stay in the mbufs that they came in, with the record's header over the
 * end of the UDP header; small ones and the parts of super-segments are packed
 * together, so that memory follows bytes. Runs on the owning lcore. When the
 * packets leave is the QUIC endpoint's flush, once a worker loop.
 */
#include <rte_mbuf.h>
#include <rte_udp.h>
#include <string.h>

#include "dataplane/shape.h"
#include "dataplane/udp/internal.h"

/* Up to here a copy is cheaper than an mbuf of 2 KiB for each. */
#define COPY_BYTES 512u
/* Of a flow, while it waits for a stream or mbufs are no longer plenty. */
#define TIGHT_BYTES (16u * 1024)

int
qp_udp_copy(struct qp_udp *u, struct rte_mbuf **head, struct rte_mbuf **tail, const uint8_t *data,
	size_t len, uint16_t headroom)
{
	while (len > 0 || *head == NULL) {
		struct rte_mbuf *m = *tail;
		uint16_t room = m != NULL ? rte_pktmbuf_tailroom(m) : 0, n;

		if (room == 0) {
			m = rte_pktmbuf_alloc(u->env.pool);
			if (m == NULL)
				return QP_E_NOMEM;
			m->data_off = *head == NULL ? headroom : 0;
			room = rte_pktmbuf_tailroom(m);
			if (*head == NULL) {
				*head = m;
			} else {
				(*tail)->next = m;
				(*head)->nb_segs++;
			}
			*tail = m;
		}
		n = (uint16_t)RTE_MIN(len, (size_t)room);
		if (n > 0)
			memcpy(rte_pktmbuf_mtod_offset(m, uint8_t *, m->data_len), data, n);
		m->data_len += n;
		(*head)->pkt_len += n;
		data += n;
		len -= n;
	}
	return 0;
}

/*
 * What waits to be sent is delay and bounded for its sake; what is on its way
 * is the path's, and bounded for the memory's. The first datagram always has
 * room, however long.
 */
static bool
has_room(const struct qp_udp_flow *f, uint32_t len)
{
	const struct qp_udp_config *cfg = &f->udp->cfg;

	if (f->queued_bytes <= QP_WIRE_CONN_ID_BYTES)
		return true;
	if (f->waiting || *f->udp->env.mem_level != QP_MEM_PLENTY)
		return f->queued_bytes + len <= RTE_MIN(cfg->queue_bytes, TIGHT_BYTES);
	return f->queued_bytes + len <= cfg->flight_bytes &&
	       qp_quic_stream_unsent(f->stream) + len <= cfg->queue_bytes;
}

static bool
admit(struct qp_udp_flow *f, uint32_t len)
{
	struct qp_udp *u = f->udp;

	if (len > QP_WIRE_MAX_RECORD) {
		QP_UDP_COUNT(u, drop_too_long);
		return false;
	}
	if (*u->env.mem_level == QP_MEM_SCARCE) {
		QP_UDP_COUNT(u, drop_no_memory);
		return false;
	}
	if (!qp_shape_may_pass(f->tunnel, QP_WAY_IN, len)) {
		QP_UDP_COUNT(u, drop_bandwidth_in);
		return false;
	}
	if (!has_room(f, QP_WIRE_RECORD_HEADER_BYTES + len)) {
		if (f->waiting)
			QP_UDP_COUNT(u, drop_no_stream);
		else
			QP_UDP_COUNT(u, drop_queue_full);
		return false;
	}
	return true;
}

static void
count_in(struct qp_udp_flow *f, uint32_t len)
{
	struct qp_udp *u = f->udp;

	QP_UDP_COUNT(u, datagrams_in);
	u->counters.bytes_in += len;
	f->tunnel->all->env.counters->relay_bytes_in += len;
	qp_usage_in(f->tunnel, &f->use, len);
	qp_udp_flow_queued(f, QP_WIRE_RECORD_HEADER_BYTES + len);
}

/* A chain with its record header is the flow's. */
static void
queue_chain(struct qp_udp_flow *f, struct rte_mbuf *chain)
{
	if (f->waiting)
		qp_mbufq_append(&f->held, chain);
	else
		qp_quic_stream_write(f->stream, chain);
}

/* `len` bytes at `off` of the frame, copied. */
static void
queue_copy(struct qp_udp_flow *f, const struct rte_mbuf *m, uint32_t off, uint32_t len)
{
	struct qp_udp *u = f->udp;
	uint8_t *record = u->scratch;
	struct rte_mbuf *head = NULL, *tail = NULL;
	const void *at;
	int rc;

	(void)qp_wire_put_record_header(record, len); /* admitted */
	at = len > 0 ? rte_pktmbuf_read(m, off, len, record + QP_WIRE_RECORD_HEADER_BYTES) : NULL;
	if (at != NULL && at != record + QP_WIRE_RECORD_HEADER_BYTES)
		memcpy(record + QP_WIRE_RECORD_HEADER_BYTES, at, len);
	len += QP_WIRE_RECORD_HEADER_BYTES;
	if (!f->waiting) {
		rc = qp_quic_stream_write_bytes(f->stream, record, len);
	} else {
		rc = qp_udp_copy(u, &head, &tail, record, len, 0);
		if (rc == 0)
			qp_mbufq_append(&f->held, head);
		else
			rte_pktmbuf_free(head);
	}
	if (rc < 0)
		QP_UDP_COUNT(u, drop_no_memory);
	else
		count_in(f, len - QP_WIRE_RECORD_HEADER_BYTES);
}

/* A super-segment becomes as many records as it was datagrams. */
static void
take_segments(struct qp_udp_flow *f, struct rte_mbuf *m, uint32_t off, uint32_t end, uint16_t segsz)
{
	while (off < end) {
		uint32_t len = RTE_MIN((uint32_t)segsz, end - off);

		if (admit(f, len))
			queue_copy(f, m, off, len);
		off += len;
	}
	rte_pktmbuf_free(m);
}

static void
take_one(struct qp_udp_flow *f, struct rte_mbuf *m, uint32_t off, uint32_t len)
{
	if (!admit(f, len)) {
		rte_pktmbuf_free(m);
		return;
	}
	if (len <= COPY_BYTES) {
		queue_copy(f, m, off, len);
		rte_pktmbuf_free(m);
		return;
	}
	/* All headers are in the first mbuf, and the UDP header has room for the record's. */
	rte_pktmbuf_adj(m, (uint16_t)(off - QP_WIRE_RECORD_HEADER_BYTES));
	(void)qp_wire_put_record_header(rte_pktmbuf_mtod(m, uint8_t *), len);
	count_in(f, len);
	queue_chain(f, m);
}

/* RFC 792 and RFC 4443, 3.1: what an answer by ICMP must show of this datagram. */
static void
keep_quote(struct qp_udp_flow *f, const struct rte_mbuf *m, const struct qp_packet *pkt)
{
	uint32_t l3_len = (uint32_t)(pkt->l4_off - pkt->l3_off);
	const uint8_t *ip = rte_pktmbuf_mtod_offset(m, const uint8_t *, pkt->l3_off);

	f->quote_len = 0;
	/* IPv6 with extension headers: rare, and quoted by nobody's need. */
	if (l3_len + QP_UDP_HEADER_BYTES > sizeof(f->quote))
		return;
	memcpy(f->quote, ip, l3_len + QP_UDP_HEADER_BYTES);
	f->quote_len = (uint8_t)(l3_len + QP_UDP_HEADER_BYTES);
}

static struct qp_udp_port *
port_of(const struct qp_udp *u, const struct qp_flow *flow)
{
	struct qp_udp_port *p = u->port[ntohs(flow->lport_be)];

	if (p == NULL || p->tunnel->state > QP_TUNNEL_OPEN)
		return NULL;
	if ((p->addr.q[0] | p->addr.q[1]) != 0 && !qp_ipaddr_equal(&p->addr, &flow->local))
		return NULL;
	return p;
}

void
qp_udp_input(struct qp_udp *u, struct rte_mbuf *m, const struct qp_packet *pkt)
{
	uint32_t off = pkt->l4_off + QP_UDP_HEADER_BYTES, end = pkt->l4_off + pkt->l4_len;
	struct qp_udp_flow *f = qp_udp_flow_find(u, &pkt->flow);
	struct qp_udp_port *p = f == NULL ? port_of(u, &pkt->flow) : NULL;

	/* Port 0 is nobody's: there is no answer (RFC 768). */
	if (f == NULL && (p == NULL || pkt->flow.rport_be == 0)) {
		QP_UDP_COUNT(u, drop_no_port);
		rte_pktmbuf_free(m);
		return;
	}
	if (f == NULL && (f = qp_udp_flow_new(p, &pkt->flow)) == NULL) {
		rte_pktmbuf_free(m);
		return;
	}
	f->flow.l2 = pkt->flow.l2;
	qp_udp_flow_touch(f, false);
	keep_quote(f, m, pkt);
	if (pkt->segsz != 0 && pkt->segsz < end - off)
		take_segments(f, m, off, end, pkt->segsz);
	else
		take_one(f, m, off, end - off);
}
