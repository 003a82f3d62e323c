/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ngtcp2 reports while it reads or writes a packet, passed on to streams
 * and to the connection's owner. The loop's thread.
 */
#include "client/quic_impl.h"

#include <sodium.h>

#include "common/quicseal.h"
#include "common/wire.h"

static int
on_handshake_completed(ngtcp2_conn *conn, void *user)
{
	struct qpc_quic *q = user;

	q->heed_icmp = false;
	if (q->silence_ns > 0)
		qpc_timer_arm(&q->loop->timers, &q->silence, qp_quic_now() + q->silence_ns);
	if (qp_tls_check_alpn(q->ssl) != QP_OK) {
		qpc_quic_fail(q, QP_E_VERSION, QP_APP_PROTOCOL,
			"the server does not speak " QP_WIRE_ALPN);
		return NGTCP2_ERR_CALLBACK_FAILURE;
	}
	return q->ops->handshake_done(q->ctx) == QP_OK ? 0 : NGTCP2_ERR_CALLBACK_FAILURE;
}

static int
on_stream_open(ngtcp2_conn *conn, int64_t id, void *user)
{
	struct qpc_quic *q = user;
	struct qpc_stream *s;

	/* An earlier frame of this packet was the end: a stream made now would be nobody's to close. */
	if (q->over)
		return NGTCP2_ERR_CALLBACK_FAILURE;
	s = ngtcp2_is_bidi_stream(id) ? q->ops->stream_opened(q->ctx, id) : NULL;
	if (s == NULL && q->over)
		return NGTCP2_ERR_CALLBACK_FAILURE;
	if (s == NULL) {
		if (ngtcp2_conn_shutdown_stream(conn, 0, id, QP_STREAM_LIMIT) != 0)
			return NGTCP2_ERR_CALLBACK_FAILURE;
		return 0;
	}
	qpc_stream_init(q, s, id);
	if (ngtcp2_conn_set_stream_user_data(conn, id, s) != 0)
		return NGTCP2_ERR_CALLBACK_FAILURE;
	return 0;
}

static int
on_stream_data(ngtcp2_conn *conn, uint32_t flags, int64_t id, uint64_t offset,
	const uint8_t *data, size_t len, void *user, void *stream_user)
{
	struct qpc_quic *q = user;
	struct qpc_stream *s = stream_user;
	int err;

	if (s == NULL) {
		qpc_quic_consumed(q, len);
		return 0;
	}
	err = s->ops->data(s, data, len, (flags & NGTCP2_STREAM_DATA_FLAG_FIN) != 0);
	if (err == QP_OK)
		return 0;
	qpc_quic_fail(q, err, QP_APP_INTERNAL, qp_strerror(err));
	return NGTCP2_ERR_CALLBACK_FAILURE;
}

static int
on_acked(ngtcp2_conn *conn, int64_t id, uint64_t offset, uint64_t len, void *user,
	void *stream_user)
{
	struct qpc_quic *q = user;
	struct qpc_stream *s = stream_user;

	if (s == NULL || len == 0)
		return 0;
	qpc_bytes_release(&s->out, q->pool, (size_t)len);
	s->ops->acked(s);
	return 0;
}

static int
on_stream_credit(ngtcp2_conn *conn, int64_t id, uint64_t max_data, void *user, void *stream_user)
{
	struct qpc_stream *s = stream_user;

	if (s != NULL) {
		s->blocked = false;
		qpc_stream_ready(user, s);
	}
	return 0;
}

static int
on_streams_allowed(ngtcp2_conn *conn, uint64_t max, void *user)
{
	struct qpc_quic *q = user;

	if (q->ops->room != NULL)
		q->ops->room(q->ctx);
	return 0;
}

static int
on_stream_reset(ngtcp2_conn *conn, int64_t id, uint64_t final_size, uint64_t code, void *user,
	void *stream_user)
{
	struct qpc_stream *s = stream_user;

	if (s != NULL)
		s->ops->reset(s, code);
	return 0;
}

static int
on_stream_close(ngtcp2_conn *conn, uint32_t flags, int64_t id, uint64_t code, void *user,
	void *stream_user)
{
	struct qpc_quic *q = user;

	if (!ngtcp2_conn_is_local_stream(conn, id))
		ngtcp2_conn_extend_max_streams_bidi(conn, 1);
	if (stream_user != NULL)
		qpc_stream_gone(q, stream_user);
	return 0;
}

static int
on_new_connection_id(ngtcp2_conn *conn, ngtcp2_cid *cid, uint8_t *token, size_t len, void *user)
{
	randombytes_buf(cid->data, len);
	cid->datalen = len;
	randombytes_buf(token, NGTCP2_STATELESS_RESET_TOKENLEN);
	return 0;
}

static int
on_stateless_reset(ngtcp2_conn *conn, const ngtcp2_pkt_stateless_reset *sr, void *user)
{
	((struct qpc_quic *)user)->stateless_reset = true;
	return 0;
}

const ngtcp2_callbacks qpc_quic_callbacks = {
	.client_initial = ngtcp2_crypto_client_initial_cb,
	.recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb,
	.handshake_completed = on_handshake_completed,
	.encrypt = qp_seal_encrypt,
	.decrypt = qp_seal_decrypt,
	.hp_mask = qp_seal_hp_mask,
	.recv_stream_data = on_stream_data,
	.acked_stream_data_offset = on_acked,
	.stream_open = on_stream_open,
	.stream_close = on_stream_close,
	.recv_stateless_reset = on_stateless_reset,
	.recv_retry = ngtcp2_crypto_recv_retry_cb,
	.rand = qp_quic_rand,
	.get_new_connection_id = on_new_connection_id,
	.update_key = qp_seal_update_key,
	.stream_reset = on_stream_reset,
	.extend_max_local_streams_bidi = on_streams_allowed,
	.extend_max_stream_data = on_stream_credit,
	.delete_crypto_aead_ctx = qp_seal_delete_aead,
	.delete_crypto_cipher_ctx = qp_seal_delete_cipher,
	.get_path_challenge_data = ngtcp2_crypto_get_path_challenge_data_cb,
	.version_negotiation = ngtcp2_crypto_version_negotiation_cb,
};
