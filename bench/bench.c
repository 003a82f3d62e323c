/* SPDX-License-Identifier: Apache-2.0 */
/* Names, sums and addresses that all parts share. Pure. */
#include "bench/bench.h"

#include <string.h>

const char *const qpb_scenario_names[] = {
	"bulk", "requests", "connections", "handshakes", "idle", "udp", NULL};
const char *const qpb_direction_names[] = {"in", "out", "both", NULL};
const char *const qpb_arrival_names[] = {"closed", "even", "poisson", NULL};

void
qpb_figures_add(struct qpb_figures *to, const struct qpb_figures *from)
{
#define X(field, help) to->field += from->field;
	QPB_FIGURES(X)
#undef X
}

void
qpb_figures_diff(struct qpb_figures *out, const struct qpb_figures *a, const struct qpb_figures *b)
{
#define X(field, help) out->field = a->field - b->field;
	QPB_FIGURES(X)
#undef X
}

struct qp_ipaddr
qpb_host_addr(const struct qpb_port *p, uint32_t i)
{
	struct qp_ipaddr a = p->net;

	a.w[3] = htonl(ntohl(a.w[3]) + i);
	return a;
}

bool
qpb_in_prefix(const struct qp_ipaddr *a, const struct qp_ipaddr *net, uint8_t prefix)
{
	unsigned bytes = prefix / 8, bits = prefix % 8;

	if (memcmp(a->b, net->b, bytes) != 0)
		return false;
	return bits == 0 || ((a->b[bytes] ^ net->b[bytes]) >> (8 - bits)) == 0;
}

uint32_t
qpb_host_index(const struct qpb_port *p, const struct qp_ipaddr *a)
{
	if (!qpb_in_prefix(a, &p->net, p->net_prefix))
		return UINT32_MAX;
	return ntohl(a->w[3]) - ntohl(p->net.w[3]);
}

uint32_t
qpb_host_room(const struct qpb_port *p)
{
	unsigned bits = 128u - p->net_prefix;

	/* Numbers of 24 bits are plenty, whatever an IPv6 network has. */
	return (1u << (bits < 24 ? bits : 24)) - (bits > 1 ? 2 : 0);
}
