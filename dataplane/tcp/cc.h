/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_TCP_CC_H
#define QP_DATAPLANE_TCP_CC_H

#include <stdbool.h>
#include <stdint.h>

struct qp_tcp_conn;

/*
 * Congestion control, pluggable: what to make of cwnd and ssthresh, and how
 * fast to send. Which bytes are lost and what is sent when is recovery.c's and
 * output.c's business.
 */

/* HyStart++ (RFC 9406): one round trip of slow start after the other. Times in microseconds. */
struct qp_tcp_hystart {
	uint32_t window_end;   /* windowEnd: the round is over when it is acknowledged */
	uint32_t last_min_us;  /* lastRoundMinRTT; 0: infinite */
	uint32_t min_us;       /* currentRoundMinRTT; 0: infinite */
	uint32_t css_base_us;  /* cssBaselineMinRtt */
	uint32_t train_round;  /* window_end of the round that the train belongs to */
	uint32_t train_start_us, train_last_us; /* its first ACK, and the last that came close behind */
	uint8_t samples;       /* rttSampleCount */
	uint8_t css_rounds;
	uint8_t phase;         /* enum qp_tcp_hystart_phase */
};

enum qp_tcp_hystart_phase {
	QP_HYSTART_SS,   /* slow start */
	QP_HYSTART_CSS,  /* conservative slow start */
	QP_HYSTART_DONE, /* only the first slow start is watched (RFC 9406, 4.2) */
};

/* The largest of what was measured in the last rounds, and who would be next. */
struct qp_tcp_max_filter {
	struct {
		uint32_t round, value;
	} best[3];
};

/* Each algorithm's memory in a connection. */
union qp_tcp_cc_state {
	struct {
		uint64_t epoch_ns;   /* start of this congestion avoidance; 0: none */
		float k_s;           /* K, seconds */
		float w_max;         /* W_max, bytes */
		float w_est;         /* W_est, bytes */
		float cwnd_part;     /* growth that is not yet a whole byte */
		uint32_t cwnd_epoch; /* cwnd when the epoch began */
		float undo_w_max;    /* of before the last congestion */
		struct qp_tcp_hystart hystart;
	} cubic;
	struct {
		struct qp_tcp_max_filter bw;  /* BBR.BtlBw, bytes a second >> QP_BBR_BW_SHIFT */
		uint32_t round;               /* BBR.round_count */
		uint32_t next_round_delivered; /* BBR.next_round_delivered */
		uint32_t min_rtt_us;          /* BBR.RTprop; 0: none */
		uint32_t min_rtt_ms;          /* … when it was measured */
		uint32_t probe_rtt_done_ms;   /* 0: not set */
		uint32_t cycle_us;            /* when this phase of the gain cycle began */
		uint32_t full_bw;
		uint32_t prior_cwnd;
		uint32_t rate;                /* pacing, as bw */
		uint8_t mode, phase, full_bw_count;
		uint8_t flags;
	} bbr;
};

/* What an ACK told of the path: a delivery rate sample (draft-cheng-iccrg-delivery-rate-estimation). */
struct qp_tcp_cc_ack {
	uint64_t now_ns;
	uint32_t acked;           /* sequence numbers that snd_una moved by */
	uint32_t delivered;       /* bytes newly known to have arrived */
	uint32_t lost;            /* newly declared lost */
	uint32_t in_flight;       /* believed to be in the network, after this ACK */
	uint64_t rtt_ns;          /* of the newest range that arrived, if sent once; 0: none */
	/* The sample: `rate_delivered` bytes arrived in `interval_ns`; 0: no sample. */
	uint32_t rate_delivered;
	uint64_t interval_ns;
	uint32_t prior_delivered; /* c->delivered when the newest acknowledged range was sent */
	bool app_limited;         /* the sender had nothing to send meanwhile */
	bool recovery;            /* loss recovery is on: fast, or after a timeout */
	bool cwnd_limited;        /* cwnd was what held the sender back */
};

struct qp_tcp_cc {
	const char *name;
	bool owns_cwnd; /* also in recovery: PRR leaves it alone */
	/* The handshake is done: cwnd and ssthresh. */
	void (*init)(struct qp_tcp_conn *c);
	/* An ACK was taken. */
	void (*acked)(struct qp_tcp_conn *c, const struct qp_tcp_cc_ack *ack);
	/* Loss, or a mark (RFC 3168): sets ssthresh. */
	void (*congested)(struct qp_tcp_conn *c);
	/* A retransmission timeout, after congested(). */
	void (*timeout)(struct qp_tcp_conn *c);
	/* What congested() and timeout() believed was not so; cwnd and ssthresh are restored already. */
	void (*undo)(struct qp_tcp_conn *c);
	/* Nothing was sent for longer than an RTO. */
	void (*idle)(struct qp_tcp_conn *c);
	/* Bytes a second to send at; 0: unpaced. */
	uint64_t (*rate)(const struct qp_tcp_conn *c);
};

extern const struct qp_tcp_cc qp_tcp_cubic, qp_tcp_bbr;

/* In the order of enum qp_tcp_cc_kind (tcp.h). */
const struct qp_tcp_cc *qp_tcp_cc_of(int kind);

/* RFC 6928: ten segments, 14,600 bytes, at least two segments. */
uint32_t qp_tcp_initial_window(uint32_t mss);

/* hystart.c. `snd_nxt`, `snd_una`: the connection's, the ACK taken. */
void qp_tcp_hystart_begin(struct qp_tcp_hystart *h, uint32_t snd_nxt);
/* What slow start may grow by for `acked` bytes; *leave: the path is full, slow start is over. */
uint32_t qp_tcp_hystart_grow(struct qp_tcp_hystart *h, uint32_t acked, uint32_t rtt_us,
	uint32_t snd_una, uint32_t snd_nxt, bool *leave);
/*
 * Before that. True: ACKs have come close behind each other for longer than
 * `full_us`, so the path is full and slow start is over. 0: not known.
 */
bool qp_tcp_hystart_train(struct qp_tcp_hystart *h, uint32_t now_us, uint32_t full_us);

#endif
