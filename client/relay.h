/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_RELAY_H
#define QP_CLIENT_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "client/loop.h"
#include "client/quic.h"
#include "client/stream.h"
#include "common/addr.h"
#include "common/wire.h"

/*
 * TCP connections that the server announces by opening a stream, each relayed
 * to the local destination: connect, bytes both ways with back-pressure,
 * half-close, reset. One set for each session; the session's thread.
 *
 * Bounds: towards the local socket a relay holds at most the stream's credit;
 * from it at most QPC_RELAY_MAX_OUT. Beyond QPC_RELAY_MAX_BYTES of one session
 * together, the connection's credit waits for the local sockets and reading
 * from them goes on by one chunk a relay.
 */
#define QPC_RELAY_MIN_OUT (256u << 10)
#define QPC_RELAY_MAX_OUT (8u << 20)
#define QPC_RELAY_MAX_BYTES (128u << 20)
#define QPC_RELAY_CONNECT_TIMEOUT_S 15u
/* How long a reset by the service waits for what it said before. */
#define QPC_RELAY_RESET_TIMEOUT_S 1u

enum qpc_relay_state {
	QPC_RELAY_ID,         /* the stream's first 4 bytes are due */
	QPC_RELAY_CONNECTING,
	QPC_RELAY_OPEN,
	QPC_RELAY_RESETTING,  /* the service reset: what it said before is still being delivered */
	QPC_RELAY_CLOSED,     /* the socket is closed, the stream still has to */
};

struct qpc_relays;
TAILQ_HEAD(qpc_relay_list, qpc_relay);

struct qpc_relay {
	struct qpc_stream stream; /* stream.out: local socket → QUIC */
	struct qpc_source source; /* fd -1: no socket */
	struct qpc_timer timer;   /* CONNECTING, RESETTING */
	struct qpc_relays *set;
	enum qpc_relay_state state;
	uint32_t id;              /* the connection's, by the server */
	uint8_t id_bytes[QP_WIRE_CONN_ID_BYTES];
	uint8_t id_len;
	uint8_t next_dest;        /* the address to try if this one fails */
	bool readable, writable;  /* as edge-triggered epoll said last */
	bool hung_up;             /* the peer's FIN or RST is there: read until the end */
	bool failed;              /* the socket reported an error: a reset, mostly */
	bool in_fin;              /* the stream has ended: FIN to the socket when `in` is empty */
	bool in_done;             /* that FIN is sent */
	bool out_done;            /* the socket's FIN was read */
	bool queued;              /* in set->work */
	bool stream_open;         /* ops->closed was not called yet */
	uint32_t out_limit;       /* bytes in stream.out at most; grows on demand */
	size_t withheld;          /* connection credit not given back yet, at most in.len */
	struct qpc_bytes in;      /* QUIC → local socket */
	TAILQ_ENTRY(qpc_relay) work_link;
	TAILQ_ENTRY(qpc_relay) all_link;
};

struct qpc_relay_counters {
	uint64_t opened;   /* streams that the server opened */
	uint64_t active;   /* relays now */
	uint64_t refused;  /* local destination not reachable */
	uint64_t resets;   /* ended by a reset of either side */
	uint64_t bytes_to_local;
	uint64_t bytes_from_local;
};

/* Adds all but `active`. */
void qpc_counters_add(struct qpc_relay_counters *sum, const struct qpc_relay_counters *c);

struct qpc_relay_ops {
	/* The local connection of `id` failed: ConnectionClose is due. `errnum`: why. */
	void (*refused)(void *ctx, uint32_t id, enum qp_wire_reason reason, int errnum);
	/* A relay is gone, while the connection stands. NULL: not of interest. */
	void (*gone)(void *ctx);
};

struct qpc_relays {
	struct qpc_loop *loop;
	struct qpc_pool *pool;
	struct qpc_quic *quic;
	const struct qpc_relay_ops *ops;
	void *ctx;
	const struct qp_sockaddr *dest; /* tried in turn */
	size_t ndest;
	size_t in_bytes;                /* in all `in` queues */
	struct qpc_relay_list work;     /* to be looked at before packets go out */
	struct qpc_relay_list all;
	struct qpc_task task;           /* work for relays whose stream is gone already */
	struct qpc_relay *spare;        /* of closed relays, chained by all_link.tqe_next */
	unsigned nspare;
	struct qpc_relay_counters counters;
};

/*
 * Everything is borrowed for the set's life. The session sets `quic` before
 * the first stream, and to NULL when the connection is gone.
 */
void qpc_relays_init(struct qpc_relays *set, struct qpc_loop *loop, struct qpc_pool *pool,
	const struct qpc_relay_ops *ops, void *ctx, const struct qp_sockaddr *dest, size_t ndest);
/* Resets what is open. The streams must be closed (the connection ended) before. */
void qpc_relays_fini(struct qpc_relays *set);
/* Keeps no memory for relays to come. */
void qpc_relays_trim(struct qpc_relays *set);

/* For qpc_quic_ops.stream_opened: a relay for a new stream; NULL when out of memory. */
struct qpc_stream *qpc_relays_accept(struct qpc_relays *set);
/*
 * The other direction: a connected, non-blocking socket whose peer is to be
 * relayed over a stream that this side opens; the stream starts with `id`.
 * Owns `fd` from QP_OK on. QP_E_AGAIN while the peer allows no more streams;
 * QP_E_NOMEM.
 */
int qpc_relays_adopt(struct qpc_relays *set, int fd, uint32_t id)
	__attribute__((warn_unused_result));
/* For qpc_quic_ops.work: moves bytes of the relays that have news. */
void qpc_relays_work(struct qpc_relays *set);

#endif
