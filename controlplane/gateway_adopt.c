/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking over from a control plane that was killed: what the data planes tell
 * of their tunnels is put where the predecessor had it. Until all have told
 * all, questions wait, so that no port is given twice. Loop thread.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "common/wire.h"
#include "controlplane/gateway_internal.h"
#include "controlplane/reexec.h"

/* What a gateway full of clients asks within the milliseconds that a take-over needs. */
#define MAX_WAITING 16384u
#define RESERVE_AGAIN_MS 1000u

struct qp_waiting {
	struct qp_origin from;
	struct qp_msg msg;
	bool recorded; /* the rows of it are in the audit log */
};

/* Asks for something, or tells the end of what has not been told yet. */
static bool
must_wait(const struct qp_gateway *g, const struct qp_origin *from, const struct qp_msg *m)
{
	switch (m->type) {
	case QP_MSG_AUTH_BEGIN:
	case QP_MSG_FORWARD_REQUEST:
	case QP_MSG_LOCAL_REQUEST:
		return true;
	case QP_MSG_TUNNEL_CLOSED:
		return m->tunnel_closed.authenticated != 0 &&
		       qp_tunnels_find(g->tunnels, from) == NULL;
	}
	return false;
}

static int
ip_protocol(const struct qp_msg_tunnel_state *s)
{
	return s->protocol == QP_WIRE_UDP ? IPPROTO_UDP : IPPROTO_TCP;
}

/* Of a port that its tunnel had to its end: an heir's that is told already is not. */
static void
record_port(const struct qp_gateway *g, struct qp_tunnel *tun, const struct qp_msg_tunnel_closed *c)
{
	const struct qp_msg_tunnel_state *s = &c->state;
	char destination[1024];
	const struct qp_port port = {.port = s->port, .protocol = (uint8_t)ip_protocol(s),
		.opened_at = s->identity.since, .destination = destination, .tunnel = tun};
	size_t len = s->destination_len;

	if (s->local != 0 || s->port == 0 || qp_ports_find(g->ports, port.protocol, s->port) != NULL)
		return;
	if (len > sizeof(s->destination))
		len = sizeof(s->destination);
	qp_slice_printable((struct qp_slice) {s->destination, len}, destination, sizeof(destination));
	qp_record_port_closed(&g->records, &port, &g->o->forward_addr,
		qp_end_reason_name(c->reason), &c->usage);
}

/*
 * The end of a tunnel that waits is in no ring any more, and in no table yet: a
 * kill now would lose it. So its rows are written at once, all else waits.
 */
static bool
record_end(const struct qp_gateway *g, const struct qp_origin *from, const struct qp_msg *m)
{
	const struct qp_msg_tunnel_closed *c = &m->tunnel_closed;
	struct qp_tunnel tun = {.origin = *from, .state = QP_TUNNEL_AUTHENTICATED,
		.identity = c->state.identity, .peer_port_be = c->state.peer_port_be};

	if (m->type != QP_MSG_TUNNEL_CLOSED)
		return false;
	tun.identity.name[sizeof(tun.identity.name) - 1] = '\0';
	memcpy(tun.peer_addr, c->state.peer_addr, sizeof(tun.peer_addr));
	record_port(g, &tun, c);
	qp_record_tunnel_closed(&g->records, &tun, c->reason, &c->usage);
	return true;
}

/* What has waited. */
static void
take_waiting(struct qp_gateway *g, const struct qp_waiting *w)
{
	const struct qp_records told = g->records;

	if (w->recorded)
		g->records = (struct qp_records) {0};
	qp_gateway_supervisor_ops.message(g, &w->from, &w->msg);
	g->records = told;
}

bool
qp_gateway_waits(struct qp_gateway *g, const struct qp_origin *from, const struct qp_msg *m)
{
	if (!qp_supervisor_adopting(g->supervisor) || !must_wait(g, from, m))
		return false;
	if (g->nwaiting == g->waiting_cap) {
		unsigned cap = g->waiting_cap ? g->waiting_cap * 2 : 64;
		struct qp_waiting *grown = cap <= MAX_WAITING
			? reallocarray(g->waiting, cap, sizeof(*g->waiting)) : NULL;

		if (grown == NULL)
			return false; /* answered without knowing all: its port may be refused */
		g->waiting = grown;
		g->waiting_cap = cap;
	}
	g->waiting[g->nwaiting++] = (struct qp_waiting) {*from, *m, record_end(g, from, m)};
	return true;
}

static int
adopt_forward(struct qp_gateway *g, struct qp_tunnel *tun, const struct qp_msg_tunnel_state *s,
	struct qp_errmsg *msg)
{
	int err = 0;

	g->restoring = true;
	if (s->local != 0) {
		qp_locals_adopt(tun, s);
		err = qp_sources_adopt(g->sources, &tun->origin,
			ip_protocol(s), s->source_first, s->source_count, msg);
	} else if (s->port != 0) {
		err = qp_ports_adopt(g->ports, tun, s, msg);
	}
	g->restoring = false;
	return err;
}

void
qp_gateway_tunnel_state(struct qp_gateway *g, const struct qp_origin *from, const struct qp_msg *m)
{
	const struct qp_msg_tunnel_state *s = &m->tunnel_state;
	struct qp_msg end = {.type = QP_MSG_TUNNEL_CLOSE,
		.tunnel_close = {.code = QP_APP_SHUTDOWN,
			.phrase = "the gateway could not take this tunnel over"}};
	struct qp_tunnel *tun;
	struct qp_errmsg msg;

	if (qp_tunnels_find(g->tunnels, from) != NULL)
		return;
	tun = qp_tunnels_restore(g->tunnels, from, s);
	if (tun != NULL && adopt_forward(g, tun, s, &msg) == 0) {
		qp_enforce_adopt(g->enforce, tun);
		return;
	}
	qp_log(QP_LOG_ERROR, "a tunnel cannot be taken over: it is ended",
		QP_LOG_U64("port", s->port),
		QP_LOG_STR("reason", tun == NULL ? "out of memory" : msg.text));
	qp_supervisor_send(g->supervisor, from, &end);
}

void
qp_gateway_learn_end(struct qp_gateway *g, const struct qp_origin *from, const struct qp_msg *m)
{
	const struct qp_msg_tunnel_state *s = &m->tunnel_closed.state;
	struct qp_tunnel *tun;
	struct qp_errmsg msg;

	if (m->tunnel_closed.authenticated == 0 || qp_tunnels_find(g->tunnels, from) != NULL)
		return;
	tun = qp_tunnels_restore(g->tunnels, from, s);
	/* Perhaps another tunnel has the port by now: then this one has none to give back. */
	if (tun != NULL)
		(void)adopt_forward(g, tun, s, &msg);
}

static void
reserve_again(void *ctx)
{
	struct qp_gateway *g = ctx;

	if (g->network.ops->retry(g->network.net) > 0)
		qp_loop_timer_set(g->loop, &g->reserve, RESERVE_AGAIN_MS);
}

void
qp_gateway_adopted(void *ctx)
{
	struct qp_gateway *g = ctx;
	struct qp_waiting *waiting = g->waiting;
	unsigned n = g->nwaiting;

	const char *from = qp_reexec_follows() ? "took over from the control plane that this one was before"
					       : "took over from a control plane that was killed";

	qp_reexec_settle();
	g->network.ops->prune(g->network.net);
	qp_gateway_nic_adopted(g);
	qp_log(QP_LOG_INFO, from,
		QP_LOG_U64("tunnels", qp_tunnels_count(g->tunnels, QP_TUNNEL_AUTHENTICATED)),
		QP_LOG_U64("ports", qp_ports_count(g->ports)), QP_LOG_U64("waited", n),
		QP_LOG_U64("ms", (qp_now_ns() - g->started_ns) / 1000000u));
	g->waiting = NULL;
	g->nwaiting = g->waiting_cap = 0;
	for (unsigned i = 0; i < n; i++)
		take_waiting(g, &waiting[i]);
	free(waiting);
	g->reserve = (struct qp_loop_timer) {.fire = reserve_again, .ctx = g};
	reserve_again(g);
	if (!qp_owner_alive(g->owner))
		qp_gateway_owner_died(g, "died before this control plane started");
	qp_gateway_check_owner(g);
	qp_gateway_may_hand_over(g);
}

void
qp_gateway_lifeline(void *ctx, int fd)
{
	struct qp_gateway *g = ctx;

	qp_owner_hold(g->owner, fd);
}

void
qp_gateway_leave(struct qp_gateway *g, const char *why)
{
	qp_log(QP_LOG_ERROR, "cannot take over: the data planes run on and wait for another control "
		"plane", QP_LOG_STR("reason", why));
	g->leaving = g->stopping = true;
	qp_supervisor_leave(g->supervisor);
	qp_loop_stop(g->loop);
}
