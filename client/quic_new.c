/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a client's QUIC connection: socket, TLS session, transport
 * parameters, packet sizes. The loop's thread.
 */
#include "client/quic_impl.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "common/wire.h"

#define CID_BYTES 8
#define UDP_IP4_HEADER 28u
#define UDP_IP6_HEADER 48u

void
qpc_quic_config_default(struct qpc_quic_config *cfg)
{
	*cfg = (struct qpc_quic_config) {
		.keep_alive_s = QP_WIRE_KEEP_ALIVE_S,
		.idle_timeout_s = QP_WIRE_IDLE_TIMEOUT_S,
		.handshake_timeout_s = 10,
		.stream_window_bytes = 512 << 10,
		.max_stream_window_bytes = 8 << 20,
		.window_bytes = 16 << 20,
		.max_window_bytes = 64 << 20,
		.max_streams = 65536,
	};
}

static void
choose_probes(struct qpc_quic *q)
{
	size_t header = q->udp.remote.sa.sa_family == AF_INET6 ? UDP_IP6_HEADER : UDP_IP4_HEADER;
	size_t mtu = qpc_udp_path_mtu(&q->udp) - header;

	q->max_packet = mtu < QPC_MAX_PACKET ? mtu : QPC_MAX_PACKET;
	/* Largest first: what the interface takes, Ethernet, PPPoE and tunnels. Each must exceed 1,200. */
	q->probes[0] = (uint16_t)q->max_packet;
	q->probes[1] = (uint16_t)(1500 - header);
	q->probes[2] = (uint16_t)(1454 - header);
	q->probes[3] = (uint16_t)(1390 - header);
}

void
qpc_quic_settings(struct qpc_quic *q, const struct qpc_quic_config *cfg,
	ngtcp2_settings *settings, ngtcp2_transport_params *params)
{
	choose_probes(q);
	ngtcp2_settings_default(settings);
	settings->initial_ts = qp_quic_now();
	settings->cc_algo = NGTCP2_CC_ALGO_CUBIC;
	settings->handshake_timeout = cfg->handshake_timeout_s * NGTCP2_SECONDS;
	settings->max_tx_udp_payload_size = q->max_packet;
	settings->max_window = cfg->max_window_bytes;
	settings->max_stream_window = cfg->max_stream_window_bytes;
	settings->pmtud_probes = q->probes;
	settings->pmtud_probeslen = QPC_PMTUD_PROBES;
	ngtcp2_transport_params_default(params);
	params->initial_max_stream_data_bidi_local = cfg->stream_window_bytes;
	params->initial_max_stream_data_bidi_remote = cfg->stream_window_bytes;
	params->initial_max_data = cfg->window_bytes;
	params->initial_max_streams_bidi = cfg->max_streams;
	params->initial_max_streams_uni = 0;
	params->max_idle_timeout = cfg->idle_timeout_s * NGTCP2_SECONDS;
	params->active_connection_id_limit = 7;
}

static ngtcp2_conn *
get_conn(ngtcp2_crypto_conn_ref *ref)
{
	return ((struct qpc_quic *)ref->user_data)->conn;
}

static int
make_conn(struct qpc_quic *q, const struct qpc_quic_config *cfg, struct qp_errmsg *msg)
{
	ngtcp2_cid dcid = {.datalen = CID_BYTES}, scid = {.datalen = CID_BYTES};
	ngtcp2_path path = qpc_quic_path(q);
	ngtcp2_settings settings;
	ngtcp2_transport_params params;
	int rv;

	randombytes_buf(dcid.data, CID_BYTES);
	randombytes_buf(scid.data, CID_BYTES);
	qpc_quic_settings(q, cfg, &settings, &params);
	rv = ngtcp2_conn_client_new(&q->conn, &dcid, &scid, &path, NGTCP2_PROTO_VER_V1,
		&qpc_quic_callbacks, &settings, &params, NULL, q);
	if (rv != 0) {
		q->conn = NULL; /* without memory it leaves what it has freed there */
		return qp_fail(msg, qp_quic_err(rv), "cannot start QUIC: %s", qp_quic_err_text(rv));
	}
	ngtcp2_conn_set_tls_native_handle(q->conn, q->ssl);
	ngtcp2_conn_set_keep_alive_timeout(q->conn, cfg->keep_alive_s * NGTCP2_SECONDS);
	return QP_OK;
}

struct qpc_quic *
qpc_quic_alloc(struct qpc_loop *loop, struct qpc_pool *pool, const struct qpc_quic_ops *ops,
	void *ctx)
{
	struct qpc_quic *q = calloc(1, sizeof(*q));

	if (q == NULL)
		return NULL;
	q->loop = loop;
	q->pool = pool;
	q->ops = ops;
	q->ctx = ctx;
	q->udp.fd = -1;
	q->source.fd = -1;
	q->timer.fire = qpc_quic_on_timer;
	q->silence.fire = qpc_quic_on_silence;
	q->task.run = qpc_quic_on_task;
	q->ref = (ngtcp2_crypto_conn_ref) {get_conn, q};
	TAILQ_INIT(&q->ready);
	TAILQ_INIT(&q->open);
	return q;
}

int
qpc_quic_join_loop(struct qpc_quic *q)
{
	int err;

	q->source = (struct qpc_source) {q->udp.fd, qpc_quic_on_events};
	err = qpc_loop_add(q->loop, &q->source, EPOLLIN);
	qpc_quic_wake(q);
	return err;
}

int
qpc_quic_new(struct qpc_loop *loop, const struct qpc_quic_config *cfg, WOLFSSL_CTX *tls,
	const struct qp_sockaddr *remote, struct qpc_pool *pool, const struct qpc_quic_ops *ops,
	void *ctx, struct qpc_quic **out, struct qp_errmsg *msg)
{
	struct qpc_quic *q = qpc_quic_alloc(loop, pool, ops, ctx);
	int err;

	if (q == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory for a QUIC connection");
	q->heed_icmp = cfg->heed_icmp;
	qpc_quic_watch_silence(q, cfg->idle_timeout_s);
	err = qpc_udp_open(&q->udp, remote, msg);
	if (err == QP_OK)
		err = qpc_tls_session(tls, &q->ref, &q->ssl, msg);
	if (err == QP_OK)
		err = make_conn(q, cfg, msg);
	if (err == QP_OK && qpc_quic_join_loop(q) != QP_OK)
		err = qp_fail(msg, QP_E_IO, "epoll refused the UDP socket");
	if (err != QP_OK) {
		qpc_quic_free(q);
		return err;
	}
	*out = q;
	return QP_OK;
}
