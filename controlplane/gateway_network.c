/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the gateway's packets come by: the host's interfaces, or ports of its
 * own. Which sources are kept out there, and whether an address is there at
 * all. Loop thread.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "controlplane/gateway_internal.h"
#include "controlplane/memory.h"

static void
on_network(void *ctx, uint32_t events)
{
	struct qp_gateway *g = ctx;

	(void)events;
	g->network.ops->process(g->network.net);
}

static int
open_hostnet(struct qp_gateway *g, struct qp_errmsg *msg)
{
	struct qp_hostnet *host = NULL;
	struct qp_hostnet_config cfg = {
		.state_dir = g->instance.dir,
		.interfaces = g->o->interfaces.n > 0 ? g->o->interfaces.v : NULL,
		.ninterfaces = g->o->interfaces.n,
		.quic_port = qp_sockaddr_port(&g->o->data_plane_addr.sa),
		.public_port = qp_options_public_port(g->o),
		.adopt = g->instance.adopted,
	};
	int err;

	qp_sockaddr_to_in6(&g->o->data_plane_addr.sa, &cfg.quic_addr);
	err = qp_hostnet_open(&cfg, &host, msg);
	if (err == 0)
		g->network = (struct qp_network) {&qp_hostnet_ops, host};
	return err;
}

static int
open_nicnet(struct qp_gateway *g, struct qp_errmsg *msg)
{
	struct qp_nicnet_config cfg = {
		.options = &g->o->nic,
		.forward_addr = g->o->forward_addr,
		.quic_port = qp_sockaddr_port(&g->o->data_plane_addr.sa),
		.public_port = qp_options_public_port(g->o),
		.zone = qp_memory_zone,
	};

	qp_sockaddr_to_in6(&g->o->data_plane_addr.sa, &cfg.quic_addr);
	g->nicnet = qp_nicnet_new(&cfg);
	if (g->nicnet == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	g->network = (struct qp_network) {&qp_nicnet_ops, g->nicnet};
	return 0;
}

int
qp_gateway_open_network(struct qp_gateway *g, struct qp_errmsg *msg)
{
	int err = qp_nic_mode(&g->o->nic) ? open_nicnet(g, msg) : open_hostnet(g, msg), fd;

	if (err == 0)
		qp_gateway_nic_begin(g);
	fd = err == 0 ? g->network.ops->fd(g->network.net) : -1;
	if (fd >= 0 && qp_loop_watch(g->loop, &g->network_watch, fd, EPOLLIN, on_network, g) != 0)
		err = qp_fail(msg, QP_E_IO, "cannot watch interfaces: %s", strerror(errno));
	return err;
}

static int
block_source(void *ctx, const struct qp_msg_network *n, struct qp_errmsg *msg)
{
	struct qp_gateway *g = ctx;

	return g->network.ops->block(g->network.net, n, msg);
}

static void
unblock_source(void *ctx, const struct qp_msg_network *n)
{
	struct qp_gateway *g = ctx;

	(void)g->network.ops->unblock(g->network.net, n);
}

int
qp_gateway_open_blocks(struct qp_gateway *g, struct qp_errmsg *msg)
{
	int err = qp_blocks_new(&(struct qp_blocks_config) {.loop = g->loop,
					.state = g->state,
					.block = block_source,
					.unblock = unblock_source,
					.ctx = g},
		&g->blocks, msg);

	g->admin.blocks = g->blocks;
	return err;
}

/* An address that no interface has would take no connection, and say nothing. */
int
qp_gateway_check_forward_addr(const struct qp_options *o, struct qp_errmsg *msg)
{
	struct qp_sockaddr sa = {.len = sizeof(sa.in6)};
	char text[QP_ADDR_TEXT_BYTES];
	int fd, err;

	/* Of the ports' addresses one was checked with the options. */
	if (IN6_IS_ADDR_UNSPECIFIED(&o->forward_addr) || qp_nic_mode(&o->nic))
		return 0;
	if (IN6_IS_ADDR_V4MAPPED(&o->forward_addr)) {
		sa.in.sin_family = AF_INET;
		memcpy(&sa.in.sin_addr, o->forward_addr.s6_addr + 12, sizeof(sa.in.sin_addr));
		sa.len = sizeof(sa.in);
	} else {
		sa.in6.sin6_family = AF_INET6;
		sa.in6.sin6_addr = o->forward_addr;
	}
	fd = socket(sa.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return qp_fail(msg, QP_E_IO, "socket: %s", strerror(errno));
	err = bind(fd, &sa.sa, sa.len) < 0 ? errno : 0;
	close(fd);
	if (err == 0)
		return 0;
	inet_ntop(AF_INET6, &o->forward_addr, text, sizeof(text));
	if (sa.sa.sa_family == AF_INET)
		inet_ntop(AF_INET, &sa.in.sin_addr, text, sizeof(text));
	return qp_fail(msg, QP_E_INVAL,
		"--forward-addr %s: %s: give an address of this host (ip addr shows them), or "
		"leave it out to answer on all",
		text, err == EADDRNOTAVAIL ? "no interface has it" : strerror(err));
}
