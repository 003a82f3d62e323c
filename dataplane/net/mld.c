/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which groups we listen to, for switches that send multicast only where it is
 * wanted: the solicited-node groups of our addresses, without which nobody finds
 * us (RFC 3810, 5.2; as an MLDv2 listener alone). Runs on the lcore.
 */
#include <string.h>

#include "dataplane/net/internal.h"

#define TYPE_REPORT    143u
#define TO_EXCLUDE     4u /* all sources: "join" */
#define HEADER_BYTES   8u
#define RECORD_BYTES   20u
#define QUERY_BYTES    24u

static const struct qp_ipaddr all_mld_routers = {.b = {0xff, 2, [15] = 0x16}};
static const struct qp_ipaddr unspecified;

/* Each group once, however many addresses have it. */
static unsigned
groups_of(const struct qp_net *net, unsigned port, struct qp_ipaddr groups[QP_NET_MAX_OWN])
{
	unsigned n = 0, k;

	for (unsigned i = 0; i < net->nown; i++) {
		const struct qp_net_own *own = &net->own[i];
		struct qp_ipaddr group;

		if (own->port != port || qp_ipaddr_is_v4(&own->addr))
			continue;
		group = qp_ndp_solicited_node(&own->addr);
		for (k = 0; k < n && !qp_ipaddr_equal(&groups[k], &group); k++)
			continue;
		groups[k] = group;
		n += k == n;
	}
	return n;
}

void
qp_mld_report(struct qp_net *net, unsigned port)
{
	const struct qp_ipaddr link = {.b = {0xfe, 0x80}};
	const struct qp_net_own *own = qp_net_own_for(net, port, &link);
	const bool local = own != NULL && qp_ipaddr_is_link_local(&own->addr);
	uint8_t icmp[HEADER_BYTES + QP_NET_MAX_OWN * RECORD_BYTES] = {TYPE_REPORT};
	struct qp_ipaddr groups[QP_NET_MAX_OWN];
	const unsigned n = groups_of(net, port, groups);

	if (n == 0)
		return;
	icmp[7] = (uint8_t)n;
	for (unsigned i = 0; i < n; i++) {
		uint8_t *record = icmp + HEADER_BYTES + i * RECORD_BYTES;

		record[0] = TO_EXCLUDE;
		memcpy(record + 4, &groups[i], 16);
	}
	QP_NET_COUNT(net, mld_reports);
	qp_ndp_send(net, port, local ? &own->addr : &unspecified, &all_mld_routers, NULL, icmp,
		(uint16_t)(HEADER_BYTES + n * RECORD_BYTES), true);
}

static void
on_timer(struct qp_timer *t, uint64_t now_ns)
{
	struct qp_net *net = RTE_PTR_SUB(t, offsetof(struct qp_net, mld));

	for (unsigned p = 0; p < net->nports; p++) {
		if (net->mld_ports & 1u << p)
			qp_mld_report(net, p);
	}
	net->mld_ports = 0;
}

/* RFC 3810, 6.2: after a while of our own, so that not all answer at once. */
void
qp_mld_query(struct qp_net *net, unsigned port, const struct qp_ndp *nd)
{
	const uint32_t code = (uint32_t)nd->icmp[4] << 8 | nd->icmp[5];
	uint64_t most_ms = code;

	if (nd->ip->hop_limit != 1 || nd->len < QUERY_BYTES ||
		!qp_ipaddr_is_link_local(&nd->ip->source)) {
		QP_NET_COUNT(net, drop_icmp);
		return;
	}
	if (code >= 32768) /* 5.1.3 */
		most_ms = (uint64_t)((code & 0xfff) | 0x1000) << ((code >> 12 & 7) + 3);
	net->mld_ports |= 1u << port;
	if (qp_timer_armed(&net->mld))
		return;
	net->mld.fn = on_timer;
	qp_timer_arm(net->env.wheel, &net->mld,
		*net->env.now_ns + net->env.random(net->env.random_ctx) % (most_ms * 1000000 + 1));
}
