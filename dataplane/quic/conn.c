/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection's life: accepted, read, timed, closed (RFC 9000, 10). Runs on
 * the owning lcore. What ngtcp2 calls back stands in callbacks.c, what a
 * connection sends in write.c.
 */
#include "dataplane/quic/internal.h"

#include <rte_mbuf.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* Handshakes that take longer are given up; clients retry. */
#define HANDSHAKE_TIMEOUT_NS (10 * NGTCP2_SECONDS)
#define CLOSE_REPEAT_NS (10 * NGTCP2_MILLISECONDS) /* far below the closing period's three PTOs */

static ngtcp2_conn *
get_conn(ngtcp2_crypto_conn_ref *ref)
{
	return ((struct qp_quic_conn *)ref->user_data)->ng;
}

void
qp_quic_conn_pend(struct qp_quic_conn *c)
{
	if (c->pending)
		return;
	c->pending = true;
	TAILQ_INSERT_TAIL(&c->quic->pending, c, pending_link);
}

void
qp_quic_conn_rearm(struct qp_quic_conn *c)
{
	ngtcp2_tstamp at = ngtcp2_conn_get_expiry(c->ng);

	if (at == UINT64_MAX)
		qp_timer_cancel(c->quic->env.wheel, &c->timer);
	else
		qp_timer_arm(c->quic->env.wheel, &c->timer, at);
}

/* Tells the application, forgets TLS, ngtcp2 and the streams. The ids stay until the end. */
static void
release(struct qp_quic_conn *c, enum qp_quic_end how)
{
	struct qp_quic *q = c->quic;

	if (c->state == QP_QUIC_HANDSHAKE)
		q->nhandshakes--;
	if (c->app_told) {
		c->app_told = false;
		q->ops->closed(c->ctx, how);
	}
	c->ctx = NULL;
	qp_farewells_drop(q->env.farewells, &c->farewell);
	while (!LIST_EMPTY(&c->streams))
		qp_quic_stream_free(LIST_FIRST(&c->streams));
	if (c->ng != NULL)
		ngtcp2_conn_del(c->ng);
	c->ng = NULL;
	wolfSSL_free(c->ssl);
	c->ssl = NULL;
}

void
qp_quic_conn_free(struct qp_quic_conn *c)
{
	struct qp_quic *q = c->quic;

	if (c->ng != NULL)
		release(c, QP_QUIC_END_FREED);
	if (c->pending)
		TAILQ_REMOVE(&q->pending, c, pending_link);
	qp_timer_cancel(q->env.wheel, &c->timer);
	qp_cid_remove_all(&q->cids, &c->cids);
	LIST_REMOVE(c, all_link);
	q->nconns--;
	q->env.counters->quic_connections = q->nconns;
	free(c->close_packet);
	free(c);
}

/* After release(): silence for three PTOs, so that late packets find no stranger. */
static void
linger(struct qp_quic_conn *c, enum qp_quic_conn_state state)
{
	uint64_t until = *c->quic->env.now_ns + 3 * ngtcp2_conn_get_pto(c->ng);

	if (c->state == QP_QUIC_HANDSHAKE)
		c->quic->env.counters->quic_handshakes_failed++;
	release(c, state == QP_QUIC_DRAINING ? QP_QUIC_END_PEER : QP_QUIC_END_OURS);
	c->state = state;
	qp_timer_arm(c->quic->env.wheel, &c->timer, until);
}

void
qp_quic_conn_drop(struct qp_quic_conn *c)
{
	if (c->state == QP_QUIC_HANDSHAKE)
		c->quic->env.counters->quic_handshakes_failed++;
	release(c, QP_QUIC_END_SILENCE);
	c->state = QP_QUIC_DEAD;
	qp_timer_cancel(c->quic->env.wheel, &c->timer);
	qp_quic_conn_pend(c);
}

static void
repeat_close(struct qp_quic_conn *c)
{
	struct qp_quic *q = c->quic;
	struct rte_mbuf *m;

	if (c->close_packet == NULL || *q->env.now_ns < c->close_repeat_ns)
		return;
	m = qp_quic_mbuf(q);
	if (m == NULL)
		return;
	c->close_repeat_ns = *q->env.now_ns + CLOSE_REPEAT_NS;
	memcpy(rte_pktmbuf_append(m, c->close_packet_len), c->close_packet, c->close_packet_len);
	qp_quic_send_single(q, m, &c->flow, 0);
}

void
qp_quic_conn_shut(struct qp_quic_conn *c)
{
	struct qp_quic *q = c->quic;
	uint8_t buf[NGTCP2_MAX_UDP_PAYLOAD_SIZE];
	ngtcp2_path_storage ps;
	ngtcp2_pkt_info pi;
	ngtcp2_ssize n;

	if (ngtcp2_conn_in_draining_period(c->ng)) {
		linger(c, QP_QUIC_DRAINING);
		return;
	}
	ngtcp2_path_storage_zero(&ps);
	n = ngtcp2_conn_write_connection_close(c->ng, &ps.path, &pi, buf, sizeof(buf), &c->ccerr,
		*q->env.now_ns);
	if (n <= 0) {
		qp_quic_conn_drop(c);
		return;
	}
	c->close_packet = malloc((size_t)n);
	if (c->close_packet != NULL)
		memcpy(c->close_packet, buf, (size_t)n);
	c->close_packet_len = (uint16_t)n;
	c->close_repeat_ns = 0;
	qp_quic_conn_take_path(c, &ps.path);
	linger(c, QP_QUIC_CLOSING);
	repeat_close(c);
}

/* ngtcp2 failed: say so to the peer at the next flush, unless it must not be told. */
static void
fail(struct qp_quic_conn *c, int rv)
{
	switch (rv) {
	case NGTCP2_ERR_DRAINING:
		linger(c, QP_QUIC_DRAINING);
		return;
	case NGTCP2_ERR_DROP_CONN:
	case NGTCP2_ERR_IDLE_CLOSE:
	case NGTCP2_ERR_HANDSHAKE_TIMEOUT:
		qp_quic_conn_drop(c);
		return;
	case NGTCP2_ERR_CRYPTO:
		ngtcp2_ccerr_set_tls_alert(&c->ccerr, ngtcp2_conn_get_tls_alert(c->ng), NULL, 0);
		break;
	default:
		ngtcp2_ccerr_set_liberr(&c->ccerr, rv, NULL, 0);
		break;
	}
	c->close_asked = true;
	qp_quic_conn_pend(c);
}

static void
on_timer(struct qp_timer *t, uint64_t now_ns)
{
	struct qp_quic_conn *c =
		(struct qp_quic_conn *)((char *)t - offsetof(struct qp_quic_conn, timer));
	int rv;

	if (c->ng == NULL) {
		c->state = QP_QUIC_DEAD;
		qp_quic_conn_pend(c);
		return;
	}
	rv = ngtcp2_conn_handle_expiry(c->ng, now_ns);
	if (rv != 0)
		fail(c, rv);
	else
		qp_quic_conn_pend(c);
}

/*
 * Where the peer is, and which id of ours it uses: only that one's reset token may
 * it heed (RFC 9000, 10.3.1). Both seldom change.
 */
static void
write_down(struct qp_quic_conn *c, const uint8_t *data, size_t len)
{
	struct qp_quic *q = c->quic;
	uint8_t token[NGTCP2_STATELESS_RESET_TOKENLEN];
	ngtcp2_cid cid;
	uint64_t used;

	_Static_assert(sizeof(used) == QP_CID_BYTES, "an id is compared as a number");
	_Static_assert(sizeof(token) == QP_RESET_TOKEN_BYTES, "a token fits");
	if (q->env.farewells == NULL || c->state != QP_QUIC_OPEN || len <= QP_CID_BYTES ||
		(data[0] & 0x80) != 0)
		return;
	memcpy(&used, data + 1, sizeof(used));
	if (c->farewell != QP_FAREWELL_NONE && used == c->farewell_cid && !c->farewell_stale)
		return;
	ngtcp2_cid_init(&cid, data + 1, QP_CID_BYTES);
	if (ngtcp2_crypto_generate_stateless_reset_token(token, q->cfg.reset_key,
		    sizeof(q->cfg.reset_key), &cid) != 0)
		return;
	qp_farewells_put(q->env.farewells, &c->farewell, &c->flow, token);
	c->farewell_cid = used;
	c->farewell_stale = false;
}

void
qp_quic_conn_read(struct qp_quic_conn *c, const struct qp_flow *flow, uint8_t tos,
	const uint8_t *data, size_t len)
{
	ngtcp2_path_storage ps;
	ngtcp2_pkt_info pi = {.ecn = tos & 3};
	int rv;

	/* RFC 9000, 10.2.1: no amplifier, whoever claims to be the peer. */
	if (c->state == QP_QUIC_CLOSING && 3 * len >= c->close_packet_len)
		repeat_close(c);
	if (c->ng == NULL || c->close_asked)
		return;
	qp_quic_path(&ps, flow);
	rv = ngtcp2_conn_read_pkt(c->ng, &ps.path, &pi, data, len, *c->quic->env.now_ns);
	if (rv == NGTCP2_ERR_RETRY)
		rv = NGTCP2_ERR_DROP_CONN; /* admit() decided on Retry before */
	if (rv != 0) {
		fail(c, rv);
		return;
	}
	if (qp_flow_same_ends(flow, &c->flow))
		c->flow.l2 = flow->l2;
	else
		c->other_flow = *flow;
	write_down(c, data, len);
	qp_quic_conn_pend(c);
}

static void
settings_of(struct qp_quic *q, ngtcp2_settings *s, const ngtcp2_pkt_hd *hd,
	ngtcp2_token_type token_type)
{
	ngtcp2_settings_default(s);
	s->initial_ts = *q->env.now_ns;
	s->cc_algo = NGTCP2_CC_ALGO_CUBIC;
	s->max_tx_udp_payload_size = q->cfg.max_udp_payload;
	s->handshake_timeout = HANDSHAKE_TIMEOUT_NS;
	s->token = hd->token;
	s->tokenlen = hd->tokenlen;
	s->token_type = token_type;
}

static int
params_of(struct qp_quic *q, ngtcp2_transport_params *p, const ngtcp2_pkt_hd *hd,
	const ngtcp2_cid *odcid, const ngtcp2_cid *scid)
{
	ngtcp2_transport_params_default(p);
	p->initial_max_stream_data_bidi_local = QP_QUIC_FIRST_CREDIT;
	p->initial_max_stream_data_bidi_remote = QP_QUIC_FIRST_CREDIT;
	p->initial_max_data = q->cfg.first_window;
	p->initial_max_streams_bidi = q->cfg.max_streams;
	p->max_idle_timeout = q->cfg.idle_timeout_ns;
	p->active_connection_id_limit = 7;
	p->original_dcid = odcid->datalen != 0 ? *odcid : hd->dcid;
	p->original_dcid_present = 1;
	if (odcid->datalen != 0) {
		p->retry_scid = hd->dcid;
		p->retry_scid_present = 1;
	}
	p->stateless_reset_token_present = 1;
	return ngtcp2_crypto_generate_stateless_reset_token(p->stateless_reset_token,
		q->cfg.reset_key, sizeof(q->cfg.reset_key), scid);
}

struct qp_quic_conn *
qp_quic_conn_alloc(struct qp_quic *q, const struct qp_flow *flow)
{
	struct qp_quic_conn *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->quic = q;
	c->flow = *flow;
	c->farewell = QP_FAREWELL_NONE;
	c->timer.fn = on_timer;
	c->ref.get_conn = get_conn;
	c->ref.user_data = c;
	ngtcp2_ccerr_default(&c->ccerr);
	TAILQ_INIT(&c->ready);
	LIST_INIT(&c->streams);
	LIST_INIT(&c->cids);
	LIST_INSERT_HEAD(&q->all, c, all_link);
	q->nconns++;
	q->nhandshakes++;
	q->env.counters->quic_connections = q->nconns;
	return c;
}

struct qp_quic_conn *
qp_quic_conn_accept(struct qp_quic *q, const ngtcp2_pkt_hd *hd, const struct qp_flow *flow,
	const ngtcp2_cid *odcid, ngtcp2_token_type token_type)
{
	ngtcp2_transport_params params;
	ngtcp2_settings settings;
	ngtcp2_path_storage ps;
	ngtcp2_cid scid;
	struct qp_quic_conn *c = qp_quic_conn_alloc(q, flow);

	if (c == NULL)
		return NULL;
	do
		qp_cid_make(&scid, q->cfg.server_id, q->cfg.lcore);
	while (qp_cid_find(&q->cids, scid.data, scid.datalen) != NULL);
	settings_of(q, &settings, hd, token_type);
	qp_quic_path(&ps, flow);
	if (params_of(q, &params, hd, odcid, &scid) != 0 ||
		qp_cid_add(&q->cids, &c->cids, &scid, c) < 0 ||
		qp_cid_add(&q->cids, &c->cids, &hd->dcid, c) < 0)
		goto err;
	if (ngtcp2_conn_server_new(&c->ng, &hd->scid, &scid, &ps.path, hd->version,
			&qp_quic_callbacks, &settings, &params, NULL, c) != 0) {
		c->ng = NULL; /* without memory it leaves what it has freed there */
		goto err;
	}
	c->ssl = qp_quic_tls_session(q->tls, &c->ref);
	if (c->ssl == NULL)
		goto err;
	ngtcp2_conn_set_tls_native_handle(c->ng, c->ssl);
	ngtcp2_conn_set_keep_alive_timeout(c->ng,
		q->cfg.keep_alive_ns != 0 ? q->cfg.keep_alive_ns : UINT64_MAX);
	return c;
err:
	q->env.counters->quic_handshakes_failed++;
	if (c->ng == NULL)
		q->nhandshakes--; /* release() does not run */
	qp_quic_conn_free(c);
	return NULL;
}

void
qp_quic_conn_close(struct qp_quic_conn *c, uint64_t code, const char *reason)
{
	size_t len = strnlen(reason, sizeof(c->reason));

	if (c->close_asked || c->ng == NULL)
		return;
	memcpy(c->reason, reason, len);
	ngtcp2_ccerr_set_application_error(&c->ccerr, code, (const uint8_t *)c->reason, len);
	c->close_asked = true;
	qp_quic_conn_pend(c);
}

const struct qp_flow *
qp_quic_conn_flow(const struct qp_quic_conn *c)
{
	return &c->flow;
}

uint64_t
qp_quic_conn_rtt(const struct qp_quic_conn *c)
{
	ngtcp2_conn_info info;

	if (c->ng == NULL)
		return 0;
	ngtcp2_conn_get_conn_info(c->ng, &info);
	return info.smoothed_rtt;
}

void
qp_quic_conn_trust(struct qp_quic_conn *c)
{
	const struct qp_quic_config *cfg = &c->quic->cfg;

	if (cfg->conn_window > cfg->first_window)
		qp_quic_conn_consumed(c, cfg->conn_window - cfg->first_window);
}

void
qp_quic_conn_consumed(struct qp_quic_conn *c, uint64_t bytes)
{
	if (c->ng == NULL)
		return;
	ngtcp2_conn_extend_max_offset(c->ng, bytes);
	qp_quic_conn_pend(c);
}
