/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_NIC_BLOCK_H
#define QP_COMMON_NIC_BLOCK_H

#include <stdbool.h>

#include "common/error.h"
#include "common/nic.h"

/*
 * The sources that nic mode keeps out. One writer, the control plane's loop
 * thread; readers are the workers, each for itself, without a lock: they look
 * again when the table changed meanwhile, and by its lengths know at once when
 * nothing is blocked.
 */

/* `addr` v4-mapped or IPv6; host bits do not count. There already: 0. QP_E_FULL, QP_E_INVAL. */
int qp_nic_block_add(struct qp_nic_blocked *b, const struct in6_addr *addr, unsigned prefix);
/* QP_E_NOTFOUND: not blocked as exactly this network. */
int qp_nic_block_remove(struct qp_nic_blocked *b, const struct in6_addr *addr, unsigned prefix);
/* Whether it is blocked as exactly this network. */
bool qp_nic_block_has(const struct qp_nic_blocked *b, const struct in6_addr *addr, unsigned prefix);
/* After a writer that was killed in the middle of a change: nothing is blocked. */
void qp_nic_block_clear(struct qp_nic_blocked *b);

bool qp_nic_block_find(const struct qp_nic_blocked *b, const struct in6_addr *addr);

/* Whether packets from there are dropped. */
static inline bool
qp_nic_blocked(const struct qp_nic_blocked *b, const struct in6_addr *addr)
{
	return __atomic_load_n(&b->n, __ATOMIC_RELAXED) != 0 && qp_nic_block_find(b, addr);
}

#endif
