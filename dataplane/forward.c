/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port of a remote forward: granted, denied, listened on, and handed from one
 * tunnel of a client to the next without a moment at which a connection would be
 * refused. Runs on the lcore that owns the tunnel.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/tunnel_internal.h"

void
qp_forward_unlisten(struct qp_tunnel *t)
{
	if (t->listener != NULL)
		qp_tcp_unlisten(t->listener);
	t->listener = NULL;
	if (t->udp_port != NULL)
		qp_udp_unlisten(t->udp_port);
	t->udp_port = NULL;
	t->listens_on = 0;
}

/* UDP has nothing to do: a datagram for nobody's port is not answered anyway. */
void
qp_forward_leave(struct qp_tunnel *t)
{
	if (t->listener != NULL)
		qp_tcp_listener_leave(t->listener);
	t->listener = NULL;
	qp_forward_unlisten(t);
}

/* What the other tunnel listens with is this one's from now on. */
static void
take_listener(struct qp_tunnel *t, struct qp_tunnel *from, const struct qp_ipaddr *addr)
{
	t->listener = from->listener;
	if (t->listener != NULL)
		qp_tcp_listener_give(t->listener, addr, t);
	from->listener = NULL;
	t->udp_port = from->udp_port;
	if (t->udp_port != NULL)
		qp_udp_port_give(t->udp_port, addr, t);
	from->udp_port = NULL;
	t->listens_on = from->listens_on;
	from->listens_on = 0;
}

static int
listen_anew(struct qp_tunnel *t, const struct qp_ipaddr *addr, uint16_t port)
{
	const struct qp_tunnels_env *env = &t->all->env;
	int rc = QP_E_UNSUPPORTED;

	if (t->protocol == QP_WIRE_TCP)
		rc = qp_tcp_listen(
			env->tcp, addr, htons(port), &qp_relay_tcp_ops, t, &t->listener);
	else if (t->protocol == QP_WIRE_UDP)
		rc = qp_udp_listen(env->udp, addr, htons(port), t, &t->udp_port);
	if (rc == 0)
		t->listens_on = port;
	return rc;
}

/* `from`: the tunnel here that has had the port until now, or NULL. */
static int
listen_on(struct qp_tunnel *t, const struct qp_msg_forward_answer *a, struct qp_tunnel *from)
{
	const struct qp_ipaddr *addr = NULL;
	struct qp_ipaddr only;

	memcpy(only.b, a->addr, sizeof(only.b));
	if ((only.q[0] | only.q[1]) != 0)
		addr = &only;
	if (t->listens_on == a->port && t->protocol == a->protocol)
		return 0; /* since it was told to listen_only */
	qp_forward_unlisten(t);
	t->protocol = a->protocol;
	if (from == NULL || from->listens_on != a->port || from->protocol != a->protocol)
		return listen_anew(t, addr, a->port);
	take_listener(t, from, addr);
	return 0;
}

/* A port was granted to a tunnel that has no use for it: give it back. */
static void
return_port(struct qp_tunnels *ts, const struct qp_msg *msg)
{
	struct qp_msg back = {.type = QP_MSG_FORWARD_CLOSED, .version = QP_IPC_VERSION,
		.id = msg->id};

	if (msg->forward_answer.listen_only)
		return; /* it is not this tunnel's yet, nor anybody's here when the tunnel ends */
	back.forward_closed.port = msg->forward_answer.port;
	back.forward_closed.protocol = msg->forward_answer.protocol;
	ts->env.send(ts->env.send_ctx, &back);
}

/* It has lost its port, which the control plane holds against it already. */
static void
end_loser(struct qp_tunnel *loser)
{
	char phrase[128];

	if (loser == NULL)
		return;
	snprintf(phrase, sizeof(phrase), "a new tunnel of '%.64s' has taken its port over",
		loser->identity.name);
	if (loser->ordered_phrase == NULL)
		loser->ordered_phrase = strdup(phrase);
	qp_usage_why(&loser->why, QP_END_KICKED);
	qp_tunnel_end(loser, QP_APP_NONE, loser->ordered_phrase);
}

static void
say_listens(struct qp_tunnel *t)
{
	struct qp_msg msg;

	qp_tunnel_message_init(t, &msg, QP_MSG_FORWARD_LISTENS);
	msg.forward.port = t->listens_on;
	msg.forward.protocol = t->protocol;
	qp_tunnel_message_send(t, &msg);
}

static void
refuse(struct qp_tunnel *t, int rc)
{
	qp_tunnel_respond(t, QP_WIRE_REMOTE_FORWARD_RESPONSE,
		rc == QP_E_INUSE ? QP_WIRE_PORT_IN_USE : QP_WIRE_INTERNAL_ERROR,
		qp_slice_of(qp_strerror(rc)));
	qp_tunnel_last_words(t, QP_APP_REFUSED, NULL);
}

static void
open_port(struct qp_tunnel *t, const struct qp_msg_forward_answer *a)
{
	t->port = a->port;
	qp_timer_cancel(t->all->env.wheel, &t->deadline);
	t->state = QP_TUNNEL_OPEN;
	qp_tunnel_respond(t, QP_WIRE_REMOTE_FORWARD_RESPONSE, QP_WIRE_SUCCESS,
		(struct qp_slice) {a->message, a->message_len});
	qp_tunnel_process(t);
	/* Who came between this worker's listening and now. */
	qp_relay_open_waiting(t);
	qp_udp_open_waiting(t);
}

void
qp_forward_granted(struct qp_tunnels *ts, struct qp_tunnel *t, const struct qp_msg *msg)
{
	const struct qp_msg_forward_answer *a = &msg->forward_answer;
	struct qp_tunnel *loser = qp_slots_get(&ts->ids, a->takes_from);
	int rc;

	if (t == NULL || t->state != QP_TUNNEL_GRANT || t->local != NULL) {
		/* Asked twice, of two control planes: what is open stays open. */
		if (t == NULL || t->port != a->port || t->protocol != a->protocol) {
			return_port(ts, msg);
			end_loser(loser);
		}
		return;
	}
	rc = listen_on(t, a, loser);
	if (rc < 0) {
		return_port(ts, msg);
		refuse(t, rc);
	} else if (a->listen_only) {
		say_listens(t);
	} else {
		open_port(t, a);
	}
	end_loser(loser);
}

void
qp_forward_denied(struct qp_tunnel *t, const struct qp_msg *msg)
{
	const struct qp_msg_forward_answer *a = &msg->forward_answer;

	if (t->state != QP_TUNNEL_GRANT || t->local != NULL)
		return;
	qp_tunnel_respond(t, QP_WIRE_REMOTE_FORWARD_RESPONSE, a->status,
		(struct qp_slice) {a->message, a->message_len});
	qp_tunnel_last_words(t, QP_APP_REFUSED, NULL);
}
