/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_RELOAD_H
#define QP_CONTROLPLANE_RELOAD_H

#include <stdbool.h>

#include "common/error.h"
#include "controlplane/settings.h"

struct qp_gateway;

enum qp_reload_when {
	QP_RELOAD_NOW,
	QP_RELOAD_NEXT_DATA_PLANE, /* at the next hand-over */
	QP_RELOAD_RESTART,         /* the gateway must be restarted for it */
};

/* An option whose value is another one now. */
struct qp_reload_change {
	const char *option; /* without dashes; for the process's life */
	enum qp_reload_when when; /* the value counts */
	char was[QP_SETTING_SHOWN_BYTES], is[QP_SETTING_SHOWN_BYTES]; /* no secrets */
};

/* What a reload has done, for a person. */
struct qp_reload_result {
	unsigned clients; /* in the policy */
	unsigned ended;   /* tunnels that it does not allow any more */
	unsigned n;
	struct qp_reload_change change[64];
};

/*
 * Reads command line, environment, configuration file, client keys, and the
 * private API's certificate and token again. A mistake in any of them changes
 * nothing, and `msg` says where it is. Else all that can change while the
 * gateway runs does, and tunnels that are still allowed notice nothing; what
 * waits for a hand-over or a restart is told in the log and in `out`. `actor` for log and audit
 * log: "signal", "file changed", "api …". `out` may be NULL. Loop thread; blocks
 * on files.
 */
int qp_gateway_reload(struct qp_gateway *g, const char *actor, struct qp_reload_result *out,
	struct qp_errmsg *msg);
/*
 * The same before a hand-over: what a data plane reads at its start is taken as
 * well, since the next one starts now (qp_options_take_generation).
 */
int qp_gateway_reload_for_next(struct qp_gateway *g, const char *actor, struct qp_errmsg *msg);

/*
 * The same in steps, for who must not hold up the loop meanwhile. Between begin
 * and finish no other reload may be finished: what is borrowed would be gone.
 */
struct qp_reloading;

struct qp_reload_how {
	bool for_next;           /* qp_gateway_reload_for_next */
	bool api_clients_needed; /* it fails rather than leave out the clients of the API's */
	struct qp_reload_result *result; /* NULL: nobody asks */
};

/* Reads options and files; a mistake is kept until the finish. NULL: out of memory. */
struct qp_reloading *qp_reload_begin(
	struct qp_gateway *g, const char *actor, const struct qp_reload_how *how);
/*
 * Builds the policy, which takes long with many clients. Any thread. `api_clients`
 * (borrowed until the finish) instead of those in force; NULL: those.
 */
void qp_reload_build(struct qp_reloading *r, char *api_clients);
/* Another reason why it comes to nothing, instead of qp_reload_build. */
void qp_reload_fail(struct qp_reloading *r, int err, const struct qp_errmsg *msg);
/* Brings it into force, or says why not; log and audit log are told. */
int qp_reload_finish(struct qp_reloading *r, struct qp_errmsg *msg);
/* After the finish, or instead of it. NULL is allowed. */
void qp_reload_free(struct qp_reloading *r);

/* Watches what --watch-config and --client-pubkeys-file name, from now on. */
void qp_gateway_watch_files(struct qp_gateway *g);

#endif
