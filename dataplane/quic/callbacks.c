/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ngtcp2 calls back, and the streams. Runs on the owning lcore, inside
 * ngtcp2_conn_read_pkt or ngtcp2_conn_writev_stream: nothing here may call
 * those again, so whatever wants to be written only marks its connection.
 */
#include "dataplane/quic/internal.h"

#include <rte_mbuf.h>
#include <stdlib.h>

#include "common/quicseal.h"

struct qp_quic_stream *
qp_quic_stream_new(struct qp_quic_conn *c, int64_t id)
{
	struct qp_quic_stream *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->conn = c;
	s->id = id;
	LIST_INSERT_HEAD(&c->streams, s, all_link);
	return s;
}

static void
unready(struct qp_quic_stream *s)
{
	if (s->ready)
		TAILQ_REMOVE(&s->conn->ready, s, ready_link);
	s->ready = false;
}

void
qp_quic_stream_free(struct qp_quic_stream *s)
{
	unready(s);
	LIST_REMOVE(s, all_link);
	qp_sendq_clear(&s->sendq);
	free(s);
}

static int
handshake_completed(ngtcp2_conn *ng, void *user)
{
	struct qp_quic_conn *c = user;
	struct qp_quic *q = c->quic;

	if (qp_tls_check_alpn(c->ssl) < 0)
		return NGTCP2_ERR_CALLBACK_FAILURE;
	c->state = QP_QUIC_OPEN;
	q->nhandshakes--;
	q->env.counters->quic_handshakes++;
	if (q->ops->opened(q->app, c, &c->ctx) != 0)
		return NGTCP2_ERR_CALLBACK_FAILURE;
	c->app_told = true;
	return 0;
}

static int
recv_stream_data(ngtcp2_conn *ng, uint32_t flags, int64_t id, uint64_t offset, const uint8_t *data,
	size_t len, void *user, void *stream_user)
{
	struct qp_quic_conn *c = user;
	struct qp_quic_stream *s = stream_user;

	if (s == NULL || s->ctx == NULL) {
		/* Nobody reads: take it, so that the connection's credit is not eaten up. */
		ngtcp2_conn_extend_max_offset(ng, len);
		return 0;
	}
	c->quic->ops->stream_data(s->ctx, data, len, (flags & NGTCP2_STREAM_DATA_FLAG_FIN) != 0);
	return 0;
}

static int
acked_stream_data(ngtcp2_conn *ng, int64_t id, uint64_t offset, uint64_t len, void *user,
	void *stream_user)
{
	struct qp_quic_conn *c = user;
	struct qp_quic_stream *s = stream_user;

	/* After an abort the queue is empty already, though acknowledgements go on. */
	if (s == NULL || len == 0 || s->sendq.queued_bytes - s->sendq.unsent_bytes < len)
		return 0;
	qp_sendq_acked(&s->sendq, len);
	if (s->ctx != NULL)
		c->quic->ops->stream_acked(s->ctx, len);
	return 0;
}

static int
stream_open(ngtcp2_conn *ng, int64_t id, void *user)
{
	struct qp_quic_conn *c = user;
	struct qp_quic_stream *s = qp_quic_stream_new(c, id);

	if (s == NULL)
		return NGTCP2_ERR_CALLBACK_FAILURE;
	ngtcp2_conn_set_stream_user_data(ng, id, s);
	if (c->app_told)
		c->quic->ops->stream_opened(c->ctx, s);
	return 0;
}

static int
stream_close(ngtcp2_conn *ng, uint32_t flags, int64_t id, uint64_t code, void *user,
	void *stream_user)
{
	struct qp_quic_conn *c = user;
	struct qp_quic_stream *s = stream_user;

	if (!ngtcp2_conn_is_local_stream(ng, id))
		ngtcp2_conn_extend_max_streams_bidi(ng, 1);
	if (s == NULL)
		return 0;
	if (s->ctx != NULL)
		c->quic->ops->stream_closed(s->ctx);
	qp_quic_stream_free(s);
	return 0;
}

static int
stream_reset(ngtcp2_conn *ng, int64_t id, uint64_t final_size, uint64_t code, void *user,
	void *stream_user)
{
	struct qp_quic_conn *c = user;
	struct qp_quic_stream *s = stream_user;

	if (s != NULL && s->ctx != NULL)
		c->quic->ops->stream_reset(s->ctx, code);
	return 0;
}

static int
may_open(ngtcp2_conn *ng, uint64_t max_streams, void *user)
{
	struct qp_quic_conn *c = user;

	if (c->app_told)
		c->quic->ops->may_open(c->ctx, ngtcp2_conn_get_streams_bidi_left(ng));
	return 0;
}

static void
ready(struct qp_quic_stream *s)
{
	if (!s->ready && !s->blocked) {
		s->ready = true;
		TAILQ_INSERT_TAIL(&s->conn->ready, s, ready_link);
	}
	qp_quic_conn_pend(s->conn);
}

static int
extend_stream_credit(ngtcp2_conn *ng, int64_t id, uint64_t max_data, void *user, void *stream_user)
{
	struct qp_quic_stream *s = stream_user;

	if (s == NULL || !s->blocked)
		return 0;
	s->blocked = false;
	ready(s);
	return 0;
}

static int
new_connection_id(ngtcp2_conn *ng, ngtcp2_cid *cid, uint8_t *token, size_t len, void *user)
{
	struct qp_quic_conn *c = user;
	struct qp_quic *q = c->quic;
	int rc;

	do {
		qp_cid_make(cid, q->cfg.server_id, q->cfg.lcore);
		rc = qp_cid_add(&q->cids, &c->cids, cid, c);
	} while (rc == QP_E_INUSE);
	if (rc < 0 || ngtcp2_crypto_generate_stateless_reset_token(token, q->cfg.reset_key,
			      sizeof(q->cfg.reset_key), cid) != 0)
		return NGTCP2_ERR_CALLBACK_FAILURE;
	return 0;
}

static int
remove_connection_id(ngtcp2_conn *ng, const ngtcp2_cid *cid, void *user)
{
	struct qp_quic_conn *c = user;

	qp_cid_remove(&c->quic->cids, cid, c);
	return 0;
}

static int
path_validation(ngtcp2_conn *ng, uint32_t flags, const ngtcp2_path *path, const ngtcp2_path *old,
	ngtcp2_path_validation_result res, void *user)
{
	struct qp_quic_conn *c = user;

	if (res == NGTCP2_PATH_VALIDATION_RESULT_SUCCESS)
		c->quic->env.counters->quic_migrations++;
	return 0;
}

const ngtcp2_callbacks qp_quic_callbacks = {
	.recv_client_initial = ngtcp2_crypto_recv_client_initial_cb,
	.recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb,
	.handshake_completed = handshake_completed,
	.encrypt = qp_seal_encrypt,
	.decrypt = qp_seal_decrypt,
	.hp_mask = qp_seal_hp_mask,
	.recv_stream_data = recv_stream_data,
	.acked_stream_data_offset = acked_stream_data,
	.stream_open = stream_open,
	.stream_close = stream_close,
	.stream_reset = stream_reset,
	.extend_max_local_streams_bidi = may_open,
	.extend_max_stream_data = extend_stream_credit,
	.rand = qp_quic_rand,
	.get_new_connection_id = new_connection_id,
	.remove_connection_id = remove_connection_id,
	.update_key = qp_seal_update_key,
	.path_validation = path_validation,
	.delete_crypto_aead_ctx = qp_seal_delete_aead,
	.delete_crypto_cipher_ctx = qp_seal_delete_cipher,
	.get_path_challenge_data = ngtcp2_crypto_get_path_challenge_data_cb,
	.version_negotiation = ngtcp2_crypto_version_negotiation_cb,
};

/* Streams, as the application sees them. */

int
qp_quic_stream_open(struct qp_quic_conn *c, void *stream_ctx, struct qp_quic_stream **out)
{
	struct qp_quic_stream *s;
	int64_t id;

	if (c->ng == NULL || c->close_asked)
		return QP_E_CLOSED;
	if (ngtcp2_conn_get_streams_bidi_left(c->ng) == 0)
		return QP_E_AGAIN;
	s = qp_quic_stream_new(c, -1);
	if (s == NULL)
		return QP_E_NOMEM;
	if (ngtcp2_conn_open_bidi_stream(c->ng, &id, s) != 0) {
		qp_quic_stream_free(s);
		return QP_E_NOMEM;
	}
	s->id = id;
	s->ctx = stream_ctx;
	*out = s;
	return 0;
}

void
qp_quic_stream_set_ctx(struct qp_quic_stream *s, void *stream_ctx)
{
	s->ctx = stream_ctx;
}

int64_t
qp_quic_stream_id(const struct qp_quic_stream *s)
{
	return s->id;
}

void
qp_quic_stream_write(struct qp_quic_stream *s, struct rte_mbuf *chain)
{
	if (s->write_ended || s->fin_queued) {
		rte_pktmbuf_free(chain);
		return;
	}
	qp_sendq_append(&s->sendq, chain);
	if (s->sendq.unsent_bytes > 0)
		ready(s);
}

int
qp_quic_stream_write_bytes(struct qp_quic_stream *s, const void *data, size_t len)
{
	int rc;

	if (s->write_ended || s->fin_queued)
		return 0;
	rc = qp_sendq_copy(&s->sendq, s->conn->quic->env.pool, data, len);
	if (rc == 0 && s->sendq.unsent_bytes > 0)
		ready(s);
	return rc;
}

void
qp_quic_stream_fin(struct qp_quic_stream *s)
{
	if (s->fin_queued || s->write_ended)
		return;
	s->fin_queued = true;
	ready(s);
}

uint64_t
qp_quic_stream_queued(const struct qp_quic_stream *s)
{
	return s->sendq.queued_bytes;
}

uint64_t
qp_quic_stream_unsent(const struct qp_quic_stream *s)
{
	return s->sendq.unsent_bytes;
}

void
qp_quic_stream_consumed(struct qp_quic_stream *s, uint64_t bytes)
{
	if (s->conn->ng == NULL)
		return;
	/* Fails only when the stream is gone for ngtcp2 already: then credit has no meaning. */
	(void)ngtcp2_conn_extend_max_stream_offset(s->conn->ng, s->id, bytes);
	qp_quic_conn_pend(s->conn);
}

void
qp_quic_stream_abort(struct qp_quic_stream *s, uint64_t code)
{
	s->write_ended = true;
	s->blocked = false;
	unready(s);
	/*
	 * ngtcp2 never reads a reset stream's data again (RFC 9000, 3.5), so the
	 * queue may go at once.
	 */
	if (s->conn->ng != NULL)
		(void)ngtcp2_conn_shutdown_stream(s->conn->ng, 0, s->id, code);
	qp_sendq_clear(&s->sendq);
	qp_quic_conn_pend(s->conn);
}
