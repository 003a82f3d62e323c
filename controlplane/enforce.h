/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_ENFORCE_H
#define QP_CONTROLPLANE_ENFORCE_H

#include <stdbool.h>
#include <stdint.h>

#include "controlplane/loop.h"
#include "controlplane/members.h"
#include "controlplane/msg.h"
#include "controlplane/policy.h"
#include "controlplane/psk_marks.h"
#include "controlplane/tunnels.h"

/*
 * Holds the policy and makes it true: who may have a tunnel and what may be
 * opened on it is asked here; when a policy takes another's place, or a
 * client's time is over, the tunnels that are not allowed any more end, and the
 * data planes hear of new limits. Owner: the loop thread. Lock: none.
 */
struct qp_enforce;

struct qp_enforce_config {
	struct qp_loop *loop;
	struct qp_tunnels *tunnels;
	struct qp_sender sender;
	/* Whether the worker's ring takes some more of our own messages now. NULL: it always does. */
	bool (*has_room)(void *ctx, const struct qp_origin *to);
	void *room_ctx;
	/* Among so many the limits of a client are divided; 0: the data plane is gone. NULL: 1. */
	unsigned (*workers)(void *ctx, uint32_t server_id);
	void *workers_ctx;
	uint64_t (*unix_time)(void); /* seconds; NULL: the system's clock */
	const struct qp_psk_marks *marks; /* of the tunnels' PSKs; NULL: there are none */
};

/* What a change of policy has done. */
struct qp_enforce_result {
	unsigned clients; /* in the policy */
	unsigned ended;   /* tunnels that were told to end */
};

/* Takes `first` over in any case. NULL when out of memory. */
struct qp_enforce *qp_enforce_new(const struct qp_enforce_config *cfg, struct qp_policy *first);
/* NULL is allowed. The tunnels must not be authenticated or asked about any more. */
void qp_enforce_free(struct qp_enforce *e);

/* The policy in force. Borrowed until the next qp_enforce_replace. */
const struct qp_policy *qp_enforce_policy(const struct qp_enforce *e);

/*
 * Takes `fresh` over; the old policy is freed. Every tunnel that the new one
 * does not allow gets its TUNNEL_CLOSE at once, or as soon as its worker's ring
 * has room; the others notice nothing. `out` may be NULL.
 */
void qp_enforce_replace(
	struct qp_enforce *e, struct qp_policy *fresh, struct qp_enforce_result *out);

/* By which PSK it came is put into the tunnel's identity, for who takes it over from us. */
void qp_enforce_mark(const struct qp_enforce *e, struct qp_tunnel *tun);
/*
 * The tunnel's identity is proven: its client's limits are sent before this
 * returns. Call it before the VERDICT is sent. QP_E_NOMEM.
 */
int qp_enforce_admit(struct qp_enforce *e, struct qp_tunnel *tun);
/*
 * After the VERDICT: ends a tunnel too many, in words that its client sees. A
 * tunnel beyond the limit is let in as long as it may ask for a port that an
 * older one has: it takes that one's place.
 */
void qp_enforce_admitted(struct qp_enforce *e, struct qp_tunnel *tun);
/*
 * A tunnel of a data plane that was taken over: the same, without a VERDICT; it
 * ends when the policy does not allow it. Call it once its ports are known.
 */
void qp_enforce_adopt(struct qp_enforce *e, struct qp_tunnel *tun);
/* The tunnel is over. Call it before qp_tunnels_remove, for tunnels of all states. */
void qp_enforce_left(struct qp_enforce *e, struct qp_tunnel *tun);

/*
 * The client of an authenticated tunnel. NULL and a line for its user when it
 * may have nothing (any more).
 */
const struct qp_policy_client *qp_enforce_client(
	const struct qp_enforce *e, const struct qp_tunnel *tun, struct qp_errmsg *msg);
/* Whether the tunnel may have a forward more. QP_E_PERM and a line for its user. */
int qp_enforce_room(const struct qp_enforce *e, const struct qp_tunnel *tun, struct qp_errmsg *msg);

/* Ends a tunnel (kick, …). False: it ends already. */
bool qp_enforce_end(struct qp_enforce *e, struct qp_tunnel *tun, const char *phrase);

#endif
