/* SPDX-License-Identifier: Apache-2.0 */
/* Ports that come and go under workers that use them. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dataplane/nic/port_link.h"

static struct qp_nic *nic;
static struct qp_port_links links;
static atomic_int using, mapped, caught;

static void
map(uint16_t port_id)
{
	(void)port_id;
	atomic_fetch_add(&mapped, 1);
	/* Long enough for a worker that should not be there. */
	for (unsigned i = 0; i < 100; i++)
		if (atomic_load(&using) != 0)
			atomic_store(&caught, 1);
}

static int attached;

static void
attach(const char *name)
{
	(void)name;
	attached++;
}

static void
begin(uint32_t nworkers, uint32_t mbps)
{
	nic = calloc(1, sizeof(*nic));
	nic->nports = 1;
	nic->port[0].link_mbps = mbps;
	nic->port[0].link_epoch = 1;
	qp_port_links_init(&links, nic, nworkers);
	links.map = map;
	links.anew = attach;
}

static void
change(uint32_t mbps)
{
	__atomic_store_n(&nic->port[0].link_mbps, mbps, __ATOMIC_RELAXED);
	__atomic_store_n(&nic->port[0].link_epoch, nic->port[0].link_epoch + 1, __ATOMIC_RELEASE);
}

Test(port_link, up_at_the_start_is_used_at_once)
{
	begin(1, 10000);
	qp_port_link_join(&links, 0);
	cr_expect(qp_port_link_usable(&links, 0, 0));
}

Test(port_link, down_is_not_used_until_it_is_up_and_mapped)
{
	begin(1, 0);
	qp_port_link_join(&links, 0);
	cr_expect_not(qp_port_link_usable(&links, 0, 0));
	change(10000);
	cr_expect_not(qp_port_link_usable(&links, 0, 0), "nobody has mapped it");
	qp_port_links_turn(&links);
	cr_expect_eq(mapped, 1);
	cr_expect(qp_port_link_usable(&links, 0, 0));
	change(0);
	cr_expect_not(qp_port_link_usable(&links, 0, 0));
}

Test(port_link, is_mapped_when_all_workers_have_stopped)
{
	begin(3, 10000);
	qp_port_link_join(&links, 0);
	qp_port_link_join(&links, 1);
	cr_expect(qp_port_link_usable(&links, 0, 0));
	change(5000);
	qp_port_links_turn(&links);
	cr_expect_eq(mapped, 0);
	cr_expect_not(qp_port_link_usable(&links, 0, 0));
	qp_port_links_turn(&links);
	cr_expect_eq(mapped, 0, "worker 1 may still be in a burst");
	cr_expect_not(qp_port_link_usable(&links, 1, 0));
	qp_port_links_turn(&links);
	cr_expect_eq(mapped, 1, "the third never came");
	cr_expect(qp_port_link_usable(&links, 0, 0));
	cr_expect(qp_port_link_usable(&links, 1, 0));
	qp_port_links_turn(&links);
	cr_expect_eq(mapped, 1, "once a change");
}

Test(port_link, memory_that_was_another_in_between_is_let_go_of)
{
	begin(1, 0);
	nic->port[0].shares_memory = 1;
	qp_port_link_join(&links, 0);
	change(10000);
	cr_expect_not(qp_port_link_usable(&links, 0, 0));
	qp_port_links_turn(&links);
	cr_expect_eq(attached, 0, "there was none before");
	change(0);
	change(10000);
	cr_expect_not(qp_port_link_usable(&links, 0, 0));
	qp_port_links_turn(&links);
	cr_expect_eq(attached, 1, "nobody has seen it down");
	cr_expect(qp_port_link_usable(&links, 0, 0));
}

Test(port_link, worker_that_has_left_is_not_waited_for)
{
	begin(2, 10000);
	qp_port_link_join(&links, 0);
	qp_port_link_join(&links, 1);
	qp_port_link_leave(&links, 1);
	change(0);
	cr_expect_not(qp_port_link_usable(&links, 0, 0));
	qp_port_links_turn(&links);
	cr_expect_eq(mapped, 1);
}

static atomic_int stop;

static void *
work(void *arg)
{
	const uint32_t me = (uint32_t)(uintptr_t)arg;

	qp_port_link_join(&links, me);
	while (!stop) {
		if (!qp_port_link_usable(&links, me, 0))
			continue;
		atomic_fetch_add(&using, 1);
		atomic_fetch_sub(&using, 1);
	}
	qp_port_link_leave(&links, me);
	return NULL;
}

Test(port_link, nobody_uses_a_port_while_it_is_mapped)
{
	pthread_t t[2];

	begin(2, 10000);
	for (uintptr_t i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&t[i], NULL, work, (void *)i), 0);
	for (unsigned i = 0; i < 200; i++) {
		const int before = mapped;

		change(i % 3 == 0 ? 0 : 10000);
		while (mapped == before)
			qp_port_links_turn(&links);
	}
	stop = 1;
	for (unsigned i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	cr_expect_eq(mapped, 200);
	cr_expect_eq(caught, 0);
}
