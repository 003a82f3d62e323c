/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What many lcores cost and bring, without a NIC: workers of a nic port, each fed from
 * prepared packets in memory, each packet decrypted and answered.
 *   bench_lcores scaling [SECONDS]   1 worker, 2 workers, in turns: packets a second, CPU time a packet
 *   bench_lcores handoff [SECONDS]   what handing a packet to the other lcore costs both of them,
 *                                    in turns that found work
 *   bench_lcores steer               what steering a packet costs, by what it is
 * CPU time is each thread's own, so that other programs on the machine show less.
 */
#include <pthread.h>
#include <rte_cycles.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <sched.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/nic_block.h"
#include "dataplane/ip.h"
#include "dataplane/nic/steer.h"
#include "dataplane/nic/strangers.h"
#include "dataplane/timer.h"
#include "tests/nic/world.h"
#include "tests/tcp/eal.h"

#define PAYLOAD 1400u
#define FLOWS   64u
#define UDP     9000u
#define ROUNDS  7u
#define BURST   32u

#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                    \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

/* A port whose queue is never empty: each receive copies prepared packets into mbufs. */
struct source {
	struct qp_port port;
	struct lcore *lcore;
};

struct lcore {
	pthread_t id;
	unsigned cpu, burst;
	struct worker worker;
	struct rte_mempool *pool;
	const struct frame *frames; /* FLOWS of them */
	unsigned next;
	uint64_t feed;              /* packets to receive yet */
	uint64_t packets;           /* that came to this worker */
	uint64_t cpu_ns, wall_ns;
	uint64_t busy;              /* TSC cycles of turns that found work, and no other program in them */
	bool paced;                 /* no more is received than the other one takes */
	crypto_aead_aes256gcm_state key;
	bool decrypts, answers;
	atomic_bool stop;
} __attribute__((aligned(128)));

static struct qp_nic *nic;
static struct lcore lcore[2];
static struct frame frames[2][FLOWS]; /* of each worker's */
static void *handoff;
static atomic_uint ready;
static atomic_bool go;

static uint64_t
clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t
zero(void *ctx)
{
	(void)ctx;
	return 42;
}

/* How much of what we have handed to the other one waits there. */
static uint32_t
ring_has(const struct lcore *l)
{
	const uint32_t me = (uint32_t)(l - lcore);
	const struct qp_handoff_ring *r = qp_handoff_ring((uint64_t)(uintptr_t)handoff, 2, 0, me, 1 - me);

	return __atomic_load_n(&r->tail, __ATOMIC_RELAXED) - __atomic_load_n(&r->head, __ATOMIC_RELAXED);
}

static uint16_t
source_rx(struct qp_port *p, uint16_t rx_queue, struct rte_mbuf **m, uint16_t n)
{
	struct lcore *l = ((struct source *)p)->lcore;

	if (l->paced && l->feed == 0 && ring_has(l) < QP_NIC_HANDOFF / 4)
		l->feed = QP_NIC_HANDOFF / 2;
	n = (uint16_t)RTE_MIN(n, l->burst);
	n = (uint16_t)RTE_MIN((uint64_t)n, l->feed);
	if (n == 0 || rte_pktmbuf_alloc_bulk(l->pool, m, n) != 0)
		return 0;
	l->feed -= n;
	for (uint16_t i = 0; i < n; i++) {
		const struct frame *f = &l->frames[l->next++ % FLOWS];

		memcpy(rte_pktmbuf_append(m[i], (uint16_t)f->len), f->b, f->len);
		m[i]->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	}
	return n;
}

static uint16_t
source_tx(struct qp_port *p, struct rte_mbuf **m, uint16_t n)
{
	rte_pktmbuf_free_bulk(m, n);
	return n;
}

static void
source_close(struct qp_port *p)
{
	free(p);
}

static const struct qp_port_ops source_ops = {.tx = source_tx, .close = source_close};

static int
source_open(void *ctx, const struct qp_eth_port_config *cfg, struct qp_port **out, struct qp_errmsg *msg)
{
	struct source *s = aligned_alloc(128, RTE_ALIGN_CEIL(sizeof(*s), 128));

	(void)cfg, (void)msg;
	CHECK(s != NULL);
	*s = (struct source) {.port = {.ops = &source_ops, .mtu = 1500, .max_frame_bytes = 65535,
		.wake_fd = {-1, -1, -1, -1}}, .lcore = ctx};
	*out = &s->port;
	return 0;
}

/* As QUIC does with a packet: its headers, its text; and an acknowledgment now and then. */
static void
serve(struct lcore *l, struct rte_mbuf *m)
{
	static const uint8_t nonce[crypto_aead_aes256gcm_NPUBBYTES];
	struct qp_packet pkt;
	uint8_t *text;

	CHECK(qp_ip_parse(m, &pkt) == QP_IP_OK);
	l->packets++;
	if (l->decrypts) {
		text = rte_pktmbuf_mtod_offset(m, uint8_t *, pkt.l4_off + 8 + 9);
		/* In place, and back again: the prepared packets are the same text. */
		crypto_aead_aes256gcm_encrypt_afternm(text, NULL, text,
			PAYLOAD - 9 - crypto_aead_aes256gcm_ABYTES, NULL, 0, NULL, nonce, &l->key);
	}
	if (!l->answers) {
		rte_pktmbuf_free(m);
		return;
	}
	m->l2_len = 14;
	m->l3_len = 20;
	m->ol_flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_UDP_CKSUM;
	/* Back to who sent it. */
	memcpy(rte_pktmbuf_mtod(m, void *), rte_pktmbuf_mtod_offset(m, void *, 6), 6);
	memcpy(rte_pktmbuf_mtod_offset(m, void *, 26), &pkt.flow.local.w[3], 4);
	memcpy(rte_pktmbuf_mtod_offset(m, void *, 30), &pkt.flow.remote.w[3], 4);
	CHECK(qp_port_tx(l->worker.port, &m, 1) == 1);
}

/* Longer than any turn, shorter than what another program has of the CPU. */
#define PREEMPTED_US 200u

static void
turn(struct lcore *l)
{
	const struct qp_nic_port_counters *c = qp_nic_port_counters(l->worker.port);
	const uint64_t handed = c->handed_worker, start = rte_rdtsc();
	struct rte_mbuf *m[BURST];
	const uint16_t n = qp_port_rx(l->worker.port, m, BURST);
	uint64_t took;

	l->worker.now_ns += 1000;
	for (uint16_t i = 0; i < n; i++)
		serve(l, m[i]);
	(void)qp_wheel_advance(l->worker.wheel, l->worker.now_ns);
	took = rte_rdtsc() - start;
	if ((n > 0 || c->handed_worker != handed) && took < rte_get_tsc_hz() / 1000000 * PREEMPTED_US)
		l->busy += took;
}

static void *
run(void *arg)
{
	struct lcore *l = arg;
	cpu_set_t set;
	uint64_t cpu, wall;

	CPU_ZERO(&set);
	CPU_SET(l->cpu, &set);
	(void)pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	atomic_fetch_add(&ready, 1);
	while (!atomic_load(&go))
		;
	cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	wall = clock_ns(CLOCK_MONOTONIC);
	while (!atomic_load_explicit(&l->stop, memory_order_relaxed))
		turn(l);
	l->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
	l->wall_ns = clock_ns(CLOCK_MONOTONIC) - wall;
	return NULL;
}

static void
open_lcore(unsigned i, uint32_t workers)
{
	struct lcore *l = &lcore[i];
	struct qp_errmsg msg;
	struct qp_nic_port_config cfg = {.nic = nic, .server_id = 5, .worker = i, .nworkers = workers,
		.handoff = (uint64_t)(uintptr_t)handoff, .now_ns = &l->worker.now_ns, .pool = l->pool,
		.random = zero, .open = source_open, .open_ctx = l, .receive = source_rx};

	l->cpu = i;
	l->worker.now_ns = 1000000000;
	l->worker.wheel = qp_wheel_new(l->worker.now_ns);
	cfg.wheel = l->worker.wheel;
	CHECK(qp_nic_port_open(&cfg, &l->worker.port, &msg) == 0);
}

static void
prepare(uint32_t workers)
{
	const struct qp_ipaddr us = ip(WORLD_US), via = ip(WORLD_GATEWAY), all = ip("0.0.0.0");

	memset(nic, 0, sizeof(*nic));
	nic->nports = 1;
	nic->nqueues = workers;
	nic->port[0] = (struct qp_nic_port) {.name = "memory", .nrx = (uint16_t)workers,
		.ntx = (uint16_t)workers, .nslots = 1, .mtu = 1500, .mac = {2, 0, 0, 0, 0, 1}};
	nic->net.naddrs = nic->net.nroutes = nic->net.nlinks = 1;
	nic->net.link[0].mtu = 1500;
	memcpy(&nic->net.addr[0].addr, &us, sizeof(us));
	nic->net.addr[0].prefix = 96 + 24;
	memcpy(&nic->net.route[0].dest, &all, sizeof(all));
	memcpy(&nic->net.route[0].via, &via, sizeof(via));
	nic->net.route[0].prefix = 96;
	nic->net.seq = 2;
	nic->quic_port = WORLD_QUIC;
	qp_handoff_init(handoff, 2);
	nic->gen[0] = (struct qp_nic_gen) {.nworkers = workers,
		.handoff = (uint64_t)(uintptr_t)handoff, .handoff_bytes = sizeof(struct qp_handoff_ring),
		.server_id = 5};
	nic->holder = 5;
	for (unsigned i = 0; i < workers; i++)
		open_lcore(i, workers);
}

static void
finish(uint32_t workers)
{
	for (unsigned i = 0; i < workers; i++) {
		qp_port_close(lcore[i].worker.port);
		qp_wheel_free(lcore[i].worker.wheel);
	}
}

struct result {
	uint64_t packets, cpu_ns, wall_ns, busy;
};

/* `from`: whose packets each worker receives: its own, or the other's. */
static void
measure(uint32_t workers, double seconds, bool others, struct result out[2])
{
	prepare(workers);
	ready = 0;
	go = false;
	for (unsigned i = 0; i < workers; i++) {
		struct lcore *l = &lcore[i];

		l->frames = frames[others ? 1 - i : i];
		l->packets = l->busy = 0;
		l->paced = others;
		l->feed = others ? 0 : UINT64_MAX;
		l->stop = false;
		CHECK(pthread_create(&l->id, NULL, run, l) == 0);
	}
	while (ready < workers)
		sched_yield();
	go = true;
	nanosleep(&(struct timespec) {.tv_sec = (time_t)seconds,
		.tv_nsec = (long)((seconds - (time_t)seconds) * 1e9)}, NULL);
	for (unsigned i = 0; i < workers; i++)
		lcore[i].stop = true;
	for (unsigned i = 0; i < workers; i++) {
		pthread_join(lcore[i].id, NULL);
		out[i] = (struct result) {lcore[i].packets, lcore[i].cpu_ns, lcore[i].wall_ns, lcore[i].busy};
	}
	finish(workers);
}

static int
compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), compare);
	return v[n / 2];
}

static void
configure(bool decrypts, bool answers, unsigned burst)
{
	for (unsigned i = 0; i < 2; i++) {
		lcore[i].decrypts = decrypts;
		lcore[i].answers = answers;
		lcore[i].burst = burst;
	}
}

static double
cpu_a_packet(const struct result *r)
{
	return (double)r->cpu_ns / (double)r->packets;
}

/* In turns, so that what else the machine does is in both. */
static void
scaling(double seconds)
{
	double one[ROUNDS], two[ROUNDS], wall[ROUNDS], cpu[ROUNDS];
	struct result r[2], s[2];

	configure(true, true, BURST);
	for (unsigned i = 0; i < ROUNDS; i++) {
		measure(1, seconds, false, r);
		measure(2, seconds, false, s);
		one[i] = (double)r[0].packets * 1e9 / (double)r[0].wall_ns;
		two[i] = (double)s[0].packets * 1e9 / (double)s[0].wall_ns +
			 (double)s[1].packets * 1e9 / (double)s[1].wall_ns;
		wall[i] = two[i] / one[i];
		cpu[i] = cpu_a_packet(&r[0]) / cpu_a_packet(&s[0]) + cpu_a_packet(&r[0]) / cpu_a_packet(&s[1]);
		printf("  1 lcore %.0f packets/s (%.0f ns of CPU each), 2 lcores %.0f (%.0f, %.0f ns): "
		       "%.2f by the clock, %.2f by CPU time\n",
			one[i], cpu_a_packet(&r[0]), two[i], cpu_a_packet(&s[0]), cpu_a_packet(&s[1]), wall[i], cpu[i]);
	}
	printf("second lcore: %.2f times by the clock, %.2f times by CPU time (medians of %u)\n",
		median(wall, ROUNDS), median(cpu, ROUNDS), ROUNDS);
}

/* Of both lcores, ns. */
static double
busy_a_packet(const struct result r[2])
{
	return (double)(r[0].busy + r[1].busy) * 1e9 / (double)rte_get_tsc_hz() /
	       (double)(r[0].packets + r[1].packets);
}

/* All packets that a worker receives are the other's. */
static void
handing(double seconds, unsigned burst)
{
	double own[ROUNDS], other[ROUNDS], more[ROUNDS];
	struct result r[2];

	for (unsigned i = 0; i < ROUNDS; i++) {
		configure(false, false, burst);
		measure(2, seconds, false, r);
		own[i] = busy_a_packet(r);
		measure(2, seconds, true, r);
		other[i] = busy_a_packet(r);
		more[i] = other[i] - own[i];
	}
	printf("burst %2u: own %.1f ns a packet, handed over %.1f ns, difference %.1f ns (medians of %u)\n",
		burst, median(own, ROUNDS), median(other, ROUNDS), median(more, ROUNDS), ROUNDS);
}

static void
time_steer(const char *name, struct qp_steer *s, struct qp_strangers *known, const struct frame *f)
{
	const unsigned n = 2000000;
	uint64_t start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	struct qp_steer_flow flow;
	unsigned sum = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct qp_steer_to to = qp_steer_frame(s, f->b, f->len, false, 1000000000, &flow);

		sum += to.worker + qp_strangers_queue(known, &flow, false, f->b, f->len, 1000000000);
	}
	printf("%-28s %5.1f ns\n", name, (double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - start) / n);
	CHECK(sum != 1);
}

static void
steering(void)
{
	struct qp_strangers *known = qp_strangers_new(7);
	struct frame f;
	struct qp_steer s;
	uint8_t cid[8];

	prepare(2);
	finish(2);
	CHECK(known != NULL && qp_steer_init(&s, nic, 5, 0, 2, 7) == 0);
	qp_steer_turn(&s);
	time_steer("QUIC, known", &s, known, &frames[0][0]);
	nic->owner[QP_NIC_TCP][8080] = QP_NIC_OWNER(5, 1);
	f = tcp(WORLD_THEM, 5000, WORLD_US, 8080, TCP_ACK, 1);
	time_steer("TCP, forwarded port", &s, known, &f);
	cid_of(cid, 77, 0);
	f = quic_initial(WORLD_THEM, 5000, WORLD_US, WORLD_QUIC, cid);
	time_steer("QUIC, again of a new client", &s, known, &f);
	for (uint32_t i = 0; i < QP_NIC_MAX_BLOCKED; i++) {
		struct in6_addr a = {.s6_addr = {[10] = 0xff, [11] = 0xff, [12] = 10}};
		const uint32_t be = __builtin_bswap32(0x0a000000u + i * 16);

		memcpy(&a.s6_addr[12], &be, 4);
		CHECK(qp_nic_block_add(&nic->blocked, &a, 96 + 28 + i % 4) == 0);
	}
	time_steer("QUIC, 65,536 networks blocked", &s, known, &frames[0][0]);
	qp_steer_fini(&s);
	qp_strangers_free(known);
}

int
main(int argc, char **argv)
{
	const double seconds = argc > 2 ? atof(argv[2]) : 0.5;
	uint8_t payload[PAYLOAD] = {0x40};

	if (argc < 2)
		return 2;
	test_eal_init();
	CHECK(sodium_init() >= 0 && crypto_aead_aes256gcm_is_available());
	nic = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*nic), 64));
	handoff = aligned_alloc(64, qp_handoff_bytes(2));
	CHECK(nic != NULL && handoff != NULL);
	for (unsigned i = 0; i < 2; i++) {
		char name[16];

		snprintf(name, sizeof(name), "lcore%u", i);
		lcore[i].pool = rte_pktmbuf_pool_create_by_ops(name, 8191, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE,
			SOCKET_ID_ANY, "ring_mp_mc");
		CHECK(lcore[i].pool != NULL);
		memset(payload + 9, (int)i, sizeof(payload) - 9);
		crypto_aead_aes256gcm_beforenm(&lcore[i].key, payload);
		cid_of(payload + 1, 5, (uint8_t)i);
		for (unsigned k = 0; k < FLOWS; k++)
			frames[i][k] = udp(WORLD_THEM, (uint16_t)(1000 + k), WORLD_US, WORLD_QUIC, payload, PAYLOAD);
	}
	if (strcmp(argv[1], "scaling") == 0)
		scaling(seconds);
	else if (strcmp(argv[1], "handoff") == 0) {
		handing(seconds, 1);
		handing(seconds, BURST);
	} else
		steering();
	return 0;
}
