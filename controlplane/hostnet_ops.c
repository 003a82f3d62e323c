/* SPDX-License-Identifier: Apache-2.0 */
/* Host mode behind the table that nic mode has, too. Loop thread. */
#include "controlplane/network.h"

static void
host_close(void *net)
{
	qp_hostnet_close(net);
}

static void
host_leave(void *net)
{
	qp_hostnet_leave(net);
}

/* Its maps are the kernel's. */
static int
host_attached(void *net, struct qp_errmsg *msg)
{
	(void)net;
	(void)msg;
	return 0;
}

static int
host_fd(const void *net)
{
	return qp_hostnet_fd(net);
}

static void
host_process(void *net)
{
	qp_hostnet_process(net);
}

static int
host_quic_socket(const void *net)
{
	return qp_hostnet_quic_socket(net);
}

static unsigned
host_maps(const void *net, int *fds, unsigned max)
{
	return qp_hostnet_maps(net, fds, max);
}

/* Each has TAPs of its own. */
static int
host_room(const void *net, unsigned nworkers, struct qp_errmsg *msg)
{
	(void)net;
	(void)nworkers;
	(void)msg;
	return 0;
}

static int
host_generation_add(void *net, const struct qp_network_generation *g, struct qp_errmsg *msg)
{
	(void)net;
	(void)g;
	(void)msg;
	return 0;
}

static void
host_generation_remove(void *net, uint32_t server_id)
{
	(void)net;
	(void)server_id;
}

static void
host_generation_freed(void *net, uint32_t server_id)
{
	(void)net;
	(void)server_id;
}

static int
host_worker_add(void *net, const struct qp_network_worker *w, struct qp_errmsg *msg)
{
	return qp_hostnet_worker_add(net, w->server_id, w->worker, w->ifindex, w->mac, msg);
}

static void
host_worker_remove(void *net, uint32_t server_id, uint8_t worker)
{
	qp_hostnet_worker_remove(net, server_id, worker);
}

static int
host_set_active(void *net, uint32_t server_id, uint8_t nworkers)
{
	return qp_hostnet_set_active(net, server_id, nworkers);
}

static int
host_port_open(void *net, int protocol, uint16_t port, const struct in6_addr *addr,
	const struct qp_network_worker *w, struct qp_errmsg *msg)
{
	return qp_hostnet_port_open(net, protocol, port, addr, w->ifindex, msg);
}

static int
host_port_adopt(void *net, int protocol, uint16_t port, const struct in6_addr *addr,
	const struct qp_network_worker *w, struct qp_errmsg *msg)
{
	return qp_hostnet_port_adopt(net, protocol, port, addr, w->ifindex, msg);
}

static int
host_port_move(void *net, int protocol, uint16_t port, const struct qp_network_worker *w)
{
	return qp_hostnet_port_move(net, protocol, port, w->ifindex);
}

static void
host_port_close(void *net, int protocol, uint16_t port)
{
	qp_hostnet_port_close(net, protocol, port);
}

static unsigned
host_retry(void *net)
{
	return qp_hostnet_retry(net);
}

static void
host_prune(void *net)
{
	qp_hostnet_prune(net);
}

static int
host_route(const void *net, const struct in6_addr *dest, struct qp_hostnet_route *out,
	struct qp_errmsg *msg)
{
	return qp_hostnet_route(net, dest, out, msg);
}

static int
host_block(void *net, const struct qp_msg_network *n, struct qp_errmsg *msg)
{
	return qp_hostnet_block(net, n, msg);
}

static int
host_unblock(void *net, const struct qp_msg_network *n)
{
	return qp_hostnet_unblock(net, n);
}

static int
host_counters(const void *net, uint64_t out[QP_CLS_NCOUNTERS])
{
	return qp_hostnet_counters(net, out);
}

static unsigned
host_map_entries(const void *net, struct qp_hostnet_entries *out, unsigned max)
{
	return qp_hostnet_map_entries(net, out, max);
}

const struct qp_network_ops qp_hostnet_ops = {
	.close = host_close,
	.leave = host_leave,
	.attached = host_attached,
	.fd = host_fd,
	.process = host_process,
	.quic_socket = host_quic_socket,
	.maps = host_maps,
	.room = host_room,
	.generation_add = host_generation_add,
	.generation_remove = host_generation_remove,
	.generation_freed = host_generation_freed,
	.worker_add = host_worker_add,
	.worker_remove = host_worker_remove,
	.set_active = host_set_active,
	.port_open = host_port_open,
	.port_adopt = host_port_adopt,
	.port_move = host_port_move,
	.port_close = host_port_close,
	.retry = host_retry,
	.prune = host_prune,
	.route = host_route,
	.block = host_block,
	.unblock = host_unblock,
	.counters = host_counters,
	.map_entries = host_map_entries,
};
