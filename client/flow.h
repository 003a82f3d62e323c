/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_FLOW_H
#define QP_CLIENT_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "client/loop.h"
#include "client/quic.h"
#include "client/relay.h"
#include "client/stream.h"
#include "common/addr.h"
#include "common/wire.h"

/*
 * UDP: virtual connections, one for each sender, each a stream of its own that
 * carries records. Two kinds: the server opens the stream and a socket of its
 * own talks to the local service; or a datagram came to a listening socket
 * from somebody new, and the stream is ours. One set for each session; the
 * session's thread.
 *
 * Nothing waits: a datagram that finds the stream's queue full, or the socket's,
 * is dropped and counted, as UDP does.
 */
#define QPC_FLOW_MAX 16384u            /* of a session */
#define QPC_FLOW_MAX_OUT (512u << 10)  /* bytes in a stream's queue that are not sent yet */
#define QPC_FLOW_MAX_FLIGHT (4u << 20) /* … and with those that are not acknowledged */
#define QPC_FLOW_MAX_RECORDS (32u << 20) /* bytes of records that are half here, in a session */

struct qpc_flows;
TAILQ_HEAD(qpc_flow_list, qpc_flow);

struct qpc_flow {
	struct qpc_stream stream;
	struct qpc_source source;   /* the socket towards the service; fd -1: the listening one serves */
	struct qpc_timer timer;     /* silence */
	struct qpc_flows *set;
	struct qp_sockaddr peer;    /* whose datagrams these are, when the listening socket serves */
	uint64_t last_ns;           /* a datagram went through */
	uint32_t id;
	uint8_t head[QP_WIRE_RECORD_HEADER_BYTES]; /* of the id first, then of a record */
	uint8_t head_len;
	bool id_known;
	bool over;                  /* the socket side is done; the stream still closes */
	bool stream_open;
	uint32_t want, have;        /* of the record that is being put together */
	uint8_t *record;            /* NULL: none is */
	struct qpc_flow *next;      /* same bucket of set->by_peer */
	TAILQ_ENTRY(qpc_flow) link;
};

struct qpc_flow_ops {
	/* The service is not there, or `reason` otherwise: ConnectionClose is due. */
	void (*refused)(void *ctx, uint32_t id, enum qp_wire_reason reason, int errnum);
	/* A stream of ours is open: LocalNewConnection is due. Its id: */
	uint32_t (*announce)(void *ctx);
};

#define QPC_FLOW_BUCKETS 1024u

struct qpc_flows {
	struct qpc_loop *loop;
	struct qpc_pool *pool;
	struct qpc_quic *quic;
	const struct qpc_flow_ops *ops;
	void *ctx;
	const struct qp_sockaddr *dest;
	size_t ndest;
	uint64_t idle_ns;           /* 0: flows do not end by silence */
	int listen_fd;              /* LOCAL: the socket that answers go out by; -1: none */
	uint32_t nflows;
	size_t record_bytes;        /* allocated for half records */
	struct qpc_flow_list all;
	struct qpc_flow *by_peer[QPC_FLOW_BUCKETS]; /* LOCAL */
	uint8_t hash_key[16];
	uint8_t *buf;               /* one datagram */
	struct qpc_relay_counters counters;
	uint64_t dropped;           /* datagrams for want of room */
};

/* Borrows as qpc_relays_init does. QP_E_NOMEM. */
int qpc_flows_init(struct qpc_flows *set, struct qpc_loop *loop, struct qpc_pool *pool,
	const struct qpc_flow_ops *ops, void *ctx, const struct qp_sockaddr *dest, size_t ndest,
	uint32_t idle_s) __attribute__((warn_unused_result));
/* The streams must be closed before. */
void qpc_flows_fini(struct qpc_flows *set);
/* For qpc_quic_ops.stream_opened; NULL: no more. */
struct qpc_stream *qpc_flows_accept(struct qpc_flows *set);
/* A datagram that came to the listening socket. */
void qpc_flows_datagram(struct qpc_flows *set, const struct qp_sockaddr *from, const uint8_t *data,
	size_t len);

#endif
