/* SPDX-License-Identifier: Apache-2.0 */
/* RETIRE: in which order tunnels leave, and when. With a virtual clock. */
#include <criterion/criterion.h>

#include "common/wire.h"
#include "tests/dataplane/client.h"
#include "tests/dataplane/outside.h"
#include "tests/dataplane/world.h"

#define PORT 50000
#define FORWARDED 9100
#define IDLE_MS 5000u
#define GRACE_MS 30000u

static struct world *w;

static void
setup(void)
{
	world_init();
	w = world_new(NULL);
}

static void
teardown(void)
{
	world_free(w);
}

TestSuite(retire, .init = setup, .fini = teardown, .timeout = 240);

static struct client *
open_tunnel(unsigned n)
{
	struct client *c = client_new(w, (uint16_t)(PORT + n), NULL);

	cr_assert_not_null(client_forward(c, (uint16_t)(FORWARDED + n)));
	return c;
}

static void
retire(uint32_t grace_ms)
{
	struct qp_msg m = cp_message_of(QP_MSG_RETIRE, 0);

	m.retire = (struct qp_msg_retire) {.idle_ms = IDLE_MS, .grace_ms = grace_ms};
	cp_send(w, &m);
}

static void
expect_sent_away(const struct client *c)
{
	cr_expect(c->over && c->by_peer && c->application);
	cr_expect_eq(c->code, QP_APP_SHUTDOWN);
}

Test(retire, unused_goes_at_once_idle_later_busy_last)
{
	struct client *unused = open_tunnel(0), *idle = open_tunnel(1), *busy = open_tunnel(2);
	struct outside_conn *quiet, *talks;

	cr_assert_not_null(client_relayed(idle, FORWARDED + 1, &quiet));
	cr_assert_not_null(client_relayed(busy, FORWARDED + 2, &talks));
	retire(GRACE_MS);
	cr_assert(world_until(w, WORLD_S, unused->over));
	expect_sent_away(unused);
	for (unsigned ms = 1000; ms < IDLE_MS - 500; ms += 500) {
		outside_send(talks, "x", 1);
		world_run(w, 500 * WORLD_MS);
		cr_assert_not(idle->over, "after %u ms", ms);
	}
	for (unsigned i = 0; i < 4; i++) {
		outside_send(talks, "x", 1);
		world_run(w, 500 * WORLD_MS);
	}
	expect_sent_away(idle);
	for (unsigned ms = IDLE_MS + 2000; ms < GRACE_MS - 1000; ms += 1000) {
		cr_assert_not(busy->over || talks->reset, "after %u ms", ms);
		outside_send(talks, "x", 1);
		world_run(w, WORLD_S);
	}
	for (unsigned i = 0; i < 4 && !busy->over; i++) {
		outside_send(talks, "x", 1);
		world_run(w, WORLD_S);
	}
	expect_sent_away(busy);
}

Test(retire, last_connection_ended_goes_at_once)
{
	struct client *c = open_tunnel(0);
	struct outside_conn *o;

	cr_assert_not_null(client_relayed(c, FORWARDED, &o));
	retire(GRACE_MS);
	world_run(w, 2 * WORLD_S);
	cr_assert_not(c->over);
	outside_reset(o);
	cr_assert(world_until(w, WORLD_S, c->over));
	expect_sent_away(c);
}

Test(retire, told_again_with_no_grace_all_go)
{
	struct client *c = open_tunnel(0);
	struct outside_conn *o;

	cr_assert_not_null(client_relayed(c, FORWARDED, &o));
	retire(GRACE_MS);
	world_run(w, WORLD_S);
	cr_assert_not(c->over);
	retire(0);
	cr_assert(world_until(w, WORLD_S, c->over));
	expect_sent_away(c);
}

Test(retire, many_leave_one_after_the_other)
{
	enum { MANY = 60 };
	struct client *c[MANY];
	unsigned gone = 0;

	for (unsigned i = 0; i < MANY; i++)
		c[i] = open_tunnel(i);
	retire(GRACE_MS);
	world_run(w, 40 * WORLD_MS);
	for (unsigned i = 0; i < MANY; i++)
		gone += c[i]->over;
	cr_expect_leq(gone, 24u);
	world_run(w, WORLD_S);
	for (unsigned i = 0; i < MANY; i++)
		expect_sent_away(c[i]);
}
