/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TCP without packets behind the names of dataplane/tcp/tcp.h: the gateway's
 * side and the outside's joined directly. Its callbacks come from
 * outside_turn alone, as the contract says, and it looks that its caller keeps
 * to the contract, too.
 */
#include "tests/dataplane/outside.h"

#include <rte_mbuf.h>
#include <string.h>

#include "dataplane/tcp/tcp.h"

#define SEGMENT 1460u

/* What the relay gave to TCP and the outside has not read yet. */
struct pending {
	STAILQ_ENTRY(pending) link;
	struct rte_mbuf *chain;
	uint32_t bytes;
};

struct qp_tcp_listener {
	LIST_ENTRY(qp_tcp_listener) link;
	struct qp_tcp *tcp;
	uint16_t port;
	const struct qp_tcp_ops *ops;
	void *ctx;
};

struct qp_tcp_conn {
	LIST_ENTRY(qp_tcp_conn) link;
	struct qp_tcp *tcp;
	const struct qp_tcp_ops *ops;
	void *ctx;
	struct qp_flow flow;
	struct outside_conn *peer;
	uint32_t rcv_buf;
	uint32_t window; /* bytes that the outside may send */
	uint32_t unconsumed; /* that the relay holds */
	STAILQ_HEAD(, pending) out;
	bool opening; /* by the gateway, and the outside has not answered */
	bool shut, fin_out; /* asked for; delivered */
	bool fin_in;
};

/* The outside's half, behind outside_conn.impl. */
struct half {
	STAILQ_ENTRY(half) link;
	struct outside_conn conn;
	struct outside *all;
	struct qp_tcp_conn *tcp; /* NULL: not yet, or no more */
	bool connecting, finish, finished, rst;
	bool accepted; /* the gateway opened it */
	uint8_t *tx;
	size_t tx_len;
};

struct qp_tcp {
	struct qp_tcp_env env;
	uint32_t window;
	struct outside *outside;
	uint16_t first_port;
	bool in_callback;
	struct qp_tcp_counters counters;
	LIST_HEAD(, qp_tcp_listener) listeners;
	LIST_HEAD(, qp_tcp_conn) conns;
};

struct outside {
	struct world *world;
	STAILQ_HEAD(, half) halves;
	enum outside_answer answer[256];
};

/* The gateway's side. */

int
qp_tcp_connect(struct qp_tcp *tcp, const struct qp_flow *flow, const struct qp_tcp_ops *ops,
	void *ctx, struct qp_tcp_conn **out)
{
	struct half *h = calloc(1, sizeof(*h));
	struct qp_tcp_conn *c = calloc(1, sizeof(*c));

	must(h != NULL && c != NULL && !tcp->in_callback && flow->rport_be == htons(OUTSIDE_SERVER_PORT));
	*c = (struct qp_tcp_conn) {.tcp = tcp, .ops = ops, .ctx = ctx, .flow = *flow,
		.peer = &h->conn, .window = tcp->window, .rcv_buf = tcp->window, .opening = true};
	c->flow.lport_be = htons(OUTSIDE_SOURCE_PORT);
	STAILQ_INIT(&c->out);
	LIST_INSERT_HEAD(&tcp->conns, c, link);
	h->conn.port = ntohs(flow->rport_be);
	h->conn.host = flow->remote.b[15];
	h->conn.impl = h;
	h->tcp = c;
	h->all = tcp->outside;
	STAILQ_INSERT_TAIL(&h->all->halves, h, link);
	*out = c;
	return 0;
}

void
qp_tcp_set_ports(struct qp_tcp *tcp, uint16_t first, uint32_t count)
{
	must(count > 0 && first + count <= 65536);
	tcp->first_port = first;
}

int
qp_tcp_listen(struct qp_tcp *tcp, const struct qp_ipaddr *addr, uint16_t port_be,
	const struct qp_tcp_ops *ops, void *listener_ctx, struct qp_tcp_listener **out)
{
	struct qp_tcp_listener *l;

	LIST_FOREACH (l, &tcp->listeners, link)
		if (l->port == ntohs(port_be))
			return QP_E_INUSE;
	l = calloc(1, sizeof(*l));
	must(l != NULL);
	*l = (struct qp_tcp_listener) {
		.tcp = tcp, .port = ntohs(port_be), .ops = ops, .ctx = listener_ctx};
	LIST_INSERT_HEAD(&tcp->listeners, l, link);
	*out = l;
	return 0;
}

void
qp_tcp_unlisten(struct qp_tcp_listener *l)
{
	LIST_REMOVE(l, link);
	free(l);
}

void
qp_tcp_listener_give(struct qp_tcp_listener *l, const struct qp_ipaddr *addr, void *listener_ctx)
{
	l->ctx = listener_ctx;
}

void
qp_tcp_listener_leave(struct qp_tcp_listener *l)
{
	qp_tcp_unlisten(l);
}

static void
conn_free(struct qp_tcp_conn *c)
{
	struct half *h = c->peer->impl;
	struct pending *p;

	h->tcp = NULL;
	while ((p = STAILQ_FIRST(&c->out)) != NULL) {
		STAILQ_REMOVE_HEAD(&c->out, link);
		rte_pktmbuf_free(p->chain);
		free(p);
	}
	LIST_REMOVE(c, link);
	free(c);
}

void
qp_tcp_set_ctx(struct qp_tcp_conn *c, void *ctx)
{
	c->ctx = ctx;
}

const struct qp_flow *
qp_tcp_flow(const struct qp_tcp_conn *c)
{
	return &c->flow;
}

uint64_t
qp_tcp_rtt(const struct qp_tcp_conn *c)
{
	(void)c;
	return 0;
}

uint32_t
qp_tcp_send_buffer(const struct qp_tcp_conn *c)
{
	(void)c;
	return UINT32_MAX;
}

uint32_t
qp_tcp_send_space(const struct qp_tcp_conn *c)
{
	return c->window;
}

void
qp_tcp_send(struct qp_tcp_conn *c, struct rte_mbuf *chain)
{
	struct pending *p = calloc(1, sizeof(*p));

	must(p != NULL && !c->shut && !c->opening && chain->pkt_len > 0);
	rte_mbuf_sanity_check(chain, 1);
	p->chain = chain;
	p->bytes = chain->pkt_len;
	STAILQ_INSERT_TAIL(&c->out, p, link);
}

void
qp_tcp_shutdown(struct qp_tcp_conn *c)
{
	c->shut = true;
}

void
qp_tcp_abort(struct qp_tcp_conn *c)
{
	must(!c->tcp->in_callback);
	c->peer->reset = true;
	conn_free(c);
}

/* What was advertised is never taken back. */
static void
open_window(struct qp_tcp_conn *c)
{
	if (c->window + c->unconsumed < c->rcv_buf)
		c->window = c->rcv_buf - c->unconsumed;
}

void
qp_tcp_consumed(struct qp_tcp_conn *c, uint32_t bytes)
{
	must(bytes <= c->unconsumed);
	c->unconsumed -= bytes;
	open_window(c);
}

void
qp_tcp_set_rcv_buf(struct qp_tcp_conn *c, uint32_t bytes)
{
	c->rcv_buf = RTE_MIN(bytes, c->tcp->window);
	open_window(c);
}

const struct qp_tcp_counters *
qp_tcp_counters(const struct qp_tcp *tcp)
{
	return &tcp->counters;
}

void
qp_tcp_input(struct qp_tcp *tcp, struct rte_mbuf *m, const struct qp_packet *pkt)
{
	must(!"the fake TCP has no packets");
}

void
qp_tcp_flush(struct qp_tcp *tcp)
{
}

/* Both sides' turn. */

static bool
turn_connect(struct half *h, struct world *w)
{
	struct qp_tcp_listener *l;
	struct qp_tcp_conn *c;
	static unsigned n;

	h->connecting = false;
	LIST_FOREACH (l, &w->tcp->listeners, link)
		if (l->port == h->conn.port)
			break;
	if (l == NULL) {
		h->conn.reset = true;
		return true;
	}
	{
		const struct qp_flow from = {.remote = qp_ipaddr_v4(htonl(OUTSIDE_CLIENT))};

		if (l->ops->may_connect != NULL && !l->ops->may_connect(l->ctx, &from)) {
			h->conn.reset = true;
			return true;
		}
	}
	c = calloc(1, sizeof(*c));
	must(c != NULL);
	c->tcp = w->tcp;
	c->ops = l->ops;
	c->peer = &h->conn;
	c->flow.remote = qp_ipaddr_v4(htonl(OUTSIDE_CLIENT));
	c->flow.rport_be = htons((uint16_t)(20000 + n++));
	c->flow.lport_be = htons(h->conn.port);
	c->window = c->rcv_buf = w->tcp->window;
	STAILQ_INIT(&c->out);
	LIST_INSERT_HEAD(&w->tcp->conns, c, link);
	h->tcp = c;
	h->conn.established = true;
	if (l->ops->accept(l->ctx, c) != 0) {
		h->conn.reset = true;
		conn_free(c);
	}
	return true;
}

static void
turn_open(struct half *h, struct world *w)
{
	struct qp_tcp_conn *c = h->tcp;

	switch (w->outside->answer[h->conn.host]) {
	case OUTSIDE_ACCEPTS:
		c->opening = false;
		h->accepted = h->conn.established = true;
		c->ops->connected(c->ctx);
		break;
	case OUTSIDE_REFUSES:
		c->ops->ended(c->ctx, QP_TCP_END_REFUSED);
		conn_free(c);
		break;
	case OUTSIDE_IS_SILENT:
		break;
	}
}

static bool
turn_send(struct half *h, struct world *w)
{
	struct qp_tcp_conn *c = h->tcp;
	size_t left = RTE_MIN(h->tx_len - h->conn.taken, (size_t)SEGMENT);
	struct rte_mbuf *m;
	uint16_t n;

	/* TCP drops payload while mbufs are scarce; the outside sends it again. */
	if (left == 0 || c->window == 0 || rte_mempool_avail_count(w->pool) <= WORLD_POOL / 8)
		return false;
	m = rte_pktmbuf_alloc(w->pool);
	if (m == NULL)
		return false;
	n = (uint16_t)RTE_MIN(left, (size_t)c->window);
	memcpy(rte_pktmbuf_append(m, n), h->tx + h->conn.taken, n);
	h->conn.taken += n;
	c->window -= n;
	c->unconsumed += n;
	c->ops->receive(c->ctx, m);
	return true;
}

static bool
turn_finish(struct half *h)
{
	if (!h->finish || h->finished || h->conn.taken < h->tx_len)
		return false;
	h->finished = h->tcp->fin_in = true;
	h->tcp->ops->receive_end(h->tcp->ctx);
	return true;
}

static void
read_chain(struct outside_conn *o, const struct rte_mbuf *m)
{
	for (; m != NULL; m = m->next) {
		while (o->rx_cap < o->rx_len + m->data_len) {
			o->rx_cap = o->rx_cap != 0 ? 2 * o->rx_cap : 4096;
			o->rx = realloc(o->rx, o->rx_cap);
			must(o->rx != NULL);
		}
		memcpy(o->rx + o->rx_len, rte_pktmbuf_mtod(m, const void *), m->data_len);
		o->rx_len += m->data_len;
	}
}

static bool
turn_read(struct half *h)
{
	struct qp_tcp_conn *c = h->tcp;
	struct pending *p = STAILQ_FIRST(&c->out);
	uint32_t bytes;

	if (p == NULL || h->conn.hold)
		return false;
	STAILQ_REMOVE_HEAD(&c->out, link);
	read_chain(&h->conn, p->chain);
	bytes = p->bytes;
	rte_pktmbuf_free(p->chain);
	free(p);
	c->ops->acked(c->ctx, bytes);
	return true;
}

static bool
turn_end(struct half *h)
{
	struct qp_tcp_conn *c = h->tcp;

	if (h->rst) {
		h->tcp = NULL;
		c->ops->ended(c->ctx, QP_TCP_END_RESET);
		conn_free(c);
		return true;
	}
	if (c->shut && !c->fin_out && STAILQ_EMPTY(&c->out))
		c->fin_out = h->conn.fin = true;
	if (!c->fin_out || !c->fin_in)
		return false;
	h->conn.ended = true;
	c->ops->ended(c->ctx, QP_TCP_END_NORMAL);
	conn_free(c);
	return true;
}

static bool
half_turn(struct half *h, struct world *w)
{
	bool did = h->connecting && turn_connect(h, w);

	if (h->tcp != NULL && h->tcp->opening)
		turn_open(h, w);
	if (h->tcp != NULL && h->tcp->opening)
		return did;

	for (unsigned i = 0; i < 64 && h->tcp != NULL && !h->rst && turn_send(h, w); i++)
		did = true;
	if (h->tcp != NULL && !h->rst)
		did |= turn_finish(h);
	if (h->tcp != NULL && !h->rst)
		did |= turn_read(h);
	if (h->tcp != NULL)
		did |= turn_end(h);
	return did;
}

bool
outside_turn(struct world *w)
{
	struct half *h;
	bool did = false;

	w->tcp->in_callback = true;
	STAILQ_FOREACH (h, &w->outside->halves, link)
		did |= half_turn(h, w);
	w->tcp->in_callback = false;
	return did;
}

uint64_t
outside_next_ns(const struct world *w)
{
	return UINT64_MAX;
}

void
outside_receive(struct world *w, struct rte_mbuf *frame)
{
	must(!"the fake TCP sends no frames");
}

void
outside_deliver(struct world *w, struct rte_mbuf *frame)
{
	must(!"the fake TCP has no frames");
}

void
outside_host(struct world *w, uint8_t host, enum outside_answer how)
{
	w->outside->answer[host] = how;
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
	struct half *h = calloc(1, sizeof(*h));

	must(h != NULL);
	h->conn.port = port;
	h->conn.impl = h;
	h->connecting = true;
	h->all = w->outside;
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
	((struct half *)c->impl)->rst = true;
}

void
outside_unhold(struct outside_conn *c)
{
	c->hold = false;
}

void
outside_start(struct world *w)
{
	w->outside = calloc(1, sizeof(*w->outside));
	w->tcp = calloc(1, sizeof(*w->tcp));
	must(w->outside != NULL && w->tcp != NULL);
	w->outside->world = w;
	w->tcp->outside = w->outside;
	w->tcp->window = w->cfg.tcp_window;
	STAILQ_INIT(&w->outside->halves);
}

void
outside_stop(struct world *w)
{
	struct half *h;

	/* Tunnels are gone: so is all that they had of TCP. */
	must(LIST_EMPTY(&w->tcp->listeners));
	must(LIST_EMPTY(&w->tcp->conns));
	while ((h = STAILQ_FIRST(&w->outside->halves)) != NULL) {
		STAILQ_REMOVE_HEAD(&w->outside->halves, link);
		free(h->tx);
		free(h->conn.rx);
		free(h);
	}
	free(w->outside);
	free(w->tcp);
	w->outside = NULL;
	w->tcp = NULL;
}
