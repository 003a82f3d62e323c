/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Outside UDP users: datagrams with a request's header, answers to them. The
 * header carries the time at which it was to be sent and comes back with the
 * answer, so that an open loop keeps nothing of a datagram. The worker's lcore.
 */
#include <netinet/udp.h>
#include <rte_mbuf.h>
#include <string.h>

#include "bench/user.h"

#define FIRST_PORT 1024u
#define BEGIN_MAX 64u
#define LOST_NS (1000ull * 1000 * 1000) /* closed loop: then the next one is sent */

static bool
wants_answer(const struct qpb_worker *w)
{
	return w->b->cfg.echo || w->b->cfg.answer.max > 0;
}

static bool
closed_loop(const struct qpb_worker *w)
{
	return w->schedule.arrivals == QPB_CLOSED;
}

/* UDP users have no connection: from an address and a port, back to their number. */
static uint16_t
port_of(const struct qpb_worker *w, uint32_t user)
{
	return (uint16_t)(FIRST_PORT + user / w->naddrs);
}

static struct qpb_user *
user_at(struct qpb_worker *w, const struct qp_flow *flow)
{
	uint32_t host = qpb_host_index(w->b->users.port, &flow->local);
	uint32_t k = (host - w->first_addr) / w->b->nworkers, port = ntohs(flow->lport_be);
	uint64_t i = (uint64_t)(port - FIRST_PORT) * w->naddrs + k;

	if (host < w->first_addr || k >= w->naddrs || port < FIRST_PORT || i >= w->nusers)
		return NULL;
	return &w->user[i];
}

static void
frame(struct qpb_user *u, struct rte_mbuf *m, uint32_t client)
{
	struct qpb_worker *w = u->w;
	struct qpb_path *path = qpb_path_of(w, &w->b->users);
	uint32_t n = (uint32_t)(u - w->user);
	struct qp_flow flow = {
		.local = qpb_user_addr(w, n % w->naddrs),
		.remote = w->b->cfg.outside,
		.lport_be = htons(port_of(w, n)),
		.rport_be = htons(w->b->opened_port[client]),
	};
	struct udphdr *udp = (struct udphdr *)rte_pktmbuf_prepend(m, sizeof(*udp));

	udp->source = flow.lport_be;
	udp->dest = flow.rport_be;
	udp->len = htons((uint16_t)m->pkt_len);
	udp->check = 0;
	m->l4_len = sizeof(*udp);
	memcpy(flow.l2.peer_mac, path->port->hop_mac, 6);
	qp_ip_encap(m, &flow, IPPROTO_UDP, 0, path->port->nic.mac);
	qpb_path_transmit(path, m);
}

static void
draw(struct qpb_user *u, uint64_t at_ns)
{
	const struct qpb_config *cfg = &u->w->b->cfg;

	/* Sizes are the datagram's, header included. */
	u->req = (struct qpb_request) {
		.flags = cfg->echo ? QPB_ECHO : 0,
		.seed = qpb_rng_next(&u->w->rng),
		.request_bytes = qpb_sizes_draw(&cfg->size, &u->w->rng, QPB_REQUEST_BYTES) -
				 QPB_REQUEST_BYTES,
		.answer_bytes = QPB_ENDLESS, /* none is wanted */
		.stamp = at_ns,
	};
	if (cfg->echo)
		u->req.answer_bytes = u->req.request_bytes;
	else if (wants_answer(u->w))
		u->req.answer_bytes = qpb_sizes_draw(&cfg->answer, &u->w->rng, QPB_REQUEST_BYTES) -
				      QPB_REQUEST_BYTES;
}

/* False: there is no buffer, or nobody to send to. */
static bool
send_one(struct qpb_user *u, uint64_t at_ns)
{
	struct qpb_worker *w = u->w;
	uint32_t client = w->b->clients.count > 1 ? (uint32_t)(u - w->user) % w->b->clients.count
						  : 0;
	uint8_t head[QPB_REQUEST_BYTES];
	struct rte_mbuf *m;

	if (!atomic_load_explicit(&w->b->open[client], memory_order_acquire))
		client = qpb_user_pick_client(w);
	if (client == UINT32_MAX)
		return false;
	draw(u, at_ns);
	qpb_request_put(&u->req, head);
	m = qpb_payload(
		w, head, sizeof(head), u->req.seed, 0, (uint32_t)u->req.request_bytes, UINT16_MAX);
	if (m == NULL)
		return false;
	u->at_ns = at_ns;
	frame(u, m, client);
	QPB_COUNT(w, dgrams_sent, 1);
	QPB_COUNT(w, user_tx_bytes, u->req.request_bytes);
	return true;
}

/* The answer that a user waits for is not coming. */
static void
give_up(struct qpb_worker *w)
{
	for (uint32_t i = 0; i < w->nusers && w->dgrams_open > 0; i++) {
		struct qpb_user *u = &w->user[i];

		if (u->ready || w->now_ns - u->at_ns < LOST_NS)
			continue;
		w->dgrams_open--;
		u->ready = true;
		TAILQ_INSERT_TAIL(&w->users_ready, u, link);
	}
	w->asked_ns = w->now_ns;
}

static bool
send_closed(struct qpb_worker *w)
{
	struct qpb_user *u;
	bool work = false;

	for (unsigned i = 0; i < BEGIN_MAX && (u = TAILQ_FIRST(&w->users_ready)) != NULL; i++) {
		if (!send_one(u, w->now_ns))
			break;
		work = true;
		TAILQ_REMOVE(&w->users_ready, u, link);
		u->ready = false;
		w->dgrams_open++;
	}
	if (w->now_ns - w->asked_ns >= LOST_NS)
		give_up(w);
	return work;
}

static bool
send_open(struct qpb_worker *w, uint64_t until_ns)
{
	uint64_t at;
	bool work = false;

	for (unsigned i = 0; i < BEGIN_MAX && qpb_schedule_peek(&w->schedule) <= until_ns; i++) {
		struct qpb_user *u = TAILQ_FIRST(&w->users_ready);

		if (!send_one(u, qpb_schedule_peek(&w->schedule)))
			break;
		(void)qpb_schedule_take(&w->schedule, until_ns, &at);
		/* Each in turn; nobody waits for his answer. */
		TAILQ_REMOVE(&w->users_ready, u, link);
		TAILQ_INSERT_TAIL(&w->users_ready, u, link);
		work = true;
	}
	return work;
}

bool
qpb_udp_step(struct qpb_worker *w)
{
	if (w->nusers == 0 || w->now_ns < w->b->load_from_ns)
		return false;
	/* What no buffer was free for in time is sent late, as in life. */
	if (w->phase == QPB_FINISH)
		return qpb_backlog(w) && send_open(w, w->b->run_to_ns - 1);
	if (w->phase != QPB_LOAD || w->now_ns >= w->b->run_to_ns)
		return false;
	return closed_loop(w) ? send_closed(w) : send_open(w, w->now_ns);
}

static bool
matches(struct qpb_worker *w, const struct rte_mbuf *m, uint32_t off, const struct qpb_request *r)
{
	uint64_t seed = r->flags & QPB_ECHO ? r->seed : qpb_answer_seed(r->seed), at = 0;
	uint32_t skip = off;

	for (; m != NULL; m = m->next) {
		uint32_t n = m->data_len;

		if (skip >= n) {
			skip -= n;
			continue;
		}
		if (!qpb_matches(w, seed, at, rte_pktmbuf_mtod_offset(m, const uint8_t *, skip),
			    n - skip))
			return false;
		at += n - skip;
		skip = 0;
	}
	return true;
}

static void
answer(struct qpb_worker *w, struct qpb_user *u, const struct rte_mbuf *m, uint32_t off,
	uint32_t len)
{
	uint8_t copy[QPB_REQUEST_BYTES];
	struct qpb_request r;
	const uint8_t *head = len >= sizeof(copy) ? rte_pktmbuf_read(m, off, sizeof(copy), copy)
						  : NULL;

	if (head == NULL || qpb_request_get(&r, head) < 0 ||
		r.answer_bytes != len - QPB_REQUEST_BYTES ||
		!matches(w, m, off + QPB_REQUEST_BYTES, &r)) {
		QPB_COUNT(w, user_wrong, 1);
		return;
	}
	QPB_COUNT(w, dgrams_back, 1);
	QPB_COUNT(w, user_rx_bytes, r.answer_bytes);
	qpb_latency(w, r.stamp);
	if (u->ready || !closed_loop(w) || r.stamp != u->at_ns)
		return;
	w->dgrams_open--;
	u->ready = true;
	TAILQ_INSERT_TAIL(&w->users_ready, u, link);
}

void
qpb_udp_input(struct qpb_worker *w, struct rte_mbuf *m, const struct qp_packet *pkt)
{
	struct qpb_user *u = user_at(w, &pkt->flow);
	uint32_t off = pkt->l4_off + 8u, end = pkt->l4_off + pkt->l4_len;

	if (u == NULL || pkt->segsz != 0) /* no port here makes super-segments of UDP */
		QPB_COUNT(w, dgrams_stray, 1);
	else
		answer(w, u, m, off, end - off);
	rte_pktmbuf_free(m);
}
