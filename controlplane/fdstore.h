/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_FDSTORE_H
#define QP_CONTROLPLANE_FDSTORE_H

/*
 * Descriptors that the service manager keeps for the next control plane (sd_notify's
 * FDSTORE), by name. For what the kernel gives again only to CAP_SYS_ADMIN. Any thread.
 */

/* Those that a predecessor kept, at most `max`: the caller's. Once a name. */
unsigned qp_fdstore_take(const char *name, int *fds, unsigned max);
/* How many a predecessor kept. */
unsigned qp_fdstore_count(const char *name);
/* Has these kept in the place of others of the name. Nothing happens when nobody keeps any. */
void qp_fdstore_keep(const char *name, const int *fds, unsigned n);

#endif
