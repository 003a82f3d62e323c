/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TCP_EAL_H
#define QP_TESTS_TCP_EAL_H

/* Is this a build with AddressSanitizer? */
#ifdef __has_feature /* clang's way to say it */
#if __has_feature(address_sanitizer)
#define TEST_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define TEST_ASAN 1
#endif
#ifndef TEST_ASAN
#define TEST_ASAN 0
#endif

struct rte_mempool;

/* An EAL without hugepages, files or devices; once a process. Aborts on failure. */
void test_eal_init(void);
/* A pool of its own name; `room` as for rte_pktmbuf_pool_create. Aborts on failure. */
struct rte_mempool *test_pool(const char *name, unsigned n, unsigned room);

#endif
