/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is a neighbour there, and at which MAC address? The states of RFC 4861, 7.3,
 * for IPv4 too: what a solicitation is there is an ARP request here. Frames go
 * on while a doubt is being cleared up. Runs on the lcore.
 */
#include <string.h>

#include "dataplane/net/internal.h"

/* RFC 4861, 10 */
#define MAX_SOLICITS      3u
#define RETRANS_NS        QP_NET_SEC_NS
#define DELAY_NS          (5 * QP_NET_SEC_NS)
#define BASE_REACHABLE_NS (30 * QP_NET_SEC_NS)
/* … and ours: a router that did not answer is asked again, also when nothing is to be sent. */
#define DEAD_RETRY_NS     (10 * QP_NET_SEC_NS)

static void on_timer(struct qp_timer *t, uint64_t now_ns);

static void
arm(struct qp_net_neigh *n, uint64_t in_ns)
{
	n->timer.fn = on_timer;
	qp_timer_arm(n->net->env.wheel, &n->timer, *n->net->env.now_ns + in_ns);
}

/* Between a half and one and a half times the base (RFC 4861, 6.3.2). */
static uint64_t
reachable_ns(const struct qp_net *net)
{
	return BASE_REACHABLE_NS / 2 + net->env.random(net->env.random_ctx) % BASE_REACHABLE_NS;
}

static void
ask(struct qp_net_neigh *n, const uint8_t *mac)
{
	n->asked++;
	if (qp_ipaddr_is_v4(&n->addr))
		qp_arp_ask(n->net, n, mac);
	else
		qp_ndp_ask(n->net, n, mac);
	arm(n, RETRANS_NS);
}

void
qp_neigh_drop_held(struct qp_net_neigh *n)
{
	struct qp_net *net = n->net;

	for (unsigned i = 0; i < n->nheld; i++)
		qp_net_drop(n->held[i], &net->counters.drop_unresolved);
	net->counters.held -= n->nheld;
	n->nheld = 0;
}

/* Consumes. The newest are worth most (RFC 4861, 7.2.2). */
static void
hold(struct qp_net_neigh *n, struct rte_mbuf *m)
{
	struct qp_net *net = n->net;

	if (n->nheld == QP_NET_HELD) {
		qp_net_drop(n->held[0], &net->counters.drop_held);
		memmove(n->held, n->held + 1, (QP_NET_HELD - 1) * sizeof(n->held[0]));
		n->held[QP_NET_HELD - 1] = m;
		return;
	}
	if (net->counters.held >= net->cfg.max_held) {
		qp_net_drop(m, &net->counters.drop_held);
		return;
	}
	n->held[n->nheld++] = m;
	net->counters.held++;
}

static void
address(struct qp_net_neigh *n, struct rte_mbuf *m)
{
	struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, struct rte_ether_hdr *);

	memcpy(&eth->dst_addr, n->mac, 6);
	memcpy(&eth->src_addr, n->net->port[n->port].mac, 6);
	n->used_ns = *n->net->env.now_ns;
	qp_net_send(n->net, n->port, m);
}

static void
flush(struct qp_net_neigh *n)
{
	struct rte_mbuf *held[QP_NET_HELD];
	unsigned count = n->nheld;

	memcpy(held, n->held, sizeof(held));
	n->net->counters.held -= count;
	n->nheld = 0;
	for (unsigned i = 0; i < count; i++)
		qp_neigh_output(n, held[i]);
}

static void
no_answer(struct qp_net_neigh *n)
{
	QP_NET_COUNT(n->net, neighbours_failed);
	if (!n->pinned) {
		qp_neigh_remove(n);
		return;
	}
	qp_neigh_drop_held(n);
	n->state = QP_NEIGH_NONE;
	n->usable_until_ns = 0;
	n->asked = 0;
	if (!n->dead)
		qp_net_routes_changed(n->net);
	n->dead = true;
	arm(n, DEAD_RETRY_NS);
}

static void
on_timer(struct qp_timer *t, uint64_t now_ns)
{
	struct qp_net_neigh *n = RTE_PTR_SUB(t, offsetof(struct qp_net_neigh, timer));

	if (n->state == QP_NEIGH_DELAY) {
		n->state = QP_NEIGH_PROBE;
		n->asked = 0;
	}
	if (n->state == QP_NEIGH_NONE)
		n->state = QP_NEIGH_INCOMPLETE;
	if (n->asked >= MAX_SOLICITS)
		no_answer(n);
	else
		ask(n, n->state == QP_NEIGH_PROBE ? n->mac : NULL);
}

void
qp_neigh_output(struct qp_net_neigh *n, struct rte_mbuf *m)
{
	switch ((enum qp_neigh_state)n->state) {
	case QP_NEIGH_NONE:
		n->state = QP_NEIGH_INCOMPLETE;
		n->asked = 0;
		hold(n, m);
		ask(n, NULL);
		return;
	case QP_NEIGH_INCOMPLETE:
		hold(n, m);
		return;
	case QP_NEIGH_REACHABLE:
		if (*n->net->env.now_ns < n->usable_until_ns)
			break;
		__attribute__((fallthrough)); /* it was reachable */
	case QP_NEIGH_STALE:
		n->state = QP_NEIGH_DELAY;
		n->usable_until_ns = UINT64_MAX; /* until the timer says something else */
		arm(n, DELAY_NS);
		break;
	case QP_NEIGH_DELAY:
	case QP_NEIGH_PROBE:
		break;
	}
	address(n, m);
}

static void
confirmed(struct qp_net_neigh *n)
{
	const bool awaited = n->state == QP_NEIGH_INCOMPLETE || n->state == QP_NEIGH_DELAY ||
			     n->state == QP_NEIGH_PROBE;

	n->state = QP_NEIGH_REACHABLE;
	n->usable_until_ns = *n->net->env.now_ns + reachable_ns(n->net);
	n->asked = 0;
	qp_timer_cancel(n->net->env.wheel, &n->timer);
	if (awaited)
		qp_neigh_prove(n);
}

static void
doubtful(struct qp_net_neigh *n)
{
	n->state = QP_NEIGH_STALE;
	n->usable_until_ns = 0;
	n->asked = 0;
	qp_timer_cancel(n->net->env.wheel, &n->timer);
}

void
qp_neigh_doubt(struct qp_net_neigh *n)
{
	if (n->state == QP_NEIGH_REACHABLE || n->state == QP_NEIGH_DELAY || n->state == QP_NEIGH_PROBE)
		doubtful(n);
}

void
qp_neigh_told(struct qp_net_neigh *n, const uint8_t mac[6], bool solicited, bool override)
{
	const bool known = n->state != QP_NEIGH_NONE && n->state != QP_NEIGH_INCOMPLETE;
	const bool differs = known && memcmp(n->mac, mac, 6) != 0;

	if (differs && !override) {
		if (n->state == QP_NEIGH_REACHABLE)
			doubtful(n);
		return;
	}
	if (differs)
		QP_NET_COUNT(n->net, neighbours_moved);
	memcpy(n->mac, mac, 6);
	if (n->dead)
		qp_net_routes_changed(n->net);
	n->dead = false;
	if (solicited)
		confirmed(n);
	else if (!known || differs)
		doubtful(n);
	flush(n);
}
