/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_BENCH_REQUEST_H
#define QP_BENCH_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

/*
 * What an outside user asks of the service behind the tunnel, at the start of
 * each request and of each datagram, so that the two share no state but the
 * bytes on the wire. Big-endian, QPB_REQUEST_BYTES long, pattern bytes after it.
 *
 *   magic (4) "QPB1", flags (4), seed (8), request bytes after the header (8),
 *   answer bytes (8), stamp (8): handed back in a datagram's answer
 */
#define QPB_REQUEST_BYTES 40u
#define QPB_ENDLESS       UINT64_MAX /* until the user's FIN */

enum {
	QPB_ECHO = 1, /* the answer is the request's payload, as it comes */
};

struct qpb_request {
	uint32_t flags;
	uint64_t seed;
	uint64_t request_bytes, answer_bytes;
	uint64_t stamp;
};

/* Answers carry another pattern than requests. */
static inline uint64_t
qpb_answer_seed(uint64_t seed)
{
	return ~seed;
}

void qpb_request_put(const struct qpb_request *r, uint8_t out[QPB_REQUEST_BYTES]);
/* QP_E_PROTO when it is no such header. */
int qpb_request_get(struct qpb_request *r, const uint8_t in[QPB_REQUEST_BYTES]);

#endif
