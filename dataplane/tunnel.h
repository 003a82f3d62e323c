/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_TUNNEL_H
#define QP_DATAPLANE_TUNNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ipc.h"
#include "dataplane/memory.h"
#include "dataplane/quic/quic.h"
#include "dataplane/tcp/tcp.h"
#include "dataplane/timer.h"

/*
 * The tunnels of one lcore: stream 0 of each client (authentication, passed on
 * to the control plane; control messages) and, in relay.c, the outside
 * connections that run through them. No locks, no I/O of its own.
 */
struct qp_tunnels;
struct qp_udp;

struct qp_tunnels_env {
	const uint64_t *now_ns;
	struct qp_wheel *wheel;
	struct rte_mempool *pool;     /* plain mbufs */
	uint64_t pool_bytes;          /* what its data rooms hold together */
	uint32_t stream_window;       /* bytes that a new stream may have on its way to the outside */
	uint32_t max_stream_window;   /* … and of one whose outside takes it quickly */
	struct qp_tcp *tcp;
	struct qp_udp *udp;
	struct qp_worker_counters *counters;
	const uint8_t *mem_level;     /* enum qp_mem_level, as of this turn */
	bool audit_conns;             /* CONN_CLOSED for each outside connection */
	/*
	 * To the control plane; copies the message. False: so much waits already
	 * that a new client (AUTH_BEGIN) is not taken; other types always are.
	 */
	bool (*send)(void *ctx, const struct qp_msg *msg);
	void *send_ctx;
};

/* What the QUIC endpoint calls; its `app` is the struct qp_tunnels. */
extern const struct qp_quic_ops qp_tunnel_quic_ops;

/* NULL when out of memory. `env` is copied, what it points to borrowed. */
struct qp_tunnels *qp_tunnels_new(const struct qp_tunnels_env *env);
/* After the endpoint is gone, and with it every tunnel. NULL is allowed. */
void qp_tunnels_free(struct qp_tunnels *ts);

/* Any message from the control plane that is about tunnels, their clients or connections. */
void qp_tunnels_message(struct qp_tunnels *ts, const struct qp_msg *msg);
/* Once a worker loop after input: hands what came from the tunnels to TCP. */
void qp_tunnels_flush(struct qp_tunnels *ts);
/* True: there is more to do at the next flush, so that the worker must not sleep. */
bool qp_tunnels_busy(const struct qp_tunnels *ts);
/* SessionClose to every client, then the end of its connection. */
void qp_tunnels_shutdown(struct qp_tunnels *ts);
/* Counts one tunnel's smoothed round-trip time; the next call another's. */
void qp_tunnels_sample(struct qp_tunnels *ts, struct qp_rtt_histogram *rtt);
/* Tunnels that still exist, in any state. */
uint32_t qp_tunnels_count(const struct qp_tunnels *ts);

#endif
