/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_OWNER_SANDBOX_H
#define QP_DATAPLANE_OWNER_SANDBOX_H

#include <stdbool.h>

#include "common/error.h"

/*
 * What the port owner takes from itself. Main thread, once each. A failure is
 * for the log: the memory serves without, and a kernel that lacks one of them
 * is no reason to have no gateway.
 */

/*
 * Before EAL starts threads: a network namespace of its own, if it may make one,
 * and no capabilities but CAP_DAC_OVERRIDE (root's log in somebody's folder).
 * With dedicated ports it stays in the host's namespace, where the other ends of
 * their sockets and devices are, and keeps what opening them may need:
 * CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK.
 */
int qp_owner_sandbox_begin(bool ports, struct qp_errmsg *msg);
/*
 * When all is up: for all threads, no new privileges, and only the system calls
 * that the port owner, EAL's threads and the log need (with ports, ioctl on what
 * is open already, too). Any other fails with EPERM and is a line in the kernel's
 * audit log: to be killed for it would end the memory of every tunnel. The main
 * thread gives up what begin has kept for ports.
 */
int qp_owner_sandbox_close(bool ports, struct qp_errmsg *msg);

#endif
