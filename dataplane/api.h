/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_API_H
#define QP_DATAPLANE_API_H

#include <stdint.h>

#include "common/ipc.h"
#include "dataplane/tcp/tcp.h"

/*
 * The public API port: TCP connections whose bytes travel over the ring to
 * the control plane's HTTP server and back. Owner: one lcore. Bounded in
 * connections and in bytes that a peer may send.
 */
struct qp_api;

struct qp_api_env {
	struct qp_tcp *tcp;
	struct rte_mempool *pool;
	bool (*send)(void *ctx, const struct qp_msg *msg); /* copies; false: not taken (API_OPEN only) */
	void *send_ctx;
};

/* Listens on the port (all addresses, or `addr`). */
int qp_api_open(const struct qp_api_env *env, const struct qp_ipaddr *addr, uint16_t port_be,
	struct qp_api **out);
/* Resets what is open. NULL is allowed. */
void qp_api_close(struct qp_api *api);
/* API_DATA or API_CLOSE from the control plane. */
void qp_api_message(struct qp_api *api, const struct qp_msg *msg);
/* The control plane that served them is gone: resets what is open, without telling. */
void qp_api_reset_all(struct qp_api *api);
/* Once a worker loop after input. */
void qp_api_flush(struct qp_api *api);

#endif
