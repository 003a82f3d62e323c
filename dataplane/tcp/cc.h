/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_TCP_CC_H
#define QP_DATAPLANE_TCP_CC_H

#include <stdint.h>

struct qp_tcp_conn;

/*
 * Congestion control, pluggable: what to make of cwnd and ssthresh. Which
 * bytes are lost and what is sent when is recovery.c's and output.c's business.
 */

/* Each algorithm's memory in a connection. */
union qp_tcp_cc_state {
	struct {
		uint64_t epoch_ns;   /* start of this congestion avoidance; 0: none */
		float k_s;           /* K, seconds */
		float w_max;         /* W_max, bytes */
		float w_est;         /* W_est, bytes */
		float cwnd_part;     /* growth that is not yet a whole byte */
		uint32_t cwnd_epoch; /* cwnd when the epoch began */
	} cubic;
};

struct qp_tcp_cc {
	const char *name;
	/* The handshake is done: cwnd and ssthresh. */
	void (*init)(struct qp_tcp_conn *c);
	/* `bytes` were acknowledged outside recovery while cwnd was the limit. */
	void (*acked)(struct qp_tcp_conn *c, uint32_t bytes, uint64_t now_ns);
	/* Loss: sets ssthresh. */
	void (*congested)(struct qp_tcp_conn *c);
	/* A retransmission timeout, after congested(). */
	void (*timeout)(struct qp_tcp_conn *c);
	/* Nothing was sent for longer than an RTO. */
	void (*idle)(struct qp_tcp_conn *c);
};

extern const struct qp_tcp_cc qp_tcp_cubic;

/* RFC 6928: ten segments, 14,600 bytes, at least two segments. */
uint32_t qp_tcp_initial_window(uint32_t mss);

#endif
