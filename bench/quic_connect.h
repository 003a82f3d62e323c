/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_BENCH_QUIC_CONNECT_H
#define QP_BENCH_QUIC_CONNECT_H

#include "dataplane/quic/quic.h"

/*
 * The other side of dataplane/quic: connections to a server. What is the same
 * on both sides (packets in mbufs, streams, timers, closing) is the gateway's
 * own code; an endpoint made here accepts nobody.
 */

/*
 * As qp_quic_new, without certificate. Of `cfg` these count: idle_timeout_ns,
 * keep_alive_ns, conn_window, max_streams, max_udp_payload. `stream_window`:
 * bytes that the server may send ahead on each of its streams.
 */
int qpb_quic_new(const struct qp_quic_env *env, const struct qp_quic_config *cfg,
	const struct qp_quic_ops *ops, void *app, struct qp_quic **out, struct qp_errmsg *msg);

/*
 * A connection to flow->remote, which may be anybody: his certificate is not
 * looked at. ops->opened comes when the handshake is done, with *conn_ctx as
 * given; ops->closed in any case, also when the handshake fails. QP_E_NOMEM.
 */
int qpb_quic_connect(struct qp_quic *q, const struct qp_flow *flow, uint64_t stream_window,
	void *conn_ctx, struct qp_quic_conn **out);

#endif
