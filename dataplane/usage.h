/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_USAGE_H
#define QP_DATAPLANE_USAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ipc.h"
#include "dataplane/ip.h"

/*
 * What tunnels and their connections have carried, and why they ended: for
 * lists, the audit log and TUNNEL_CLOSED. Thread: the owning lcore.
 */
struct qp_tunnel;

/* Of one connection or UDP flow; part of it. */
struct qp_usage {
	uint64_t in_bytes;    /* outside to tunnel, payload */
	uint64_t out_bytes;   /* tunnel to outside */
	uint64_t since_ns;
	struct qp_ipaddr peer; /* the outside's end */
	uint16_t peer_port_be;
	uint16_t own_port_be; /* of a local forward's: what its destination sees */
	uint32_t conn_id;     /* on the wire; 0 while a client has not said it */
	bool moved;           /* it goes on under another name: nothing is told of its end */
	enum qp_end_reason why; /* the first that was said counts */
};

/* Counts one more of the tunnel. `flow` NULL: its other end is told later by qp_usage_peer. */
void qp_usage_opened(struct qp_tunnel *t, struct qp_usage *u, uint32_t conn_id,
	const struct qp_flow *flow);
void qp_usage_peer(struct qp_usage *u, const struct qp_flow *flow);
/* It is not counted any more and never was, since it goes on as another. */
void qp_usage_moved(struct qp_tunnel *t, struct qp_usage *u);
/* The end, which the control plane is told if it wants to know. */
void qp_usage_closed(struct qp_tunnel *t, struct qp_usage *u);
/* One outside connection was refused, or reset by us. */
void qp_usage_refused(struct qp_tunnel *t);
/* Its row, as it stands. */
void qp_usage_row(const struct qp_tunnel *t, const struct qp_usage *u, struct qp_msg_conn *out);
void qp_usage_in(struct qp_tunnel *t, struct qp_usage *u, uint64_t bytes);
void qp_usage_out(struct qp_tunnel *t, struct qp_usage *u, uint64_t bytes);

/* What the code of an aborted stream (enum qp_stream_error) means for people. */
enum qp_end_reason qp_usage_reason_of(uint64_t code);

static inline void
qp_usage_why(enum qp_end_reason *why, enum qp_end_reason reason)
{
	if (*why == QP_END_UNKNOWN)
		*why = reason;
}

#endif
