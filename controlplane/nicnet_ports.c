/* SPDX-License-Identifier: Apache-2.0 */
/* Whose each forwarded port is, in the table that the workers steer by. Loop thread. */
#include <string.h>

#include "controlplane/nicnet_impl.h"

static unsigned
row(int protocol)
{
	return protocol == IPPROTO_UDP ? QP_NIC_UDP : QP_NIC_TCP;
}

static uint32_t *
entry(const struct qp_nicnet *n, int protocol, uint16_t port)
{
	return &n->nic->owner[row(protocol)][port];
}

static void
store(uint32_t *e, uint32_t owner)
{
	__atomic_store_n(e, owner, __ATOMIC_RELEASE);
}

uint32_t
qp_nicnet_address(const struct qp_nicnet *n, const struct in6_addr *addr)
{
	uint32_t i;

	if (addr == NULL || IN6_IS_ADDR_UNSPECIFIED(addr))
		return 0;
	for (i = 0; i < n->net.naddrs; i++) {
		if (memcmp(&n->net.addr[i].addr, addr, sizeof(*addr)) == 0)
			return i + 1;
	}
	return QP_NIC_MAX_ADDRS + 1;
}

/* QUIC's and the public API's have no entry, and are nobody's to open. */
static bool
is_gateways(const struct qp_nicnet *n, int protocol, uint16_t port)
{
	return port == (protocol == IPPROTO_UDP ? n->cfg.quic_port : n->cfg.public_port);
}

static int
set(struct qp_nicnet *n, int protocol, uint16_t port, const struct in6_addr *addr,
	const struct qp_network_worker *w, struct qp_errmsg *msg)
{
	const uint32_t at = qp_nicnet_address(n, addr);

	if (at > QP_NIC_MAX_ADDRS)
		return qp_fail(msg, QP_E_INVAL, "no --ip has the address of --forward-addr");
	store(entry(n, protocol, port), QP_NIC_OWNER(w->server_id, w->worker) | at << 24);
	n->unclaimed[row(protocol)][port] = false;
	n->one_address[row(protocol)][port] = at != 0;
	return 0;
}

int
qp_nicnet_port_open(void *net, int protocol, uint16_t port, const struct in6_addr *addr,
	const struct qp_network_worker *w, struct qp_errmsg *msg)
{
	struct qp_nicnet *n = net;

	if (n->nic == NULL)
		return qp_fail(msg, QP_E_CLOSED, "the ports are not there");
	if (is_gateways(n, protocol, port) || *entry(n, protocol, port) != 0)
		return qp_fail(msg, QP_E_INUSE, "port %u is in use on the gateway", port);
	return set(n, protocol, port, addr, w, msg);
}

int
qp_nicnet_port_adopt(void *net, int protocol, uint16_t port, const struct in6_addr *addr,
	const struct qp_network_worker *w, struct qp_errmsg *msg)
{
	struct qp_nicnet *n = net;

	if (n->nic == NULL)
		return qp_fail(msg, QP_E_CLOSED, "the ports are not there");
	return set(n, protocol, port, addr, w, msg);
}

int
qp_nicnet_port_move(void *net, int protocol, uint16_t port, const struct qp_network_worker *w)
{
	struct qp_nicnet *n = net;
	uint32_t *e;

	if (n->nic == NULL)
		return QP_E_CLOSED;
	e = entry(n, protocol, port);
	if (*e == 0)
		return QP_E_NOTFOUND;
	store(e, QP_NIC_OWNER(w->server_id, w->worker) | QP_NIC_OWNER_ADDR(*e) << 24);
	return 0;
}

void
qp_nicnet_port_close(void *net, int protocol, uint16_t port)
{
	struct qp_nicnet *n = net;

	if (n->nic == NULL)
		return;
	store(entry(n, protocol, port), 0);
	n->unclaimed[row(protocol)][port] = false;
}

/* Since forwarded ports answer either on every address or on --forward-addr, that is what they are told by. */
void
qp_nicnet_ports_answer_on(struct qp_nicnet *n, uint32_t at)
{
	if (IN6_IS_ADDR_UNSPECIFIED(&n->cfg.forward_addr))
		return;
	for (unsigned r = 0; r < QP_NIC_NPROTOCOLS; r++) {
		for (unsigned port = 0; port < 65536; port++) {
			uint32_t *e = &n->nic->owner[r][port];

			/* A worker's own ports, of local forwards, answer on every address. */
			if (*e != 0 && n->one_address[r][port])
				store(e, (*e & 0xffffffu) | at << 24);
		}
	}
}

void
qp_nicnet_ports_drop(struct qp_nicnet *n, uint32_t server_id)
{
	for (unsigned r = 0; r < QP_NIC_NPROTOCOLS; r++) {
		for (unsigned port = 0; port < 65536; port++) {
			uint32_t *e = &n->nic->owner[r][port];

			if (*e != 0 && QP_NIC_OWNER_SERVER(*e) == server_id)
				store(e, 0);
		}
	}
}

void
qp_nicnet_ports_adopt(struct qp_nicnet *n)
{
	for (unsigned r = 0; r < QP_NIC_NPROTOCOLS; r++) {
		for (unsigned port = 0; port < 65536; port++)
			n->unclaimed[r][port] = n->nic->owner[r][port] != 0;
	}
}

void
qp_nicnet_ports_prune(struct qp_nicnet *n)
{
	for (unsigned r = 0; n->nic != NULL && r < QP_NIC_NPROTOCOLS; r++) {
		for (unsigned port = 0; port < 65536; port++) {
			if (n->unclaimed[r][port])
				store(&n->nic->owner[r][port], 0);
			n->unclaimed[r][port] = false;
		}
	}
}
