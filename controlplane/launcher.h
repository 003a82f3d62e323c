/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_LAUNCHER_H
#define QP_CONTROLPLANE_LAUNCHER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "common/host.h"
#include "common/log.h"
#include "controlplane/loop.h"
#include "controlplane/options_nic.h"

/*
 * Keeps a data plane process running: starts it, starts the next when it ends,
 * with a back-off when they end too soon. What the process does is not its
 * matter. Owner: the loop thread. All functions take NULL as "none is started here".
 */
struct qp_launcher;

struct qp_launcher_config {
	struct qp_loop *loop;
	const char *instance;
	uint32_t hash; /* of the instance: spreads gateways over CPUs */
	unsigned workers;
	const struct qp_nic_options *nic; /* ports, and CPUs that were chosen; NULL: neither; borrowed */
	bool busy_poll;
	struct qp_log_config log;
	/* Whether a living data plane has one of EAL's lcore ids `base` … `base` + `n` - 1. NULL: none has. */
	bool (*lcores_used)(void *ctx, uint32_t base, uint32_t n);
	/* Adds to `used` how many workers of living data planes are bound to each CPU. NULL: none is. */
	void (*cpus_used)(void *ctx, unsigned used[QP_MAX_CPUS]);
	/* A data plane ended and never served; another try follows unless stopped, or it was a successor. */
	void (*failed)(void *ctx, const char *why);
	/* Stopped, and the last one has ended. */
	void (*idle)(void *ctx);
	void *ctx;
};

int qp_launcher_new(
	const struct qp_launcher_config *cfg, struct qp_launcher **out, struct qp_errmsg *msg);
/* Its process has ended, or is let go of. */
void qp_launcher_free(struct qp_launcher *l);
/* What counts from the next start on. */
void qp_launcher_configure(struct qp_launcher *l, unsigned workers, bool busy_poll);
/* Whether those that are started from now on wait for the prompt's `start`. */
void qp_launcher_hold(struct qp_launcher *l, bool stopped);
int qp_launcher_start(struct qp_launcher *l, struct qp_errmsg *msg);
/* The same; when it cannot be started, that is told, and tried again after the back-off. */
void qp_launcher_refill(struct qp_launcher *l);
/*
 * Lets go of the one that runs, which goes on, and starts its successor. That
 * one is not started again if it ends before it serves.
 */
int qp_launcher_succeed(struct qp_launcher *l, struct qp_errmsg *msg);
/* Ends the one that runs, at once. */
void qp_launcher_kill(struct qp_launcher *l);
/* The same, and waits for it; no other follows. */
void qp_launcher_abort(struct qp_launcher *l);
/* EAL's lcore ids from this one on are a living data plane's: the next start takes others. */
void qp_launcher_skip(struct qp_launcher *l, uint32_t lcore_base);
/* Starts no more. `kill_it`: ends the one that runs, at once. */
void qp_launcher_stop(struct qp_launcher *l, bool kill_it);
/* The one that runs now serves. */
void qp_launcher_succeeded(struct qp_launcher *l);
/* 0: none runs, or it was let go of. */
pid_t qp_launcher_pid(const struct qp_launcher *l);
/* How the process `pid` has ended, if it was the last one that has; else QP_STATUS_UNKNOWN (proc.h). */
int qp_launcher_status(const struct qp_launcher *l, pid_t pid);
/* Whether data planes keep dying. */
struct qp_launcher_trouble {
	unsigned deaths;  /* soon after their start, in a row; 0: none, or the one that runs has been well for long */
	unsigned wait_ms; /* until the next one is started; 0: none waits */
	char how[96];     /* how the last one ended; "": none has */
};
void qp_launcher_trouble(const struct qp_launcher *l, struct qp_launcher_trouble *out);
/* One is started within a second; who waits longer has failed again and again. */
bool qp_launcher_soon(const struct qp_launcher *l);
/* One runs, or is about to be started. */
bool qp_launcher_busy(const struct qp_launcher *l);

/* Milliseconds to wait before the next start after `failures` in a row, the last of one that `served`. */
unsigned qp_launcher_backoff_ms(unsigned failures, bool served);

#endif
