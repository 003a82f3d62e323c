/* SPDX-License-Identifier: Apache-2.0 */
/* `set verbose`: frames as testpmd shows them. Main thread. */
#include <inttypes.h>
#include <netinet/in.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <stdio.h>

#include "dataplane/prompt_gateway_impl.h"
#include "dataplane/prompt_service.h"

/* Of a worker at once: the main thread has other things to do. */
#define ROWS_AT_ONCE 256u

uint32_t
qp_prompt_gw_verbose(void *ctx)
{
	const struct qp_prompt_gateway *g = ctx;

	return qp_order(&g->orders->verbose);
}

int
qp_prompt_gw_set_verbose(void *ctx, uint32_t level, struct qp_errmsg *msg)
{
	struct qp_prompt_gateway *g = ctx;

	if (level > (QP_VERBOSE_RX | QP_VERBOSE_TX))
		return qp_fail(msg, QP_E_INVAL,
			"set verbose %u: 0 is none, 1 received frames, 2 sent ones, 3 both", level);
	atomic_store(&g->orders->verbose, level);
	return 0;
}

static const char *
l3_name(uint16_t ether_type)
{
	return ether_type == RTE_ETHER_TYPE_IPV4 ? " L3_IPV4"
	     : ether_type == RTE_ETHER_TYPE_IPV6 ? " L3_IPV6"
						 : "";
}

static const char *
l4_name(uint8_t proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return " L4_TCP";
	case IPPROTO_UDP:
		return " L4_UDP";
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return " L4_ICMP";
	default:
		return "";
	}
}

/* A dedicated port has put its mark on what the worker got, and reads one from what it is given. */
static unsigned
port_of(const struct qp_prompt_gateway *g, unsigned worker, const struct qp_verbose_row *r)
{
	const uint8_t *mark = r->sent ? r->dst : r->src;
	const uint32_t ifindex = (uint32_t)mark[2] << 24 | (uint32_t)mark[3] << 16 | (uint32_t)mark[4] << 8 | mark[5];

	if (g->nic == NULL)
		return worker;
	return ifindex - QP_NIC_IFINDEX(0) < g->nic->nports ? ifindex - QP_NIC_IFINDEX(0) : 0;
}

static void
show_row(const struct qp_prompt_gateway *g, struct qp_prompt_service *to, unsigned worker,
	const struct qp_verbose_row *r)
{
	char text[512], flags[256];
	int at = 0;

	if (r->burst > 0)
		at = snprintf(text, sizeof(text), "port %u/queue %u: %s %u packets\n", port_of(g, worker, r),
			worker, r->sent ? "sent" : "received", r->burst);
	if ((r->sent ? rte_get_tx_ol_flag_list(r->ol_flags, flags, sizeof(flags))
		     : rte_get_rx_ol_flag_list(r->ol_flags, flags, sizeof(flags))) != 0)
		snprintf(flags, sizeof(flags), "0x%" PRIx64, r->ol_flags);
	snprintf(text + at, sizeof(text) - (size_t)at,
		"  src=" RTE_ETHER_ADDR_PRT_FMT " - dst=" RTE_ETHER_ADDR_PRT_FMT
		" - type=0x%04x - length=%u - nb_segs=%u - sw ptype: L2_ETHER%s%s\n  ol_flags: %.200s\n",
		r->src[0], r->src[1], r->src[2], r->src[3], r->src[4], r->src[5], r->dst[0], r->dst[1],
		r->dst[2], r->dst[3], r->dst[4], r->dst[5], r->ether_type, r->length, r->nb_segs,
		l3_name(r->ether_type), l4_name(r->l4_proto), flags);
	qp_prompt_service_say(to, text);
}

void
qp_prompt_gateway_show_verbose(struct qp_prompt_gateway *g, struct qp_prompt_service *to)
{
	struct qp_verbose_row row;
	char text[64];

	for (uint32_t i = 0; i < g->nworkers; i++) {
		struct qp_verbose *v = &g->verbose[i];
		uint64_t lost;

		for (unsigned n = 0; n < ROWS_AT_ONCE && qp_verbose_next(v, &row); n++)
			show_row(g, to, i, &row);
		lost = qp_verbose_lost(v);
		if (lost == 0)
			continue;
		snprintf(text, sizeof(text), "worker %u: %" PRIu64 " packets were not shown\n", i, lost);
		qp_prompt_service_say(to, text);
	}
}
