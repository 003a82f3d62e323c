/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_LOCALS_H
#define QP_CONTROLPLANE_LOCALS_H

#include <netinet/in.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/error.h"
#include "controlplane/allow.h"
#include "controlplane/hostnet.h"
#include "controlplane/msg.h"
#include "controlplane/records.h"
#include "controlplane/resolver.h"
#include "controlplane/sources.h"
#include "controlplane/tunnels.h"

/*
 * Local forwards: a tunnel asks where its client's destination is; the name is
 * resolved, the policy decides on each address, the kernel tells the way, and
 * the tunnel is answered in words that its client's user reads. Of a
 * forward only its addresses are kept, for the day when the policy changes; the
 * tunnel asks again when its answer has grown old.
 * Owner: the loop thread.
 */
struct qp_locals_config {
	struct qp_tunnels *tunnels;
	struct qp_sender sender;
	/* What the tunnel's client may reach; NULL, and a line for its user: it may nothing any more. */
	const struct qp_allow *(*rights)(void *ctx, const struct qp_tunnel *tun,
		struct qp_errmsg *msg);
	/* Whether it may have a forward more: QP_E_PERM and a line, or 0. NULL: any number. */
	int (*room)(void *ctx, const struct qp_tunnel *tun, struct qp_errmsg *msg);
	void *rights_ctx; /* of both */
	struct qp_sources *sources;
	uint32_t source_count;        /* ports of a worker's block */
	struct qp_sockaddr private_api; /* never a destination */
	struct qp_loop *loop;
	/* qp_hostnet_route's contract. */
	int (*route)(void *ctx, const struct in6_addr *dest, struct qp_hostnet_route *out,
		struct qp_errmsg *msg);
	void *route_ctx;
	const struct qp_records *records; /* NULL: nobody is told; borrowed */
};

struct qp_locals;

int qp_locals_new(const struct qp_locals_config *cfg, struct qp_locals **out,
	struct qp_errmsg *msg);
/* NULL is allowed. */
void qp_locals_free(struct qp_locals *l);

/*
 * A tunnel of a data plane that was taken over has a local forward: where it leads
 * is known again, if that is an address; what a name means is asked for in its time.
 */
void qp_locals_adopt(struct qp_tunnel *tun, const struct qp_msg_tunnel_state *s);
/* LOCAL_REQUEST: answers with LOCAL_GRANT or LOCAL_DENY, now or once the name is resolved. */
void qp_locals_request(struct qp_locals *l, const struct qp_origin *from, const struct qp_msg *m);

#endif
