/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TCP_CLOCK_H
#define QP_TESTS_TCP_CLOCK_H

#include <stdint.h>
#include <time.h>

/* The monotonic clock, for the tests that run in real time. */
static inline uint64_t
clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#endif
