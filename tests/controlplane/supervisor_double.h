/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_CONTROLPLANE_SUPERVISOR_DOUBLE_H
#define QP_TESTS_CONTROLPLANE_SUPERVISOR_DOUBLE_H

#include "controlplane/admin.h"

/*
 * The supervisor as far as the private API looks at it: one data plane, which
 * drains already. Linked in the real one's place.
 */
struct supervisor_double {
	struct qp_generations generations;
	struct qp_generation gen; /* serves */
	uint32_t told_to_end; /* the last server id that was; 0: none */
};

extern struct supervisor_double supervisor_double;

/* Before the first request. */
void supervisor_double_begin(void);
/* struct qp_admin's function: nothing was counted. */
void supervisor_double_metrics(void *ctx, struct qp_metrics *out);

#endif
