/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service manager's watchdog. The sign of life is a timer of the loop and
 * nothing else's, so that a loop that hangs is found. Loop thread.
 */
#include "controlplane/watchdog.h"

#include <stdint.h>
#include <systemd/sd-daemon.h>

static void
on_timer(void *ctx)
{
	struct qp_watchdog *w = ctx;

	sd_notify(0, "WATCHDOG=1");
	qp_loop_timer_set(w->loop, &w->timer, w->every_ms);
}

void
qp_watchdog_start(struct qp_watchdog *w, struct qp_loop *loop)
{
	uint64_t usec = 0;

	*w = (struct qp_watchdog) {.loop = loop, .timer = {.fire = on_timer, .ctx = w}};
	if (sd_watchdog_enabled(0, &usec) <= 0)
		return;
	w->every_ms = (unsigned)(usec / 2000u);
	if (w->every_ms == 0)
		w->every_ms = 1;
	on_timer(w);
}

void
qp_watchdog_stop(struct qp_watchdog *w)
{
	if (w->loop != NULL)
		qp_loop_timer_cancel(w->loop, &w->timer);
}
