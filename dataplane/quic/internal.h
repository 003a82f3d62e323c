/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_QUIC_INTERNAL_H
#define QP_DATAPLANE_QUIC_INTERNAL_H

#include <sys/queue.h>

#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/ngtcp2_crypto_wolfssl.h>
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include "common/ipc.h"
#include "dataplane/quic/cid.h"
#include "dataplane/quic/farewell.h"
#include "dataplane/quic/quic.h"
#include "dataplane/quic/sendq.h"

/* Largest run of datagrams in one super-segment: the kernel's UDP_MAX_SEGMENTS of old. */
#define QP_QUIC_MAX_SEGMENTS 64u
/* A super-segment's IP length fits 16 bits; headers included with room to spare. */
#define QP_QUIC_MAX_SUPER_BYTES 65000u
/* Packets of one stream in a row before the next stream has its turn. */
#define QP_QUIC_STREAM_TURN 16u
#define QP_QUIC_REASON_BYTES 200u

/*
 * One bidirectional stream. Owner: its connection. Life: from stream_open or
 * qp_quic_stream_open to ngtcp2's stream_close. Lock: none.
 */
struct qp_quic_stream {
	struct qp_quic_conn *conn;
	void *ctx;                     /* the application's; NULL: nobody listens */
	int64_t id;
	struct qp_sendq sendq;
	TAILQ_ENTRY(qp_quic_stream) ready_link;
	LIST_ENTRY(qp_quic_stream) all_link;
	bool ready;                    /* on conn->ready */
	bool fin_queued;
	bool fin_sent;
	bool write_ended;              /* reset or stopped: writes are dropped */
	bool blocked;                  /* out of stream credit: waits for MAX_STREAM_DATA */
};

TAILQ_HEAD(qp_quic_stream_queue, qp_quic_stream);
LIST_HEAD(qp_quic_stream_list, qp_quic_stream);

enum qp_quic_conn_state {
	QP_QUIC_HANDSHAKE,
	QP_QUIC_OPEN,
	QP_QUIC_CLOSING,   /* our CONNECTION_CLOSE is out; repeats it when spoken to (RFC 9000, 10.2.1) */
	QP_QUIC_DRAINING,  /* the peer's came: silent (10.2.2) */
	QP_QUIC_DEAD,      /* freed at the next flush */
};

/*
 * One QUIC connection. Owner: its endpoint's lcore. Life: from an accepted
 * Initial until the closing or draining period is over. Lock: none.
 */
struct qp_quic_conn {
	struct qp_quic *quic;
	ngtcp2_conn *ng;               /* NULL once closing or draining */
	WOLFSSL *ssl;
	ngtcp2_crypto_conn_ref ref;
	void *ctx;                     /* the application's, from ops->opened */
	enum qp_quic_conn_state state;
	bool app_told;                 /* ops->opened said yes: ops->closed is owed */
	bool pending;                  /* on quic->pending */
	bool close_asked;              /* qp_quic_conn_close: done at the flush */
	ngtcp2_ccerr ccerr;            /* why we close */
	char reason[QP_QUIC_REASON_BYTES];
	struct qp_flow flow;           /* of the path that the last packet went out on */
	struct qp_flow other_flow;     /* of another path that datagrams came in by */
	/* In the table of farewells: for the id that the peer used last, and for `flow`. */
	uint32_t farewell;
	uint64_t farewell_cid;
	bool farewell_stale;           /* `flow` has changed since */
	struct qp_timer timer;
	TAILQ_ENTRY(qp_quic_conn) pending_link;
	LIST_ENTRY(qp_quic_conn) all_link;
	struct qp_quic_stream_queue ready; /* streams with something to send */
	struct qp_quic_stream_list streams;
	struct qp_cid_list cids;       /* entries of the endpoint's table */
	/* Closing period: the last packet, to be sent again. */
	uint8_t *close_packet;
	uint16_t close_packet_len;
	uint64_t close_repeat_ns;      /* not before: limits answers (10.2.1) */
};

TAILQ_HEAD(qp_quic_conn_queue, qp_quic_conn);
LIST_HEAD(qp_quic_conn_list, qp_quic_conn);

/* Frames of one flush that wait for more packets of the same size and path. */
struct qp_quic_batch {
	struct rte_mbuf *head, *tail;
	struct qp_flow flow;
	uint32_t bytes;
	uint16_t count;
	uint16_t segsz;
	uint8_t tos;
};

/* Answers that need no connection. Each has its own limit a second, see stateless.c. */
enum qp_quic_answer {
	QP_QUIC_VERSIONS,
	QP_QUIC_RETRY,
	QP_QUIC_RESET,
	QP_QUIC_REFUSAL,
	QP_QUIC_ANSWERS,
};

/* Owner: one lcore. Life: the lcore's. Lock: none. */
struct qp_quic {
	struct qp_quic_env env;
	struct qp_quic_config cfg;
	const struct qp_quic_ops *ops;
	void *app;
	WOLFSSL_CTX *tls;
	struct qp_cid_table cids;
	struct qp_quic_conn_queue pending; /* owe packets: visited by the flush */
	struct qp_quic_conn_list all;
	uint32_t nconns;
	uint32_t nhandshakes;
	bool draining;                 /* first Initials are a successor's: */
	uint64_t late_until_ns;        /* … from then on */
	bool refusing;                 /* takes no new connection */
	uint64_t answers_second;       /* which second answers_left counts down in */
	uint32_t answers_left[QP_QUIC_ANSWERS]; /* answers to strangers still allowed */
	struct rte_mbuf *spare;        /* an empty mbuf that the last write did not need */
	struct qp_quic_batch batch;
	uint8_t scratch[65536];        /* a datagram that straddles mbufs, made linear */
};

/* endpoint.c */
/* An endpoint without TLS (`tls` NULL) yet. Freed by qp_quic_free; QP_E_NOMEM. */
int qp_quic_alloc(const struct qp_quic_env *env, const struct qp_quic_config *cfg,
	const struct qp_quic_ops *ops, void *app, struct qp_quic **out, struct qp_errmsg *msg);

/* conn.c */
/* Counted as a handshake in progress, without ngtcp2 and TLS yet. NULL: out of memory. */
struct qp_quic_conn *qp_quic_conn_alloc(struct qp_quic *q, const struct qp_flow *flow);
struct qp_quic_conn *qp_quic_conn_accept(struct qp_quic *q, const ngtcp2_pkt_hd *hd,
	const struct qp_flow *flow, const ngtcp2_cid *odcid, ngtcp2_token_type token_type);
void qp_quic_conn_read(struct qp_quic_conn *c, const struct qp_flow *flow, uint8_t tos,
	const uint8_t *data, size_t len);
void qp_quic_conn_free(struct qp_quic_conn *c);
void qp_quic_conn_pend(struct qp_quic_conn *c);
void qp_quic_conn_rearm(struct qp_quic_conn *c);
/* Sends CONNECTION_CLOSE for c->ccerr and enters the closing period. */
void qp_quic_conn_shut(struct qp_quic_conn *c);
/* The connection ends without a word (idle, handshake timeout, reset by the peer). */
void qp_quic_conn_drop(struct qp_quic_conn *c);

/* callbacks.c */
extern const ngtcp2_callbacks qp_quic_callbacks;
struct qp_quic_stream *qp_quic_stream_new(struct qp_quic_conn *c, int64_t id);
void qp_quic_stream_free(struct qp_quic_stream *s);

/* write.c: one connection's turn; true when it has more to send at once. */
bool qp_quic_conn_write(struct qp_quic_conn *c);
void qp_quic_batch_flush(struct qp_quic *q);
void qp_quic_conn_take_path(struct qp_quic_conn *c, const ngtcp2_path *path);
/* One datagram of `len` bytes that stands in `m`. Consumes `m`. */
void qp_quic_send_single(struct qp_quic *q, struct rte_mbuf *m, const struct qp_flow *flow,
	uint8_t tos);
struct rte_mbuf *qp_quic_mbuf(struct qp_quic *q);

/* stateless.c: answers that need no connection. */
void qp_quic_send_version_negotiation(struct qp_quic *q, const ngtcp2_version_cid *vc,
	const struct qp_flow *flow);
void qp_quic_send_retry(struct qp_quic *q, const ngtcp2_pkt_hd *hd, const struct qp_flow *flow);
void qp_quic_send_stateless_reset(struct qp_quic *q, const ngtcp2_version_cid *vc, size_t in_len,
	const struct qp_flow *flow);
void qp_quic_send_refusal(struct qp_quic *q, const ngtcp2_pkt_hd *hd, const struct qp_flow *flow,
	uint64_t code);
int qp_quic_verify_retry(struct qp_quic *q, const ngtcp2_pkt_hd *hd, const struct qp_flow *flow,
	ngtcp2_cid *odcid);

/* tls.c */
int qp_quic_tls_new(const struct qp_quic_config *cfg, WOLFSSL_CTX **out, struct qp_errmsg *msg);
WOLFSSL *qp_quic_tls_session(WOLFSSL_CTX *tls, ngtcp2_crypto_conn_ref *ref);

/* A flow as ngtcp2's path; the storage holds the addresses. */
void qp_quic_path(ngtcp2_path_storage *ps, const struct qp_flow *flow);

#endif
