/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_MEMBERS_H
#define QP_CONTROLPLANE_MEMBERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "controlplane/policy.h"
#include "controlplane/tunnels.h"

/*
 * The clients that have tunnels now, each with these tunnels and with the
 * workers that they are on: there its limits are kept. Owner: the loop thread.
 * Lock: none.
 */

/* A client's place on one worker. Life: from its first tunnel there to its last one's end. */
struct qp_seat {
	struct qp_member *member;
	uint32_t server_id;
	uint16_t worker;
	unsigned tunnels;
	bool owed; /* the worker must be told the limits */
	LIST_ENTRY(qp_seat) of_member;
	TAILQ_ENTRY(qp_seat) in_owed;
};

/* Life: while it has a tunnel. */
struct qp_member {
	char name[QP_POLICY_NAME_BYTES];
	uint32_t id; /* that its data planes know it by */
	unsigned ntunnels;
	TAILQ_HEAD(, qp_tunnel) tunnels; /* oldest first */
	LIST_HEAD(, qp_seat) seats;
	LIST_ENTRY(qp_member) in_bucket;
};

struct qp_members;

/* NULL when out of memory. */
struct qp_members *qp_members_new(void);
/* Tunnels must be gone, or never be touched again. NULL is allowed. */
void qp_members_free(struct qp_members *ms);

/* By its tunnel->identity; sets tunnel->member. NULL: out of memory. `*first`: on its worker. */
struct qp_seat *qp_members_add(struct qp_members *ms, struct qp_tunnel *tun, bool *first);
/*
 * Forgets the tunnel. True: it was the client's last one on its worker. Without
 * a member (never authenticated) nothing happens.
 */
bool qp_members_remove(struct qp_members *ms, struct qp_tunnel *tun);

/* NULL: it has no tunnel. */
struct qp_member *qp_members_find(struct qp_members *ms, const char *name, uint32_t id);
/* Calls `each` for all; it may not remove any. */
void qp_members_each(
	struct qp_members *ms, void (*each)(void *ctx, struct qp_member *m), void *ctx);

/* Seats whose worker must be told limits: in this order, until settled. */
void qp_members_owe(struct qp_members *ms, struct qp_seat *seat);
void qp_members_settled(struct qp_members *ms, struct qp_seat *seat);
struct qp_seat *qp_members_owed(struct qp_members *ms);

#endif
