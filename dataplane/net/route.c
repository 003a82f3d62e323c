/* SPDX-License-Identifier: Apache-2.0 */
/* Routes: the longest prefix that leads to a destination. Runs on the lcore. */
#include "dataplane/net/internal.h"

#include <stdlib.h>
#include <string.h>

#define V4_BITS 96u /* of the mapped form before an IPv4 address */

static struct qp_ipaddr
mask_of(unsigned prefix)
{
	struct qp_ipaddr m = {0};

	for (unsigned i = 0; i < prefix / 8; i++)
		m.b[i] = 0xff;
	if (prefix % 8 != 0)
		m.b[prefix / 8] = (uint8_t)(0xff00u >> (prefix % 8));
	return m;
}

static bool
masked_equal(const struct qp_ipaddr *a, const struct qp_ipaddr *b, const struct qp_ipaddr *mask)
{
	return (((a->q[0] ^ b->q[0]) & mask->q[0]) | ((a->q[1] ^ b->q[1]) & mask->q[1])) == 0;
}

bool
qp_net_prefix_match(const struct qp_ipaddr *a, const struct qp_ipaddr *b, unsigned prefix)
{
	const struct qp_ipaddr mask = mask_of(prefix);

	return masked_equal(a, b, &mask);
}

static int
better_first(const void *a, const void *b)
{
	const struct qp_net_route *x = a, *y = b;

	if (x->prefix != y->prefix)
		return y->prefix - x->prefix;
	return x->metric != y->metric ? x->metric - y->metric : x->port - y->port;
}

static void
route_add(struct qp_net *net, const struct qp_ipaddr *dest, unsigned prefix, unsigned port,
	const struct qp_ipaddr *via, unsigned metric)
{
	struct qp_net_route *r = &net->route[net->nroutes];

	if (net->nroutes == QP_NET_MAX_ROUTES || port >= net->nports || prefix > 128)
		return;
	*r = (struct qp_net_route) {.dest = *dest, .mask = mask_of(prefix), .via = *via,
		.prefix = (uint8_t)prefix, .port = (uint8_t)port, .metric = (uint8_t)metric};
	net->nroutes++;
}

void
qp_net_routes_set(struct qp_net *net)
{
	const struct qp_nic_net *from = &net->conf;
	const struct qp_ipaddr zero = {0};

	net->nroutes = 0;
	for (unsigned i = 0; i < net->nown; i++)
		route_add(net, &net->own[i].addr, net->own[i].prefix, net->own[i].port, &zero, 0);
	for (unsigned i = 0; i < RTE_MIN(from->nroutes, QP_NIC_MAX_ROUTES); i++) {
		const struct qp_nic_route *r = &from->route[i];
		struct qp_ipaddr dest, via;

		memcpy(&dest, &r->dest, sizeof(dest));
		memcpy(&via, &r->via, sizeof(via));
		route_add(net, &dest, r->prefix, r->port, &via, 0);
	}
	for (unsigned i = 0; i < QP_NET_MAX_ROUTERS; i++) {
		const struct qp_net_router *r = &net->router[i];

		if (r->until_ns != 0)
			route_add(net, &zero, 0, r->port, &r->addr, r->metric);
	}
	qsort(net->route, net->nroutes, sizeof(net->route[0]), better_first);
	qp_net_routes_changed(net);
}

void
qp_net_routes_changed(struct qp_net *net)
{
	if (++net->routes_id == 0)
		net->routes_id = 1;
}

const struct qp_net_route *
qp_net_route_find(const struct qp_net *net, const struct qp_ipaddr *dest, unsigned hint)
{
	const struct qp_net_route *best = NULL, *dead = NULL;
	const bool v4 = qp_ipaddr_is_v4(dest);

	for (unsigned i = 0; i < net->nroutes; i++) {
		const struct qp_net_route *r = &net->route[i];

		if (best != NULL && (r->prefix != best->prefix || r->metric != best->metric))
			break;
		if (dead != NULL && r->prefix != dead->prefix)
			break;
		/* IPv6's default route has IPv4 in its bits, and leads none of it. */
		if (!masked_equal(&r->dest, dest, &r->mask) || (v4 && r->prefix < V4_BITS))
			continue;
		if (r->router != NULL && r->router->dead) {
			dead = dead != NULL ? dead : r;
			continue;
		}
		if (r->port == hint)
			return r;
		if (best == NULL)
			best = r;
	}
	return best != NULL ? best : dead;
}
