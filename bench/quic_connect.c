/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's connections on the gateway's QUIC code: TLS context, transport
 * parameters, first flight. The worker's lcore.
 */
#include "bench/quic_connect.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "common/quicglue.h"
#include "common/quicseal.h"
#include "dataplane/quic/internal.h"

#define DCID_BYTES 18u /* longer than what the server gives: no worker's id by chance */

static int
tls_new(WOLFSSL_CTX **out, struct qp_errmsg *msg)
{
	WOLFSSL_CTX *tls;
	int rc = qp_quic_init();

	if (rc < 0)
		return qp_fail(msg, rc, "the cryptographic libraries do not start");
	tls = wolfSSL_CTX_new(wolfTLSv1_3_client_method());
	if (tls == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no memory for TLS");
	if (ngtcp2_crypto_wolfssl_configure_client_context(tls) != 0) {
		wolfSSL_CTX_free(tls);
		return qp_fail(msg, QP_E_CRYPTO, "wolfSSL refuses QUIC");
	}
	rc = qp_tls_configure_ctx(tls, msg);
	if (rc == 0)
		rc = qp_seal_configure_ctx(tls, msg);
	if (rc < 0) {
		wolfSSL_CTX_free(tls);
		return rc;
	}
	/* CertificateVerify is checked nonetheless. */
	wolfSSL_CTX_set_verify(tls, WOLFSSL_VERIFY_NONE, NULL);
	*out = tls;
	return 0;
}

int
qpb_quic_new(const struct qp_quic_env *env, const struct qp_quic_config *cfg,
	const struct qp_quic_ops *ops, void *app, struct qp_quic **out, struct qp_errmsg *msg)
{
	struct qp_quic *q;
	int rc = qp_quic_alloc(env, cfg, ops, app, &q, msg);

	if (rc < 0)
		return rc;
	/* Silent to strangers: it accepts no Initial and refuses none. */
	q->refusing = q->draining = true;
	randombytes_buf(q->cfg.reset_key, sizeof(q->cfg.reset_key));
	rc = tls_new(&q->tls, msg);
	if (rc < 0) {
		qp_quic_free(q);
		return rc;
	}
	*out = q;
	return 0;
}

/* The server's callbacks with a client's first flight. */
static const ngtcp2_callbacks *
client_callbacks(void)
{
	static _Thread_local ngtcp2_callbacks cb;

	if (cb.client_initial == NULL) {
		cb = qp_quic_callbacks;
		cb.recv_client_initial = NULL;
		cb.client_initial = ngtcp2_crypto_client_initial_cb;
		cb.recv_retry = ngtcp2_crypto_recv_retry_cb;
	}
	return &cb;
}

static WOLFSSL *
session(WOLFSSL_CTX *tls, ngtcp2_crypto_conn_ref *ref)
{
	WOLFSSL *ssl = wolfSSL_new(tls);

	if (ssl == NULL)
		return NULL;
	wolfSSL_set_app_data(ssl, ref);
	wolfSSL_set_connect_state(ssl);
	if (qp_tls_configure_client(ssl, NULL) < 0) {
		wolfSSL_free(ssl);
		return NULL;
	}
	return ssl;
}

static int
start(struct qp_quic_conn *c, uint64_t stream_window)
{
	struct qp_quic *q = c->quic;
	ngtcp2_cid dcid = {.datalen = DCID_BYTES}, scid;
	ngtcp2_transport_params p;
	ngtcp2_settings s;
	ngtcp2_path_storage ps;

	randombytes_buf(dcid.data, DCID_BYTES);
	do
		qp_cid_make(&scid, q->cfg.server_id, q->cfg.lcore);
	while (qp_cid_find(&q->cids, scid.data, scid.datalen) != NULL);
	ngtcp2_settings_default(&s);
	s.initial_ts = *q->env.now_ns;
	s.cc_algo = NGTCP2_CC_ALGO_CUBIC;
	s.max_tx_udp_payload_size = q->cfg.max_udp_payload;
	s.handshake_timeout = 10 * NGTCP2_SECONDS;
	ngtcp2_transport_params_default(&p);
	p.initial_max_stream_data_bidi_local = stream_window;
	p.initial_max_stream_data_bidi_remote = stream_window;
	p.initial_max_data = q->cfg.conn_window;
	p.initial_max_streams_bidi = q->cfg.max_streams;
	p.max_idle_timeout = q->cfg.idle_timeout_ns;
	p.active_connection_id_limit = 7;
	qp_quic_path(&ps, &c->flow);
	if (qp_cid_add(&q->cids, &c->cids, &scid, c) < 0)
		return QP_E_NOMEM;
	if (ngtcp2_conn_client_new(&c->ng, &dcid, &scid, &ps.path, NGTCP2_PROTO_VER_V1,
		    client_callbacks(), &s, &p, NULL, c) != 0) {
		c->ng = NULL;
		return QP_E_NOMEM;
	}
	c->ssl = session(q->tls, &c->ref);
	if (c->ssl == NULL)
		return QP_E_NOMEM;
	ngtcp2_conn_set_tls_native_handle(c->ng, c->ssl);
	if (q->cfg.keep_alive_ns != 0)
		ngtcp2_conn_set_keep_alive_timeout(c->ng, q->cfg.keep_alive_ns);
	return 0;
}

int
qpb_quic_connect(struct qp_quic *q, const struct qp_flow *flow, uint64_t stream_window,
	void *conn_ctx, struct qp_quic_conn **out)
{
	struct qp_quic_conn *c = qp_quic_conn_alloc(q, flow);

	if (c == NULL)
		return QP_E_NOMEM;
	if (start(c, stream_window) < 0) {
		if (c->ng == NULL)
			q->nhandshakes--; /* nobody else counts it back */
		qp_quic_conn_free(c);
		return QP_E_NOMEM;
	}
	/* From here on closed() is owed, however the handshake goes. */
	c->ctx = conn_ctx;
	c->app_told = true;
	qp_quic_conn_pend(c);
	*out = c;
	return 0;
}
