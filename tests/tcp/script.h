/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TCP_SCRIPT_H
#define QP_TESTS_TCP_SCRIPT_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/tcp/internal.h"

/*
 * One stack and a peer that is a script. Segments are literals:
 *
 *   FLAGS SEQ[+LEN] [ack N] [win N] [mss N] [ws N] [sackok] [ts VAL/ECR] [sack A-B …] [tos N]
 *     [tfo COOKIE] [uto SECONDS]
 *
 * FLAGS: letters of S A F R P U, E and W for ECE and CWR ("." for none). Sequence numbers count from each
 * side's initial one (its SYN is 0), windows are as in the header. In an
 * expectation, P and whatever is not named is not looked at; flags, SEQ and
 * LEN always are. Timestamps are absolute for the peer's, ignored where "_".
 * COOKIE: "ask" for an empty one, "good" for the last that the stack gave, "bad" for another.
 */

struct script {
	uint64_t now_ns;
	struct qp_wheel *wheel;
	struct qp_tcp *tcp;
	struct qp_tcp_listener *listener;
	struct qp_tcp_config cfg;
	bool v6;
	uint8_t mem_level;       /* enum qp_mem_level */
	uint16_t link_mtu;       /* the peer's frames carry the classifier's mark of this; 0: none */
	bool same_ip;            /* the peer claims our address */
	uint16_t peer_port, port;
	uint8_t peer_host;       /* other peers: the address's last byte; 0: the usual one */
	bool iss_known;
	uint32_t iss;            /* the stack's */
	uint8_t cookie[8];       /* the last that it gave for Fast Open */
	uint32_t last_tsval;     /* of the stack's last segment */
	struct rte_mbuf *out[256];
	unsigned out_head, out_tail;
	/* What the application saw. */
	struct qp_tcp_conn *c;
	bool refuse;             /* answer accept() so */
	bool forbid;             /* answer may_connect() so */
	bool hold;               /* do not consume what is received */
	unsigned asked, accepted, connected, ends;
	uint64_t received, acked;
	bool wrong;              /* a received byte was not what the peer's pattern says, or none was there */
	bool ended;
	enum qp_tcp_end why;
};

/* EAL, pools: the suite's .init. */
void script_suite_start(void);

/* The default configuration, with buffers of 1 MiB: the scripts' window scale is 5. */
void script_config(struct qp_tcp_config *cfg);

/* A stack that listens on port 80. */
void script_open(struct script *t);
/* The same with another configuration, set in t->cfg by script_config and then the caller. */
void script_open_cfg(struct script *t);
/* Closes; fails the test when an mbuf or a record is left. */
void script_close(struct script *t);

/* A segment arrives from the peer; then the worker flushes. */
void script_in(struct script *t, const char *segment);
/* The same without the flush: part of a burst. */
void script_in_burst(struct script *t, const char *segment);
void script_flush(struct script *t);
/* As script_in_burst, an empty segment, without the literal's cost: for a million of them. */
void script_raw(struct script *t, uint8_t flags, uint32_t seq, uint32_t ack);
/* As one super-segment of pieces of `segsz` bytes. */
void script_in_lro(struct script *t, const char *segment, uint16_t segsz);
/* The stack's next segment is this. */
void script_out(struct script *t, const char *segment, int line);
/* The stack has sent nothing more. */
void script_quiet(struct script *t, int line);
/* Time passes in steps of 1 ms. */
void script_wait_ms(struct script *t, uint32_t ms);
/* Time passes until the stack sends something; how long that took. */
uint32_t script_until_sent(struct script *t, uint32_t at_most_ms);
/* The stack's next segment, whatever it is: where it starts and how much it carries; false: none. */
bool script_take(struct script *t, uint32_t *seq, uint32_t *len);
/* Throws away what was sent. */
void script_ignore(struct script *t);

/* Handshake in 20 ms, with MSS 1460, SACK, timestamps (peer's clock at 100) and scale 7. */
void script_establish(struct script *t);
/* The same without any option but the MSS; the peer's window is `win`. */
void script_establish_plain(struct script *t, uint16_t win);
/* The receive window as it is on a path that has shown to be worth all of it. */
void script_wide(struct script *t);
/* Active open up to the SYN's departure. */
void script_connect(struct script *t);

/* The application sends `n` bytes of pattern and the worker flushes. */
void script_send(struct script *t, uint32_t n);
void script_consume(struct script *t, uint32_t n);
/* An ICMP error that quotes our segment at sequence number `seq`. */
void script_icmp(struct script *t, uint8_t type, uint8_t code, uint16_t mtu, uint32_t seq);

#define IN(s)      script_in(&t, s)
#define BURST(s)   script_in_burst(&t, s)
#define OUT(s)     script_out(&t, s, __LINE__)
#define QUIET()    script_quiet(&t, __LINE__)
#define WAIT_MS(n) script_wait_ms(&t, n)

#endif
