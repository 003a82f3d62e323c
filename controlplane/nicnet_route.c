/* SPDX-License-Identifier: Apache-2.0 */
/* The way of a connection that the gateway opens by its own ports. Pure; any thread. */
#include <arpa/inet.h>
#include <string.h>

#include "controlplane/nicnet.h"

static bool
in_network(const struct in6_addr *a, const struct in6_addr *net, unsigned bits)
{
	const unsigned whole = bits / 8;
	const uint8_t mask = (uint8_t)(0xff00u >> bits % 8);

	return memcmp(a, net, whole) == 0 &&
	       (bits % 8 == 0 || ((a->s6_addr[whole] ^ net->s6_addr[whole]) & mask) == 0);
}

static const char *
text_of(const struct in6_addr *addr, char out[INET6_ADDRSTRLEN])
{
	const bool v4 = IN6_IS_ADDR_V4MAPPED(addr);

	return inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? addr->s6_addr + 12 : addr->s6_addr, out,
		INET6_ADDRSTRLEN);
}

/* Routes to the other family's addresses are none: ::/0 covers all mapped ones, too. */
static const struct qp_nic_route *
find_route(const struct qp_nic_net *net, const struct in6_addr *dest)
{
	const bool v4 = IN6_IS_ADDR_V4MAPPED(dest);

	for (unsigned i = 0; i < net->nroutes; i++) {
		const struct qp_nic_route *r = &net->route[i];

		if (IN6_IS_ADDR_V4MAPPED(&r->dest) == v4 && in_network(dest, &r->dest, r->prefix))
			return r;
	}
	return NULL;
}

/*
 * The address of that port from which `towards` is reached: in the same network
 * if there is one, else the first of the family. NULL: the port has none.
 */
static const struct in6_addr *
source_on(const struct qp_nic_net *net, unsigned port, const struct in6_addr *towards)
{
	const bool v4 = IN6_IS_ADDR_V4MAPPED(towards);
	const struct in6_addr *first = NULL;

	for (unsigned i = 0; i < net->naddrs; i++) {
		const struct qp_nic_addr *a = &net->addr[i];

		if (a->port != port || IN6_IS_ADDR_V4MAPPED(&a->addr) != v4)
			continue;
		if (in_network(towards, &a->addr, a->prefix))
			return &a->addr;
		if (first == NULL)
			first = &a->addr;
	}
	return first;
}

/* A router that has told itself: the workers know it, and only on such a port. */
static int
advertised_port(const struct qp_nic_net *net, const struct in6_addr *dest)
{
	for (unsigned p = 0; !IN6_IS_ADDR_V4MAPPED(dest) && p < net->nlinks; p++) {
		if (net->link[p].accept_ra && source_on(net, p, dest) != NULL)
			return (int)p;
	}
	return -1;
}

static bool
is_own(const struct qp_nic_net *net, const struct in6_addr *dest)
{
	for (unsigned i = 0; i < net->naddrs; i++) {
		if (memcmp(&net->addr[i].addr, dest, sizeof(*dest)) == 0)
			return true;
	}
	return false;
}

static bool
is_no_host(const struct in6_addr *a)
{
	if (IN6_IS_ADDR_V4MAPPED(a))
		return a->s6_addr[12] == 0 || a->s6_addr[12] >= 224;
	return IN6_IS_ADDR_UNSPECIFIED(a) || IN6_IS_ADDR_MULTICAST(a);
}

static bool
is_loopback(const struct in6_addr *a)
{
	return IN6_IS_ADDR_V4MAPPED(a) ? a->s6_addr[12] == 127 : IN6_IS_ADDR_LOOPBACK(a);
}

int
qp_nicnet_route(const struct qp_nic_net *net, const struct in6_addr *dest,
	struct qp_hostnet_route *out, struct qp_errmsg *msg)
{
	const struct qp_nic_route *r = find_route(net, dest);
	const struct in6_addr *source = NULL;
	char text[INET6_ADDRSTRLEN];
	int port = r != NULL ? r->port : advertised_port(net, dest);

	memset(out, 0, sizeof(*out));
	text_of(dest, text);
	if (is_no_host(dest))
		return qp_fail(msg, QP_E_INVAL, "%s is not the address of a host", text);
	if (is_own(net, dest) || is_loopback(dest))
		return qp_fail(msg, QP_E_UNSUPPORTED,
			"%s is the gateway itself, which has its ports for others only (nic mode)", text);
	if (port < 0)
		return qp_fail(msg, QP_E_NOTFOUND, "the gateway has no route to %s", text);
	source = source_on(net, (unsigned)port,
		r != NULL && !IN6_IS_ADDR_UNSPECIFIED(&r->via) ? &r->via : dest);
	if (source == NULL)
		return qp_fail(msg, QP_E_NOTFOUND, "the gateway has no address to reach %s from", text);
	out->ifindex = QP_NIC_IFINDEX((unsigned)port);
	out->mtu = net->link[port].mtu;
	out->source = *source;
	return 0;
}
