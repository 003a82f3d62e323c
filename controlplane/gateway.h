/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_GATEWAY_H
#define QP_CONTROLPLANE_GATEWAY_H

#include "controlplane/options.h"

/*
 * The gateway as a whole: brings all modules up in order, connects them, takes
 * them down in the reverse order. Main thread.
 */

/*
 * Runs the gateway until a signal or a failure. The process's exit status: 0
 * after a signal, 1 after a failure, which `msg` then tells. Nothing is left on
 * the host in either case.
 */
int qp_gateway_run(struct qp_options *o, struct qp_credentials *cred, struct qp_errmsg *msg);

#endif
