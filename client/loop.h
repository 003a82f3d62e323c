/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_LOOP_H
#define QP_CLIENT_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/queue.h>

#include "client/timers.h"
#include "common/error.h"

/*
 * The client's event loop: descriptors (epoll), timers, and tasks that run
 * once after the events of a turn, so that a burst of events causes one burst
 * of packets. One thread; sources, timers and tasks live in what they serve.
 */
#define QPC_LOOP_EVENTS 128

struct qpc_source {
	int fd;
	/* EPOLL* bits. May remove this and any other source, and free what holds them. */
	void (*ready)(struct qpc_source *source, uint32_t events);
};

struct qpc_task_list;

/* Something to do at the end of a turn. */
struct qpc_task {
	void (*run)(struct qpc_task *task);
	struct qpc_task_list *list; /* NULL: not queued */
	TAILQ_ENTRY(qpc_task) link;
};
TAILQ_HEAD(qpc_task_list, qpc_task);

struct qpc_loop {
	int epfd;
	bool coarse;     /* the kernel waits by milliseconds only */
	uint64_t now_ns; /* when this turn's events arrived */
	struct qpc_timers timers;
	struct qpc_task_list tasks;
	struct qpc_task_list running; /* of this turn; the others wait for the next */
	/* Events of this turn from `cursor` on are still to be delivered; removing a source clears its own. */
	int cursor, nevents;
	struct epoll_event events[QPC_LOOP_EVENTS];
};

int qpc_loop_init(struct qpc_loop *loop, struct qp_errmsg *msg) __attribute__((warn_unused_result));
void qpc_loop_fini(struct qpc_loop *loop);

/* `events` as for epoll_ctl, EPOLLET included if wanted. */
int qpc_loop_add(struct qpc_loop *loop, struct qpc_source *source, uint32_t events)
	__attribute__((warn_unused_result));
int qpc_loop_change(struct qpc_loop *loop, struct qpc_source *source, uint32_t events)
	__attribute__((warn_unused_result));
/* Before the descriptor is closed. No more calls of `ready`, this turn's included. */
void qpc_loop_remove(struct qpc_loop *loop, struct qpc_source *source);

/*
 * Runs at the end of this turn. A task that queues itself again runs in the
 * next one, after the events that are waiting then.
 */
void qpc_loop_queue(struct qpc_loop *loop, struct qpc_task *task);
void qpc_loop_unqueue(struct qpc_loop *loop, struct qpc_task *task);

/*
 * One turn in two parts, for a loop that others reach into: what lies between
 * them may run with a lock of the caller's given up. qpc_loop_wait waits at
 * most until the next timer, and not at all when a task is queued or `now` is
 * set; qpc_loop_dispatch handles what it found. QP_E_IO when epoll fails.
 */
int qpc_loop_wait(struct qpc_loop *loop, bool now) __attribute__((warn_unused_result));
void qpc_loop_dispatch(struct qpc_loop *loop);
/* When the loop wants a turn by itself, CLOCK_MONOTONIC; 0: at once, UINT64_MAX: never. */
uint64_t qpc_loop_next_ns(const struct qpc_loop *loop);

/*
 * One turn: waits for events until the next timer at most (not at all when a
 * task is queued), then events, timers, tasks. QP_E_IO when epoll fails.
 */
int qpc_loop_turn(struct qpc_loop *loop) __attribute__((warn_unused_result));

#endif
