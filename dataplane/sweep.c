/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's outside users may come from fewer networks than before: who is
 * connected from elsewhere is looked for, some a turn, and reset. Runs on the
 * lcore that owns the tunnels.
 */
#include "dataplane/tunnel_internal.h"
#include "dataplane/udp/internal.h"

/* Of one turn; each may cost a look at 96 networks. */
#define MAX_SLOTS 256u

void
qp_sweep_begin(struct qp_tunnels *ts)
{
	ts->sweeping = true;
	ts->sweep_tunnel = ts->sweep_conn = 0;
}

static void
look_at(struct qp_tunnel *t, void *ctx)
{
	const bool udp = *(enum qp_stream_kind *)ctx == QP_STREAM_UDP;
	struct qp_usage *u = udp ? &((struct qp_udp_flow *)ctx)->use : &((struct qp_relay *)ctx)->use;

	if (qp_client_serves(t, &u->peer))
		return;
	qp_usage_why(&u->why, QP_END_LIMIT);
	if (udp)
		qp_udp_flow_kick(ctx);
	else
		qp_relay_kick(ctx);
}

/* Returns how many slots were looked at; ts->sweep_conn is 0 when the tunnel is done. */
static uint32_t
sweep_tunnel(struct qp_tunnels *ts, struct qp_tunnel *t, uint32_t most)
{
	uint32_t n = 0;
	void *ctx;

	for (; ts->sweep_conn < t->relay_ids.size && n < most; n++) {
		ctx = qp_slots_at(&t->relay_ids, ts->sweep_conn++);
		if (ctx != NULL)
			look_at(t, ctx);
	}
	if (ts->sweep_conn >= t->relay_ids.size)
		ts->sweep_conn = 0;
	return n;
}

void
qp_sweep_go_on(struct qp_tunnels *ts)
{
	struct qp_tunnel *t;

	for (uint32_t n = 0; ts->sweeping && n < MAX_SLOTS; n++) {
		if (ts->sweep_tunnel >= ts->ids.size) {
			ts->sweeping = false;
			return;
		}
		t = qp_slots_at(&ts->ids, ts->sweep_tunnel);
		if (t != NULL && t->local == NULL && t->client != NULL && t->client->limits.nsources != 0)
			n += sweep_tunnel(ts, t, MAX_SLOTS - n);
		else
			ts->sweep_conn = 0;
		if (ts->sweep_conn == 0)
			ts->sweep_tunnel++;
	}
}
