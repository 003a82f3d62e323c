/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_UDP_WORLD_H
#define QP_TESTS_UDP_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#include <rte_mbuf.h>

#include "dataplane/udp/internal.h"

/*
 * UDP forwards alone: the outside sends frames and sees what comes back as the
 * wire shows it; the QUIC streams are played here, by the letter of quic.h, so
 * that a test sees each byte written to them. The clock is the test's.
 */
#define UW_PORT 5353u    /* forwarded */
#define UW_POOL 4095u
#define UW_MS UINT64_C(1000000)

#define must(cond)                                                                                 \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #cond);   \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct qp_quic_conn {
	struct uw *w;
	unsigned streams_left;
	uint64_t consumed;
};

struct qp_quic_stream {
	struct uw *w;
	void *ctx;
	bool live, fin, aborted;
	uint64_t code;           /* of the abort */
	uint64_t consumed;
	uint64_t unsent;
	uint8_t *out;            /* all that was written */
	size_t out_len, out_cap;
};

/* A packet that left, super-segments cut. */
struct uw_packet {
	TAILQ_ENTRY(uw_packet) link;
	bool v6;
	uint8_t proto;
	struct qp_flow flow;     /* of whole datagrams and ICMP: ends as the gateway sees them */
	bool fragment, more, df;
	uint32_t off, id;
	uint32_t wire_bytes;     /* IP header included */
	uint32_t in_super;       /* datagrams that its frame held */
	size_t len;
	uint8_t data[];          /* behind the UDP header; of a fragment or ICMP, behind IP's */
};
TAILQ_HEAD(uw_packets, uw_packet);

struct uw {
	uint64_t now_ns;
	struct qp_wheel *wheel;
	struct rte_mempool *pool, *indirect;
	struct qp_udp_config cfg;
	struct qp_udp *udp;
	struct qp_worker_counters counters;
	struct qp_tunnels tunnels;
	struct qp_tunnel tunnel;
	struct qp_quic_conn conn;
	struct qp_quic_stream **stream;  /* in order of opening */
	unsigned nstreams, announced;
	uint32_t last_announced;
	uint8_t mem_level;
	uint16_t mtu;                    /* that frames from the outside carry; 0: none */
	bool segmentation;
	unsigned locals_gone, locals_refused;
	struct uw_packets sent;
	unsigned nsent, unclaimed;       /* frames that UDP did not take */
};

/* What a flow of a local forward is given; nobody looks into it here. */
#define UW_LOCAL ((struct qp_local_conn *)1)
/* A stream that the client has opened. */
struct qp_quic_stream *uw_stream(struct uw *w);

/* Once a process. */
void uw_init(void);
/* Settings may be changed before uw_start, which makes UW_PORT a forwarded port. */
struct uw *uw_new(void);
void uw_start(struct uw *w);
/* Ends the tunnel; every mbuf and every count of things that exist is given back. */
void uw_free(struct uw *w);
/*
 * The same, and begins anew: for who makes many worlds, since their tables take
 * long to make. w->udp->cfg and ->env may be changed then.
 */
void uw_reset(struct uw *w);
/* Time passes; timers fire. */
void uw_wait(struct uw *w, uint64_t ns);
/* The end of a worker's turn. */
void uw_flush(struct uw *w);

/* The outside. `peer`: which source port. */
struct qp_flow uw_flow(bool v6, uint16_t peer);
uint8_t uw_pattern(size_t i, unsigned salt);
/* A datagram of `len` pattern bytes; `segsz` non-zero: as a super-segment of such datagrams. */
void uw_datagram(struct uw *w, bool v6, uint16_t peer, size_t len, unsigned salt, uint16_t segsz);
/* UDP header with its checksum, and pattern payload: what IP would carry. `buf` holds len + 8. */
void uw_udp(uint8_t *buf, bool v6, uint16_t peer, size_t len, unsigned salt);
/* IP's part: a piece of a transport packet, or all of it (`off` 0, not `more`). */
struct uw_ip {
	bool v6;
	uint8_t proto;
	uint32_t id, off;
	bool more, header;       /* `header`: an IPv6 fragment header although it is whole */
};
struct rte_mbuf *uw_frame(struct uw *w, const struct uw_ip *ip, const void *data, size_t len);
/* A frame arrives; consumed. As the worker does it. */
void uw_input(struct uw *w, struct rte_mbuf *m);
/* The oldest packet that left; the caller frees it. NULL: none. */
struct uw_packet *uw_take(struct uw *w);
/* One's complement sum, folded, for checks of the code under test. */
uint16_t uw_sum(uint32_t sum, const uint8_t *p, size_t len);
/* Of source, destination, protocol and length. */
uint32_t uw_pseudo(bool v6, const struct qp_flow *f, uint8_t proto, size_t len);

/* The client. */
/* The n-th record on the stream, from 0; false: there are fewer. */
bool uw_record(const struct qp_quic_stream *s, unsigned nth, const uint8_t **data, size_t *len);
unsigned uw_records(const struct qp_quic_stream *s);
/* A record of pattern bytes to the outside. */
void uw_answer(struct uw *w, struct qp_quic_stream *s, size_t len, unsigned salt);
void uw_bytes(struct qp_quic_stream *s, const void *data, size_t len, bool fin);
/* All that was written is on its way. */
void uw_sent(struct qp_quic_stream *s);
/* … and acknowledged. */
void uw_acked(struct qp_quic_stream *s);
/* The client allows `n` more streams. */
void uw_allow(struct uw *w, unsigned n);

#endif
