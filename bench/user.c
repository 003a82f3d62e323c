/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Outside TCP users: connect to forwarded ports, ask, compare what comes back.
 * The worker's lcore. How many begin when is users.c's.
 */
#include "bench/user.h"

#include <rte_mbuf.h>
#include <string.h>

#include "bench/users.h"

#define TURN_BYTES (64u * 1024)
#define PIECE 8u /* segments at a time */

static void
unready(struct qpb_user *u)
{
	if (u->ready)
		TAILQ_REMOVE(&u->w->users_ready, u, link);
	u->ready = false;
}

static void
ready(struct qpb_user *u, enum qpb_user_state state)
{
	u->state = state;
	u->ready = true;
	TAILQ_INSERT_TAIL(&u->w->users_ready, u, link);
}

static void
request_over(struct qpb_user *u, bool whole)
{
	if (whole) {
		QPB_COUNT(u->w, requests_done, 1);
		if (!qpb_users_bulk(u->w)) /* that one lasts as long as it is told to */
			qpb_latency(u->w, u->at_ns);
	} else {
		QPB_COUNT(u->w, requests_lost, 1);
	}
}

void
qpb_user_shut(struct qpb_user *u)
{
	if (u->shut)
		return;
	u->shut = true;
	qp_tcp_shutdown(u->tcp);
}

void
qpb_user_close(struct qpb_user *u)
{
	unready(u);
	u->state = QPB_USER_CLOSING;
	qpb_user_shut(u);
}

/* The connection is gone. */
static void
gone(struct qpb_user *u, bool as_it_should)
{
	struct qpb_worker *w = u->w;

	if (u->state == QPB_USER_CONNECTING)
		w->users_connecting--;
	if (u->state == QPB_USER_BUSY || (u->state == QPB_USER_CONNECTING && qpb_users_short(w)))
		request_over(u, false);
	if (as_it_should)
		QPB_COUNT(w, conns_closed, 1);
	else
		QPB_COUNT(w, conns_failed, 1);
	unready(u);
	qpb_pump_remove(w, &u->pump);
	w->users_live--;
	if (u->asked_last)
		w->users_asking--;
	u->asked_last = false;
	u->tcp = NULL;
	u->state = QPB_USER_NONE;
	if (qpb_users_short(w))
		ready(u, QPB_USER_NONE);
}

void
qpb_user_abort(struct qpb_user *u)
{
	qp_tcp_abort(u->tcp);
	gone(u, false);
}

/* Sending. */

static bool
endless(const struct qpb_user *u)
{
	return u->req.request_bytes == QPB_ENDLESS;
}

/* All is queued; what comes after it. */
static void
all_out(struct qpb_user *u)
{
	if (qpb_users_short(u->w) || (endless(u) && u->req.answer_bytes == 0))
		qpb_user_shut(u);
}

static bool
send_turn(struct qpb_pump *p)
{
	struct qpb_user *u = (struct qpb_user *)((char *)p - offsetof(struct qpb_user, pump));
	const uint32_t segment = u->w->b->cfg.mtu -
				 72u; /* a mbuf a packet: IPv6, TCP, timestamps */
	uint8_t head[QPB_REQUEST_BYTES];
	uint32_t sent = 0;

	while (sent < TURN_BYTES && !u->shut) {
		uint64_t left = endless(u) && u->w->phase > QPB_LOAD ? 0
								     : u->req.request_bytes - u->tx;
		uint32_t room = qp_tcp_send_space(u->tcp), n = RTE_MIN(room, segment * PIECE);
		struct rte_mbuf *m;

		if (left == 0 && u->header_out)
			break;
		if (room < sizeof(head) || (u->header_out && left > room && room < segment))
			return false; /* acked() goes on */
		if (!u->header_out) {
			qpb_request_put(&u->req, head);
			n -= (uint32_t)sizeof(head);
		}
		n = (uint32_t)RTE_MIN(left, n);
		m = qpb_payload(u->w, u->header_out ? NULL : head, sizeof(head), u->req.seed, u->tx,
			n, segment);
		if (m == NULL)
			return true;
		qp_tcp_send(u->tcp, m);
		u->header_out = true;
		QPB_COUNT(u->w, user_tx_bytes, n);
		u->tx += n;
		sent += n;
	}
	if (sent >= TURN_BYTES && !u->shut)
		return true;
	if (!u->shut)
		all_out(u);
	return false;
}

void
qpb_user_ask(struct qpb_user *u, uint64_t at_ns)
{
	unready(u);
	u->state = QPB_USER_BUSY;
	u->at_ns = at_ns;
	u->header_out = false;
	u->tx = u->rx = 0;
	if (!qpb_users_short(u->w))
		QPB_COUNT(u->w, requests_begun, 1);
	if (send_turn(&u->pump))
		qpb_pump(u->w, &u->pump);
}

/* What TCP tells. */

static void
on_connected(void *ctx)
{
	struct qpb_user *u = ctx;

	u->w->users_connecting--;
	QPB_COUNT(u->w, conns_opened, 1);
	if (qpb_users_short(u->w))
		qpb_user_ask(u, u->at_ns);
	else
		ready(u, QPB_USER_READY);
}

static void
answer_done(struct qpb_user *u)
{
	request_over(u, true);
	if (qpb_users_short(u->w) || u->asked_last) {
		u->state = QPB_USER_CLOSING;
		qpb_user_shut(u);
	} else {
		ready(u, QPB_USER_READY);
	}
}

static uint64_t
answer_bytes(const struct qpb_user *u)
{
	return u->req.flags & QPB_ECHO ? u->req.request_bytes : u->req.answer_bytes;
}

static bool
check(struct qpb_user *u, const struct rte_mbuf *m)
{
	uint64_t seed = u->req.flags & QPB_ECHO ? u->req.seed : qpb_answer_seed(u->req.seed);

	if (u->state != QPB_USER_BUSY && !endless(u) && u->req.answer_bytes != QPB_ENDLESS)
		return false;
	if (m->pkt_len > answer_bytes(u) - u->rx)
		return false;
	for (; m != NULL; m = m->next) {
		if (!qpb_matches(
			    u->w, seed, u->rx, rte_pktmbuf_mtod(m, const uint8_t *), m->data_len))
			return false;
		u->rx += m->data_len;
	}
	return true;
}

static void
on_receive(void *ctx, struct rte_mbuf *chain)
{
	struct qpb_user *u = ctx;
	uint32_t len = chain->pkt_len;
	bool good = check(u, chain);

	rte_pktmbuf_free(chain);
	QPB_COUNT(u->w, user_rx_bytes, len);
	qp_tcp_consumed(u->tcp, len);
	if (!good) {
		QPB_COUNT(u->w, user_wrong, 1);
		qpb_user_abort(u);
	} else if (u->state == QPB_USER_BUSY && u->rx == answer_bytes(u)) {
		answer_done(u);
	}
}

static void
on_receive_end(void *ctx)
{
	struct qpb_user *u = ctx;

	/* The service ends after us, never before. */
	if (u->shut)
		return;
	qpb_user_abort(u);
}

static void
on_acked(void *ctx, uint32_t bytes)
{
	struct qpb_user *u = ctx;

	if (u->state == QPB_USER_BUSY && !u->shut)
		qpb_pump(u->w, &u->pump);
}

static void
on_ended(void *ctx, enum qp_tcp_end why)
{
	struct qpb_user *u = ctx;

	/* Endless ones have no answer to wait for. */
	if (why == QP_TCP_END_NORMAL && u->state == QPB_USER_BUSY && qpb_users_bulk(u->w)) {
		request_over(u, true);
		u->state = QPB_USER_CLOSING;
	}
	gone(u, why == QP_TCP_END_NORMAL);
}

static const struct qp_tcp_ops user_ops = {
	.connected = on_connected,
	.receive = on_receive,
	.receive_end = on_receive_end,
	.acked = on_acked,
	.ended = on_ended,
};

bool
qpb_user_connect(struct qpb_user *u, uint64_t at_ns)
{
	struct qpb_worker *w = u->w;
	const struct qpb_config *cfg = &w->b->cfg;
	uint32_t client = qpb_user_pick_client(w);
	struct qp_flow flow = {.remote = cfg->outside};

	unready(u);
	if (client == UINT32_MAX) {
		QPB_COUNT(w, conns_failed, 1);
		return false;
	}
	flow.local = qpb_user_addr(w, (uint32_t)(u - w->user) % w->naddrs);
	flow.rport_be = htons(w->b->opened_port[client]);
	memcpy(flow.l2.peer_mac, w->b->users.port->hop_mac, 6);
	u->shut = u->header_out = false;
	u->tx = u->rx = 0;
	u->at_ns = at_ns;
	qpb_user_draw(u);
	if (qp_tcp_connect(w->tcp, &flow, &user_ops, u, &u->tcp) < 0) {
		QPB_COUNT(w, conns_failed, 1);
		return false;
	}
	u->state = QPB_USER_CONNECTING;
	u->pump.turn = send_turn;
	w->users_connecting++;
	w->users_live++;
	if (qpb_users_short(w))
		QPB_COUNT(w, requests_begun, 1);
	return true;
}
