/* SPDX-License-Identifier: Apache-2.0 */
/* What nic mode's options mean together, and all of it as data planes read it. Main or loop thread. */
#include "controlplane/options_nic.h"

#include <arpa/inet.h>
#include <string.h>

#include "controlplane/options.h"

static bool
in_network(const struct in6_addr *a, const struct in6_addr *net, unsigned bits)
{
	for (unsigned i = 0; i < bits; i++) {
		if ((a->s6_addr[i / 8] ^ net->s6_addr[i / 8]) & 0x80 >> i % 8)
			return false;
	}
	return true;
}

static struct in6_addr
network_of(const struct in6_addr *a, unsigned bits)
{
	struct in6_addr net = *a;

	for (unsigned i = bits; i < 128; i++)
		net.s6_addr[i / 8] &= (uint8_t)~(0x80 >> i % 8);
	return net;
}

static const char *
text_of(const struct in6_addr *addr, char out[INET6_ADDRSTRLEN])
{
	const bool v4 = IN6_IS_ADDR_V4MAPPED(addr);

	return inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? addr->s6_addr + 12 : addr->s6_addr, out,
		INET6_ADDRSTRLEN);
}

/* As people write it: without the mapping's bits. */
static unsigned
length_of(const struct in6_addr *addr, unsigned bits)
{
	return IN6_IS_ADDR_V4MAPPED(addr) ? bits - 96 : bits;
}

static bool
is_own_host(const struct in6_addr *addr)
{
	const uint8_t *v4 = addr->s6_addr + 12;

	if (!IN6_IS_ADDR_V4MAPPED(addr))
		return !IN6_IS_ADDR_UNSPECIFIED(addr) && !IN6_IS_ADDR_MULTICAST(addr) &&
		       !IN6_IS_ADDR_LOOPBACK(addr);
	return v4[0] != 0 && v4[0] != 127 && v4[0] < 224;
}

/* An IPv4 network's own number, or its broadcast (RFC 3021: two hosts of a /31 have neither). */
static bool
is_edge_of_network(const struct qp_nic_addr *a)
{
	uint32_t host_bits, host, v4;

	if (!IN6_IS_ADDR_V4MAPPED(&a->addr) || a->prefix > 126)
		return false;
	memcpy(&v4, a->addr.s6_addr + 12, sizeof(v4));
	host_bits = a->prefix == 96 ? UINT32_MAX : (UINT32_C(1) << (128 - a->prefix)) - 1;
	host = ntohl(v4) & host_bits;
	return host == 0 || host == host_bits;
}

static int
check_address(const struct qp_nic_options *n, unsigned i, struct qp_errmsg *msg)
{
	const struct qp_nic_addr *a = &n->addr[i];
	const unsigned len = length_of(&a->addr, a->prefix);
	char text[INET6_ADDRSTRLEN];

	text_of(&a->addr, text);
	if (a->port >= n->ports.n)
		return qp_fail(msg, QP_E_INVAL, "--ip %s/%u@%u: there is no such port: give a number "
			"from 0 to %u, one for each --port", text, len, a->port, n->ports.n - 1);
	if (!is_own_host(&a->addr) || is_edge_of_network(a))
		return qp_fail(msg, QP_E_INVAL, "--ip %s/%u: no host can have this address: give one "
			"of the network's own, such as 192.0.2.1/24", text, len);
	for (unsigned k = 0; k < i; k++) {
		if (memcmp(&n->addr[k].addr, &a->addr, sizeof(a->addr)) == 0)
			return qp_fail(msg, QP_E_INVAL, "--ip %s: given twice: leave one out", text);
	}
	return 0;
}

/* The port on whose network a router is; QP_NIC_ANY_PORT: on none. */
static uint8_t
port_of(const struct qp_nic_options *n, const struct qp_nic_route *r)
{
	const struct qp_nic_addr *best = NULL;

	if (IN6_IS_ADDR_LINKLOCAL(&r->via))
		return r->port != QP_NIC_ANY_PORT ? r->port : 0;
	for (unsigned i = 0; i < n->naddrs; i++) {
		const struct qp_nic_addr *a = &n->addr[i];

		if (in_network(&r->via, &a->addr, a->prefix) &&
			(r->port == QP_NIC_ANY_PORT || r->port == a->port) &&
			(best == NULL || best->prefix < a->prefix))
			best = a;
	}
	return best != NULL ? best->port : QP_NIC_ANY_PORT;
}

static bool
same_route(const struct qp_nic_route *x, const struct qp_nic_route *y)
{
	return x->prefix == y->prefix && in_network(&x->dest, &y->dest, x->prefix);
}

/* Its network's number or broadcast, which nobody answers to. */
static bool
is_edge_of_a_network(const struct qp_nic_options *n, const struct in6_addr *via)
{
	for (unsigned i = 0; i < n->naddrs; i++) {
		const struct qp_nic_addr *a = &n->addr[i];
		const struct qp_nic_addr there = {.addr = *via, .prefix = a->prefix};

		if (in_network(via, &a->addr, a->prefix) && is_edge_of_network(&there))
			return true;
	}
	return false;
}

static int
check_router(const struct qp_nic_options *n, const struct qp_nic_route *r, const char *option,
	struct qp_errmsg *msg)
{
	char via[INET6_ADDRSTRLEN];
	const uint8_t port = port_of(n, r);

	text_of(&r->via, via);
	if (!is_own_host(&r->via) || qp_nic_options_has(n, &r->via) || is_edge_of_a_network(n, &r->via))
		return qp_fail(msg, QP_E_INVAL, "%s %s: no router can have this address", option, via);
	if (r->port != QP_NIC_ANY_PORT && r->port >= n->ports.n)
		return qp_fail(msg, QP_E_INVAL, "%s %s@%u: there is no such port: give a number from 0 "
			"to %u, one for each --port", option, via, r->port, n->ports.n - 1);
	if (port == QP_NIC_ANY_PORT)
		return qp_fail(msg, QP_E_INVAL, "%s %s: it is in no network of an --ip: give a router "
			"on the link, or the --ip that reaches it", option, via);
	return 0;
}

static int
check_routes(const struct qp_nic_options *n, struct qp_errmsg *msg)
{
	char dest[INET6_ADDRSTRLEN];
	int err = 0;

	for (unsigned i = 0; err == 0 && i < n->ngateways; i++)
		err = check_router(n, &n->gateway[i], "--gateway", msg);
	for (unsigned i = 0; err == 0 && i < n->nroutes; i++) {
		const struct qp_nic_route *r = &n->route[i];
		bool twice = false;

		err = check_router(n, r, "--route", msg);
		for (unsigned k = 0; k < i; k++)
			twice |= same_route(&n->route[k], r);
		for (unsigned k = 0; k < n->ngateways; k++)
			twice |= same_route(&n->gateway[k], r);
		text_of(&r->dest, dest);
		if (err == 0 && twice)
			err = qp_fail(msg, QP_E_INVAL, "--route %s/%u: there is another route to it: "
				"leave one out", dest, length_of(&r->dest, r->prefix));
	}
	if (err == 0 && n->nroutes + n->ngateways + n->naddrs > QP_NIC_MAX_ROUTES)
		err = qp_fail(msg, QP_E_INVAL, "--route: %u routes, with gateways and the networks of "
			"--ip, are too many: at most %u", n->nroutes + n->ngateways + n->naddrs,
			QP_NIC_MAX_ROUTES);
	return err;
}

static bool
has_ipv6(const struct qp_nic_options *n, unsigned port)
{
	for (unsigned i = 0; i < n->naddrs; i++) {
		if (n->addr[i].port == port && !IN6_IS_ADDR_V4MAPPED(&n->addr[i].addr))
			return true;
	}
	return false;
}

static int
check_links(const struct qp_nic_options *n, struct qp_errmsg *msg)
{
	bool speaks_v6 = false;

	for (unsigned i = 0; i < n->nvlans; i++) {
		if (n->vlan[i].port != QP_NIC_ANY_PORT && n->vlan[i].port >= n->ports.n)
			return qp_fail(msg, QP_E_INVAL, "--vlan %u@%u: there is no such port: give a "
				"number from 0 to %u", n->vlan[i].value, n->vlan[i].port,
				n->ports.n - 1);
	}
	for (unsigned i = 0; i < n->nmtus; i++) {
		if (n->mtu[i].port != QP_NIC_ANY_PORT && n->mtu[i].port >= n->ports.n)
			return qp_fail(msg, QP_E_INVAL, "--mtu %u@%u: there is no such port: give a "
				"number from 0 to %u", n->mtu[i].value, n->mtu[i].port,
				n->ports.n - 1);
	}
	for (unsigned p = 0; p < n->ports.n; p++)
		speaks_v6 |= qp_nic_options_mtu(n, p) >= QP_NIC_MTU_LEAST_6;
	if (n->accept_ra && !speaks_v6)
		return qp_fail(msg, QP_E_INVAL, "--accept-ra: is of IPv6, which needs --mtu %u on a port "
			"at least: raise it, or leave --accept-ra out", QP_NIC_MTU_LEAST_6);
	for (unsigned p = 0; p < n->ports.n; p++) {
		if (has_ipv6(n, p) && qp_nic_options_mtu(n, p) < QP_NIC_MTU_LEAST_6)
			return qp_fail(msg, QP_E_INVAL, "--mtu %u: port %u has an IPv6 address, which "
				"needs %u: raise it, or leave that --ip out",
				qp_nic_options_mtu(n, p), p, QP_NIC_MTU_LEAST_6);
	}
	return 0;
}

static int
check_host_mode(const struct qp_nic_options *n, struct qp_errmsg *msg)
{
	const char *option = n->naddrs > 0	? "--ip"
			     : n->ngateways > 0 ? "--gateway"
			     : n->nroutes > 0	? "--route"
			     : n->nvlans > 0	? "--vlan"
			     : n->nmtus > 0	? "--mtu"
			     : n->accept_ra	? "--accept-ra"
			     : n->generations != 0 && n->generations != QP_NIC_MAX_GENS
				     ? "--port-generations"
						: NULL;

	if (option == NULL)
		return 0;
	return qp_fail(msg, QP_E_INVAL, "%s is of a port that the gateway has for itself: add --port, "
		"or leave it out: the host's interfaces have addresses already", option);
}

/* Where clients and outside users come to: an address of ours, or all of them. */
static int
check_listening(const struct qp_options *o, struct qp_errmsg *msg)
{
	struct in6_addr addr;
	char text[INET6_ADDRSTRLEN];

	qp_sockaddr_to_in6(&o->data_plane_addr.sa, &addr);
	if (!IN6_IS_ADDR_UNSPECIFIED(&addr) && !qp_nic_options_has(&o->nic, &addr))
		return qp_fail(msg, QP_E_INVAL, "--data-plane-addr %s: no --ip has this address: give "
			"one of them, or 0.0.0.0 for all", text_of(&addr, text));
	if (!IN6_IS_ADDR_UNSPECIFIED(&o->forward_addr) &&
		!qp_nic_options_has(&o->nic, &o->forward_addr))
		return qp_fail(msg, QP_E_INVAL, "--forward-addr %s: no --ip has this address: give one "
			"of them, or leave it out to answer on all",
			text_of(&o->forward_addr, text));
	return 0;
}

static int
check_lcores(struct qp_options *o, struct qp_errmsg *msg)
{
	const unsigned n = o->nic.nlcores;

	if (n == 0)
		return 0;
	if (o->nic.workers_given && o->workers != n)
		return qp_fail(msg, QP_E_INVAL, "--lcores %.100s: that are %u CPUs for --workers %u: leave "
			"one of the two out", o->nic.lcores, n, o->workers);
	o->workers = n;
	return 0;
}

int
qp_options_check_nic(struct qp_options *o, struct qp_errmsg *msg)
{
	const struct qp_nic_options *n = &o->nic;
	int err = check_lcores(o, msg);

	if (err != 0 || !qp_nic_mode(n))
		return err != 0 ? err : check_host_mode(n, msg);
	if (o->interfaces.n > 0)
		return qp_fail(msg, QP_E_INVAL, "--interface %.64s: is for the host's interfaces, "
			"which a gateway with --port does not use: leave one of the two out",
			o->interfaces.v[0]);
	if (n->naddrs == 0)
		return qp_fail(msg, QP_E_INVAL, "--port %.64s: the gateway has no address there: add "
			"--ip ADDR/LEN", n->ports.v[0]);
	for (unsigned i = 0; err == 0 && i < n->naddrs; i++)
		err = check_address(n, i, msg);
	if (err == 0)
		err = check_links(n, msg);
	if (err == 0)
		err = check_routes(n, msg);
	return err != 0 ? err : check_listening(o, msg);
}

bool
qp_nic_options_has(const struct qp_nic_options *n, const struct in6_addr *addr)
{
	for (unsigned i = 0; i < n->naddrs; i++) {
		if (memcmp(&n->addr[i].addr, addr, sizeof(*addr)) == 0)
			return true;
	}
	return false;
}

/* The port's own one goes before that of all. */
static uint32_t
value_of(const struct qp_nic_value *v, unsigned n, unsigned port, uint32_t otherwise)
{
	for (unsigned i = 0; i < n; i++) {
		if (v[i].port == port)
			return v[i].value;
		if (v[i].port == QP_NIC_ANY_PORT)
			otherwise = v[i].value;
	}
	return otherwise;
}

uint32_t
qp_nic_options_vlan(const struct qp_nic_options *n, unsigned port)
{
	return value_of(n->vlan, n->nvlans, port, 0);
}

uint32_t
qp_nic_options_mtu(const struct qp_nic_options *n, unsigned port)
{
	return value_of(n->mtu, n->nmtus, port, QP_NIC_MTU_DEFAULT);
}

/* Behind those that are as long: of two to one network the first counts. */
static void
add_route(struct qp_nic_net *out, struct qp_nic_route r)
{
	uint32_t at = out->nroutes;

	r.dest = network_of(&r.dest, r.prefix);
	for (; at > 0 && out->route[at - 1].prefix < r.prefix; at--)
		out->route[at] = out->route[at - 1];
	out->route[at] = r;
	out->nroutes++;
}

void
qp_nic_options_net(const struct qp_nic_options *n, struct qp_nic_net *out)
{
	struct qp_nic_route r;

	out->naddrs = n->naddrs;
	out->nroutes = 0;
	out->nlinks = n->ports.n;
	memcpy(out->addr, n->addr, sizeof(out->addr));
	for (unsigned p = 0; p < n->ports.n; p++)
		out->link[p] = (struct qp_nic_link) {.vlan = (uint16_t)qp_nic_options_vlan(n, p),
			.mtu = (uint16_t)qp_nic_options_mtu(n, p),
			.accept_ra = n->accept_ra};
	for (unsigned i = 0; i < n->naddrs; i++)
		add_route(out, (struct qp_nic_route) {.dest = n->addr[i].addr,
			.prefix = n->addr[i].prefix,
			.port = n->addr[i].port});
	for (unsigned i = 0; i < n->nroutes + n->ngateways; i++) {
		r = i < n->nroutes ? n->route[i] : n->gateway[i - n->nroutes];
		r.port = port_of(n, &r);
		add_route(out, r);
	}
}
