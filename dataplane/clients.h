/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_CLIENTS_H
#define QP_DATAPLANE_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/ipc.h"
#include "dataplane/bucket.h"
#include "dataplane/ip.h"
#include "dataplane/timer.h"

/*
 * What each client may use, of all its tunnels on this lcore together: outside
 * connections at once and new in a second, the networks that outside users may
 * come from, bandwidth each way. Thread: the owning lcore.
 */
struct qp_tunnel;
struct qp_tunnels;
struct qp_relay;
TAILQ_HEAD(qp_shape_queue, qp_relay);

enum qp_way {
	QP_WAY_IN,  /* outside to tunnel */
	QP_WAY_OUT, /* tunnel to outside */
	QP_WAYS,
};

/* One direction's bandwidth. */
struct qp_shape {
	struct qp_client *client;
	struct qp_bucket bucket;
	int64_t udp_tokens;             /* of the bucket's, kept for datagrams while relays wait */
	struct qp_shape_queue waiting;  /* relays with bytes, in turn */
	uint32_t nwaiting;
	struct qp_timer timer;          /* armed while some wait */
};

/* Owner: the table. Life: while a tunnel or the control plane's word is there. Lock: none. */
struct qp_client {
	uint32_t id;
	uint32_t ntunnels;
	bool known;                     /* the control plane has said something of it */
	bool limited;                   /* one of its directions has a rate, or relays that wait */
	uint32_t nflows;                /* UDP */
	uint32_t conns_now;
	struct qp_msg_client_limits limits;
	struct qp_bucket conns;         /* new ones */
	uint32_t nnetworks;             /* in force */
	struct qp_msg_network *network; /* nnetworks of them */
	uint32_t narrived;              /* of a new list, which comes in pieces */
	struct qp_msg_network *arriving;
	struct qp_shape shape[QP_WAYS];
	struct qp_tunnels *all;
	LIST_ENTRY(qp_client) link;
};
LIST_HEAD(qp_client_bucket, qp_client);

#define QP_CLIENT_BUCKETS 1024u

/* CLIENT_LIMITS, CLIENT_SOURCES, CLIENT_FORGET. */
void qp_clients_message(struct qp_tunnels *ts, const struct qp_msg *msg);
void qp_clients_free(struct qp_tunnels *ts);

/* The tunnel is this client's from now on; 0: of none. Out of memory: of none, and false. */
bool qp_client_attach(struct qp_tunnel *t, uint32_t client_id);
void qp_client_detach(struct qp_tunnel *t);

/*
 * An outside connection or flow wants to be: takes its place in the second's
 * count, not among those at once (qp_usage_opened does). False, and counted: a limit.
 */
bool qp_client_admit(struct qp_tunnel *t);
/* Whether qp_client_admit would say yes, and the source may come at all. False: counted. */
bool qp_client_may_connect(struct qp_tunnel *t, const struct qp_ipaddr *source);
/* Whether somebody there may come at all; counts nothing. */
bool qp_client_serves(const struct qp_tunnel *t, const struct qp_ipaddr *source);

#endif
