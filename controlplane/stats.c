/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/stats.h"

#include <string.h>

#include "controlplane/admin_calls.h"

static const char *const names[QP_STATS_TOTALS] = {"bytes_sent", "bytes_received", "packets_in",
	"packets_out", "connections", "connections_refused", "tunnels", "auth_failed"};

static void
sum_up(const struct qp_metrics *m, struct qp_totals *sum)
{
	const struct qp_generation *g;

	*sum = *m->retired;
	TAILQ_FOREACH (g, m->generations, next)
		qp_totals_add_generation(sum, g);
}

static void
fill(uint64_t out[QP_STATS_TOTALS], const struct qp_totals *t, const struct qp_authd_counters *auth)
{
	out[0] = t->c.relay_bytes_in;
	out[1] = t->c.relay_bytes_out;
	out[2] = t->c.rx_frames;
	out[3] = t->c.tx_frames;
	out[4] = t->c.conns_total;
	out[5] = t->c.conns_refused;
	out[6] = t->c.tunnels_total;
	out[7] = auth->psk_failed + auth->x25519_failed;
}

static json_t *
data_planes(const struct qp_metrics *m)
{
	json_t *rows = json_array();
	const struct qp_generation *g;

	TAILQ_FOREACH (g, m->generations, next) {
		if (g->server_id != 0)
			json_array_append_new(rows, qp_admin_data_plane_row(g));
	}
	return rows;
}

json_t *
qp_stats_take(struct qp_stats *s, const struct qp_metrics *m, uint64_t now_ms)
{
	json_t *totals = json_object(), *rates = json_object();
	uint64_t interval_ms = s->at_ms != 0 ? now_ms - s->at_ms : 0;
	uint64_t total[QP_STATS_TOTALS];
	struct qp_totals sum;

	sum_up(m, &sum);
	fill(total, &sum, m->auth);
	for (unsigned i = 0; i < QP_STATS_TOTALS; i++) {
		/* Read while they are written, a sum may be behind the last one for once. */
		uint64_t grown = interval_ms > 0 && total[i] > s->total[i] ? total[i] - s->total[i]
									   : 0;

		json_object_set_new(totals, names[i], json_integer((json_int_t)total[i]));
		json_object_set_new(rates, names[i],
			json_integer(
				(json_int_t)(grown * 1000 / (interval_ms > 0 ? interval_ms : 1))));
	}
	s->at_ms = now_ms;
	memcpy(s->total, total, sizeof(total));
	return json_pack("{s:I, s:I, s:I, s:i, s:I, s:o, s:o, s:o, s:o}", "uptime_s",
		(json_int_t)m->uptime_s, "interval_ms", (json_int_t)interval_ms, "tunnels",
		(json_int_t)sum.c.tunnels_active, "ports", (int)m->ports_open, "connections",
		(json_int_t)sum.c.conns_active, "totals", totals, "rates", rates, "drops",
		qp_totals_drops(&sum), "data_planes", data_planes(m));
}
