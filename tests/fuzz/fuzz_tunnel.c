/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tunnels and relays under a hostile client, a hostile outside and a confused
 * control plane. QUIC and TCP are played here, by the letter of their headers,
 * so that an input costs microseconds and each call can be checked.
 *
 * An input: one byte, how far the tunnel has come (BEGUN … OPEN), whether its
 * forward is of TCP or UDP (bit 3) and whether it is a local one (bit 6); then
 * steps, each an operation (1) and its argument (1), some with that many bytes
 * behind it.
 */
#include "tests/fuzz/fuzz.h"

#include <rte_mbuf.h>
#include <sodium.h>
#include <string.h>

#include "common/wire.h"
#include "dataplane/tunnel.h"
#include "dataplane/udp/udp.h"
#include "tests/tcp/eal.h"

#define POOL 1023u
#define STREAMS 24u
#define CONNS 16u
#define STEP_NS (50ull * 1000 * 1000)

struct qp_quic_conn {
	void *ctx;
	bool closing;
	uint64_t streams_left;
	struct qp_flow flow;
};

struct qp_quic_stream {
	struct qp_quic_conn *conn;
	void *ctx;
	int64_t id;
	uint64_t queued;
	bool live, fin, aborted, peer_fin;
};

struct qp_tcp_conn {
	const struct qp_tcp_ops *ops;
	void *ctx;
	bool live, opening, shut, fin_in;
	uint32_t unconsumed, unacked;
	struct rte_mbuf *out;
};

struct qp_tcp_listener {
	const struct qp_tcp_ops *ops;
	void *ctx;
	bool live;
};

static struct rte_mempool *pool;
static uint64_t now_ns = 1;
static struct qp_wheel *wheel;
static struct qp_worker_counters counters;
static uint8_t mem_level;
static struct qp_tunnels *tunnels;
static struct qp_udp *udp;
static uint16_t granted_port;
static struct qp_quic_conn conn;
static struct qp_quic_stream streams[STREAMS];
static struct qp_tcp_conn conns[CONNS];
static struct qp_tcp_listener listener;
static bool in_tcp; /* inside a callback of TCP */
static uint64_t tunnel_id;
static unsigned begun, tunnels_closed, granted, given_back;

/* QUIC, as the tunnels see it. */

void
qp_quic_conn_close(struct qp_quic_conn *c, uint64_t code, const char *reason)
{
	FUZZ_CHECK(reason != NULL && strlen(reason) < 200);
	c->closing = true;
}

const struct qp_flow *
qp_quic_conn_flow(const struct qp_quic_conn *c)
{
	return &c->flow;
}

void
qp_quic_conn_trust(struct qp_quic_conn *c)
{
}

void
qp_quic_conn_consumed(struct qp_quic_conn *c, uint64_t bytes)
{
	FUZZ_CHECK(bytes < UINT64_C(1) << 40);
}

static struct qp_quic_stream *
stream_new(int64_t id)
{
	for (unsigned i = 0; i < STREAMS; i++)
		if (!streams[i].live) {
			streams[i] = (struct qp_quic_stream) {
				.conn = &conn, .id = id, .live = true};
			return &streams[i];
		}
	return NULL;
}

int
qp_quic_stream_open(struct qp_quic_conn *c, void *ctx, struct qp_quic_stream **out)
{
	static int64_t next = 1;

	if (c->closing)
		return QP_E_CLOSED;
	if (c->streams_left == 0)
		return QP_E_AGAIN;
	*out = stream_new(next);
	if (*out == NULL)
		return QP_E_NOMEM;
	(*out)->ctx = ctx;
	c->streams_left--;
	next += 4;
	return 0;
}

void
qp_quic_stream_set_ctx(struct qp_quic_stream *s, void *ctx)
{
	FUZZ_CHECK(s->live);
	s->ctx = ctx;
}

int64_t
qp_quic_stream_id(const struct qp_quic_stream *s)
{
	return s->id;
}

void
qp_quic_stream_write(struct qp_quic_stream *s, struct rte_mbuf *chain)
{
	FUZZ_CHECK(s->live);
	for (const struct rte_mbuf *m = chain; m != NULL; m = m->next)
		s->queued += s->aborted || s->fin ? 0 : m->data_len;
	rte_pktmbuf_free(chain);
}

int
qp_quic_stream_write_bytes(struct qp_quic_stream *s, const void *data, size_t len)
{
	FUZZ_CHECK(s->live && len > 0);
	if (!s->aborted && !s->fin)
		s->queued += len;
	return 0;
}

void
qp_quic_stream_fin(struct qp_quic_stream *s)
{
	FUZZ_CHECK(s->live);
	s->fin = true;
}

uint64_t
qp_quic_stream_queued(const struct qp_quic_stream *s)
{
	FUZZ_CHECK(s->live);
	return s->queued;
}

uint64_t
qp_quic_stream_unsent(const struct qp_quic_stream *s)
{
	FUZZ_CHECK(s->live);
	return s->queued;
}

void
qp_quic_stream_consumed(struct qp_quic_stream *s, uint64_t bytes)
{
	FUZZ_CHECK(s->live && bytes < UINT64_C(1) << 40);
}

void
qp_quic_stream_abort(struct qp_quic_stream *s, uint64_t code)
{
	FUZZ_CHECK(s->live);
	s->aborted = true;
	s->queued = 0;
}

/* TCP, as the relay sees it. */

int
qp_tcp_listen(struct qp_tcp *tcp, const struct qp_ipaddr *addr, uint16_t port_be,
	const struct qp_tcp_ops *ops, void *ctx, struct qp_tcp_listener **out)
{
	if (listener.live || port_be == 0)
		return QP_E_INUSE;
	listener = (struct qp_tcp_listener) {ops, ctx, true};
	*out = &listener;
	return 0;
}

void
qp_tcp_listener_give(struct qp_tcp_listener *l, const struct qp_ipaddr *addr, void *ctx)
{
	FUZZ_CHECK(l->live);
	l->ctx = ctx;
}

void
qp_tcp_listener_leave(struct qp_tcp_listener *l)
{
	qp_tcp_unlisten(l);
}

static struct qp_tcp_conn *
conn_new(const struct qp_tcp_ops *ops)
{
	struct qp_tcp_conn *c = NULL;

	for (unsigned i = 0; i < CONNS; i++)
		if (!conns[i].live)
			c = &conns[i];
	if (c != NULL)
		*c = (struct qp_tcp_conn) {.ops = ops, .live = true};
	return c;
}

int
qp_tcp_connect(struct qp_tcp *tcp, const struct qp_flow *flow, const struct qp_tcp_ops *ops,
	void *ctx, struct qp_tcp_conn **out)
{
	struct qp_tcp_conn *c;

	FUZZ_CHECK(!in_tcp);
	/* No port is left, no memory; else some connection. */
	if (flow->rport_be == 0)
		return QP_E_INUSE;
	c = conn_new(ops);
	if (c == NULL)
		return QP_E_NOMEM;
	c->ctx = ctx;
	c->opening = true;
	*out = c;
	return 0;
}

void
qp_tcp_set_ports(struct qp_tcp *tcp, uint16_t first, uint32_t count)
{
	FUZZ_CHECK(count > 0 && first + count <= 65536);
}

void
qp_tcp_unlisten(struct qp_tcp_listener *l)
{
	FUZZ_CHECK(l->live);
	l->live = false;
}

void
qp_tcp_set_ctx(struct qp_tcp_conn *c, void *ctx)
{
	c->ctx = ctx;
}

void
qp_tcp_set_rcv_buf(struct qp_tcp_conn *c, uint32_t bytes)
{
	FUZZ_CHECK(c->live && bytes > 0);
}

static void
conn_gone(struct qp_tcp_conn *c)
{
	rte_pktmbuf_free(c->out);
	*c = (struct qp_tcp_conn) {0};
}

uint64_t
qp_quic_conn_rtt(const struct qp_quic_conn *c)
{
	(void)c;
	return 0;
}

const struct qp_flow *
qp_tcp_flow(const struct qp_tcp_conn *c)
{
	static const struct qp_flow nobody;

	(void)c;
	return &nobody;
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

void
qp_tcp_send(struct qp_tcp_conn *c, struct rte_mbuf *chain)
{
	FUZZ_CHECK(c->live && !c->opening && !c->shut && chain->pkt_len > 0);
	rte_mbuf_sanity_check(chain, 1);
	c->unacked += chain->pkt_len;
	rte_pktmbuf_free(chain);
}

void
qp_tcp_shutdown(struct qp_tcp_conn *c)
{
	FUZZ_CHECK(c->live && !c->opening);
	c->shut = true;
}

void
qp_tcp_abort(struct qp_tcp_conn *c)
{
	FUZZ_CHECK(c->live && !in_tcp);
	conn_gone(c);
}

void
qp_tcp_consumed(struct qp_tcp_conn *c, uint32_t bytes)
{
	FUZZ_CHECK(c->live && bytes <= c->unconsumed);
	c->unconsumed -= bytes;
}

/* The control plane. */

static bool
send_message(void *ctx, const struct qp_msg *msg)
{
	FUZZ_CHECK(msg->version == QP_IPC_VERSION);
	tunnel_id = msg->id;
	begun += msg->type == QP_MSG_AUTH_BEGIN;
	tunnels_closed += msg->type == QP_MSG_TUNNEL_CLOSED;
	given_back += msg->type == QP_MSG_FORWARD_CLOSED;
	return true;
}

static void
message(enum qp_msg_type type, const uint8_t *bytes, size_t len)
{
	struct qp_msg msg = {.type = type, .version = QP_IPC_VERSION, .id = tunnel_id};

	memcpy(msg.raw, bytes, len < sizeof(msg.raw) ? len : sizeof(msg.raw));
	/* What our own control plane never sends: a length beyond its field, no port. */
	if (type == QP_MSG_AUTH_REPLY)
		msg.auth_bytes.len = 1 + msg.auth_bytes.len % sizeof(msg.auth_bytes.bytes);
	if (type == QP_MSG_FORWARD_GRANT || type == QP_MSG_FORWARD_DENY) {
		msg.forward_answer.message_len %= sizeof(msg.forward_answer.message);
		msg.forward_answer.port |= 1;
		msg.forward_answer.listen_only &= 1;
		msg.forward_answer.takes_from = 0; /* there is one tunnel */
		/* One forward a tunnel: it grants what was asked for, once. */
		if (type == QP_MSG_FORWARD_GRANT && (granted > 0 || !msg.forward_answer.listen_only) &&
			granted++ > 0)
			return;
		granted_port = msg.forward_answer.port;
	}
	if (type == QP_MSG_LOCAL_GRANT) {
		struct qp_msg_local_grant *g = &msg.local_grant;

		g->message_len %= sizeof(g->message);
		g->naddrs = 1 + g->naddrs % QP_LOCAL_ADDRS;
		g->source_first = 40000;
		g->source_count = (uint16_t)(1 + g->source_count % 1000);
	}
	if (type == QP_MSG_LOCAL_DENY)
		msg.forward_answer.message_len %= sizeof(msg.forward_answer.message);
	qp_tunnels_message(tunnels, &msg);
}

/* Steps. */

static struct qp_quic_stream *
pick(uint8_t arg)
{
	struct qp_quic_stream *s = &streams[arg % STREAMS];

	return s->live && s->ctx != NULL && !s->aborted ? s : NULL;
}

static void
stream_data(struct qp_quic_stream *s, const uint8_t *data, size_t len, bool fin)
{
	if (s == NULL || s->peer_fin || conn.closing)
		return;
	s->peer_fin = fin;
	qp_tunnel_quic_ops.stream_data(s->ctx, data, len, fin);
}

static void
stream_gone(struct qp_quic_stream *s)
{
	if (s->ctx != NULL)
		qp_tunnel_quic_ops.stream_closed(s->ctx);
	s->live = false;
}

static void
stream_acked(struct qp_quic_stream *s, uint64_t bytes)
{
	if (s == NULL)
		return;
	bytes = bytes < s->queued ? bytes : s->queued;
	s->queued -= bytes;
	if (bytes > 0)
		qp_tunnel_quic_ops.stream_acked(s->ctx, bytes);
	if (s->live && s->fin && s->peer_fin && s->queued == 0)
		stream_gone(s);
}

static void
peer_stream(uint8_t arg)
{
	struct qp_quic_stream *s = stream_new(4 + 4 * arg);

	if (s != NULL)
		qp_tunnel_quic_ops.stream_opened(conn.ctx, s);
}

static void
outside_connect(void)
{
	struct qp_tcp_conn *c = listener.live ? conn_new(listener.ops) : NULL;

	if (c == NULL)
		return;
	in_tcp = true;
	if (listener.ops->accept(listener.ctx, c) != 0)
		conn_gone(c);
	in_tcp = false;
}

static struct qp_tcp_conn *
pick_conn(uint8_t arg)
{
	return conns[arg % CONNS].live ? &conns[arg % CONNS] : NULL;
}

static void
outside_data(struct qp_tcp_conn *c, const uint8_t *data, size_t len)
{
	struct rte_mbuf *m;

	if (c == NULL || c->opening || c->fin_in || len == 0 || (m = rte_pktmbuf_alloc(pool)) == NULL)
		return;
	memcpy(rte_pktmbuf_append(m, (uint16_t)len), data, len);
	c->unconsumed += (uint32_t)len;
	in_tcp = true;
	c->ops->receive(c->ctx, m);
	in_tcp = false;
}

static void
outside_ended(struct qp_tcp_conn *c, enum qp_tcp_end why)
{
	const struct qp_tcp_ops *ops = c->ops;
	void *ctx = c->ctx;

	conn_gone(c);
	ops->ended(ctx, why);
}

/* Our SYN's answer. */
static void
outside_answers(struct qp_tcp_conn *c, uint8_t what)
{
	in_tcp = true;
	if (what < 2) {
		c->opening = false;
		c->ops->connected(c->ctx);
	} else {
		outside_ended(c, what == 2 ? QP_TCP_END_REFUSED : QP_TCP_END_UNREACHABLE);
	}
	in_tcp = false;
}

/* UDP from one of eight sources; tests/fuzz/fuzz_udp.c goes deeper into it. */
static void
outside_datagram(uint8_t arg, const uint8_t *data, size_t len)
{
	struct qp_packet pkt = {.l3_off = 14, .l4_off = 34, .l4_len = 8 + (uint32_t)len,
		.proto = IPPROTO_UDP,
		.flow = {.local = qp_ipaddr_v4(1), .remote = qp_ipaddr_v4(2),
			.lport_be = htons(granted_port), .rport_be = htons(1 + arg % 8)}};
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	uint8_t *p;

	if (m == NULL)
		return;
	p = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(42 + len));
	memset(p, 0, 42);
	memcpy(p + 42, data, len);
	qp_udp_input(udp, m, &pkt);
}

static void
udp_out(void *ctx, struct rte_mbuf *m)
{
	rte_mbuf_sanity_check(m, 1);
	rte_pktmbuf_free(m);
}

static void
outside_event(struct qp_tcp_conn *c, uint8_t what)
{
	if (c == NULL)
		return;
	if (c->opening) {
		outside_answers(c, what);
		return;
	}
	in_tcp = true;
	if (what == 0 && !c->fin_in) {
		c->fin_in = true;
		c->ops->receive_end(c->ctx);
	} else if (what == 1 && c->unacked > 0) {
		uint32_t bytes = c->unacked;

		c->unacked = 0;
		c->ops->acked(c->ctx, bytes);
	} else if (what == 2) {
		outside_ended(c, QP_TCP_END_RESET);
	} else if (what == 3 && c->fin_in && c->shut && c->unacked == 0) {
		outside_ended(c, QP_TCP_END_NORMAL);
	}
	in_tcp = false;
}

/* ngtcp2's turn is over: what was to be closed is. */
static void
settle(void)
{
	qp_tunnels_flush(tunnels);
	for (unsigned i = 0; i < STREAMS; i++)
		if (streams[i].live && streams[i].aborted)
			stream_gone(&streams[i]);
	if (!conn.closing || conn.ctx == NULL)
		return;
	qp_tunnel_quic_ops.closed(conn.ctx, QP_QUIC_END_PEER);
	conn.ctx = NULL;
	memset(streams, 0, sizeof(streams));
}

static void
step(uint8_t op, uint8_t arg, const uint8_t *data, size_t len)
{
	struct qp_quic_stream *s = pick(arg);

	switch (op % 16) {
	case 0:
	case 1:
	case 2:
	case 3:
		stream_data(pick(0), data, len, false);
		break;
	case 4:
		stream_data(pick(0), data, len, true);
		break;
	case 5:
		stream_data(s, data, len, (arg & 0x80) != 0);
		break;
	case 6:
		stream_acked(s, arg & 0x40 ? UINT64_MAX : arg);
		break;
	case 7:
		if (s != NULL)
			qp_tunnel_quic_ops.stream_reset(s->ctx, arg);
		break;
	case 8:
		if (s != NULL && !s->fin) {
			s->queued = 0;
			s->fin = true; /* what is written from now on is dropped */
			qp_tunnel_quic_ops.stream_stopped(s->ctx, arg);
		}
		break;
	case 9:
		peer_stream(arg);
		break;
	case 10:
		conn.streams_left += arg;
		qp_tunnel_quic_ops.may_open(conn.ctx, conn.streams_left);
		break;
	case 11:
		if (arg >= 0xc0)
			message(arg & 1 ? QP_MSG_LOCAL_GRANT : QP_MSG_LOCAL_DENY, data, len);
		else
			message(QP_MSG_AUTH_BEGIN + arg % 8, data, len);
		break;
	case 12:
		outside_connect();
		break;
	case 13:
		if (granted > 0)
			outside_datagram(arg, data, len);
		outside_data(pick_conn(arg), data, len);
		break;
	case 14:
		outside_event(pick_conn(arg), (arg >> 4) & 3);
		break;
	case 15:
		mem_level = arg % 3;
		now_ns += arg * STEP_NS;
		qp_wheel_advance(wheel, now_ns);
		break;
	}
}

/* Bytes of the client and answers of the control plane that bring a tunnel as far as wanted. */
static void
advance(uint8_t how_far, bool local)
{
	static const uint8_t step1[QP_WIRE_X25519_STEP1_BYTES] = QP_WIRE_X25519_MAGIC;
	static const uint8_t request[] = {0x21, 0, 5, 0x23, 0x3e, 1, '2', '2'}; /* the grant decides */
	static const uint8_t zero[128], yes[] = {1};
	const uint8_t protocol = how_far & 8 ? QP_WIRE_UDP : QP_WIRE_TCP;
	const uint8_t ask[] = {1, 0, 6, protocol, 0, 3, ':', '2', '2'}, to[] = {22, 0, protocol, 1};
	const uint8_t grant[] = {0x3e, 0x23, protocol};

	how_far %= 8;

	if (how_far > 0)
		stream_data(pick(0), step1, sizeof(step1), false);
	if (how_far > 1)
		message(QP_MSG_AUTH_REPLY, zero, sizeof(zero));
	if (how_far > 2)
		stream_data(pick(0), zero, QP_WIRE_STEP3_BYTES, false);
	if (how_far > 3)
		message(QP_MSG_VERDICT, yes, sizeof(yes));
	if (how_far > 4)
		stream_data(pick(0), local ? ask : request, local ? sizeof(ask) : sizeof(request), false);
	if (how_far > 5 && local)
		message(QP_MSG_LOCAL_GRANT, to, sizeof(to));
	else if (how_far > 5)
		message(QP_MSG_FORWARD_GRANT, grant, sizeof(grant));
}

static uint64_t
fixed_random(void *ctx)
{
	return 0x9e3779b97f4a7c15;
}

/* Once: its tables are large, and at the end of an input they are empty. */
static struct qp_udp *
udp_new(void)
{
	struct qp_udp_env env = {.now_ns = &now_ns,
		.wheel = wheel,
		.pool = pool,
		.indirect_pool = pool,
		.transmit = udp_out,
		.mem_level = &mem_level,
		.random = fixed_random};
	struct qp_udp_config cfg;

	qp_udp_config_default(&cfg);
	return qp_udp_new(&env, &cfg);
}

static void
start(void)
{
	struct qp_tunnels_env env = {.now_ns = &now_ns,
		.counters = &counters,
		.mem_level = &mem_level,
		.send = send_message,
		.stream_window = 1 << 20,
		.max_stream_window = 4 << 20,
		.pool_bytes = POOL * 2048};

	if (pool == NULL) {
		test_eal_init();
		FUZZ_CHECK(sodium_init() >= 0);
		pool = test_pool("tunnels", POOL, RTE_MBUF_DEFAULT_BUF_SIZE);
		wheel = qp_wheel_new(now_ns);
		udp = udp_new();
		FUZZ_CHECK(udp != NULL);
	}
	env.pool = pool;
	env.wheel = wheel;
	env.udp = udp;
	mem_level = QP_MEM_PLENTY;
	memset(&counters, 0, sizeof(counters));
	begun = tunnels_closed = granted = given_back = 0;
	tunnels = qp_tunnels_new(&env);
	FUZZ_CHECK(tunnels != NULL);
	conn = (struct qp_quic_conn) {.streams_left = 4};
	FUZZ_CHECK(qp_tunnel_quic_ops.opened(tunnels, &conn, &conn.ctx) == 0);
	qp_tunnel_quic_ops.stream_opened(conn.ctx, stream_new(0));
}

/* With the connection goes all that it had, and all is said that was to be said. */
static void
finish(void)
{
	conn.closing = true;
	settle();
	FUZZ_CHECK(qp_tunnels_count(tunnels) == 0);
	FUZZ_CHECK(!listener.live);
	for (unsigned i = 0; i < CONNS; i++)
		FUZZ_CHECK(!conns[i].live);
	FUZZ_CHECK(counters.conns_active == 0 && counters.tunnels_active == 0);
	FUZZ_CHECK(counters.relay_queued_bytes == 0);
	FUZZ_CHECK(qp_udp_counters(udp)->flows == 0 && qp_udp_counters(udp)->queued_bytes == 0);
	FUZZ_CHECK(begun <= 1 && tunnels_closed == begun);
	FUZZ_CHECK(given_back == (granted > 0));
	qp_tunnels_free(tunnels);
	FUZZ_CHECK(rte_mempool_avail_count(pool) == POOL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t off = 1, len;

	if (size == 0)
		return 0;
	start();
	advance(data[0] % 16, (data[0] & 0x40) != 0);
	settle();
	while (off + 2 <= size && conn.ctx != NULL) {
		uint8_t op = data[off], arg = data[off + 1];
		bool carries = op % 16 <= 5 || op % 16 == 11 || op % 16 == 13;

		off += 2;
		len = carries ? arg : 0;
		len = len < size - off ? len : size - off;
		step(op, arg, data + off, len);
		off += len;
		settle();
	}
	finish();
	return 0;
}
