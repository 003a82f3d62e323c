/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_SHAPE_H
#define QP_DATAPLANE_SHAPE_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/clients.h"
#include "dataplane/tunnel_internal.h"

/*
 * A client's bandwidth. Bytes of TCP that are too early wait in their relay,
 * which holds back the window, or the stream's credit, that they take: so who
 * sends them slows down, and nothing is lost. Datagrams that are too early are
 * dropped. Thread: the owning lcore.
 */
void qp_shape_init(struct qp_client *c);
/* No relay waits any more. */
void qp_shape_fini(struct qp_client *c);
/* c->limits have changed. What waits goes on by the new ones. */
void qp_shape_set(struct qp_client *c);
/* The tunnel is the client's no more: what of it waits, waits no more. */
void qp_shape_leave(struct qp_tunnel *t);

/* shape.h's own, and shape.c's. */
void qp_shape_refill(struct qp_shape *s);
bool qp_shape_wait(struct qp_relay *r, enum qp_way way, uint32_t bytes);
bool qp_shape_take_datagram(struct qp_tunnel *t, enum qp_way way, uint32_t bytes);
/* A window of a connection's that is not larger than its client's bandwidth has use for. */
uint32_t qp_shape_cap(const struct qp_tunnel *t, enum qp_way way, uint32_t window);
/* The relay is going, or has nothing more to pass that way. */
void qp_shape_drop(struct qp_relay *r, enum qp_way way);

/*
 * True: the bytes, and what follows them, must be kept: qp_relay_pass will ask
 * for them. False: they may pass now.
 */
static inline bool
qp_shape_must_wait(struct qp_relay *r, enum qp_way way, uint32_t bytes)
{
	const struct qp_client *c = r->tunnel->client;

	return c != NULL && c->limited && qp_shape_wait(r, way, bytes);
}

/* False: too early, drop it. */
static inline bool
qp_shape_may_pass(struct qp_tunnel *t, enum qp_way way, uint32_t bytes)
{
	const struct qp_client *c = t->client;

	return c == NULL || !c->limited || qp_shape_take_datagram(t, way, bytes);
}

#endif
