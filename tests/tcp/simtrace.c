/* SPDX-License-Identifier: Apache-2.0 */
/* QP_TRACE=1: a line for each frame, as a failing seed is replayed. */
#include <stdio.h>

#include <rte_ip.h>

#include "tests/tcp/simnet.h"

static uint32_t
iss_of(const struct sim *sim, int host, const struct rte_tcp_hdr *t, bool sender)
{
	int from = sender ? host : 1 - host;

	for (unsigned i = 0; i < SIM_WATCHES; i++) {
		const struct sim_watch *w = &sim->watch[i];

		if (w->used && w->port_be[from] == t->src_port && w->port_be[1 - from] == t->dst_port)
			return w->way[host].seen ? w->way[host].iss : 0;
	}
	return 0;
}

static void
print_flags(uint8_t flags)
{
	static const char letters[] = "FSRP.UEC";

	for (unsigned i = 0; i < 8; i++) {
		if (flags & 1 << i)
			fputc(letters[i], stderr);
	}
}

static void
print_options(const struct qp_tcp_options *o, uint32_t acked_iss)
{
	if (o->has_mss)
		fprintf(stderr, " mss %u", o->mss);
	if (o->has_wscale)
		fprintf(stderr, " wscale %u", o->wscale);
	if (o->sack_permitted)
		fprintf(stderr, " sackOK");
	if (o->has_ts)
		fprintf(stderr, " TS %u/%u", o->tsval, o->tsecr);
	for (unsigned i = 0; i < o->nsack; i++)
		fprintf(stderr, " sack %u:%u", o->sack[i].start - acked_iss, o->sack[i].end - acked_iss);
}

void
sim_trace(struct sim_host *from, const uint8_t *frame, uint32_t len, const char *fate)
{
	uint32_t l3 = frame[12] == 8 ? 20 : 40, data, seq;
	const struct rte_tcp_hdr *t = (const void *)(frame + 14 + l3);
	int host = (int)(from - from->sim->host);
	struct qp_tcp_options o = {0};

	fprintf(stderr, "%12.6f %s ", (double)from->sim->now_ns / 1e9, host == 0 ? "A > B" : "B > A");
	if (frame[14 + (l3 == 20 ? 9 : 6)] != IPPROTO_TCP) {
		fprintf(stderr, "ICMP %s\n", fate);
		return;
	}
	seq = rte_be_to_cpu_32(t->sent_seq) - iss_of(from->sim, host, t, true);
	data = len - 14 - l3 - (t->data_off >> 4) * 4;
	fprintf(stderr, "%u>%u [", rte_be_to_cpu_16(t->src_port), rte_be_to_cpu_16(t->dst_port));
	print_flags(t->tcp_flags);
	fprintf(stderr, "] seq %u", seq);
	if (data > 0)
		fprintf(stderr, ":%u (%u)", seq + data, data);
	if (t->tcp_flags & RTE_TCP_ACK_FLAG)
		fprintf(stderr, " ack %u", rte_be_to_cpu_32(t->recv_ack) - iss_of(from->sim, 1 - host, t, false));
	fprintf(stderr, " win %u", rte_be_to_cpu_16(t->rx_win));
	if (qp_tcp_options_parse((const uint8_t *)(t + 1), (t->data_off >> 4) * 4 - 20,
		    t->tcp_flags & RTE_TCP_SYN_FLAG, &o) == 0)
		print_options(&o, iss_of(from->sim, 1 - host, t, false));
	fprintf(stderr, "%s%s\n", fate[0] != '\0' ? "  " : "", fate);
}
