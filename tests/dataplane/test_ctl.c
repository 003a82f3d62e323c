/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's end of its rings; the test is the control plane. */
#include <criterion/criterion.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "dataplane/ctl.h"
#include "tests/tcp/eal.h"

#define RING 16u

static struct qp_gen_shared *shared;
static struct qp_worker_shared counters;
static struct qp_ctl ctl;

static struct rte_ring *
ring(const char *name)
{
	struct rte_ring *r = rte_ring_create_elem(name, sizeof(struct qp_msg), RING, SOCKET_ID_ANY,
		RING_F_SP_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ);

	cr_assert_not_null(r);
	return r;
}

static void
setup(void)
{
	test_eal_init();
	shared = aligned_alloc(64, sizeof(*shared));
	cr_assert_not_null(shared);
	*shared = (struct qp_gen_shared) {0};
	counters = (struct qp_worker_shared) {0};
	ctl = (struct qp_ctl) {
		.to_cp = ring("d2c"),
		.from_cp = ring("c2d"),
		.shared = shared,
		.door = &shared->door[0],
		.mine = &counters,
		.version = QP_IPC_VERSION,
		.cp_doorbell = eventfd(0, EFD_NONBLOCK),
	};
}

static void
teardown(void)
{
	qp_ctl_fini(&ctl);
	close(ctl.cp_doorbell);
	rte_ring_free(ctl.to_cp);
	rte_ring_free(ctl.from_cp);
	free(shared);
}

TestSuite(ctl, .init = setup, .fini = teardown);

static void
send(uint64_t id)
{
	const struct qp_msg msg = {
		.type = QP_MSG_TUNNEL_CLOSED, .version = QP_IPC_VERSION, .id = id};

	qp_ctl_send(&ctl, &msg);
}

/* The control plane reads; the ids must go on from `*next`. */
static unsigned
drain(uint64_t *next, unsigned most)
{
	struct qp_msg msg;
	unsigned n = 0;

	while (n < most && rte_ring_sc_dequeue_elem(ctl.to_cp, &msg, sizeof(msg)) == 0) {
		cr_assert_eq(msg.id, (*next)++);
		n++;
	}
	return n;
}

static uint64_t
rung(void)
{
	uint64_t n = 0;

	return read(ctl.cp_doorbell, &n, sizeof(n)) == (ssize_t)sizeof(n) ? n : 0;
}

Test(ctl, ring_full_messages_wait_and_keep_their_order)
{
	uint64_t next = 0, id = 0;

	for (unsigned i = 0; i < 3 * RING; i++)
		send(id++);
	cr_assert_eq(ctl.mine->c.ctl_ring_full, 2 * RING);
	cr_assert_eq(drain(&next, 5), 5);
	/* There is room, yet older messages wait: this one goes behind them. */
	send(id++);
	qp_ctl_flush(&ctl);
	while (next < id) {
		cr_assert_gt(drain(&next, 7), 0);
		qp_ctl_flush(&ctl);
	}
	cr_assert_eq(ctl.backlog_len, 0);
	send(id++);
	cr_assert_eq(drain(&next, 2), 1, "with the backlog gone, the ring is taken again");
}

Test(ctl, new_control_plane_gets_the_ends_that_nobody_read_and_nothing_else)
{
	struct qp_ctl_rings old = {ctl.to_cp, ctl.from_cp, ctl.cp_doorbell};
	struct qp_ctl_offer offer = {.taken_fd = eventfd(0, EFD_NONBLOCK)};
	const struct qp_msg question = {.type = QP_MSG_FORWARD_REQUEST, .version = QP_IPC_VERSION};
	uint64_t next = 0;

	ctl.offer = &offer;
	qp_ctl_send(&ctl, &question);
	for (unsigned i = 0; i < 2 * RING; i++) /* in the ring, then behind it */
		send(i);
	qp_ctl_send(&ctl, &question);
	/* The reader was killed after it took a message's place, before it said so. */
	ctl.to_cp->cons.head++;
	offer.rings = (struct qp_ctl_rings) {ring("d2c2"), ring("c2d2"), old.cp_doorbell,
		QP_IPC_VERSION};
	qp_ctl_follow(&ctl);
	cr_assert_eq(ctl.to_cp, old.to_cp, "nobody has offered anything yet");

	offer.epoch = 1;
	qp_ctl_follow(&ctl);
	cr_assert_eq(offer.taken, 1u);
	cr_assert_eq(ctl.to_cp, offer.rings.to_cp);
	do
		qp_ctl_flush(&ctl);
	while (drain(&next, RING) > 0);
	cr_expect_eq(next, 2 * RING);
	rte_ring_free(old.to_cp);
	rte_ring_free(old.from_cp);
	close(offer.taken_fd);
}

Test(ctl, long_outage_nothing_is_lost)
{
	uint64_t next = 0;

	for (uint64_t id = 0; id < 5000; id++)
		send(id);
	while (next < 5000) {
		qp_ctl_flush(&ctl);
		cr_assert_gt(drain(&next, RING), 0);
	}
}

Test(ctl, long_outage_ended_connections_are_bounded_and_the_rest_is_not_touched)
{
	const struct qp_msg ended = {.type = QP_MSG_CONN_CLOSED, .version = QP_IPC_VERSION, .id = 1};
	struct qp_msg got;
	unsigned n = 0, tunnels = 0;

	for (unsigned i = 0; i < RING + QP_CTL_MAX_ENDED; i++)
		cr_assert(qp_ctl_send(&ctl, &ended));
	for (unsigned i = 0; i < 10; i++)
		cr_assert_not(qp_ctl_send(&ctl, &ended));
	cr_assert_eq(counters.c.ended_conns_untold, 10);
	send(2);
	for (;;) {
		if (rte_ring_sc_dequeue_elem(ctl.to_cp, &got, sizeof(got)) != 0) {
			if (ctl.backlog_len == 0)
				break;
			qp_ctl_flush(&ctl);
			continue;
		}
		n += got.type == QP_MSG_CONN_CLOSED;
		tunnels += got.type == QP_MSG_TUNNEL_CLOSED;
	}
	cr_assert_eq(n, RING + QP_CTL_MAX_ENDED);
	cr_assert_eq(tunnels, 1);
}

/* What is left behind between the ends is dropped from its place, and the order stays. */
Test(ctl, long_outage_ends_are_kept_in_place_for_the_next_control_plane)
{
	struct qp_ctl_rings old = {ctl.to_cp, ctl.from_cp, ctl.cp_doorbell};
	struct qp_ctl_offer offer = {.taken_fd = eventfd(0, EFD_NONBLOCK)};
	const struct qp_msg question = {.type = QP_MSG_FORWARD_REQUEST, .version = QP_IPC_VERSION};
	uint64_t next = 0;

	ctl.offer = &offer;
	for (uint64_t id = 0; id < 5000; id++) {
		send(id);
		for (uint64_t n = id % 70; n > 60; n--) /* some blocks are full of them */
			for (unsigned i = 0; i < 20; i++)
				qp_ctl_send(&ctl, &question);
	}
	const struct qp_ctl_block *const last = ctl.backlog_tail;

	offer.rings = (struct qp_ctl_rings) {ring("d2c3"), ring("c2d3"), old.cp_doorbell,
		QP_IPC_VERSION};
	offer.epoch = 1;
	qp_ctl_follow(&ctl);
	cr_expect_eq(ctl.backlog_len, 5000u);
	cr_expect_eq(ctl.backlog_tail, last, "all of it was copied in one turn");
	send(5000);
	while (next <= 5000) {
		qp_ctl_flush(&ctl);
		cr_assert_gt(drain(&next, RING), 0);
	}
	cr_expect_eq(ctl.backlog_len, 0u);
	rte_ring_free(old.to_cp);
	rte_ring_free(old.from_cp);
	close(offer.taken_fd);
}

Test(ctl, peer_awake_flush_does_not_ring)
{
	send(1);
	qp_ctl_flush(&ctl);
	cr_assert_eq(rung(), 0);
}

Test(ctl, peer_asleep_flush_rings_once_a_burst)
{
	__atomic_store_n(&shared->d2c_sleeping, 1, __ATOMIC_SEQ_CST);
	send(1);
	send(2);
	qp_ctl_flush(&ctl);
	qp_ctl_flush(&ctl);
	cr_assert_eq(rung(), 1);
	qp_ctl_flush(&ctl);
	cr_assert_eq(rung(), 0, "nothing was sent since");
}

Test(ctl, message_waiting_sleep_is_refused)
{
	const struct qp_msg msg = {.type = QP_MSG_SHUTDOWN, .version = QP_IPC_VERSION};
	struct qp_msg got;

	cr_assert(qp_ctl_sleep_begin(&ctl));
	cr_assert_eq(shared->door[0].c2d_sleeping, 1);
	qp_ctl_sleep_end(&ctl);
	cr_assert_eq(shared->door[0].c2d_sleeping, 0);
	cr_assert_eq(
		rte_ring_sp_enqueue_elem(ctl.from_cp, (void *)(uintptr_t)&msg, sizeof(msg)), 0);
	cr_assert_not(qp_ctl_sleep_begin(&ctl));
	cr_assert_eq(shared->door[0].c2d_sleeping, 0, "the doorbell is not wanted");
	cr_assert(qp_ctl_receive(&ctl, &got));
	cr_assert_eq(got.type, QP_MSG_SHUTDOWN);
	cr_assert_not(qp_ctl_receive(&ctl, &got));
	cr_assert(qp_ctl_sleep_begin(&ctl));
	qp_ctl_sleep_end(&ctl);
}

Test(ctl, message_that_the_control_planes_version_has_not_is_counted_and_not_sent)
{
	const struct qp_msg known = {.type = QP_MSG_TUNNEL_CLOSED, .id = 1},
			    unknown = {.type = QP_MSG_LOG_LEVELS + 1};
	struct qp_msg got;

	ctl.version = 3;
	cr_assert(qp_ctl_send(&ctl, &unknown));
	cr_assert(qp_ctl_send(&ctl, &known));
	cr_assert_eq(counters.c.ctl_unspoken, 1);
	cr_assert_eq(rte_ring_sc_dequeue_elem(ctl.to_cp, &got, sizeof(got)), 0);
	cr_assert_eq(got.type, QP_MSG_TUNNEL_CLOSED);
	cr_assert_eq(got.version, 3u, "it carries the version that both speak");
	cr_assert(rte_ring_empty(ctl.to_cp));
}

Test(ctl, message_of_another_version_or_unknown_type_is_counted_and_ignored)
{
	struct qp_msg m = {.type = QP_MSG_NTYPES, .version = QP_IPC_VERSION}, got;

	cr_assert_eq(rte_ring_sp_enqueue_elem(ctl.from_cp, &m, sizeof(m)), 0);
	m = (struct qp_msg) {.type = QP_MSG_CONFIG, .version = QP_IPC_VERSION + 1};
	cr_assert_eq(rte_ring_sp_enqueue_elem(ctl.from_cp, &m, sizeof(m)), 0);
	m = (struct qp_msg) {.type = QP_MSG_DRAIN, .version = QP_IPC_VERSION};
	cr_assert_eq(rte_ring_sp_enqueue_elem(ctl.from_cp, &m, sizeof(m)), 0);
	cr_assert(qp_ctl_receive(&ctl, &got));
	cr_assert_eq(got.type, QP_MSG_DRAIN);
	cr_assert_eq(counters.c.ctl_unknown, 2);
	cr_assert_not(qp_ctl_receive(&ctl, &got));
}
