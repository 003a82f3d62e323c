/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_MSG_H
#define QP_CONTROLPLANE_MSG_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/ipc.h"

/*
 * Who a message is from: a generation's worker, and the tunnel or connection as
 * that worker numbers it. An id, never a pointer: its owner may be dead.
 */
struct qp_origin {
	uint32_t server_id;
	uint16_t worker;
	uint64_t id;
};

static inline bool
qp_origin_equal(const struct qp_origin *a, const struct qp_origin *b)
{
	return a->id == b->id && a->server_id == b->server_id && a->worker == b->worker;
}

#define QP_ORIGIN_TEXT_BYTES 40u

/* A tunnel's id as people and the API name it: "3039-0-1f". */
static inline const char *
qp_origin_format(const struct qp_origin *o, char out[QP_ORIGIN_TEXT_BYTES])
{
	snprintf(out, QP_ORIGIN_TEXT_BYTES, "%04" PRIx32 "-%u-%" PRIx64, o->server_id, o->worker,
		o->id);
	return out;
}

/*
 * How the modules answer; a test takes the messages instead of a ring. `m` has
 * type and payload, the rest is filled in. An answer to a generation that is
 * gone is dropped: it took its tunnels along.
 */
struct qp_sender {
	void (*send)(void *ctx, const struct qp_origin *to, struct qp_msg *m);
	void *ctx;
};

static inline void
qp_send(const struct qp_sender *s, const struct qp_origin *to, struct qp_msg *m)
{
	s->send(s->ctx, to, m);
}

#endif
