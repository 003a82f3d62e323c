/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_FUZZ_TCP_WORLD_H
#define QP_TESTS_FUZZ_TCP_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/tcp/internal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

/*
 * One stack with one connection, an application above it, and a peer whose
 * segments the input decides. What the stack sends is looked at as the wire
 * shows it; what must hold of each frame whatever the peer does is checked
 * here (fuzz_world_new tells what). Payload is a pattern by position, both
 * ways, so that a byte out of its place is seen.
 */

/* The byte of a stream at `seq`. */
static inline uint8_t
fuzz_pattern(uint32_t seq)
{
	return (uint8_t)(seq * 2654435761u >> 24);
}

/* A frame that the stack sent. */
struct fuzz_frame {
	uint32_t seq, ack, len;
	uint32_t wnd;              /* as in the header */
	uint32_t segsz;            /* payload bytes of its largest wire packet */
	uint32_t edge;             /* ack + the window in bytes */
	uint8_t flags;
	struct qp_tcp_options opt;
};

/* A segment that the peer sends. */
struct fuzz_segment {
	uint32_t seq, ack, len;
	uint16_t wnd;
	uint16_t segsz;            /* non-zero: a super-segment of such pieces */
	uint16_t each;             /* payload bytes an mbuf; 0: as many as fit */
	uint8_t flags;
	uint8_t differ;            /* XORed with each payload byte */
	unsigned noptions;
	uint8_t options[QP_TCP_OPTIONS_MAX];
};

struct fuzz_setup {
	bool v6;
	bool ts, sack, wscale;     /* what the peer's SYN offers */
	uint16_t mss;              /* … and its MSS; 0: 1460 */
	uint32_t rcv_buf_bytes;
	uint32_t syn_backlog;      /* 0: SYN cookies at once */
};

struct fuzz_world {
	struct fuzz_setup setup;
	struct qp_tcp *tcp;
	struct qp_wheel *wheel;
	struct qp_flow flow;

	/* The application. */
	struct qp_tcp_conn *c;     /* NULL: none */
	uint32_t rcv_seq;          /* the next byte it gets */
	uint32_t held;             /* not consumed yet */
	uint32_t queued;           /* bytes given to send */
	bool fin;                  /* receive_end() was called */
	bool greedy;               /* consumes at once */
	bool close_on_fin, abort_on_text; /* calls from within callbacks */
	unsigned lives, ends;      /* connections accepted or connected; ended() calls */
	enum qp_tcp_end why;

	/* What the wire has shown. */
	uint32_t iss;              /* the stack's */
	uint32_t seen;             /* behind the farthest that the stack sent */
	uint32_t acked;            /* the stack's last ACK */
	uint32_t edge;             /* the farthest right edge that it offered */
	uint32_t peer_edge;        /* the farthest that the peer offered */
	bool offered;              /* … since the last SYN */
	uint32_t tsval;            /* the stack's last timestamp */
	bool acking;               /* acked, edge are set */
	unsigned frames, resets;   /* sent so far */

	/* A target's own; NULL: none. */
	void (*on_frame)(struct fuzz_world *w, const struct fuzz_frame *f, const struct rte_mbuf *m);
	/* Instead of the comparison with the pattern at rcv_seq. */
	void (*on_text)(struct fuzz_world *w, const struct rte_mbuf *chain);
	void *ctx;
};

/*
 * A world in which nothing has happened. From now on each frame's sizes, its
 * options, its payload, what it acknowledges and what it offers (no window
 * shrinks) and that it lies in the peer's window are checked.
 */
void fuzz_world_new(struct fuzz_world *w, const struct fuzz_setup *setup);
/* Frees the stack; no mbuf is left. */
void fuzz_world_free(struct fuzz_world *w);

/* The connection in the table, as far as it has such numbers; state CLOSED: none. */
struct fuzz_numbers {
	uint8_t state;             /* enum qp_tcp_state */
	bool ts;
	uint32_t iss, snd_una, snd_nxt, snd_max_wnd;
	uint32_t irs, rcv_nxt, rcv_adv;
	uint32_t tsval, ts_recent; /* what a peer would echo, and what it last sent */
};
void fuzz_world_numbers(struct fuzz_world *w, struct fuzz_numbers *n);

/* Adds the options that an honest peer would have there: timestamps. */
void fuzz_world_timestamp(struct fuzz_world *w, struct fuzz_segment *s);
void fuzz_world_options(struct fuzz_segment *s, const struct qp_tcp_options *o);
/* A segment arrives, without a flush. False: no mbufs. */
bool fuzz_world_input(struct fuzz_world *w, const struct fuzz_segment *s);
/* The next segment of an honest peer: in order, acknowledging all; `flags` beside ACK. */
void fuzz_world_honest(struct fuzz_world *w, uint8_t flags, uint32_t len, uint16_t wnd);
/* End of a burst: output, and the stack's own invariants. */
void fuzz_world_flush(struct fuzz_world *w);
void fuzz_world_wait(struct fuzz_world *w, uint32_t ms);

void fuzz_world_send(struct fuzz_world *w, uint32_t len);
void fuzz_world_consume(struct fuzz_world *w, uint32_t len);

/* The peer's SYN or SYN-ACK with the setup's options; seq is its ISN. */
#define FUZZ_PEER_ISS 0xffffff00u /* the stream crosses zero early */
void fuzz_world_syn(struct fuzz_world *w, uint8_t flags, uint16_t wnd);
void fuzz_world_connect(struct fuzz_world *w);
/* To ESTABLISHED. */
void fuzz_world_establish(struct fuzz_world *w, bool active, uint16_t wnd);

struct rte_mbuf *fuzz_world_mbuf(void);

#endif
