/* SPDX-License-Identifier: Apache-2.0 */
/* Whose a frame is: as the classifier decides it, and to the least loaded where it may choose. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/nic_block.h"
#include "dataplane/nic/handoff.h"
#include "dataplane/nic/steer.h"
#include "dataplane/nic/strangers.h"
#include "tests/nic/packets.h"

#define QUIC    4433u
#define API     7000u
#define PORT    8080u /* forwarded: TCP of worker 3, UDP of worker 2 of generation 7 */
#define OLD     7u
#define NEW     9u
#define WORKERS 4u
#define US      "192.0.2.1"
#define US6     "2001:db8::1"
#define THEM    "198.51.100.7"
#define MS      1000000ull

static struct qp_nic *nic;
static struct qp_steer steer;
static void *doors;

static void
generation(uint32_t i, uint32_t id)
{
	nic->gen[i].slot = i;
	nic->gen[i].nworkers = WORKERS;
	nic->gen[i].server_id = id;
}

static void
start(void)
{
	nic = calloc(1, sizeof(*nic));
	doors = aligned_alloc(64, qp_handoff_bytes(WORKERS));
	cr_assert(nic != NULL && doors != NULL);
	qp_handoff_init(doors, WORKERS);
	generation(0, OLD);
	generation(2, NEW);
	nic->gen[2].handoff = (uint64_t)(uintptr_t)doors;
	nic->gen[2].handoff_bytes = sizeof(struct qp_handoff_ring);
	nic->holder = NEW;
	nic->quic_port = QUIC;
	nic->public_port = API;
	nic->owner[QP_NIC_TCP][PORT] = QP_NIC_OWNER(OLD, 3);
	nic->owner[QP_NIC_UDP][PORT] = QP_NIC_OWNER(OLD, 2);
	/* We are worker 1 of the new one. */
	cr_assert_eq(qp_steer_init(&steer, nic, NEW, 1, WORKERS, 42), 0);
	qp_steer_turn(&steer);
}

static void
end(void)
{
	qp_steer_fini(&steer);
	free(nic);
	free(doors);
}

TestSuite(nic_steer, .init = start, .fini = end, .timeout = 60);

static struct qp_steer_to
at(const struct frame *f, uint64_t now_ns)
{
	struct qp_steer_flow flow;

	return qp_steer_frame(&steer, f->b, f->len, false, now_ns, &flow);
}

static struct qp_steer_to
of(struct frame f)
{
	return at(&f, 0);
}

#define expect_to(to, g, w, y)                                                                     \
	do {                                                                                       \
		const struct qp_steer_to to_ = (to);                                               \
		cr_expect_eq(to_.why, y, "why %d", to_.why);                                       \
		cr_expect_eq(to_.gen, (uint32_t)(g), "generation at %u", to_.gen);                 \
		cr_expect_eq(to_.worker, (uint32_t)(w), "worker %u", to_.worker);                  \
	} while (0)
#define expect_drop(to, y) cr_expect_eq((to).why, y)

Test(nic_steer, quic_goes_where_its_connection_id_says)
{
	uint8_t cid[8];

	cid_of(cid, OLD, 2);
	expect_to(of(quic_short(THEM, 5000, US, QUIC, cid)), 0, 2, QP_STEER_QUIC_KNOWN);
	expect_to(of(quic_initial("2001:db8:1::9", 5000, US6, QUIC, cid)), 0, 2, QP_STEER_QUIC_KNOWN);
	cid_of(cid, NEW, 3);
	expect_to(of(quic_short(THEM, 5000, US, QUIC, cid)), 2, 3, QP_STEER_QUIC_KNOWN);
}

Test(nic_steer, quic_of_a_worker_that_is_no_more_is_a_new_clients)
{
	uint8_t cid[8];
	struct qp_steer_to to;

	cid_of(cid, OLD, WORKERS);
	to = of(quic_short(THEM, 5000, US, QUIC, cid));
	cr_expect(to.gen == 2 && to.why == QP_STEER_QUIC_NEW);
	nic->gen[0].server_id = 0;
	qp_steer_turn(&steer);
	cid_of(cid, OLD, 2);
	to = of(quic_short(THEM, 5000, US, QUIC, cid));
	cr_expect(to.gen == 2 && to.why == QP_STEER_QUIC_NEW);
}

static struct frame
new_client(unsigned n)
{
	uint8_t cid[8] = {0xff, 1, 2, 3, 4, 5, 6, 7};

	memcpy(cid + 1, &n, sizeof(n));
	return quic_initial(THEM, (uint16_t)(10000 + n), US, QUIC, cid);
}

Test(nic_steer, new_clients_are_spread_evenly_and_what_they_repeat_follows)
{
	unsigned each[WORKERS] = {0}, first[64];

	for (unsigned i = 0; i < 64; i++) {
		const struct qp_steer_to to = of(new_client(i));

		cr_assert(to.gen == 2 && to.why == QP_STEER_QUIC_NEW && to.worker < WORKERS);
		each[first[i] = to.worker]++;
	}
	for (unsigned w = 0; w < WORKERS; w++)
		cr_expect(each[w] >= 15 && each[w] <= 18, "worker %u has %u of 64", w, each[w]);
	for (unsigned i = 0; i < 64; i++)
		cr_expect_eq(of(new_client(i)).worker, first[i], "client %u again", i);
	/* Whatever comes from there that no id of ours is in: Initial's successors, 0-RTT. */
	cr_expect_eq(of(udp(THEM, 10003, US, QUIC, "\xd0\0\0\0\1\x05""abcdefghijklmnop", 22)).worker,
		first[3]);
}

Test(nic_steer, new_clients_go_to_the_least_loaded_worker)
{
	bool stays = false;

	for (unsigned w = 0; w < WORKERS; w++)
		qp_handoff_door((uint64_t)(uintptr_t)doors, WORKERS, w)->load = w == 2 ? 100 : 200;
	for (unsigned i = 0; i < 75; i++)
		cr_assert_eq(of(new_client(i)).worker, 2u, "client %u", i);
	/* Soon it has hardly fewer than ours, where they come. */
	for (unsigned i = 100; i < 110 && !stays; i++)
		stays = of(new_client(i)).worker == 1;
	cr_expect(stays);
	/* Later its load says it. */
	qp_handoff_door((uint64_t)(uintptr_t)doors, WORKERS, 2)->load = 300;
	for (unsigned i = 200; i < 230; i++) {
		const struct frame f = new_client(i);

		cr_assert_neq(at(&f, 1000 * MS).worker, 2u);
	}
}

/* Its packets need no handing over there. */
Test(nic_steer, client_stays_where_it_comes_while_that_one_has_hardly_more)
{
	struct qp_handoff_door *door[WORKERS];

	for (unsigned w = 0; w < WORKERS; w++) {
		door[w] = qp_handoff_door((uint64_t)(uintptr_t)doors, WORKERS, w);
		door[w]->load = 800;
	}
	/* We are worker 1. */
	for (unsigned i = 0; i < 100; i++)
		cr_assert_eq(of(new_client(i)).worker, 1u, "client %u", i);
	door[1]->load = 950;
	for (unsigned i = 200; i < 250; i++)
		cr_assert_neq(of(new_client(i)).worker, 1u, "client %u", i);
	/* Another generation's clients have no worker of ours. */
	nic->holder = OLD;
	qp_steer_turn(&steer);
	cr_expect_eq(of(new_client(300)).gen, 0u);
}

Test(nic_steer, rings_of_another_release_are_not_touched)
{
	cr_expect_eq(steer.gen[2].handoff, (uint64_t)(uintptr_t)doors);
	nic->gen[2].handoff_bytes += 64;
	qp_steer_turn(&steer);
	cr_expect_eq(steer.gen[2].server_id, NEW);
	cr_expect_eq(steer.gen[2].handoff, 0u);
	cr_expect_eq(of(new_client(1)).gen, 2u);
}

/* One who is in the load already counts once. */
Test(nic_steer, client_that_is_in_the_load_is_pending_no_more)
{
	struct qp_handoff_door *door[WORKERS];
	unsigned each[WORKERS] = {0};

	for (unsigned w = 0; w < WORKERS; w++)
		door[w] = qp_handoff_door((uint64_t)(uintptr_t)doors, WORKERS, w);
	for (unsigned i = 0; i < 10 * WORKERS; i++) {
		const uint32_t w = of(new_client(i)).worker;

		/* Some are told of at once, others late. */
		each[w]++;
		if (i % 3 != 0)
			door[w]->load = each[w];
	}
	for (unsigned w = 0; w < WORKERS; w++)
		cr_expect(each[w] >= 9 && each[w] <= 11, "worker %u has %u", w, each[w]);
}

Test(nic_steer, stray_quic_changes_no_placement)
{
	uint8_t cid[8] = {1};

	for (unsigned i = 0; i < 1000; i++)
		(void)of(quic_short(THEM, (uint16_t)i, US, QUIC, cid));
	for (unsigned w = 0; w < WORKERS; w++)
		cr_expect_eq(steer.placement.pending[w], 0u);
}

Test(nic_steer, forwarded_port_has_its_worker)
{
	expect_to(of(tcp(THEM, 5000, US, PORT, TCP_SYN, 1)), 0, 3, QP_STEER_PORT);
	expect_to(of(tcp("2001:db8:1::9", 5000, US6, PORT, TCP_ACK, 1)), 0, 3, QP_STEER_PORT);
	expect_to(of(udp(THEM, 5000, US, PORT, "x", 1)), 0, 2, QP_STEER_PORT);
	nic->gen[0].server_id = 0;
	qp_steer_turn(&steer);
	expect_drop(of(tcp(THEM, 5000, US, PORT, TCP_SYN, 1)), QP_STEER_NO_WORKER);
}

Test(nic_steer, port_of_one_address_is_closed_at_the_others)
{
	const struct qp_ipaddr only = ip("192.0.2.9");

	memcpy(&nic->net.addr[2].addr, &only, sizeof(only));
	nic->owner[QP_NIC_TCP][PORT] |= 3u << 24;
	expect_to(of(tcp(THEM, 5000, "192.0.2.9", PORT, TCP_SYN, 1)), 0, 3, QP_STEER_PORT);
	expect_to(of(tcp(THEM, 5000, US, PORT, TCP_SYN, 1)), 2, 1, QP_STEER_STRAY);
}

Test(nic_steer, nobodys_port_is_refused_where_it_came)
{
	expect_to(of(tcp(THEM, 5000, US, 9999, TCP_SYN, 1)), 2, 1, QP_STEER_STRAY);
	expect_to(of(udp(THEM, 5000, US, 9999, "x", 1)), 2, 1, QP_STEER_STRAY);
}

Test(nic_steer, public_api_is_the_holders_and_a_flow_keeps_its_worker)
{
	unsigned each[WORKERS] = {0};

	for (uint16_t p = 1000; p < 1400; p++) {
		const struct qp_steer_to syn = of(tcp(THEM, p, US, API, TCP_SYN, 1));
		const struct qp_steer_to ack = of(tcp(THEM, p, US, API, TCP_ACK, 2));

		cr_assert(syn.gen == 2 && syn.why == QP_STEER_PUBLIC_API);
		cr_assert_eq(syn.worker, ack.worker);
		each[syn.worker]++;
	}
	for (unsigned w = 0; w < WORKERS; w++)
		cr_expect_gt(each[w], 50u, "worker %u: %u of 400", w, each[w]);
}

Test(nic_steer, quic_and_api_answer_on_their_address_only)
{
	const struct qp_ipaddr bound = ip("192.0.2.9");

	memcpy(&nic->quic_addr, &bound, sizeof(bound));
	expect_drop(of(new_client(1)), QP_STEER_NOT_BOUND);
	expect_drop(of(tcp(THEM, 1, US, API, TCP_SYN, 1)), QP_STEER_NOT_BOUND);
	cr_expect_eq(of(tcp(THEM, 1, "192.0.2.9", API, TCP_SYN, 1)).why, QP_STEER_PUBLIC_API);
}

Test(nic_steer, icmp_error_goes_to_who_sent_what_it_quotes)
{
	struct frame sent = tcp(US, PORT, THEM, 5000, TCP_ACK, 1);

	expect_to(of(icmp_error("203.0.113.1", US, &sent)), 0, 3, QP_STEER_PORT);
	sent = udp(US6, PORT, "2001:db8:1::9", 5000, "x", 1);
	expect_to(of(icmp_error("2001:db8:5::1", US6, &sent)), 0, 2, QP_STEER_PORT);
	sent = tcp(US, 9999, THEM, 5000, TCP_ACK, 1);
	expect_to(of(icmp_error("203.0.113.1", US, &sent)), 2, 1, QP_STEER_STRAY);
}

Test(nic_steer, blocked_source_is_dropped_whatever_it_says)
{
	const struct qp_ipaddr net = ip("198.51.100.0");
	struct in6_addr addr;
	uint8_t cid[8];
	struct frame sent = tcp(US, PORT, "203.0.113.5", 5000, TCP_ACK, 1);

	memcpy(&addr, &net, sizeof(addr));
	cr_assert_eq(qp_nic_block_add(&nic->blocked, &addr, 96 + 24), 0);
	cid_of(cid, OLD, 2);
	expect_drop(of(quic_short(THEM, 5000, US, QUIC, cid)), QP_STEER_BLOCKED);
	expect_drop(of(tcp(THEM, 5000, US, PORT, TCP_SYN, 1)), QP_STEER_BLOCKED);
	/* Of an ICMP error its sender counts, not whom the packet was for. */
	expect_drop(of(icmp_error(THEM, US, &sent)), QP_STEER_BLOCKED);
	sent = tcp(US, PORT, THEM, 5000, TCP_ACK, 1);
	cr_expect_eq(of(icmp_error("203.0.113.1", US, &sent)).why, QP_STEER_PORT);
	cr_expect_eq(of(tcp("198.51.101.7", 5000, US, PORT, TCP_SYN, 1)).why, QP_STEER_PORT);
}

Test(nic_steer, nobody_holds_the_queues_and_new_clients_wait)
{
	uint8_t cid[8];

	nic->holder = 0;
	qp_steer_turn(&steer);
	expect_drop(of(new_client(1)), QP_STEER_NO_WORKER);
	cid_of(cid, OLD, 2);
	expect_to(of(quic_short(THEM, 5000, US, QUIC, cid)), 0, 2, QP_STEER_QUIC_KNOWN);
	expect_to(of(tcp(THEM, 5000, US, PORT, TCP_SYN, 1)), 0, 3, QP_STEER_PORT);
}

/* The pieces of a datagram, as `collected` at the worker that the first one names. */
static struct qp_steer_to
piece(uint16_t dport, uint16_t id, uint16_t offset, int more, bool collected)
{
	struct frame f = udp(THEM, 5000, US, dport, "0123456789abcdef", 16);
	struct qp_steer_flow flow;

	make_piece(&f, id, offset, more);
	return qp_steer_frame(&steer, f.b, f.len, collected, 0, &flow);
}

Test(nic_steer, pieces_of_a_datagram_meet_at_one_worker_and_follow_the_first)
{
	for (uint16_t id = 1; id < 100; id++) {
		const struct qp_steer_to first = piece(PORT, id, 0, 1, false);
		const struct qp_steer_to last = piece(PORT, id, 24, 0, false);

		if (first.why == QP_STEER_COLLECT) {
			cr_assert(first.gen == 2 && first.worker != 1);
			expect_to(last, 2, first.worker, QP_STEER_COLLECT);
		} else {
			expect_to(first, 0, 2, QP_STEER_PORT);
			expect_to(last, 0, 2, QP_STEER_PIECE);
		}
	}
	expect_to(piece(PORT, 500, 0, 1, true), 0, 2, QP_STEER_PORT);
	expect_to(piece(PORT, 500, 24, 0, true), 0, 2, QP_STEER_PIECE);
}

Test(nic_steer, piece_without_its_first_or_of_no_port_is_dropped)
{
	expect_drop(piece(PORT, 501, 24, 0, true), QP_STEER_LOST_PIECE);
	(void)piece(9999, 502, 0, 1, true);
	expect_drop(piece(9999, 502, 24, 0, true), QP_STEER_LOST_PIECE);
}

Test(nic_steer, cut_frames_are_dropped)
{
	const struct frame whole = tcp(THEM, 5000, US, PORT, TCP_SYN, 1);
	struct qp_steer_flow flow;

	for (uint32_t len = 0; len < 14 + 20 + 4; len++)
		expect_drop(qp_steer_frame(&steer, whole.b, len, false, 0, &flow), QP_STEER_NOT_IP);
}

/* Second attempts and conversations, as in host mode. */
Test(nic_steer, strangers_are_told_from_those_who_are_known)
{
	struct qp_strangers *s = qp_strangers_new(77);
	const struct frame syn = tcp(THEM, 5000, US, PORT, TCP_SYN, 1);
	const struct frame ack = tcp(THEM, 5000, US, PORT, TCP_ACK, 2);
	struct qp_steer_flow f;

	cr_assert_not_null(s);
	cr_assert(qp_steer_parse(syn.b, syn.len, &f));
	cr_expect_eq(qp_strangers_queue(s, &f, false, syn.b, syn.len, 10000 * MS), QP_CLS_QUEUE_SYN);
	cr_expect_eq(qp_strangers_queue(s, &f, false, syn.b, syn.len, 10100 * MS), QP_CLS_QUEUE_SYN,
		"too early for a second attempt");
	cr_expect_eq(qp_strangers_queue(s, &f, false, syn.b, syn.len, 11000 * MS), QP_CLS_QUEUE_AGAIN);
	cr_assert(qp_steer_parse(ack.b, ack.len, &f));
	cr_expect_eq(qp_strangers_queue(s, &f, false, ack.b, ack.len, 0), QP_CLS_QUEUE_UNKNOWN);
	qp_strangers_learn(s, &f, TCP_RST);
	cr_expect_eq(qp_strangers_queue(s, &f, false, ack.b, ack.len, 0), QP_CLS_QUEUE_UNKNOWN);
	qp_strangers_learn(s, &f, TCP_SYN | TCP_ACK);
	cr_expect_eq(qp_strangers_queue(s, &f, false, ack.b, ack.len, 0), QP_CLS_QUEUE_FLOWS);
	qp_strangers_free(s);
}

Test(nic_steer, second_first_packet_of_a_client_is_preferred_and_a_flood_is_not)
{
	struct qp_strangers *s = qp_strangers_new(77);
	const struct frame q = new_client(1);
	struct qp_steer_flow f;

	cr_assert_not_null(s);
	cr_assert(qp_steer_parse(q.b, q.len, &f));
	cr_expect_eq(qp_strangers_queue(s, &f, true, q.b, q.len, 10000 * MS), QP_CLS_QUEUE_UNKNOWN);
	cr_expect_eq(qp_strangers_queue(s, &f, true, q.b, q.len, 11000 * MS), QP_CLS_QUEUE_AGAIN);
	for (unsigned i = 0; i < 40; i++)
		(void)qp_strangers_queue(s, &f, true, q.b, q.len, 11000 * MS);
	cr_expect_eq(qp_strangers_queue(s, &f, true, q.b, q.len, 12000 * MS), QP_CLS_QUEUE_UNKNOWN);
	qp_strangers_free(s);
}
