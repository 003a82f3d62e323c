/* SPDX-License-Identifier: Apache-2.0 */
/* Nic ports of several workers and generations at one NIC, stepped by hand. */
#include <criterion/criterion.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <string.h>

#include "common/nic_block.h"
#include "dataplane/net/net.h"
#include "tests/nic/world.h"
#include "tests/tcp/eal.h"

#define POOL 8192u
#define OLD  5u
#define NEW  6u

static struct world world;
static struct gen a, b;
static struct rte_mempool *rx_pool, *pool[4];

static void
start(void)
{
	test_eal_init();
	rx_pool = test_pool("rx", POOL, RTE_MBUF_DEFAULT_BUF_SIZE);
	for (unsigned i = 0; i < 4; i++) {
		char name[16];

		snprintf(name, sizeof(name), "own%u", i);
		pool[i] = test_pool(name, 1024, RTE_MBUF_DEFAULT_BUF_SIZE);
	}
	world_open(&world, 2, rx_pool);
	gen_open(&a, &world, 0, OLD, 2, pool);
	gen_hold(&a);
}

/* Each mbuf is back where it came from. */
static void
end(void)
{
	world_close(&world);
	if (rte_mempool_avail_count(rx_pool) != POOL)
		abort(); /* Criterion takes no notice of an assert in here */
	for (unsigned i = 0; i < 4; i++)
		if (rte_mempool_avail_count(pool[i]) != 1024)
			abort();
}

TestSuite(nic_port, .init = start, .fini = end, .timeout = 60);

static void
settle_all(void)
{
	struct gen *gens[2] = {&a, &b};

	settle(&world, gens, b.world != NULL ? 2 : 1);
	world_answer_arp(&world);
	settle(&world, gens, b.world != NULL ? 2 : 1);
}

static void
receive(uint32_t queue, struct frame f)
{
	cr_assert(world_receive(&world, queue, &f));
	settle_all();
}

static void
forward(uint8_t proto, uint16_t port, uint32_t id, uint32_t worker)
{
	__atomic_store_n(&world.nic->owner[proto][port], QP_NIC_OWNER(id, worker), __ATOMIC_RELAXED);
}

Test(nic_port, frame_arrives_with_the_marks_of_host_mode)
{
	const struct frame syn = tcp(WORLD_THEM, 5000, WORLD_US, 8080, TCP_SYN, 1);
	const uint8_t marks[12] = {0x02, 0x72, 0, 0, 1500 >> 8, 1500 & 0xff, 0x02, 0x71, 0, 0, 1, 0};

	forward(QP_NIC_TCP, 8080, OLD, 0);
	receive(0, syn);
	cr_assert_eq(a.worker[0].frames, 1u);
	cr_expect_arr_eq(a.worker[0].last.b, marks, sizeof(marks));
	cr_expect_eq(a.worker[0].last.len, syn.len);
	cr_expect_arr_eq(a.worker[0].last.b + 12, syn.b + 12, syn.len - 12);
	cr_expect_eq(a.worker[0].port->counters.rx_syns, 1u);
	gen_close(&a);
}

Test(nic_port, frame_of_another_worker_is_handed_to_it)
{
	forward(QP_NIC_TCP, 8080, OLD, 1);
	receive(0, tcp(WORLD_THEM, 5000, WORLD_US, 8080, TCP_SYN, 1));
	receive(1, tcp(WORLD_THEM, 5001, WORLD_US, 8080, TCP_SYN, 1));
	cr_expect_eq(a.worker[1].frames, 2u);
	cr_expect_eq(a.worker[0].frames, 0u);
	cr_expect_eq(counters(&a.worker[0])->handed_worker, 1u);
	cr_expect_eq(counters(&a.worker[1])->taken, 1u);
	cr_expect_eq(counters(&a.worker[1])->handed_worker, 0u);
	gen_close(&a);
}

Test(nic_port, quic_is_spread_and_known_ids_find_their_worker)
{
	uint8_t cid[8] = {0xaa};

	for (uint16_t i = 0; i < 40; i++) {
		cid[1] = (uint8_t)i;
		receive(i % 2, quic_initial(WORLD_THEM, (uint16_t)(2000 + i), WORLD_US, WORLD_QUIC, cid));
	}
	cr_expect_eq(a.worker[0].frames + a.worker[1].frames, 40u);
	cr_expect(a.worker[0].frames >= 18 && a.worker[0].frames <= 22, "%lu", a.worker[0].frames);
	cr_expect_eq(a.worker[0].port->counters.rx_unknown + a.worker[1].port->counters.rx_unknown, 40u);
	a.worker[0].frames = a.worker[1].frames = 0;
	cid_of(cid, OLD, 1);
	for (uint16_t i = 0; i < 40; i++)
		receive(i % 2, quic_short(WORLD_THEM, (uint16_t)(2000 + i), WORLD_US, WORLD_QUIC, cid));
	cr_expect_eq(a.worker[1].frames, 40u);
	cr_expect_eq(a.worker[1].port->counters.rx_unknown + a.worker[0].port->counters.rx_unknown, 40u,
		"known ones are no strangers");
	gen_close(&a);
}

Test(nic_port, answer_leaves_by_the_workers_own_queue_to_the_next_hop)
{
	const struct frame out = tcp(WORLD_US, 8080, WORLD_THEM, 5000, TCP_SYN | TCP_ACK, 1);
	struct frame f;
	unsigned found = 0;

	for (uint32_t i = 0; i < 2; i++) {
		worker_send(&a.worker[i], pool[i], &out);
		settle_all();
		while (world_sent(&world, 0, i, &f)) {
			if (f.b[12] != 8 || f.b[13] != 0)
				continue;
			found++;
			cr_expect_eq(f.b[5], 2, "the gateway's MAC");
			cr_expect_eq(f.b[11], 1, "our MAC");
			cr_expect_arr_eq(f.b + 12, out.b + 12, out.len - 12);
		}
	}
	/* The first one waited for the gateway's answer; nobody had to ask for the other. */
	cr_expect_eq(found, 1u);
	worker_send(&a.worker[1], pool[1], &out);
	cr_expect(world_sent(&world, 0, 1, &f));
	gen_close(&a);
}

/* As pieces of a super-segment in software do, in a device that was full. */
Test(nic_port, what_a_device_had_no_room_for_is_sent_without_more_to_send)
{
	const struct frame out = tcp(WORLD_US, 8080, WORLD_THEM, 5000, TCP_SYN | TCP_ACK, 1);
	struct frame f;

	worker_send(&a.worker[0], pool[0], &out); /* the gateway's address is known from now on */
	settle_all();
	while (world_sent(&world, 0, 0, &f))
		;
	world.tx[0].slow = true;
	worker_send(&a.worker[0], pool[0], &out);
	cr_assert_not(world_sent(&world, 0, 0, &f));
	(void)worker_turn(&a.worker[0]);
	cr_assert(world_sent(&world, 0, 0, &f));
	gen_close(&a);
}

Test(nic_port, conversation_that_the_worker_speaks_in_is_known)
{
	const struct frame out = tcp(WORLD_US, 8080, WORLD_THEM, 5000, TCP_SYN | TCP_ACK, 1);

	forward(QP_NIC_TCP, 8080, OLD, 1);
	receive(0, tcp(WORLD_THEM, 5000, WORLD_US, 8080, TCP_ACK, 1));
	cr_expect_eq(a.worker[1].port->counters.rx_unknown, 1u);
	worker_send(&a.worker[1], pool[1], &out);
	receive(0, tcp(WORLD_THEM, 5000, WORLD_US, 8080, TCP_ACK, 1));
	cr_expect_eq(a.worker[1].port->counters.rx_unknown, 1u);
	cr_expect_eq(a.worker[1].frames, 2u);
	settle_all();
	gen_close(&a);
}

Test(nic_port, flood_of_strangers_is_bounded_and_crowds_out_nobody)
{
	uint8_t cid[8];

	forward(QP_NIC_TCP, 8080, OLD, 0);
	cid_of(cid, OLD, 0);
	/* The worker looks at nobody but those it knows: as when strangers' share is used up. */
	for (unsigned i = 0; i < 1000; i++) {
		struct rte_mbuf *m[32];
		const struct frame syn = tcp(WORLD_THEM, (uint16_t)(1000 + i), WORLD_US, 8080, TCP_SYN, i);

		cr_assert(world_receive(&world, 0, &syn));
		cr_assert_eq(qp_port_rx(a.worker[0].port, m, 32), 0);
	}
	cr_expect_eq(counters(&a.worker[0])->drop_syn, 1000u - 512u);
	receive(0, quic_short(WORLD_THEM, 2000, WORLD_US, WORLD_QUIC, cid));
	cr_expect_eq(a.worker[0].frames, 1u + 512u);
	gen_close(&a);
}

Test(nic_port, blocked_sources_and_cut_frames_are_dropped_with_a_name)
{
	const struct qp_ipaddr them = ip(WORLD_THEM);
	struct in6_addr addr;

	memcpy(&addr, &them, sizeof(addr));
	forward(QP_NIC_TCP, 8080, OLD, 1);
	cr_assert_eq(qp_nic_block_add(&world.nic->blocked, &addr, 128), 0);
	receive(0, tcp(WORLD_THEM, 5000, WORLD_US, 8080, TCP_SYN, 1));
	cr_expect_eq(counters(&a.worker[0])->drop_blocked, 1u);
	cr_expect_eq(a.worker[1].frames, 0u);
	gen_close(&a);
}

Test(nic_port, fragments_meet_whichever_queue_they_come_by)
{
	struct frame first, last;

	forward(QP_NIC_UDP, 9000, OLD, 1);
	for (uint16_t id = 1; id <= 32; id++) {
		first = udp(WORLD_THEM, 5000, WORLD_US, 9000, "0123456789abcdef", 16);
		last = first;
		make_piece(&first, id, 0, 1);
		make_piece(&last, id, 24, 0);
		receive(id % 2, first);
		receive((id + 1) % 2, last);
	}
	cr_expect_eq(a.worker[1].frames, 64u);
	cr_expect_eq(a.worker[0].frames, 0u);
	cr_expect_gt(counters(&a.worker[0])->fragment_collected + counters(&a.worker[1])->fragment_collected, 0u);
	gen_close(&a);
}

/* A neighbour that one worker heard of is known to the workers of both generations. */
Test(nic_port, neighbours_are_learned_by_all_workers)
{
	const struct frame out = tcp(WORLD_US, 8080, WORLD_THEM, 5000, TCP_ACK, 1);
	struct frame f;

	gen_open(&b, &world, 1, NEW, 2, pool + 2);
	worker_send(&a.worker[0], pool[0], &out);
	settle_all();
	world_answer_arp(&world); /* frees what was held and sent */
	for (uint32_t i = 0; i < 2; i++) {
		worker_send(&b.worker[i], pool[2 + i], &out);
		cr_assert(world_sent(&world, 1, i, &f), "worker %u sends at once", i);
		cr_expect_eq(f.b[12] << 8 | f.b[13], 0x0800);
		cr_expect_eq(f.b[5], 2);
	}
	cr_expect_geq(counters(&a.worker[0])->learn_copies, 3u);
	gen_close(&b);
	gen_close(&a);
}

Test(nic_port, generations_change_and_each_keeps_its_own)
{
	uint8_t cid_a[8], cid_b[8];

	cid_of(cid_a, OLD, 1);
	cid_of(cid_b, NEW, 0);
	forward(QP_NIC_TCP, 8080, OLD, 0);
	receive(0, quic_short(WORLD_THEM, 1, WORLD_US, WORLD_QUIC, cid_a));
	cr_expect_eq(counters(&a.worker[0])->queues + counters(&a.worker[1])->queues, 2u);
	gen_open(&b, &world, 1, NEW, 2, pool + 2);
	gen_hold(&b);
	settle_all();
	cr_expect_eq(counters(&a.worker[0])->queues + counters(&a.worker[1])->queues, 0u);
	cr_expect_eq(counters(&b.worker[0])->queues + counters(&b.worker[1])->queues, 2u);
	a.worker[0].frames = a.worker[1].frames = 0;
	receive(0, quic_short(WORLD_THEM, 1, WORLD_US, WORLD_QUIC, cid_a));
	receive(1, quic_short(WORLD_THEM, 1, WORLD_US, WORLD_QUIC, cid_b));
	receive(1, tcp(WORLD_THEM, 5000, WORLD_US, 8080, TCP_SYN, 1));
	cr_expect_eq(a.worker[1].frames, 1u);
	cr_expect_eq(a.worker[0].frames, 1u);
	cr_expect_eq(b.worker[0].frames, 1u);
	cr_expect_eq(counters(&b.worker[0])->handed_generation + counters(&b.worker[1])->handed_generation, 2u);
	/* A new client is the new one's. */
	receive(0, quic_initial(WORLD_THEM, 99, WORLD_US, WORLD_QUIC, (const uint8_t *)"\xee" "1234567"));
	cr_expect_eq(b.worker[0].frames + b.worker[1].frames, 2u);
	gen_close(&a);
	gen_close(&b);
}

/* What the old one had taken from its queue comes before what the new one finds in it. */
Test(nic_port, order_is_kept_over_a_change_of_generations)
{
	uint8_t cid[8];
	struct rte_mbuf *m[32];
	unsigned got = 0;

	gen_open(&b, &world, 1, NEW, 2, pool + 2);
	cid_of(cid, NEW, 0);
	for (uint16_t i = 0; i < 200; i++) {
		const struct frame f = quic_short(WORLD_THEM, i, WORLD_US, WORLD_QUIC, cid);

		cr_assert(world_receive(&world, 0, &f));
	}
	/* The old one takes half of it. */
	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(qp_port_rx(a.worker[0].port, m, 32), 0);
	gen_hold(&b);
	cr_assert_eq(qp_port_rx(a.worker[0].port, m, 32), 0);
	for (unsigned turn = 0; turn < 400; turn++) {
		const uint16_t n = qp_port_rx(b.worker[0].port, m, 32);

		for (uint16_t i = 0; i < n; i++) {
			const uint8_t *p = rte_pktmbuf_mtod(m[i], const uint8_t *);

			cr_assert_eq((unsigned)(p[34] << 8 | p[35]), got, "frame %u", got);
			got++;
			rte_pktmbuf_free(m[i]);
		}
	}
	cr_expect_eq(got, 200u);
	gen_close(&a);
	gen_close(&b);
}

/* A generation is killed: the control plane takes its entries away, and another one goes on. */
Test(nic_port, dead_generation_leaves_its_queues_to_the_next)
{
	uint8_t cid[8];

	cid_of(cid, OLD, 1);
	settle_all();
	cr_expect_neq(world.nic->queue[0][0].polled_by, 0u);
	/* No more turns of `a`. */
	world.nic->gen[0].server_id = 0;
	gen_open(&b, &world, 1, NEW, 2, pool + 2);
	gen_hold(&b);
	world.nic->queue[0][0].polled_by = world.nic->queue[0][1].polled_by = 0;
	for (unsigned i = 0; i < 10; i++) {
		const struct frame f = quic_short(WORLD_THEM, 7, WORLD_US, WORLD_QUIC, cid);

		cr_assert(world_receive(&world, i % 2, &f));
	}
	for (unsigned i = 0; i < 100; i++) {
		(void)worker_turn(&b.worker[0]);
		(void)worker_turn(&b.worker[1]);
	}
	/* Whose connection is gone is answered by a stateless reset, which is the worker's matter. */
	cr_expect_eq(b.worker[0].frames + b.worker[1].frames, 10u);
	gen_close(&b);
	gen_close(&a);
}

Test(nic_port, worker_without_a_queue_is_refused_with_the_way_out)
{
	struct qp_nic_port_config cfg = a.worker[0].cfg;
	struct qp_errmsg msg;
	struct qp_port *p;

	cfg.worker = 2;
	cfg.nworkers = 3;
	cr_expect_eq(qp_nic_port_open(&cfg, &p, &msg), QP_E_INVAL);
	cr_expect_not_null(strstr(msg.text, "--workers 2"), "%s", msg.text);
	cfg.worker = 0;
	cfg.nworkers = 2;
	cfg.server_id = 77;
	cr_expect_eq(qp_nic_port_open(&cfg, &p, &msg), QP_E_PROTO);
	cr_expect_not_null(strstr(msg.text, "transmit slot"), "%s", msg.text);
	gen_close(&a);
}

/* What the engine makes of a frame that came by the first queue; false: nothing came out. */
static bool
passed_on(enum qp_nic_engine engine, struct frame *out)
{
	const struct frame syn = tcp(WORLD_THEM, 5000, WORLD_US, 8080, TCP_SYN, 1);

	forward(QP_NIC_TCP, 8080, OLD, 0);
	settle_all();
	while (world_sent(&world, 0, 0, out))
		;
	qp_nic_port_order(a.worker[0].port, engine, 0);
	cr_assert(world_receive(&world, 0, &syn));
	settle(&world, (struct gen *[]) {&a}, 1);
	cr_assert_eq(a.worker[0].frames, 0, "it is not carried");
	return world_sent(&world, 0, 0, out);
}

Test(nic_port, bare_engines_pass_frames_on_with_their_addresses)
{
	const struct frame syn = tcp(WORLD_THEM, 5000, WORLD_US, 8080, TCP_SYN, 1);
	const uint8_t to_port[6] = {2, 0, 0, 0, 0, 0};
	struct frame f;

	cr_assert(passed_on(QP_NIC_ENGINE_IO, &f));
	cr_assert_eq(f.len, syn.len);
	cr_assert_arr_eq(f.b, syn.b, 12, "as it came");
	cr_assert(passed_on(QP_NIC_ENGINE_MACSWAP, &f));
	cr_assert_arr_eq(f.b, syn.b + 6, 6);
	cr_assert_arr_eq(f.b + 6, syn.b, 6);
	cr_assert(passed_on(QP_NIC_ENGINE_MAC, &f));
	cr_assert_arr_eq(f.b, to_port, 6);
	cr_assert_arr_eq(f.b + 6, world.nic->port[0].mac, 6);
	cr_assert_arr_eq(f.b + 12, syn.b + 12, syn.len - 12, "what stands behind the addresses stays");
	cr_assert_not(passed_on(QP_NIC_ENGINE_RXONLY, &f));
	/* And back: the gateway's own again. */
	qp_nic_port_order(a.worker[0].port, QP_NIC_ENGINE_TUNNEL, 0);
	receive(0, syn);
	cr_assert_eq(a.worker[0].frames, 1);
	gen_close(&a);
}

Test(nic_port, stopped_port_neither_receives_nor_sends_and_goes_on_afterwards)
{
	const struct frame syn = tcp(WORLD_THEM, 5000, WORLD_US, 8080, TCP_SYN, 1);
	const struct frame out = tcp(WORLD_US, 8080, WORLD_THEM, 5000, TCP_SYN | TCP_ACK, 1);
	struct frame f;

	forward(QP_NIC_TCP, 8080, OLD, 0);
	worker_send(&a.worker[0], pool[0], &out); /* the gateway's address is known from now on */
	settle_all();
	qp_nic_port_order(a.worker[0].port, QP_NIC_ENGINE_TUNNEL, 1);
	while (world_sent(&world, 0, 0, &f))
		;
	receive(0, syn);
	cr_assert_eq(a.worker[0].frames, 0);
	worker_send(&a.worker[0], pool[0], &out);
	settle(&world, (struct gen *[]) {&a}, 1);
	cr_assert_not(world_sent(&world, 0, 0, &f));
	qp_nic_port_order(a.worker[0].port, QP_NIC_ENGINE_TUNNEL, 0);
	settle_all();
	cr_assert_eq(a.worker[0].frames, 1, "it waited in the device's queue");
	gen_close(&a);
}
