/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_VERBOSE_H
#define QP_DATAPLANE_VERBOSE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rte_mbuf;

/*
 * Frames that the prompt shows (`set verbose`): a ring from a worker to the
 * main thread, in memory of the process. Single producer, single consumer; a
 * full ring costs what is shown, never a packet.
 */
#define QP_VERBOSE_ROWS 1024u /* a power of two */

struct qp_verbose_row {
	bool sent;                   /* else received */
	uint8_t l4_proto;            /* IP's; 0: not IP, or cut short */
	uint16_t burst;              /* frames of its burst; 0: not the first of it */
	uint16_t ether_type;
	uint16_t nb_segs;
	uint32_t length;
	uint64_t ol_flags;
	uint8_t dst[6], src[6];
};

struct qp_verbose {
	/* The worker's. Stored with release, loaded with acquire by the main thread. */
	_Atomic uint32_t tail __attribute__((aligned(64)));
	_Atomic uint64_t lost;       /* rows that found no room */
	/* The main thread's; the other way round. */
	_Atomic uint32_t head __attribute__((aligned(64)));
	uint64_t told_lost;
	struct qp_verbose_row row[QP_VERBOSE_ROWS] __attribute__((aligned(64)));
};

/* The worker's lcore: a burst as it came, or as it goes. */
void qp_verbose_burst(struct qp_verbose *v, bool sent, struct rte_mbuf *const *frames, uint16_t n);
/* The main thread: the next row; false: there is none. */
bool qp_verbose_next(struct qp_verbose *v, struct qp_verbose_row *out);
/* The main thread: how many were lost since it was asked last. */
uint64_t qp_verbose_lost(struct qp_verbose *v);
/* A row in testpmd's words, its burst's line before it if it is the first. */
#define QP_VERBOSE_TEXT 512u
void qp_verbose_text(const struct qp_verbose_row *r, unsigned port, unsigned queue, char *text, size_t cap);

#endif
