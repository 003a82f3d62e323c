/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's loop: rx; handle; timers; load; tx. One lcore, shared with nobody;
 * it never sleeps. What the gateway sends to an address of another lcore's
 * goes there by ring.
 */
#include "bench/worker.h"

#include <netinet/ip6.h>
#include <rte_cycles.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <sched.h>
#include <string.h>

#include "common/clock.h"
#include "dataplane/memory.h"

#define BURST 32u
#define HANDED 32u
#define ASK_NS (200ull * 1000 * 1000)

static void
path_flush(struct qpb_path *p)
{
	uint16_t sent;

	if (p->tx_len == 0)
		return;
	if (p->w->verbose & 2)
		qp_verbose_burst(p->w->b->shown[p->w->index], true, p->tx, p->tx_len);
	sent = qp_port_tx(p->eth, p->tx, p->tx_len);
	p->tx_len = (uint16_t)(p->tx_len - sent);
	memmove(p->tx, p->tx + sent, p->tx_len * sizeof(p->tx[0]));
}

/* What the port has counted since the last turn becomes ours. */
static void
path_count(struct qpb_path *p)
{
	const struct qp_port_counters *now = &p->eth->counters;
	struct qp_port_counters *then = &p->counted;

	QPB_COUNT(p->w, rx_frames, now->rx_frames - then->rx_frames);
	QPB_COUNT(p->w, rx_bytes, now->rx_bytes - then->rx_bytes);
	QPB_COUNT(p->w, tx_frames, now->tx_frames - then->tx_frames);
	QPB_COUNT(p->w, tx_bytes, now->tx_bytes - then->tx_bytes);
	QPB_COUNT(p->w, tx_dropped, now->tx_dropped - then->tx_dropped);
	*then = *now;
}

void
qpb_path_transmit(void *path, struct rte_mbuf *frame)
{
	struct qpb_path *p = path;

	if (p->tx_len >= RTE_MIN(p->w->burst, QPB_TX_ROOM))
		path_flush(p);
	if (p->tx_len == QPB_TX_ROOM) {
		rte_pktmbuf_free(frame);
		QPB_COUNT(p->w, tx_dropped, 1);
		return;
	}
	p->tx[p->tx_len++] = frame;
}

struct qpb_path *
qpb_path_of(struct qpb_worker *w, const struct qpb_hosts *hosts)
{
	return &w->path[hosts->port - w->b->port];
}

/* Received frames. */

static bool
of_hosts(const struct qpb_hosts *h, const struct qpb_port *port, const struct qp_ipaddr *a)
{
	uint32_t i;

	if (h->port != port)
		return false;
	i = qpb_host_index(port, a);
	return i >= h->first && i - h->first < h->count;
}

static void
ignore(struct qpb_worker *w, struct rte_mbuf *m)
{
	QPB_COUNT(w, rx_ignored, 1);
	rte_pktmbuf_free(m);
}

static void
handle(struct qpb_path *path, struct rte_mbuf *m)
{
	struct qpb_worker *w = path->w;
	struct qp_packet pkt;

	if (qp_ip_parse(m, &pkt) != QP_IP_OK) {
		ignore(w, m);
		return;
	}
	if (pkt.proto == IPPROTO_UDP && of_hosts(&w->b->clients, path->port, &pkt.flow.local))
		qp_quic_input(w->quic, m, &pkt);
	else if (pkt.proto == IPPROTO_TCP && of_hosts(&w->b->users, path->port, &pkt.flow.local))
		qp_tcp_input(w->tcp, m, &pkt);
	else if (pkt.proto == IPPROTO_UDP && of_hosts(&w->b->users, path->port, &pkt.flow.local))
		qpb_udp_input(w, m, &pkt);
	else if (pkt.proto == IPPROTO_ICMP || pkt.proto == IPPROTO_ICMPV6)
		qp_tcp_icmp_input(w->tcp, m, &pkt);
	else
		ignore(w, m);
}

/* Whose frame it is, by its destination address; ourselves for what is nobody's. */
static unsigned
owner(const struct qpb_path *path, const struct rte_mbuf *m)
{
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	const uint8_t *ip = (const uint8_t *)(eth + 1);
	struct qp_ipaddr to;
	uint32_t i;

	if (eth->ether_type == htons(RTE_ETHER_TYPE_IPV4) && m->data_len >= 14 + 20) {
		to = qp_ipaddr_v4(((const struct rte_ipv4_hdr *)ip)->dst_addr);
	} else if (eth->ether_type == htons(RTE_ETHER_TYPE_IPV6) && m->data_len >= 14 + 40) {
		memcpy(&to, ((const struct rte_ipv6_hdr *)ip)->dst_addr, sizeof(to));
	} else {
		return path->w->index;
	}
	i = qpb_host_index(path->port, &to);
	return i == UINT32_MAX ? path->w->index : i % path->w->b->nworkers;
}

static void
input(struct qpb_path *path, struct rte_mbuf *m)
{
	struct qpb_worker *w = path->w;
	unsigned to;

	if (qpb_l2_input(path, m))
		return;
	to = w->b->nworkers == 1 ? 0 : owner(path, m);
	if (to == w->index) {
		handle(path, m);
		return;
	}
	if (rte_ring_sp_enqueue(w->b->worker[to]->inbox[w->index], m) == 0) {
		QPB_COUNT(w, handed, 1);
		return;
	}
	QPB_COUNT(w, handed_dropped, 1);
	rte_pktmbuf_free(m);
}

static unsigned
receive(struct qpb_path *path, uint16_t queue)
{
	struct rte_mbuf *m[QPB_MAX_BURST];
	uint16_t n = qp_eth_port_rx(path->eth, queue, m, (uint16_t)path->w->burst);

	if (n > 0 && (path->w->verbose & 1))
		qp_verbose_burst(path->w->b->shown[path->w->index], false, m, n);

	for (uint16_t i = 0; i < n; i++)
		input(path, m[i]);
	return n;
}

static unsigned
receive_handed(struct qpb_worker *w, struct rte_ring *inbox)
{
	void *m[HANDED];
	unsigned n = rte_ring_sc_dequeue_burst(inbox, m, HANDED, NULL);

	for (unsigned i = 0; i < n; i++) {
		uint16_t port = ((struct rte_mbuf *)m[i])->port;
		unsigned p = w->b->nports > 1 && port == w->b->port[1].nic.port_id;

		handle(&w->path[p], m[i]);
	}
	return n;
}

static unsigned
receive_all(struct qpb_worker *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->b->nports; i++)
		for (unsigned q = w->index; q < w->b->port[i].nic.nrx; q += w->b->nworkers)
			n += receive(&w->path[i], (uint16_t)q);
	for (unsigned i = 0; i < w->b->nworkers; i++)
		if (i != w->index)
			n += receive_handed(w, w->inbox[i]);
	return n;
}

/* The turn. */

static enum qp_mem_level
mem_level(const struct qpb_worker *w)
{
	const struct rte_mempool_cache *cache = rte_mempool_default_cache(w->pool, w->lcore);
	uint32_t left = rte_mempool_ops_get_count(w->pool) + (cache != NULL ? cache->len : 0);

	if (left > w->pool->size / 2)
		return QP_MEM_PLENTY;
	return left > w->pool->size / 8 ? QP_MEM_TIGHT : QP_MEM_SCARCE;
}

static void
resolve(struct qpb_worker *w)
{
	if (w->phase != QPB_RESOLVE || w->index != 0 || w->now_ns - w->asked_ns < ASK_NS)
		return;
	w->asked_ns = w->now_ns;
	for (unsigned i = 0; i < w->b->nports; i++)
		if (!atomic_load_explicit(&w->b->port[i].hop_known, memory_order_acquire))
			qpb_l2_ask(&w->path[i]);
}

static bool
resolved(const struct qpb_worker *w)
{
	for (unsigned i = 0; i < w->b->nports; i++)
		if (!atomic_load_explicit(&w->b->port[i].hop_known, memory_order_acquire))
			return false;
	return true;
}

static void
settle(struct qpb_worker *w)
{
	if (w->phase == QPB_RESOLVE ? resolved(w) : qpb_clients_settled(w) && qpb_users_settled(w))
		atomic_store_explicit(&w->settled, w->phase, memory_order_release);
}

static bool
load(struct qpb_worker *w)
{
	bool work = qpb_clients_step(w);

	if (w->b->cfg.scenario == QPB_UDP)
		work |= qpb_udp_step(w);
	else if (w->b->cfg.scenario != QPB_HANDSHAKES)
		work |= qpb_users_step(w);
	return qpb_pump_all(w) || work;
}

static bool
turn(struct qpb_worker *w)
{
	unsigned work;

	w->now_ns = qp_now_ns();
	w->phase = atomic_load_explicit(&w->b->phase, memory_order_acquire);
	w->burst = atomic_load_explicit(&w->b->burst, memory_order_relaxed);
	w->verbose = atomic_load_explicit(&w->b->verbose, memory_order_relaxed);
	w->measuring = w->phase >= QPB_LOAD && qpb_measured(w, w->now_ns);
	w->mem_level = (uint8_t)mem_level(w);
	work = receive_all(w);
	work += qp_wheel_advance(w->wheel, w->now_ns);
	resolve(w);
	work += load(w);
	qp_tcp_flush(w->tcp);
	work += qp_quic_flush(w->quic);
	for (unsigned i = 0; i < w->b->nports; i++) {
		path_flush(&w->path[i]);
		path_count(&w->path[i]);
	}
	settle(w);
	return work > 0;
}

int
qpb_worker_run(void *arg)
{
	struct qpb_worker *w = arg;
	uint64_t start = rte_rdtsc(), end;

	do {
		bool busy = turn(w);

		end = rte_rdtsc();
		if (busy)
			QPB_COUNT(w, cycles_busy, end - start);
		else
			QPB_COUNT(w, cycles_idle, end - start);
		QPB_COUNT(w, turns, 1);
		start = end;
		if (!busy && w->b->cfg.yield)
			sched_yield();
	} while (w->phase != QPB_QUIT);
	return 0;
}
