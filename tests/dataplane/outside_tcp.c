/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Outside clients by a second real TCP on a wire of its own: the gateway's
 * frames reach it as copies, as from a port with segmentation and receive
 * offloads, and the other way round.
 */
#include "tests/dataplane/outside.h"

#include <rte_mbuf.h>
#include <string.h>

#include "dataplane/tcp/tcp.h"
#include "tests/tcp/eal.h"

#define WIRE_NS (1 * WORLD_MS)
#define PIECE_BYTES 16384u
#define SUPER_BYTES 65000u
#define OUTSIDE_BUF 65536u

static const uint8_t gateway_mac[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t outside_mac[6] = {2, 0, 0, 0, 0, 3};

/* One client, behind outside_conn.impl. */
struct half {
	STAILQ_ENTRY(half) link;
	struct outside_conn conn;
	struct world *world;
	struct qp_tcp_conn *tcp; /* NULL: gone */
	bool finish, finished;
	bool accepted; /* the gateway opened it */
	uint32_t unread; /* bytes that the window is not opened for yet */
	uint8_t *tx;
	size_t tx_len;
};

struct outside {
	struct world *world;
	struct qp_tcp *tcp;
	struct rte_mempool *pool, *indirect;
	STAILQ_HEAD(, half) halves;
	struct qp_tcp_listener *listener[256];
	bool silent[256];
};

/* The wire. */

static void
post_copy(struct world *w, struct rte_mbuf *frame, struct rte_mempool *to_pool, enum world_to to)
{
	struct rte_mbuf *copy = rte_pktmbuf_copy(frame, to_pool, 0, UINT32_MAX);
	struct world_packet *p = calloc(1, sizeof(*p));
	bool super = (frame->ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0;
	uint16_t segsz = frame->tso_segsz;

	must(p != NULL);
	rte_pktmbuf_free(frame);
	if (copy == NULL) { /* a port without mbufs */
		free(p);
		return;
	}
	copy->ol_flags = RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	if (super) {
		copy->ol_flags |= RTE_MBUF_F_RX_LRO;
		copy->tso_segsz = segsz;
	}
	p->to = to;
	p->frame = copy;
	p->due_ns = w->now_ns + WIRE_NS;
	world_post(w, p);
}

/* From the gateway. */
void
outside_receive(struct world *w, struct rte_mbuf *frame)
{
	post_copy(w, frame, w->outside->pool, TCP_TO_OUTSIDE);
}

void
outside_deliver(struct world *w, struct rte_mbuf *frame)
{
	struct qp_packet pkt;

	must(qp_ip_parse(frame, &pkt) == QP_IP_OK);
	if (w->outside->silent[pkt.flow.local.b[15]])
		rte_pktmbuf_free(frame);
	else
		qp_tcp_input(w->outside->tcp, frame, &pkt);
}

static void
from_outside(void *ctx, struct rte_mbuf *frame)
{
	struct world *w = ctx;

	post_copy(w, frame, w->pool, TCP_TO_GATEWAY);
}

/* What the outside's TCP calls. */

static void
connected(void *ctx)
{
	((struct half *)ctx)->conn.established = true;
}

static void
receive(void *ctx, struct rte_mbuf *chain)
{
	struct half *h = ctx;
	struct outside_conn *o = &h->conn;
	uint32_t bytes = chain->pkt_len;

	for (const struct rte_mbuf *m = chain; m != NULL; m = m->next) {
		while (o->rx_cap < o->rx_len + m->data_len) {
			o->rx_cap = o->rx_cap != 0 ? 2 * o->rx_cap : 4096;
			o->rx = realloc(o->rx, o->rx_cap);
			must(o->rx != NULL);
		}
		memcpy(o->rx + o->rx_len, rte_pktmbuf_mtod(m, const void *), m->data_len);
		o->rx_len += m->data_len;
	}
	rte_pktmbuf_free(chain);
	h->unread += bytes;
}

static void
receive_end(void *ctx)
{
	((struct half *)ctx)->conn.fin = true;
}

static void
acked(void *ctx, uint32_t bytes)
{
}

static void
ended(void *ctx, enum qp_tcp_end why)
{
	struct half *h = ctx;

	h->tcp = NULL;
	h->conn.ended = why == QP_TCP_END_NORMAL;
	h->conn.reset = why == QP_TCP_END_RESET || why == QP_TCP_END_REFUSED;
}

static int accept_gateway(void *listener_ctx, struct qp_tcp_conn *c);

static const struct qp_tcp_ops tcp_ops = {
	.accept = accept_gateway,
	.connected = connected,
	.receive = receive,
	.receive_end = receive_end,
	.acked = acked,
	.ended = ended,
};

static int
accept_gateway(void *listener_ctx, struct qp_tcp_conn *c)
{
	struct world *w = listener_ctx;
	struct half *h = calloc(1, sizeof(*h));

	must(h != NULL);
	h->conn.port = OUTSIDE_SERVER_PORT;
	h->conn.host = qp_tcp_flow(c)->local.b[15];
	h->conn.impl = h;
	h->conn.established = h->accepted = true;
	h->world = w;
	h->tcp = c;
	qp_tcp_set_ctx(c, h);
	STAILQ_INSERT_TAIL(&w->outside->halves, h, link);
	return 0;
}

/* Its turn. */

static bool
send_piece(struct half *h)
{
	size_t left = RTE_MIN(h->tx_len - h->conn.taken, (size_t)PIECE_BYTES);
	size_t n = RTE_MIN(left, (size_t)qp_tcp_send_space(h->tcp));
	struct rte_mbuf *head = NULL, *m;
	const uint8_t *p = h->tx != NULL ? h->tx + h->conn.taken : NULL;

	for (size_t off = 0; off < n; off += m->data_len) {
		m = rte_pktmbuf_alloc(h->world->outside->pool);
		must(m != NULL);
		m->data_len = (uint16_t)RTE_MIN(n - off, (size_t)rte_pktmbuf_tailroom(m));
		m->pkt_len = m->data_len;
		memcpy(rte_pktmbuf_mtod(m, void *), p + off, m->data_len);
		if (head == NULL)
			head = m;
		else
			must(rte_pktmbuf_chain(head, m) == 0);
	}
	if (head == NULL)
		return false;
	qp_tcp_send(h->tcp, head);
	h->conn.taken += n;
	return true;
}

static bool
half_turn(struct half *h)
{
	bool did = false;

	if (h->unread > 0 && !h->conn.hold) {
		qp_tcp_consumed(h->tcp, h->unread);
		h->unread = 0;
		did = true;
	}
	if (!h->conn.established)
		return did;
	while (send_piece(h))
		did = true;
	if (h->finish && !h->finished && h->conn.taken == h->tx_len) {
		h->finished = did = true;
		qp_tcp_shutdown(h->tcp);
	}
	return did;
}

bool
outside_turn(struct world *w)
{
	struct half *h;
	bool did = false;

	STAILQ_FOREACH (h, &w->outside->halves, link)
		if (h->tcp != NULL)
			did |= half_turn(h);
	qp_tcp_flush(w->outside->tcp);
	return did;
}

uint64_t
outside_next_ns(const struct world *w)
{
	return UINT64_MAX; /* its timers are in the world's wheel */
}

void
outside_host(struct world *w, uint8_t host, enum outside_answer how)
{
	const struct qp_ipaddr addr = qp_ipaddr_v4(htonl(0xcb007100u | host));
	struct qp_tcp_listener **l = &w->outside->listener[host];

	w->outside->silent[host] = how == OUTSIDE_IS_SILENT;
	if (*l != NULL && how != OUTSIDE_ACCEPTS)
		qp_tcp_unlisten(*l);
	if (how != OUTSIDE_ACCEPTS)
		*l = NULL;
	else if (*l == NULL)
		must(qp_tcp_listen(w->outside->tcp, &addr, htons(OUTSIDE_SERVER_PORT), &tcp_ops, w,
			     l) == 0);
}

struct outside_conn *
outside_accepted(struct world *w, unsigned n)
{
	struct half *h;

	STAILQ_FOREACH (h, &w->outside->halves, link)
		if (h->accepted && n-- == 0)
			return &h->conn;
	return NULL;
}

struct outside_conn *
outside_connect(struct world *w, uint16_t port)
{
	struct qp_flow flow = {
		.local = qp_ipaddr_v4(htonl(OUTSIDE_CLIENT)),
		.remote = qp_ipaddr_v4(htonl(0xc0000201)),
		.rport_be = htons(port),
	};
	struct half *h = calloc(1, sizeof(*h));

	must(h != NULL);
	h->conn.port = port;
	h->conn.impl = h;
	h->world = w;
	memcpy(flow.l2.peer_mac, gateway_mac, sizeof(gateway_mac));
	must(qp_tcp_connect(w->outside->tcp, &flow, &tcp_ops, h, &h->tcp) == 0);
	STAILQ_INSERT_TAIL(&w->outside->halves, h, link);
	return &h->conn;
}

void
outside_send(struct outside_conn *c, const void *data, size_t len)
{
	struct half *h = c->impl;

	h->tx = realloc(h->tx, h->tx_len + len);
	must(h->tx != NULL && !h->finish);
	memcpy(h->tx + h->tx_len, data, len);
	h->tx_len += len;
}

void
outside_finish(struct outside_conn *c)
{
	((struct half *)c->impl)->finish = true;
}

void
outside_reset(struct outside_conn *c)
{
	struct half *h = c->impl;

	qp_tcp_abort(h->tcp);
	h->tcp = NULL;
}

void
outside_unhold(struct outside_conn *c)
{
	c->hold = false;
}

/* Life. */

static struct qp_tcp *
make_tcp(struct world *w, const uint8_t mac[6], struct rte_mempool *pool,
	struct rte_mempool *indirect, void (*transmit)(void *ctx, struct rte_mbuf *frame))
{
	struct qp_tcp_env env = {
		.now_ns = &w->now_ns,
		.wheel = w->wheel,
		.pool = pool,
		.indirect_pool = indirect,
		.mtu = 1500,
		.max_frame_bytes = SUPER_BYTES,
		.transmit = transmit,
		.transmit_ctx = w,
		.random = world_random_of,
		.random_ctx = w,
	};
	struct qp_tcp_config cfg;
	struct qp_tcp *tcp;

	memcpy(env.own_mac, mac, sizeof(env.own_mac));
	qp_tcp_config_default(&cfg);
	cfg.rcv_buf_bytes = cfg.snd_buf_bytes = OUTSIDE_BUF;
	if (pool == w->pool) {
		env.mem_level = &w->mem_level;
		cfg.rcv_buf_bytes = w->cfg.tcp_window;
	}
	tcp = qp_tcp_new(&env, &cfg);
	must(tcp != NULL);
	return tcp;
}

void
outside_start(struct world *w)
{
	struct outside *o = calloc(1, sizeof(*o));
	static unsigned wires;
	char name[32];

	must(o != NULL);
	w->outside = o;
	o->world = w;
	STAILQ_INIT(&o->halves);
	snprintf(name, sizeof(name), "outside%u", wires);
	o->pool = test_pool(name, 2 * WORLD_POOL, RTE_MBUF_DEFAULT_BUF_SIZE);
	snprintf(name, sizeof(name), "oclones%u", wires++);
	o->indirect = test_pool(name, 2 * WORLD_POOL, 0);
	w->tcp = make_tcp(w, gateway_mac, w->pool, w->indirect, world_transmit);
	o->tcp = make_tcp(w, outside_mac, o->pool, o->indirect, from_outside);
}

void
outside_stop(struct world *w)
{
	struct outside *o = w->outside;
	struct half *h;

	qp_tcp_free(w->tcp);
	qp_tcp_free(o->tcp);
	world_drop_frames(w);
	while ((h = STAILQ_FIRST(&o->halves)) != NULL) {
		STAILQ_REMOVE_HEAD(&o->halves, link);
		free(h->tx);
		free(h->conn.rx);
		free(h);
	}
	must(rte_mempool_avail_count(o->pool) == 2 * WORLD_POOL);
	must(rte_mempool_avail_count(o->indirect) == 2 * WORLD_POOL);
	rte_mempool_free(o->pool);
	rte_mempool_free(o->indirect);
	free(o);
}
