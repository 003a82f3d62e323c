/* SPDX-License-Identifier: Apache-2.0 */
/* Frames as testpmd shows them. Pure. */
#include "dataplane/verbose.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <stdio.h>

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

void
qp_verbose_text(const struct qp_verbose_row *r, unsigned port, unsigned queue, char *text, size_t cap)
{
	char flags[256];
	int at = 0;

	if (r->burst > 0)
		at = snprintf(text, cap, "port %u/queue %u: %s %u packets\n", port,
			queue, r->sent ? "sent" : "received", r->burst);
	if ((r->sent ? rte_get_tx_ol_flag_list(r->ol_flags, flags, sizeof(flags))
		     : rte_get_rx_ol_flag_list(r->ol_flags, flags, sizeof(flags))) != 0)
		snprintf(flags, sizeof(flags), "0x%" PRIx64, r->ol_flags);
	snprintf(text + at, cap - (size_t)at,
		"  src=" RTE_ETHER_ADDR_PRT_FMT " - dst=" RTE_ETHER_ADDR_PRT_FMT
		" - type=0x%04x - length=%u - nb_segs=%u - sw ptype: L2_ETHER%s%s\n  ol_flags: %.200s\n",
		r->src[0], r->src[1], r->src[2], r->src[3], r->src[4], r->src[5], r->dst[0], r->dst[1],
		r->dst[2], r->dst[3], r->dst[4], r->dst[5], r->ether_type, r->length, r->nb_segs,
		l3_name(r->ether_type), l4_name(r->l4_proto), flags);
}
