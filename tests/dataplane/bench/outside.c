/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The users outside: a second TCP on the same wires. Runs on the peers' thread.
 */
#include "common/clock.h"
#include "tests/dataplane/bench/bench.h"

#include <rte_mbuf.h>
#include <rte_random.h>
#include <string.h>

#include "dataplane/tcp/tcp.h"
#include "dataplane/timer.h"
#include "dataplane/worker_internal.h"

#define MBUFS 16383u
#define ADDRESSES 200u /* so that ports suffice while TIME-WAITs last */

struct bench_outside bench_outside;

struct user {
	TAILQ_ENTRY(user) link; /* of those that pour */
	struct qp_tcp_conn *tcp;
	bool pours, connected;
	uint32_t bytes;
};

static struct {
	struct qp_tcp *tcp;
	struct qp_wheel *wheel;
	struct rte_mempool *pool, *indirect;
	uint64_t now_ns;
	unsigned address;
	TAILQ_HEAD(, user) users;
} o;

static void
transmit(void *ctx, struct rte_mbuf *m)
{
	bench_wire_send(&bench_to_gateway, m);
}

static uint64_t
random64(void *ctx)
{
	return rte_rand();
}

/* `bytes` of whatever stands in fresh mbufs. */
static void
send_bytes(struct user *u, uint32_t bytes)
{
	struct rte_mbuf *head = NULL, *m;

	bench_outside.sent += bytes;
	for (; bytes > 0; bytes -= m->data_len) {
		m = rte_pktmbuf_alloc(o.pool);
		must(m != NULL);
		m->data_len = (uint16_t)RTE_MIN(bytes, (uint32_t)rte_pktmbuf_tailroom(m));
		m->pkt_len = m->data_len;
		if (head == NULL)
			head = m;
		else
			must(rte_pktmbuf_chain(head, m) == 0);
	}
	qp_tcp_send(u->tcp, head);
}

static void
connected(void *ctx)
{
	struct user *u = ctx;

	u->connected = true;
	if (!u->pours)
		send_bytes(u, u->bytes);
}

static void
receive(void *ctx, struct rte_mbuf *chain)
{
	struct user *u = ctx;
	uint32_t n = chain->pkt_len;

	bench_outside.received += n;
	rte_pktmbuf_free(chain);
	qp_tcp_consumed(u->tcp, n);
}

static void
receive_end(void *ctx)
{
	qp_tcp_shutdown(((struct user *)ctx)->tcp);
}

static void
acked(void *ctx, uint32_t bytes)
{
}

static void
ended(void *ctx, enum qp_tcp_end why)
{
	struct user *u = ctx;

	bench_outside.ended++;
	bench_outside.failed += why != QP_TCP_END_NORMAL;
	bench_outside.open--;
	TAILQ_REMOVE(&o.users, u, link);
	free(u);
}

static const struct qp_tcp_ops ops = {
	.connected = connected,
	.receive = receive,
	.receive_end = receive_end,
	.acked = acked,
	.ended = ended,
};

void
bench_outside_connect(unsigned client, bool pours, uint32_t bytes)
{
	struct qp_flow flow = {
		.local = qp_ipaddr_v4(htonl(0xcb007100u + o.address++ % ADDRESSES)),
		.remote = qp_ipaddr_v4(htonl(0xc0000201)),
		.rport_be = htons((uint16_t)(BENCH_TCP_PORT + client)),
		.l2 = {.peer_mac = {2, 0, 0, 0, 0, 1}},
	};
	struct user *u = calloc(1, sizeof(*u));

	must(u != NULL);
	u->pours = pours;
	u->bytes = bytes;
	must(qp_tcp_connect(o.tcp, &flow, &ops, u, &u->tcp) == 0);
	TAILQ_INSERT_TAIL(&o.users, u, link);
	bench_outside.open++;
}

/* The packet that the wire has next. */
void
bench_outside_receive(void)
{
	struct rte_mbuf *m = bench_wire_receive(&bench_from_gateway, o.pool);
	struct qp_packet pkt;

	must(m != NULL && qp_ip_parse(m, &pkt) == QP_IP_OK && pkt.proto == IPPROTO_TCP);
	o.now_ns = qp_now_ns();
	qp_tcp_input(o.tcp, m, &pkt);
}

void
bench_outside_turn(void)
{
	struct user *u;

	o.now_ns = qp_now_ns();
	qp_wheel_advance(o.wheel, o.now_ns);
	TAILQ_FOREACH (u, &o.users, link) {
		uint32_t space;

		if (!u->pours || !u->connected)
			continue;
		space = RTE_MIN(qp_tcp_send_space(u->tcp), 1u << 20);
		if (space > 16384)
			send_bytes(u, space);
	}
	qp_tcp_flush(o.tcp);
}

void
bench_outside_start(void)
{
	struct qp_tcp_env env = {
		.now_ns = &o.now_ns,
		.own_mac = {2, 0, 0, 0, 0, 3},
		.mtu = 1500,
		.max_frame_bytes = bench_cfg.super ? 65549 : 1514,
		.transmit = transmit,
		.random = random64,
	};
	struct qp_tcp_config cfg;

	TAILQ_INIT(&o.users);
	o.now_ns = qp_now_ns();
	env.wheel = o.wheel = qp_wheel_new(o.now_ns);
	env.pool = o.pool = rte_pktmbuf_pool_create(
		"outside", MBUFS, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	env.indirect_pool = o.indirect =
		rte_pktmbuf_pool_create("outside_clones", MBUFS, 256, 0, 0, SOCKET_ID_ANY);
	must(o.wheel != NULL && o.pool != NULL && o.indirect != NULL);
	qp_tcp_config_default(&cfg);
	cfg.max_conns = 262144;
	cfg.rcv_buf_bytes = cfg.snd_buf_bytes = 1 << 20;
	o.tcp = qp_tcp_new(&env, &cfg);
	must(o.tcp != NULL);
}

void
bench_outside_stop(void)
{
	struct user *u;

	qp_tcp_free(o.tcp);
	while ((u = TAILQ_FIRST(&o.users)) != NULL) {
		TAILQ_REMOVE(&o.users, u, link);
		free(u);
	}
	qp_wheel_free(o.wheel);
	rte_mempool_free(o.pool);
	rte_mempool_free(o.indirect);
}
