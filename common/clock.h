/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_CLOCK_H
#define QP_COMMON_CLOCK_H

#include <stdint.h>
#include <time.h>

/* The monotonic clock, the same in all processes of this host; never 0. Any thread, no system call. */
static inline uint64_t
qp_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#endif
