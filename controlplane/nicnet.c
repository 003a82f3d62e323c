/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes what data planes have to know of the ports: addresses, routes and
 * links, at the start and when they change. Loop thread.
 */
#include "controlplane/nicnet_impl.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

const struct qp_nic *
qp_nicnet_shared(const struct qp_nicnet *n)
{
	return n->nic;
}

/* Readers that see an odd number, or another one afterwards, look again. */
static void
publish(struct qp_nicnet *n)
{
	struct qp_nic_net *to = &n->nic->net;
	/* One who was killed in here has left it odd. */
	const uint32_t seq = to->seq | 1u;

	__atomic_store_n(&to->seq, seq, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	to->naddrs = n->net.naddrs;
	to->nroutes = n->net.nroutes;
	to->nlinks = n->net.nlinks;
	memcpy(to->link, n->net.link, sizeof(to->link));
	memcpy(to->addr, n->net.addr, sizeof(to->addr));
	memcpy(to->route, n->net.route, sizeof(to->route));
	__atomic_store_n(&to->seq, seq + 1, __ATOMIC_RELEASE);
}

struct qp_nicnet *
qp_nicnet_new(const struct qp_nicnet_config *cfg)
{
	struct qp_nicnet *n = calloc(1, sizeof(*n));

	if (n == NULL)
		return NULL;
	n->cfg = *cfg;
	n->cfg.options = NULL;
	n->blocked = calloc(1, sizeof(*n->blocked));
	if (n->blocked == NULL) {
		free(n);
		return NULL;
	}
	qp_nic_options_net(cfg->options, &n->net);
	return n;
}

/* What is in the shared memory goes on for whoever comes, or goes with it. */
static void
leave(void *net)
{
	struct qp_nicnet *n = net;

	if (n == NULL)
		return;
	free(n->blocked);
	free(n);
}

static int
check_zone(const struct qp_nic *nic, size_t bytes, struct qp_errmsg *msg)
{
	if (nic == NULL)
		return qp_fail(msg, QP_E_NOTFOUND,
			"this gateway's port owner runs without ports: leave out --port, or end the "
			"gateway (SIGTERM) and start it anew");
	if (bytes < sizeof(*nic) || nic->magic != QP_NIC_MAGIC || nic->version != QP_NIC_VERSION)
		return qp_fail(msg, QP_E_VERSION,
			"this gateway's port owner is of a release whose ports this one cannot use: "
			"end the gateway (SIGTERM) and start it anew");
	return 0;
}

/* A port owner that was there before us has the ports that it was started with. */
static int
check_ports(const struct qp_nicnet *n, const struct qp_nic *nic, struct qp_errmsg *msg)
{
	if (nic->nports != n->net.nlinks)
		return qp_fail(msg, QP_E_INVAL,
			"--port: %u given, and the port owner that runs has %u: give the same as "
			"before, or end the gateway (SIGTERM) and start it anew", n->net.nlinks,
			nic->nports);
	for (unsigned p = 0; p < nic->nports; p++) {
		if (n->net.link[p].mtu > nic->port[p].mtu)
			return qp_fail(msg, QP_E_INVAL,
				"--mtu %u@%u: port %.60s was opened with %u: give at most that, or end "
				"the gateway (SIGTERM) and start it anew", n->net.link[p].mtu, p,
				nic->port[p].name, nic->port[p].mtu);
	}
	return 0;
}

static int
attached(void *net, struct qp_errmsg *msg)
{
	struct qp_nicnet *n = net;
	size_t bytes = 0;
	/* Ours to write, as common/nic.h says. */
	struct qp_nic *nic = (void *)(uintptr_t)n->cfg.zone(QP_NIC_ZONE, &bytes);
	int err = check_zone(nic, bytes, msg);

	if (err == 0)
		err = check_ports(n, nic, msg);
	if (err != 0)
		return err;
	n->nic = nic;
	memcpy(&nic->quic_addr, &n->cfg.quic_addr, sizeof(nic->quic_addr));
	__atomic_store_n(&nic->quic_port, n->cfg.quic_port, __ATOMIC_RELAXED);
	__atomic_store_n(&nic->public_port, n->cfg.public_port, __ATOMIC_RELAXED);
	publish(n);
	qp_nicnet_ports_adopt(n);
	qp_nicnet_block_attach(n);
	return 0;
}

/* No descriptor tells anything: all that changes is told by others, or written here. */
static int
fd(const void *net)
{
	(void)net;
	return -1;
}

static void
process(void *net)
{
	(void)net;
}

static int
quic_socket(const void *net)
{
	(void)net;
	return -1;
}

static unsigned
maps(const void *net, int *fds, unsigned max)
{
	(void)net;
	(void)fds;
	(void)max;
	return 0;
}

static void
worker_remove(void *net, uint32_t server_id, uint8_t worker)
{
	(void)net;
	(void)server_id;
	(void)worker;
}

static unsigned
retry(void *net)
{
	(void)net;
	return 0;
}

static void
prune(void *net)
{
	qp_nicnet_ports_prune(net);
}

static int
route(const void *net, const struct in6_addr *dest, struct qp_hostnet_route *out,
	struct qp_errmsg *msg)
{
	const struct qp_nicnet *n = net;

	return qp_nicnet_route(&n->net, dest, out, msg);
}

static int
counters(const void *net, uint64_t out[QP_CLS_NCOUNTERS])
{
	(void)net;
	(void)out;
	return QP_E_UNSUPPORTED;
}

static unsigned
map_entries(const void *net, struct qp_hostnet_entries *out, unsigned max)
{
	(void)net;
	(void)out;
	(void)max;
	return 0;
}

/* What answers on one address alone goes on doing so: that stays. */
static int
check_kept(const struct qp_nic_options *o, const struct in6_addr *addr, const char *option,
	struct qp_errmsg *msg)
{
	const bool v4 = IN6_IS_ADDR_V4MAPPED(addr);
	char text[INET6_ADDRSTRLEN];

	if (IN6_IS_ADDR_UNSPECIFIED(addr) || qp_nic_options_has(o, addr))
		return 0;
	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? addr->s6_addr + 12 : addr->s6_addr, text, sizeof(text));
	return qp_fail(msg, QP_E_INVAL,
		"--ip: the gateway was started with %s %s: keep this address, or restart it", option,
		text);
}

int
qp_nicnet_may_change(
	const struct qp_nicnet *n, const struct qp_nic_options *o, struct qp_errmsg *msg)
{
	int err = check_kept(o, &n->cfg.quic_addr, "--data-plane-addr", msg);

	if (err == 0)
		err = check_kept(o, &n->cfg.forward_addr, "--forward-addr", msg);
	if (err != 0)
		return err;
	for (unsigned p = 0; n->nic != NULL && p < n->nic->nports; p++) {
		const uint32_t mtu = qp_nic_options_mtu(o, p);

		if (mtu > n->nic->port[p].mtu)
			return qp_fail(msg, QP_E_INVAL,
				"--mtu %u: port %u was opened with %u: give at most that, or end the "
				"gateway (SIGTERM) and start it anew", mtu, p, n->nic->port[p].mtu);
	}
	return 0;
}

void
qp_nicnet_change(struct qp_nicnet *n, const struct qp_nic_options *o)
{
	struct qp_nic_net fresh;

	memset(&fresh, 0, sizeof(fresh));
	qp_nic_options_net(o, &fresh);
	if (memcmp(&fresh, &n->net, sizeof(fresh)) == 0)
		return;
	/* Addresses are named by their place, which changes: in between, all of them answer. */
	if (n->nic != NULL)
		qp_nicnet_ports_answer_on(n, 0);
	n->net = fresh;
	if (n->nic != NULL) {
		publish(n);
		qp_nicnet_ports_answer_on(n, qp_nicnet_address(n, &n->cfg.forward_addr));
	}
	qp_log(QP_LOG_INFO, "addresses and routes of the ports have changed",
		QP_LOG_U64("addresses", fresh.naddrs), QP_LOG_U64("routes", fresh.nroutes));
}

const struct qp_network_ops qp_nicnet_ops = {
	.close = leave,
	.leave = leave,
	.attached = attached,
	.fd = fd,
	.process = process,
	.quic_socket = quic_socket,
	.maps = maps,
	.room = qp_nicnet_room,
	.generation_add = qp_nicnet_generation_add,
	.generation_remove = qp_nicnet_generation_remove,
	.generation_freed = qp_nicnet_generation_freed,
	.worker_add = qp_nicnet_worker_add,
	.worker_remove = worker_remove,
	.set_active = qp_nicnet_set_active,
	.port_open = qp_nicnet_port_open,
	.port_adopt = qp_nicnet_port_adopt,
	.port_move = qp_nicnet_port_move,
	.port_close = qp_nicnet_port_close,
	.retry = retry,
	.prune = prune,
	.route = route,
	.block = qp_nicnet_block,
	.unblock = qp_nicnet_unblock,
	.counters = counters,
	.map_entries = map_entries,
};
