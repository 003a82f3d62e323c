/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_LOCAL_INTERNAL_H
#define QP_DATAPLANE_LOCAL_INTERNAL_H

#include "dataplane/tunnel_internal.h"

/* For local*.c only. */

enum qp_local_state {
	QP_LOCAL_ID,         /* its stream's first bytes are awaited */
	QP_LOCAL_ASKING,     /* the control plane is asked where to */
	QP_LOCAL_PORTLESS,   /* all local ports lead to that destination already */
	QP_LOCAL_CONNECTING, /* our SYN is out */
	QP_LOCAL_UNREACHED,  /* it came to nothing: at the flush the next address has its turn */
	QP_LOCAL_OPEN,
};

/*
 * What a client calls a connection, and how it gets it. Owner: its relay, or
 * its UDP flow. Life: that of its owner. Lock: none.
 */
struct qp_local_conn {
	struct qp_relay *relay;          /* NULL: it has become a flow */
	struct qp_udp_flow *flow;
	enum qp_local_state state;
	enum qp_wire_reason reason;      /* why the last address was not reached */
	uint8_t id_bytes[QP_WIRE_CONN_ID_BYTES];
	uint8_t id_len;
	uint8_t next;                    /* index of the address to be tried */
	uint32_t id;                     /* the client's */
	uint64_t port_by_ns;             /* QP_LOCAL_PORTLESS: until then; 0: not yet */
	struct qp_timer timer;           /* for the answer, then for the connection */
	LIST_ENTRY(qp_local_conn) by_id; /* from QP_LOCAL_ASKING on */
};
LIST_HEAD(qp_local_bucket, qp_local_conn);

#define QP_LOCAL_BUCKETS 256u

/* Owner: its tunnel. Life: from the client's request to the tunnel's end. Lock: none. */
struct qp_local {
	struct qp_msg_local asked;       /* what the client wants, as the control plane is asked */
	struct qp_msg_local_grant to;
	uint64_t granted_ns;             /* when it was answered last */
	bool asking;                     /* the control plane owes an answer */
	uint8_t udp_first;               /* index of the address that UDP uses: the last one refused */
	uint64_t ports_from_ns;          /* no local port is looked for before */
	uint32_t id_salt;                /* clients choose ids: nobody knows who shares a bucket */
	struct qp_local_bucket ids[QP_LOCAL_BUCKETS];
};

/* local_connect.c */
void qp_local_on_timer(struct qp_timer *timer, uint64_t now_ns);
/*
 * Opens the connection, or tries the next address; not from TCP's callbacks.
 * The relay is gone afterwards when nothing can be reached, or when it has
 * become a flow.
 */
void qp_local_connect(struct qp_relay *r);

#endif
