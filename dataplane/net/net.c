/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lcore's host at layers 2 and 3: its life, and its configuration, which the
 * control plane writes into shared memory while this reads. Runs on its lcore.
 */
#include "dataplane/net/internal.h"

#include <stdlib.h>
#include <string.h>

#include "common/error.h"

#define MIN_MTU 576u

void
qp_net_config_default(struct qp_net_config *cfg)
{
	*cfg = (struct qp_net_config) {
		.max_neighbours = 1024,
		.max_held = 256,
		.error_rate = 200,
		.echo_rate = 10000,
		.solicit_rate = 200,
		.heard_rate = 100,
		.replicate_rate = 1000,
	};
}

/* A fifth of a second's worth at once: a burst is no flood. */
static void
bucket_open(struct qp_net *net, struct qp_bucket *b, uint32_t rate)
{
	qp_bucket_set(b, rate, RTE_MAX(1u, rate / 5), *net->env.now_ns);
}

static void
limits_open(struct qp_net *net)
{
	bucket_open(net, &net->solicits, net->cfg.solicit_rate);
	bucket_open(net, &net->heard, net->cfg.heard_rate);
	bucket_open(net, &net->echoes, net->cfg.echo_rate);
	bucket_open(net, &net->errors, net->cfg.error_rate * QP_NET_ERROR_TOKENS);
	for (unsigned i = 0; i < RTE_DIM(net->copies); i++)
		bucket_open(net, &net->copies[i], net->cfg.replicate_rate);
}

struct qp_net *
qp_net_new(const struct qp_net_env *env, const struct qp_net_config *cfg,
	const struct qp_net_port *ports, unsigned nports)
{
	struct qp_net *net = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*net), 64));

	if (net == NULL)
		return NULL;
	memset(net, 0, sizeof(*net));
	net->env = *env;
	net->cfg = *cfg;
	net->nports = RTE_MIN(nports, QP_NIC_MAX_PORTS);
	net->seq = 1;
	net->routes_id = 1;
	memcpy(net->port, ports, net->nports * sizeof(*ports));
	for (unsigned i = 0; i < net->nports; i++)
		net->link[i].mtu = ports[i].mtu;
	net->key[0] = env->random(env->random_ctx);
	net->key[1] = env->random(env->random_ctx);
	limits_open(net);
	net->dest = calloc(QP_NET_DESTS, sizeof(*net->dest));
	if (net->dest == NULL || qp_neigh_open(net) != 0) {
		qp_net_free(net);
		return NULL;
	}
	return net;
}

void
qp_net_free(struct qp_net *net)
{
	if (net == NULL)
		return;
	qp_timer_cancel(net->env.wheel, &net->announce);
	qp_timer_cancel(net->env.wheel, &net->dad);
	qp_timer_cancel(net->env.wheel, &net->mld);
	qp_timer_cancel(net->env.wheel, &net->router_timer);
	qp_neigh_close(net);
	free(net->dest);
	free(net);
}

const struct qp_net_counters *
qp_net_counters(const struct qp_net *net)
{
	return &net->counters;
}

uint16_t
qp_net_mtu(const struct qp_net *net, unsigned port, bool v4)
{
	return port < net->nports ? qp_net_link_mtu(net, port, v4) : 0;
}

/* A copy that nobody wrote to meanwhile; false: not now. */
static bool
snapshot(const struct qp_nic_net *shared, struct qp_nic_net *copy)
{
	uint32_t seq = __atomic_load_n(&shared->seq, __ATOMIC_ACQUIRE);

	if (seq & 1)
		return false;
	memcpy(copy, shared, sizeof(*copy));
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&shared->seq, __ATOMIC_RELAXED) == seq && copy->seq == seq;
}

static void
links_set(struct qp_net *net)
{
	const struct qp_nic_net *from = &net->conf;

	for (unsigned i = 0; i < net->nports; i++) {
		const uint16_t most = net->port[i].mtu;

		net->link[i] = i < from->nlinks ? from->link[i] : (struct qp_nic_link) {0};
		net->link[i].vlan &= 0xfff;
		if (net->link[i].mtu < MIN_MTU || net->link[i].mtu > most)
			net->link[i].mtu = most;
	}
}

bool
qp_net_poll_config(struct qp_net *net, const struct qp_nic_net *shared, bool fresh)
{
	struct qp_nic_net copy;

	if (__atomic_load_n(&shared->seq, __ATOMIC_RELAXED) == net->seq || !snapshot(shared, &copy))
		return false;
	net->seq = copy.seq;
	net->conf = copy;
	links_set(net);
	qp_net_own_set(net, fresh);
	qp_ra_reconcile(net);
	qp_net_routes_set(net);
	qp_neigh_reconcile(net);
	return true;
}
