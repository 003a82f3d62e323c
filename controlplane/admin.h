/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_ADMIN_H
#define QP_CONTROLPLANE_ADMIN_H

#include <stdbool.h>

#include "controlplane/access.h"
#include "controlplane/api_clients.h"
#include "controlplane/blocks.h"
#include "controlplane/event_stream.h"
#include "controlplane/http.h"
#include "controlplane/metrics.h"
#include "controlplane/ports.h"
#include "controlplane/reload.h"
#include "controlplane/records.h"
#include "controlplane/stats.h"
#include "controlplane/supervisor.h"
#include "controlplane/tunnels.h"

struct qp_nic;
struct qp_queries;

enum qp_write_end {
	QP_WRITE_DONE,    /* in force, and on the disk if that can be */
	QP_WRITE_REFUSED, /* it cannot be in force */
	QP_WRITE_NOT_NOW,
};

/* A client that is written, or removed. */
struct qp_client_write {
	const char *actor;
	const char *name;
	json_t *entry; /* as the configuration's; gets its "secret-file"; NULL: removed */
	const struct qp_secret *psk; /* NULL: it has none */
	/* It is in force; `done` follows. Both perhaps from inside write_client. */
	void (*in_force)(void *ctx, bool was_there);
	/* Exactly once. `why`: nothing has changed. */
	void (*done)(void *ctx, enum qp_write_end end, const char *why);
	void *ctx;
};

/*
 * The private API's paths: the page and its files, /openapi.json, /healthcheck,
 * /metrics and /api/v1/. docs/openapi.json says what each does. Owner: the loop
 * thread.
 */
struct qp_admin {
	struct qp_access access;
	struct qp_supervisor *supervisor;
	struct qp_tunnels *tunnels;
	struct qp_queries
		*queries; /* what the data planes know: traffic, round trips, connections */
	struct qp_ports *ports;
	struct qp_blocks *blocks; /* NULL: sources cannot be kept out */
	struct qp_state *state;
	struct qp_sender sender; /* to tunnels' workers */
	const struct qp_records *records; /* NULL: nobody is told; borrowed */
	struct qp_events *events;
	struct qp_event_stream *stream; /* NULL: there is none */
	const struct qp_options *options; /* NULL: nothing is told of them */
	/* qp_gateway_reload's contract. NULL: there is nothing to read. */
	int (*reload)(
		void *ctx, const char *actor, struct qp_reload_result *out, struct qp_errmsg *msg);
	/*
	 * Reads the configuration again, then starts the successor of a data plane:
	 * qp_supervisor_drain's errors, and QP_E_INVAL for the configuration. NULL:
	 * data planes are not started here.
	 */
	int (*hand_over)(
		void *ctx, const char *actor, uint32_t server_id, struct qp_errmsg *msg);
	/* Why the last hand-over came to nothing; NULL: it did not, or there was none. */
	const char *(*handover_error)(void *ctx);
	/*
	 * Begins to end all tunnels, data planes and the port owner, and to start them
	 * anew, soon. QP_E_INUSE: not now. NULL: there is no port owner.
	 */
	int (*replace_owner)(void *ctx, struct qp_errmsg *msg);
	/* The dedicated ports, borrowed until the loop turns; NULL: there are none, or not yet. */
	const struct qp_nic *(*nics)(void *ctx);
	/* Fills the snapshot that /metrics prints. */
	void (*metrics)(void *ctx, struct qp_metrics *out);
	/* Whether new clients are served. */
	bool (*serving)(void *ctx);
	const char *(*trouble)(void *ctx); /* why not, or not for long, until the next call; NULL: none is known */
	/* The policy in force; borrowed until the loop turns. */
	const struct qp_policy *(*policy)(void *ctx);
	struct qp_api_clients *clients;
	/*
	 * Writes a client of the API's and brings it into force, which reads the
	 * configuration again; those that are asked for first are done first. `w` is
	 * copied. QP_E_…: not now, msg says why; then nothing of `w` is called.
	 */
	int (*write_client)(void *ctx, const struct qp_client_write *w, struct qp_errmsg *msg);
	/* Ends an authenticated tunnel; its client reads the phrase. */
	void (*end_tunnel)(void *ctx, struct qp_tunnel *tun, const char *phrase);
	void *ctx;
	TAILQ_HEAD(, qp_admin_job) jobs; /* calls that wait for an answer; TAILQ_INIT */
	struct qp_stats stats; /* of the last `stats` event */
};

/* struct qp_http_config's answer function; ctx is a struct qp_admin. */
void qp_admin_answer(void *admin, const struct qp_http_request *req, struct qp_http_response *out);

/* Answers all that waits; before the HTTP servers go. */
void qp_admin_end_jobs(struct qp_admin *a);

/* The `stats` event's data; ctx is a struct qp_admin. */
json_t *qp_admin_stats(void *admin);

#endif
