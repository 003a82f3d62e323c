/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_TCP_SEQ_H
#define QP_DATAPLANE_TCP_SEQ_H

#include <stdbool.h>
#include <stdint.h>

/* Sequence numbers compare modulo 2^32 (RFC 9293, 3.4); timestamps too (RFC 7323, 5.2). */

static inline bool
seq_lt(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

static inline bool
seq_leq(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) <= 0;
}

static inline uint32_t
seq_max(uint32_t a, uint32_t b)
{
	return seq_lt(a, b) ? b : a;
}

static inline uint32_t
seq_min(uint32_t a, uint32_t b)
{
	return seq_lt(a, b) ? a : b;
}

/* Of unsigned values of any width. */

static inline uint64_t
qp_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t
qp_max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

#endif
