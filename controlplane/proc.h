/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_PROC_H
#define QP_CONTROLPLANE_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "controlplane/loop.h"

/*
 * Processes: starting children that outlive us when we are killed, and telling
 * for sure, across a restart, whether a pid is still the process that we mean.
 * Main thread.
 */

/* The gateway's other programs, as files beside this one or in libexecdir. */
#define QP_PORT_OWNER_PROGRAM "quicport-port-owner"
#define QP_DATA_PLANE_PROGRAM "quicport-data-plane"

/* A process, beyond doubt in a boot: pid, start time, program. */
struct qp_proc_id {
	pid_t pid;
	uint64_t start_ticks; /* field 22 of /proc/PID/stat */
	char program[48]; /* last part of /proc/PID/exe */
};

/* QP_E_NOTFOUND: no such process (a zombie is none). */
int qp_proc_identify(pid_t pid, struct qp_proc_id *out);
/* Whether this very process lives. */
bool qp_proc_alive(const struct qp_proc_id *id);
/*
 * Sends SIGTERM, and SIGKILL when it has not ended after `patience_ms`. Returns
 * when it is gone. False: it does not end (in an uninterruptible wait), or is not ours.
 */
bool qp_proc_end(const struct qp_proc_id *id, unsigned patience_ms);

/* A child of ours; embedded in its owner. All zero but pidfd -1 and watch.fd -1: none. */
struct qp_child {
	pid_t pid; /* 0: none */
	int pidfd;
	bool adopted; /* another process started it, or this one when it was another program */
	struct qp_watch watch;
	struct qp_loop *loop;
	/* It has ended and was waited for; `status` as of waitpid, or QP_STATUS_UNKNOWN. The struct is free again. */
	void (*ended)(void *ctx, int status);
	void *ctx;
};

#define QP_CHILD_NONE                                                                              \
	{                                                                                          \
		.pidfd = -1, .watch = QP_WATCH_NONE                                                \
	}
#define QP_CHILD_FIRST_FD 3

/*
 * Starts `path` in a session of its own: no signal from our terminal, no death
 * with us. It gets stdin from /dev/null, our stdout and stderr, and fds[i] as
 * descriptor QP_CHILD_FIRST_FD + i; nothing else.
 */
int qp_child_start(struct qp_loop *loop, struct qp_child *c, const char *path,
	const char *const argv[], const int fds[], unsigned nfds,
	void (*ended)(void *ctx, int status), void *ctx, struct qp_errmsg *msg);
/* The same with an environment of its own. */
int qp_child_start_in(struct qp_loop *loop, struct qp_child *c, const char *path,
	const char *const argv[], char *const environment[], const int fds[], unsigned nfds,
	void (*ended)(void *ctx, int status), void *ctx, struct qp_errmsg *msg);
#define QP_STATUS_UNKNOWN (-1)
/* Takes over a process that a predecessor of ours started. QP_E_NOTFOUND: it has ended. */
int qp_child_adopt(struct qp_loop *loop, struct qp_child *c, const struct qp_proc_id *id,
	void (*ended)(void *ctx, int status), void *ctx, struct qp_errmsg *msg);
/*
 * How a child has ended, which stays to be waited for by its owner, as of waitpid;
 * QP_STATUS_UNKNOWN: it has not, was waited for already, or is no child of ours.
 */
int qp_proc_peek(int pidfd);
/* Nothing happens when there is none. */
void qp_child_signal(const struct qp_child *c, int signum);
/* By SIGKILL; returns when it is gone, and `ended` is not called. */
void qp_child_end(struct qp_child *c);
/* Children that ended while this process was another program, which nobody has a struct of. */
void qp_proc_reap_strays(void);
/* Lets go of a child without ending it. */
void qp_child_forget(struct qp_child *c);

/* "exited with status 1", "was killed by signal 11 (Segmentation fault)" */
const char *qp_proc_status_text(int status, char out[96]);

/* Path of a program that belongs to us: beside our own, else in QP_LIBEXECDIR. */
int qp_proc_sibling(const char *program, char *path, size_t cap, struct qp_errmsg *msg);

#endif
