/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_BENCH_PATTERN_H
#define QP_BENCH_PATTERN_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Payload that is made and checked from any offset at the speed of memcpy and
 * memcmp: one table of random bytes whose length is a prime, read round and
 * round from a place that the stream's seed says. Bytes that are lost, doubled
 * or of another stream are seen, unless moved by a multiple of the prime.
 */
#define QPB_PATTERN_PERIOD 65521u
#define QPB_PATTERN_RUN    16384u /* bytes that follow any place in one piece */

/* Once, before the lcores start; read only from then on. */
void qpb_pattern_init(void);

/* `qpb_pattern_at(...)[0 … QPB_PATTERN_RUN - 1]` is the stream from `offset` on. */
const uint8_t *qpb_pattern_at(uint64_t seed, uint64_t offset);
void qpb_pattern_fill(uint64_t seed, uint64_t offset, uint8_t *buf, uint32_t len);
bool qpb_pattern_matches(uint64_t seed, uint64_t offset, const uint8_t *buf, uint32_t len);

#endif
