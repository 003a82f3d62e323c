/* SPDX-License-Identifier: Apache-2.0 */
/* What goes up, what is answered here, and what is dropped for which reason. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/net/world.h"

static struct nw *w;

static void
open_world(void)
{
	w = nw_new(false);
	/* Everybody that is answered is known. */
	nw_arp(w, 0, 1, nw_peer, "192.0.2.9", nw_all, "192.0.2.1");
	nw_forget(w);
}

static void
close_world(void)
{
	nw_free(w);
}

TestSuite(icmp, .init = open_world, .fini = close_world);

#define TO_US   "020000000001 02005e000010 "
#define FROM_US "02005e000010 020000000001 "

Test(icmp, echo_request_answered)
{
	cr_assert_not(nw_in_hex(w, 0, TO_US "0800 4500001e 12340000 4001e4a0 c0000209 c0000201 "
				      "0800 8f93 0001 0002 6869 0000 0000 0000 0000 0000 0000 0000 0000"));
	nw_expect_hex(w, 0, FROM_US "0800 4500001e 00004000 4001b6d4 c0000201 c0000209 0000 9793 0001 0002 6869");
	cr_assert_eq(qp_net_counters(w->net)->echo_replies, 1);
}

Test(icmp, echo_with_wrong_sum_dropped)
{
	nw_in_hex(w, 0, TO_US "0800 4500001e 12340000 4001e4a0 c0000209 c0000201 0800 8f92 0001 0002 6869");
	nw_expect_none(w);
	cr_assert_eq(qp_net_counters(w->net)->drop_icmp, 1);
}
