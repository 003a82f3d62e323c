/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_TCP_TCP_H
#define QP_DATAPLANE_TCP_TCP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/counters.h"
#include "common/ipc.h"
#include "dataplane/ip.h"
#include "dataplane/memory.h"
#include "dataplane/timer.h"

struct rte_mbuf;
struct rte_mempool;

/*
 * The userspace TCP (RFC 9293). One struct qp_tcp a lcore, shared with no
 * other thread: no locks. Protocol code only: the clock, randomness, pools
 * and the way out are injected, so that a test drives it without a port.
 */
struct qp_tcp;
struct qp_tcp_conn;
struct qp_tcp_listener;

struct qp_tcp_counters {
#define X(field, help) uint64_t field;
	QP_TCP_COUNTERS(X)
#undef X
};

/* What the stack stands on. All borrowed for the stack's life. */
struct qp_tcp_env {
	const uint64_t *now_ns;           /* monotonic; the worker advances it once a loop */
	struct qp_wheel *wheel;           /* the lcore's timers */
	struct rte_mempool *pool;         /* plain mbufs (headers, copies): 2 KiB data room */
	struct rte_mempool *indirect_pool; /* mbufs without data room: clones of payload */
	uint8_t own_mac[6];               /* the port's address, for frames sent */
	uint16_t mtu;                     /* of the port: IP bytes a wire packet */
	uint16_t link_mtu_max;            /* … at most, where frames say their link's MTU (qp_l2); 0: mtu */
	uint32_t max_frame_bytes;         /* largest super-segment frame; 0: no TSO */
	/* Consumes the frame, which is ready for qp_port_tx. Never fails to the caller. */
	void (*transmit)(void *ctx, struct rte_mbuf *frame);
	void *transmit_ctx;
	const uint8_t *mem_level;         /* enum qp_mem_level of this turn; NULL: always plenty */
	uint64_t (*random)(void *ctx);    /* unpredictable 64 bits */
	void *random_ctx;
};

enum qp_tcp_cc_kind {
	QP_TCP_CC_CUBIC, /* RFC 9438 with HyStart++ (RFC 9406) */
	QP_TCP_CC_BBR,   /* version 1 */
};

struct qp_tcp_config {
	uint32_t max_conns;       /* all states; beyond: SYNs are dropped and counted */
	uint32_t rcv_buf_bytes;   /* receive window at most, a connection: it follows the path up to here */
	uint32_t snd_buf_bytes;   /* unacknowledged and unsent bytes at most, a connection; likewise */
	uint64_t budget_bytes;    /* of payload that all connections hold together; 0: three quarters of the pool */
	uint32_t syn_backlog;     /* half-open connections before SYN cookies */
	uint32_t rst_limit;       /* resets a second to segments of no connection */
	uint32_t keepalive_s;     /* silence before keep-alive probes; 0: off */
	uint32_t user_timeout_s;  /* unacknowledged data for so long ends the connection; 0: RFC 9293's R2 */
	bool user_timeout_option; /* RFC 5482: tell the peer ours, regard the peer's (100 s to 1 h) */
	uint32_t time_wait_s;     /* 2 MSL */
	enum qp_tcp_cc_kind congestion;
	bool pacing;              /* spread CUBIC's window over the round trip; BBR is paced anyway */
	uint32_t zero_window_s;   /* a peer that takes nothing (8 KiB of much) for so long is reset; 0: never */
	uint32_t max_conns_per_source; /* of an IPv4 address or IPv6 /64, TIME-WAIT excluded; 0: no limit */
	bool mtu_probing;         /* RFC 4821: black holes are found, and larger segments tried again */
	bool fastopen;            /* RFC 7413, passive side */
	uint32_t fastopen_backlog; /* such connections in SYN-RECEIVED; beyond: the usual handshake */
	/* Makes the cookies; the same for all lcores, so that one's are good at another. 0: made here. */
	uint64_t fastopen_key[2];
	uint8_t ecn;              /* RFC 3168: 0 off, 1 when the peer asks, 2 ask, too */
};
/* Sensible values for a carrier's gateway; see docs/tcp-rfc.md. */
void qp_tcp_config_default(struct qp_tcp_config *cfg);

enum qp_tcp_end {
	QP_TCP_END_NORMAL,      /* both FINs exchanged and acknowledged */
	QP_TCP_END_RESET,       /* the peer sent RST */
	QP_TCP_END_TIMEOUT,     /* retransmissions, probes or keep-alives went unanswered */
	QP_TCP_END_REFUSED,     /* active open answered by RST */
	QP_TCP_END_UNREACHABLE, /* active open answered by a hard ICMP error */
	QP_TCP_END_NO_MEMORY,   /* what was given to send had no room: reset */
};

/* The application above. Called on the lcore, from qp_tcp_input or a timer. */
struct qp_tcp_ops {
	/*
	 * A SYN, or the ACK of a cookie, for `listener_ctx`'s port, before anything
	 * is kept of it. False: it is answered as by a closed port. NULL: always true.
	 */
	bool (*may_connect)(void *listener_ctx, const struct qp_flow *flow);
	/*
	 * A connection to `listener_ctx`'s port is established (handshake done).
	 * The callee calls qp_tcp_set_ctx. Non-zero: refuse, the peer gets RST.
	 * With Fast Open it comes with the SYN: the handshake may still fail,
	 * which ended() tells, and what is sent may go out before.
	 */
	int (*accept)(void *listener_ctx, struct qp_tcp_conn *c);
	/* An active open is established. */
	void (*connected)(void *ctx);
	/*
	 * In-order payload, trimmed to itself: consumes the chain (pkt_len = bytes).
	 * The window stays reduced by it until qp_tcp_consumed().
	 */
	void (*receive)(void *ctx, struct rte_mbuf *chain);
	/* The peer's FIN came in order: no more receive() calls. */
	void (*receive_end)(void *ctx);
	/* The peer acknowledged payload: qp_tcp_send_space() grew by `bytes`. */
	void (*acked)(void *ctx, uint32_t bytes);
	/*
	 * The connection has ended and `c` dies with this call (TIME_WAIT lives on
	 * without the application). Not called after qp_tcp_abort().
	 */
	void (*ended)(void *ctx, enum qp_tcp_end why);
};

/* NULL when out of memory. `cfg` and `env` are copied. */
struct qp_tcp *qp_tcp_new(const struct qp_tcp_env *env, const struct qp_tcp_config *cfg);
/* Sends RST on what is open, calls nobody back, frees all. NULL is allowed. */
void qp_tcp_free(struct qp_tcp *tcp);

/*
 * Listens on a port. `addr` NULL: any local address. QP_E_INUSE when that
 * (address, port) has a listener, QP_E_NOMEM. `ops` is borrowed.
 */
int qp_tcp_listen(struct qp_tcp *tcp, const struct qp_ipaddr *addr, uint16_t port_be,
	const struct qp_tcp_ops *ops, void *listener_ctx, struct qp_tcp_listener **out);
/* Stops listening; half-open connections are reset, established ones live on. */
void qp_tcp_unlisten(struct qp_tcp_listener *l);
/* Another application has the port from now on, with its half-open connections; `addr` as above. */
void qp_tcp_listener_give(
	struct qp_tcp_listener *l, const struct qp_ipaddr *addr, void *listener_ctx);
/*
 * As qp_tcp_unlisten, but the port is listened on elsewhere, and SYNs find their
 * way there: those that still come here stay without an answer for a while,
 * since a reset would be the answer of a port that is closed.
 */
void qp_tcp_listener_leave(struct qp_tcp_listener *l);

/*
 * Active open. `flow` names both ends (lport_be 0: chosen here, RFC 6056). QP_E_INUSE when they
 * have a connection or no port is left for this remote end, QP_E_NOMEM.
 */
int qp_tcp_connect(struct qp_tcp *tcp, const struct qp_flow *flow, const struct qp_tcp_ops *ops,
	void *ctx, struct qp_tcp_conn **out);

/*
 * Active opens choose their local port among these from now on (host order).
 * At first they have 32768 to 65535. 1 <= count, first + count <= 65536.
 */
void qp_tcp_set_ports(struct qp_tcp *tcp, uint16_t first, uint32_t count);

/* A received TCP segment (or super-segment) that qp_ip_parse accepted. Consumes `m`. */
void qp_tcp_input(struct qp_tcp *tcp, struct rte_mbuf *m, const struct qp_packet *pkt);
/* Soon qp_tcp_input will be called with a segment of this flow: its place in the table is fetched. */
void qp_tcp_prefetch(const struct qp_tcp *tcp, const struct qp_flow *flow);
/* `n` segments more than qp_tcp_input sees were received: they are part of others (qp_join_segments). */
void qp_tcp_count_joined(struct qp_tcp *tcp, uint16_t n);
/* A received ICMP or ICMPv6 error that quotes a segment of ours. Consumes `m`. */
void qp_tcp_icmp_input(struct qp_tcp *tcp, struct rte_mbuf *m, const struct qp_packet *pkt);
/*
 * Once a worker loop, after all input: sends the ACKs and data that the burst
 * caused, so that one ACK serves many segments of a burst.
 */
void qp_tcp_flush(struct qp_tcp *tcp);

void qp_tcp_set_ctx(struct qp_tcp_conn *c, void *ctx);
const struct qp_flow *qp_tcp_flow(const struct qp_tcp_conn *c);

/* What the send queue is worth now: twice the window, cwnd or the peer's, at least 64 KiB, at most snd_buf_bytes. */
uint32_t qp_tcp_send_buffer(const struct qp_tcp_conn *c);
/* The smoothed round-trip time (RFC 6298), ns; 0: not known yet. */
uint64_t qp_tcp_rtt(const struct qp_tcp_conn *c);
/* Bytes that qp_tcp_send takes now without exceeding qp_tcp_send_buffer. */
uint32_t qp_tcp_send_space(const struct qp_tcp_conn *c);
/*
 * Queues payload (a chain; consumed, kept by reference until acknowledged; the
 * caller must not write to it again). More than the space is taken, too: the
 * space is the caller's duty. Data goes out at the next qp_tcp_flush at the latest.
 */
void qp_tcp_send(struct qp_tcp_conn *c, struct rte_mbuf *chain);
/* FIN after all that is queued. Idempotent. */
void qp_tcp_shutdown(struct qp_tcp_conn *c);
/* RST now; drops what is queued; `c` is gone on return, ended() is not called. */
void qp_tcp_abort(struct qp_tcp_conn *c);
/* The application is done with `bytes` that receive() handed over: opens the window. */
void qp_tcp_consumed(struct qp_tcp_conn *c, uint32_t bytes);
/*
 * This connection's receive buffer from now on, at most rcv_buf_bytes. What was
 * offered before stays offered (RFC 9293, 3.8.6: a window does not shrink).
 */
void qp_tcp_set_rcv_buf(struct qp_tcp_conn *c, uint32_t bytes);

/*
 * user_timeout_s for this connection from now on, told to the peer with
 * user_timeout_option; the peer's counts no longer. 0: as configured again.
 */
void qp_tcp_set_user_timeout(struct qp_tcp_conn *c, uint32_t seconds);

const struct qp_tcp_counters *qp_tcp_counters(const struct qp_tcp *tcp);
/* Of all its round-trip samples. */
const struct qp_rtt_histogram *qp_tcp_rtts(const struct qp_tcp *tcp);

#endif
