/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tunnel to outside: a stream's bytes are cut into records, wherever they were
 * split on the way, and each record leaves as a datagram; consecutive ones of
 * one size leave as one super-segment. Runs on the owning lcore. What does not
 * fit the path's MTU is fragment_out.c's.
 */
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_udp.h>
#include <string.h>

#include "dataplane/shape.h"
#include "dataplane/udp/internal.h"

#define HEADROOM (QP_L3_HEADROOM + QP_UDP_HEADER_BYTES)

uint32_t
qp_udp_ip_id(struct qp_udp *u, uint32_t n)
{
	uint32_t id = u->next_ip_id;

	u->next_ip_id += n;
	return id;
}

static uint32_t
ip_header_bytes(const struct qp_udp_flow *f)
{
	return qp_ipaddr_is_v4(&f->flow.local) ? sizeof(struct rte_ipv4_hdr)
					       : sizeof(struct rte_ipv6_hdr);
}

/* Never below what each link must carry (RFC 791, 3.2; RFC 8200, 5). */
static uint32_t
mtu_of(const struct qp_udp_flow *f)
{
	uint32_t least = qp_ipaddr_is_v4(&f->flow.local) ? QP_UDP_V4_MIN_MTU : QP_UDP_V6_MIN_MTU;
	uint32_t mtu = f->flow.l2.mtu != 0 ? f->flow.l2.mtu : QP_UDP_MTU;

	if (f->path_mtu != 0)
		mtu = RTE_MIN(mtu, f->path_mtu);
	return RTE_MAX(mtu, least);
}

/* Nobody here finds out a path's MTU for the application: routers may fragment. */
static void
allow_fragments(struct qp_udp *u, struct rte_mbuf *m, uint32_t datagrams)
{
	struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(m, void *, m->l2_len);

	if (!(m->ol_flags & RTE_MBUF_F_TX_IPV4))
		return;
	ip->fragment_offset = 0;
	ip->packet_id = rte_cpu_to_be_16((uint16_t)qp_udp_ip_id(u, datagrams));
}

static void
push_udp(struct rte_mbuf *m, const struct qp_flow *flow)
{
	struct rte_udp_hdr *udp = (void *)rte_pktmbuf_prepend(m, sizeof(*udp));

	udp->src_port = flow->lport_be;
	udp->dst_port = flow->rport_be;
	udp->dgram_len = rte_cpu_to_be_16((uint16_t)m->pkt_len);
	udp->dgram_cksum = 0;
	m->l4_len = sizeof(*udp);
}

void
qp_udp_batch_flush(struct qp_udp *u, const struct qp_udp_flow *f)
{
	struct qp_udp_batch b = u->batch;

	if (b.flow == NULL || (f != NULL && f != b.flow))
		return;
	u->batch = (struct qp_udp_batch) {0};
	b.head->nb_segs = b.segs;
	b.head->pkt_len = b.bytes;
	if (b.count > 1) {
		b.head->ol_flags |= RTE_MBUF_F_TX_UDP_SEG;
		b.head->tso_segsz = b.segsz;
		QP_UDP_COUNT(u, super_segments_out);
	}
	push_udp(b.head, &b.flow->flow);
	qp_ip_encap(b.head, &b.flow->flow, IPPROTO_UDP, 0, u->env.own_mac);
	allow_fragments(u, b.head, b.count);
	u->env.transmit(u->env.transmit_ctx, b.head);
}

void
qp_udp_flush(struct qp_udp *u)
{
	qp_udp_batch_flush(u, NULL);
}

static bool
joins(const struct qp_udp *u, const struct qp_udp_flow *f, const struct rte_mbuf *m)
{
	const struct qp_udp_batch *b = &u->batch;

	return b->flow == f && u->env.udp_segmentation && m->pkt_len > 0 && b->segsz > 0 &&
	       m->pkt_len <= b->segsz && b->count < QP_UDP_MAX_SEGMENTS &&
	       b->bytes + m->pkt_len <= QP_WIRE_MAX_RECORD - sizeof(struct rte_ipv6_hdr);
}

static void
batch_add(struct qp_udp *u, struct qp_udp_flow *f, struct rte_mbuf *m, struct rte_mbuf *tail)
{
	struct qp_udp_batch *b = &u->batch;

	if (b->flow != NULL && !joins(u, f, m))
		qp_udp_batch_flush(u, NULL);
	if (b->flow == NULL)
		*b = (struct qp_udp_batch) {.flow = f, .head = m, .segsz = (uint16_t)m->pkt_len};
	else
		b->tail->next = m;
	b->tail = tail;
	b->bytes += m->pkt_len;
	b->segs += m->nb_segs;
	b->count++;
	/* All datagrams of a run but the last have one size. */
	if (b->bytes < (uint32_t)b->count * b->segsz)
		qp_udp_batch_flush(u, NULL);
}

/* The record is whole. */
static void
send_datagram(struct qp_udp_flow *f)
{
	struct qp_udp *u = f->udp;
	struct rte_mbuf *m = f->out, *tail = f->out_tail;
	uint32_t len = m->pkt_len, mtu = mtu_of(f);

	f->out = f->out_tail = NULL;
	f->tunnel->held_bytes -= f->out_bytes;
	f->out_bytes = 0;
	if (!qp_shape_may_pass(f->tunnel, QP_WAY_OUT, len)) {
		QP_UDP_COUNT(u, drop_bandwidth_out);
		rte_pktmbuf_free(m);
		return;
	}
	QP_UDP_COUNT(u, datagrams_out);
	u->counters.bytes_out += len;
	f->tunnel->all->env.counters->relay_bytes_out += len;
	qp_usage_out(f->tunnel, &f->use, len);
	if (ip_header_bytes(f) + QP_UDP_HEADER_BYTES + len <= mtu) {
		batch_add(u, f, m, tail);
		return;
	}
	qp_udp_batch_flush(u, f); /* in order */
	push_udp(m, &f->flow);
	qp_udp_send_fragments(f, m, mtu);
}

/* Bytes of a record's header: how many were taken; QP_E_PROTO: no record is so long. */
static int
take_head(struct qp_udp_flow *f, const uint8_t *data, size_t len)
{
	size_t n = RTE_MIN(len, (size_t)(QP_WIRE_RECORD_HEADER_BYTES - f->head_len));
	int left;

	memcpy(f->head + f->head_len, data, n);
	f->head_len += (uint8_t)n;
	if (f->head_len < QP_WIRE_RECORD_HEADER_BYTES)
		return (int)n;
	left = qp_wire_get_record_header(f->head);
	if (left < 0)
		return left;
	f->left = (uint32_t)left;
	f->lost = false;
	return (int)n;
}

/* Bytes for the record that is coming. A half of one waits in mbufs: not when they are scarce. */
static void
collect(struct qp_udp_flow *f, const uint8_t *data, size_t len)
{
	struct qp_udp *u = f->udp;

	if (f->lost)
		return;
	if (*u->env.mem_level != QP_MEM_SCARCE &&
		qp_udp_copy(u, &f->out, &f->out_tail, data, len, HEADROOM) == 0) {
		f->tunnel->held_bytes += len;
		f->out_bytes += (uint32_t)len;
		return;
	}
	QP_UDP_COUNT(u, drop_no_memory);
	qp_udp_flow_drop_out(f);
	f->lost = true;
}

/* Bytes of a record's payload: how many were taken. */
static size_t
take_payload(struct qp_udp_flow *f, const uint8_t *data, size_t len)
{
	size_t n = RTE_MIN(len, (size_t)f->left);

	f->left -= (uint32_t)n;
	collect(f, data, n);
	if (f->left > 0)
		return n;
	f->head_len = 0;
	if (!f->lost)
		send_datagram(f);
	return n;
}

static int
take_records(struct qp_udp_flow *f, const uint8_t *data, size_t len)
{
	while (len > 0) {
		size_t used;

		if (f->head_len < QP_WIRE_RECORD_HEADER_BYTES) {
			int n = take_head(f, data, len);

			if (n < 0)
				return n;
			used = (size_t)n;
			/* An empty datagram has no payload to wait for. */
			if (f->head_len == QP_WIRE_RECORD_HEADER_BYTES && f->left == 0)
				(void)take_payload(f, data, 0);
		} else {
			used = take_payload(f, data, len);
		}
		data += used;
		len -= used;
	}
	return 0;
}

void
qp_udp_stream_data(struct qp_udp_flow *f, const uint8_t *data, size_t len, bool fin)
{
	/* Datagrams do not wait here, so neither does credit. */
	qp_quic_conn_consumed(f->tunnel->conn, len);
	(void)qp_udp_take(f, data, len, fin);
}

bool
qp_udp_take(struct qp_udp_flow *f, const uint8_t *data, size_t len, bool fin)
{
	struct qp_quic_stream *s = f->stream;

	if (!fin)
		qp_quic_stream_consumed(s, len);
	qp_udp_flow_touch(f, true);
	if (take_records(f, data, len) < 0 || (fin && f->head_len > 0)) {
		QP_UDP_COUNT(f->udp, flows_bad_record);
		qp_udp_flow_abort(f, QP_STREAM_PROTOCOL);
		return false;
	}
	if (!fin)
		return true;
	/* The client is done with it: what is queued for it still goes there. */
	qp_quic_stream_fin(s);
	qp_quic_stream_set_ctx(s, NULL);
	qp_udp_stream_closed(f);
	return false;
}
