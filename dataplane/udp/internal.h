/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_UDP_INTERNAL_H
#define QP_DATAPLANE_UDP_INTERNAL_H

#include "common/wire.h"
#include "dataplane/mbufs.h"
#include "dataplane/tunnel_internal.h"
#include "dataplane/udp/udp.h"

#define QP_UDP_HEADER_BYTES 8u
#define QP_UDP_QUOTE_BYTES 68u     /* the longest IPv4 header and a UDP header */
#define QP_UDP_MTU 1500u           /* where a frame does not say */
#define QP_UDP_V4_MIN_MTU 68u
#define QP_UDP_V6_MIN_MTU 1280u
#define QP_UDP_MAX_SEGMENTS 64u    /* of a super-segment: Linux's UDP_MAX_SEGMENTS */

/* A forwarded port. Owner: the tunnel. Life: from the grant until its port closes. */
struct qp_udp_port {
	struct qp_udp *udp;
	struct qp_tunnel *tunnel;
	struct qp_ipaddr addr; /* all zero: every */
	uint16_t port;         /* host order */
};

/*
 * A virtual connection. Owner: the tunnel. Life: from the first datagram until
 * its stream ends, or silence. Lock: none.
 */
struct qp_udp_flow {
	enum qp_stream_kind kind;          /* QP_STREAM_UDP */
	uint32_t id;                       /* on the wire */
	struct qp_udp *udp;
	struct qp_tunnel *tunnel;
	struct qp_quic_stream *stream;     /* NULL: not open yet */
	struct qp_local_conn *local;       /* of a local forward: what the client calls it; else NULL */
	struct qp_flow flow;               /* l2: the last datagram's */
	struct qp_usage use;
	struct qp_timer idle;
	uint64_t last_ns;                  /* last datagram, either way */
	bool answered;                     /* … and it was the client's */
	/* Outside → tunnel. */
	uint64_t queued_bytes;             /* records that the client has not acknowledged */
	struct qp_mbufq held;              /* of them, what waits for the stream */
	uint8_t quote[QP_UDP_QUOTE_BYTES]; /* the last datagram's IP and UDP header, for ICMP */
	uint8_t quote_len;
	bool waiting;
	/* Tunnel → outside: the record that is coming. */
	uint8_t head_len;                  /* bytes of its header that are here */
	uint8_t head[QP_WIRE_RECORD_HEADER_BYTES];
	bool lost;                         /* no mbufs for it: the rest is skipped */
	uint32_t left;                     /* payload bytes still to come, when the header is whole */
	struct rte_mbuf *out, *out_tail;   /* … those that are here */
	uint32_t out_bytes;                /* of them, in tunnel->held_bytes */
	uint32_t path_mtu;                 /* what an ICMP error said; 0: nothing */
	LIST_ENTRY(qp_udp_flow) bucket_link;
	TAILQ_ENTRY(qp_udp_flow) link; /* tunnel->flows, by last use; or ->waiting_flows */
};
LIST_HEAD(qp_udp_bucket, qp_udp_flow);

/* Datagrams of one flow and size that leave together. */
struct qp_udp_batch {
	struct qp_udp_flow *flow; /* NULL: empty */
	struct rte_mbuf *head, *tail;
	uint32_t bytes;
	uint16_t segsz;
	uint16_t count;
	uint16_t segs;
};

struct qp_udp_fragments;

struct qp_udp {
	struct qp_udp_env env;
	struct qp_udp_config cfg;
	struct qp_udp_counters counters;
	uint64_t key[2];                   /* of the flows' hash */
	uint32_t nbuckets;                 /* a power of two */
	struct qp_udp_bucket *bucket;
	struct qp_udp_batch batch;
	struct qp_udp_fragments *fragments;
	uint32_t next_ip_id;
	uint64_t icmp_second;              /* which one icmp_now counts */
	uint32_t icmp_now;
	uint16_t port_first, port_count;   /* of flows to the outside */
	struct qp_udp_port *port[65536];   /* by number, host order */
	uint8_t scratch[QP_WIRE_RECORD_HEADER_BYTES + UINT16_MAX];
};

#define QP_UDP_COUNT(u, field) ((u)->counters.field++)

/* flow.c */
struct qp_udp_flow *qp_udp_flow_find(struct qp_udp *u, const struct qp_flow *flow);
/* NULL, and counted why: a limit, or no memory. */
struct qp_udp_flow *qp_udp_flow_new(struct qp_udp_port *p, const struct qp_flow *flow);
/* NULL, and counted: out of memory, or of ids. */
struct qp_udp_flow *qp_udp_flow_alloc(struct qp_udp *u, struct qp_tunnel *t);
/* Whether the tunnel may have one more; counts why not. */
bool qp_udp_within_limits(struct qp_udp *u, const struct qp_tunnel *t);
/* Its ends are known: into the tables, and its idle time begins. */
void qp_udp_flow_enter(struct qp_udp_flow *f, const struct qp_flow *flow);
/* What a stream may have on its way here, four of the longest datagrams. */
void qp_udp_open_window(struct qp_quic_stream *s);
/* Something came from the outside, or (an answer) from the client: silence starts anew. */
void qp_udp_flow_touch(struct qp_udp_flow *f, bool answer);
/* Into the tunnel's queue of those with a stream, or of those that wait for one; and out of it. */
void qp_udp_flow_enqueue(struct qp_udp_flow *f, bool waiting);
void qp_udp_flow_dequeue(struct qp_udp_flow *f);
/* Resets the stream with the code and frees the flow. */
void qp_udp_flow_abort(struct qp_udp_flow *f, uint64_t code);
/* Forgets the half record from the client. */
void qp_udp_flow_drop_out(struct qp_udp_flow *f);
/* `bytes` more (or, negative, fewer) wait for the client's acknowledgement. */
void qp_udp_flow_queued(struct qp_udp_flow *f, int64_t bytes);

/* waiting.c */
/* Opens the stream, or lets the flow wait for one. Negative: it must go. */
int qp_udp_flow_start(struct qp_udp_flow *f);
/* Silence is measured when the timer fires. */
void qp_udp_flow_on_idle(struct qp_timer *timer, uint64_t now_ns);

/* input.c */
/* Copies into fresh mbufs behind the tail of a chain, whose head counts. QP_E_NOMEM. */
int qp_udp_copy(struct qp_udp *u, struct rte_mbuf **head, struct rte_mbuf **tail,
	const uint8_t *data, size_t len, uint16_t headroom);

/* output.c */
/* Sends the batch now if it is this flow's; NULL: whoever's it is. */
void qp_udp_batch_flush(struct qp_udp *u, const struct qp_udp_flow *f);
/* An identification for `n` datagrams that may be fragmented on their way (RFC 6864). */
uint32_t qp_udp_ip_id(struct qp_udp *u, uint32_t n);

/* fragment_out.c */
/* `m`: UDP header (checksum not filled) and payload; consumed. */
void qp_udp_send_fragments(struct qp_udp_flow *f, struct rte_mbuf *m, uint32_t mtu);

/* fragment_in.c */
struct qp_udp_fragments *qp_udp_fragments_new(struct qp_udp *u);
void qp_udp_fragments_free(struct qp_udp_fragments *fr);

/* icmp.c */
/* Tells the outside that nobody listens, about its last datagram. */
void qp_udp_unreachable(struct qp_udp_flow *f);

#endif
