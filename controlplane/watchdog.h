/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_WATCHDOG_H
#define QP_CONTROLPLANE_WATCHDOG_H

#include "controlplane/loop.h"

/*
 * Tells the service manager that the loop turns, twice in the time that it
 * waits (WatchdogSec). Embedded in its owner; all zero: none. Loop thread.
 */
struct qp_watchdog {
	struct qp_loop *loop;
	struct qp_loop_timer timer;
	unsigned every_ms;
};

/* Nothing happens when nobody watches. */
void qp_watchdog_start(struct qp_watchdog *w, struct qp_loop *loop);
/* Idempotent. */
void qp_watchdog_stop(struct qp_watchdog *w);

#endif
