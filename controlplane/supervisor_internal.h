/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_SUPERVISOR_INTERNAL_H
#define QP_CONTROLPLANE_SUPERVISOR_INTERNAL_H

#include "controlplane/launcher.h"
#include "controlplane/supervisor.h"

/* What supervisor.c, supervisor_attach.c, supervisor_rings.c and generation.c share. */

struct qp_supervisor {
	struct qp_supervisor_config cfg;
	struct qp_generations generations;
	struct qp_supervisor_stats stats;
	struct qp_launcher *launcher; /* NULL unless auto_start */
	int doorbell; /* all data planes ring it */
	int listen_fd;
	bool once_active;
	bool shutting_down;
	uint32_t replaced; /* the data plane whose successor is starting; 0: none */
	char replace_why[192]; /* why the successor cannot serve; "": not known yet */
	struct qp_loop_timer replace_patience;
	bool adopting; /* see qp_supervisor_adopting */
	struct qp_watch doorbell_watch;
	struct qp_watch listen_watch;
	struct qp_loop_hook hook;
	struct qp_loop_timer health; /* the next look at heartbeats */
	struct qp_loop_timer retry; /* a worker's ring was full: nobody rings when it drains */
};

/* NULL when unknown. */
struct qp_generation *qp_supervisor_lookup(const struct qp_supervisor *s, uint32_t server_id);

/* supervisor_attach.c: a data plane connects to control.sock. */
void qp_supervisor_on_connection(void *supervisor, uint32_t events);
/* Tells one that has not got its id yet why it may not attach, and frees it. */
void qp_generation_refuse(struct qp_generation *g, const char *why);

/* supervisor_adopt.c: data planes that ran before us. */
/* Finds the entry that waits for this process; NULL: it is none of them. */
struct qp_generation *qp_supervisor_awaited(const struct qp_supervisor *s, pid_t pid);
/* It has asked: `req` is checked. Why it may not; NULL: it has its id, and state. */
const char *qp_generation_adopt(struct qp_generation *g, const struct qp_attach *req, int lifeline);
/* Its rings are there: each worker is asked for its tunnels. */
int qp_generation_ask_replay(struct qp_generation *g);
/* REPLAY_END of a worker. */
void qp_generation_replayed(struct qp_generation *g);
/* All its workers are up: is it the one for new clients? */
bool qp_generation_takes_clients(const struct qp_generation *g);
/* One that ran before us has ended, or told all: perhaps the last one. */
void qp_supervisor_check_adopted(struct qp_supervisor *s);
/* A data plane has ended: starts another when none is left for new clients, and none by itself. */
void qp_supervisor_refill(struct qp_supervisor *s);

/* supervisor_drain.c: a successor takes over. */
/* DRAINING from now on. Again: changes nothing. */
void qp_generation_drain(struct qp_generation *g);
/* Says DRAIN to the workers that have not been told yet; true: some rings are still full. */
bool qp_generation_say_drain(struct qp_generation *g);
/* `g` is ACTIVE now: all others that are drain. */
void qp_supervisor_succeeded(struct qp_supervisor *s, struct qp_generation *g);
/* Process `pid` cannot serve: perhaps it is the successor. */
void qp_supervisor_note_failure(struct qp_supervisor *s, pid_t pid, const char *why);
/* The successor has ended. False: there was none. */
bool qp_supervisor_succession_failed(struct qp_supervisor *s, const char *why);
void qp_supervisor_succession_late(void *supervisor);
/* struct qp_launcher_config's. */
bool qp_supervisor_lcores_used(void *supervisor, uint32_t base, uint32_t n);
void qp_supervisor_cpus_used(void *supervisor, unsigned used[QP_MAX_CPUS]);

/* supervisor_health.c: from now on those that hang are killed, unless hang_timeout_ms is 0. */
void qp_supervisor_watch_health(struct qp_supervisor *s);

/* supervisor_rings.c: hooks of the loop. */
bool qp_supervisor_prepare_sleep(void *supervisor);
void qp_supervisor_check_rings(void *supervisor);
void qp_supervisor_on_doorbell(void *supervisor, uint32_t events);

/* supervisor.c */
/* How much heap it may have. */
void qp_generation_tell_budget(struct qp_generation *g);

/* generation.c: how a data plane ends. */
void qp_generation_process_ended(void *generation, uint32_t events);
void qp_generation_patience_over(void *generation);
/* By SIGKILL; what follows happens when its process has ended. */
void qp_generation_kill(struct qp_generation *g);
/* It cannot serve. The first one's reason is the gateway's. */
void qp_generation_give_up(struct qp_generation *g, const char *why);
/* Politely, and by SIGKILL when called again or when it takes too long. */
void qp_generation_end(struct qp_generation *g);
/* Releases what we hold of it; it is on no list any more. */
void qp_generation_free(struct qp_generation *g);

#endif
