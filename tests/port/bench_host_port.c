/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measures the host port behind the real classifier, in network namespaces of
 * its own: what one core of the worker gets from the kernel, and puts into it,
 * from and to this host (lo) and another one (veth). Prints a line for each
 * case; judges nothing.
 */
#include <arpa/inet.h>
#include <linux/udp.h>
#include <net/if.h>
#include <pthread.h>
#include <rte_cycles.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_udp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/classifier.h"
#include "controlplane/hostnet.h"
#include "dataplane/port.h"
#include "tests/port/responder.h"
#include "tests/port/world.h"

#define BURST   32u
#define SECONDS 2u
#define PORT    7000
#define SINK    9

static atomic_bool sending;

static void
pin(unsigned core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(core, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}

struct sender {
	const struct world *w;
	bool at_peer;
	unsigned bytes; /* a send */
	unsigned segsz; /* 0: single datagrams */
};

/* The kernel's side of the receive case. */
static void *
send_loop(void *arg)
{
	const struct sender *s = arg;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	static char buf[65536];
	int fd, segsz = (int)s->segsz;

	pin(1);
	if (s->at_peer)
		world_enter_peer(s->w);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	inet_pton(AF_INET, s->at_peer ? WORLD_GW4 : "127.0.0.1", &to.sin_addr);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0 ||
		(segsz != 0 &&
			setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segsz, sizeof(segsz)) != 0)) {
		perror("sender");
		exit(1);
	}
	while (atomic_load_explicit(&sending, memory_order_relaxed))
		(void)!send(fd, buf, s->bytes, 0);
	close(fd);
	return NULL;
}

static void
bench_rx(struct qp_port *p, const char *name, struct sender s)
{
	struct rte_mbuf *frames[BURST];
	const struct qp_port_counters before = p->counters;
	const uint64_t hz = rte_get_tsc_hz(), start = rte_get_tsc_cycles();
	pthread_t t;

	atomic_store(&sending, true);
	pthread_create(&t, NULL, send_loop, &s);
	while (rte_get_tsc_cycles() - start < SECONDS * hz) {
		uint16_t n = qp_port_rx(p, frames, BURST);

		rte_pktmbuf_free_bulk(frames, n);
	}
	atomic_store(&sending, false);
	pthread_join(t, NULL);
	for (uint16_t n = 1; n > 0; rte_pktmbuf_free_bulk(frames, n))
		n = qp_port_rx(p, frames, BURST);

	const double frames_s = (double)(p->counters.rx_frames - before.rx_frames) / SECONDS;
	const double gbit_s = (double)(p->counters.rx_bytes - before.rx_bytes) * 8e-9 / SECONDS;
	const double polls = (double)(p->counters.polls - before.polls);
	const double empty = (double)(p->counters.empty_polls - before.empty_polls);

	printf("%-44s %8.3f Mframes/s %7.2f Gbit/s  (%.0f %% of polls empty)\n", name,
		frames_s * 1e-6, gbit_s, 100 * empty / polls);
}

/* An empty poll is what an idle worker pays for this port each turn. */
static void
bench_empty(struct qp_port *p)
{
	struct rte_mbuf *frames[BURST];
	const unsigned turns = 200000;
	const uint64_t start = rte_get_tsc_cycles();

	for (unsigned i = 0; i < turns; i++)
		rte_pktmbuf_free_bulk(frames, qp_port_rx(p, frames, BURST));
	printf("%-44s %8.0f ns\n", "rx: an empty poll",
		(double)(rte_get_tsc_cycles() - start) * 1e9 / (double)rte_get_tsc_hz() / turns);
}

/* An answer that leaves by interface `ifindex`, headers and payload in segments of their own. */
static struct rte_mbuf *
make_udp(struct rte_mempool *pool, uint32_t ifindex, unsigned payload, unsigned segsz)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool), *tail = m;
	struct rte_ether_hdr *eth = (void *)rte_pktmbuf_append(m, 14 + 20 + 8);
	struct rte_ipv4_hdr *ip = (void *)(eth + 1);
	struct rte_udp_hdr *udp = (void *)(ip + 1);

	if (eth == NULL)
		exit(1);
	memset(eth, 0, 42);
	eth->dst_addr = (struct rte_ether_addr) {{QP_CLS_MARK_0, QP_CLS_MARK_LINK, 0, 0,
		(uint8_t)(ifindex >> 8), (uint8_t)ifindex}};
	eth->ether_type = htons(RTE_ETHER_TYPE_IPV4);
	*ip = (struct rte_ipv4_hdr) {.version_ihl = 0x45, .time_to_live = 64, .next_proto_id = 17,
		.total_length = htons((uint16_t)(28 + payload))};
	inet_pton(AF_INET, ifindex == 1 ? "127.0.0.1" : WORLD_GW4, &ip->src_addr);
	inet_pton(AF_INET, ifindex == 1 ? "127.0.0.1" : WORLD_PEER4, &ip->dst_addr);
	*udp = (struct rte_udp_hdr) {.src_port = htons(PORT), .dst_port = htons(SINK),
		.dgram_len = htons((uint16_t)(8 + payload))};
	m->l2_len = 14;
	m->l3_len = 20;
	m->l4_len = 8;
	m->ol_flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_UDP_CKSUM;
	if (segsz != 0)
		m->ol_flags |= RTE_MBUF_F_TX_UDP_SEG;
	m->tso_segsz = (uint16_t)segsz;
	udp->dgram_cksum = rte_ipv4_phdr_cksum(ip, segsz != 0 ? RTE_MBUF_F_TX_TCP_SEG : 0);
	while (payload > 0) {
		struct rte_mbuf *seg = rte_pktmbuf_alloc(pool);
		uint16_t len = (uint16_t)RTE_MIN(payload, 1920u);

		memset(rte_pktmbuf_append(seg, len), 0, len);
		tail->next = seg;
		tail = seg;
		m->nb_segs++;
		m->pkt_len += len;
		payload -= len;
	}
	return m;
}

static void
bench_tx(struct qp_port *p, struct rte_mempool *pool, const char *name, uint32_t ifindex,
	unsigned payload, unsigned segsz)
{
	const uint64_t hz = rte_get_tsc_hz();
	const struct qp_port_counters before = p->counters;
	struct rte_mbuf *m = make_udp(pool, ifindex, payload, segsz);
	struct rte_udp_hdr *udp = rte_pktmbuf_mtod_offset(m, void *, 34);
	const uint16_t cksum = udp->dgram_cksum;
	const uint64_t start = rte_get_tsc_cycles();

	while (rte_get_tsc_cycles() - start < SECONDS * hz)
		for (unsigned i = 0; i < BURST; i++) {
			/* As a TCP that keeps its segments does: sent by reference, kept. */
			for (struct rte_mbuf *seg = m; seg != NULL; seg = seg->next)
				rte_mbuf_refcnt_update(seg, 1);
			udp->dgram_cksum = cksum;
			(void)qp_port_tx(p, &m, 1);
		}
	rte_pktmbuf_free(m);
	printf("%-44s %8.3f Mframes/s %7.2f Gbit/s  (%lu dropped)\n", name,
		(double)(p->counters.tx_frames - before.tx_frames) * 1e-6 / SECONDS,
		(double)(p->counters.tx_bytes - before.tx_bytes) * 8e-9 / SECONDS,
		(unsigned long)(p->counters.tx_dropped - before.tx_dropped));
}

/* Takes what is sent to it, and lets it fall. */
static int
open_sink(void)
{
	const struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(SINK)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;

	if (bind(fd, (const struct sockaddr *)&any, sizeof(any)) != 0 ||
		setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) != 0) {
		perror("sink");
		exit(1);
	}
	return fd;
}

static struct qp_hostnet *
open_hostnet(const struct world *w, const struct qp_port *p)
{
	const struct qp_hostnet_config cfg = {.state_dir = w->dir, .quic_port = 4433};
	struct qp_hostnet *h;
	struct qp_errmsg msg;

	if (qp_hostnet_open(&cfg, &h, &msg) != 0 ||
		qp_hostnet_worker_add(h, 1, 0, p->ifindex, p->mac, &msg) != 0 ||
		qp_hostnet_port_open(h, IPPROTO_UDP, PORT, NULL, p->ifindex, &msg) != 0) {
		fprintf(stderr, "bench_host_port: %s\n", msg.text);
		exit(1);
	}
	return h;
}

static void
bench_all(const struct world *w, struct qp_port *p, struct rte_mempool *pool)
{
	const uint32_t gw0 = if_nametoindex("gw0");

	bench_empty(p);
	bench_rx(p, "rx from lo: 1,400 bytes", (struct sender) {w, false, 1400, 0});
	bench_rx(p, "rx from lo: 46 of 1,400 bytes", (struct sender) {w, false, 46 * 1400, 1400});
	bench_rx(p, "rx from veth: 1,400 bytes", (struct sender) {w, true, 1400, 0});
	bench_rx(p, "rx from veth: 46 of 1,400 bytes", (struct sender) {w, true, 46 * 1400, 1400});
	bench_tx(p, pool, "tx to lo: 1,400 bytes", 1, 1400, 0);
	bench_tx(p, pool, "tx to lo: 46 of 1,400 bytes", 1, 46 * 1400, 1400);
	bench_tx(p, pool, "tx to veth: 1,400 bytes", gw0, 1400, 0);
	bench_tx(p, pool, "tx to veth: 10 of 1,400 bytes", gw0, 10 * 1400, 1400);
	bench_tx(p, pool, "tx to veth: 46 of 1,400 bytes", gw0, 46 * 1400, 1400);
}

int
main(void)
{
	struct rte_mempool *pool;
	struct qp_hostnet *h;
	struct qp_errmsg msg;
	struct qp_port *p;
	struct world w;
	int sinks[2];

	if (geteuid() != 0) {
		fputs("bench_host_port: makes network namespaces; run as root\n", stderr);
		return 1;
	}
	world_open(&w);
	pool = responder_eal(16383);
	pin(0);
	if (qp_host_port_open(&(struct qp_host_port_config) {
			.name = "qpbench0", .rx_pool = pool, .mtu = 65535}, &p, &msg) != 0) {
		fprintf(stderr, "bench_host_port: %s\n", msg.text);
		return 1;
	}
	h = open_hostnet(&w, p);
	sinks[0] = open_sink();
	world_enter_peer(&w);
	sinks[1] = open_sink();
	world_enter_gw(&w);
	bench_all(&w, p, pool);
	qp_hostnet_close(h);
	qp_port_close(p);
	close(sinks[0]);
	close(sinks[1]);
	world_close(&w);
	return 0;
}
