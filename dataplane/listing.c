/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LIST_TUNNELS and LIST_CONNS. A row's place is its slot, which it keeps for
 * life: so a cursor is the next slot's number, it stays good while others come
 * and go, and who lives through the whole listing is told exactly once. Nothing
 * is kept between two questions. Each answer is bounded in rows and in slots
 * looked at, so that the packets behind it wait for some microseconds; a
 * listing goes on where it ended. Runs on the lcore that owns the tunnels.
 */
#include <rte_common.h>
#include <string.h>

#include "dataplane/tunnel_internal.h"
#include "dataplane/udp/internal.h"

/* Of one answer. */
#define MAX_ROWS 56u
#define MAX_SLOTS 1024u

/* Cursor of LIST_CONNS: the tunnel's slot, and the connection's in it. */
#define CONN_BITS 32u

struct answer {
	struct qp_tunnels *ts;
	struct qp_msg msg;
	uint32_t rows;  /* so far */
	uint32_t max;
	uint32_t slots; /* looked at so far */
};

static void
begin(struct answer *a, struct qp_tunnels *ts, const struct qp_msg *q, enum qp_msg_type type)
{
	*a = (struct answer) {.ts = ts, .max = RTE_MIN(q->list.max, MAX_ROWS)};
	a->msg.type = (uint16_t)type;
	a->msg.version = QP_IPC_VERSION;
	a->msg.id = q->id;
}

static bool
is_full(const struct answer *a)
{
	return a->rows >= a->max || a->slots >= MAX_SLOTS;
}

static void
send_rows(struct answer *a)
{
	a->ts->env.send(a->ts->env.send_ctx, &a->msg);
}

/* Tunnels. */

static void
fill_tunnel(const struct qp_tunnel *t, uint64_t place, struct qp_msg_tunnel_row *row)
{
	const struct qp_flow *flow = qp_quic_conn_flow(t->conn);
	const uint64_t rtt_us = qp_quic_conn_rtt(t->conn) / 1000;

	*row = (struct qp_msg_tunnel_row) {
		.id = t->id,
		.place = place,
		.peer_port_be = flow->rport_be,
		.rtt_us = rtt_us < UINT32_MAX ? (uint32_t)rtt_us : UINT32_MAX,
		.usage = t->usage,
	};
	memcpy(row->peer_addr, flow->remote.b, sizeof(row->peer_addr));
}

static void
add_tunnel(struct answer *a, const struct qp_tunnel *t, uint64_t place)
{
	struct qp_msg_tunnel_rows *rows = &a->msg.tunnel_rows;

	if (rows->n == QP_MSG_TUNNEL_ROWS_MAX) {
		rows->more = 1;
		send_rows(a);
		rows->more = rows->n = 0;
	}
	fill_tunnel(t, place, &rows->row[rows->n++]);
	a->rows++;
}

static void
list_tunnels(struct qp_tunnels *ts, const struct qp_msg *q)
{
	uint64_t at = q->list.cursor;
	struct answer a;

	begin(&a, ts, q, QP_MSG_TUNNEL_ROWS);
	a.msg.tunnel_rows.query = q->list.query;
	for (; at < ts->ids.size && !is_full(&a); at++, a.slots++) {
		const struct qp_tunnel *t = qp_slots_at(&ts->ids, (uint32_t)at);

		if (t != NULL && t->authenticated && t->state != QP_TUNNEL_ENDED)
			add_tunnel(&a, t, at);
	}
	a.msg.tunnel_rows.next = at < ts->ids.size ? at : 0;
	send_rows(&a);
}

/* Connections. */

static uint64_t
slot_of(const struct qp_tunnel *t)
{
	return t->id & ((1u << QP_SLOT_BITS) - 1);
}

static void
add_conn(struct answer *a, const struct qp_tunnel *t, uint32_t slot, const struct qp_usage *u)
{
	struct qp_msg_conn_rows *rows = &a->msg.conn_rows;

	if (rows->n == QP_MSG_CONN_ROWS_MAX) {
		rows->more = 1;
		send_rows(a);
		rows->more = rows->n = 0;
	}
	qp_usage_row(t, u, &rows->row[rows->n]);
	rows->row[rows->n++].place = slot_of(t) << CONN_BITS | slot;
	a->rows++;
}

/* A stream whose id is whole; of UDP it is none before it has become a flow. */
static bool
is_a_connection(const struct qp_tunnel *t, const struct qp_relay *r)
{
	return r->kind == QP_STREAM_RELAY && (t->local == NULL || t->protocol != QP_WIRE_UDP);
}

/* From that slot on; the next one, 0 after the last. */
static uint32_t
list_of_tunnel(struct answer *a, const struct qp_tunnel *t, uint32_t at)
{
	const struct qp_slots *ids = &t->relay_ids;

	for (; at < ids->size && !is_full(a); at++, a->slots++) {
		const void *ctx = qp_slots_at(ids, at);

		if (ctx == NULL)
			continue;
		if (*(const enum qp_stream_kind *)ctx == QP_STREAM_UDP)
			add_conn(a, t, at, &((const struct qp_udp_flow *)ctx)->use);
		else if (is_a_connection(t, ctx))
			add_conn(a, t, at, &((const struct qp_relay *)ctx)->use);
	}
	return at < ids->size ? at : 0;
}

static uint64_t
list_of_all(struct answer *a, uint64_t cursor)
{
	const struct qp_slots *ids = &a->ts->ids;
	uint64_t tunnel = cursor >> CONN_BITS;
	uint32_t conn = (uint32_t)cursor;

	for (; tunnel < ids->size && !is_full(a); tunnel++, a->slots++) {
		const struct qp_tunnel *t = qp_slots_at(ids, (uint32_t)tunnel);

		if (t != NULL)
			conn = list_of_tunnel(a, t, conn);
		else
			conn = 0;
		if (conn != 0)
			return tunnel << CONN_BITS | conn;
	}
	return tunnel < ids->size ? tunnel << CONN_BITS : 0;
}

static void
list_conns(struct qp_tunnels *ts, const struct qp_msg *q)
{
	const struct qp_tunnel *t = q->id != 0 ? qp_slots_get(&ts->ids, q->id) : NULL;
	struct answer a;

	begin(&a, ts, q, QP_MSG_CONN_ROWS);
	a.msg.conn_rows.query = q->list.query;
	if (t != NULL)
		a.msg.conn_rows.next = list_of_tunnel(&a, t, (uint32_t)q->list.cursor);
	else if (q->id == 0)
		a.msg.conn_rows.next = list_of_all(&a, q->list.cursor);
	send_rows(&a);
}

void
qp_listing_message(struct qp_tunnels *ts, const struct qp_msg *msg)
{
	if (msg->type == QP_MSG_LIST_TUNNELS)
		list_tunnels(ts, msg);
	else
		list_conns(ts, msg);
}
