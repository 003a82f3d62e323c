/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nic ports with a thread for each worker: frames of all kinds at all queues, while
 * generations take the queues over from each other. Each frame comes to its owner, in
 * its flow's order, once; or a counter says why not. Built with the thread sanitizer
 * where the build has no other; its own mempool handler shows it how mbufs pass between
 * threads, which DPDK's, in libraries without instrumentation, would not.
 * Usage: test_nic_threads WORKERS [FRAMES]
 */
#include <pthread.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/net/net.h"
#include "dataplane/timer.h"
#include "tests/nic/world.h"
#include "tests/tcp/eal.h"

#define MBUFS  16383u
#define OWN    1023u
#define FLOWS  64u
#define UDP    9000u /* + flow: forwarded */
#define TCP    8000u
#define ROUNDS 4u
#define EMPTY  1000u /* turns, after which a worker has nothing left of what was there before */

#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                    \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

/* A mempool handler that a sanitizer understands. */
struct stack {
	pthread_mutex_t lock;
	unsigned n;
	void *object[];
};

static int
stack_alloc(struct rte_mempool *mp)
{
	struct stack *s = calloc(1, sizeof(*s) + mp->size * sizeof(void *));

	if (s == NULL)
		return -1;
	pthread_mutex_init(&s->lock, NULL);
	mp->pool_data = s;
	return 0;
}

static void
stack_free(struct rte_mempool *mp)
{
	free(mp->pool_data);
}

static int
stack_put(struct rte_mempool *mp, void *const *objects, unsigned n)
{
	struct stack *s = mp->pool_data;

	pthread_mutex_lock(&s->lock);
	memcpy(s->object + s->n, objects, n * sizeof(*objects));
	s->n += n;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static int
stack_get(struct rte_mempool *mp, void **objects, unsigned n)
{
	struct stack *s = mp->pool_data;
	int rc = -1;

	pthread_mutex_lock(&s->lock);
	if (s->n >= n) {
		s->n -= n;
		memcpy(objects, s->object + s->n, n * sizeof(*objects));
		rc = 0;
	}
	pthread_mutex_unlock(&s->lock);
	return rc;
}

static unsigned
stack_count(const struct rte_mempool *mp)
{
	struct stack *s = mp->pool_data;
	unsigned n;

	pthread_mutex_lock(&s->lock);
	n = s->n;
	pthread_mutex_unlock(&s->lock);
	return n;
}

static const struct rte_mempool_ops stack_ops = {.name = "test_stack", .alloc = stack_alloc,
	.free = stack_free, .enqueue = stack_put, .dequeue = stack_get, .get_count = stack_count};

static struct rte_mempool *
make_pool(const char *name, unsigned n)
{
	struct rte_mempool *p = rte_pktmbuf_pool_create_by_ops(
		name, n, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY, "test_stack");

	CHECK(p != NULL);
	return p;
}

/* What a frame says of itself, in a UDP payload behind the connection id. */
struct note {
	uint32_t server_id; /* 0: any worker's */
	uint32_t worker;
	uint32_t flow;
	uint32_t seq;
} __attribute__((packed));

struct thread {
	pthread_t id;
	struct worker *worker;
	struct rte_mempool *pool;
	atomic_bool stop;
	_Atomic uint64_t turns;
	uint32_t seen[FLOWS];     /* of the flows that come here: the last number */
	uint64_t wrong, disorder;
};

static struct world world;
static struct gen gen[2];
static struct thread thread[2][WORLD_QUEUES];
static struct rte_mempool *rx_pool;
static uint32_t nworkers;
static uint64_t injected, got, dropped, wrong, disorder, seed = 1;
static uint32_t sent[2][FLOWS];

static uint32_t
pick(uint32_t n)
{
	uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)((z ^ (z >> 31)) % n);
}

static void
check_frame(struct worker *w, struct rte_mbuf *m)
{
	const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);
	struct thread *t = w->user;
	struct note note;

	if (p[23] == 17 && m->data_len >= 42 + 9 + sizeof(note) && (p[20] & 0x3f) == 0 && p[21] == 0) {
		memcpy(&note, p + 42 + 9, sizeof(note));
		if (note.server_id != 0) {
			t->wrong += note.server_id != w->gen->id || note.worker != w->index;
			t->disorder += note.seq <= t->seen[note.flow];
			t->seen[note.flow] = note.seq;
		}
	}
	rte_pktmbuf_free(m);
}

static void *
run(void *arg)
{
	struct thread *t = arg;

	while (!atomic_load(&t->stop)) {
		t->worker->now_ns += 10000;
		if (worker_turn(t->worker) == 0) {
			/* As an idle worker does. */
			if (t->worker->port->ops->nap_begin(t->worker->port))
				sched_yield();
			t->worker->port->ops->nap_end(t->worker->port);
		}
		qp_nic_port_set_load(t->worker->port, (uint32_t)t->worker->frames);
		atomic_fetch_add(&t->turns, 1);
	}
	return NULL;
}

static void
start(unsigned g, uint32_t id)
{
	struct rte_mempool *pool[WORLD_QUEUES];

	for (uint32_t i = 0; i < nworkers; i++)
		pool[i] = thread[g][i].pool;
	gen_open(&gen[g], &world, g, id, nworkers, pool);
	for (uint32_t i = 0; i < nworkers; i++) {
		struct thread *t = &thread[g][i];

		*t = (struct thread) {.worker = &gen[g].worker[i], .pool = t->pool};
		t->worker->user = t;
		t->worker->got = check_frame;
		CHECK(pthread_create(&t->id, NULL, run, t) == 0);
	}
	memset(sent[g], 0, sizeof(sent[g]));
}

/* So many turns of each worker of a generation. */
static void
wait_turns(unsigned g, uint64_t n)
{
	for (uint32_t i = 0; i < nworkers; i++) {
		const uint64_t until = atomic_load(&thread[g][i].turns) + n;

		while (atomic_load(&thread[g][i].turns) < until)
			sched_yield();
	}
}

static uint64_t
drops(const struct worker *w)
{
	const struct qp_nic_port_counters *c = counters(w);
	const struct qp_net_counters *n = qp_nic_port_net_counters(w->port);

	CHECK(n->drop_header + n->drop_not_local + n->drop_spoofed + n->drop_mac + n->drop_options == 0);
	return c->drop_not_ip + c->drop_blocked + c->drop_no_worker + c->drop_not_bound +
	       c->drop_fragment + c->drop_handoff_full + c->drop_syn + c->drop_again + c->drop_unknown;
}

/* Nothing more is sent to it. The others have begun a turn since its entry was taken away. */
static void
finish(unsigned g, bool others)
{
	/* What waits at the NIC is received, and then what was handed over is taken. */
	if (others)
		wait_turns(1 - g, EMPTY);
	wait_turns(g, EMPTY);
	__atomic_store_n(&world.nic->gen[g].server_id, 0, __ATOMIC_RELEASE);
	if (others)
		wait_turns(1 - g, 2);
	for (uint32_t i = 0; i < nworkers; i++) {
		struct thread *t = &thread[g][i];

		atomic_store(&t->stop, true);
		pthread_join(t->id, NULL);
		got += t->worker->frames;
		dropped += drops(t->worker);
		wrong += t->wrong;
		disorder += t->disorder;
	}
	gen_close(&gen[g]);
}

static void
inject(uint32_t queue, const struct frame *f)
{
	/* The NIC waits for its driver, and the driver for the workers. */
	while (rte_mempool_avail_count(rx_pool) < MBUFS / 4)
		sched_yield();
	while (!world_receive(&world, queue, f))
		sched_yield();
	injected++;
}

/* Always by the same queue, as RSS does. */
static void
known_quic(unsigned g)
{
	const uint32_t flow = pick(FLOWS);
	struct note note = {gen[g].id, flow % nworkers, flow, ++sent[g][flow]};
	uint8_t p[9 + sizeof(note)] = {0x40};
	struct frame f;

	cid_of(p + 1, note.server_id, (uint8_t)note.worker);
	memcpy(p + 9, &note, sizeof(note));
	f = udp(WORLD_THEM, (uint16_t)(1000 + flow), WORLD_US, WORLD_QUIC, p, sizeof(p));
	inject(flow / 3 % nworkers, &f);
}

static void
forwarded_udp(void)
{
	const uint32_t flow = pick(FLOWS);
	struct note note = {0};
	uint8_t p[9 + sizeof(note)] = {0};
	struct frame f;

	memcpy(p + 9, &note, sizeof(note));
	f = udp(WORLD_THEM, (uint16_t)(1000 + flow), WORLD_US, (uint16_t)(UDP + flow), p, sizeof(p));
	inject(pick(nworkers), &f);
}

static void
stranger(void)
{
	uint8_t cid[8] = {0xff, (uint8_t)pick(256), (uint8_t)pick(256)};
	struct frame f = tcp(WORLD_THEM, (uint16_t)pick(65536), WORLD_US, (uint16_t)(TCP + pick(FLOWS)),
		TCP_SYN, pick(1000));

	if (pick(4) == 0)
		f = quic_initial(WORLD_THEM, (uint16_t)pick(65536), WORLD_US, WORLD_QUIC, cid);
	inject(pick(nworkers), &f);
}

static void
pieces(void)
{
	static uint16_t id;
	struct frame f = udp(WORLD_THEM, 5000, WORLD_US, (uint16_t)(UDP + pick(FLOWS)), "0123456789abcdef", 16);

	make_piece(&f, ++id, 0, 1);
	inject(pick(nworkers), &f);
	make_piece(&f, id, 24, 0);
	inject(pick(nworkers), &f);
}

/* Somebody asks who we are: all workers of all generations learn who it is. */
static void
arp(void)
{
	struct frame f = {.len = 60};
	const uint8_t head[] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1, (uint8_t)pick(100), 8, 6, 0, 1, 8, 0, 6, 4, 0, 1};
	const struct qp_ipaddr us = ip(WORLD_US);

	memcpy(f.b, head, sizeof(head));
	memcpy(f.b + 22, f.b + 6, 6);
	memcpy(f.b + 28, &us.w[3], 4);
	f.b[31] = (uint8_t)(100 + f.b[11]);
	memcpy(f.b + 38, &us.w[3], 4);
	inject(pick(nworkers), &f);
	injected--; /* the host's own matter */
}

static void
traffic(unsigned frames, unsigned g, bool both)
{
	for (unsigned i = 0; i < frames; i++) {
		const uint32_t kind = pick(64);

		if (kind < 32)
			known_quic(both && pick(2) ? 1 - g : g);
		else if (kind < 48)
			forwarded_udp();
		else if (kind < 60)
			stranger();
		else if (kind < 63)
			pieces();
		else
			arp();
		if (i % 1024 == 0)
			world_answer_arp(&world);
	}
}

static void
own_ports(uint32_t id)
{
	for (uint32_t i = 0; i < FLOWS; i++) {
		__atomic_store_n(&world.nic->owner[QP_NIC_UDP][UDP + i], QP_NIC_OWNER(id, i % nworkers), __ATOMIC_RELAXED);
		__atomic_store_n(&world.nic->owner[QP_NIC_TCP][TCP + i], QP_NIC_OWNER(id, (i + 1) % nworkers),
			__ATOMIC_RELAXED);
	}
}

static void
prepare(void)
{
	char name[16];

	CHECK(rte_mempool_register_ops(&stack_ops) >= 0);
	test_eal_init();
	rx_pool = make_pool("rx", MBUFS);
	for (unsigned g = 0; g < 2; g++) {
		for (uint32_t i = 0; i < nworkers; i++) {
			snprintf(name, sizeof(name), "own%u_%u", g, i);
			thread[g][i].pool = make_pool(name, OWN);
		}
	}
	world_open(&world, nworkers, rx_pool);
}

int
main(int argc, char **argv)
{
	const unsigned frames = argc > 2 ? (unsigned)atoi(argv[2]) : 3000;
	unsigned now = 0;

	nworkers = argc > 1 ? (uint32_t)atoi(argv[1]) : 2;
	CHECK(nworkers >= 1 && nworkers <= WORLD_QUEUES);
	prepare();
	start(0, 100);
	own_ports(100);
	gen_hold(&gen[0]);
	for (unsigned round = 0; round < ROUNDS; round++) {
		traffic(frames, now, false);
		/* A successor: for a while both serve what is theirs. */
		start(1 - now, 101 + round);
		gen_hold(&gen[1 - now]);
		traffic(frames, 1 - now, true);
		own_ports(101 + round);
		traffic(frames / 4, 1 - now, false);
		finish(now, true);
		now = 1 - now;
	}
	wait_turns(now, EMPTY);
	__atomic_store_n(&world.nic->holder, 0, __ATOMIC_RELEASE);
	finish(now, false);
	world_close(&world);
	printf("%u workers: %lu frames, %lu came, %lu dropped and counted\n", nworkers, injected, got, dropped);
	CHECK(wrong == 0);
	CHECK(disorder == 0);
	CHECK(got > injected / 2);
	CHECK(got + dropped == injected);
	CHECK(rte_mempool_avail_count(rx_pool) == MBUFS);
	rte_mempool_free(rx_pool);
	for (unsigned g = 0; g < 2; g++)
		for (uint32_t i = 0; i < nworkers; i++)
			rte_mempool_free(thread[g][i].pool);
	return 0;
}
