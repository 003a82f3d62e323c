/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes that waited in their relay for their client's bandwidth go on, mbuf by
 * mbuf. Runs on the lcore that owns the tunnel.
 */
#include <rte_mbuf.h>

#include "dataplane/shape.h"
#include "dataplane/tunnel_internal.h"

bool
qp_relay_has(const struct qp_relay *r, enum qp_way way)
{
	return way == QP_WAY_IN ? r->held != NULL : r->out != NULL;
}

/* Cuts mbufs off the front, one at least, until they have `most` bytes together. */
static struct rte_mbuf *
cut(struct rte_mbuf **chain, uint32_t most, uint32_t *bytes)
{
	struct rte_mbuf *head = *chain, *last = head;
	uint16_t segs = 1;

	*bytes = head->data_len;
	while (*bytes < most && last->next != NULL) {
		last = last->next;
		*bytes += last->data_len;
		segs++;
	}
	*chain = last->next;
	last->next = NULL;
	head->pkt_len = *bytes;
	head->nb_segs = segs;
	return head;
}

static uint32_t
pass_in(struct qp_relay *r, uint32_t most)
{
	struct rte_mbuf *chain;
	uint32_t bytes;

	chain = cut(&r->held, most, &bytes);
	if (r->held == NULL)
		r->held_end = &r->held;
	if (r->stream == NULL) {
		rte_pktmbuf_free(chain);
		return bytes;
	}
	qp_quic_stream_write(r->stream, chain);
	if (r->held == NULL && r->outside_fin)
		qp_quic_stream_fin(r->stream);
	return bytes;
}

static uint32_t
pass_out(struct qp_relay *r, uint32_t most)
{
	const uint32_t all = r->out->pkt_len;
	const uint16_t segs = r->out->nb_segs;
	struct rte_mbuf *chain;
	uint32_t bytes;

	chain = cut(&r->out, most, &bytes);
	if (r->out != NULL) {
		r->out->pkt_len = all - bytes;
		r->out->nb_segs = segs - chain->nb_segs;
	} else {
		r->out_tail = NULL;
		qp_relay_mark(r); /* the end may wait behind it */
	}
	if (r->tcp != NULL)
		qp_tcp_send(r->tcp, chain);
	else
		rte_pktmbuf_free(chain);
	return bytes;
}

uint32_t
qp_relay_pass(struct qp_relay *r, enum qp_way way, uint32_t most)
{
	return way == QP_WAY_IN ? pass_in(r, most) : pass_out(r, most);
}
