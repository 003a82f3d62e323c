/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TOOLS_PATTERN_H
#define QP_TESTS_TOOLS_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Endless pseudo-random byte streams, one for each seed, that can be made and
 * checked from any offset: a connection needs no copy of what it sent.
 */

/* One step of splitmix64: well-mixed 64 bits for each value. */
uint64_t pattern_mix(uint64_t value);

/* Writes bytes offset … offset + len - 1 of stream `seed`. */
void pattern_fill(uint64_t seed, uint64_t offset, uint8_t *buf, size_t len);

/* Whether `buf` holds these bytes. */
bool pattern_matches(uint64_t seed, uint64_t offset, const uint8_t *buf, size_t len);

#endif
