/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The accounts of tunnels and connections. Runs on the owning lcore.
 */
#include "dataplane/usage.h"

#include <arpa/inet.h>
#include <string.h>

#include "dataplane/tunnel_internal.h"

void
qp_usage_peer(struct qp_usage *u, const struct qp_flow *flow)
{
	u->peer = flow->remote;
	u->peer_port_be = flow->rport_be;
	u->own_port_be = flow->lport_be;
}

void
qp_usage_opened(struct qp_tunnel *t, struct qp_usage *u, uint32_t conn_id, const struct qp_flow *flow)
{
	*u = (struct qp_usage) {.since_ns = *t->all->env.now_ns, .conn_id = conn_id};
	if (flow != NULL)
		qp_usage_peer(u, flow);
	t->usage.conns_total++;
	t->usage.conns_now++;
	if (t->client != NULL)
		t->client->conns_now++;
}

void
qp_usage_moved(struct qp_tunnel *t, struct qp_usage *u)
{
	t->usage.in_bytes -= u->in_bytes;
	t->usage.out_bytes -= u->out_bytes;
	t->usage.conns_total--;
	u->moved = true;
}

void
qp_usage_row(const struct qp_tunnel *t, const struct qp_usage *u, struct qp_msg_conn *out)
{
	const uint64_t age_ms = (*t->all->env.now_ns - u->since_ns) / 1000000;

	*out = (struct qp_msg_conn) {
		.tunnel_id = t->id,
		.conn_id = u->conn_id,
		.protocol = t->protocol,
		.local = t->local != NULL,
		.port = t->local != NULL ? ntohs(u->own_port_be) : t->port,
		.peer_port_be = u->peer_port_be,
		.reason = (uint16_t)u->why,
		.age_ms = age_ms < UINT32_MAX ? (uint32_t)age_ms : UINT32_MAX,
		.in_bytes = u->in_bytes,
		.out_bytes = u->out_bytes,
	};
	memcpy(out->peer_addr, u->peer.b, sizeof(out->peer_addr));
}

void
qp_usage_closed(struct qp_tunnel *t, struct qp_usage *u)
{
	struct qp_msg msg;

	t->usage.conns_now--;
	if (t->client != NULL)
		t->client->conns_now--;
	if (u->moved || !t->all->env.audit_conns)
		return;
	qp_usage_why(&u->why, QP_END_FINISHED);
	msg = (struct qp_msg) {.type = QP_MSG_CONN_CLOSED, .version = QP_IPC_VERSION, .id = t->id};
	qp_usage_row(t, u, &msg.conn_closed.conn);
	memcpy(msg.conn_closed.client, t->identity.name, sizeof(msg.conn_closed.client));
	t->all->env.send(t->all->env.send_ctx, &msg);
}

void
qp_usage_refused(struct qp_tunnel *t)
{
	t->all->env.counters->conns_refused++;
	t->usage.conns_refused++;
}

void
qp_usage_in(struct qp_tunnel *t, struct qp_usage *u, uint64_t bytes)
{
	t->usage.in_bytes += bytes;
	u->in_bytes += bytes;
}

void
qp_usage_out(struct qp_tunnel *t, struct qp_usage *u, uint64_t bytes)
{
	t->usage.out_bytes += bytes;
	u->out_bytes += bytes;
}

enum qp_end_reason
qp_usage_reason_of(uint64_t code)
{
	switch (code) {
	case QP_STREAM_RESET:
		return QP_END_CLIENT_RESET;
	case QP_STREAM_REFUSED:
		return QP_END_REFUSED;
	case QP_STREAM_TIMEOUT:
		return QP_END_TIMEOUT;
	case QP_STREAM_PROTOCOL:
		return QP_END_PROTOCOL;
	case QP_STREAM_CLOSED:
		return QP_END_TUNNEL;
	case QP_STREAM_LIMIT:
		return QP_END_NO_MEMORY;
	}
	return QP_END_UNKNOWN;
}
