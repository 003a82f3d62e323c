/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_OWNER_SOCKET_H
#define QP_CONTROLPLANE_OWNER_SOCKET_H

#include <sys/types.h>

#include "common/error.h"
#include "common/ipc.h"

/* Our end of the socket of a port owner that a service manager starts. Loop thread. */

/*
 * Connects, which may start it, and asks for `instance`'s memory, and ports if `ports` is not NULL.
 * `*fd` is the caller's.
 */
int qp_owner_socket_ask(const char *path, const char *instance, unsigned memory_mib,
	const struct qp_owner_ports *ports, int *fd, struct qp_errmsg *msg);
/*
 * Its answer: `*lifeline` is the caller's. QP_E_AGAIN: there is none yet; QP_E_CLOSED: it is
 * gone; else it refuses, and `msg` says why.
 */
int qp_owner_socket_answer(int fd, pid_t *pid, int *lifeline, struct qp_errmsg *msg);

#endif
