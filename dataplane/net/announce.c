/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells the links whose our addresses are, so that switches and neighbours turn
 * to this port at once (RFC 5227, 2.3). Runs on the lcore that was told to.
 */
#include "dataplane/net/internal.h"

/* RFC 5227, 1.1 */
#define ANNOUNCE_NUM         2u
#define ANNOUNCE_INTERVAL_NS (2 * QP_NET_SEC_NS)

static void
announce(struct qp_timer *t, uint64_t now_ns)
{
	struct qp_net *net = RTE_PTR_SUB(t, offsetof(struct qp_net, announce));

	for (unsigned i = 0; i < net->nown; i++) {
		const struct qp_net_own *own = &net->own[i];

		if (qp_ipaddr_is_v4(&own->addr))
			qp_arp_announce(net, own, false);
	}
	if (++net->announced < ANNOUNCE_NUM)
		qp_timer_arm(net->env.wheel, t, now_ns + ANNOUNCE_INTERVAL_NS);
}

void
qp_net_announce(struct qp_net *net)
{
	/* First a probe: who has it too answers that (RFC 5227, 2.1). */
	for (unsigned i = 0; i < net->nown; i++) {
		if (qp_ipaddr_is_v4(&net->own[i].addr))
			qp_arp_announce(net, &net->own[i], true);
	}
	net->announced = 0;
	net->announce.fn = announce;
	announce(&net->announce, *net->env.now_ns);
}
