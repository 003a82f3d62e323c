/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_SOURCES_H
#define QP_CONTROLPLANE_SOURCES_H

#include <stdint.h>

#include "common/error.h"
#include "controlplane/ports.h"

/*
 * The local ports of connections that workers open: a block of ports for each
 * worker that needs them, reserved on the host and steered to it like forwarded
 * ports, so that answers come to the worker and the host's own programs never
 * have the same port. From the first need until the generation ends.
 * Owner: the loop thread.
 */
struct qp_sources;

struct qp_sources_config {
	struct qp_port_host host;
	uint32_t count; /* ports of a worker */
	uint32_t (*random)(uint32_t upper_bound); /* NULL: libsodium's */
};

/* NULL when out of memory. */
struct qp_sources *qp_sources_new(const struct qp_sources_config *cfg);
/* Gives all back. NULL is allowed. */
void qp_sources_free(struct qp_sources *s);

/*
 * The worker's block for that protocol (IPPROTO_TCP or IPPROTO_UDP): its first
 * port, and how many there are. QP_E_INUSE when the host leaves no block free, or as the host says.
 */
int qp_sources_take(struct qp_sources *s, const struct qp_origin *worker, int protocol,
	uint16_t *first, uint16_t *count, struct qp_errmsg *msg);
/*
 * A worker that was taken over has this block (TUNNEL_STATE): it keeps it, and
 * qp_sources_take gives it this one from then on. Told again: nothing happens.
 */
int qp_sources_adopt(struct qp_sources *s, const struct qp_origin *worker, int protocol,
	uint16_t first, uint16_t count, struct qp_errmsg *msg);
/* The generation has ended. */
void qp_sources_drop_generation(struct qp_sources *s, uint32_t server_id);

#endif
