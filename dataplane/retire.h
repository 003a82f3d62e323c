/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_RETIRE_H
#define QP_DATAPLANE_RETIRE_H

#include "common/ipc.h"

struct qp_tunnels;

/*
 * RETIRE: from now on tunnels are sent away, see retire.c, until none is left.
 * Again: the times that it says count. Owner: the tunnels' lcore.
 */
void qp_retire_begin(struct qp_tunnels *ts, const struct qp_msg_retire *m);
/* Before the tunnels are freed. */
void qp_retire_end(struct qp_tunnels *ts);

#endif
