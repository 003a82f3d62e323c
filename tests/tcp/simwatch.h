/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TCP_SIMWATCH_H
#define QP_TESTS_TCP_SIMWATCH_H

#include <stdbool.h>
#include <stdint.h>

struct sim_host;
struct qp_packet;

#define SIM_WATCHES 128

/* What one host's frames have shown of one connection, and what of them arrived. */
struct sim_way {
	bool seen;             /* its SYN */
	uint32_t iss;
	bool scales;           /* it offered a window scale: */
	uint8_t wscale;
	uint16_t mss;          /* that it announced */
	bool ts, sack;         /* that it offered */
	uint32_t sent_end;     /* behind the last that it sent */
	bool acked;            /* it sent an ACK: */
	uint32_t ack, edge;    /* the latest, and the farthest window edge */
	uint32_t tsval;
	bool ts_known;
	/* At the other host: */
	bool arrived;
	uint32_t arrived_end;
	uint32_t heard_ack, heard_edge; /* valid when `heard` */
	bool heard;
};

/* One connection as a wiretap sees it. */
struct sim_watch {
	bool used;
	bool unsure;           /* a cookie and a SYN-ACK with state went out: the peer has its choice */
	uint16_t port_be[2];   /* of each host */
	struct sim_way way[2]; /* by its sender */
};

/*
 * A frame of `h`'s stack, before the line: what must never be sent breaks the
 * simulation (sim_breaks). RFC 9293, 3.8.6 and others, see each check.
 */
void sim_watch_sent(struct sim_host *h, const uint8_t *frame, uint32_t len, uint16_t segsz);
/* A frame that `h` takes next; its checksums are right. */
void sim_watch_arrives(struct sim_host *h, const uint8_t *frame, uint32_t len, const struct qp_packet *pkt);
/* The application of `h` resets from here on to sim_watch_quiet. */
void sim_watch_resets(struct sim_host *h);
void sim_watch_quiet(struct sim_host *h);
/* The stack says that it gave a connection up: a reset that it sent is explained. */
void sim_watch_gave_up(struct sim_host *h);
/* After each step. */
void sim_watch_settle(struct sim_host *h);

/* A line like tcpdump's, with relative sequence numbers, to stderr. */
void sim_trace(struct sim_host *from, const uint8_t *frame, uint32_t len, const char *fate);

#endif
