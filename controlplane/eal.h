/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_EAL_H
#define QP_CONTROLPLANE_EAL_H

#include <stdbool.h>

#include "common/error.h"

/*
 * The control plane as EAL secondary: maps the instance's shared memory, polls
 * nothing. Once a process. Main thread.
 */

/* The port owner of `instance` is ready. */
int qp_eal_attach(const char *instance, struct qp_errmsg *msg);
/* Nothing of the memory may be touched after it. Harmless when not attached. */
void qp_eal_detach(void);
bool qp_eal_attached(void);

#endif
