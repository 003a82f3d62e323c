/* SPDX-License-Identifier: Apache-2.0 */
/* What the prompt asks a worker about its tunnels and neighbours. Runs on the lcore that owns them; bounded as in listing.c. */
#include "dataplane/sight.h"

#include <string.h>

#include "dataplane/tunnel_internal.h"

#define MAX_SLOTS 1024u

static void
fill(const struct qp_tunnel *t, struct qp_sight_row *row)
{
	const struct qp_flow *flow = qp_quic_conn_flow(t->conn);
	const uint64_t rtt_us = qp_quic_conn_rtt(t->conn) / 1000;

	*row = (struct qp_sight_row) {
		.id = t->id,
		.peer_port_be = flow->rport_be,
		.port = t->port,
		.protocol = t->protocol,
		.local = t->local != NULL,
		.rtt_us = rtt_us < UINT32_MAX ? (uint32_t)rtt_us : UINT32_MAX,
		.usage = t->usage,
	};
	memcpy(row->peer_addr, flow->remote.b, sizeof(row->peer_addr));
	memcpy(row->name, t->identity.name, sizeof(row->name));
	row->name[sizeof(row->name) - 1] = '\0';
}

static void
show_tunnels(struct qp_sight *s, struct qp_tunnels *ts)
{
	uint32_t at = s->cursor, looked = 0;

	for (; ts != NULL && at < ts->ids.size && s->n < QP_SIGHT_ROWS && looked < MAX_SLOTS; at++, looked++) {
		const struct qp_tunnel *t = qp_slots_at(&ts->ids, at);

		if (t != NULL && t->authenticated && t->state != QP_TUNNEL_ENDED)
			fill(t, &s->row[s->n++]);
	}
	if (ts != NULL && at < ts->ids.size)
		s->next = at;
}

void
qp_sight_answer(struct qp_sight *s, struct qp_tunnels *ts, const struct qp_net *net)
{
	const uint32_t asked = atomic_load_explicit(&s->asked, memory_order_acquire);

	s->n = s->next = 0;
	if (s->what == QP_SIGHT_TUNNELS)
		show_tunnels(s, ts);
	else if (net != NULL)
		s->next = qp_net_neighbours(net, s->cursor, s->neighbour, QP_SIGHT_ROWS, &s->n);
	atomic_store_explicit(&s->answered, asked, memory_order_release);
}
