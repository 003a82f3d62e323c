/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_GATEWAY_H
#define QP_CONTROLPLANE_GATEWAY_H

#include "controlplane/options.h"

/*
 * The gateway as a whole: brings all modules up in order, connects them, takes
 * them down in the reverse order. Main thread.
 */

/* The process is to become the program on the disk (controlplane/reexec.h): all is ready for it. */
#define QP_GATEWAY_REPLACED (-1)
/*
 * A program that is tried out before that gets these words behind its own: this, the
 * number of the descriptor that it answers to (behind it is the private API's), the instance.
 */
#define QP_PROBE_WORD "--probe-fd"

/*
 * Runs the gateway until a signal or a failure. The process's exit status: 0
 * after a signal, 1 after a failure, which `msg` then tells; nothing is left on
 * the host in either case, unless what was to be taken over lives. Or QP_GATEWAY_REPLACED.
 */
int qp_gateway_run(struct qp_options *o, struct qp_credentials *cred, struct qp_errmsg *msg);

#endif
