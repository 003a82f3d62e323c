/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_PUBLIC_API_H
#define QP_CONTROLPLANE_PUBLIC_API_H

#include <stdbool.h>
#include <stdint.h>

#include "controlplane/loop.h"
#include "controlplane/msg.h"

/*
 * The public API (/healthcheck) over the data plane's TCP: its bytes come and
 * go as ring messages, and meet an HTTP server over a socket pair. Everything
 * is bounded: connections, bytes a request, time. Owner: the loop thread.
 */
struct qp_public_api;

#define QP_PUBLIC_API_CONNS 64u
#define QP_PUBLIC_API_REQUEST_BYTES 8192u
#define QP_PUBLIC_API_SECONDS 10u

struct qp_public_api_config {
	struct qp_loop *loop;
	struct qp_sender sender;
	/* Whether one more API_DATA fits without taking the room of answers. */
	bool (*has_room)(void *ctx, const struct qp_origin *to);
	void *room_ctx;
	bool (*serving)(void *ctx); /* for /healthcheck */
	void *serving_ctx;
};

/* QP_E_NOMEM or QP_E_IO. */
int qp_public_api_new(
	const struct qp_public_api_config *cfg, struct qp_public_api **out, struct qp_errmsg *msg);
/* NULL is allowed. */
void qp_public_api_free(struct qp_public_api *api);

void qp_public_api_open(
	struct qp_public_api *api, const struct qp_origin *from, const struct qp_msg *m);
void qp_public_api_data(
	struct qp_public_api *api, const struct qp_origin *from, const struct qp_msg *m);
void qp_public_api_close(
	struct qp_public_api *api, const struct qp_origin *from, const struct qp_msg *m);
/* Its data plane is dead: its connections are forgotten. */
void qp_public_api_drop_generation(struct qp_public_api *api, uint32_t server_id);

#endif
