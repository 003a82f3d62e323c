/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The endpoint: takes datagrams apart, finds their connection, accepts new
 * ones (RFC 9000, 5.2 and 7), and gives every connection its turn to write.
 * Runs on the owning lcore.
 */
#include "dataplane/quic/internal.h"

#include <rte_mbuf.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "common/heap.h"
#include "dataplane/memory.h"

#define ACKS_ONLY 256u /* bytes; no longer datagram comes from who has no payload to send */

void
qp_quic_config_default(struct qp_quic_config *cfg)
{
	*cfg = (struct qp_quic_config) {
		.idle_timeout_ns = 90 * NGTCP2_SECONDS,
		.keep_alive_ns = 5 * NGTCP2_SECONDS,
		.max_conns = QP_QUIC_MAX_CONNS,
		.retry_above = 256,
		.conn_window = 8 << 20,
		.first_window = 64 << 10,
		.max_streams = 1024,
		.max_udp_payload = 1452, /* 1,500 bytes less IPv6 and UDP headers */
	};
}

int
qp_quic_alloc(const struct qp_quic_env *env, const struct qp_quic_config *cfg,
	const struct qp_quic_ops *ops, void *app, struct qp_quic **out, struct qp_errmsg *msg)
{
	struct qp_quic *q = calloc(1, sizeof(*q));
	int rc;

	if (q == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no memory for the QUIC endpoint");
	q->env = *env;
	q->cfg = *cfg;
	q->ops = ops;
	q->app = app;
	TAILQ_INIT(&q->pending);
	LIST_INIT(&q->all);
	rc = qp_cid_table_init(&q->cids);
	if (rc < 0) {
		free(q);
		return qp_fail(msg, rc, "no memory for the connection table");
	}
	*out = q;
	return 0;
}

int
qp_quic_new(const struct qp_quic_env *env, const struct qp_quic_config *cfg,
	const struct qp_quic_ops *ops, void *app, struct qp_quic **out, struct qp_errmsg *msg)
{
	struct qp_quic *q;
	int rc = qp_quic_alloc(env, cfg, ops, app, &q, msg);

	if (rc < 0)
		return rc;
	rc = qp_quic_tls_new(cfg, &q->tls, msg);
	if (rc < 0) {
		qp_quic_free(q);
		return rc;
	}
	q->cfg.cert_file = q->cfg.key_file = NULL; /* read and done */
	*out = q;
	return 0;
}

void
qp_quic_free(struct qp_quic *q)
{
	if (q == NULL)
		return;
	while (!LIST_EMPTY(&q->all))
		qp_quic_conn_free(LIST_FIRST(&q->all));
	qp_cid_table_fini(&q->cids);
	wolfSSL_CTX_free(q->tls);
	rte_pktmbuf_free(q->spare);
	sodium_memzero(q->cfg.reset_key, sizeof(q->cfg.reset_key));
	free(q);
}

void
qp_quic_refuse_new(struct qp_quic *q)
{
	q->refusing = true;
}

void
qp_quic_drain(struct qp_quic *q)
{
	if (!q->draining)
		q->late_until_ns = *q->env.now_ns + QP_QUIC_LATE_NS;
	q->draining = true;
}

uint32_t
qp_quic_connections(const struct qp_quic *q)
{
	return q->nconns;
}

/* Its sender is told, or, when we have a successor, goes on asking until that one hears it. */
static int
turn_away(struct qp_quic *q, const ngtcp2_pkt_hd *hd, const struct qp_flow *flow)
{
	if (!q->draining)
		qp_quic_send_refusal(q, hd, flow, NGTCP2_CONNECTION_REFUSED);
	return QP_E_FULL;
}

/* What to do with an Initial: 0 = accept (odcid and token type are set). */
static int
admit(struct qp_quic *q, const ngtcp2_pkt_hd *hd, const struct qp_flow *flow, ngtcp2_cid *odcid,
	ngtcp2_token_type *token_type)
{
	*token_type = NGTCP2_TOKEN_TYPE_UNKNOWN;
	odcid->datalen = 0;
	if (q->refusing || q->nconns >= q->cfg.max_conns) {
		q->env.counters->drop_quic_limit++;
		return turn_away(q, hd, flow);
	}
	if (qp_heap_level() != QP_HEAP_ROOM) {
		q->env.counters->drop_quic_budget++;
		qp_heap_log_refusal("clients", *q->env.now_ns);
		return turn_away(q, hd, flow);
	}
	if (hd->tokenlen > 0 && hd->token[0] == NGTCP2_CRYPTO_TOKEN_MAGIC_RETRY2) {
		if (qp_quic_verify_retry(q, hd, flow, odcid) != 0) {
			/* RFC 9000, 8.1.3: tell, rather than let the client wait. */
			qp_quic_send_refusal(q, hd, flow, NGTCP2_INVALID_TOKEN);
			q->env.counters->drop_quic_limit++;
			return QP_E_AUTH;
		}
		*token_type = NGTCP2_TOKEN_TYPE_RETRY;
		return 0;
	}
	if (q->draining && *q->env.now_ns >= q->late_until_ns) {
		q->env.counters->drop_quic_limit++;
		return QP_E_AGAIN;
	}
	if (q->nhandshakes >= q->cfg.retry_above) {
		qp_quic_send_retry(q, hd, flow);
		return QP_E_AGAIN;
	}
	return 0;
}

/* A datagram for no connection that we know. */
static struct qp_quic_conn *
unknown(struct qp_quic *q, const ngtcp2_version_cid *vc, const struct qp_flow *flow,
	const uint8_t *data, size_t len)
{
	ngtcp2_token_type token_type;
	ngtcp2_pkt_hd hd;
	ngtcp2_cid odcid;

	if ((data[0] & 0x80) == 0) {
		q->env.counters->drop_not_ours++;
		qp_quic_send_stateless_reset(q, vc, len, flow);
		return NULL;
	}
	if (ngtcp2_accept(&hd, data, len) != 0) {
		q->env.counters->drop_quic_bad++;
		return NULL;
	}
	/*
	 * A first packet's id is random; ours comes later, or with a Retry's token.
	 * One that knows our ids would have passed the classifier as no stranger.
	 */
	if (hd.tokenlen == 0 && qp_cid_is_of(&hd.dcid, q->cfg.server_id, q->cfg.lcore)) {
		q->env.counters->drop_not_ours++;
		return NULL;
	}
	if (admit(q, &hd, flow, &odcid, &token_type) != 0)
		return NULL;
	return qp_quic_conn_accept(q, &hd, flow, &odcid, token_type);
}

/*
 * As if it had been lost: the last mbufs are for what gives some back. Less is
 * left here than where TCP drops payload, since acknowledgements come in the
 * same datagrams as payload; TCP's outsides give back what tunnels took.
 */
static bool
mbufs_spent(const struct qp_quic *q)
{
	const struct rte_mempool *pool = q->env.pool;

	return *q->env.mem_level == QP_MEM_SCARCE && rte_mempool_avail_count(pool) < pool->size / 32;
}

static void
datagram(struct qp_quic *q, const struct qp_flow *flow, uint8_t tos, const uint8_t *data,
	size_t len)
{
	struct qp_quic_conn *c;
	ngtcp2_version_cid vc;
	int rv = ngtcp2_pkt_decode_version_cid(&vc, data, len, QP_CID_BYTES);

	q->env.counters->quic_packets_in++;
	if (rv == NGTCP2_ERR_VERSION_NEGOTIATION) {
		/* RFC 9000, 5.2.2: only to datagrams large enough to be a first flight. */
		if (len >= NGTCP2_MAX_UDP_PAYLOAD_SIZE)
			qp_quic_send_version_negotiation(q, &vc, flow);
		else
			q->env.counters->drop_quic_bad++;
		return;
	}
	if (rv != 0) {
		q->env.counters->drop_quic_bad++;
		return;
	}
	if (len > ACKS_ONLY && mbufs_spent(q)) {
		q->env.counters->drop_quic_no_memory++;
		return;
	}
	c = qp_cid_find(&q->cids, vc.dcid, vc.dcidlen);
	if (c == NULL)
		c = unknown(q, &vc, flow, data, len);
	if (c != NULL)
		qp_quic_conn_read(c, flow, tos, data, len);
}

/* `len` bytes at `off` of a chain in one piece: in place, or copied if they straddle segments. */
static const uint8_t *
linear(struct qp_quic *q, const struct rte_mbuf *m, uint32_t off, uint32_t len)
{
	return rte_pktmbuf_read(m, off, len, q->scratch);
}

void
qp_quic_input(struct qp_quic *q, struct rte_mbuf *m, const struct qp_packet *pkt)
{
	uint32_t off = pkt->l4_off + 8u, end = pkt->l4_off + pkt->l4_len;
	uint32_t step = pkt->segsz != 0 ? pkt->segsz : UINT16_MAX;

	while (off < end) {
		uint32_t len = RTE_MIN(step, end - off);

		datagram(q, &pkt->flow, pkt->tos, linear(q, m, off, len), len);
		off += len;
	}
	rte_pktmbuf_free(m);
}

bool
qp_quic_flush(struct qp_quic *q)
{
	struct qp_quic_conn_queue turn = TAILQ_HEAD_INITIALIZER(turn);
	struct qp_quic_conn *c;

	/* One turn for each: who has more to send goes to the end for the next flush. */
	TAILQ_CONCAT(&turn, &q->pending, pending_link);
	while ((c = TAILQ_FIRST(&turn)) != NULL) {
		TAILQ_REMOVE(&turn, c, pending_link);
		c->pending = false;
		if (qp_quic_conn_write(c))
			qp_quic_conn_pend(c);
		if (c->state == QP_QUIC_DEAD)
			qp_quic_conn_free(c);
	}
	qp_quic_batch_flush(q);
	/* Also what a callback of this flush asked for, such as a close. */
	return !TAILQ_EMPTY(&q->pending);
}
