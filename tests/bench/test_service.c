/* SPDX-License-Identifier: Apache-2.0 */
/* The service behind a tunnel, its stream played by the test and cut at every place. */
#include <criterion/criterion.h>
#include <rte_mbuf.h>
#include <string.h>

#include "bench/client.h"
#include "bench/pattern.h"
#include "tests/tcp/eal.h"

#define CONN_ID "\0\0\0\7"

static struct qpb bench;
static struct qpb_worker worker;
static struct qpb_client client;
static uint8_t out[1 << 20];
static uint32_t out_len;
static uint64_t consumed, conn_consumed, queued;
static bool fin, aborted;

/* The stream. */

void
qp_quic_stream_write(struct qp_quic_stream *s, struct rte_mbuf *chain)
{
	for (const struct rte_mbuf *m = chain; m != NULL; m = m->next) {
		cr_assert_leq(out_len + m->data_len, sizeof(out));
		memcpy(out + out_len, rte_pktmbuf_mtod(m, const void *), m->data_len);
		out_len += m->data_len;
	}
	rte_pktmbuf_free(chain);
}

int
qp_quic_stream_write_bytes(struct qp_quic_stream *s, const void *data, size_t len)
{
	memcpy(out + out_len, data, len);
	out_len += (uint32_t)len;
	return 0;
}

uint64_t
qp_quic_stream_queued(const struct qp_quic_stream *s)
{
	return queued;
}

void
qp_quic_stream_consumed(struct qp_quic_stream *s, uint64_t bytes)
{
	consumed += bytes;
}

void
qp_quic_conn_consumed(struct qp_quic_conn *c, uint64_t bytes)
{
	conn_consumed += bytes;
}

void
qp_quic_stream_fin(struct qp_quic_stream *s)
{
	fin = true;
}

void
qp_quic_stream_abort(struct qp_quic_stream *s, uint64_t code)
{
	aborted = true;
}

static void
set_up(void)
{
	test_eal_init();
	qpb_pattern_init();
	bench.cfg.verify = true;
	worker = (struct qpb_worker) {
		.b = &bench, .pool = test_pool("service", 1023, RTE_MBUF_DEFAULT_BUF_SIZE)};
	TAILQ_INIT(&worker.pumps);
	client = (struct qpb_client) {.w = &worker};
}

/* The connection's id, then so many requests; their length. */
static uint32_t
requests(uint8_t *to, const struct qpb_request *r, unsigned n, bool udp)
{
	uint8_t *at = to;

	memcpy(at, CONN_ID, 4);
	at += 4;
	for (unsigned i = 0; i < n; i++, r++) {
		if (udp) {
			qp_put_u32(at, (uint32_t)(QPB_REQUEST_BYTES + r->request_bytes));
			at += 4;
		}
		qpb_request_put(r, at);
		at += QPB_REQUEST_BYTES;
		qpb_pattern_fill(r->seed, 0, at, (uint32_t)r->request_bytes);
		at += r->request_bytes;
	}
	return (uint32_t)(at - to);
}

static void
run(const uint8_t *in, uint32_t len, uint32_t cut, bool end)
{
	struct qpb_service *v;

	out_len = 0;
	consumed = 0;
	fin = aborted = false;
	memset(&worker.total, 0, sizeof(worker.total));
	v = qpb_service_new(&client, NULL);
	for (uint32_t off = 0; off < len; off += cut) {
		uint32_t n = cut < len - off ? cut : len - off;

		qpb_service_data(v, in + off, n, end && off + n == len);
		while (qpb_pump_all(&worker))
			;
	}
	cr_assert_eq(consumed, len, "all credit is given back");
	qpb_service_closed(v);
	cr_assert(TAILQ_EMPTY(&worker.pumps));
}

Test(service, request_is_answered_however_it_is_cut, .init = set_up)
{
	static const struct qpb_request r = {.seed = 3, .request_bytes = 100, .answer_bytes = 5000};
	uint8_t in[512];
	uint32_t len = requests(in, &r, 1, false);

	for (uint32_t cut = 1; cut <= len; cut++) {
		run(in, len, cut, true);
		cr_assert_eq(out_len, 5000, "cut every %u", cut);
		cr_assert(qpb_pattern_matches(qpb_answer_seed(3), 0, out, 5000));
		cr_assert(fin && !aborted);
		cr_assert_eq(worker.total.service_rx_bytes, 100);
		cr_assert_eq(worker.total.service_tx_bytes, 5000);
		cr_assert_eq(worker.total.service_wrong, 0);
	}
}

Test(service, echo_sends_the_payload_back, .init = set_up)
{
	static const struct qpb_request r = {
		.flags = QPB_ECHO, .seed = 9, .request_bytes = 777, .answer_bytes = 777};
	uint8_t in[1024];
	uint32_t len = requests(in, &r, 1, false);

	run(in, len, 50, true);
	cr_assert_eq(out_len, 777);
	cr_assert(qpb_pattern_matches(9, 0, out, 777));
	cr_assert(fin);
}

Test(service, endless_answer_ends_with_the_users_part, .init = set_up)
{
	static const struct qpb_request r = {
		.seed = 1, .request_bytes = 0, .answer_bytes = QPB_ENDLESS};
	struct qpb_service *v = qpb_service_new(&client, NULL);
	uint8_t in[64];
	uint32_t len = requests(in, &r, 1, false);

	qpb_service_data(v, in, len, false);
	cr_assert(qpb_pump_all(&worker));
	cr_assert_gt(out_len, 0);
	cr_assert_not(fin);
	qpb_service_data(v, NULL, 0, true);
	cr_assert(fin);
	len = out_len;
	(void)qpb_pump_all(&worker);
	cr_assert_eq(out_len, len, "nothing after the end");
	cr_assert(qpb_pattern_matches(qpb_answer_seed(1), 0, out, out_len));
	qpb_service_closed(v);
}

Test(service, datagrams_are_answered_one_by_one_however_they_are_cut, .init = set_up)
{
	static const struct qpb_request r[3] = {
		{.seed = 3, .request_bytes = 0, .answer_bytes = 10, .stamp = 5},
		{.seed = 4, .request_bytes = 100, .answer_bytes = QPB_ENDLESS, .stamp = 6},
		{.flags = QPB_ECHO, .seed = 5, .request_bytes = 30, .answer_bytes = 30, .stamp = 7},
	};
	uint8_t in[512];
	uint32_t len;
	struct qpb_request back;

	bench.cfg.scenario = QPB_UDP;
	len = requests(in, r, 3, true);
	for (uint32_t cut = 1; cut <= len; cut++) {
		run(in, len, cut, false);
		cr_assert_eq(worker.total.dgrams_arrived, 3);
		cr_assert_eq(worker.total.dgrams_answered, 2, "the second wants none");
		cr_assert_eq(out_len, 2 * (4 + QPB_REQUEST_BYTES) + 40);
		cr_assert_eq(qp_get_u32(out), QPB_REQUEST_BYTES + 10);
		cr_assert_eq(qpb_request_get(&back, out + 4), 0);
		cr_assert_eq(back.stamp, 5);
		cr_assert(qpb_pattern_matches(qpb_answer_seed(3), 0, out + 44, 10));
		cr_assert_eq(qpb_request_get(&back, out + 58), 0);
		cr_assert_eq(back.stamp, 7);
		cr_assert(qpb_pattern_matches(5, 0, out + 98, 30));
	}
}

Test(service, changed_payload_is_wrong_and_resets, .init = set_up)
{
	static const struct qpb_request r = {.seed = 3, .request_bytes = 100, .answer_bytes = 5000};
	uint8_t in[512];
	uint32_t len = requests(in, &r, 1, false);

	for (uint32_t at = 4; at < len; at++) {
		/* Seed, answer's length and stamp are the user's to choose. */
		if (at >= 12 && at < 44)
			continue;
		in[at] ^= 0x80;
		run(in, len, 64, true);
		cr_assert(aborted && !fin, "byte %u", at);
		cr_assert_eq(worker.total.service_wrong, 1);
		in[at] ^= 0x80;
	}
}

Test(service, bytes_before_the_answer_is_out_are_wrong, .init = set_up)
{
	static const struct qpb_request r[2] = {
		{.seed = 3, .request_bytes = 5, .answer_bytes = 500000},
		{.seed = 4, .request_bytes = 5, .answer_bytes = 5}};
	uint8_t in[512];
	uint32_t len = requests(in, r, 2, false);

	run(in, len, len, true);
	cr_assert(aborted);
	cr_assert_eq(worker.total.service_wrong, 1);
}

/* Else what users send faster than they take it back fills all packet buffers. */
Test(service, an_echo_takes_no_more_than_it_gets_rid_of, .init = set_up)
{
	static const struct qpb_request r = {
		.flags = QPB_ECHO, .seed = 6, .request_bytes = QPB_ENDLESS};
	struct qpb_service *v = qpb_service_new(&client, NULL);
	static uint8_t in[16384];
	uint64_t sent;

	memcpy(in, CONN_ID, 4);
	qpb_request_put(&r, in + 4);
	qpb_service_data(v, in, 4 + QPB_REQUEST_BYTES, false);
	sent = 4 + QPB_REQUEST_BYTES;
	for (uint64_t at = 0; at < 512u * 1024; at += sizeof(in)) {
		qpb_pattern_fill(r.seed, at, in, sizeof(in));
		qpb_service_data(v, in, sizeof(in), false);
		sent += sizeof(in);
		queued = out_len; /* nothing is acknowledged */
	}
	cr_assert_eq(out_len, 512u * 1024);
	cr_assert_leq(consumed, 128u * 1024, "the rest of the window is not given anew");
	cr_assert_eq(conn_consumed, consumed);
	queued = 0;
	qpb_service_acked(v);
	cr_assert_eq(consumed, sent);
	queued = UINT32_MAX;
	qpb_pattern_fill(r.seed, 512u * 1024, in, 1);
	qpb_service_data(v, in, 1, false);
	cr_assert_eq(consumed, sent);
	qpb_service_closed(v);
	cr_assert_eq(conn_consumed, sent + 1, "the connection's credit outlives the stream");
}
