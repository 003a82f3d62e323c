/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker loop: rx; timers; control; handle; tx; sleep. One lcore, run to
 * completion, shared with nobody. No lock, no heap, no log on the packet path;
 * system calls only to the port (host mode) and to sleep.
 */
#define QP_LOG_MODULE QP_LOG_M_worker
#include "dataplane/worker.h"

#include <poll.h>
#include <rte_cycles.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/classifier.h"
#include "common/clock.h"
#include "common/heap.h"
#include "common/log.h"
#include "common/shared.h"
#include "dataplane/join.h"
#include "dataplane/net/net.h"
#include "dataplane/nic/nic_port.h"
#include "dataplane/worker_internal.h"

#define CTL_BURST 32u
#define PARSED 16u /* frames whose headers are read before the first is dealt with */
#define PUBLISH_NS (100ull * 1000 * 1000)
#define SPIN_NS (20ull * 1000) /* idle turns before sleep: longer than a ring hop, shorter than a scheduler's slice */
/* Naps of a port that must be polled: from the first to the last they grow while nothing comes. */
#define NAP_FIRST_NS (50ull * 1000)
#define NAP_LAST_NS (1000ull * 1000)
#define GOODBYE_NS (1000ull * 1000 * 1000)
#define DRAINED_NS (2 * QP_QUIC_LATE_NS) /* the others may have been told a little later */
#define HELD_NS (500ull * 1000) /* until strangers are looked for again whose share was used up */
#define SLEEP_MAX_NS (QP_BEAT_MS * 1000000ull) /* the heartbeat goes on */

/* Sends what waits; what the port does not take now stays. */
void
qp_worker_tx_flush(struct qp_worker *w)
{
	uint16_t sent;

	if (w->tx_len == 0)
		return;
	if ((qp_order(&w->cfg.orders->verbose) & QP_VERBOSE_TX) != 0)
		qp_verbose_burst(w->cfg.verbose, true, w->tx, w->tx_len);
	sent = qp_port_tx(w->port, w->tx, w->tx_len);
	w->port_full = sent == 0;
	w->out->c.tx_bursts++;
	w->tx_len -= sent;
	memmove(w->tx, w->tx + sent, w->tx_len * sizeof(w->tx[0]));
}

/* Everybody's way out. A port that stays full costs frames, never memory. */
void
qp_worker_transmit(void *ctx, struct rte_mbuf *frame)
{
	struct qp_worker *w = ctx;

	if (w->tx_len >= RTE_MIN(qp_order(&w->cfg.orders->burst), QP_WORKER_TX_ROOM / 2))
		qp_worker_tx_flush(w);
	if (w->tx_len == QP_WORKER_TX_ROOM) {
		rte_pktmbuf_free(frame);
		w->out->c.tx_dropped++;
		return;
	}
	w->tx[w->tx_len++] = frame;
}

bool
qp_worker_full(void *ctx)
{
	struct qp_worker *w = ctx;

	if (w->tx_len < QP_WORKER_TX_ROOM / 2)
		return false;
	qp_worker_tx_flush(w);
	return w->tx_len >= QP_WORKER_TX_ROOM / 2;
}

bool
qp_worker_send(void *ctx, const struct qp_msg *msg)
{
	struct qp_worker *w = ctx;
	struct qp_msg copy = *msg;

	copy.worker = (uint16_t)w->cfg.index;
	return qp_ctl_send(&w->ctl, &copy);
}

/* The loop's steps. */

static void
leave(struct qp_worker *w)
{
	if (w->leaving)
		return;
	w->leaving = true;
	w->leave_by_ns = w->now_ns + GOODBYE_NS;
	qp_log(QP_LOG_DEBUG, "worker ends", QP_LOG_U64("worker", w->cfg.index),
		QP_LOG_U64("tunnels", w->tunnels != NULL ? qp_tunnels_count(w->tunnels) : 0));
	if (w->quic != NULL)
		qp_quic_refuse_new(w->quic);
	if (w->tunnels != NULL)
		qp_tunnels_shutdown(w->tunnels);
}

/* From now on no new tunnels. In the shared block it is there for a control plane that starts anew. */
static void
drain(struct qp_worker *w)
{
	if (!w->draining)
		w->drained_from_ns = w->now_ns + DRAINED_NS;
	w->draining = true;
	__atomic_store_n(&w->cfg.shared->state, QP_DP_DRAINING, __ATOMIC_RELAXED);
	if (w->quic != NULL)
		qp_quic_drain(w->quic);
}

/*
 * No worker has a tunnel any more, and the control plane has read how ours
 * ended. All leave together: as long as the process lives it answers on each ring.
 */
static bool
drained(const struct qp_worker *w)
{
	struct qp_gen_shared *s = w->cfg.shared;

	if ((w->quic != NULL && qp_quic_connections(w->quic) > 0) ||
		(w->tunnels != NULL && qp_tunnels_count(w->tunnels) > 0) ||
		!qp_ctl_told(&w->ctl) || w->now_ns < w->drained_from_ns)
		return false;
	for (uint32_t i = 0; i < s->nworkers; i++) {
		const struct qp_worker_counters *c = &qp_shared_worker(s, i)->c;

		if (__atomic_load_n(&c->tunnels_active, __ATOMIC_RELAXED) > 0 ||
			__atomic_load_n(&c->quic_connections, __ATOMIC_RELAXED) > 0)
			return false;
	}
	return true;
}

/* What the control plane has checked; anything else changes nothing. */
static void
set_log_levels(const struct qp_msg_log_levels *m)
{
	struct qp_log_config levels = {.level = QP_LOG_INFO};

	if (memchr(m->text, '\0', sizeof(m->text)) != NULL &&
		qp_log_levels_parse(m->text, &levels, NULL) == 0)
		qp_log_apply_levels(&levels);
}

/* A worker that has no tunnels yet has none to tell. */
static void
replay(struct qp_worker *w, const struct qp_msg *msg)
{
	const struct qp_msg end = {.type = QP_MSG_REPLAY_END, .version = QP_IPC_VERSION};

	if (w->tunnels != NULL)
		qp_tunnels_message(w->tunnels, msg);
	else
		(void)qp_worker_send(w, &end);
}

static void
say_farewell(struct qp_worker *w, const struct qp_msg_farewell *to)
{
	struct qp_flow f = {.lport_be = w->quic_port_be, .rport_be = to->peer_port_be};
	const uint8_t mac[6] = {QP_CLS_MARK_0, QP_CLS_MARK_LINK, (uint8_t)(to->ifindex >> 24),
		(uint8_t)(to->ifindex >> 16), (uint8_t)(to->ifindex >> 8), (uint8_t)to->ifindex};

	memcpy(f.remote.b, to->peer_addr, sizeof(f.remote.b));
	memcpy(f.local.b, to->local_addr, sizeof(f.local.b));
	memcpy(f.l2.peer_mac, mac, sizeof(f.l2.peer_mac));
	f.l2.mtu = to->mtu;
	qp_quic_send_farewell(w->quic, to->token, &f);
}

static void
message(struct qp_worker *w, const struct qp_msg *msg)
{
	switch (msg->type) {
	case QP_MSG_CONFIG:
		qp_worker_configure(w, &msg->config);
		break;
	case QP_MSG_AUTH_REPLY:
	case QP_MSG_VERDICT:
	case QP_MSG_FORWARD_GRANT:
	case QP_MSG_FORWARD_DENY:
	case QP_MSG_LOCAL_GRANT:
	case QP_MSG_LOCAL_DENY:
	case QP_MSG_TUNNEL_CLOSE:
	case QP_MSG_CONN_CLOSE:
	case QP_MSG_CLIENT_LIMITS:
	case QP_MSG_CLIENT_SOURCES:
	case QP_MSG_CLIENT_FORGET:
	case QP_MSG_LIST_TUNNELS:
	case QP_MSG_LIST_CONNS:
	case QP_MSG_RETIRE:
		if (w->tunnels != NULL)
			qp_tunnels_message(w->tunnels, msg);
		break;
	case QP_MSG_REPLAY:
		if (w->api != NULL)
			qp_api_reset_all(w->api);
		replay(w, msg);
		break;
	case QP_MSG_API_DATA:
	case QP_MSG_API_CLOSE:
		if (w->api != NULL)
			qp_api_message(w->api, msg);
		break;
	case QP_MSG_LOG_LEVELS:
		set_log_levels(&msg->log_levels);
		break;
	case QP_MSG_BUDGET:
		qp_heap_set_budget(msg->budget.heap_bytes);
		break;
	case QP_MSG_FAREWELLS:
		for (uint32_t i = 0; w->quic != NULL && i < msg->farewells.n && i < QP_MSG_FAREWELLS_MAX; i++)
			say_farewell(w, &msg->farewells.to[i]);
		break;
	case QP_MSG_DRAIN:
		drain(w);
		break;
	case QP_MSG_SHUTDOWN:
		leave(w);
		break;
	default:
		w->out->c.ctl_unknown++;
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
	if (n < CTL_BURST)
		qp_ctl_follow(&w->ctl);
	if (qp_sight_is_asked(w->cfg.sight))
		qp_sight_answer(w->cfg.sight, w->tunnels,
			w->cfg.nic != NULL && w->port != NULL ? qp_nic_port_net(w->port) : NULL);
	if (atomic_load_explicit(w->cfg.stop, memory_order_relaxed) ||
		(w->draining && drained(w)))
		leave(w);
	return n;
}

/* Consumes `m`. */
static void
dispatch(struct qp_worker *w, struct rte_mbuf *m, const struct qp_packet *pkt,
	enum qp_ip_verdict verdict)
{
	if (verdict == QP_IP_OK && pkt->proto == IPPROTO_UDP && pkt->flow.lport_be == w->quic_port_be) {
		qp_quic_input(w->quic, m, pkt);
		return;
	}
	if (verdict == QP_IP_OK && pkt->proto == IPPROTO_TCP) {
		qp_tcp_input(w->tcp, m, pkt);
		return;
	}
	if (verdict == QP_IP_OK && pkt->proto == IPPROTO_UDP) {
		qp_udp_input(w->udp, m, pkt);
		return;
	}
	if (verdict == QP_IP_FRAGMENT && qp_udp_fragment(w->udp, m))
		return;
	if (verdict == QP_IP_OK && (pkt->proto == IPPROTO_ICMP || pkt->proto == IPPROTO_ICMPV6)) {
		if (!qp_udp_icmp_input(w->udp, m, pkt))
			qp_tcp_icmp_input(w->tcp, m, pkt);
		return;
	}
	if (verdict == QP_IP_OK)
		verdict = QP_IP_PROTO;
	w->out->ip_drops[verdict]++;
	w->out->c.drop_ip++;
	rte_pktmbuf_free(m);
}

void
qp_worker_handle(struct qp_worker *w, struct rte_mbuf *m)
{
	struct qp_packet pkt;

	dispatch(w, m, &pkt, qp_ip_parse(m, &pkt));
}

/* First all headers, so that the table's lines of the last are on their way while the first are dealt with. */
static void
handle_some(struct qp_worker *w, struct rte_mbuf **frames, uint16_t n)
{
	struct qp_packet pkt[PARSED];
	enum qp_ip_verdict verdict[PARSED];

	for (uint16_t i = 0; i < n; i++) {
		verdict[i] = qp_ip_parse(frames[i], &pkt[i]);
		if (verdict[i] == QP_IP_OK && pkt[i].proto == IPPROTO_TCP)
			qp_tcp_prefetch(w->tcp, &pkt[i].flow);
	}
	qp_tcp_count_joined(w->tcp, qp_join_segments(frames, pkt, verdict, n));
	for (uint16_t i = 0; i < n; i++)
		if (frames[i] != NULL)
			dispatch(w, frames[i], &pkt[i], verdict[i]);
}

static unsigned
receive(struct qp_worker *w)
{
	const struct qp_orders *o = w->cfg.orders;
	const uint64_t empty = w->port->counters.empty_polls;
	struct rte_mbuf *frames[QP_BURST_MAX];
	uint16_t n;

	if (w->cfg.nic != NULL)
		qp_nic_port_order(w->port, (enum qp_nic_engine)qp_order(&o->engine), qp_order(&o->ports_off));
	n = qp_port_rx(w->port, frames, (uint16_t)qp_order(&o->burst));
	if (n > 0 && (qp_order(&o->verbose) & QP_VERBOSE_RX) != 0)
		qp_verbose_burst(w->cfg.verbose, false, frames, n);
	for (uint16_t i = 0; i < n; i += PARSED)
		handle_some(w, frames + i, (uint16_t)RTE_MIN((unsigned)n - i, PARSED));
	if (n > 0) {
		w->flows_at_ns = w->now_ns;
		w->out->c.rx_bursts++;
	}
	/* What a dedicated port hands on, or its engine deals with, is work as well. */
	return n > 0 || w->cfg.nic == NULL ? n : w->port->counters.empty_polls == empty;
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
	more = qp_quic_flush(w->quic) || qp_tunnels_busy(w->tunnels);
	qp_worker_tx_flush(w);
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
	uint32_t eighths = (uint32_t)((uint64_t)mbufs_free(w) * 8 / w->pool->size);

	/* Dedicated ports receive into pools of their own. */
	if (w->cfg.nic != NULL && w->port != NULL)
		eighths = RTE_MIN(eighths, qp_nic_port_rx_eighths(w->port));
	if (eighths >= 4)
		return QP_MEM_PLENTY;
	return eighths >= 1 ? QP_MEM_TIGHT : QP_MEM_SCARCE;
}

static void
publish_nic(struct qp_worker *w)
{
	memcpy(w->out->nic, qp_nic_port_counters(w->port), sizeof(struct qp_nic_port_counters));
	memcpy(w->out->net, qp_nic_port_net_counters(w->port), sizeof(struct qp_net_counters));
	qp_nic_port_set_load(w->port, (uint32_t)qp_quic_connections(w->quic));
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
	if (w->cfg.index == 0) {
		c->heap_bytes = qp_heap_in_use();
		c->heap_failures = qp_heap_failures();
	}
	if (w->port == NULL || w->failed)
		return;
	if (w->cfg.nic != NULL)
		publish_nic(w);
	p = &w->port->counters;
	c->rx_frames = p->rx_frames;
	c->rx_bytes = p->rx_bytes;
	c->tx_frames = p->tx_frames;
	c->tx_bytes = p->tx_bytes;
	c->rx_nombuf = p->rx_nombuf;
	c->rx_again = p->rx_again;
	c->rx_syns = p->rx_syns;
	c->rx_unknown = p->rx_unknown;
	memcpy(w->out->udp, qp_udp_counters(w->udp), sizeof(struct qp_udp_counters));
	memcpy(w->out->tcp, qp_tcp_counters(w->tcp), sizeof(struct qp_tcp_counters));
	w->out->tcp_rtt = *qp_tcp_rtts(w->tcp);
	qp_tunnels_sample(w->tunnels, &w->out->quic_rtt);
}

/* Until one of the first `n` descriptors calls. */
static void
sleep_ns(struct qp_worker *w, nfds_t n, uint64_t ns)
{
	const struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u),
		.tv_nsec = (long)(ns % 1000000000u)};
	uint64_t rings;

	w->out->c.sleeps++;
	(void)ppoll(w->wake, n, &ts, NULL);
	/* Whoever rang has been heard; EAGAIN when it was the port. */
	if (read(w->cfg.doorbell, &rings, sizeof(rings)) < 0)
		return;
}

/*
 * By the prompt's order neither packets nor timers are served; control messages are. One that
 * drains or is to end serves: what it holds goes to others.
 */
static bool
stopped(const struct qp_worker *w)
{
	const struct qp_orders *o = w->cfg.orders;

	const bool off = w->cfg.nic == NULL && (qp_order(&o->ports_off) >> w->cfg.index & 1) != 0;

	return (off || qp_order(&o->stopped) != 0) && !w->leaving && !w->draining;
}

/* The port may have packets for ever. */
static void
wait_for_orders(struct qp_worker *w)
{
	if (!qp_ctl_sleep_begin(&w->ctl))
		return;
	w->publish_at_ns = 0;
	publish(w);
	sleep_ns(w, 1, SLEEP_MAX_NS);
	qp_ctl_sleep_end(&w->ctl);
}

/* How long it may sleep at most; 0: it must not. */
static uint64_t
nap_begin(struct qp_worker *w)
{
	const struct qp_port *p = w->port;

	if (p == NULL || p->ops->nap_begin == NULL)
		return w->held ? HELD_NS : SLEEP_MAX_NS;
	if (!p->ops->nap_begin(w->port))
		return 0;
	w->nap_ns = w->nap_ns == 0 ? NAP_FIRST_NS : RTE_MIN(2 * w->nap_ns, NAP_LAST_NS);
	return w->held ? RTE_MIN(w->nap_ns, HELD_NS) : w->nap_ns;
}

static void
nap_end(struct qp_worker *w)
{
	if (w->port != NULL && w->port->ops->nap_end != NULL)
		w->port->ops->nap_end(w->port);
}

/* Adaptive: spins a little after work, then sleeps until port, timer or ring call. */
static void
idle(struct qp_worker *w)
{
	uint64_t next, longest;

	if (stopped(w)) {
		wait_for_orders(w);
		return;
	}
	if (w->cfg.busy_poll) {
		rte_pause();
		return;
	}
	if (w->idle_since_ns == 0)
		w->idle_since_ns = w->now_ns;
	if (w->now_ns - w->idle_since_ns < SPIN_NS)
		return;
	longest = nap_begin(w);
	next = RTE_MIN(qp_wheel_next_ns(w->wheel), w->now_ns + longest);
	if (next > w->now_ns && qp_ctl_sleep_begin(&w->ctl)) {
		/* Readers see what a sleeper last did. */
		if (longest > NAP_LAST_NS)
			w->publish_at_ns = 0;
		publish(w);
		/* Strangers that have used up their share must wait for time to pass. */
		sleep_ns(w, w->held ? 2 + QP_CLS_QUEUE_FLOWS : RTE_DIM(w->wake), next - w->now_ns);
		qp_ctl_sleep_end(&w->ctl);
	}
	nap_end(w);
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
	bool more = false, serves;

	w->now_ns = qp_now_ns();
	__atomic_store_n(&w->ctl.door->heartbeat_ns, w->now_ns, __ATOMIC_RELAXED);
	w->mem_level = mem_level(w);
	w->port_full = false;
	serves = !stopped(w);
	if (w->quic != NULL && serves)
		work += receive(w);
	else if (w->quic != NULL && w->cfg.nic != NULL)
		(void)qp_port_rx(w->port, NULL, 0); /* its queues may be another generation's now */
	if (serves)
		work += qp_wheel_advance(w->wheel, w->now_ns);
	work += control(w);
	if (w->quic != NULL && serves) {
		more = finish_turn(w);
		work += qp_worker_receive_strangers(w);
	}
	qp_ctl_flush(&w->ctl);
	publish(w);
	w->out->c.loops++;
	w->waited = work == 0 && w->port_full;
	return work > 0 || more;
}

int
qp_worker_run(void *arg)
{
	struct qp_worker *w = arg;
	uint64_t start = rte_rdtsc(), end;

	__atomic_store_n(&w->ctl.door->tid, (uint32_t)gettid(), __ATOMIC_RELAXED);
	while (!done(w)) {
		bool busy = turn(w);

		end = rte_rdtsc();
		if (busy) {
			/* Who waits for room in the port must not sleep, but does no work either. */
			if (w->waited)
				w->out->c.cycles_idle += end - start;
			else
				w->out->c.cycles_busy += end - start;
			w->idle_since_ns = 0;
			w->nap_ns = 0;
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
