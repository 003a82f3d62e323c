/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_PORT_WORLD_H
#define QP_TESTS_PORT_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "common/clock.h"

/*
 * Two hosts out of network namespaces that have no name and end with the test's
 * process: the gateway's (where the caller is afterwards), and a peer's. They
 * are joined by a veth pair with all offloads on: gw0 and out0.
 */
#define WORLD_GW4   "10.91.0.1"
#define WORLD_PEER4 "10.91.0.2"
#define WORLD_GW6   "fd91::1"
#define WORLD_PEER6 "fd91::2"

struct world {
	int gw_ns, peer_ns;
	char dir[64];            /* an empty folder for the test */
	char gw_link_local[64];  /* of gw0 */
};

/* Skips the running test with a message when it is not root's. Aborts on failure. */
void world_open(struct world *w);
void world_close(struct world *w);

/* Moves the calling thread. */
void world_enter_gw(const struct world *w);
void world_enter_peer(const struct world *w);

/* Runs a shell command in the current namespace; aborts when it fails. */
void world_run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Its output, to be freed. */
char *world_output(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Until `cond` holds, else a failed assertion after ten seconds. `step` runs between. */
#define world_wait_for(cond, step)                                                                 \
	do {                                                                                       \
		const uint64_t world_end = qp_now_ns() + 10000000000ull;                           \
		while (!(cond)) {                                                                  \
			cr_assert(qp_now_ns() < world_end, "still not: %s", #cond);                \
			step;                                                                      \
			nanosleep(&(struct timespec) {.tv_nsec = 1000000}, NULL);                  \
		}                                                                                  \
	} while (0)

#endif
