/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_STATE_WRITER_H
#define QP_CONTROLPLANE_STATE_WRITER_H

#include <pthread.h>
#include <stdbool.h>

#include "controlplane/state.h"
#include "controlplane/state_db.h"

/*
 * Between state.c (the loop thread, memory) and state_writer.c (its thread, the
 * disk). While the disk fails nothing is queued: a copy of the memory follows
 * once it works again.
 */
struct qp_state {
	char *path;
	unsigned retry_ms;
	pthread_t thread;
	pthread_mutex_t mutex; /* guards all below but `disk` */
	pthread_cond_t changed; /* to the thread */
	pthread_cond_t written; /* to who waits in qp_state_sync */
	int bell; /* eventfd, to the loop: the same */
	struct qp_state_db memory;
	struct qp_state_change *first, **last; /* that the disk has not got */
	unsigned queued;
	uint64_t given, done; /* changes, counted; given == done: all is on the disk */
	bool down;    /* changes stay in memory for now */
	bool for_good; /* … and the file is not ours to write: no more attempts */
	bool ending;
	struct qp_state_stats stats;
	struct qp_state_db disk; /* the thread's alone, once that runs */
};

/* Queues so many changes at most, then takes the disk for down: it hangs. */
#define QP_STATE_MAX_QUEUED 65536u

/* The disk has got something, or does not take it. Held: the mutex. */
void qp_state_announce(struct qp_state *s);
/* Opens the file into `disk`, or says in the log why not and sets `down`. Before the thread runs. */
void qp_state_open_disk(struct qp_state *s);
/* Start of the thread; arg is the state. */
void *qp_state_writer_run(void *arg);

#endif
