/* SPDX-License-Identifier: Apache-2.0 */
/* What a client may use of flows, of sources and of bandwidth: beyond it datagrams are dropped by name. */
#include <criterion/criterion.h>
#include <string.h>

#include "dataplane/clients.h"
#include "tests/udp/world.h"

static struct uw *w;
static struct qp_client client;
static struct qp_msg_network network;

static void
begin(void)
{
	uw_init();
	w = uw_new();
	client = (struct qp_client) {.id = 7, .all = &w->tunnels};
	for (unsigned way = 0; way < QP_WAYS; way++)
		client.shape[way].client = &client;
	uw_start(w);
	w->tunnel.client = &client;
}

static void
end(void)
{
	uw_free(w);
}

TestSuite(udp_limits, .init = begin, .fini = end);

static const struct qp_udp_counters *
counters(void)
{
	return qp_udp_counters(w->udp);
}

static void
limit(enum qp_way way, uint64_t rate)
{
	client.limited = true;
	qp_bucket_set(&client.shape[way].bucket, rate, (int64_t)(rate / 9), w->now_ns);
}

Test(udp_limits, flows_beyond_the_number_are_dropped_and_who_is_there_stays)
{
	client.limits.max_conns = 2;
	for (uint16_t peer = 1000; peer < 1005; peer++)
		uw_datagram(w, false, peer, 10, 0, 0);
	cr_assert_eq(counters()->flows, 2u);
	cr_assert_eq(counters()->drop_client_limit, 3u);
	cr_assert_eq(w->counters.client_conns_refused, 3u);
	uw_datagram(w, false, 1000, 10, 0, 0);
	cr_assert_eq(uw_records(w->stream[0]), 2u);
	cr_assert_eq(client.nflows, 2u);
	cr_assert_eq(client.conns_now, 2u);
}

Test(udp_limits, datagram_from_elsewhere_is_dropped_without_a_word)
{
	network = (struct qp_msg_network) {.addr = {0x20, 1}, .prefix = 16};
	client.limits.nsources = 1;
	client.nnetworks = 1;
	client.network = &network;
	uw_datagram(w, false, 1000, 10, 0, 0);
	cr_assert_eq(counters()->drop_source, 1u);
	cr_assert_eq(counters()->flows, 0u);
	cr_assert_null(uw_take(w));
	uw_datagram(w, true, 1000, 10, 0, 0);
	cr_assert_eq(counters()->flows, 1u);
}

Test(udp_limits, bandwidth_to_the_tunnel_is_kept_and_the_rest_is_counted)
{
	uint64_t bytes;

	limit(QP_WAY_IN, 100000);
	/* 200 datagrams of 1,000 bytes a second, ten seconds. */
	for (unsigned i = 0; i < 2000; i++) {
		uw_datagram(w, false, 1000, 1000, i, 0);
		uw_wait(w, 5 * UW_MS);
		uw_acked(w->stream[0]);
	}
	bytes = counters()->bytes_in;
	cr_assert(bytes >= 950000 && bytes <= 1050000, "%lu bytes in 10 s", bytes);
	cr_assert_eq(counters()->drop_bandwidth_in, 2000 - counters()->datagrams_in);
}

Test(udp_limits, bandwidth_from_the_tunnel_is_kept_and_the_rest_is_counted)
{
	struct uw_packet *p;
	uint64_t bytes;

	limit(QP_WAY_OUT, 100000);
	uw_datagram(w, false, 1000, 10, 0, 0);
	for (unsigned i = 0; i < 2000; i++) {
		uw_answer(w, w->stream[0], 1000, i);
		uw_flush(w);
		while ((p = uw_take(w)) != NULL)
			free(p);
		uw_wait(w, 5 * UW_MS);
	}
	bytes = counters()->bytes_out;
	cr_assert(bytes >= 950000 && bytes <= 1050000, "%lu bytes in 10 s", bytes);
	cr_assert_eq(counters()->drop_bandwidth_out, 2000 - counters()->datagrams_out);
}

/* What relays that wait take: all but what is kept for flows. */
static void
relays_take(struct qp_shape *s)
{
	const int64_t kept = s->udp_tokens > 0 ? s->udp_tokens : 0;

	if (s->bucket.tokens > kept)
		s->bucket.tokens = kept;
}

Test(udp_limits, connections_that_wait_leave_flows_their_share)
{
	struct qp_shape *s = &client.shape[QP_WAY_IN];

	limit(QP_WAY_IN, 100000);
	s->nwaiting = 3; /* beside our flow */
	for (unsigned i = 0; i < 2000; i++) {
		relays_take(s);
		uw_datagram(w, false, 1000, 1000, i, 0);
		uw_wait(w, 5 * UW_MS);
		uw_acked(w->stream[0]);
	}
	s->nwaiting = 0;
	cr_assert(counters()->bytes_in > 230000 && counters()->bytes_in < 270000, "%lu bytes in 10 s",
		counters()->bytes_in);
}
