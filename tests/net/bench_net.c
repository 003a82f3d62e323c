/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Not a test: what a packet costs in the host of dedicated ports, each way, in
 * nanoseconds of this core. The packets are a few mbufs that are used again and
 * again, so this is the work alone, with warm caches.
 */
#include <inttypes.h>
#include <rte_ip.h>
#include <rte_udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "dataplane/net/internal.h"
#include "tests/tcp/eal.h"

#define MBUFS   64u
#define PACKETS 50000u
#define ROUNDS  300u /* the best counts: others use the machine too */

static const uint8_t port_mac[6] = {2, 0, 0, 0, 0, 1}, peer_mac[6] = {2, 0, 0, 0, 0, 9};
static struct rte_mbuf *frame[MBUFS];
static struct qp_nic_net conf;
static struct qp_net *net;
static uint64_t now_ns = 1000000000000, sent;

static uint64_t
random64(void *ctx)
{
	static uint64_t seed = 4;

	return seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
}

static void
transmit(void *ctx, unsigned port, struct rte_mbuf *m)
{
	sent++;
}

static struct qp_ipaddr
v4(uint32_t host)
{
	return qp_ipaddr_v4(rte_cpu_to_be_32(host));
}

static struct qp_ipaddr
v6(uint32_t host)
{
	struct qp_ipaddr a = {.b = {0x20, 1, 0x0d, 0xb8}};

	a.w[3] = rte_cpu_to_be_32(host);
	return a;
}

static void
add_addr(struct qp_ipaddr a, uint8_t prefix)
{
	conf.addr[conf.naddrs] = (struct qp_nic_addr) {.prefix = prefix};
	memcpy(&conf.addr[conf.naddrs++].addr, &a, 16);
}

static void
add_route(struct qp_ipaddr dest, uint8_t prefix, struct qp_ipaddr via)
{
	struct qp_nic_route *r = &conf.route[conf.nroutes++];

	*r = (struct qp_nic_route) {.prefix = prefix};
	memcpy(&r->dest, &dest, 16);
	memcpy(&r->via, &via, 16);
}

/* Two addresses and `routes` routes beside two default ones; the routers have answered. */
static void
open_net(struct qp_wheel *wheel, struct rte_mempool *pool, unsigned routes)
{
	const struct qp_net_env env = {.now_ns = &now_ns, .wheel = wheel, .pool = pool,
		.transmit = transmit, .random = random64};
	struct qp_net_port port = {.mtu = 1500};
	struct qp_net_config cfg;

	memset(&conf, 0, sizeof(conf));
	memcpy(port.mac, port_mac, 6);
	qp_net_config_default(&cfg);
	net = qp_net_new(&env, &cfg, &port, 1);
	add_addr(v4(0x0a000001), 120);
	add_addr(v6(1), 64);
	for (unsigned i = 0; i < routes; i++)
		add_route(v4(0xc0000000 + (i << 8)), 120, v4(0x0a0000fe));
	add_route(v4(0), 96, v4(0x0a0000fe));
	add_route((struct qp_ipaddr) {0}, 0, v6(0xfe));
	conf.seq = 2;
	conf.nlinks = 1;
	conf.link[0].mtu = 1500;
	if (!qp_net_poll_config(net, &conf, false))
		abort();
	for (uint32_t i = 0; i < cfg.max_neighbours; i++) {
		if (net->neigh[i].pinned)
			qp_neigh_told(&net->neigh[i], peer_mac, true, true);
	}
}

/* A small UDP packet; the peer's address is filled in for each. */
static void
make_frames(struct rte_mempool *pool, bool is_v4, bool to_us)
{
	for (unsigned i = 0; i < MBUFS; i++) {
		struct qp_flow f = {.local = is_v4 ? v4(0x0a000001) : v6(1),
			.remote = is_v4 ? v4(0x08080808) : v6(0x08080808)};
		struct qp_ipaddr swap = f.local;
		struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

		if (to_us) {
			f.local = f.remote;
			f.remote = swap;
		}
		f.remote.b[4] ^= !is_v4 && !to_us; /* beyond the link */
		f.local.b[4] ^= !is_v4 && to_us;
		(void)rte_pktmbuf_append(m, 100);
		memset(rte_pktmbuf_mtod(m, void *), 0, 100);
		qp_net_mark(f.l2.peer_mac, 0);
		if (to_us)
			memcpy(f.l2.peer_mac, port_mac, 6);
		qp_ip_encap(m, &f, IPPROTO_UDP, 0, to_us ? peer_mac : port_mac);
		m->ol_flags = RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
		frame[i] = m;
	}
}

static void
free_frames(void)
{
	for (unsigned i = 0; i < MBUFS; i++)
		rte_pktmbuf_free(frame[i]);
}

static void
one(struct rte_mbuf *m, bool is_v4, bool to_us, uint32_t peer)
{
	uint8_t *p = rte_pktmbuf_mtod(m, uint8_t *);
	struct qp_net_info info;

	if (to_us) {
		if (qp_net_input(net, 0, m, &info) != QP_NET_UP)
			abort();
		return;
	}
	qp_net_mark(p, 0);
	memcpy(p + (is_v4 ? 30 : 50), &peer, 4);
	qp_net_output(net, m);
}

static void
measure(struct rte_mempool *pool, const char *what, bool is_v4, bool to_us, unsigned peers)
{
	uint64_t best = UINT64_MAX;

	make_frames(pool, is_v4, to_us);
	for (unsigned r = 0; r < ROUNDS; r++) {
		const uint64_t from = qp_now_ns();

		for (unsigned i = 0; i < PACKETS; i++)
			one(frame[i % MBUFS], is_v4, to_us, rte_cpu_to_be_32(0x08000000 + i % peers));
		best = RTE_MIN(best, qp_now_ns() - from);
	}
	free_frames();
	printf("%-44s %6.1f ns\n", what, (double)best / PACKETS);
}

int
main(void)
{
	struct rte_mempool *pool;
	struct qp_wheel *wheel = qp_wheel_new(now_ns);

	test_eal_init();
	pool = test_pool("bench", 1023, RTE_PKTMBUF_HEADROOM + 2048);
	open_net(wheel, pool, 0);
	measure(pool, "in, IPv4, UDP to us", true, true, 1);
	measure(pool, "in, IPv6, UDP to us", false, true, 1);
	measure(pool, "out, IPv4, one destination", true, false, 1);
	measure(pool, "out, IPv6, one destination", false, false, 1);
	measure(pool, "out, IPv4, 1,000 destinations", true, false, 1000);
	measure(pool, "out, IPv4, 1,000,000 destinations", true, false, 1000000);
	measure(pool, "out, IPv6, 1,000,000 destinations", false, false, 1000000);
	qp_net_free(net);
	open_net(wheel, pool, 60);
	measure(pool, "out, IPv4, 1,000,000 destinations, 60 routes", true, false, 1000000);
	printf("%" PRIu64 " sent\n", sent);
	qp_net_free(net);
	qp_wheel_free(wheel);
	return 0;
}
