/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_TUNNELS_H
#define QP_CONTROLPLANE_TUNNELS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/auth.h"
#include "common/keys.h"
#include "controlplane/msg.h"

/*
 * What the control plane knows of each tunnel, from its first authentication
 * bytes to its end. Owner: the loop thread. Lock: none.
 */
enum qp_tunnel_state {
	QP_TUNNEL_CHALLENGED, /* the client must still prove itself */
	QP_TUNNEL_AUTHENTICATED, /* it may open ports */
};

struct qp_port;
struct qp_member;
struct qp_usage_account;

/* Where a local forward leads, as it was granted last. */
struct qp_tunnel_local {
	bool open; /* the tunnel has one */
	unsigned n; /* 0 while open: taken over, and its name not asked for again yet */
	uint16_t port;
	struct in6_addr addr[QP_LOCAL_ADDRS];
};

struct qp_tunnel {
	struct qp_origin origin;
	enum qp_tunnel_state state;
	uint8_t peer_addr[16];
	uint16_t peer_port_be;
	uint8_t client_key[QP_KEY_BYTES]; /* X25519; zeros with a PSK */
	struct qp_msg_identity identity; /* who it says to be; once authenticated, who it is */
	struct qp_usage_account *account; /* usage.c's; NULL: not opened yet */
	struct qp_msg_usage said; /* of it, what is in the account */
	struct qp_auth_server auth; /* while challenged */
	uint64_t challenged_at_ns;
	LIST_HEAD(, qp_port) ports; /* that it holds */
	struct qp_port *inherits;   /* that it is taking over, and another tunnel still holds; or NULL */
	struct qp_tunnel_local local;
	struct qp_member *member; /* NULL until authenticated */
	TAILQ_ENTRY(qp_tunnel) of_member;
	bool ending; /* it must end: nothing more is granted */
	char why[128]; /* while ending: for its client */
	TAILQ_ENTRY(qp_tunnel) in_ending; /* until its data plane is told */
	bool told;
	LIST_ENTRY(qp_tunnel) in_bucket;
	TAILQ_ENTRY(qp_tunnel) in_waiting; /* while challenged: oldest first */
};

struct qp_tunnels;

struct qp_tunnels *qp_tunnels_new(void);
/* Tunnels must hold no port any more. NULL is allowed. */
void qp_tunnels_free(struct qp_tunnels *t);

/* NULL when unknown. */
struct qp_tunnel *qp_tunnels_find(struct qp_tunnels *t, const struct qp_origin *origin);
/* A new one, challenged now; NULL when the limit of waiting ones is reached, or of memory. */
struct qp_tunnel *qp_tunnels_add(
	struct qp_tunnels *t, const struct qp_origin *origin, uint64_t now_ns);
void qp_tunnels_authenticated(struct qp_tunnels *t, struct qp_tunnel *tun);
/*
 * One of a data plane that was taken over: authenticated already, by a control
 * plane before us. NULL: out of memory.
 */
struct qp_tunnel *qp_tunnels_restore(struct qp_tunnels *t, const struct qp_origin *origin,
	const struct qp_msg_tunnel_state *state);
/* Wipes and frees. It must hold no port any more. */
void qp_tunnels_remove(struct qp_tunnels *t, struct qp_tunnel *tun);

/* The one that waits longest for its client's proof, or NULL. */
struct qp_tunnel *qp_tunnels_oldest_waiting(struct qp_tunnels *t);
/* Calls `each` for those that wait; it may not remove any. */
void qp_tunnels_each_waiting(struct qp_tunnels *t,
	void (*each)(void *ctx, struct qp_tunnel *tun), void *ctx);
unsigned qp_tunnels_count(const struct qp_tunnels *t, enum qp_tunnel_state state);
/* Calls `each` for all of a generation; it may remove the tunnel it is given. */
void qp_tunnels_each_of(struct qp_tunnels *t, uint32_t server_id,
	void (*each)(void *ctx, struct qp_tunnel *tun), void *ctx);

#define QP_TUNNELS_MAX_WAITING 1024u
/*
 * Once half of them wait, so many may be of one IPv4 address or IPv6 /64: who
 * knows a client's public key gets challenges, and must not take everybody's place.
 */
#define QP_TUNNELS_MAX_WAITING_OF_ONE 64u
/* Whether one more from `addr` may wait. */
bool qp_tunnels_may_wait(const struct qp_tunnels *t, const uint8_t addr[16]);

#endif
