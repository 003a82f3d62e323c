/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_OWNER_USERS_H
#define QP_DATAPLANE_OWNER_USERS_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "common/ipc.h"

/*
 * The processes that use the memory, as the port owner knows them: one
 * connection to owner.sock each (common/ipc.h). Owner: the main thread. Life:
 * from EAL's start to the end. It never waits for one of them.
 */
#define QP_OWNER_USERS 48u
#define QP_OWNER_USERS_FDS (QP_OWNER_USERS + 1)

struct qp_owner_user {
	int fd; /* -1: a free place */
	pid_t pid;
	uint32_t server_id; /* of the zone that it holds; 0: none */
	bool starting; /* EAL, now */
	uint64_t began_ns; /* and has not said that it is there; 0: else */
	bool asks; /* `ask` has no answer yet */
	uint64_t turn; /* who asked first is served first */
	struct qp_owner_ask ask;
};

struct qp_owner_users {
	const char *instance;
	int listen_fd;
	uint64_t turns;
	pid_t suspect; /* died while it started EAL: locks are to be looked at; 0: nobody */
	struct qp_owner_user user[QP_OWNER_USERS];
};

/* Makes owner.sock. EAL is there, the sandbox is not yet. */
int qp_owner_users_open(struct qp_owner_users *u, const char *instance, struct qp_errmsg *msg);
/* What poll is to look at, and how long it may sleep at most (milliseconds, -1: for ever). */
int qp_owner_users_wait(const struct qp_owner_users *u, struct pollfd fds[QP_OWNER_USERS_FDS]);
/* After poll. */
void qp_owner_users_turn(struct qp_owner_users *u, const struct pollfd fds[QP_OWNER_USERS_FDS]);

#endif
