/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A turn of a nic port: frames from its queues and rings to who they belong to. Those of
 * ours go to the worker, strangers by their kind, others' into their rings; the rest is
 * the host's part, or dropped with a name. The worker's lcore.
 */
#include <netinet/in.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <rte_prefetch.h>
#include <string.h>

#include "dataplane/nic/nic_internal.h"
#include "dataplane/nic/port_link.h"

/* Rings of generations that are gone are looked into now and then: they may have left something. */
#define GONE_EVERY 64u
/* Bursts that empty a ring, and some: what the one before took from a queue comes before what is in it. */
#define RINGS_FIRST (2 * QP_NIC_HANDOFF / QP_NIC_BURST)

/* What is ours and for now: the worker's burst. */
struct burst {
	struct rte_mbuf **frame;
	uint16_t n, room;
};

static const uint8_t *
head(const struct rte_mbuf *m)
{
	return rte_pktmbuf_mtod(m, const uint8_t *);
}

static void
drop(struct rte_mbuf *m, uint64_t *why)
{
	rte_pktmbuf_free(m);
	(*why)++;
}

static uint64_t *
drop_counter(struct qp_nic_port_counters *c, enum qp_steer_why why)
{
	switch (why) {
	case QP_STEER_BLOCKED:
		return &c->drop_blocked;
	case QP_STEER_NO_WORKER:
		return &c->drop_no_worker;
	case QP_STEER_NOT_BOUND:
		return &c->drop_not_bound;
	case QP_STEER_LOST_PIECE:
		return &c->drop_fragment;
	default:
		return &c->drop_not_ip;
	}
}

static void
count(struct qp_nic_port_counters *c, enum qp_steer_why why, bool quoted)
{
	if (quoted) {
		c->icmp++;
		return;
	}
	switch (why) {
	case QP_STEER_QUIC_KNOWN:
		c->quic_known++;
		break;
	case QP_STEER_QUIC_NEW:
		c->quic_new++;
		break;
	case QP_STEER_PORT:
		c->port++;
		break;
	case QP_STEER_PUBLIC_API:
		c->public_api++;
		break;
	case QP_STEER_PIECE:
		c->fragment++;
		break;
	case QP_STEER_COLLECT:
		c->fragment_collected++;
		break;
	default:
		c->stray++;
		break;
	}
}

/* The marks that a frame has in host mode: where it came in, and that link's MTU. */
static void
mark(struct rte_mbuf *m, unsigned port, uint16_t mtu)
{
	struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, struct rte_ether_hdr *);
	const uint32_t ifindex = QP_NIC_IFINDEX(port);
	const uint8_t dst[6] = {QP_CLS_MARK_0, QP_CLS_MARK_MTU, 0, 0, (uint8_t)(mtu >> 8), (uint8_t)mtu};
	const uint8_t src[6] = {QP_CLS_MARK_0, QP_CLS_MARK_LINK, (uint8_t)(ifindex >> 24),
		(uint8_t)(ifindex >> 16), (uint8_t)(ifindex >> 8), (uint8_t)ifindex};

	memcpy(&eth->dst_addr, dst, sizeof(dst));
	memcpy(&eth->src_addr, src, sizeof(src));
}

static void
wait_in(struct qp_nic_worker_port *w, enum qp_cls_queue queue, struct rte_mbuf *m)
{
	struct qp_nic_waiting *q = &w->waiting[queue];

	if (q->tail - q->head == QP_NIC_WAITING) {
		drop(m, queue == QP_CLS_QUEUE_SYN ? &w->counters.drop_syn
			: queue == QP_CLS_QUEUE_AGAIN ? &w->counters.drop_again
							 : &w->counters.drop_unknown);
		return;
	}
	q->frame[q->tail++ % QP_NIC_WAITING] = m;
}

/* A frame of this worker's, to the queue that its kind has. */
static void
own(struct qp_nic_worker_port *w, struct rte_mbuf *m, const struct qp_steer_flow *f, bool new_quic,
	struct burst *b)
{
	const enum qp_cls_queue queue = qp_strangers_queue(
		w->strangers, f, new_quic, head(m), m->data_len, *w->cfg.now_ns);

	w->port.counters.rx_frames++;
	w->port.counters.rx_bytes += m->pkt_len;
	if (queue != QP_CLS_QUEUE_FLOWS)
		wait_in(w, queue, m);
	else
		b->frame[b->n++] = m;
}

/* Nobody has its port: refused here, by TCP or by the host's part. */
static void
stray(struct qp_nic_worker_port *w, struct rte_mbuf *m, const struct qp_steer_flow *f,
	struct burst *b)
{
	if (f->proto == IPPROTO_UDP && !f->quoted)
		qp_net_port_unreachable(w->net, m->port, m);
	else
		own(w, m, f, false, b);
}

static void
steer(struct qp_nic_worker_port *w, struct rte_mbuf *m, bool collected, struct burst *b)
{
	struct qp_steer_flow f;
	const struct qp_steer_to to = qp_steer_frame(
		&w->steer, head(m), m->data_len, collected, *w->cfg.now_ns, &f);

	if (qp_steer_is_drop(to.why)) {
		drop(m, drop_counter(&w->counters, to.why));
		return;
	}
	count(&w->counters, to.why, f.quoted);
	if (to.why == QP_STEER_COLLECT)
		qp_nic_hand(w, to.gen, to.worker, m, QP_NIC_ITEM_COLLECT);
	else if (to.gen != w->slot || to.worker != w->cfg.worker)
		qp_nic_hand(w, to.gen, to.worker, m,
			to.why == QP_STEER_QUIC_NEW ? QP_NIC_ITEM_NEW : QP_NIC_ITEM_OWN);
	else if (to.why == QP_STEER_STRAY)
		stray(w, m, &f, b);
	else
		own(w, m, &f, to.why == QP_STEER_QUIC_NEW, b);
}

static void
from_port(struct qp_nic_worker_port *w, unsigned port, struct rte_mbuf *m, struct burst *b)
{
	struct qp_net_info info;

	if (qp_net_input(w->net, port, m, &info) != QP_NET_UP)
		return;
	m->port = (uint16_t)port; /* as it is numbered here */
	mark(m, port, info.mtu);
	steer(w, m, false, b);
}

static void
from_ring(struct qp_nic_worker_port *w, uint64_t item, struct burst *b)
{
	struct rte_mbuf *m = qp_nic_item_mbuf(item);
	struct qp_steer_flow f;

	w->counters.taken++;
	switch (item & QP_NIC_ITEM_MASK) {
	case QP_NIC_ITEM_LEARN:
		qp_net_learn(w->net, m->port, m);
		break;
	case QP_NIC_ITEM_COLLECT:
		steer(w, m, true, b);
		break;
	default:
		/* Whoever handed it over has read it the same way. */
		if (qp_steer_parse(head(m), m->data_len, &f))
			own(w, m, &f, (item & QP_NIC_ITEM_MASK) == QP_NIC_ITEM_NEW, b);
		else
			drop(m, &w->counters.drop_not_ip);
	}
}

static unsigned
poll_ring(struct qp_nic_worker_port *w, uint32_t slot, uint32_t producer, struct burst *b)
{
	struct qp_handoff_ring *r = qp_handoff_ring(
		w->cfg.handoff, w->cfg.nworkers, slot, producer, w->cfg.worker);
	uint64_t item[QP_NIC_BURST];
	const unsigned n = qp_handoff_take(r, item, RTE_MIN(QP_NIC_BURST, (unsigned)(b->room - b->n)));

	for (unsigned i = 0; i < n; i++)
		rte_prefetch0(rte_pktmbuf_mtod(qp_nic_item_mbuf(item[i]), void *));
	for (unsigned i = 0; i < n; i++)
		from_ring(w, item[i], b);
	return n;
}

/* Those of generations that live each turn, of the others one slot now and then. */
static unsigned
poll_rings(struct qp_nic_worker_port *w, struct burst *b)
{
	const uint32_t gone = w->turn % GONE_EVERY == 0 ? w->turn / GONE_EVERY % QP_NIC_MAX_GENS
							: QP_NIC_MAX_GENS;
	unsigned total = 0;

	for (uint32_t s = 0; s < QP_NIC_MAX_GENS; s++) {
		const struct qp_steer_gen *g = &w->steer.gen[s];
		const uint32_t n = g->server_id != 0 ? g->nworkers : s == gone ? QP_NIC_MAX_QUEUES : 0;

		for (uint32_t i = 0; i < n && b->n < b->room; i++) {
			if (s != w->slot || i != w->cfg.worker)
				total += poll_ring(w, s, i, b);
		}
	}
	return total;
}

static unsigned
poll_queues(struct qp_nic_worker_port *w, struct burst *b)
{
	struct rte_mbuf *m[QP_NIC_BURST];
	unsigned total = 0;

	for (unsigned k = 0; k < w->hold.n && b->n < b->room; k++) {
		/* Another one begins each turn: none waits for the others to be empty. */
		const unsigned i = (k + w->turn) % w->hold.n;
		const unsigned port = w->hold.at[i].port;
		const uint16_t n = (w->ports_off >> port & 1) != 0 ? 0 : w->cfg.receive(w->tx[port].port, w->hold.at[i].queue, m,
			RTE_MIN((uint16_t)QP_NIC_BURST, (uint16_t)(b->room - b->n)));

		total += n;
		if (w->engine != QP_NIC_ENGINE_TUNNEL) {
			qp_nic_bare(w, port, m, n);
			continue;
		}
		for (unsigned j = 0; j < n; j++)
			rte_prefetch0(rte_pktmbuf_mtod(m[j], void *));
		for (unsigned j = 0; j < n; j++)
			from_port(w, port, m[j], b);
	}
	return total;
}

/*
 * Also of ports that it neither polls nor sends by: it is waited for before one is mapped
 * anew. True: one is back.
 */
static bool
look_at_links(struct qp_nic_worker_port *w)
{
	bool back = false;

	for (uint32_t i = 0; w->cfg.links != NULL && i < w->cfg.nic->nports; i++) {
		const bool usable = qp_port_link_usable(w->cfg.links, w->cfg.worker, i);

		if (usable && !w->usable[i]) {
			qp_net_link_up(w->net, i);
			back = true;
		}
		w->usable[i] = usable;
	}
	return back;
}

/* Generations, queues, addresses: what may have changed since the last turn. */
static void
look_around(struct qp_nic_worker_port *w)
{
	bool holder, changed, back;

	w->turn++;
	back = look_at_links(w);
	qp_steer_turn(&w->steer);
	qp_nic_join(w);
	if (qp_hold_turn(&w->hold))
		w->rings_first = RINGS_FIRST;
	w->counters.queues = w->hold.n;
	holder = w->hold.n > 0 && w->hold.n == w->hold.wanted;
	changed = qp_net_poll_config(w->net, &w->cfg.nic->net, true);
	/* One tells the links of all: the holder's first worker. */
	if (w->cfg.worker == 0 && holder && (changed || back || !w->was_holder))
		qp_net_announce(w->net);
	w->was_holder = holder;
}

static uint16_t
take_waiting(struct qp_nic_worker_port *w, enum qp_cls_queue queue, struct rte_mbuf **frames,
	uint16_t n)
{
	struct qp_nic_waiting *q = &w->waiting[queue];
	struct qp_port_counters *c = &w->port.counters;
	const uint16_t got = (uint16_t)RTE_MIN((uint32_t)n, q->tail - q->head);

	for (uint16_t i = 0; i < got; i++)
		frames[i] = q->frame[q->head++ % QP_NIC_WAITING];
	*(queue == QP_CLS_QUEUE_SYN ? &c->rx_syns
		: queue == QP_CLS_QUEUE_AGAIN ? &c->rx_again
						 : &c->rx_unknown) += got;
	return got;
}

uint16_t
qp_nic_rx(struct qp_port *p, enum qp_cls_queue queue, struct rte_mbuf **frames, uint16_t n)
{
	struct qp_nic_worker_port *w = (struct qp_nic_worker_port *)p;
	struct burst b = {.frame = frames, .room = n};
	unsigned total;

	if (queue != QP_CLS_QUEUE_FLOWS)
		return take_waiting(w, queue, frames, n);
	look_around(w);
	if (w->rings_first > 0) {
		total = poll_rings(w, &b);
		w->rings_first = total == 0 ? 0 : w->rings_first - 1;
	} else if (w->turn % 2 == 0) { /* in turns, or one kind could fill each burst */
		total = poll_rings(w, &b);
		total += poll_queues(w, &b);
	} else {
		total = poll_queues(w, &b);
		total += poll_rings(w, &b);
	}
	qp_nic_hand_flush(w);
	(void)qp_nic_tx_flush(w);
	p->counters.polls++;
	p->counters.empty_polls += total == 0;
	return b.n;
}
