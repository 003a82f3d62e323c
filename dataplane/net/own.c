/* SPDX-License-Identifier: Apache-2.0 */
/* Own addresses: which are ours, which asks for a neighbour, who cannot be a source. */
#include "dataplane/net/internal.h"

#include <netinet/in.h>

struct qp_net_own *
qp_net_own_find(struct qp_net *net, const struct qp_ipaddr *addr)
{
	for (unsigned i = 0; i < net->nown; i++) {
		if (qp_ipaddr_equal(&net->own[i].addr, addr))
			return &net->own[i];
	}
	return NULL;
}

const struct qp_net_own *
qp_net_own_valid(const struct qp_net *net, const struct qp_ipaddr *addr)
{
	for (unsigned i = 0; i < net->nown; i++) {
		const struct qp_net_own *own = &net->own[i];

		if (qp_ipaddr_equal(&own->addr, addr) && own->state == QP_OWN_VALID)
			return own;
	}
	return NULL;
}

static bool
same_family(const struct qp_ipaddr *a, const struct qp_ipaddr *b)
{
	return qp_ipaddr_is_v4(a) == qp_ipaddr_is_v4(b);
}

bool
qp_net_on_link(const struct qp_net *net, unsigned port, const struct qp_ipaddr *addr)
{
	for (unsigned i = 0; i < net->nown; i++) {
		const struct qp_net_own *own = &net->own[i];

		if (own->port == port && same_family(&own->addr, addr) &&
			qp_net_prefix_match(&own->addr, addr, own->prefix))
			return true;
	}
	return false;
}

const struct qp_net_own *
qp_net_own_for(const struct qp_net *net, unsigned port, const struct qp_ipaddr *target)
{
	const struct qp_net_own *any = NULL;

	for (unsigned i = 0; i < net->nown; i++) {
		const struct qp_net_own *own = &net->own[i];

		if (own->port != port || own->state != QP_OWN_VALID || !same_family(&own->addr, target))
			continue;
		if (qp_net_prefix_match(&own->addr, target, own->prefix))
			return own;
		if (any == NULL)
			any = own;
	}
	return any;
}

/* The last address of an IPv4 network that has one for all (RFC 1122, 3.2.1.3). */
static bool
directed_broadcast(const struct qp_net *net, const struct qp_ipaddr *a)
{
	for (unsigned i = 0; i < net->nown; i++) {
		const struct qp_net_own *own = &net->own[i];
		uint32_t host;

		if (own->prefix < 96 || own->prefix > 126 || !qp_ipaddr_is_v4(&own->addr))
			continue;
		host = UINT32_MAX >> (own->prefix - 96);
		if (((ntohl(a->w[3]) ^ ntohl(own->addr.w[3])) & ~host) == 0 &&
			(ntohl(a->w[3]) & host) == host)
			return true;
	}
	return false;
}

bool
qp_net_martian(const struct qp_net *net, const struct qp_ipaddr *source)
{
	if (qp_ipaddr_is_v4(source))
		return source->b[12] == 0 || source->b[12] == 127 || source->b[12] >= 224 ||
		       directed_broadcast(net, source);
	/* Multicast; ::/96 with :: and ::1, which no host of this century has. */
	return source->b[0] == 0xff || (source->q[0] == 0 && source->w[2] == 0);
}
