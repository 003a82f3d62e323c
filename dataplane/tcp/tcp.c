/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stack as its users see it (tcp.h): made, flushed, freed, and the calls
 * of RFC 9293, 3.10.1 to 3.10.6. Thread: the owning lcore. Segments are
 * input.c's and output.c's business.
 */
#include "dataplane/tcp/tcp.h"

#include <stdlib.h>
#include <string.h>

#include <rte_mempool.h>

#include "common/error.h"
#include "dataplane/tcp/internal.h"

/*
 * For a gateway in front of strangers: a peer that vanished is noticed after
 * 10 minutes and 9 probes; what was sent is tried for 5 minutes.
 */
void
qp_tcp_config_default(struct qp_tcp_config *cfg)
{
	*cfg = (struct qp_tcp_config) {
		.max_conns = 65536,
		.rcv_buf_bytes = 4 << 20,
		.snd_buf_bytes = 4 << 20,
		.budget_bytes = 0,
		.syn_backlog = 4096,
		.rst_limit = 10000,
		.keepalive_s = 600,
		.user_timeout_s = 0,
		.user_timeout_option = false,
		.time_wait_s = 60,
		.zero_window_s = 1800,
		.max_conns_per_source = 0,
		.mtu_probing = true,
		.fastopen = false,
		.fastopen_backlog = 256,
		.ecn = 1,
	};
}

const struct qp_tcp_cc *
qp_tcp_cc_of(int kind)
{
	return kind == QP_TCP_CC_BBR ? &qp_tcp_bbr : &qp_tcp_cubic;
}

static void
make_keys(struct qp_tcp *tcp)
{
	uint64_t *keys[] = {tcp->table_key, tcp->isn_key, tcp->ts_key, tcp->cookie_keys.secret,
		tcp->fastopen_keys.secret};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		keys[i][0] = tcp->env.random(tcp->env.random_ctx);
		keys[i][1] = tcp->env.random(tcp->env.random_ctx);
	}
	if (tcp->cfg.fastopen_key[0] != 0 || tcp->cfg.fastopen_key[1] != 0)
		memcpy(tcp->fastopen_keys.secret, tcp->cfg.fastopen_key, sizeof(tcp->cfg.fastopen_key));
	tcp->port_counter = (uint32_t)tcp->env.random(tcp->env.random_ctx);
}

struct qp_tcp *
qp_tcp_new(const struct qp_tcp_env *env, const struct qp_tcp_config *cfg)
{
	struct qp_tcp *tcp = calloc(1, sizeof(*tcp));
	size_t buckets = rte_align32pow2(qp_max(cfg->max_conns, 16u));

	if (tcp == NULL)
		return NULL;
	tcp->env = *env;
	tcp->cfg = *cfg;
	/* Zeroed on demand by the kernel: buckets that nobody uses cost nothing. */
	tcp->buckets = calloc(buckets, sizeof(*tcp->buckets));
	if (tcp->buckets == NULL) {
		free(tcp);
		return NULL;
	}
	tcp->bucket_mask = (uint32_t)buckets - 1;
	tcp->cc = qp_tcp_cc_of(cfg->congestion);
	if (!qp_tcp_sources_init(tcp)) {
		free(tcp->buckets);
		free(tcp);
		return NULL;
	}
	tcp->ooo_segs_max = env->pool->size / 4;
	tcp->budget_bytes = cfg->budget_bytes;
	if (tcp->budget_bytes == 0)
		tcp->budget_bytes = (uint64_t)env->pool->size * QP_TCP_MBUF_BYTES / 4 * 3;
	tcp->tw_timer.fn = qp_tcp_tw_on_timer;
	qp_slab_init(&tcp->conns, sizeof(struct qp_tcp_conn));
	qp_slab_init(&tcp->xmits, sizeof(struct qp_tcp_xmit));
	qp_slab_init(&tcp->tws, sizeof(struct qp_tcp_tw));
	qp_slab_init(&tcp->recs, sizeof(struct qp_tcp_rec));
	qp_slab_init(&tcp->ooos, sizeof(struct qp_tcp_ooo));
	qp_tcp_set_ports(tcp, QP_TCP_FIRST_PORT, QP_TCP_PORTS);
	make_keys(tcp);
	return tcp;
}

static void
free_bucket(struct qp_tcp *tcp, struct qp_tcp_tcb **bucket)
{
	while (*bucket != NULL) {
		struct qp_tcp_tcb *tcb = *bucket;

		if (tcb->state == QP_TCP_TIME_WAIT) {
			qp_tcp_tw_free(tcp, (struct qp_tcp_tw *)tcb);
			continue;
		}
		qp_tcp_send_rst((struct qp_tcp_conn *)tcb, QP_TCP_RST_CLOSED);
		qp_tcp_conn_drop((struct qp_tcp_conn *)tcb);
	}
}

void
qp_tcp_free(struct qp_tcp *tcp)
{
	if (tcp == NULL)
		return;
	for (uint32_t i = 0; tcp->nconns > 0 && i <= tcp->bucket_mask; i++)
		free_bucket(tcp, &tcp->buckets[i]);
	for (unsigned i = 0; i < QP_TCP_LISTENER_BUCKETS; i++) {
		while (tcp->listeners[i] != NULL)
			qp_tcp_unlisten(tcp->listeners[i]);
	}
	qp_timer_cancel(tcp->env.wheel, &tcp->tw_timer);
	qp_slab_release(&tcp->conns);
	qp_slab_release(&tcp->xmits);
	qp_slab_release(&tcp->tws);
	qp_slab_release(&tcp->recs);
	qp_slab_release(&tcp->ooos);
	qp_tcp_sources_release(tcp);
	free(tcp->buckets);
	free(tcp);
}

void
qp_tcp_flush(struct qp_tcp *tcp)
{
	struct qp_tcp_conn *c;

	if (qp_tcp_memory(tcp) != QP_MEM_PLENTY)
		qp_tcp_stall_relieve(tcp);
	while ((c = tcp->work_head) != NULL) {
		tcp->work_head = c->work_next;
		if (tcp->work_head == NULL)
			tcp->work_tail = NULL;
		c->flags &= ~QP_TF_IN_WORK;
		if (c->tcb.state == QP_TCP_CLOSED)
			qp_slab_put(&tcp->conns, c);
		else
			qp_tcp_output(c);
	}
}

void
qp_tcp_set_ctx(struct qp_tcp_conn *c, void *ctx)
{
	c->ctx = ctx;
}

const struct qp_flow *
qp_tcp_flow(const struct qp_tcp_conn *c)
{
	return &c->tcb.flow;
}

uint32_t
qp_tcp_send_space(const struct qp_tcp_conn *c)
{
	uint32_t buf = qp_tcp_send_buffer(c), queued = qp_tcp_queued(c);

	return buf > queued ? buf - queued : 0;
}

uint64_t
qp_tcp_rtt(const struct qp_tcp_conn *c)
{
	return c->srtt_ns;
}

/* 3.10.2: after our FIN "connection closing", in CLOSED "connection does not exist". */
void
qp_tcp_send(struct qp_tcp_conn *c, struct rte_mbuf *chain)
{
	if (c->tcb.state == QP_TCP_CLOSED || (c->flags & (QP_TF_FIN_QUEUED | QP_TF_DOOMED))) {
		rte_pktmbuf_free(chain);
		return;
	}
	if (qp_tcp_xmit(c) == NULL) {
		/* Bytes of the stream are lost: all that is left is to say so. */
		c->flags |= QP_TF_DOOMED;
		qp_tcp_work(c);
		rte_pktmbuf_free(chain);
		return;
	}
	if (c->snd_end == c->snd_nxt && c->x->lost_bytes == 0 && qp_tcp_pipe(c) < c->cwnd)
		qp_tcp_app_limited(c); /* there was room, and nothing to fill it */
	qp_tcp_stall_queued(c);
	if (c->snd_una == c->snd_end)
		c->progress_ms = qp_tcp_now_ms(c->tcp); /* until now we waited for nothing */
	c->snd_end += chain->pkt_len;
	qp_tcp_hold(c->tcp, chain->pkt_len);
	qp_mbufq_append(&c->x->sndq, chain);
	qp_tcp_work(c);
}

/* 3.10.4; before ESTABLISHED the FIN is queued and the state changes with the handshake. */
void
qp_tcp_shutdown(struct qp_tcp_conn *c)
{
	if (c->tcb.state == QP_TCP_CLOSED || (c->flags & QP_TF_FIN_QUEUED))
		return;
	c->flags |= QP_TF_FIN_QUEUED;
	if (c->tcb.state == QP_TCP_ESTABLISHED)
		c->tcb.state = QP_TCP_FIN_WAIT_1;
	else if (c->tcb.state == QP_TCP_CLOSE_WAIT)
		c->tcb.state = QP_TCP_LAST_ACK;
	qp_tcp_work(c);
}

/* 3.10.5 */
void
qp_tcp_abort(struct qp_tcp_conn *c)
{
	if (c->tcb.state == QP_TCP_CLOSED)
		return;
	qp_tcp_send_rst(c, QP_TCP_RST_ABORTED);
	qp_tcp_conn_drop(c);
}

void
qp_tcp_consumed(struct qp_tcp_conn *c, uint32_t bytes)
{
	bytes = qp_min(bytes, c->rcv_held);
	c->rcv_held -= bytes;
	qp_tcp_hold(c->tcp, -(int64_t)bytes);
	if (c->tcb.state == QP_TCP_CLOSED)
		return;
	qp_tcp_rcv_taken(c);
	qp_tcp_work(c);
}

void
qp_tcp_set_rcv_buf(struct qp_tcp_conn *c, uint32_t bytes)
{
	c->rcv_buf = qp_min(bytes, c->tcp->cfg.rcv_buf_bytes);
}

const struct qp_rtt_histogram *
qp_tcp_rtts(const struct qp_tcp *tcp)
{
	return &tcp->rtt;
}

const struct qp_tcp_counters *
qp_tcp_counters(const struct qp_tcp *tcp)
{
	return &tcp->counters;
}
