/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_INSTANCE_H
#define QP_CONTROLPLANE_INSTANCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/addr.h"
#include "common/error.h"
#include "controlplane/proc.h"

/*
 * An instance is a gateway on this host: network namespace and data-plane
 * address name it, the same after a restart, another for each gateway beside
 * it. The name is EAL's file prefix and the run folder's:
 *
 *	/run/quicport/NAME/lock          flock'ed by the control plane: "PID ADDRESS"
 *	                   netns         inode number of its network namespace
 *	                   processes     who to end when we are dead: "PID START PROGRAM" a line
 *	                   control.sock  where data planes attach
 *	                   host.state    what hostnet changed
 *
 * A later release appends lines and files, never fields: a line of `processes` that
 * is no such line is skipped. Main thread, before and after the loop; qp_instance_set_processes also in it.
 */
#define QP_INSTANCE_MAX_PROCESSES 32u

struct qp_instance {
	char name[32];
	char dir[128];
	uint32_t hash;
	int lock_fd;
	bool adopted; /* its port owner and data planes ran before us: `processes` are they */
	unsigned nprocesses;
	struct qp_proc_id processes[QP_INSTANCE_MAX_PROCESSES]; /* the oldest first */
};

/* What the name is made of. */
void qp_instance_name(
	const struct qp_sockaddr *data_plane_addr, ino_t netns, uint32_t *hash, char name[32]);

/*
 * Takes the instance's lock below `root` (QP_RUN_DIR). When only the control
 * plane of an earlier gateway is dead, its processes and what it changed are
 * kept (`adopted`); else it undoes what was left, and what other instances left
 * whose lock is free and whose data planes are dead. QP_E_INUSE when a gateway of this address lives: msg names it.
 */
int qp_instance_open(const char *root, const struct qp_sockaddr *data_plane_addr,
	struct qp_instance *out, struct qp_errmsg *msg);
/* Removes the run folder and releases the lock. */
void qp_instance_close(struct qp_instance *inst);

/* Of an adopted one: whether there still is what was adopted. */
bool qp_instance_lives(const struct qp_instance *inst);
/* Releases the lock and leaves the rest to the next control plane: data planes live. */
void qp_instance_leave(struct qp_instance *inst);

/* Writes down a process that belongs to the instance, before it can outlive us. */
int qp_instance_add_process(struct qp_instance *inst, pid_t pid, struct qp_errmsg *msg);
/* Where it stands among them: who was written down later has a greater number. -1: not there. */
int qp_instance_place(const struct qp_instance *inst, pid_t pid);
/* It has ended. */
void qp_instance_remove_process(struct qp_instance *inst, pid_t pid);

#endif
