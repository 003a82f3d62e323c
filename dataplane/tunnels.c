/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All tunnels of an lcore: what the control plane answers them, what they are
 * owed when there is memory again, and their end together. Runs on that lcore.
 */
#include <stdlib.h>
#include <string.h>

#include "dataplane/rtt.h"
#include "dataplane/retire.h"
#include "dataplane/tunnel_internal.h"

#define PATIENCE_NS (1000ull * 1000 * 1000) /* with scarce mbufs, before connections are reset */
#define RELIEF_NS (100ull * 1000 * 1000)    /* between such resets */

/* What the control plane answers. */

static void
auth_reply(struct qp_tunnel *t, const struct qp_msg *msg)
{
	if (t->state != QP_TUNNEL_REPLY || t->control == NULL)
		return;
	if (qp_quic_stream_write_bytes(t->control, msg->auth_bytes.bytes, msg->auth_bytes.len) < 0) {
		qp_tunnel_end(t, QP_APP_INTERNAL, NULL);
		return;
	}
	free(t->began);
	t->began = NULL;
	t->state = QP_TUNNEL_STEP3;
	qp_tunnel_process(t);
}

/* False: out of memory; the tunnel would be without limits. */
static bool
identify(struct qp_tunnel *t, const struct qp_msg_identity *identity)
{
	t->identity = *identity;
	return qp_client_attach(t, identity->client_id);
}

static void
verdict(struct qp_tunnel *t, const struct qp_msg *msg)
{
	if (t->authenticated && msg->verdict.accepted)
		(void)identify(t, &msg->verdict.identity); /* a control plane that numbers clients anew */
	if (t->state != QP_TUNNEL_REPLY && t->state != QP_TUNNEL_VERDICT)
		return;
	if (!msg->verdict.accepted || t->state != QP_TUNNEL_VERDICT) {
		qp_tunnel_end(t, QP_APP_AUTH, NULL);
		return;
	}
	t->state = QP_TUNNEL_REQUEST;
	t->authenticated = true;
	if (!identify(t, &msg->verdict.identity)) {
		qp_tunnel_end(t, QP_APP_INTERNAL, NULL);
		return;
	}
	qp_quic_conn_trust(t->conn);
	qp_tunnel_give_credit(t, t->early_bytes);
	t->all->env.counters->tunnels_total++;
	t->all->env.counters->tunnels_active++;
	qp_tunnel_process(t);
}

/* What it orders. */

static void
close_tunnel(struct qp_tunnel *t, const struct qp_msg_tunnel_close *order)
{
	if (t->ordered_phrase == NULL)
		t->ordered_phrase = strndup(order->phrase, sizeof(order->phrase));
	qp_usage_why(&t->why, order->code == QP_APP_SHUTDOWN ? QP_END_SHUTDOWN : QP_END_KICKED);
	if (order->moved)
		qp_forward_leave(t);
	/* At once, by the connection's end: a SessionClose before it would keep the phrase from the client. */
	qp_tunnel_end(t, order->code, t->ordered_phrase);
}

static void
close_conn(struct qp_tunnel *t, uint32_t id)
{
	void *ctx = t->local != NULL ? qp_local_find(t, id) : qp_slots_get(&t->relay_ids, id);

	if (ctx == NULL)
		return;
	if (*(enum qp_stream_kind *)ctx == QP_STREAM_UDP)
		qp_udp_flow_kick(ctx);
	else
		qp_relay_kick(ctx);
}

static void
message_to_all(struct qp_tunnels *ts, const struct qp_msg *msg)
{
	switch (msg->type) {
	case QP_MSG_CLIENT_LIMITS:
	case QP_MSG_CLIENT_SOURCES:
	case QP_MSG_CLIENT_FORGET:
		qp_clients_message(ts, msg);
		break;
	case QP_MSG_LIST_TUNNELS:
	case QP_MSG_LIST_CONNS:
		qp_listing_message(ts, msg);
		break;
	case QP_MSG_REPLAY:
		qp_replay_begin(ts);
		break;
	case QP_MSG_RETIRE:
		qp_retire_begin(ts, &msg->retire);
		break;
	case QP_MSG_FORWARD_GRANT:
		qp_forward_granted(ts, NULL, msg);
		break;
	default:
		break;
	}
}

void
qp_tunnels_message(struct qp_tunnels *ts, const struct qp_msg *msg)
{
	struct qp_tunnel *t = qp_slots_get(&ts->ids, msg->id);

	if (t == NULL) {
		message_to_all(ts, msg);
		return;
	}
	switch (msg->type) {
	case QP_MSG_AUTH_REPLY:
		auth_reply(t, msg);
		break;
	case QP_MSG_VERDICT:
		verdict(t, msg);
		break;
	case QP_MSG_FORWARD_GRANT:
		qp_forward_granted(ts, t, msg);
		break;
	case QP_MSG_FORWARD_DENY:
		qp_forward_denied(t, msg);
		break;
	case QP_MSG_LOCAL_GRANT:
		qp_local_granted(t, msg);
		break;
	case QP_MSG_LOCAL_DENY:
		qp_local_denied(t, msg);
		break;
	case QP_MSG_TUNNEL_CLOSE:
		close_tunnel(t, &msg->tunnel_close);
		break;
	case QP_MSG_LIST_CONNS:
		qp_listing_message(ts, msg);
		break;
	case QP_MSG_CONN_CLOSE:
		close_conn(t, msg->conn_close.conn_id);
		break;
	default:
		break;
	}
}

/*
 * Mbufs have been scarce for so long that what holds them does not move: some
 * client or its outside reads nothing. Who holds most loses it, so that the
 * others are served.
 */
static void
on_relief(struct qp_timer *timer, uint64_t now_ns)
{
	struct qp_tunnels *ts =
		(struct qp_tunnels *)((char *)timer - offsetof(struct qp_tunnels, relief));
	struct qp_tunnel *t, *most = NULL;

	LIST_FOREACH(t, &ts->list, link)
		if (t->held_bytes > 0 && (most == NULL || t->held_bytes > most->held_bytes))
			most = t;
	if (most != NULL) {
		qp_relay_abort_largest(most);
		qp_udp_abort_largest(most);
	}
	qp_timer_arm(ts->env.wheel, timer, now_ns + RELIEF_NS);
}

struct qp_tunnels *
qp_tunnels_new(const struct qp_tunnels_env *env)
{
	struct qp_tunnels *ts = calloc(1, sizeof(*ts));

	if (ts == NULL)
		return NULL;
	ts->env = *env;
	LIST_INIT(&ts->list);
	TAILQ_INIT(&ts->dirty);
	ts->relief.fn = on_relief;
	return ts;
}

void
qp_tunnels_free(struct qp_tunnels *ts)
{
	if (ts == NULL)
		return;
	qp_timer_cancel(ts->env.wheel, &ts->relief);
	qp_retire_end(ts);
	qp_clients_free(ts);
	qp_slots_fini(&ts->ids);
	free(ts);
}

/* Memory is there again: what clients are owed. */
static void
pay_credit(struct qp_tunnels *ts)
{
	struct qp_tunnel *t;

	LIST_FOREACH(t, &ts->list, link) {
		if (t->owed_credit == 0)
			continue;
		qp_quic_conn_consumed(t->conn, t->owed_credit);
		t->owed_credit = 0;
	}
	ts->owed = false;
}

static void
watch_memory(struct qp_tunnels *ts)
{
	if (*ts->env.mem_level != QP_MEM_SCARCE)
		qp_timer_cancel(ts->env.wheel, &ts->relief);
	else if (!qp_timer_armed(&ts->relief))
		qp_timer_arm(ts->env.wheel, &ts->relief, *ts->env.now_ns + PATIENCE_NS);
}

void
qp_tunnels_flush(struct qp_tunnels *ts)
{
	watch_memory(ts);
	qp_relay_flush(ts);
	qp_udp_flush(ts->env.udp);
	qp_replay_go_on(ts);
	qp_sweep_go_on(ts);
	if (ts->owed && *ts->env.mem_level == QP_MEM_PLENTY)
		pay_credit(ts);
}

void
qp_tunnels_shutdown(struct qp_tunnels *ts)
{
	struct qp_tunnel *t;

	LIST_FOREACH(t, &ts->list, link)
		qp_tunnel_goodbye(t);
}

void
qp_tunnels_sample(struct qp_tunnels *ts, struct qp_rtt_histogram *rtt)
{
	struct qp_tunnel *t = ts->sampled_next != NULL ? ts->sampled_next : LIST_FIRST(&ts->list);

	if (t == NULL)
		return;
	ts->sampled_next = LIST_NEXT(t, link);
	if (t->authenticated)
		qp_rtt_count(rtt, qp_quic_conn_rtt(t->conn) / 1000);
}

bool
qp_tunnels_busy(const struct qp_tunnels *ts)
{
	return ts->replaying || ts->sweeping;
}

uint32_t
qp_tunnels_count(const struct qp_tunnels *ts)
{
	return ts->ids.used;
}
