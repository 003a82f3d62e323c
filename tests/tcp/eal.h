/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TCP_EAL_H
#define QP_TESTS_TCP_EAL_H

struct rte_mempool;

/* An EAL without hugepages, files or devices; once a process. Aborts on failure. */
void test_eal_init(void);
/* A pool of its own name; `room` as for rte_pktmbuf_pool_create. Aborts on failure. */
struct rte_mempool *test_pool(const char *name, unsigned n, unsigned room);

#endif
