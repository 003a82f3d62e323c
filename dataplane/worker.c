/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker loop: rx; timers; control; handle; tx; sleep. One lcore, run to
 * completion, shared with nobody. No lock, no heap, no log on the packet path;
 * system calls only to the port (host mode) and to sleep.
 */
#include "dataplane/worker.h"

#include <errno.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "dataplane/api.h"
#include "dataplane/ip.h"
#include "dataplane/port.h"
#include "dataplane/quic/quic.h"
#include "dataplane/tcp/tcp.h"
#include "dataplane/timer.h"
#include "dataplane/tunnel.h"

#define RX_BURST 32u
#define TX_ROOM 256u
#define TX_BURST 32u
#define CTL_BURST 32u
#define MTU 1500u              /* what TCP announces: the wire's, not the TAP's */
#define HOST_PORT_MTU 65535u
#define POOL_CACHE 256u
#define PUBLISH_NS (100ull * 1000 * 1000)
#define SPIN_NS (20ull * 1000) /* idle turns before sleep: longer than a ring hop, shorter than a scheduler's slice */
#define GOODBYE_NS (1000ull * 1000 * 1000)
#define SLEEP_MAX_NS (500ull * 1000 * 1000) /* the heartbeat goes on */

/* Owner: its lcore, once it runs. Life: the process's. Lock: none. */
struct qp_worker {
	struct qp_worker_config cfg;
	struct qp_worker_shared *out;   /* counters; only this lcore writes */
	struct qp_ctl ctl;
	struct rte_mempool *pool, *indirect;
	struct qp_wheel *wheel;
	int epoll;
	uint64_t now_ns;
	uint8_t mem_level;              /* enum qp_mem_level */
	bool failed;                    /* the port did not start: wait to be told to end */
	bool leaving;
	uint64_t leave_by_ns;
	uint64_t publish_at_ns;
	uint64_t idle_since_ns;         /* 0: busy */
	/* From CONFIG on. */
	struct qp_port *port;
	struct qp_tcp *tcp;
	struct qp_quic *quic;
	struct qp_tunnels *tunnels;
	struct qp_api *api;
	uint16_t quic_port_be;
	uint16_t tx_len;
	struct rte_mbuf *tx[TX_ROOM];
};

static uint64_t
clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Sends what waits; what the port does not take now stays. */
static void
tx_flush(struct qp_worker *w)
{
	uint16_t sent;

	if (w->tx_len == 0)
		return;
	sent = qp_port_tx(w->port, w->tx, w->tx_len);
	w->tx_len -= sent;
	memmove(w->tx, w->tx + sent, w->tx_len * sizeof(w->tx[0]));
}

/* Everybody's way out. A port that stays full costs frames, never memory. */
static void
transmit(void *ctx, struct rte_mbuf *frame)
{
	struct qp_worker *w = ctx;

	if (w->tx_len >= TX_BURST)
		tx_flush(w);
	if (w->tx_len == TX_ROOM) {
		rte_pktmbuf_free(frame);
		w->out->c.tx_dropped++;
		return;
	}
	w->tx[w->tx_len++] = frame;
}

static uint64_t
random64(void *ctx)
{
	uint64_t v;

	randombytes_buf(&v, sizeof(v));
	return v;
}

static bool
send_message(void *ctx, const struct qp_msg *msg)
{
	struct qp_worker *w = ctx;
	struct qp_msg copy = *msg;

	copy.worker = (uint16_t)w->cfg.index;
	return qp_ctl_send(&w->ctl, &copy);
}

/* Start-up: what CONFIG brings. */

static int
open_tcp(struct qp_worker *w)
{
	const struct qp_tcp_env env = {
		.now_ns = &w->now_ns,
		.wheel = w->wheel,
		.pool = w->pool,
		.indirect_pool = w->indirect,
		.mtu = MTU,
		.max_frame_bytes = w->port->max_frame_bytes,
		.transmit = transmit,
		.transmit_ctx = w,
		.mem_level = &w->mem_level,
		.random = random64,
	};
	struct qp_tcp_env with_mac = env;
	struct qp_tcp_config cfg;

	memcpy(with_mac.own_mac, w->port->mac, sizeof(with_mac.own_mac));
	qp_tcp_config_default(&cfg);
	w->tcp = qp_tcp_new(&with_mac, &cfg);
	return w->tcp != NULL ? 0 : QP_E_NOMEM;
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
		.udp_segmentation = (w->port->tx_offloads & RTE_ETH_TX_OFFLOAD_UDP_TSO) != 0,
		.transmit = transmit,
		.transmit_ctx = w,
		.counters = &w->out->c,
	};

	memcpy(env.own_mac, w->port->mac, sizeof(env.own_mac));
	return qp_quic_new(&env, cfg, &qp_tunnel_quic_ops, w->tunnels, &w->quic, msg);
}

static int
open_api(struct qp_worker *w, const struct qp_msg_config *in)
{
	const struct qp_api_env env = {.tcp = w->tcp, .pool = w->pool, .send = send_message,
		.send_ctx = w};
	struct qp_ipaddr addr;

	if (in->public_port_be == 0)
		return 0;
	memcpy(addr.b, in->data_plane_addr, sizeof(addr.b));
	return qp_api_open(&env, (addr.q[0] | addr.q[1]) != 0 ? &addr : NULL, in->public_port_be,
		&w->api);
}

static int
open_tunnels(struct qp_worker *w, const struct qp_quic_config *quic)
{
	const struct qp_tunnels_env env = {
		.now_ns = &w->now_ns,
		.wheel = w->wheel,
		.pool = w->pool,
		.pool_bytes = w->pool->size * (RTE_MBUF_DEFAULT_BUF_SIZE - RTE_PKTMBUF_HEADROOM),
		.stream_window = (uint32_t)quic->stream_window,
		.tcp = w->tcp,
		.counters = &w->out->c,
		.mem_level = &w->mem_level,
		.send = send_message,
		.send_ctx = w,
	};

	w->tunnels = qp_tunnels_new(&env);
	return w->tunnels != NULL ? 0 : QP_E_NOMEM;
}

static int
open_port(struct qp_worker *w, const struct qp_msg_config *in, struct qp_errmsg *msg)
{
	struct epoll_event ev = {.events = EPOLLIN};
	struct qp_host_port_config cfg;
	char name[16];
	int rc;

	snprintf(name, sizeof(name), "qp%08x%04x%x", in->name_hash, w->cfg.server_id & 0xffff,
		w->cfg.index & 0xf);
	cfg = (struct qp_host_port_config) {.name = name, .rx_pool = w->pool, .mtu = HOST_PORT_MTU};
	rc = qp_host_port_open(&cfg, &w->port, msg);
	if (rc < 0)
		return rc;
	if (w->port->wake_fd >= 0 && epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->port->wake_fd, &ev) < 0)
		return qp_fail(msg, QP_E_IO, "epoll on %s: %s", name, strerror(errno));
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
	if ((rc = open_tcp(w)) < 0 || (rc = open_tunnels(w, &quic)) < 0 || (rc = open_api(w, in)) < 0)
		return qp_fail(msg, rc, "worker %u: %s", w->cfg.index, qp_strerror(rc));
	return open_quic(w, &quic, msg);
}

static void
on_config(struct qp_worker *w, const struct qp_msg_config *in)
{
	struct qp_msg hello = {.type = QP_MSG_HELLO, .version = QP_IPC_VERSION};
	struct qp_errmsg why = {""};

	if (w->port != NULL || w->failed)
		return;
	w->failed = configure(w, in, &why) < 0;
	hello.hello.ok = !w->failed;
	if (w->failed) {
		qp_log(QP_LOG_ERROR, why.text);
		snprintf(hello.hello.why, sizeof(hello.hello.why), "%s", why.text);
	} else {
		hello.hello.ifindex = w->port->ifindex;
		memcpy(hello.hello.mac, w->port->mac, sizeof(hello.hello.mac));
	}
	(void)send_message(w, &hello);
}

/* The loop's steps. */

static void
leave(struct qp_worker *w)
{
	if (w->leaving)
		return;
	w->leaving = true;
	w->leave_by_ns = w->now_ns + GOODBYE_NS;
	if (w->quic != NULL)
		qp_quic_refuse_new(w->quic);
	if (w->tunnels != NULL)
		qp_tunnels_shutdown(w->tunnels);
}

static void
message(struct qp_worker *w, const struct qp_msg *msg)
{
	switch (msg->type) {
	case QP_MSG_CONFIG:
		on_config(w, &msg->config);
		break;
	case QP_MSG_AUTH_REPLY:
	case QP_MSG_VERDICT:
	case QP_MSG_FORWARD_GRANT:
	case QP_MSG_FORWARD_DENY:
		if (w->tunnels != NULL)
			qp_tunnels_message(w->tunnels, msg);
		break;
	case QP_MSG_API_DATA:
	case QP_MSG_API_CLOSE:
		if (w->api != NULL)
			qp_api_message(w->api, msg);
		break;
	case QP_MSG_SHUTDOWN:
		leave(w);
		break;
	default:
		break;
	}
}

static unsigned
control(struct qp_worker *w)
{
	struct qp_msg msg;
	unsigned n = 0;

	while (n < CTL_BURST && qp_ctl_receive(&w->ctl, &msg)) {
		message(w, &msg);
		n++;
	}
	if (atomic_load_explicit(w->cfg.stop, memory_order_relaxed))
		leave(w);
	return n;
}

static void
handle(struct qp_worker *w, struct rte_mbuf *m)
{
	struct qp_packet pkt;
	enum qp_ip_verdict verdict = qp_ip_parse(m, &pkt);

	if (verdict == QP_IP_OK && pkt.proto == IPPROTO_UDP && pkt.flow.lport_be == w->quic_port_be) {
		qp_quic_input(w->quic, m, &pkt);
		return;
	}
	if (verdict == QP_IP_OK && pkt.proto == IPPROTO_TCP) {
		qp_tcp_input(w->tcp, m, &pkt);
		return;
	}
	if (verdict == QP_IP_OK && (pkt.proto == IPPROTO_ICMP || pkt.proto == IPPROTO_ICMPV6)) {
		qp_tcp_icmp_input(w->tcp, m, &pkt);
		return;
	}
	if (verdict == QP_IP_OK)
		verdict = QP_IP_PROTO;
	w->out->ip_drops[verdict]++;
	w->out->c.drop_ip++;
	rte_pktmbuf_free(m);
}

static unsigned
receive(struct qp_worker *w)
{
	struct rte_mbuf *frames[RX_BURST];
	uint16_t n = qp_port_rx(w->port, frames, RX_BURST);

	for (uint16_t i = 0; i < n; i++)
		handle(w, frames[i]);
	return n;
}

/* True when something still waits to be sent, so that the worker must not sleep. */
static bool
finish_turn(struct qp_worker *w)
{
	bool more;

	qp_tunnels_flush(w->tunnels);
	if (w->api != NULL)
		qp_api_flush(w->api);
	qp_tcp_flush(w->tcp);
	more = qp_quic_flush(w->quic);
	tx_flush(w);
	return more || w->tx_len > 0;
}

/* The pool's own count and this lcore's cache; other lcores have none of it. */
static uint32_t
mbufs_free(const struct qp_worker *w)
{
	const struct rte_mempool_cache *cache =
		rte_mempool_default_cache(w->pool, rte_lcore_id());

	return rte_mempool_ops_get_count(w->pool) + (cache != NULL ? cache->len : 0);
}

static enum qp_mem_level
mem_level(const struct qp_worker *w)
{
	uint32_t left = mbufs_free(w);

	if (left > w->pool->size / 2)
		return QP_MEM_PLENTY;
	return left > w->pool->size / 8 ? QP_MEM_TIGHT : QP_MEM_SCARCE;
}

static void
publish(struct qp_worker *w)
{
	struct qp_worker_counters *c = &w->out->c;
	const struct qp_port_counters *p;

	if (w->now_ns < w->publish_at_ns)
		return;
	w->publish_at_ns = w->now_ns + PUBLISH_NS;
	c->mbufs_total = w->pool->size;
	c->mbufs_in_use = w->pool->size - mbufs_free(w);
	if (w->port == NULL || w->failed)
		return;
	p = &w->port->counters;
	c->rx_frames = p->rx_frames;
	c->rx_bytes = p->rx_bytes;
	c->tx_frames = p->tx_frames;
	c->tx_bytes = p->tx_bytes;
	c->rx_nombuf = p->rx_nombuf;
	memcpy(w->out->tcp, qp_tcp_counters(w->tcp), sizeof(struct qp_tcp_counters));
}

static void
sleep_ns(struct qp_worker *w, uint64_t ns)
{
	const struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u),
		.tv_nsec = (long)(ns % 1000000000u)};
	struct epoll_event ev[2];
	uint64_t rings;

	w->out->c.sleeps++;
	(void)epoll_pwait2(w->epoll, ev, 2, &ts, NULL);
	/* Whoever rang has been heard; EAGAIN when it was the port. */
	if (read(w->cfg.doorbell, &rings, sizeof(rings)) < 0)
		return;
}

/* Adaptive: spins a little after work, then sleeps until port, timer or ring call. */
static void
idle(struct qp_worker *w)
{
	uint64_t next;

	if (w->cfg.busy_poll) {
		rte_pause();
		return;
	}
	if (w->idle_since_ns == 0)
		w->idle_since_ns = w->now_ns;
	if (w->now_ns - w->idle_since_ns < SPIN_NS)
		return;
	next = RTE_MIN(qp_wheel_next_ns(w->wheel), w->now_ns + SLEEP_MAX_NS);
	if (next <= w->now_ns || !qp_ctl_sleep_begin(&w->ctl))
		return;
	w->publish_at_ns = 0; /* readers see what a sleeper last did */
	publish(w);
	sleep_ns(w, next - w->now_ns);
	qp_ctl_sleep_end(&w->ctl);
}

static bool
done(const struct qp_worker *w)
{
	return w->leaving && (w->tunnels == NULL || qp_tunnels_count(w->tunnels) == 0 ||
				     w->now_ns >= w->leave_by_ns);
}

/* One turn; true when it found work. */
static bool
turn(struct qp_worker *w)
{
	unsigned work = 0;
	bool more = false;

	w->now_ns = clock_ns();
	__atomic_store_n(&w->out->heartbeat_ns, w->now_ns, __ATOMIC_RELAXED);
	w->mem_level = mem_level(w);
	if (w->quic != NULL)
		work += receive(w);
	work += qp_wheel_advance(w->wheel, w->now_ns);
	work += control(w);
	if (w->quic != NULL)
		more = finish_turn(w);
	qp_ctl_flush(&w->ctl);
	publish(w);
	w->out->c.loops++;
	return work > 0 || more;
}

int
qp_worker_run(void *arg)
{
	struct qp_worker *w = arg;
	uint64_t start = rte_rdtsc(), end;

	while (!done(w)) {
		bool busy = turn(w);

		end = rte_rdtsc();
		if (busy) {
			w->out->c.cycles_busy += end - start;
			w->idle_since_ns = 0;
			start = end;
			continue;
		}
		w->out->c.cycles_idle += end - start;
		idle(w);
		start = rte_rdtsc();
	}
	if (w->quic != NULL)
		(void)finish_turn(w);
	return 0;
}

/* Life. */

static int
make_pools(struct qp_worker *w, struct qp_errmsg *msg)
{
	char name[RTE_MEMPOOL_NAMESIZE];

	snprintf(name, sizeof(name), QP_POOL_NAME, w->cfg.server_id, w->cfg.index);
	w->pool = rte_pktmbuf_pool_create(name, w->cfg.mbufs, POOL_CACHE, 0,
		RTE_MBUF_DEFAULT_BUF_SIZE, w->cfg.socket);
	snprintf(name, sizeof(name), QP_INDIRECT_NAME, w->cfg.server_id, w->cfg.index);
	w->indirect = rte_pktmbuf_pool_create(name, w->cfg.mbufs, POOL_CACHE, 0, 0, w->cfg.socket);
	if (w->pool == NULL || w->indirect == NULL)
		return qp_fail(msg, QP_E_NOMEM,
			"no hugepage memory for %u packet buffers: raise --memory, or reserve more "
			"hugepages (scripts/setup.sh)",
			w->cfg.mbufs);
	return 0;
}

static int
make_epoll(struct qp_worker *w, struct qp_errmsg *msg)
{
	struct epoll_event ev = {.events = EPOLLIN};

	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (w->epoll < 0 || epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->cfg.doorbell, &ev) < 0)
		return qp_fail(msg, QP_E_IO, "epoll: %s", strerror(errno));
	return 0;
}

int
qp_worker_new(const struct qp_worker_config *cfg, struct qp_worker **out, struct qp_errmsg *msg)
{
	struct qp_worker *w = calloc(1, sizeof(*w));
	int rc;

	if (w == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no memory for a worker");
	w->cfg = *cfg;
	w->epoll = -1;
	w->out = &cfg->shared->worker[cfg->index];
	w->ctl = (struct qp_ctl) {
		.to_cp = cfg->to_cp,
		.from_cp = cfg->from_cp,
		.shared = cfg->shared,
		.mine = w->out,
		.cp_doorbell = cfg->cp_doorbell,
	};
	w->now_ns = clock_ns();
	w->wheel = qp_wheel_new(w->now_ns);
	if (w->wheel == NULL)
		rc = qp_fail(msg, QP_E_NOMEM, "no memory for timers");
	else if ((rc = make_pools(w, msg)) == 0)
		rc = make_epoll(w, msg);
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
	if (w->port != NULL)
		tx_flush(w);
	rte_pktmbuf_free_bulk(w->tx, w->tx_len);
	qp_port_close(w->port);
	qp_ctl_flush(&w->ctl);
	qp_ctl_fini(&w->ctl);
	if (w->wheel != NULL)
		qp_wheel_free(w->wheel);
	rte_mempool_free(w->pool);
	rte_mempool_free(w->indirect);
	if (w->epoll >= 0)
		close(w->epoll);
	free(w);
}
