/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_GENERATION_H
#define QP_CONTROLPLANE_GENERATION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "controlplane/dp_link.h"
#include "controlplane/heartbeat.h"
#include "controlplane/loop.h"

struct qp_supervisor;

/*
 * A data plane, from its attaching to its end. Owner: the loop thread
 * (supervisor.c). Life: STARTING at the attach request, or from our start on, TERMINATED when its
 * socket or process has ended, then freed. Lock: none.
 */
struct qp_generation {
	TAILQ_ENTRY(qp_generation) next;
	struct qp_supervisor *supervisor;
	uint32_t server_id; /* 1 … 65535; 0: it has connected and not asked yet */
	pid_t pid;
	enum qp_dp_state state;
	bool told_to_end; /* SHUTDOWN was sent: its end is no accident */
	bool adopted; /* it ran before us; server_id is 0 until it has found us */
	bool drained; /* our predecessor told it to drain, or we did */
	uint64_t draining_since_ns; /* CLOCK_MONOTONIC; 0: it does not drain */
	uint32_t undrained; /* bit N: worker N's ring was too full for DRAIN */
	bool crashed; /* so, after it had served, or by a signal: worth a report */
	char how[96]; /* it has died, not told to: "was killed by signal 11 (…)"; "": it has not */
	char *threads; /* what they did when it hung; NULL: unknown */
	char hung[64]; /* it gave no sign of life and was killed: who, for how long; "": it did not */
	unsigned hung_looks; /* since it was asked for its last words */
	struct qp_heartbeat main_beat;
	unsigned nreplaying; /* workers that still tell their tunnels */
	uint32_t epoch; /* of its attachment */
	uint32_t version; /* of the ring protocol, that both speak */
	uint32_t lcore_base; /* EAL's lcore id of its main thread; 0: unknown */
	unsigned nworkers;
	unsigned nworkers_up;
	uint64_t started_at; /* Unix time, seconds */
	struct qp_dp_link *link; /* NULL until its rings are there */
	int doorbell[QP_MAX_WORKERS]; /* of its workers; the link's once that is there, then -1 */
	int fd; /* our end of its control.sock connection; -1: it closed it */
	struct qp_watch watch;
	int pidfd;
	struct qp_watch process_watch;
	struct qp_loop_timer patience; /* for its start, and for its end */
	struct qp_loop_timer drain_timeout; /* first RETIRE, then SHUTDOWN */
	bool retiring; /* RETIRE was sent */
	struct {
		uint32_t ifindex; /* 0: not up yet */
		uint8_t mac[6];
		bool takes_over; /* as its HELLO says */
		struct qp_heartbeat beat;
	} worker[QP_MAX_WORKERS];
};

TAILQ_HEAD(qp_generations, qp_generation);

/* "STARTING", … */
const char *qp_generation_state_name(enum qp_dp_state state);

#endif
