/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_USAGE_H
#define QP_CONTROLPLANE_USAGE_H

#include <stdio.h>

#include "controlplane/loop.h"
#include "controlplane/queries.h"
#include "controlplane/tunnels.h"

/*
 * What each client has carried, over all its tunnels, those that have ended
 * included. While somebody reads it, the data planes are asked every
 * QP_USAGE_EVERY_MS; a tunnel's last words settle its account. Owner: the loop
 * thread. Lock: none.
 *
 * Labels are bounded: the first QP_USAGE_NAMED clients have accounts of their
 * own, all others share one.
 */
struct qp_usage;

#define QP_USAGE_NAMED 500u
#define QP_USAGE_OTHERS "(others)"
#define QP_USAGE_EVERY_MS 5000u
/* So long after the last reading the data planes are still asked. */
#define QP_USAGE_LINGER_MS 60000u

/* `loop`, `queries` and `tunnels` are borrowed. NULL when out of memory. */
struct qp_usage *qp_usage_new(
	struct qp_loop *loop, struct qp_queries *queries, struct qp_tunnels *tunnels);
/* The tunnels' accounts go with it. NULL is allowed. */
void qp_usage_free(struct qp_usage *u);
/* Accounts that are kept. */
unsigned qp_usage_count(const struct qp_usage *u);

/* The tunnel is authenticated (its identity has a name) or told by a replay. */
void qp_usage_opened(struct qp_usage *u, struct qp_tunnel *tun);
/* What its data plane says of it; may come in any order and twice. */
void qp_usage_settle(struct qp_usage *u, struct qp_tunnel *tun, const struct qp_msg_usage *now);
/* It goes. `last` NULL: its data plane died without a word. */
void qp_usage_closed(struct qp_usage *u, struct qp_tunnel *tun, const struct qp_msg_usage *last);

struct qp_usage_sums {
	uint64_t in_bytes, out_bytes, conns_total, conns_refused;
};

/*
 * An account for the next control plane. Data planes tell it of tunnels that are
 * open, though not at once: until then it shows no less than was shown before.
 */
struct qp_usage_kept {
	struct qp_usage_sums closed; /* of tunnels that have ended */
	struct qp_usage_sums shown;
	char name[64];
};

/* It changes when one of the accounts does. */
uint64_t qp_usage_changes(const struct qp_usage *u);
unsigned qp_usage_naccounts(const struct qp_usage *u);
void qp_usage_keep(const struct qp_usage *u, unsigned index, struct qp_usage_kept *out);
/* A predecessor has counted this; before any tunnel is opened. */
void qp_usage_resume(struct qp_usage *u, const struct qp_usage_kept *k);

/* The metrics quicport_client_*. Keeps the figures fresh for a while. */
void qp_usage_metrics(struct qp_usage *u, FILE *out);

#endif
