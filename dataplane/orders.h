/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_ORDERS_H
#define QP_DATAPLANE_ORDERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * What the prompt tells the workers: words in a line of their own, that change
 * only when somebody types. Writer: the main thread, which then rings the
 * doorbells. Readers: each worker, relaxed, once a turn. Life: the process's.
 */
struct qp_orders {
	_Atomic uint32_t stopped;   /* 1: packets are neither received nor sent, and no timer fires */
	_Atomic uint32_t burst;     /* frames taken and given at once, 1 … QP_BURST_MAX */
	_Atomic uint32_t verbose;   /* 1: received frames are shown, 2: sent ones, 3: both */
	_Atomic uint32_t ports_off; /* bit N: as stopped, for port N: worker N's TAP, or a dedicated one */
	_Atomic uint32_t engine;    /* nic mode: enum qp_nic_engine */
} __attribute__((aligned(64)));

#define QP_VERBOSE_RX    1u
#define QP_VERBOSE_TX    2u
#define QP_BURST_MAX     512u
#define QP_BURST_DEFAULT 32u

static inline uint32_t
qp_order(const _Atomic uint32_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

#endif
