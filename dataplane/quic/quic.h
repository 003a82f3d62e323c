/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_QUIC_QUIC_H
#define QP_DATAPLANE_QUIC_QUIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "dataplane/ip.h"
#include "dataplane/timer.h"

struct rte_mbuf;
struct rte_mempool;
struct qp_worker_counters;
struct qp_farewells;

/*
 * The gateway's QUIC endpoint (RFC 9000, 9001, 9002) on ngtcp2 and wolfSSL.
 * One struct qp_quic a lcore, shared with no other thread: no locks. The
 * clock, pools and the way out are injected, so that a test drives it without
 * a port. Packets are written by ngtcp2 straight into mbufs; stream data is
 * sent from the mbufs that hold it, and those are freed on acknowledgement.
 */
struct qp_quic;
struct qp_quic_conn;
struct qp_quic_stream;

/* What the endpoint stands on. All borrowed for the endpoint's life. */
struct qp_quic_env {
	const uint64_t *now_ns;      /* monotonic; the worker advances it once a loop */
	struct qp_wheel *wheel;      /* the lcore's timers */
	struct rte_mempool *pool;    /* plain mbufs, 2 KiB data room */
	const uint8_t *mem_level;    /* enum qp_mem_level, as of this turn */
	uint8_t own_mac[6];          /* the port's address */
	bool udp_segmentation;       /* the port takes RTE_MBUF_F_TX_UDP_SEG */
	/* Consumes the frame, which is ready for qp_port_tx. Never fails to the caller. */
	void (*transmit)(void *ctx, struct rte_mbuf *frame);
	/*
	 * The way out is full: connections write nothing until it is not, so that nothing
	 * is lost here. Answers without a connection are sent all the same. NULL: never.
	 */
	bool (*full)(void *ctx);
	void *transmit_ctx; /* of both */
	struct qp_farewells *farewells; /* where connections are written down; NULL: nowhere */
	struct qp_worker_counters *counters; /* its quic_* and drop_quic_* fields are written */
};

/*
 * Bytes a peer may send on a new stream; all further credit is the
 * application's to give. It is small since ngtcp2 keeps credit back until half
 * of it is together: a larger one would leave a peer with smaller portions stuck.
 */
#define QP_QUIC_FIRST_CREDIT (16u * 1024)

#define QP_QUIC_MAX_CONNS 16384u

struct qp_quic_config {
	uint32_t server_id;          /* leads every connection id of ours */
	uint8_t lcore;               /* worker index: the byte after it */
	uint64_t idle_timeout_ns;
	uint64_t keep_alive_ns;      /* silence before a PING; 0: none */
	uint32_t max_conns;          /* beyond: Initials are dropped and counted */
	uint32_t retry_above;        /* handshakes in progress beyond which Retry is demanded */
	uint64_t conn_window;        /* bytes a peer may send on all streams ahead of its credit */
	uint64_t first_window;       /* the same until qp_quic_conn_trust: what strangers may make us keep */
	uint64_t max_streams;        /* bidirectional streams a peer may have open */
	size_t max_udp_payload;      /* largest datagram that path MTU discovery may reach */
	const char *cert_file;       /* PEM */
	const char *key_file;        /* PEM */
	uint8_t reset_key[32];       /* derives stateless reset tokens and Retry tokens */
};

/* How a connection came to its end. */
enum qp_quic_end {
	QP_QUIC_END_OURS,    /* closed from here, or for an error of the peer's */
	QP_QUIC_END_PEER,    /* it said so */
	QP_QUIC_END_SILENCE, /* nothing came for too long */
	QP_QUIC_END_FREED,   /* qp_quic_free */
};

/* The application above: tunnels. Called on the lcore. */
struct qp_quic_ops {
	/* The handshake is complete. Sets *conn_ctx. Non-zero: refuse the connection. */
	int (*opened)(void *app, struct qp_quic_conn *c, void **conn_ctx);
	/* The connection is gone with all its streams (stream_closed is not called for them). */
	void (*closed)(void *conn_ctx, enum qp_quic_end how);
	/* The peer allows `left` more streams of ours. */
	void (*may_open)(void *conn_ctx, uint64_t left);
	/* The peer opened a stream. Sets *stream_ctx (NULL at first) through qp_quic_stream_set_ctx. */
	void (*stream_opened)(void *conn_ctx, struct qp_quic_stream *s);
	/*
	 * Ordered bytes; `data` is borrowed until the call returns. The peer gets
	 * stream credit again only by qp_quic_stream_consumed().
	 */
	void (*stream_data)(void *stream_ctx, const uint8_t *data, size_t len, bool fin);
	/* The peer acknowledged `bytes` more of what was written. */
	void (*stream_acked)(void *stream_ctx, uint64_t bytes);
	/* RESET_STREAM: no more data comes. */
	void (*stream_reset)(void *stream_ctx, uint64_t code);
	/* STOP_SENDING: the peer reads no more; what was queued is dropped. */
	void (*stream_stopped)(void *stream_ctx, uint64_t code);
	/* Both directions have ended; `s` dies with this call. */
	void (*stream_closed)(void *stream_ctx);
};

void qp_quic_config_default(struct qp_quic_config *cfg);
/*
 * Loads the certificate; QP_E_IO or QP_E_CRYPTO with a line in `msg` when it
 * cannot. `cfg` and `env` are copied, strings included; `ops` is borrowed.
 */
int qp_quic_new(const struct qp_quic_env *env, const struct qp_quic_config *cfg,
	const struct qp_quic_ops *ops, void *app, struct qp_quic **out, struct qp_errmsg *msg);
/* Drops all connections without a word and frees all. NULL is allowed. */
void qp_quic_free(struct qp_quic *q);

/* A received datagram (or super-segment of datagrams) that qp_ip_parse accepted. Consumes `m`. */
void qp_quic_input(struct qp_quic *q, struct rte_mbuf *m, const struct qp_packet *pkt);
/* A stateless reset in the name of a data plane that is dead, to its client. */
void qp_quic_send_farewell(struct qp_quic *q, const uint8_t token[16], const struct qp_flow *flow);
/*
 * Once a worker loop, after all input: writes the packets that connections owe.
 * True when some connection still has packets to send at once (its turn was
 * up): the worker must not sleep.
 */
bool qp_quic_flush(struct qp_quic *q);
/*
 * First Initials are a successor's from now on. Those that were on their way get
 * in for QP_QUIC_LATE_NS, so that their sender need not repeat them; later ones are
 * dropped, but for one that we had sent a Retry. What is beyond a limit or a budget
 * is not refused: the successor may have room.
 */
#define QP_QUIC_LATE_NS (100ull * 1000 * 1000)
void qp_quic_drain(struct qp_quic *q);
/* From now on Initials get CONNECTION_REFUSED; while draining, no answer. */
void qp_quic_refuse_new(struct qp_quic *q);
uint32_t qp_quic_connections(const struct qp_quic *q);

/*
 * Closes a connection with an application error and a reason phrase (borrowed,
 * cut to 200 bytes). ops->closed is called from qp_quic_flush, not from here.
 */
void qp_quic_conn_close(struct qp_quic_conn *c, uint64_t code, const char *reason);
/* The peer's address; valid while the connection lives. */
const struct qp_flow *qp_quic_conn_flow(const struct qp_quic_conn *c);
/* The peer has shown who it is: conn_window instead of first_window from now on. Once. */
void qp_quic_conn_trust(struct qp_quic_conn *c);
/* The smoothed round-trip time (RFC 9002, 5.3), ns. */
uint64_t qp_quic_conn_rtt(const struct qp_quic_conn *c);
/* More credit for the connection as a whole; see conn_window. */
void qp_quic_conn_consumed(struct qp_quic_conn *c, uint64_t bytes);

/* Opens a bidirectional stream; QP_E_AGAIN when the peer's limit is reached (wait for may_open). */
int qp_quic_stream_open(struct qp_quic_conn *c, void *stream_ctx, struct qp_quic_stream **out);
void qp_quic_stream_set_ctx(struct qp_quic_stream *s, void *stream_ctx);
int64_t qp_quic_stream_id(const struct qp_quic_stream *s);
/*
 * Queues payload (a chain, consumed; freed on acknowledgement). A stream whose
 * sending side has ended drops it.
 */
void qp_quic_stream_write(struct qp_quic_stream *s, struct rte_mbuf *chain);
/* Copies bytes into mbufs and queues them; QP_E_NOMEM without mbufs (nothing is queued). */
int qp_quic_stream_write_bytes(struct qp_quic_stream *s, const void *data, size_t len);
/* Ends the sending side after all that is queued. Idempotent. */
void qp_quic_stream_fin(struct qp_quic_stream *s);
/* Bytes queued and not acknowledged yet. */
uint64_t qp_quic_stream_queued(const struct qp_quic_stream *s);
/* Of them, bytes that have not been sent once. */
uint64_t qp_quic_stream_unsent(const struct qp_quic_stream *s);
/* Gives the peer `bytes` more stream credit. */
void qp_quic_stream_consumed(struct qp_quic_stream *s, uint64_t bytes);
/*
 * RESET_STREAM and STOP_SENDING; what is queued is dropped. stream_closed still
 * comes, later, with the context set then (NULL: it is not told).
 */
void qp_quic_stream_abort(struct qp_quic_stream *s, uint64_t code);

#endif
