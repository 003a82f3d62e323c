/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_QUIC_IMPL_H
#define QP_CLIENT_QUIC_IMPL_H

#include "client/quic.h"

/*
 * The connection from within: shared by quic*.c, and by the tests' server,
 * the other side of the same engine.
 */
#define QPC_TX_BYTES 65536u
#define QPC_TX_RUNS 64u
#define QPC_MAX_PACKET 8972u  /* jumbo frames of 9,000 bytes */
#define QPC_PMTUD_PROBES 4u

/*
 * Datagrams that go out by one system call: all of `segment` bytes, the last
 * one may be shorter and closes the run.
 */
struct qpc_tx_run {
	uint32_t off, len; /* in tx_buf */
	uint32_t segment;
	uint8_t ecn;
	bool closed;
};

/* Owner: the session's thread. Life: qpc_quic_new to qpc_quic_free. Lock: none. */
struct qpc_quic {
	struct qpc_loop *loop;
	struct qpc_pool *pool;
	const struct qpc_quic_ops *ops;
	void *ctx;
	struct qpc_udp udp;
	struct qpc_source source;
	struct qpc_timer timer;
	struct qpc_timer silence;     /* quic_migrate.c: looks whether the path still works */
	struct qpc_task task;
	ngtcp2_conn *conn;
	ngtcp2_crypto_conn_ref ref; /* how ngtcp2's TLS glue finds `conn` */
	WOLFSSL *ssl;
	struct qpc_stream_list ready; /* can send now, in turn */
	struct qpc_stream_list open;
	uint64_t credit;              /* connection credit to be given with the next packet */
	uint16_t probes[QPC_PMTUD_PROBES]; /* ngtcp2 keeps a pointer */
	size_t max_packet;
	uint64_t silence_ns;          /* unanswered for so long: another path is tried; 0: never */
	uint64_t patience_ns;         /* … or for so long, after the network has changed */
	ngtcp2_tstamp asked;          /* the first datagram since anything was heard; 0: none */
	unsigned moves;               /* to other paths in this silence */
	uint64_t migrations;
	bool heed_icmp;               /* until the handshake is done */
	bool want_write;              /* the socket was full: EPOLLOUT is asked for */
	bool over;                    /* `end` says why; the next task ends it */
	bool stateless_reset;
	struct qpc_quic_end end;
	uint64_t close_code;          /* what we tell the peer, unless it closed first */
	bool close_is_liberr;         /* `liberr` says it instead */
	int liberr;
	size_t run_next, nruns;       /* runs waiting to be sent */
	size_t tx_len;
	struct qpc_tx_run runs[QPC_TX_RUNS];
	uint8_t tx_buf[QPC_TX_BYTES + QPC_MAX_PACKET];
	uint8_t rx_buf[QPC_UDP_RECEIVE_BYTES];
};

/* A connection with neither socket, TLS session nor ngtcp2_conn yet. NULL: out of memory. */
struct qpc_quic *qpc_quic_alloc(struct qpc_loop *loop, struct qpc_pool *pool,
	const struct qpc_quic_ops *ops, void *ctx);
/* What ngtcp2 is told of this side; also picks the packet sizes for the path of q->udp. */
void qpc_quic_settings(struct qpc_quic *q, const struct qpc_quic_config *cfg,
	ngtcp2_settings *settings, ngtcp2_transport_params *params);
extern const ngtcp2_callbacks qpc_quic_callbacks;
int qpc_quic_join_loop(struct qpc_quic *q);
/* Of the loop's source, timer and task. */
void qpc_quic_on_events(struct qpc_source *source, uint32_t events);
void qpc_quic_on_timer(struct qpc_timer *timer);
void qpc_quic_on_task(struct qpc_task *task);
ngtcp2_path qpc_quic_path(struct qpc_quic *q);

/* Fresh, with what its user has set: into the list of open ones. */
void qpc_stream_init(struct qpc_quic *q, struct qpc_stream *s, int64_t id);
/* The last that a stream hears. */
void qpc_stream_gone(struct qpc_quic *q, struct qpc_stream *s);

/* quic_migrate.c: from the end of the handshake on the timer runs. A client's; servers stay. */
void qpc_quic_watch_silence(struct qpc_quic *q, uint32_t idle_timeout_s);
void qpc_quic_on_silence(struct qpc_timer *timer);

/* Received datagrams. */
void qpc_quic_read(struct qpc_quic *q, const struct qpc_udp_batch *batch);

/* Writes and sends as much as congestion control, pacing and the socket allow. */
void qpc_quic_flush(struct qpc_quic *q);
/* Sends CONNECTION_CLOSE, once, as well as the socket takes it. */
void qpc_quic_send_close(struct qpc_quic *q);
/* A call into ngtcp2 failed: the connection is over. */
void qpc_quic_lib_failed(struct qpc_quic *q, int liberr);
/* Takes the stream out of the list of those that can send. */
void qpc_stream_unready(struct qpc_quic *q, struct qpc_stream *s);

#endif
