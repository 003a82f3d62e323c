/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_ENFORCE_IMPL_H
#define QP_CONTROLPLANE_ENFORCE_IMPL_H

#include "controlplane/enforce.h"

/* What enforce.c (when, and who is told) and enforce_rules.c (what the policy says) share. */

#define QP_ENFORCE_WHY_BYTES 128u /* a phrase for the client, as TUNNEL_CLOSE takes it */

struct qp_enforce {
	struct qp_enforce_config cfg;
	struct qp_policy *policy;
	struct qp_members *members;
	TAILQ_HEAD(, qp_tunnel) ending; /* whose data planes must still be told */
	struct qp_loop_timer retry;     /* while a ring is full */
	struct qp_loop_timer clock;     /* while the time of a client with tunnels is limited */
	uint64_t next_expiry;           /* Unix time, seconds; 0: nobody's */
};

/* Ports and local forwards that it has. */
unsigned qp_enforce_forwards(const struct qp_tunnel *tun);
/*
 * Whether the policy allows the tunnel and what it has, beside `kept` older
 * tunnels of its client with so many forwards; else `why` is for its client.
 * `was`: the policy that allowed it, to see whether a PSK has changed; or NULL.
 */
bool qp_enforce_may_stay(const struct qp_enforce *e, const struct qp_policy *was,
	const struct qp_tunnel *tun, unsigned kept, unsigned forwards,
	char why[QP_ENFORCE_WHY_BYTES]);
/* The same for one that has just come, and has nothing yet. */
bool qp_enforce_may_enter(
	const struct qp_enforce *e, const struct qp_tunnel *tun, char why[QP_ENFORCE_WHY_BYTES]);

#endif
