/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A control plane has started anew and knows nothing of the tunnels here: it is
 * told each of them (TUNNEL_STATE), some a turn, and what was asked of its
 * predecessor is asked again. Authentications that it had answered half cannot be
 * finished, since the secrets of that half died with it: their clients come
 * again. Runs on the lcore that owns the tunnels.
 */
#include <string.h>

#include "dataplane/tunnel_internal.h"

/* Of one turn. */
#define MAX_SLOTS 512u
#define MAX_TUNNELS 32u

static void
set_destination(const struct qp_tunnel *t, struct qp_msg_tunnel_state *s)
{
	const char *text = NULL;
	size_t len = 0;

	if (t->local != NULL)
		text = qp_local_destination(t, &len);
	else if (t->asked != NULL) {
		text = t->asked->destination;
		len = t->asked->destination_len;
	}
	if (len > sizeof(s->destination))
		len = sizeof(s->destination);
	if (len > 0)
		memcpy(s->destination, text, len);
	s->destination_len = (uint16_t)len;
}

void
qp_replay_state(const struct qp_tunnel *t, struct qp_msg_tunnel_state *out)
{
	const struct qp_flow *flow = qp_quic_conn_flow(t->conn);

	out->identity = t->identity;
	memcpy(out->peer_addr, flow->remote.b, sizeof(out->peer_addr));
	out->peer_port_be = flow->rport_be;
	out->port = t->port;
	out->protocol = t->protocol;
	out->local = t->local != NULL;
	if (t->local != NULL)
		qp_local_sources(t, &out->source_first, &out->source_count);
	set_destination(t, out);
}

static void
tell_state(struct qp_tunnel *t)
{
	struct qp_msg msg;

	qp_tunnel_message_init(t, &msg, QP_MSG_TUNNEL_STATE);
	qp_replay_state(t, &msg.tunnel_state);
	qp_tunnel_message_send(t, &msg);
}

void
qp_replay_tell(struct qp_tunnel *t)
{
	if (t->told == t->all->epoch)
		return;
	t->told = t->all->epoch;
	switch (t->state) {
	case QP_TUNNEL_STEP1:
		return; /* its first bytes will go to whom we have then */
	case QP_TUNNEL_REPLY:
		/* Perhaps it is in the new ring already: the second one is not looked at. */
		qp_tunnel_ask_auth(t);
		return;
	case QP_TUNNEL_STEP3:
	case QP_TUNNEL_VERDICT:
		qp_tunnel_end(t, QP_APP_SHUTDOWN, "the gateway's control plane was restarted: try again");
		return;
	default:
		break;
	}
	if (!t->authenticated)
		return;
	tell_state(t);
	if (t->state >= QP_TUNNEL_LAST)
		return;
	if (t->local != NULL)
		qp_local_ask_again(t);
	else if (t->state == QP_TUNNEL_GRANT)
		qp_tunnel_ask_forward(t);
}

void
qp_replay_begin(struct qp_tunnels *ts)
{
	ts->epoch++;
	ts->replay_at = 0;
	ts->replaying = true;
}

static void
say_end(struct qp_tunnels *ts)
{
	const struct qp_msg end = {.type = QP_MSG_REPLAY_END, .version = QP_IPC_VERSION};

	ts->env.send(ts->env.send_ctx, &end);
}

void
qp_replay_go_on(struct qp_tunnels *ts)
{
	uint32_t slots = 0, n = 0;
	struct qp_tunnel *t;

	if (!ts->replaying)
		return;
	for (; ts->replay_at < ts->ids.size && slots < MAX_SLOTS && n < MAX_TUNNELS; slots++) {
		t = qp_slots_at(&ts->ids, ts->replay_at++);
		if (t == NULL)
			continue;
		qp_replay_tell(t);
		n++;
	}
	if (ts->replay_at < ts->ids.size)
		return;
	ts->replaying = false;
	say_end(ts);
}
