/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_FDSTORE_H
#define QP_CONTROLPLANE_FDSTORE_H

/*
 * Descriptors that the service manager keeps for the next control plane (sd_notify's
 * FDSTORE), by name. For what the kernel gives again only to CAP_SYS_ADMIN. What a
 * predecessor in this process has passed (controlplane/reexec.h) is found the same way.
 * Main thread.
 */

/* Copies of those that a predecessor kept, at most `max`: the caller's. */
unsigned qp_fdstore_take(const char *name, int *fds, unsigned max);
/* How many a predecessor kept. */
unsigned qp_fdstore_count(const char *name);
/* All that is wanted has been taken: from now on there is nothing more. */
void qp_fdstore_settle(void);
/* Has these kept in the place of others of the name. Nothing happens when nobody keeps any. */
void qp_fdstore_keep(const char *name, const int *fds, unsigned n);

#endif
