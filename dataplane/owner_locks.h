/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_OWNER_LOCKS_H
#define QP_DATAPLANE_OWNER_LOCKS_H

#include <stdbool.h>

#include "common/error.h"

/*
 * The locks in EAL's shared configuration that a process takes while it starts
 * EAL. One that dies with one of them would hold it for ever: DPDK's locks know
 * no owner. Main thread.
 */

/* Once EAL is there and before anybody else is: finds them. Without, nothing is ever repaired. */
int qp_owner_locks_find(const char *instance, struct qp_errmsg *msg);

/* Nobody holds one at this moment. */
bool qp_owner_locks_free(void);

/*
 * Nobody but this process's own threads can be within a lock now: takes away
 * what the dead hold. Returns how many locks were held; `names` lists them.
 * Needs 20 ms when there are any.
 */
unsigned qp_owner_locks_repair(char names[128]);

#endif
