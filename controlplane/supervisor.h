/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_SUPERVISOR_H
#define QP_CONTROLPLANE_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>

#include "common/log.h"
#include "controlplane/generation.h"
#include "controlplane/instance.h"
#include "controlplane/launcher.h"
#include "controlplane/msg.h"

/*
 * Data planes: started, attached, heard, replaced when they die, ended. It
 * moves messages and knows the life of a generation; what the messages mean is
 * its owner's matter. Owner: the loop thread. Lock: none.
 */
struct qp_supervisor;

/* A data plane has so long from its attaching to its last HELLO, and to end when asked to. */
#define QP_START_PATIENCE_MS 10000u
#define QP_RETIRE_IDLE_MS 5000u /* a tunnel's connections are idle */
#define QP_END_PATIENCE_MS 1500u

struct qp_supervisor_ops {
	/* A data plane may attach to the shared memory and does so now; we must have it, too. */
	int (*attaching)(void *ctx, struct qp_errmsg *msg);
	/* One that we have started has its id: STARTING. */
	void (*starting)(void *ctx, const struct qp_generation *g);
	/* Its memory is there: `g->link`. Non-zero: it cannot serve. */
	int (*memory)(void *ctx, const struct qp_generation *g, struct qp_errmsg *msg);
	/* What to tell a worker first. */
	void (*configure)(void *ctx, struct qp_msg_config *out);
	/* A worker's port is up: its ifindex and mac are in `g`. Non-zero: it cannot serve. */
	int (*worker_up)(
		void *ctx, const struct qp_generation *g, unsigned worker, struct qp_errmsg *msg);
	/* All workers are up: steer new clients here. */
	int (*activate)(void *ctx, const struct qp_generation *g, struct qp_errmsg *msg);
	/* It serves. */
	void (*active)(void *ctx, const struct qp_generation *g);
	/* From now on it takes no new clients, and ends with its last tunnel. */
	void (*draining)(void *ctx, const struct qp_generation *g);
	/* No successor could be started: `g` goes on as before. NULL: it has ended meanwhile. */
	void (*drain_failed)(void *ctx, const struct qp_generation *g, const char *why);
	/* One has become ACTIVE, and who was before it drains. `handed_over`: qp_supervisor_drain asked for it. */
	void (*settled)(void *ctx, bool handed_over);
	/* Any other message; `worker` is in `from`. */
	void (*message)(void *ctx, const struct qp_origin *from, const struct qp_msg *m);
	/* It ran before us: its port owner's lifeline, to be kept or closed. */
	void (*lifeline)(void *ctx, int fd);
	/* Those that ran before us have told all their tunnels, or have ended. */
	void (*adopted)(void *ctx);
	/* It is dead: forget what belongs to it. Its shared block can still be read. */
	void (*ended)(void *ctx, const struct qp_generation *g);
	/* Its memory is about to be freed. `unseen`: it died while nobody watched, so that `ended` was not called. */
	void (*remains)(void *ctx, uint32_t server_id, bool unseen);
	/* Has it freed: qp_memory_reclaim, now or when nobody looks at it any more. */
	void (*free_memory)(void *ctx, uint32_t server_id);
	/* The first data plane cannot start: trying again would not help. */
	void (*failed)(void *ctx, const char *why);
	/* After qp_supervisor_shutdown: none is left. */
	void (*all_ended)(void *ctx);
};

struct qp_supervisor_config {
	struct qp_loop *loop;
	struct qp_instance *instance;
	const struct qp_supervisor_ops *ops;
	void *ctx;
	int lifeline_fd; /* the write end; borrowed; -1: an adopted data plane brings it */
	bool auto_start; /* start data planes, and only take those */
	unsigned workers;
	const struct qp_nic_options *nic; /* ports, and CPUs that were chosen; NULL: neither; borrowed */
	bool busy_poll;
	uint32_t hang_timeout_ms; /* one that gives no sign of life for so long is killed; 0: never */
	uint32_t drain_timeout_s; /* for one that drains; 0: as long as its last tunnel */
	uint32_t drain_grace_s; /* then it has so long to send its tunnels away */
	struct qp_log_config log; /* for the data planes' command line */
	uint64_t heap_bytes; /* see qp_supervisor_set_budget */
};

struct qp_supervisor_stats {
	uint64_t starts; /* attached */
	uint64_t deaths; /* of those that served: ended without being told to */
	uint64_t hangs; /* of them, killed for giving no sign of life */
	uint64_t failed_starts; /* ended before they served */
	uint64_t messages_dropped; /* found a full ring */
	uint64_t messages_ignored; /* of a data plane whose release has more of them */
};

/* Listens on control.sock. */
int qp_supervisor_new(
	const struct qp_supervisor_config *cfg, struct qp_supervisor **out, struct qp_errmsg *msg);
/* No data plane may be left. NULL is allowed. */
void qp_supervisor_free(struct qp_supervisor *s);

/* Waits for the data planes of an adopted instance, in place of qp_supervisor_start. */
int qp_supervisor_adopt(struct qp_supervisor *s, struct qp_errmsg *msg);
/*
 * Nothing is starting, nor about to start, nothing is being taken over: what there is can be left to
 * another. Also while data planes fail again and again and the next one waits for long.
 */
bool qp_supervisor_settled(const struct qp_supervisor *s);
/*
 * Lets go of all data planes, which run on, so that qp_supervisor_free may be called; one that has
 * not asked for an id yet, which nobody would answer, is ended. NULL is allowed.
 */
void qp_supervisor_leave(struct qp_supervisor *s);
/* An adopted data plane has not attached yet, or not told all its tunnels. */
bool qp_supervisor_adopting(const struct qp_supervisor *s);
/* Starts the first data plane, if `auto_start`. The port owner is ready. */
int qp_supervisor_start(struct qp_supervisor *s, struct qp_errmsg *msg);
/*
 * Ends all data planes: politely, or by SIGKILL after QP_END_PATIENCE_MS, or at
 * once when called again. Calls all_ended, perhaps before it returns.
 */
void qp_supervisor_shutdown(struct qp_supervisor *s);
/* Ends one politely. QP_E_NOTFOUND. In auto mode a new one is started afterwards. */
int qp_supervisor_end(struct qp_supervisor *s, uint32_t server_id);

/*
 * Starts a successor of the ACTIVE data plane; once that is ACTIVE, this one is
 * DRAINING: ops->draining tells it, or ops->drain_failed. QP_E_NOTFOUND;
 * QP_E_INUSE: it drains, or one is starting; QP_E_NOMEM: two do not fit into the
 * memory; QP_E_UNSUPPORTED: data planes are not started here.
 */
int qp_supervisor_drain(struct qp_supervisor *s, uint32_t server_id, struct qp_errmsg *msg);

/* The data plane that new clients go to; NULL: none does now. */
const struct qp_generation *qp_supervisor_active(const struct qp_supervisor *s);
/* Whether it could be drained now; memory aside. As qp_supervisor_drain. */
int qp_supervisor_may_drain(
	const struct qp_supervisor *s, uint32_t server_id, struct qp_errmsg *msg);
/* A successor is starting. */
bool qp_supervisor_handing_over(const struct qp_supervisor *s);
/* For data planes that are started from now on. */
void qp_supervisor_configure(struct qp_supervisor *s, unsigned workers, bool busy_poll);
/* Whether they wait for the prompt's `start`. */
void qp_supervisor_hold(struct qp_supervisor *s, bool stopped);
/* For those that drain already, too, from their beginning on. */
void qp_supervisor_set_drain_timeout(
	struct qp_supervisor *s, uint32_t seconds, uint32_t grace_s);

/* struct qp_sender's function; ctx is the supervisor. */
void qp_supervisor_send(void *s, const struct qp_origin *to, struct qp_msg *m);
/* Whether a worker takes bulk data now: half of its ring stays free for answers. */
bool qp_supervisor_has_room(void *s, const struct qp_origin *to);

/* The levels of this process's log, to all data planes. */
void qp_supervisor_tell_log_levels(struct qp_supervisor *s);
/* What each data plane may have from malloc, now and later; 0: no limit. */
void qp_supervisor_set_budget(struct qp_supervisor *s, uint64_t heap_bytes);
/* SIGUSR1 to all data planes: they open their log files anew. */
void qp_supervisor_reopen_logs(struct qp_supervisor *s);

/* NULL when unknown. */
const struct qp_generation *qp_supervisor_find(const struct qp_supervisor *s, uint32_t server_id);
const struct qp_generations *qp_supervisor_generations(const struct qp_supervisor *s);
const struct qp_supervisor_stats *qp_supervisor_stats(const struct qp_supervisor *s);
/* Whether data planes keep dying, and how long the next one waits. */
void qp_supervisor_trouble(const struct qp_supervisor *s, struct qp_launcher_trouble *out);
/* A predecessor has counted these; before anything is counted. */
void qp_supervisor_resume(struct qp_supervisor *s, const struct qp_supervisor_stats *stats);
/* One is ACTIVE. */
bool qp_supervisor_serving(const struct qp_supervisor *s);

#endif
