/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's beginning and end: pools and timers on the main thread; port, TCP,
 * QUIC and tunnels on its lcore, when the control plane's CONFIG has come.
 */
#define QP_LOG_MODULE QP_LOG_M_worker
#include "common/clock.h"
#include "dataplane/worker_internal.h"

#include <errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/heap.h"
#include "common/log.h"
#include "common/shared.h"
#include "dataplane/lines.h"
#include "dataplane/nic/nic_port.h"
#include "dataplane/pool.h"
#include "dataplane/quic/farewell.h"

#define MTU 1500u          /* TCP's first hop where a frame does not say */
#define LINK_MTU_MAX 9216u /* … and at most: a jumbo frame. lo's 64 KiB would make a segment exceed small windows */
#define HOST_PORT_MTU 65535u
#define STREAM_WINDOW (256u * 1024) /* at first */
#define TIMER_SLACK_NS 1000ul /* naps of a port that must be polled are short */

static uint64_t
random64(void *ctx)
{
	uint64_t v;

	randombytes_buf(&v, sizeof(v));
	return v;
}

static void
tcp_config(const struct qp_msg_config *in, struct qp_tcp_config *cfg)
{
	const struct qp_msg_tcp *t = &in->tcp;

	qp_tcp_config_default(cfg);
	cfg->congestion = t->congestion == 1 ? QP_TCP_CC_BBR : QP_TCP_CC_CUBIC;
	cfg->pacing = t->pacing;
	cfg->ecn = t->ecn;
	cfg->fastopen = t->fast_open;
	cfg->rcv_buf_bytes = cfg->snd_buf_bytes = t->buffer_kib * 1024;
	cfg->max_conns = t->max_conns;
	cfg->max_conns_per_source = t->max_conns_per_source;
	cfg->keepalive_s = t->keepalive_s;
	cfg->user_timeout_s = t->user_timeout_s;
	cfg->zero_window_s = t->zero_window_s;
	/* A cookie that one worker or generation gave out is good at the next. */
	crypto_generichash((uint8_t *)cfg->fastopen_key, sizeof(cfg->fastopen_key),
		(const uint8_t *)"fast open", 9, in->reset_key, sizeof(in->reset_key));
}

static int
open_tcp(struct qp_worker *w, const struct qp_msg_config *in)
{
	const struct qp_tcp_env env = {
		.now_ns = &w->now_ns,
		.wheel = w->wheel,
		.pool = w->pool,
		.indirect_pool = w->indirect,
		.mtu = MTU,
		.link_mtu_max = LINK_MTU_MAX,
		.max_frame_bytes = w->port->max_frame_bytes,
		.transmit = qp_worker_transmit,
		.transmit_ctx = w,
		.mem_level = &w->mem_level,
		.random = random64,
	};
	struct qp_tcp_env with_mac = env;
	struct qp_tcp_config cfg;

	memcpy(with_mac.own_mac, w->port->mac, sizeof(with_mac.own_mac));
	tcp_config(in, &cfg);
	w->tcp = qp_tcp_new(&with_mac, &cfg);
	return w->tcp != NULL ? 0 : QP_E_NOMEM;
}

static int
open_udp(struct qp_worker *w, const struct qp_msg_config *in)
{
	struct qp_udp_env env = {
		.now_ns = &w->now_ns,
		.wheel = w->wheel,
		.pool = w->pool,
		.indirect_pool = w->indirect,
		.udp_segmentation = (w->port->tx_offloads & RTE_ETH_TX_OFFLOAD_UDP_TSO) != 0,
		.transmit = qp_worker_transmit,
		.transmit_ctx = w,
		.mem_level = &w->mem_level,
		.random = random64,
	};
	struct qp_udp_config cfg;

	memcpy(env.own_mac, w->port->mac, sizeof(env.own_mac));
	qp_udp_config_default(&cfg);
	cfg.idle_ns = in->udp.idle_timeout_s * 1000000000ull;
	cfg.max_flows = in->udp.max_flows;
	cfg.max_flows_per_tunnel = in->udp.max_flows_per_tunnel;
	w->udp = qp_udp_new(&env, &cfg);
	return w->udp != NULL ? 0 : QP_E_NOMEM;
}

static void
quic_config(const struct qp_worker *w, const struct qp_msg_config *in, struct qp_quic_config *cfg)
{
	qp_quic_config_default(cfg);
	cfg->server_id = w->cfg.server_id;
	cfg->lcore = (uint8_t)w->cfg.index;
	cfg->idle_timeout_ns = in->idle_timeout_s * 1000000000ull;
	cfg->keep_alive_ns = in->keep_alive_s * 1000000000ull;
	cfg->cert_file = in->cert_file;
	cfg->key_file = in->key_file;
	memcpy(cfg->reset_key, in->reset_key, sizeof(cfg->reset_key));
}

static int
open_quic(struct qp_worker *w, const struct qp_quic_config *cfg, struct qp_errmsg *msg)
{
	struct qp_quic_env env = {
		.now_ns = &w->now_ns,
		.wheel = w->wheel,
		.pool = w->pool,
		.mem_level = &w->mem_level,
		.udp_segmentation = (w->port->tx_offloads & RTE_ETH_TX_OFFLOAD_UDP_TSO) != 0,
		.transmit = qp_worker_transmit,
		.full = qp_worker_full,
		.transmit_ctx = w,
		.farewells = w->farewells,
		.counters = &w->out->c,
	};

	memcpy(env.own_mac, w->port->mac, sizeof(env.own_mac));
	return qp_quic_new(&env, cfg, &qp_tunnel_quic_ops, w->tunnels, &w->quic, msg);
}

static int
open_api(struct qp_worker *w, const struct qp_msg_config *in)
{
	const struct qp_api_env env = {.tcp = w->tcp, .pool = w->pool, .send = qp_worker_send,
		.send_ctx = w};
	struct qp_ipaddr addr;

	if (in->public_port_be == 0)
		return 0;
	memcpy(addr.b, in->data_plane_addr, sizeof(addr.b));
	return qp_api_open(&env, (addr.q[0] | addr.q[1]) != 0 ? &addr : NULL, in->public_port_be,
		&w->api);
}

static int
open_tunnels(struct qp_worker *w, const struct qp_msg_config *in)
{
	const struct qp_tunnels_env env = {
		.now_ns = &w->now_ns,
		.wheel = w->wheel,
		.pool = w->pool,
		.pool_bytes = (uint64_t)w->pool->size * (RTE_MBUF_DEFAULT_BUF_SIZE - RTE_PKTMBUF_HEADROOM),
		.stream_window = STREAM_WINDOW,
		.max_stream_window = (uint32_t)RTE_MAX(STREAM_WINDOW, in->tcp.buffer_kib * UINT64_C(1024)),
		.tcp = w->tcp,
		.udp = w->udp,
		.counters = &w->out->c,
		.mem_level = &w->mem_level,
		.audit_conns = in->audit_conns != 0,
		.send = qp_worker_send,
		.send_ctx = w,
	};

	w->tunnels = qp_tunnels_new(&env);
	return w->tunnels != NULL ? 0 : QP_E_NOMEM;
}

static int
open_nic_port(struct qp_worker *w, struct qp_errmsg *msg)
{
	const struct qp_nic_port_config cfg = {
		.nic = w->cfg.nic,
		.server_id = w->cfg.server_id,
		.worker = w->cfg.index,
		.nworkers = w->cfg.shared->nworkers,
		.handoff = w->cfg.handoff,
		.links = w->cfg.links,
		.doorbell = w->cfg.busy_poll ? NULL : w->cfg.doorbells,
		.wheel = w->wheel,
		.now_ns = &w->now_ns,
		.pool = w->pool,
		.random = random64,
	};

	(void)prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS);
	return qp_nic_port_open(&cfg, &w->port, msg);
}

static int
open_host_port(struct qp_worker *w, const struct qp_msg_config *in, struct qp_errmsg *msg)
{
	struct qp_host_port_config cfg;
	char name[16];

	snprintf(name, sizeof(name), "qp%08x%04x%x", in->name_hash, w->cfg.server_id & 0xffff,
		w->cfg.index & 0xf);
	cfg = (struct qp_host_port_config) {.name = name, .rx_pool = w->pool, .mtu = HOST_PORT_MTU};
	return qp_host_port_open(&cfg, &w->port, msg);
}

static int
open_port(struct qp_worker *w, const struct qp_msg_config *in, struct qp_errmsg *msg)
{
	int rc = w->cfg.nic != NULL ? open_nic_port(w, msg) : open_host_port(w, in, msg);

	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < QP_CLS_NQUEUES; i++)
		w->wake[1 + i].fd = w->port->wake_fd[i];
	return 0;
}

static int
configure(struct qp_worker *w, const struct qp_msg_config *in, struct qp_errmsg *msg)
{
	struct qp_quic_config quic;
	int rc = open_port(w, in, msg);

	if (rc < 0)
		return rc;
	quic_config(w, in, &quic);
	w->quic_port_be = in->data_plane_port_be;
	if ((rc = open_tcp(w, in)) < 0 || (rc = open_udp(w, in)) < 0 || (rc = open_tunnels(w, in)) < 0 ||
		(rc = open_api(w, in)) < 0)
		return qp_fail(msg, rc, "worker %u: %s", w->cfg.index, qp_strerror(rc));
	return open_quic(w, &quic, msg);
}

/* What the control plane must know of a worker, the first one and those after it. */
static void
say_hello(struct qp_worker *w, const char *why)
{
	struct qp_msg hello = {.type = QP_MSG_HELLO, .version = QP_IPC_VERSION};

	hello.hello.ok = !w->failed;
	if (w->failed) {
		snprintf(hello.hello.why, sizeof(hello.hello.why), "%s", why);
	} else {
		hello.hello.ifindex = w->port->ifindex;
		memcpy(hello.hello.mac, w->port->mac, sizeof(hello.hello.mac));
		hello.hello.takes_over = 1;
	}
	(void)qp_worker_send(w, &hello);
}

void
qp_worker_configure(struct qp_worker *w, const struct qp_msg_config *in)
{
	struct qp_errmsg why = {"it did not start"};

	if (w->cfg.index == 0) {
		__atomic_store_n(&w->cfg.shared->orphan_timeout_s, in->orphan_timeout_s,
			__ATOMIC_RELAXED);
		qp_heap_set_budget(0); /* BUDGET follows, if there is one */
	}
	if (w->port != NULL || w->failed) {
		say_hello(w, why.text); /* to another control plane than the first time */
		return;
	}
	w->failed = configure(w, in, &why) < 0;
	if (w->failed)
		qp_log(QP_LOG_ERROR, why.text);
	else
		atomic_store_explicit(&w->shown_port, w->port, memory_order_release);
	if (!w->failed)
		qp_log(QP_LOG_DEBUG, "worker is up", QP_LOG_U64("worker", w->cfg.index),
			QP_LOG_U64("ifindex", w->port->ifindex), QP_LOG_U64("mbufs", w->cfg.mbufs));
	say_hello(w, why.text);
}

const struct qp_port *
qp_worker_port(const struct qp_worker *w)
{
	return atomic_load_explicit(&w->shown_port, memory_order_acquire);
}

uint64_t
qp_worker_farewell_bytes(void)
{
	return qp_farewells_bytes(QP_QUIC_MAX_CONNS);
}

uint64_t
qp_worker_pool_bytes(uint32_t mbufs)
{
	return qp_pool_bytes(mbufs, RTE_MBUF_DEFAULT_BUF_SIZE) + qp_pool_bytes(mbufs, 0);
}

static void
make_pools(struct qp_worker *w)
{
	char name[RTE_MEMPOOL_NAMESIZE];
	char *at = w->cfg.pools;

	snprintf(name, sizeof(name), QP_POOL_NAME, w->cfg.server_id, w->cfg.index);
	w->pool = qp_pool_make(at, name, w->cfg.mbufs, RTE_MBUF_DEFAULT_BUF_SIZE);
	at += qp_pool_bytes(w->cfg.mbufs, RTE_MBUF_DEFAULT_BUF_SIZE);
	snprintf(name, sizeof(name), QP_INDIRECT_NAME, w->cfg.server_id, w->cfg.index);
	w->indirect = qp_pool_make(at, name, w->cfg.mbufs, 0);
}

static int
make_farewells(struct qp_worker *w, struct qp_errmsg *msg)
{
	w->farewells = qp_farewells_new(w->cfg.farewells, QP_QUIC_MAX_CONNS);
	return w->farewells != NULL ? 0 : qp_fail(msg, QP_E_NOMEM, "no memory for a worker");
}

static void
init_wake(struct qp_worker *w)
{
	for (unsigned i = 0; i < RTE_DIM(w->wake); i++)
		w->wake[i] = (struct pollfd) {.fd = -1, .events = POLLIN};
	w->wake[0].fd = w->cfg.doorbell;
}

int
qp_worker_new(const struct qp_worker_config *cfg, struct qp_worker **out, struct qp_errmsg *msg)
{
	struct qp_worker *w = qp_lines_alloc(sizeof(*w));
	int rc;

	if (w == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no memory for a worker");
	w->cfg = *cfg;
	init_wake(w);
	w->out = qp_shared_worker(cfg->shared, cfg->index);
	w->ctl = (struct qp_ctl) {
		.to_cp = cfg->to_cp,
		.from_cp = cfg->from_cp,
		.offer = cfg->offer,
		.shared = cfg->shared,
		.door = &cfg->shared->door[cfg->index],
		.mine = w->out,
		.version = cfg->version,
		.cp_doorbell = cfg->cp_doorbell,
	};
	qp_worker_share_init(w);
	w->now_ns = qp_now_ns();
	w->wheel = qp_wheel_new(w->now_ns);
	if (w->wheel == NULL) {
		qp_worker_free(w);
		return qp_fail(msg, QP_E_NOMEM, "no memory for timers");
	}
	make_pools(w);
	rc = make_farewells(w, msg);
	if (rc < 0) {
		qp_worker_free(w);
		return rc;
	}
	*out = w;
	return 0;
}

void
qp_worker_free(struct qp_worker *w)
{
	if (w == NULL)
		return;
	qp_api_close(w->api);
	qp_quic_free(w->quic);
	qp_tunnels_free(w->tunnels);
	qp_tcp_free(w->tcp);
	qp_udp_free(w->udp);
	if (w->port != NULL)
		qp_worker_tx_flush(w);
	rte_pktmbuf_free_bulk(w->tx, w->tx_len);
	qp_port_close(w->port);
	qp_ctl_flush(&w->ctl);
	qp_ctl_fini(&w->ctl);
	if (w->wheel != NULL)
		qp_wheel_free(w->wheel);
	qp_farewells_free(w->farewells);
	free(w);
}
