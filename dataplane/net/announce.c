/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells the links whose our addresses are, so that switches and neighbours turn
 * to this port at once: RFC 5227, 2.3; RFC 4861, 7.2.6; and asks routers where
 * they are wanted (RFC 4861, 6.3.7). Runs on the lcore that was told to.
 */
#include "dataplane/net/internal.h"

/* By the second since it began. */
#define ARP_LAST 2u /* RFC 5227, 1.1: two, two seconds apart */
#define NA_LAST  3u /* RFC 4861, 10: three, one second apart; a tentative one not at once */
#define RS_FIRST 1u /* when the link-local address is in use */
#define RS_EACH  4u
#define LAST     (RS_FIRST + 2 * RS_EACH)

static void
announce_own(struct qp_net *net, const struct qp_net_own *own, unsigned second)
{
	if (qp_ipaddr_is_v4(&own->addr)) {
		if (second <= ARP_LAST && second % 2 == 0)
			qp_arp_announce(net, own, false);
	} else if (second == 0 && own->checked_ns > *net->env.now_ns) {
		qp_ndp_probe(net, own);
	} else if (own->state == QP_OWN_VALID && second <= NA_LAST) {
		qp_ndp_advertise(net, own, NULL, NULL);
	}
}

static void
announce_port(struct qp_net *net, unsigned port, unsigned second)
{
	/* A robustness of two (RFC 3810, 6.1), and before the first solicitation (RFC 4862, 5.4.2). */
	if (second <= 1)
		qp_mld_report(net, port);
	if (net->link[port].accept_ra && !qp_ra_known(net, port) && second % RS_EACH == RS_FIRST)
		qp_ndp_ask_routers(net, port);
}

static void
announce(struct qp_timer *t, uint64_t now_ns)
{
	struct qp_net *net = RTE_PTR_SUB(t, offsetof(struct qp_net, announce));
	const unsigned second = net->announced++;

	for (unsigned p = 0; p < net->nports; p++)
		announce_port(net, p, second);
	for (unsigned i = 0; i < net->nown; i++)
		announce_own(net, &net->own[i], second);
	if (second < LAST)
		qp_timer_arm(net->env.wheel, t, now_ns + QP_NET_SEC_NS);
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
