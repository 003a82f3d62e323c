/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notices that the system's clock was set: it is compared with the one that
 * counts from the boot on, sleep included, and that nobody can set. Any thread.
 */
#include "controlplane/wallclock.h"

#include <time.h>

static uint64_t
system_up_time(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec;
}

uint64_t
qp_wallclock_now(struct qp_wallclock *w, int64_t *set_by)
{
	const uint64_t now = w->unix_time != NULL ? w->unix_time() : (uint64_t)time(NULL);
	const uint64_t up = w->up_time != NULL ? w->up_time()
		: w->unix_time != NULL ? now : system_up_time();
	const int64_t ahead = (int64_t)(now - up), by = w->known ? ahead - w->ahead : 0;

	*set_by = by > QP_WALLCLOCK_SLACK_S || by < -QP_WALLCLOCK_SLACK_S ? by : 0;
	if (!w->known || *set_by != 0)
		w->ahead = ahead;
	w->known = true;
	return now;
}

uint64_t
qp_wallclock_moved(uint64_t date, int64_t by)
{
	return by < 0 && date < (uint64_t)-by ? 0 : date + (uint64_t)by;
}
