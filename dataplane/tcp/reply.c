/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers that need no connection: resets, SYN cookies, TIME-WAIT's ACKs.
 * Thread: the owning lcore. When memory is short nothing is sent: the peer
 * will ask again.
 */
#include <string.h>

#include "dataplane/tcp/internal.h"

void
qp_tcp_send_reply(struct qp_tcp *tcp, const struct qp_tcp_reply *r)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(tcp->env.pool);
	uint8_t options[QP_TCP_OPTIONS_MAX];
	unsigned n = qp_tcp_options_write(options, &r->opt);
	struct rte_tcp_hdr *h;

	if (m == NULL) {
		QP_TCP_COUNT(tcp, drop_no_memory);
		return;
	}
	h = (void *)rte_pktmbuf_append(m, sizeof(*h) + n);
	*h = (struct rte_tcp_hdr) {
		.src_port = r->flow->lport_be,
		.dst_port = r->flow->rport_be,
		.sent_seq = rte_cpu_to_be_32(r->seq),
		.recv_ack = rte_cpu_to_be_32(r->ack),
		.data_off = (sizeof(*h) + n) / 4 << 4,
		.tcp_flags = r->flags,
		.rx_win = rte_cpu_to_be_16(r->wnd),
	};
	memcpy(h + 1, options, n);
	m->l4_len = sizeof(*h) + n;
	qp_ip_encap(m, r->flow, IPPROTO_TCP, 0, tcp->env.own_mac);
	QP_TCP_COUNT(tcp, segs_out);
	if (r->flags & RTE_TCP_RST_FLAG)
		qp_tcp_count_rst(tcp, QP_TCP_RST_STRAY);
	tcp->env.transmit(tcp->env.transmit_ctx, m);
}

/* A flood of segments from nowhere must not buy as many answers. */
static bool
may_reset(struct qp_tcp *tcp)
{
	uint64_t second = qp_tcp_now(tcp) / QP_SEC_NS;

	if (second != tcp->rst_second) {
		tcp->rst_second = second;
		tcp->rst_left = tcp->cfg.rst_limit;
	}
	if (tcp->rst_left == 0) {
		QP_TCP_COUNT(tcp, rst_limited);
		return false;
	}
	tcp->rst_left--;
	return true;
}

/* RFC 9293, 3.10.7.1 and 3.5.2, group 1: never a reset for a reset. */
void
qp_tcp_refuse(struct qp_tcp *tcp, const struct qp_tcp_seg *s)
{
	struct qp_tcp_reply r = {.flow = &s->pkt->flow, .flags = RTE_TCP_RST_FLAG};

	if ((s->flags & RTE_TCP_RST_FLAG) || !may_reset(tcp))
		return;
	if (s->flags & RTE_TCP_ACK_FLAG) {
		r.seq = s->ack;
	} else {
		r.flags |= RTE_TCP_ACK_FLAG;
		r.ack = s->seq + s->len;
	}
	qp_tcp_send_reply(tcp, &r);
}
