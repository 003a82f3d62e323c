/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_TCP_RECOVERY_H
#define QP_DATAPLANE_TCP_RECOVERY_H

#include "dataplane/tcp/internal.h"

/* What the three files of loss recovery share: scoreboard.c, rack.c, recovery.c. */

#define QP_TCP_DUP_THRESH 3u

/* What one ACK told. */
struct qp_tcp_ack_news {
	uint32_t acked;       /* sequence numbers that snd_una moved by */
	uint32_t acked_data;  /* payload bytes among them */
	uint32_t sacked;      /* newly SACKed bytes */
	uint32_t delivered;   /* bytes newly known to have arrived */
	uint32_t lost;        /* newly declared lost */
	uint32_t flight_before;
	uint64_t rtt_ns;      /* of a range that was sent once; 0: none */
	bool dup;             /* a duplicate ACK (RFC 5681, 2) */
	bool dsack;           /* it reports a duplicate (RFC 2883) */
	bool rtx_acked;       /* a range that had been sent twice is among the acked */
	bool ece;             /* it echoes a congestion mark (RFC 3168) */
	bool ambiguous;       /* … and it may have been an earlier transmission that arrived */
	/* Of the range sent last among those that arrived (rate.c). */
	bool rate_known, rate_app_limited;
	uint32_t rate_end, rate_prior;
	uint64_t rate_sent_ns, rate_prior_ns, rate_send_ns;
	uint64_t rate_rtt_ns; /* its round trip; 0: it was sent twice */
};

static inline uint32_t
qp_tcp_rec_len(const struct qp_tcp_rec *r)
{
	return r->end - r->seq;
}

/* scoreboard.c */
/* snd_una moves to SEG.ACK: records and payload up to it are done with. */
void qp_tcp_advance_una(struct qp_tcp_conn *c, const struct qp_tcp_seg *s, struct qp_tcp_ack_news *n);
/* After qp_tcp_advance_una. */
void qp_tcp_take_sack(struct qp_tcp_conn *c, const struct qp_tcp_seg *s, struct qp_tcp_ack_news *n);
/* `n` may be NULL. */
void qp_tcp_mark_lost(struct qp_tcp_conn *c, struct qp_tcp_rec *r, struct qp_tcp_ack_news *n);
/* Without SACK one segment at a time is known to be missing: the first. */
void qp_tcp_head_lost(struct qp_tcp_conn *c, struct qp_tcp_ack_news *n);
/* The peer threw away what it had SACKed: all of that is lost. */
void qp_tcp_forget_sacked(struct qp_tcp_conn *c);

/* rack.c */
/* RACK_sent_after (RFC 8985, 6.2): of two sent at the same time the later in sequence. */
bool qp_tcp_sent_after(uint64_t t1, uint32_t end1, uint64_t t2, uint32_t end2);
uint64_t qp_tcp_reo_wnd_ns(const struct qp_tcp_conn *c);
void qp_tcp_adapt_reo_wnd(struct qp_tcp_conn *c, const struct qp_tcp_ack_news *n);
/* Marks what is lost; returns how long until the next range may be, 0 for none. */
uint64_t qp_tcp_rack_detect(struct qp_tcp_conn *c, struct qp_tcp_ack_news *n);
/* RFC 8985, 7.4: did the loss probe repair a loss that nobody else saw? */
void qp_tcp_judge_probe(struct qp_tcp_conn *c, const struct qp_tcp_seg *s,
	const struct qp_tcp_ack_news *n);

/* rate.c */
void qp_tcp_rate_delivered(struct qp_tcp_conn *c, const struct qp_tcp_rec *r, uint32_t bytes,
	struct qp_tcp_ack_news *n);
void qp_tcp_rate_sample(struct qp_tcp_conn *c, const struct qp_tcp_ack_news *n, struct qp_tcp_cc_ack *a);

/* recovery.c */
void qp_tcp_recovery_ack(struct qp_tcp_conn *c, const struct qp_tcp_seg *s, struct qp_tcp_ack_news *n);

#endif
