/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_HOSTNET_SHARED_H
#define QP_CONTROLPLANE_HOSTNET_SHARED_H

#include <stdint.h>

#include "common/error.h"
#include "common/ipc.h"

/*
 * What the gateways of one network namespace changed together, so that the
 * first makes it and the last takes it back, whoever dies in between:
 *
 *	QP_RUN_DIR/host/lock      flock'ed for each change
 *	QP_RUN_DIR/host/COOKIE    a file for each namespace:
 *
 *	quicport-shared 1
 *	sysctl accept_local 0     lo's value before
 *	sysctl route_localnet 0
 *	clsact 2                  we made this interface's clsact qdisc
 *	user /run/quicport/gw1    a gateway that still needs all this
 *
 * Each change is written down before it is made. Blocks for the lock, which
 * nobody holds for longer than a few system calls.
 */
#define QP_HOST_SHARED_DIR QP_RUN_DIR "/host"

/* The current network namespace: unique until the next boot, unlike its inode. 0: unknown. */
uint64_t qp_host_netns(void);

/*
 * Registers a gateway by its state folder. The first one lets lo take packets
 * from the host's own addresses that carry no route yet (accept_local,
 * route_localnet): lo receives from this host only, so nothing is weakened.
 */
int qp_host_shared_join(const char *user, struct qp_errmsg *msg);
/* The last one restores. */
void qp_host_shared_leave(const char *user);
/* Forgets a gateway of another namespace, which is out of reach or gone. */
void qp_host_shared_forget(const char *user, uint64_t netns);

/* Makes sure that an interface has a clsact (or ingress) qdisc. 0, or an errno value. */
int qp_host_clsact_ensure(uint32_t ifindex, struct qp_errmsg *msg);
/* Removes it when one of the gateways made it and no filter is left on it. */
void qp_host_clsact_release(uint32_t ifindex);

#endif
