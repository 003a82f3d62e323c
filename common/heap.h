/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_HEAP_H
#define QP_COMMON_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What this process has from malloc, and how much it may have. Counted at
 * malloc itself (heap_malloc.c), so that wolfSSL's, ngtcp2's and every other
 * library's share is in it; exact, in the bytes that malloc really gives
 * (malloc_usable_size). Not in it: thread stacks, hugepages, guarded memory of
 * libsodium. A program that does not link heap_malloc.c counts nothing: in
 * use is 0, and no budget is ever reached.
 *
 * Any thread. A budget is no wall: malloc goes on giving. Who is about to begin
 * something that lasts (a tunnel, a connection, a request) asks first, and
 * refuses it in its own words.
 */

enum qp_heap_level {
	QP_HEAP_ROOM,
	QP_HEAP_TIGHT, /* seven eighths are in use: no new tunnels; an eighth is for those that are there */
	QP_HEAP_FULL,  /* the budget is reached: no new connections either */
};

/* Bytes in use now. */
uint64_t qp_heap_in_use(void);
/* Times that malloc had none. */
uint64_t qp_heap_failures(void);
/* `bytes` 0: none. May change at any time. */
void qp_heap_set_budget(uint64_t bytes);
uint64_t qp_heap_budget(void);
enum qp_heap_level qp_heap_level(void);
/* Says so in the log: the first time, and once a minute while it lasts. `what`: what is refused. */
void qp_heap_log_refusal(const char *what, uint64_t now_ns);

/* For heap_malloc.c, and who maps memory by himself: `bytes` more, or less, are in use. */
void qp_heap_count(int64_t bytes);
void qp_heap_count_failure(void);

#endif
