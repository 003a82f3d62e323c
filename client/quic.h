/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_QUIC_H
#define QP_CLIENT_QUIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/loop.h"
#include "client/stream.h"
#include "client/tls.h"
#include "client/udp.h"

/*
 * One QUIC connection of a client over one UDP socket: handshake, streams in
 * both directions, timers, packets in super-datagrams. What the streams carry
 * is others' business. The loop's thread.
 */
struct qpc_quic;

struct qpc_quic_config {
	uint32_t keep_alive_s;       /* PING after so much silence; 0: none */
	uint32_t idle_timeout_s;     /* 0: none */
	uint32_t handshake_timeout_s;
	bool heed_icmp;              /* an ICMP error ends the handshake at once: another address waits */
	uint64_t stream_window_bytes;     /* credit of a new stream */
	uint64_t max_stream_window_bytes; /* … which grows so far while it is drained quickly */
	uint64_t window_bytes;            /* the same for the connection */
	uint64_t max_window_bytes;
	uint64_t max_streams;        /* that the server may have open at once */
};
void qpc_quic_config_default(struct qpc_quic_config *cfg);

/* Why a connection ended. `text` is one line for a person. */
struct qpc_quic_end {
	int err;             /* enum qp_err; QP_E_CLOSED: the peer closed it */
	bool by_peer;
	bool forgotten;      /* by a stateless reset: whom it talked to is gone, and somebody else is there */
	bool application;    /* the peer's CONNECTION_CLOSE was an application's, with `code` */
	uint64_t code;
	char text[256];
};

struct qpc_quic_ops {
	/*
	 * The handshake is done, nothing was sent on a stream yet. Non-zero: the
	 * connection is closed; the callee has said why by qpc_quic_fail.
	 */
	int (*handshake_done)(void *ctx);
	/* The peer opened a stream. The callee's ops->closed frees it. NULL: it is refused. */
	struct qpc_stream *(*stream_opened)(void *ctx, int64_t id);
	/* The peer allows more streams than before. NULL: not of interest. */
	void (*room)(void *ctx);
	/* Before packets go out, once a turn: the moment to move data into streams. */
	void (*work)(void *ctx);
	/*
	 * The connection is over: each stream was told `closed` before. At the end of
	 * a turn, never inside another call; the callee may free the connection.
	 */
	void (*ended)(void *ctx, const struct qpc_quic_end *end);
};

/*
 * Connects to `remote`. `tls`, `pool`, `ops`, `ctx` and `loop` are borrowed for
 * the connection's life. Events come from the loop's turns.
 */
int qpc_quic_new(struct qpc_loop *loop, const struct qpc_quic_config *cfg, WOLFSSL_CTX *tls,
	const struct qp_sockaddr *remote, struct qpc_pool *pool, const struct qpc_quic_ops *ops,
	void *ctx, struct qpc_quic **out, struct qp_errmsg *msg) __attribute__((warn_unused_result));
/* Silent: sends nothing, calls nobody but each open stream's `closed`. NULL is allowed. */
void qpc_quic_free(struct qpc_quic *q);

/*
 * Ends the connection with an application error towards the peer and `err` and
 * `text` for ops->ended. The first call counts. Allowed anywhere.
 */
void qpc_quic_fail(struct qpc_quic *q, int err, uint64_t app_code, const char *text);

/* Its end is decided: qpc_quic_fail was called, or something else ended it. */
bool qpc_quic_is_over(const struct qpc_quic *q);

/*
 * This host's addresses or routes have changed: goes on by another path when
 * the kernel would now use another address, or when nothing is heard on this one.
 */
void qpc_quic_network_changed(struct qpc_quic *q);
/* Times that it went on by another path. */
uint64_t qpc_quic_migrations(const struct qpc_quic *q);

/* Asks for a turn of `work` and of sending. */
void qpc_quic_wake(struct qpc_quic *q);

const struct qpc_udp *qpc_quic_udp(const struct qpc_quic *q);
/* Smoothed round trip in microseconds; 0 before the handshake is done. */
uint32_t qpc_quic_rtt_us(const struct qpc_quic *q);
WOLFSSL *qpc_quic_tls(const struct qpc_quic *q);

/* Streams that the peer allows us to open now. */
uint64_t qpc_quic_streams_left(const struct qpc_quic *q);
/* Opens a bidirectional stream. QP_E_AGAIN while the peer allows none. */
int qpc_quic_open_stream(struct qpc_quic *q, struct qpc_stream *s)
	__attribute__((warn_unused_result));
/* `out` has new bytes, or `fin` was set. */
void qpc_stream_ready(struct qpc_quic *q, struct qpc_stream *s);
/* `n` received bytes were dealt with: the peer may send as many more on this stream. */
void qpc_stream_consumed(struct qpc_quic *q, struct qpc_stream *s, size_t n);
/* The same for the connection's credit, which every received byte uses, too. */
void qpc_quic_consumed(struct qpc_quic *q, size_t n);
/* RESET_STREAM: what was not acknowledged is dropped. `out` stays until `closed`. */
void qpc_stream_reset(struct qpc_quic *q, struct qpc_stream *s, uint64_t code);
/* STOP_SENDING: no more data is wanted. */
void qpc_stream_stop(struct qpc_quic *q, struct qpc_stream *s, uint64_t code);

#endif
