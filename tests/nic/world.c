/* SPDX-License-Identifier: Apache-2.0 */
/* A NIC out of memory, for workers of several generations. */
#include "tests/nic/world.h"

#include <netinet/in.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/timer.h"

#define MTU   1500u
#define BURST 32u
#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                    \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 1};

static bool
push(struct fifo *f, struct rte_mbuf *m)
{
	const uint32_t tail = atomic_load_explicit(&f->tail, memory_order_relaxed);

	if (tail - atomic_load_explicit(&f->head, memory_order_acquire) == WORLD_FRAMES)
		return false;
	f->frame[tail % WORLD_FRAMES] = m;
	atomic_store_explicit(&f->tail, tail + 1, memory_order_release);
	return true;
}

static struct rte_mbuf *
pop(struct fifo *f)
{
	const uint32_t head = atomic_load_explicit(&f->head, memory_order_relaxed);
	struct rte_mbuf *m;

	if (atomic_load_explicit(&f->tail, memory_order_acquire) == head)
		return NULL;
	m = f->frame[head % WORLD_FRAMES];
	atomic_store_explicit(&f->head, head + 1, memory_order_release);
	return m;
}

/* The port as a worker has it. */
struct pair {
	struct qp_port port;
	struct world *world;
	struct queue *tx;
};

static uint16_t
pair_rx(struct qp_port *p, uint16_t rx_queue, struct rte_mbuf **frames, uint16_t n)
{
	struct queue *q = &((struct pair *)p)->world->queue[rx_queue];
	uint16_t got = 0;

	if (atomic_fetch_add_explicit(&q->pollers, 1, memory_order_relaxed) != 0)
		atomic_fetch_add(&q->two_pollers, 1);
	q->polls++;
	while (got < n && (frames[got] = pop(&q->in)) != NULL)
		got++;
	atomic_fetch_sub_explicit(&q->pollers, 1, memory_order_relaxed);
	return got;
}

static uint16_t
pair_tx(struct qp_port *p, struct rte_mbuf **frames, uint16_t n)
{
	struct queue *q = ((struct pair *)p)->tx;
	uint16_t done = 0;

	if (q->taken != NULL && push(&q->out, q->taken))
		q->taken = NULL;
	if (q->slow && n > 0) {
		q->taken = frames[done++];
		q->slow = false;
	}
	while (q->taken == NULL && done < n && push(&q->out, frames[done]))
		done++;
	p->waiting = q->taken != NULL;
	return done;
}

static void
pair_close(struct qp_port *p)
{
	free(p);
}

static const struct qp_port_ops pair_ops = {.tx = pair_tx, .close = pair_close};

static int
open_pair(void *ctx, const struct qp_eth_port_config *cfg, struct qp_port **out, struct qp_errmsg *msg)
{
	struct world *w = ctx;
	struct pair *p = calloc(1, sizeof(*p));

	(void)msg;
	CHECK(p != NULL);
	p->port = (struct qp_port) {.ops = &pair_ops, .mtu = MTU, .max_frame_bytes = 65535,
		.wake_fd = {-1, -1, -1, -1}};
	p->world = w;
	p->tx = &w->tx[cfg->tx_queue];
	*out = &p->port;
	return 0;
}

static void
set_addr(struct qp_nic_net *net, const char *text, unsigned prefix)
{
	const struct qp_ipaddr a = ip(text);

	memcpy(&net->addr[net->naddrs].addr, &a, sizeof(a));
	net->addr[net->naddrs++].prefix = (uint8_t)prefix;
}

void
world_open(struct world *w, uint32_t queues, struct rte_mempool *rx_pool)
{
	const struct qp_ipaddr via = ip(WORLD_GATEWAY), all = ip("0.0.0.0");
	struct qp_nic *nic = aligned_alloc(64, sizeof(*nic));

	CHECK(nic != NULL && queues <= WORLD_QUEUES);
	memset(nic, 0, sizeof(*nic));
	memset(w, 0, sizeof(*w));
	w->nic = nic;
	w->rx_pool = rx_pool;
	w->now_ns = 1000000000;
	nic->magic = QP_NIC_MAGIC;
	nic->version = QP_NIC_VERSION;
	nic->nports = 1;
	nic->nqueues = queues;
	nic->port[0] = (struct qp_nic_port) {.name = "test", .nrx = (uint16_t)queues,
		.ntx = (uint16_t)(queues * QP_NIC_MAX_GENS), .nslots = QP_NIC_MAX_GENS, .mtu = MTU};
	memcpy(nic->port[0].mac, our_mac, 6);
	nic->quic_port = WORLD_QUIC;
	nic->public_port = WORLD_API;
	set_addr(&nic->net, WORLD_US, 96 + 24);
	set_addr(&nic->net, WORLD_US6, 64);
	nic->net.nroutes = 1;
	nic->net.nlinks = 1;
	nic->net.link[0].mtu = MTU;
	memcpy(&nic->net.route[0].dest, &all, sizeof(all));
	memcpy(&nic->net.route[0].via, &via, sizeof(via));
	nic->net.route[0].prefix = 96;
	nic->net.seq = 2;
}

static void
empty(struct fifo *f)
{
	struct rte_mbuf *m;

	while ((m = pop(f)) != NULL)
		rte_pktmbuf_free(m);
}

void
world_close(struct world *w)
{
	for (uint32_t i = 0; i < WORLD_QUEUES; i++) {
		CHECK(w->queue[i].two_pollers == 0);
		empty(&w->queue[i].in);
	}
	for (uint32_t i = 0; i < QP_NIC_MAX_GENS * WORLD_QUEUES; i++)
		empty(&w->tx[i].out);
	free(w->nic);
}

static uint64_t
random64(void *ctx)
{
	uint64_t *seed = ctx, z = *seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void
open_worker(struct gen *g, uint32_t i, struct rte_mempool *pool)
{
	static uint64_t seed = 1;
	struct worker *w = &g->worker[i];
	struct qp_errmsg msg = {""};

	*w = (struct worker) {.gen = g, .index = i, .now_ns = g->world->now_ns, .pool = pool};
	w->wheel = qp_wheel_new(w->now_ns);
	CHECK(w->wheel != NULL);
	w->cfg = (struct qp_nic_port_config) {.nic = g->world->nic, .server_id = g->id, .worker = i,
		.nworkers = g->nworkers, .handoff = (uint64_t)(uintptr_t)g->handoff,
		.wheel = w->wheel, .now_ns = &w->now_ns, .pool = pool, .random = random64,
		.random_ctx = &seed, .open = open_pair, .open_ctx = g->world, .receive = pair_rx};
	if (qp_nic_port_open(&w->cfg, &w->port, &msg) != 0) {
		fprintf(stderr, "%s\n", msg.text);
		abort();
	}
}

void
gen_open(struct gen *g, struct world *w, uint32_t slot, uint32_t id, uint32_t nworkers,
	struct rte_mempool **pools)
{
	struct qp_nic_gen *entry = &w->nic->gen[slot];

	memset(g, 0, sizeof(*g));
	g->world = w;
	g->id = id;
	g->slot = slot;
	g->nworkers = nworkers;
	g->handoff = aligned_alloc(64, qp_handoff_bytes(nworkers));
	CHECK(g->handoff != NULL);
	qp_handoff_init(g->handoff, nworkers);
	__atomic_store_n(&entry->nworkers, nworkers, __ATOMIC_RELAXED);
	__atomic_store_n(&entry->handoff, (uint64_t)(uintptr_t)g->handoff, __ATOMIC_RELAXED);
	__atomic_store_n(&entry->handoff_bytes, sizeof(struct qp_handoff_ring), __ATOMIC_RELAXED);
	__atomic_store_n(&entry->slot, slot, __ATOMIC_RELAXED);
	__atomic_store_n(&entry->server_id, id, __ATOMIC_RELEASE);
	for (uint32_t i = 0; i < nworkers; i++)
		open_worker(g, i, pools[i]);
}

void
gen_hold(struct gen *g)
{
	__atomic_store_n(&g->world->nic->holder_workers, g->nworkers, __ATOMIC_RELAXED);
	__atomic_store_n(&g->world->nic->holder, g->id, __ATOMIC_RELEASE);
}

void
gen_close(struct gen *g)
{
	__atomic_store_n(&g->world->nic->gen[g->slot].server_id, 0, __ATOMIC_RELEASE);
	for (uint32_t i = 0; i < g->nworkers; i++) {
		qp_port_close(g->worker[i].port);
		qp_wheel_free(g->worker[i].wheel);
	}
	free(g->handoff);
}

static struct rte_mbuf *
mbuf_of(struct rte_mempool *pool, const struct frame *f)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

	CHECK(m != NULL);
	memcpy(rte_pktmbuf_append(m, (uint16_t)f->len), f->b, f->len);
	return m;
}

bool
world_receive(struct world *w, uint32_t queue, const struct frame *f)
{
	struct rte_mbuf *m = mbuf_of(w->rx_pool, f);

	if (push(&w->queue[queue].in, m))
		return true;
	rte_pktmbuf_free(m);
	return false;
}

static void
copy_out(const struct rte_mbuf *m, struct frame *f)
{
	f->len = RTE_MIN(m->data_len, FRAME_BYTES);
	memcpy(f->b, rte_pktmbuf_mtod(m, void *), f->len);
}

bool
world_sent(struct world *w, uint32_t slot, uint32_t worker, struct frame *f)
{
	struct rte_mbuf *m = pop(&w->tx[slot * w->nic->nqueues + worker].out);

	if (m == NULL)
		return false;
	copy_out(m, f);
	rte_pktmbuf_free(m);
	return true;
}

/* An ARP request's answer: everybody has 02:00:00:00:00:02. */
static void
answer(struct world *w, const struct frame *asked)
{
	static const uint8_t peer[6] = {2, 0, 0, 0, 0, 2};
	struct frame f = *asked;

	memcpy(f.b, asked->b + 22, 6);
	memcpy(f.b + 6, peer, 6);
	f.b[21] = 2;
	memcpy(f.b + 22, peer, 6);
	memcpy(f.b + 28, asked->b + 38, 4);
	memcpy(f.b + 32, asked->b + 22, 10);
	(void)world_receive(w, 0, &f);
}

void
world_answer_arp(struct world *w)
{
	const struct qp_ipaddr us = ip(WORLD_US);
	struct frame f;

	for (uint32_t s = 0; s < QP_NIC_MAX_GENS; s++) {
		for (uint32_t i = 0; i < w->nic->nqueues; i++) {
			while (world_sent(w, s, i, &f)) {
				/* Not one about ourselves: those announce, or look for somebody else who has it. */
				if (f.b[12] == 8 && f.b[13] == 6 && f.b[21] == 1 && memcmp(us.b + 12, f.b + 38, 4) != 0)
					answer(w, &f);
			}
		}
	}
}

static void
take(struct worker *w, struct rte_mbuf *m)
{
	w->frames++;
	w->bytes += m->pkt_len;
	if (w->got != NULL) {
		w->got(w, m);
		return;
	}
	copy_out(m, &w->last);
	rte_pktmbuf_free(m);
}

unsigned
worker_turn(struct worker *w)
{
	struct rte_mbuf *m[BURST];
	unsigned total = 0;

	for (enum qp_cls_queue q = QP_CLS_QUEUE_FLOWS; q < QP_CLS_NQUEUES; q++) {
		const uint16_t n = q == QP_CLS_QUEUE_FLOWS ? qp_port_rx(w->port, m, BURST)
							   : qp_port_rx_strangers(w->port, q, m, BURST);

		for (uint16_t i = 0; i < n; i++)
			take(w, m[i]);
		total += n;
	}
	(void)qp_wheel_advance(w->wheel, w->now_ns);
	return total;
}

void
settle(struct world *w, struct gen **gens, unsigned n)
{
	unsigned quiet = 0;

	/* Rings of those that are gone are looked into now and then only. */
	while (quiet < 400) {
		unsigned did = 0;

		w->now_ns += 1000;
		for (unsigned g = 0; g < n; g++) {
			for (uint32_t i = 0; i < gens[g]->nworkers; i++) {
				gens[g]->worker[i].now_ns = w->now_ns;
				did += worker_turn(&gens[g]->worker[i]);
			}
		}
		quiet = did == 0 ? quiet + 1 : 0;
	}
}

void
worker_send(struct worker *w, struct rte_mempool *pool, const struct frame *f)
{
	static const uint8_t link[6] = {QP_CLS_MARK_0, QP_CLS_MARK_LINK, 0, 0, 1, 0};
	struct rte_mbuf *m = mbuf_of(pool, f);
	const bool v4 = f->b[13] == 0;
	const uint8_t proto = v4 ? f->b[23] : f->b[20];

	memcpy(rte_pktmbuf_mtod(m, void *), link, sizeof(link));
	m->l2_len = 14;
	m->l3_len = v4 ? 20 : 40;
	m->l4_len = proto == IPPROTO_TCP ? 20 : 8;
	m->ol_flags = (v4 ? RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM : RTE_MBUF_F_TX_IPV6) |
		      (proto == IPPROTO_TCP ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM);
	CHECK(qp_port_tx(w->port, &m, 1) == 1);
}

const struct qp_nic_port_counters *
counters(const struct worker *w)
{
	return qp_nic_port_counters(w->port);
}
