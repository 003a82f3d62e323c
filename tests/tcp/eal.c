/* SPDX-License-Identifier: Apache-2.0 */
/* The least EAL that gives tests mbuf pools: in memory, one process, no devices. */
#include "tests/tcp/eal.h"

#include <stdio.h>
#include <stdlib.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_mbuf.h>

#if TEST_ASAN
/* Criterion's runner leaks a little of its own now and then. */
const char *__lsan_default_suppressions(void);
const char *
__lsan_default_suppressions(void)
{
	return "leak:libcriterion";
}
#endif

void
test_eal_init(void)
{
	char *argv[] = {"test", "--no-huge", "-m", "192", "--no-pci", "--no-shconf",
		"--no-telemetry", "-l", "0", "--log-level", "error", NULL};

	if (rte_eal_init(sizeof(argv) / sizeof(argv[0]) - 1, argv) < 0) {
		fprintf(stderr, "EAL does not start: %s\n", rte_strerror(rte_errno));
		abort();
	}
}

struct rte_mempool *
test_pool(const char *name, unsigned n, unsigned room)
{
	struct rte_mempool *p = rte_pktmbuf_pool_create(name, n, 0, 0, room, SOCKET_ID_ANY);

	if (p == NULL) {
		fprintf(stderr, "no mbuf pool %s: %s\n", name, rte_strerror(rte_errno));
		abort();
	}
	return p;
}
