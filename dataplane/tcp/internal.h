/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_TCP_INTERNAL_H
#define QP_DATAPLANE_TCP_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_mbuf.h>
#include <rte_tcp.h>

#include "dataplane/mbufs.h"
#include "dataplane/tcp/cc.h"
#include "dataplane/tcp/keyring.h"
#include "dataplane/tcp/options.h"
#include "dataplane/tcp/seq.h"
#include "dataplane/tcp/slab.h"
#include "dataplane/tcp/tcp.h"

/*
 * What the files of the stack share. Everything here belongs to one lcore.
 * Names are RFC 9293's (SND.UNA is snd_una); seq numbers are host order.
 */

#define QP_MS_NS  UINT64_C(1000000)
#define QP_SEC_NS UINT64_C(1000000000)

#define QP_TCP_RTO_INIT_NS   QP_SEC_NS           /* RFC 6298, 2.1 */
#define QP_TCP_RTO_MIN_NS    (200 * QP_MS_NS)    /* as common stacks; RFC 6298's second is for coarse clocks */
#define QP_TCP_RTO_MAX_NS    (60 * QP_SEC_NS)    /* RFC 6298, 2.5 */
#define QP_TCP_DELACK_NS     (40 * QP_MS_NS)     /* RFC 9293, 3.8.6.3: at most 500 ms */
#define QP_TCP_RETRY_NS      (5 * QP_MS_NS)      /* after a failed mbuf allocation */
#define QP_TCP_R2_NS         (300 * QP_SEC_NS)   /* RFC 9293, 3.8.3: at least 100 s */
#define QP_TCP_R2_SYN_NS     (180 * QP_SEC_NS)   /* RFC 9293, 3.8.3: at least 3 min */
#define QP_TCP_SYNACK_TRIES  5                   /* half-open for about a minute */
#define QP_TCP_SYN_AGAIN_NS  (4 * QP_MS_NS)      /* until a reset has made way for our SYN */
#define QP_TCP_KEEP_PROBE_NS (75 * QP_SEC_NS)
#define QP_TCP_KEEP_PROBES   9
#define QP_TCP_QUICK_ACKS    16                  /* segments acknowledged at once at the start and after a gap */
#define QP_TCP_BURST_SEGS    2                   /* more of new data at once are a burst */
#define QP_TCP_MIN_MSS       64                  /* a peer that announces less is taken to mean this */
#define QP_TCP_OOO_RANGES    256                 /* holes in what one peer sent */
#define QP_TCP_CHALLENGES    10                  /* challenge ACKs a connection and second */
#define QP_TCP_LISTENER_BUCKETS 1024u
#define QP_TCP_RECORDS       4096u               /* ranges in flight that one connection is tracked by */
#define QP_TCP_SACK_STEPS    4096u               /* … and that one ACK's blocks make us look at */
#define QP_TCP_TINY_BYTES    64u                 /* a segment below counts as tiny */
#define QP_TCP_STALL_BYTES   (8u * 1024)         /* a peer that takes so much has not stalled */
#define QP_TCP_STALL_TIGHT_MS  (120u * 1000)     /* patience with one that has, while mbufs are tight */
#define QP_TCP_STALL_SCARCE_MS (10u * 1000)      /* … or scarce: new payload is dropped for it */
#define QP_TCP_STALL_LOOK    8u                  /* of so many oldest the largest goes */
#define QP_TCP_CREDIT_WINDOWS 2u                 /* cwnds that ACKs may count for in a handshake's round trip */
#define QP_TCP_CREDIT_RTT_US 5000u               /* … of at least so long: what is less varies by more than half */
#define QP_TCP_FIRST_PORT 32768u /* of active opens; up to 65535 */
#define QP_TCP_PORTS (65536u - QP_TCP_FIRST_PORT)
#define QP_TOS_ECN 3u /* the ECN field of the TOS byte (RFC 3168, 5) */
#define QP_TOS_ECT 2u /* ECT(0) */
#define QP_TOS_CE  3u
#define QP_TCP_MBUF_BYTES    2048u     /* payload that an mbuf of the pool holds */
#define QP_TCP_TIGHT_BYTES   (32u * 1024) /* a receive buffer while mbufs are tight */

/* LISTEN is a qp_tcp_listener, TIME-WAIT a qp_tcp_tw. */
enum qp_tcp_state {
	QP_TCP_CLOSED,
	QP_TCP_SYN_SENT,
	QP_TCP_SYN_RECEIVED,
	QP_TCP_ESTABLISHED,
	QP_TCP_FIN_WAIT_1,
	QP_TCP_FIN_WAIT_2,
	QP_TCP_CLOSE_WAIT,
	QP_TCP_CLOSING,
	QP_TCP_LAST_ACK,
	QP_TCP_TIME_WAIT,
};

enum qp_tcp_conn_flags {
	QP_TF_SACK = 1 << 0,       /* SACK-permitted both ways */
	QP_TF_TS = 1 << 1,         /* timestamps both ways */
	QP_TF_WSCALE = 1 << 2,     /* window scale both ways */
	QP_TF_PASSIVE = 1 << 3,    /* opened by the peer */
	QP_TF_APP = 1 << 4,        /* the application knows it: ended() is owed */
	QP_TF_FIN_QUEUED = 1 << 5, /* FIN follows the last byte of the send queue */
	QP_TF_FIN_SENT = 1 << 6,
	QP_TF_FIN_RCVD = 1 << 7,
	QP_TF_ACK_NOW = 1 << 8,    /* the next flush acknowledges */
	QP_TF_IN_WORK = 1 << 9,    /* on the stack's work list */
	QP_TF_DSACK = 1 << 10,     /* dsack_start … dsack_end is to be reported (RFC 2883) */
	QP_TF_CWND_LIMITED = 1 << 11, /* the last output stopped for cwnd */
	QP_TF_HALF_OPEN = 1 << 12, /* counted in its listener's backlog */
	QP_TF_SYN_RTX = 1 << 13,   /* our SYN was sent twice: no RTT sample from it (Karn) */
	QP_TF_REORDERING = 1 << 14, /* RACK.reordering_seen */
	QP_TF_TLP_RTX = 1 << 15,   /* the open loss probe repeats old data (TLP.is_retrans) */
	QP_TF_COOKIE = 1 << 16,    /* opened by a SYN cookie: nobody knows when its SYN-ACK went out */
	QP_TF_DOOMED = 1 << 17,    /* no memory for what was to be sent: the next flush resets it */
	QP_TF_SYN_AGAIN = 1 << 18, /* an old connection's ACK came for our SYN, which goes again for it, once */
};

/* ECN (RFC 3168): a connection's `ecn`. */
enum qp_tcp_ecn_bits {
	QP_ECN_ASKED = 1 << 0,   /* our SYN proposed it */
	QP_ECN_SEND = 1 << 1,    /* new data is sent as ECT, and ECE heeded */
	QP_ECN_RECEIVE = 1 << 2, /* CE is echoed */
	QP_ECN_ECHO = 1 << 3,    /* each ACK says ECE until CWR comes */
	QP_ECN_CWR = 1 << 4,     /* the next new data says CWR */
	QP_ECN_REDUCED = 1 << 5, /* cwnd was reduced and ecn_recover is not passed yet */
};

/* Fast Open (RFC 7413): a connection's `fastopen`. */
enum qp_tcp_fastopen_bits {
	QP_FO_COOKIE = 1 << 0,  /* the SYN-ACK has a cookie for the next time */
	QP_FO_PENDING = 1 << 1, /* in SYN-RECEIVED, and the application has it already */
};

/* User timeout (RFC 5482): a connection's `uto`. */
enum qp_tcp_uto_bits {
	QP_UTO_SEND = 1 << 0,    /* the next segment has the option */
	QP_UTO_FIXED = 1 << 1,   /* the application has set it: the peer's does not count */
	QP_UTO_ADOPTED = 1 << 2, /* user_timeout_s regards the peer's */
};

/* Loss recovery (RFC 5681, RFC 6675, RFC 8985). */
enum qp_tcp_ca {
	QP_CA_OPEN,
	QP_CA_RECOVERY, /* fast recovery: PRR rules cwnd */
	QP_CA_LOSS,     /* after a retransmission timeout, until `recover` is acknowledged */
};

/* May a reduction of cwnd be taken back (Eifel, RFC 3522 and 4015)? */
enum qp_tcp_undo {
	QP_UNDO_NONE,
	QP_UNDO_ARMED, /* undo_cwnd and undo_ssthresh hold what was before */
	QP_UNDO_TIMED, /* undo_ts too */
};

/* What a connection and its TIME-WAIT have in common: their place in the table. */
struct qp_tcp_tcb {
	struct qp_tcp_tcb *next; /* same bucket */
	uint32_t hash;
	uint8_t state;           /* enum qp_tcp_state */
	struct qp_flow flow;
};

enum qp_tcp_rec_flags {
	QP_REC_SACKED = 1 << 0,
	QP_REC_LOST = 1 << 1,  /* believed lost and not sent again since */
	QP_REC_RTX = 1 << 2,   /* sent more than once */
	QP_REC_FIN = 1 << 3,   /* the last sequence number is FIN's */
	QP_REC_TIMED = 1 << 4, /* on the by-time list */
	QP_REC_APP_LIMITED = 1 << 5, /* sent while the application had no more */
};

/*
 * A transmitted, not yet acknowledged range: one frame as it was sent, up to a
 * super-segment; split when the peer takes or loses a part of it.
 */
struct qp_tcp_rec {
	struct qp_tcp_rec *next, *prev;   /* in sequence order, without gaps from snd_una to snd_nxt */
	struct qp_tcp_rec *tnext, *tprev; /* in order of xmit_ns: those neither SACKED nor LOST */
	struct rte_mbuf *m;               /* where its payload starts in the send queue */
	uint32_t off;                     /* … from buf_addr, which a cut at the front leaves alone */
	uint32_t seq, end;
	uint16_t flags;                   /* enum qp_tcp_rec_flags */
	uint16_t mss;                     /* it was cut into segments of so many bytes */
	uint64_t xmit_ns;                 /* last transmission; then were … */
	uint64_t delivered_ns;            /* … the last delivery, */
	uint64_t first_sent_ns;           /* … the start of the sending interval, */
	uint32_t delivered;               /* … and the connection's `delivered` */
};

/* A run of bytes received beyond rcv_nxt. Runs never touch: a run is a SACK block. */
struct qp_tcp_ooo {
	struct qp_tcp_ooo *next, *prev;
	struct qp_mbufq q;
	uint32_t seq, end;
	uint32_t stamp; /* higher = reported first (RFC 2018, 4) */
	bool fin;       /* the peer's FIN is at `end` */
};

/* One wheel timer serves these (timers.c). */
enum qp_tcp_timer {
	QP_TMR_RTX,   /* RTO, loss probe, RACK's reordering, persist or a SYN: see rtx_kind */
	QP_TMR_ACK,   /* delayed ACK */
	QP_TMR_KEEP,  /* keep-alive */
	QP_TMR_RETRY, /* output stopped for want of memory */
	QP_TMR_PACE,  /* output waits for its time */
	QP_TMR_N
};

enum qp_tcp_rtx_kind {
	QP_RTX_RTO,
	QP_RTX_TLP,
	QP_RTX_REO,
	QP_RTX_PERSIST,
	QP_RTX_SYN,     /* QP_TF_SYN_AGAIN */
};

/*
 * What a connection needs while it sends: the queue, what is in flight, loss
 * recovery. Made with the first byte or FIN that is queued, gone when all is
 * acknowledged, so that an idle connection does not pay for it (xmit.c).
 */
struct qp_tcp_xmit {
	/* The queue, from the first unacknowledged byte, and where its unsent part starts. */
	struct qp_mbufq sndq;
	struct rte_mbuf *pos_m;        /* NULL: at sndq.head's start */
	uint32_t pos_off;              /* in pos_m, from buf_addr */
	uint8_t dupacks;
	uint8_t undo;                  /* enum qp_tcp_undo */
	bool tlp_open;                 /* a loss probe waits for its verdict */
	struct qp_tcp_rec *rec_head, *rec_tail;
	struct qp_tcp_rec *timed_head, *timed_tail;
	uint32_t sacked_bytes;
	uint32_t lost_bytes;
	uint32_t dup_bytes;            /* without SACK: what duplicate ACKs say has left the network */

	/* Recovery. */
	uint32_t recover;              /* snd_nxt when it began */
	uint64_t rack_xmit_ns;         /* RACK.xmit_ts */
	uint32_t rack_end;             /* RACK.end_seq */
	uint32_t fack;                 /* RACK.fack */
	uint32_t tlp_end;              /* TLP.end_seq */
	uint32_t prr_delivered, prr_out, prr_flight; /* RFC 6937; RecoverFS */
	uint32_t undo_ts;              /* our TSval of the episode's first retransmission */
	uint32_t undo_cwnd, undo_ssthresh;

	/* Delivery rate and pacing (rate.c). */
	uint64_t delivered_ns;         /* last delivery */
	uint64_t first_sent_ns;        /* of the range that was delivered last */
	uint32_t app_limited_end;      /* `delivered` at which the application's lull is over */
	bool app_limited;
	uint64_t pace_ns;              /* not before this */
	/* Path MTU (pmtu.c). */
	uint64_t claim_ns;             /* when ICMP's pending claim came */
	uint32_t claim_seq;            /* … about the segment that starts here */
	uint16_t claim_mss;            /* 0: none is pending */
	uint16_t probe_mss;            /* a probe of this size has no verdict yet; 0: none */
	struct qp_tcp_rec *probe;      /* it; NULL when it was lost */
	bool probe_lost;
	bool excused;                  /* all that counts as lost now was too large: no congestion */

	/* Abuse: stall.c, credit.c, scoreboard.c. */
	struct qp_tcp_conn *stall_prev, *stall_next; /* by stall_ms */
	uint32_t stall_ms;             /* the peer last took what it was owed */
	uint32_t stall_seq;            /* … and does so again when this is acknowledged */
	uint64_t credit_ns;            /* since then credit_bytes are left that may grow cwnd */
	uint32_t credit_bytes;
	uint32_t recs;                 /* records in the list */
	struct qp_tcp_rec *sack_hint;  /* where the last block ended; NULL: rec_head */
	struct qp_tcp_sack sack_seen[4]; /* blocks that need no second look */
};

struct qp_tcp_conn {
	struct qp_tcp_tcb tcb;
	struct qp_tcp *tcp;
	const struct qp_tcp_ops *ops;
	void *ctx;                     /* the application's */
	struct qp_tcp_conn *work_next;
	uint32_t flags;                /* enum qp_tcp_conn_flags */

	/* Send sequence variables (RFC 9293, 3.3.1). */
	uint32_t iss;
	uint32_t snd_una;
	uint32_t snd_nxt;              /* highest sent + 1: a retransmission does not move it */
	uint32_t snd_wnd;              /* scaled */
	uint32_t snd_wl1, snd_wl2;
	uint32_t snd_max_wnd;          /* MAX.SND.WND (RFC 5961, 5.2) */
	uint32_t snd_end;              /* sequence number behind the last queued byte */
	uint16_t peer_mss;             /* from its SYN */
	uint16_t path_mss;             /* segment bytes without IP and fixed TCP header, options included */
	uint8_t snd_wscale;            /* the peer's shift */
	uint8_t rcv_wscale;            /* ours */

	/* Receive sequence variables. */
	uint32_t irs;
	uint32_t rcv_nxt;
	uint32_t rcv_adv;              /* the farthest right edge that we ever offered */
	uint32_t rcv_held;             /* bytes above: receive() until consumed() */
	uint32_t rcv_buf;              /* the share of this connection: qp_tcp_set_rcv_buf */
	uint32_t last_ack_sent;        /* Last.ACK.sent (RFC 7323) */
	uint32_t rcv_seg;              /* the peer's full-sized segment, as seen */
	uint32_t ts_recent;            /* TS.Recent */
	uint32_t ts_recent_s;          /* … as of this second: it does not outlive 24 days */
	uint32_t ts_offset;            /* our timestamp clock's start */
	uint32_t dsack_start, dsack_end;
	uint32_t ooo_stamp;
	uint16_t ooo_ranges;
	uint8_t quick_acks;            /* segments still to be acknowledged at once */
	uint8_t challenges;            /* sent in second challenge_s */
	uint32_t challenge_s;
	struct qp_tcp_ooo *ooo_head, *ooo_tail;

	/* Timers. */
	struct qp_timer timer;
	uint32_t due[QP_TMR_N];        /* in wheel ticks, modulo 2^32; 0: off */
	uint32_t progress_ms;          /* the peer last acknowledged something, or we began to wait */
	uint32_t last_rx_ms;
	uint64_t srtt_ns, rttvar_ns;   /* srtt 0: no sample yet */
	uint64_t rto_ns;               /* backoff included */
	uint64_t last_tx_ns;           /* payload or SYN */
	uint8_t rtx_kind;              /* enum qp_tcp_rtx_kind */
	uint8_t backoff;               /* timeouts in a row */
	uint8_t keep_probes;           /* unanswered */

	/* Sending. */
	struct qp_tcp_xmit *x;         /* NULL: nothing is queued or in flight */
	struct qp_tcp_conn *half_next, **half_pprev; /* HALF_OPEN: its listener's */
	uint32_t rack_rtt_us;          /* RACK.rtt */
	uint32_t min_rtt_us;           /* RACK.min_RTT; 0: none */
	uint32_t rack_round;           /* RACK.reo_wnd is adapted once a round trip */
	uint16_t reo_persist;          /* RACK.reo_wnd_persist */
	uint8_t reo_mult;              /* RACK.reo_wnd_mult */
	uint8_t ca;                    /* enum qp_tcp_ca; OPEN without x */

	/* Path MTU (pmtu.c): sizes as path_mss. */
	uint16_t proven_mss;           /* the largest segment that has arrived; 0: none */
	uint16_t mtu_high;             /* the search goes on up to here; 0: nothing to search */
	uint32_t mtu_next_ms;          /* … not before this time */
	uint8_t mtu_fails;             /* lost probes of the same size */

	uint32_t syn_rtt_us;           /* the handshake's round trip, which no peer can shorten; 0: unknown */
	/* ECN, Fast Open, user timeout. */
	uint32_t ecn_recover;          /* REDUCED: snd_nxt at that time */
	uint8_t ecn;                   /* enum qp_tcp_ecn_bits */
	uint8_t fastopen;              /* enum qp_tcp_fastopen_bits */
	uint8_t uto;                   /* enum qp_tcp_uto_bits */
	uint32_t user_timeout_s;       /* 0: as configured */

	/* Receive buffer (buffer.c). */
	uint32_t rcv_tuned;            /* what the path has shown to be worth it */
	uint32_t rcv_taken;            /* behind what the application had taken when the round began, … */
	uint32_t rcv_round_us;         /* … then */
	uint32_t rcv_round_bytes;      /* most that it took in one round */
	uint32_t rcv_rtt_us;           /* by the echo of our timestamps; 0: unknown */

	/* Congestion control (cc.h). */
	uint32_t cwnd, ssthresh;       /* bytes */
	uint32_t delivered;            /* bytes that the peer has told of, modulo 2^32 */
	union qp_tcp_cc_state cc;
};

/* TIME-WAIT: enough to answer with, no buffers; in a queue by age. */
struct qp_tcp_tw {
	struct qp_tcp_tcb tcb;
	struct qp_tcp_tw *older, *newer;
	uint64_t until_ns;
	uint32_t snd_nxt, rcv_nxt;
	uint32_t rcv_wnd;    /* as in the header: scaled down */
	uint32_t ts_recent, ts_recent_s, ts_offset;
	bool ts;
	uint8_t challenges;
	uint32_t challenge_s;
};

struct qp_tcp_listener {
	struct qp_tcp_listener *next; /* same bucket */
	struct qp_tcp *tcp;
	const struct qp_tcp_ops *ops;
	void *ctx;
	struct qp_ipaddr addr;        /* all zero: any */
	uint16_t port_be;
	bool any;
	bool left;                    /* nobody's, see qp_tcp_listener_leave; freed by: */
	struct qp_timer leaving;
	struct qp_tcp_conn *half;     /* half-open connections */
};

struct qp_tcp {
	struct qp_tcp_env env;
	struct qp_tcp_config cfg;
	struct qp_tcp_counters counters;
	struct qp_rtt_histogram rtt;
	const struct qp_tcp_cc *cc;
	struct qp_tcp_tcb **buckets;  /* a power of two, at least max_conns */
	struct qp_tcp_tcb *last_found; /* by qp_tcp_lookup, and still in the table; or NULL */
	uint32_t bucket_mask;
	uint32_t nconns;              /* in the table: connections and TIME-WAITs */
	uint32_t half_open;
	uint32_t ooo_segs;            /* mbufs in all reassembly queues */
	uint32_t ooo_segs_max;
	uint64_t held_bytes;          /* of payload: in receivers' hands, out of order, in send queues */
	uint64_t budget_bytes;        /* … at most */
	struct qp_tcp_conn *work_head, *work_tail; /* output pending, or dead and to be freed */
	struct qp_slab conns, xmits, tws, recs, ooos;
	struct qp_tcp_tw *tw_oldest, *tw_newest;
	struct qp_timer tw_timer;
	uint64_t table_key[2], isn_key[2], ts_key[2];
	struct qp_tcp_keyring cookie_keys;
	uint64_t cookies_until_ns;    /* ACKs may carry cookies until then */
	struct qp_tcp_keyring fastopen_keys;
	uint32_t fastopen_pending;    /* QP_FO_PENDING ones */
	uint32_t fastopen_resets[2];  /* of those, in this period and the last one */
	uint64_t fastopen_reset_period;
	uint32_t port_counter;        /* of active opens (RFC 6056, 3.3.3) */
	uint32_t port_first, port_count; /* which they choose from */
	struct qp_tcp_conn *stall_oldest, *stall_newest; /* those with something to send (stall.c) */
	struct source **sources;      /* bucket_mask + 1; NULL: no limit a source (sources.c) */
	struct qp_slab source_slab;
	/* Answers to strangers. */
	uint64_t rst_second;          /* the second that rst_left is of */
	uint32_t rst_left;
	struct qp_tcp_listener *listeners[QP_TCP_LISTENER_BUCKETS];
};

/* A received segment on its way through 3.10.7. */
struct qp_tcp_seg {
	struct qp_tcp *tcp;
	const struct qp_packet *pkt;
	struct rte_mbuf *m;   /* payload only, NULL when there is none; owned by the segment */
	uint32_t seq, ack;    /* SEG.SEQ, SEG.ACK */
	uint32_t data_len;
	uint32_t len;         /* SEG.LEN: payload, SYN and FIN */
	uint32_t wnd;         /* as in the header, not scaled */
	uint8_t flags;        /* RTE_TCP_*_FLAG */
	struct qp_tcp_options opt;
};

static inline uint64_t
qp_tcp_now(const struct qp_tcp *tcp)
{
	return *tcp->env.now_ns;
}

static inline uint32_t
qp_tcp_flight(const struct qp_tcp_conn *c)
{
	return c->snd_nxt - c->snd_una;
}

/*
 * The first hop's MTU: that of the interface that the flow came in by, where
 * its frames say it, up to what we care to use; never less than a link of its
 * kind has (RFC 791, 8200). Else the port's.
 */
static inline uint32_t
qp_tcp_link_mtu(const struct qp_tcp *tcp, const struct qp_flow *flow)
{
	uint32_t mtu = flow->l2.mtu, least = qp_ipaddr_is_v4(&flow->local) ? 576 : 1280;

	if (mtu == 0)
		return tcp->env.mtu;
	return qp_max(least, qp_min(mtu, (uint32_t)qp_max(tcp->env.mtu, tcp->env.link_mtu_max)));
}

/* Bytes believed to be in the network (pipe, RFC 6675). */
static inline uint32_t
qp_tcp_pipe(const struct qp_tcp_conn *c)
{
	uint32_t out;

	if (c->x == NULL)
		return 0;
	out = c->x->sacked_bytes + c->x->lost_bytes + c->x->dup_bytes;
	return qp_tcp_flight(c) > out ? qp_tcp_flight(c) - out : 0;
}

/* Payload bytes that are queued or in flight. */
static inline uint32_t
qp_tcp_queued(const struct qp_tcp_conn *c)
{
	return c->x != NULL ? c->x->sndq.bytes : 0;
}

/* A millisecond clock for what takes seconds; it wraps after 49 days. */
static inline uint32_t
qp_tcp_now_ms(const struct qp_tcp *tcp)
{
	return (uint32_t)(qp_tcp_now(tcp) / QP_MS_NS);
}

static inline bool
qp_tcp_synchronized(const struct qp_tcp_conn *c)
{
	return c->tcb.state >= QP_TCP_ESTABLISHED;
}

/* Our FIN is acknowledged. */
static inline bool
qp_tcp_fin_acked(const struct qp_tcp_conn *c)
{
	return (c->flags & QP_TF_FIN_SENT) && c->snd_una == c->snd_end + 1;
}

/* Our timestamp clock: a tick a millisecond, a start of its own for each flow. */
static inline uint32_t
qp_tcp_tsval(const struct qp_tcp_conn *c)
{
	return (uint32_t)(qp_tcp_now(c->tcp) / QP_MS_NS) + c->ts_offset;
}

/* buffer.c */
/* The handshake is done, or rcv_buf is known: windows begin. */
void qp_tcp_rcv_start(struct qp_tcp_conn *c);
/* What this connection may hold now. */
uint32_t qp_tcp_rcv_limit(const struct qp_tcp_conn *c);
void qp_tcp_rcv_rtt(struct qp_tcp_conn *c, const struct qp_tcp_seg *s);
/* The application took something. */
void qp_tcp_rcv_taken(struct qp_tcp_conn *c);
/* Payload comes, or (negative) goes. */
void qp_tcp_hold(struct qp_tcp *tcp, int64_t bytes);
/* How much is left, of mbufs and of the budget: the worse of the two. */
enum qp_mem_level qp_tcp_memory(const struct qp_tcp *tcp);

/* table.c */
uint32_t qp_tcp_hash(const struct qp_tcp *tcp, const struct qp_flow *flow);
struct qp_tcp_tcb *qp_tcp_lookup(struct qp_tcp *tcp, const struct qp_flow *flow);
/* Fills in the hash. */
void qp_tcp_insert(struct qp_tcp *tcp, struct qp_tcp_tcb *tcb);
void qp_tcp_remove(struct qp_tcp *tcp, struct qp_tcp_tcb *tcb);
struct qp_tcp_listener *qp_tcp_find_listener(struct qp_tcp *tcp, const struct qp_flow *flow);

/* conn.c: life and death */
/* A connection in the table, in state CLOSED, defaults set; NULL at a limit. */
struct qp_tcp_conn *qp_tcp_conn_new(struct qp_tcp *tcp, const struct qp_flow *flow);
/* Both SYNs are exchanged: windows, congestion control, timers. */
void qp_tcp_conn_established(struct qp_tcp_conn *c);
/*
 * Ends `c`: out of the table, queues freed. The memory itself lives until the
 * next flush, so callers up the stack may still look at the state (CLOSED).
 */
void qp_tcp_conn_drop(struct qp_tcp_conn *c);
/* The same, and the application is told. */
void qp_tcp_conn_end(struct qp_tcp_conn *c, enum qp_tcp_end why);
/* Output is pending: the next flush takes care. */
void qp_tcp_work(struct qp_tcp_conn *c);
void qp_tcp_half_open(struct qp_tcp_conn *c, struct qp_tcp_listener *l);
void qp_tcp_half_close(struct qp_tcp_conn *c);
struct qp_tcp_listener *qp_tcp_half_listener(const struct qp_tcp_conn *c);
void qp_tcp_set_path_mss(struct qp_tcp_conn *c, uint32_t mtu);

/* syn.c: 3.10.7.2 and initial sequence numbers */
/* A keyed hash of both ends and `extra`. */
uint64_t qp_tcp_keyed(const uint64_t key[2], const struct qp_flow *f, uint64_t extra);
void qp_tcp_set_iss(struct qp_tcp_conn *c, uint32_t iss);
/* `iss`, or one behind all that a last life up to `last` may have sent. */
uint32_t qp_tcp_later_iss(uint32_t iss, uint32_t last);
uint32_t qp_tcp_isn(const struct qp_tcp *tcp, const struct qp_flow *flow);
uint32_t qp_tcp_ts_offset(const struct qp_tcp *tcp, const struct qp_flow *flow);
/* `iss_floor`: non-NULL when the port pair's last life demands a later ISN (RFC 6191). */
void qp_tcp_listen_input(struct qp_tcp_listener *l, struct qp_tcp_seg *s, const uint32_t *iss_floor);
void qp_tcp_take_syn_options(struct qp_tcp_conn *c, const struct qp_tcp_seg *s);
/* In SYN-RECEIVED: the ACK is not for our SYN-ACK. */
void qp_tcp_wrong_syn_ack(struct qp_tcp_conn *c, struct qp_tcp_seg *s);
void qp_tcp_syn_timeout(struct qp_tcp_conn *c);
/* Our SYN or SYN-ACK once more, and its timeout from now on. */
void qp_tcp_syn_again(struct qp_tcp_conn *c);
uint8_t qp_tcp_rcv_wscale(const struct qp_tcp *tcp);

/* input.c: 3.10.7.4 */
void qp_tcp_segment_arrives(struct qp_tcp_conn *c, struct qp_tcp_seg *s);

/* ack.c: 3.10.7.4, fifth. False: the segment goes no further. */
bool qp_tcp_ack_input(struct qp_tcp_conn *c, struct qp_tcp_seg *s);
/* "Enter ESTABLISHED state": `wnd` is the segment's, scaled as it should be. False: refused, gone. */
bool qp_tcp_establish(struct qp_tcp_conn *c, const struct qp_tcp_seg *s, uint32_t wnd);

/* reass.c: 3.10.7.4, seventh. The segment lies in the window and has text or FIN. */
void qp_tcp_text_input(struct qp_tcp_conn *c, struct qp_tcp_seg *s);
unsigned qp_tcp_sack_blocks(const struct qp_tcp_conn *c, struct qp_tcp_sack *blocks, unsigned max);
void qp_tcp_reass_clear(struct qp_tcp_conn *c);

/* ecn.c */
/* The flags of our SYN or SYN-ACK. */
uint8_t qp_tcp_ecn_syn_flags(struct qp_tcp_conn *c);
/* The peer's SYN, first or again; its SYN-ACK. `flags`: RTE_TCP_*_FLAG. */
void qp_tcp_ecn_syn_input(struct qp_tcp_conn *c, uint8_t flags);
void qp_tcp_ecn_syn_ack_input(struct qp_tcp_conn *c, uint8_t flags);
/* An acceptable segment: marks and CWR, if it has text. */
void qp_tcp_ecn_text(struct qp_tcp_conn *c, const struct qp_tcp_seg *s);
/* After snd_una has moved; true: the ACK tells of a mark. */
bool qp_tcp_ecn_heard(struct qp_tcp_conn *c, const struct qp_tcp_seg *s);
/* What such an ACK calls for. */
void qp_tcp_ecn_congested(struct qp_tcp_conn *c);
/* cwnd has been reduced: CWR is owed. */
void qp_tcp_ecn_reduced(struct qp_tcp_conn *c);
/* True: for what is in flight it has been. */
bool qp_tcp_ecn_reduced_already(const struct qp_tcp_conn *c);

/* fastopen.c */
/* Writes the client's cookie of now. */
void qp_tcp_fastopen_cookie(struct qp_tcp *tcp, const struct qp_flow *flow, struct qp_tcp_options *o);
/* A SYN made `c`: accept() and its text, if it may. False: gone; else the SYN-ACK is the caller's. */
bool qp_tcp_fastopen_syn(struct qp_tcp_listener *l, struct qp_tcp_conn *c, struct qp_tcp_seg *s);
/* The handshake of a PENDING one is done. */
void qp_tcp_fastopen_established(struct qp_tcp_conn *c, const struct qp_tcp_seg *s, uint32_t wnd);
/* `c` was reset. Nothing unless PENDING. */
void qp_tcp_fastopen_reset(struct qp_tcp_conn *c);
/* `c` is PENDING no longer, if it was. */
void qp_tcp_fastopen_end(struct qp_tcp_conn *c);

/* usertimeout.c */
/* The limit that is in force. */
uint32_t qp_tcp_user_timeout_s(const struct qp_tcp_conn *c);
/* The silence before keep-alives; 0: none. */
uint64_t qp_tcp_keepalive_ns(const struct qp_tcp_conn *c);
/* An acceptable segment's options. */
void qp_tcp_uto_input(struct qp_tcp_conn *c, const struct qp_tcp_options *o);
/* Writes ours. */
void qp_tcp_uto_options(const struct qp_tcp_conn *c, struct qp_tcp_options *o);
/* The next segment tells it, if the configuration has the option. */
void qp_tcp_uto_offer(struct qp_tcp_conn *c);

/* xmit.c */
/* The connection's, made if need be; NULL without memory. */
struct qp_tcp_xmit *qp_tcp_xmit(struct qp_tcp_conn *c);
/* Nothing is queued, in flight or awaited: gives it back. */
void qp_tcp_xmit_rest(struct qp_tcp_conn *c);
/* Gives it back with all that is queued. */
void qp_tcp_xmit_drop(struct qp_tcp_conn *c);

/* sendq.c */
/* Appends up to `len` payload bytes at (m, off) to a frame; returns how many: fewer without mbufs. */
uint32_t qp_tcp_clone_payload(struct qp_tcp *tcp, struct rte_mbuf *frame, struct rte_mbuf *m,
	uint32_t off, uint32_t len);
/* A record for [snd_nxt, snd_nxt + len) plus FIN, at the unsent position, which moves on. */
struct qp_tcp_rec *qp_tcp_rec_push(struct qp_tcp_conn *c, struct qp_tcp_rec *r, uint32_t len, bool fin);
/* Splits `r` at `seq`; false without memory. `r` keeps the front. */
bool qp_tcp_rec_split(struct qp_tcp_conn *c, struct qp_tcp_rec *r, uint32_t seq);
void qp_tcp_rec_timed_append(struct qp_tcp_conn *c, struct qp_tcp_rec *r);
void qp_tcp_rec_timed_remove(struct qp_tcp_conn *c, struct qp_tcp_rec *r);
void qp_tcp_rec_unlink(struct qp_tcp_conn *c, struct qp_tcp_rec *r);
/* Cuts the acknowledged front off `r`: payload before `seq`. */
void qp_tcp_rec_advance(struct qp_tcp_conn *c, struct qp_tcp_rec *r, uint32_t seq);
/* Where the unsent part starts now. */
void qp_tcp_unsent(struct qp_tcp_conn *c, struct rte_mbuf **m, uint32_t *off);

/* segment.c */
/* Payload bytes a wire packet carries now. */
uint32_t qp_tcp_mss(const struct qp_tcp_conn *c);
/* The most payload a frame carries: whole segments, as many as the port takes at once. */
uint32_t qp_tcp_frame_payload_max(const struct qp_tcp_conn *c, uint32_t mss);
/* What the receive buffer still takes, as far as the window field can say it. */
uint32_t qp_tcp_rcv_space(const struct qp_tcp_conn *c);
/* A frame of payload [seq, seq + len) from (m, off), and FIN; returns the bytes sent, -1 for no mbuf. */
int64_t qp_tcp_send_payload(struct qp_tcp_conn *c, uint32_t seq, struct rte_mbuf *m, uint32_t off,
	uint32_t len, bool fin);
/* Memory ran out: output is tried again a little later. */
void qp_tcp_retry_later(struct qp_tcp_conn *c);
void qp_tcp_send_ack(struct qp_tcp_conn *c);
/* An ACK that a segment out of place calls for, so many a second at most. */
void qp_tcp_limited_ack(struct qp_tcp_conn *c);
/* The same, counted as RFC 5961's challenge. */
void qp_tcp_challenge_ack(struct qp_tcp_conn *c);
/* False when the connection has had its answers for this second (RFC 5961, 7). */
bool qp_tcp_may_answer(struct qp_tcp_conn *c);
void qp_tcp_send_syn(struct qp_tcp_conn *c);
/* An empty segment with an old sequence number: the peer must answer with an ACK. */
void qp_tcp_send_probe(struct qp_tcp_conn *c);
/* Why we reset, for the counters. */
enum qp_tcp_rst {
	QP_TCP_RST_STRAY,     /* a segment of no connection */
	QP_TCP_RST_REFUSED,   /* nobody took it */
	QP_TCP_RST_ABORTED,   /* the application's wish */
	QP_TCP_RST_TIMEOUT,
	QP_TCP_RST_NO_MEMORY,
	QP_TCP_RST_CLOSED,    /* its listener, or all of us, goes */
};
void qp_tcp_count_rst(struct qp_tcp *tcp, enum qp_tcp_rst why);
void qp_tcp_send_rst(struct qp_tcp_conn *c, enum qp_tcp_rst why);

/* output.c */
/* Sends all that may go now: retransmissions, new data, FIN, a due ACK. Arms timers. */
void qp_tcp_output(struct qp_tcp_conn *c);
/* Sends (again) `r`, or its front of at most `max` bytes; false without mbufs. */
bool qp_tcp_retransmit(struct qp_tcp_conn *c, struct qp_tcp_rec *r, uint32_t max);
/* One frame of new data, cwnd or not (a loss probe); false when nothing could go. */
bool qp_tcp_send_new(struct qp_tcp_conn *c, uint32_t max);

/* stall.c */
/* `c` has got its sender's state; loses it; is about to queue; its peer has acknowledged something. */
void qp_tcp_stall_begin(struct qp_tcp_conn *c);
void qp_tcp_stall_end(struct qp_tcp_conn *c);
void qp_tcp_stall_queued(struct qp_tcp_conn *c);
void qp_tcp_stall_acked(struct qp_tcp_conn *c);
/* The peer has kept its window closed for zero_window_s. */
bool qp_tcp_stalled_too_long(const struct qp_tcp_conn *c);
/* Mbufs are short: ends one peer that takes next to nothing, if there is any. */
void qp_tcp_stall_relieve(struct qp_tcp *tcp);

/* credit.c: how many of the acknowledged bytes may grow cwnd */
uint32_t qp_tcp_credit(struct qp_tcp_conn *c, uint32_t acked);

/* sources.c */
bool qp_tcp_sources_init(struct qp_tcp *tcp);
void qp_tcp_sources_release(struct qp_tcp *tcp);
/* False: this source has all the connections that it may have. */
bool qp_tcp_source_take(struct qp_tcp *tcp, const struct qp_flow *flow);
void qp_tcp_source_give(struct qp_tcp *tcp, const struct qp_flow *flow);

/* pmtu.c */
/* ICMP says that the path takes no more than `mtu`, at least a link's minimum; `seq` is in flight. */
void qp_tcp_pmtu_claim(struct qp_tcp_conn *c, uint32_t mtu, uint32_t seq);
/* Before a retransmission timeout is dealt with. */
void qp_tcp_pmtu_timeout(struct qp_tcp_conn *c);
/* `r` up to `end` has arrived. */
void qp_tcp_pmtu_delivered(struct qp_tcp_conn *c, const struct qp_tcp_rec *r, uint32_t end);
/* `r` is about to be sent again or split. */
void qp_tcp_pmtu_touched(struct qp_tcp_conn *c, const struct qp_tcp_rec *r);
/* After ranges were marked lost: was the probe among them, and alone? */
void qp_tcp_pmtu_judge(struct qp_tcp_conn *c);
enum qp_tcp_probe {
	QP_PROBE_NONE, /* go on as always */
	QP_PROBE_SENT, /* a larger segment of new data has gone */
	QP_PROBE_WAIT, /* one is to go as soon as cwnd has room: nothing else meanwhile */
};
enum qp_tcp_probe qp_tcp_pmtu_probe(struct qp_tcp_conn *c, uint32_t unsent);
/* The first hop's MTU is another one than that of tcb.flow.l2, which becomes *l2. */
void qp_tcp_pmtu_link(struct qp_tcp_conn *c, const struct qp_l2 *l2);

/* reply.c: answers without a connection */
struct qp_tcp_reply {
	const struct qp_flow *flow;
	uint32_t seq, ack;
	uint8_t flags;
	uint16_t wnd;              /* as in the header */
	struct qp_tcp_options opt; /* nothing set: no options */
};
void qp_tcp_send_reply(struct qp_tcp *tcp, const struct qp_tcp_reply *r);
/* 3.10.7.1: what a segment for nobody gets. */
void qp_tcp_refuse(struct qp_tcp *tcp, const struct qp_tcp_seg *s);

/* rto.c */
void qp_tcp_rtt_sample(struct qp_tcp_conn *c, uint64_t rtt_ns);
void qp_tcp_rto_backoff(struct qp_tcp_conn *c);
void qp_tcp_rto_reset(struct qp_tcp_conn *c);

/* rack.c, recovery.c: what the timers need of them; the rest is in recovery.h */
void qp_tcp_recovery_rto(struct qp_tcp_conn *c);
void qp_tcp_recovery_reo(struct qp_tcp_conn *c);
void qp_tcp_recovery_tlp(struct qp_tcp_conn *c);
/* When the loss probe is due if one may be armed now; 0: none. */
uint64_t qp_tcp_tlp_due(const struct qp_tcp_conn *c);
/* All in flight above the new path MTU counts as lost, without congestion (RFC 1191, 6.4). */
void qp_tcp_recovery_mtu(struct qp_tcp_conn *c);

/* rate.c */
/* Nothing more to send, for now: what is measured from here on says little of the path. */
void qp_tcp_app_limited(struct qp_tcp_conn *c);
/* `r` goes out now, in its place on the lists. */
void qp_tcp_rate_sent(struct qp_tcp_conn *c, struct qp_tcp_rec *r);
/* Bytes that a frame should have at most, for the pace. */
uint32_t qp_tcp_pacing_quantum(const struct qp_tcp_conn *c);
/* The pace forbids a frame now; then a timer is set for it. */
bool qp_tcp_pacing_holds(struct qp_tcp_conn *c);
void qp_tcp_pacing_sent(struct qp_tcp_conn *c, uint32_t bytes);

/* timers.c */
void qp_tcp_timer_set(struct qp_tcp_conn *c, enum qp_tcp_timer which, uint64_t at_ns);
void qp_tcp_timer_clear(struct qp_tcp_conn *c, enum qp_tcp_timer which);
/* When it is due; UINT64_MAX: never. */
uint64_t qp_tcp_timer_due_ns(const struct qp_tcp_conn *c, enum qp_tcp_timer which);
void qp_tcp_on_timer(struct qp_timer *t, uint64_t now_ns);
/* Sets the retransmission timer as what is in flight and queued calls for; restart: RFC 6298, 5.3. */
void qp_tcp_arm_rtx(struct qp_tcp_conn *c, bool restart);

/* timewait.c */
/* `c` becomes a TIME-WAIT; its memory goes the way of qp_tcp_conn_drop. */
void qp_tcp_time_wait(struct qp_tcp_conn *c);
/* True: a new life of the port pair may begin with this SYN; `tw` is gone, *iss_floor is set. */
bool qp_tcp_tw_input(struct qp_tcp *tcp, struct qp_tcp_tw *tw, struct qp_tcp_seg *s, uint32_t *iss_floor);
void qp_tcp_tw_free(struct qp_tcp *tcp, struct qp_tcp_tw *tw);
void qp_tcp_tw_on_timer(struct qp_timer *t, uint64_t now_ns);
/* PAWS (RFC 7323, 5.3): is TSval older than TS.Recent, which is still valid? */
bool qp_tcp_paws_old(uint32_t tsval, uint32_t ts_recent, uint32_t ts_recent_s, uint64_t now_ns);

#define QP_TCP_COUNT(tcp, field) ((tcp)->counters.field++)

#endif
