/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TCP_SIMPEER_H
#define QP_TESTS_TCP_SIMPEER_H

#include "tests/tcp/simnet.h"

/* Segments of a test's own peer, as frames and back. */
struct sim_seg {
	uint8_t flags;
	uint32_t seq, ack;
	uint16_t wnd, urgent;
	struct qp_tcp_options opt;
	const uint8_t *junk;     /* options as bytes, in place of `opt`; junk_len a multiple of 4 */
	uint32_t junk_len;
	const uint8_t *data;     /* in a parsed one: in the frame */
	uint32_t len;
};

/* False: not TCP, or options that nobody can read. */
bool sim_peer_parse(const uint8_t *frame, uint32_t len, struct sim_seg *s);
/* From one port to the other, over the line. */
void sim_peer_send(struct sim_host *h, uint16_t from_port, uint16_t to_port, const struct sim_seg *s);

/*
 * The simplest TCPs that RFC 9293 lets be: no options but the MSS, nothing out
 * of order is kept, all is sent again from the first missing byte after a
 * fixed time. A window of one segment is stop-and-wait, of more go-back-N.
 */
struct sim_simple {
	struct sim_host *h;
	uint16_t port, peer_port;
	bool active;             /* it opens */
	uint16_t mss;
	uint32_t window;         /* segments in flight at most */
	uint64_t total, seed_out, seed_in;
	/* Sequence numbers count from each side's SYN, which is 0. */
	uint32_t iss, irs;
	uint64_t una, nxt, rcv_nxt;
	uint32_t peer_wnd;
	bool got_syn, got_fin, was_reset, wrong;
	uint64_t received;
};

/* Takes the host over; opens if it is active. */
void sim_simple_start(struct sim_simple *p);
/* All is sent and acknowledged, and the other end's FIN is here. */
bool sim_simple_done(const struct sim_simple *p);

#endif
