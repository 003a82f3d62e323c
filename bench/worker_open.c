/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker stands on, made by the main thread before the lcore starts:
 * pools, rings, stacks, clients and users.
 */
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/ports.h"
#include "bench/quic_connect.h"
#include "bench/worker.h"
#include "common/clock.h"
#include "dataplane/quic/cid.h"

#define INBOX 2048u
#define SERVER_ID 1u /* leads our connection ids; nobody but us looks at it */
#define SPARE_CONNS 262144u /* TIME-WAIT of a second of short connections */
#define IPV6_AND_UDP 48u

static uint64_t
random64(void *ctx)
{
	uint64_t v;

	/* Sequence numbers and keys, not the load: no seed. */
	randombytes_buf(&v, sizeof(v));
	return v;
}

/* Worth it where the device does it; by ourselves single packets cost no copy. */
static bool
has(const struct qpb_path *path, uint64_t offload)
{
	return (path->port->nic.tx_offloads & offload) != 0;
}

static int
open_tcp(struct qpb_worker *w)
{
	const struct qpb *b = w->b;
	struct qpb_path *path = qpb_path_of(w, &b->users);
	struct qp_tcp_env env = {
		.now_ns = &w->now_ns,
		.wheel = w->wheel,
		.pool = w->pool,
		.indirect_pool = w->indirect,
		.mtu = b->cfg.mtu,
		.max_frame_bytes = has(path, RTE_ETH_TX_OFFLOAD_TCP_TSO) ? UINT16_MAX : 0,
		.transmit = qpb_path_transmit,
		.transmit_ctx = path,
		.mem_level = &w->mem_level,
		.random = random64,
	};
	struct qp_tcp_config cfg;

	memcpy(env.own_mac, path->port->nic.mac, sizeof(env.own_mac));
	qp_tcp_config_default(&cfg);
	cfg.max_conns = b->cfg.users + SPARE_CONNS;
	cfg.rcv_buf_bytes = cfg.snd_buf_bytes = b->cfg.tcp_buffer;
	cfg.time_wait_s = 1; /* nothing here travels for longer */
	cfg.mtu_probing = false;
	w->tcp = qp_tcp_new(&env, &cfg);
	return w->tcp != NULL ? 0 : QP_E_NOMEM;
}

static int
open_quic(struct qpb_worker *w, struct qp_errmsg *msg)
{
	const struct qpb *b = w->b;
	struct qpb_path *path = qpb_path_of(w, &b->clients);
	struct qp_quic_env env = {
		.now_ns = &w->now_ns,
		.wheel = w->wheel,
		.pool = w->pool,
		.mem_level = &w->mem_level,
		.udp_segmentation = has(path, RTE_ETH_TX_OFFLOAD_UDP_TSO),
		.transmit = qpb_path_transmit,
		.transmit_ctx = path,
		.counters = &w->quic_counters,
	};
	struct qp_quic_config cfg;

	memcpy(env.own_mac, path->port->nic.mac, sizeof(env.own_mac));
	qp_quic_config_default(&cfg);
	cfg.server_id = SERVER_ID;
	cfg.lcore = (uint8_t)w->index;
	cfg.max_streams = 1u << 20;
	cfg.conn_window = cfg.first_window = b->cfg.conn_window;
	cfg.max_udp_payload = b->cfg.mtu - IPV6_AND_UDP;
	return qpb_quic_new(&env, &cfg, &qpb_client_ops, w, &w->quic, msg);
}

static int
open_stacks(struct qpb_worker *w, struct qp_errmsg *msg)
{
	int rc;

	w->wheel = qp_wheel_new(w->now_ns);
	w->latency = qpb_hist_new();
	if (w->wheel == NULL || w->latency == NULL || open_tcp(w) < 0 || qpb_users_new(w) < 0)
		return qp_fail(msg, QP_E_NOMEM, "no memory for worker %u", w->index);
	rc = open_quic(w, msg);
	return rc < 0 ? rc : qpb_clients_new(w, msg);
}

static int
open_rings(struct qpb_worker *w, int socket, struct qp_errmsg *msg)
{
	char name[RTE_RING_NAMESIZE];

	for (unsigned i = 0; i < w->b->nworkers; i++) {
		if (i == w->index)
			continue;
		snprintf(name, sizeof(name), "qpb_in_%u_%u", w->index, i);
		w->inbox[i] = rte_ring_create(name, INBOX, socket, RING_F_SP_ENQ | RING_F_SC_DEQ);
		if (w->inbox[i] == NULL)
			return qp_fail(msg, QP_E_NOMEM, "no memory for ring %s: %s", name,
				rte_strerror(rte_errno));
	}
	return 0;
}

static int
open_paths(struct qpb_worker *w, struct qp_errmsg *msg)
{
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < w->b->nports; i++) {
		const struct qp_nic_port *n = &w->b->port[i].nic;
		const struct qp_eth_port_config cfg = {
			.port_id = n->port_id,
			.rx_queue = (uint16_t)(w->index % n->nrx),
			.tx_queue = (uint16_t)w->index,
			.mtu = n->mtu,
			.tx_offloads = n->tx_offloads,
			.pool = w->pool,
		};

		w->path[i] = (struct qpb_path) {.w = w, .port = &w->b->port[i]};
		rc = qp_eth_port_open(&cfg, &w->path[i].eth, msg);
	}
	return rc;
}

int
qpb_worker_new(struct qpb *b, unsigned index, unsigned lcore, struct qpb_worker **out,
	struct qp_errmsg *msg)
{
	int socket = (int)rte_lcore_to_socket_id(lcore), rc;
	struct qpb_worker *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no memory for worker %u", index);
	w->b = b;
	w->index = index;
	w->lcore = lcore;
	w->now_ns = qp_now_ns();
	TAILQ_INIT(&w->pumps);
	qpb_rng_init(&w->rng, b->cfg.seed, index);
	w->pool = qpb_pool(b, index, false);
	w->indirect = qpb_pool(b, index, true);
	rc = open_paths(w, msg);
	if (rc == 0)
		rc = open_rings(w, socket, msg);
	if (rc == 0)
		rc = open_stacks(w, msg);
	if (rc < 0) {
		qpb_worker_free(w);
		return rc;
	}
	*out = w;
	return 0;
}

void
qpb_worker_free(struct qpb_worker *w)
{
	if (w == NULL)
		return;
	qp_quic_free(w->quic);
	qp_tcp_free(w->tcp);
	for (unsigned i = 0; i < w->b->nports; i++) {
		rte_pktmbuf_free_bulk(w->path[i].tx, w->path[i].tx_len);
		qp_port_close(w->path[i].eth);
	}
	for (unsigned i = 0; i < w->b->nworkers; i++)
		rte_ring_free(w->inbox[i]);
	qpb_users_free(w);
	qpb_clients_free(w);
	if (w->wheel != NULL)
		qp_wheel_free(w->wheel);
	qpb_hist_free(w->latency);
	free(w);
}
