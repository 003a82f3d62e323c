/* SPDX-License-Identifier: Apache-2.0 */
/* The rings and the shared block, both ends in one process. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_mbuf.h>
#include <rte_memzone.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>

#include "common/genmem.h"
#include "controlplane/dp_link.h"

#define ID 4711u

/* The data plane's end. */
static struct qp_gen_shared *shared;
static struct rte_ring *d2c[2], *c2d[2];
static int doorbell[2];
static struct qp_dp_link *link_;

/* dp_link.c asks before it frees anything; here EAL is the test's own. */
#include "controlplane/eal.h"

bool
qp_eal_attached(void)
{
	return true;
}

/* Of the second attachment: an epoch that a mistake would take for the first. */
#define EPOCH 1u

static struct rte_ring *
make_ring(unsigned worker, int to_cp)
{
	struct rte_ring *r = (struct rte_ring *)((char *)(shared + 1) +
						 qp_ring_at(2, shared->ring_bytes, EPOCH, worker, to_cp));

	rte_ring_init(r, "", QP_RING_MESSAGES, RING_F_SP_ENQ | RING_F_SC_DEQ);
	return r;
}

static void
start_data_plane(void)
{
	const char *argv[] = {"test", "--no-huge", "-m", "64", "--no-pci", "--no-telemetry",
		"--no-shconf", "--log-level=error"};
	char name[64];

	cr_assert_geq(rte_eal_init(8, (char **)(uintptr_t)argv), 0);
	snprintf(name, sizeof(name), QP_SHARED_NAME, ID);
	const uint32_t ring_bytes =
		(uint32_t)rte_ring_get_memsize_elem(sizeof(struct qp_msg), QP_RING_MESSAGES);
	shared = rte_memzone_reserve(name, qp_shared_bytes(2, ring_bytes), SOCKET_ID_ANY, 0)->addr;
	memset(shared, 0, qp_shared_bytes(2, ring_bytes));
	qp_shared_init(shared, 2, ring_bytes);
	shared->server_id = ID;
	for (unsigned w = 0; w < 2; w++) {
		d2c[w] = make_ring(w, 1);
		c2d[w] = make_ring(w, 0);
		doorbell[w] = eventfd(0, EFD_NONBLOCK);
	}
}

static void
start(void)
{
	struct qp_errmsg msg;

	start_data_plane();
	cr_assert_eq(qp_dp_link_open(ID, 2, EPOCH, QP_IPC_VERSION, doorbell, &link_, &msg), 0, "%s",
		msg.text);
}

TestSuite(link, .init = start, .timeout = 60);

static bool
was_rung(int fd)
{
	uint64_t n;

	return read(fd, &n, sizeof(n)) == (ssize_t)sizeof(n);
}

Test(link, message_arrives_with_version_and_worker)
{
	struct qp_msg m = {.type = QP_MSG_VERDICT, .id = 99, .verdict = {.accepted = 1}}, got;

	cr_assert_eq(qp_dp_link_send(link_, 1, &m), 0);
	cr_expect_eq(rte_ring_count(c2d[0]), 0u);
	cr_assert_eq(rte_ring_sc_dequeue_elem(c2d[1], &got, sizeof(got)), 0);
	cr_expect_eq(got.version, QP_IPC_VERSION);
	cr_expect_eq(got.worker, 1);
	cr_expect_eq(got.id, 99u);
	cr_expect_eq(got.verdict.accepted, 1);
}

Test(link, doorbell_rings_for_a_sleeper_only)
{
	struct qp_msg m = {.type = QP_MSG_DRAIN};

	cr_assert_eq(qp_dp_link_send(link_, 0, &m), 0);
	cr_expect_not(was_rung(doorbell[0]));
	shared->door[0].c2d_sleeping = 1;
	cr_assert_eq(qp_dp_link_send(link_, 0, &m), 0);
	cr_expect(was_rung(doorbell[0]));
	cr_expect_not(was_rung(doorbell[1]));
}

Test(link, full_ring_refuses_and_counts_its_room)
{
	struct qp_msg m = {.type = QP_MSG_DRAIN};
	unsigned room = qp_dp_link_room(link_, 0);

	for (unsigned i = 0; i < room; i++)
		cr_assert_eq(qp_dp_link_send(link_, 0, &m), 0);
	cr_expect_eq(qp_dp_link_room(link_, 0), 0u);
	cr_expect_eq(qp_dp_link_send(link_, 0, &m), QP_E_FULL);
	cr_expect_eq(qp_dp_link_room(link_, 1), room);
}

Test(link, received_message_of_another_version_has_no_type)
{
	struct qp_msg m = {.type = QP_MSG_HELLO, .version = QP_IPC_VERSION + 1, .worker = 7}, got;

	cr_expect_not(qp_dp_link_pending(link_, 0));
	cr_expect_not(qp_dp_link_receive(link_, 0, &got));
	rte_ring_sp_enqueue_elem(d2c[0], &m, sizeof(m));
	cr_expect(qp_dp_link_pending(link_, 0));
	cr_assert(qp_dp_link_receive(link_, 0, &got));
	cr_expect_eq(got.type, 0);
	m.version = QP_IPC_VERSION;
	rte_ring_sp_enqueue_elem(d2c[0], &m, sizeof(m));
	cr_assert(qp_dp_link_receive(link_, 0, &got));
	cr_expect_eq(got.type, QP_MSG_HELLO);
	cr_expect_eq(got.worker, 0, "the ring says which worker it is, not the message");
}

Test(link, sleep_is_visible_to_the_workers)
{
	qp_dp_link_sleep(link_);
	cr_expect_eq(shared->d2c_sleeping, 1u);
	qp_dp_link_wake(link_);
	cr_expect_eq(shared->d2c_sleeping, 0u);
}

static int
open_again(uint32_t server_id, unsigned nworkers, uint32_t epoch)
{
	struct qp_dp_link *other;
	struct qp_errmsg msg;

	return qp_dp_link_open(server_id, nworkers, epoch, QP_IPC_VERSION, doorbell, &other, &msg);
}

Test(link, block_that_does_not_fit_is_refused)
{
	cr_expect_eq(open_again(ID + 1, 2, EPOCH), QP_E_NOTFOUND);
	cr_expect_eq(open_again(ID, 1, EPOCH), QP_E_PROTO);
	cr_expect_eq(open_again(ID, 2, EPOCH + 1), QP_E_PROTO, "rings that nobody has set up");
	shared->ring_bytes -= 64;
	cr_expect_eq(open_again(ID, 2, EPOCH), QP_E_VERSION);
	shared->ring_bytes += 65536;
	cr_expect_eq(open_again(ID, 2, EPOCH), QP_E_PROTO, "rings that end beyond the zone");
	shared->ring_bytes -= 65536 - 64;
	shared->version = QP_IPC_VERSION + 1;
	cr_expect_eq(open_again(ID, 2, EPOCH), QP_E_VERSION);
}

static unsigned
zones(void)
{
	unsigned n = 0;

	for (unsigned id = ID - 1; id <= ID + 1; id++) {
		char name[64];

		snprintf(name, sizeof(name), "MP_qp_mb_%u_0", id);
		n += rte_memzone_lookup(name) != NULL;
	}
	return n;
}

Test(link, dead_generation_gives_its_memory_back)
{
	char name[64];

	/* More pools than fit at once: each must have gone before the next. */
	for (unsigned i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), QP_POOL_NAME, ID, 0);
		cr_assert_not_null(rte_pktmbuf_pool_create(name, 8191, 0, 0, 2048, SOCKET_ID_ANY),
			"no room for pool %u", i);
		if (i == 0) { /* another generation's, which must stay */
			snprintf(name, sizeof(name), QP_POOL_NAME, ID + 1, 0);
			cr_assert_not_null(
				rte_pktmbuf_pool_create(name, 63, 0, 0, 2048, SOCKET_ID_ANY));
			cr_expect_eq(zones(), 2u);
		}
		cr_expect_gt(qp_genmem_reclaim(ID), 0u);
		cr_expect_eq(zones(), 1u);
		snprintf(name, sizeof(name), QP_POOL_NAME, ID, 0);
		cr_expect_null(rte_mempool_lookup(name), "a freed pool is still listed");
		cr_expect_null(rte_ring_lookup("qp_d2c_4711_0"));
		snprintf(name, sizeof(name), QP_POOL_NAME, ID + 1, 0);
		cr_expect_not_null(rte_mempool_lookup(name));
	}
}
