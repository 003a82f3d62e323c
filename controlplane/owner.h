/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_OWNER_H
#define QP_CONTROLPLANE_OWNER_H

#include <stdbool.h>

#include "common/log.h"
#include "controlplane/instance.h"
#include "controlplane/loop.h"
#include "controlplane/options_nic.h"

/*
 * The port owner's process, and the lifeline that keeps it: it lives while
 * anybody holds the pipe's write end. It is our child, or a service manager's
 * that is asked through a socket (common/ipc.h). Owner: the loop thread.
 */
struct qp_owner;

struct qp_owner_config {
	struct qp_loop *loop;
	struct qp_instance *instance;
	unsigned memory_mib;
	const struct qp_nic_options *nic; /* ports that it opens; NULL or none: host mode; borrowed */
	unsigned queues; /* of each port, and so workers at most */
	const char *socket_path; /* of a service manager's port owner; NULL: a child is started */
	struct qp_log_config log;
	void (*ready)(void *ctx);
	/* It could not start; `why` is for a person. */
	void (*failed)(void *ctx, const char *why);
	/* It was ready and is gone now. */
	void (*ended)(void *ctx, const char *how);
	void *ctx;
};

/* Starts it. */
int qp_owner_new(const struct qp_owner_config *cfg, struct qp_owner **out, struct qp_errmsg *msg);
/*
 * Takes over the one of an instance that was adopted: it is ready, and `ready`
 * is not called. Data planes have its lifeline until qp_owner_hold gets it from one.
 * One that is dead is taken over as such (qp_owner_alive).
 */
int qp_owner_adopt(const struct qp_owner_config *cfg, struct qp_owner **out,
	struct qp_errmsg *msg);
/* The lifeline's write end, borrowed; -1: we have none yet. */
int qp_owner_lifeline(const struct qp_owner *o);
/* Takes `lifeline`, which is closed when there is one already. */
void qp_owner_hold(struct qp_owner *o, int lifeline);
/*
 * Lets the lifeline go, which ends it when no data plane holds on; by SIGKILL
 * when it takes too long and is our child. `ended` is called in either case.
 */
void qp_owner_release(struct qp_owner *o);
/* SIGUSR1: it opens its log file anew. */
void qp_owner_reopen_log(struct qp_owner *o);
bool qp_owner_alive(const struct qp_owner *o);
/* 0: unknown. NULL is allowed. */
pid_t qp_owner_pid(const struct qp_owner *o);
/* Lets it live. NULL is allowed. */
void qp_owner_free(struct qp_owner *o);

#endif
