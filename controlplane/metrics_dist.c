/* SPDX-License-Identifier: Apache-2.0 */
/* Round-trip times as histograms, and how full the rings are. Loop thread. */
#include <inttypes.h>

#include "controlplane/metrics_impl.h"

/* Cumulative, as Prometheus wants them; the limits in seconds. */
static void
write_histogram(FILE *out, const char *name, const char *help, const struct qp_rtt_histogram *h)
{
	uint64_t sum = 0;

	qp_metrics_head(out, name, help, "histogram");
	for (unsigned i = 0; i < QP_RTT_BUCKETS; i++) {
		sum += h->bucket[i];
		if (i + 1 < QP_RTT_BUCKETS)
			fprintf(out, "quicport_%s_bucket{le=\"%g\"} %" PRIu64 "\n", name,
				(double)((uint64_t)QP_RTT_FIRST_US << i) / 1e6, sum);
	}
	fprintf(out, "quicport_%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, sum);
	fprintf(out, "quicport_%s_sum %.6f\nquicport_%s_count %" PRIu64 "\n", name,
		(double)h->sum_us / 1e6, name, sum);
}

void
qp_metrics_rtts(FILE *out, const struct qp_metrics *m, const struct qp_totals *t)
{
	(void)m;
	write_histogram(out, "tcp_rtt_seconds",
		"round-trip times that TCP measured towards the outside", &t->tcp_rtt);
	write_histogram(out, "quic_rtt_seconds",
		"smoothed round-trip times of tunnels, one sampled ten times a second", &t->quic_rtt);
}

void
qp_metrics_rings(FILE *out, const struct qp_metrics *m)
{
	static const char *const ways[] = {"from_control", "to_control"};
	const struct qp_generation *g;

	qp_metrics_head(out, "ring_messages", "messages that wait in a worker's ring", "gauge");
	QP_METRICS_EACH_WORKER(m, g, w)
	for (unsigned way = 0; way < 2; way++)
		fprintf(out,
			"quicport_ring_messages{dp_id=\"0x%04x\",worker=\"%u\",ring=\"%s\"} %u\n",
			g->server_id, w, ways[way], qp_dp_link_waiting(g->link, w, way == 1));
}
