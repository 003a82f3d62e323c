/* SPDX-License-Identifier: Apache-2.0 */
/* The stack's parts that are pure: hashes, options, timeouts, CUBIC's curve. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "dataplane/tcp/internal.h"
#include "dataplane/tcp/siphash.h"

TestSuite(tcp_units);

static uint64_t now_ns;

/* A connection outside any table, as far as congestion control and timeouts look at it. */
static void
bare_conn(struct qp_tcp *tcp, struct qp_tcp_conn *c)
{
	memset(tcp, 0, sizeof(*tcp));
	memset(c, 0, sizeof(*c));
	now_ns = QP_SEC_NS;
	tcp->env.now_ns = &now_ns;
	tcp->cc = &qp_tcp_cubic;
	c->tcp = tcp;
	c->peer_mss = c->path_mss = 1000;
	c->rto_ns = QP_TCP_RTO_INIT_NS;
}

Test(tcp_units, siphash_gives_the_published_values)
{
	static const uint64_t key[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
	static const uint64_t words[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};

	/* Aumasson and Bernstein's vectors for messages of 0 and 8 bytes. */
	cr_expect(qp_siphash24(key, words, 0) == 0x726fdb47dd0e0e31);
	cr_expect(qp_siphash24(key, words, 1) == 0x93f5f5799a932462);
	cr_expect(qp_siphash13(key, words, 2) != qp_siphash24(key, words, 2));
}

Test(tcp_units, options_written_parse_back)
{
	for (unsigned set = 0; set < 64; set++) {
		struct qp_tcp_options o = {
			.has_mss = set & 1,
			.mss = set & 1 ? 1460 : 0,
			.has_wscale = set & 2,
			.wscale = set & 2 ? 9 : 0,
			.sack_permitted = set & 4,
			.has_ts = set & 8,
			.tsval = set & 8 ? 0xdeadbeef : 0,
			.tsecr = set & 8 ? 77 : 0,
			.nsack = set & 16 && !(set & 1) ? 1 + (set >> 5) : 0,
		}, back;
		uint8_t bytes[64], again[64];
		unsigned n;

		for (unsigned i = 0; i < o.nsack; i++)
			o.sack[i] = (struct qp_tcp_sack) {100 * i, 100 * i + 50};
		n = qp_tcp_options_write(bytes, &o);
		cr_expect(n <= QP_TCP_OPTIONS_MAX && n % 4 == 0);
		cr_expect(qp_tcp_options_parse(bytes, n, true, &back) == 0);
		cr_expect(back.has_mss == o.has_mss && back.nsack == o.nsack, "set %u", set);
		cr_expect(qp_tcp_options_write(again, &back) == n && memcmp(bytes, again, n) == 0,
			"set %u", set);
	}
}

Test(tcp_units, options_every_truncation_is_refused_or_shorter)
{
	static const uint8_t full[] = {2, 4, 5, 180, 1, 3, 3, 7, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 5,
		10, 0, 0, 0, 1, 0, 0, 0, 9, 99, 3, 1};
	struct qp_tcp_options o;

	for (unsigned n = 0; n <= sizeof(full); n++) {
		int rc = qp_tcp_options_parse(full, n, true, &o);
		bool whole = n == 0 || n == 4 || n == 5 || n == 8 || n == 10 || n == 20 || n == 30 ||
			     n == sizeof(full);

		cr_expect((rc == 0) == whole, "%u bytes", n);
	}
	cr_expect(o.has_mss && o.mss == 1460 && o.wscale == 7 && o.sack_permitted && o.tsecr == 2);
	/* Outside a SYN the first three mean nothing. */
	cr_expect(qp_tcp_options_parse(full, sizeof(full), false, &o) == 0);
	cr_expect(!o.has_mss && !o.has_wscale && !o.sack_permitted && o.has_ts && o.nsack == 1);
}

Test(tcp_units, options_window_scale_above_14_is_14)
{
	static const uint8_t bytes[] = {3, 3, 200, 0};
	struct qp_tcp_options o;

	cr_expect(qp_tcp_options_parse(bytes, 4, true, &o) == 0 && o.wscale == 14);
}

Test(tcp_units, rto_first_sample_then_smoothed_and_bounded)
{
	struct qp_tcp_conn c;
	struct qp_tcp tcp;

	bare_conn(&tcp, &c);
	qp_tcp_rtt_sample(&c, 400 * QP_MS_NS); /* RFC 6298, 2.2: R + 4 R/2 */
	cr_expect(c.rto_ns == 1200 * QP_MS_NS);
	for (int i = 0; i < 200; i++)
		qp_tcp_rtt_sample(&c, 100 * QP_MS_NS);
	cr_expect(c.srtt_ns > 99 * QP_MS_NS && c.srtt_ns < 101 * QP_MS_NS);
	cr_expect(c.rto_ns == QP_TCP_RTO_MIN_NS);
	for (int i = 0; i < 20; i++)
		qp_tcp_rto_backoff(&c);
	cr_expect(c.rto_ns == QP_TCP_RTO_MAX_NS);
	qp_tcp_rtt_sample(&c, 300 * QP_SEC_NS);
	cr_expect(c.rto_ns == QP_TCP_RTO_MAX_NS);
}

Test(tcp_units, rto_many_samples_a_round_trip_weigh_as_one)
{
	struct qp_tcp_conn one, many;
	struct qp_tcp tcp;

	bare_conn(&tcp, &one);
	bare_conn(&tcp, &many);
	many.snd_nxt = 40000; /* 20 ACKs expected in a round trip (RFC 7323, appendix G) */
	qp_tcp_rtt_sample(&one, 100 * QP_MS_NS);
	qp_tcp_rtt_sample(&many, 100 * QP_MS_NS);
	qp_tcp_rtt_sample(&one, 200 * QP_MS_NS);
	for (int i = 0; i < 20; i++)
		qp_tcp_rtt_sample(&many, 200 * QP_MS_NS);
	double ratio = (double)many.srtt_ns / (double)one.srtt_ns;
	cr_expect(ratio > 0.97 && ratio < 1.03, "%f", ratio);
}

/* One round trip of acknowledgments while cwnd is full. */
static void
round_trip(struct qp_tcp_conn *c, uint64_t rtt_ns)
{
	uint32_t left = c->cwnd;

	now_ns += rtt_ns;
	while (left >= 2000) {
		const struct qp_tcp_cc_ack ack = {.now_ns = now_ns, .acked = 2000, .delivered = 2000,
			.cwnd_limited = true};

		qp_tcp_cubic.acked(c, &ack);
		left -= 2000;
	}
}

Test(tcp_units, cubic_slow_start_doubles_each_round_trip)
{
	struct qp_tcp_conn c;
	struct qp_tcp tcp;

	bare_conn(&tcp, &c);
	qp_tcp_cubic.init(&c);
	cr_expect(c.cwnd == 10000);
	round_trip(&c, 50 * QP_MS_NS);
	cr_expect(c.cwnd == 20000);
	round_trip(&c, 50 * QP_MS_NS);
	cr_expect(c.cwnd == 40000);
}

Test(tcp_units, cubic_after_loss_returns_to_w_max_at_k_and_then_probes)
{
	const uint64_t rtt = 100 * QP_MS_NS;
	struct qp_tcp_conn c;
	struct qp_tcp tcp;
	uint32_t at_k, later;
	double k;

	bare_conn(&tcp, &c);
	qp_tcp_cubic.init(&c);
	c.srtt_ns = rtt;
	c.cwnd = 1000000;
	c.snd_nxt = 1000000;
	qp_tcp_cubic.congested(&c);
	cr_expect(c.ssthresh == 700000);
	c.cwnd = c.ssthresh;
	k = cbrt(1000 * 0.3 / 0.4); /* segments (RFC 9438, 4.2) */
	for (uint64_t start = now_ns; (double)(now_ns - start) < k * 1e9;)
		round_trip(&c, rtt);
	at_k = c.cwnd;
	cr_expect(at_k > 950000 && at_k < 1050000, "%u at K", at_k);
	for (uint64_t start = now_ns; (double)(now_ns - start) < k * 1e9;)
		round_trip(&c, rtt);
	later = c.cwnd;
	cr_expect(later > 1200000 && later < 1450000, "%u at 2 K", later);
}

Test(tcp_units, cubic_small_windows_grow_no_slower_than_reno)
{
	struct qp_tcp_conn c;
	struct qp_tcp tcp;
	uint32_t start;

	bare_conn(&tcp, &c);
	qp_tcp_cubic.init(&c);
	c.srtt_ns = 10 * QP_MS_NS;
	c.cwnd = 40000;
	c.snd_nxt = 40000;
	qp_tcp_cubic.congested(&c);
	c.cwnd = start = c.ssthresh;
	for (int i = 0; i < 20; i++)
		round_trip(&c, 10 * QP_MS_NS);
	/* RFC 9438, 4.3: alpha is 0.53 segments a round trip up to W_max. */
	cr_expect(c.cwnd >= start + 20 * 450, "%u", c.cwnd - start);
	cr_expect(c.cwnd <= start + 20 * 1100, "%u", c.cwnd - start);
}

Test(tcp_units, cubic_timeout_leaves_one_segment)
{
	struct qp_tcp_conn c;
	struct qp_tcp tcp;

	bare_conn(&tcp, &c);
	qp_tcp_cubic.init(&c);
	c.snd_nxt = 10000;
	qp_tcp_cubic.congested(&c);
	qp_tcp_cubic.timeout(&c);
	cr_expect(c.cwnd == 1000 && c.ssthresh == 7000);
}

Test(tcp_units, slab_gives_back_what_it_was_given)
{
	struct qp_slab s;
	void *p[3000];

	qp_slab_init(&s, 72);
	for (int i = 0; i < 3000; i++) {
		p[i] = qp_slab_get(&s);
		cr_assert(p[i] != NULL && (uintptr_t)p[i] % 16 == 0);
		memset(p[i], i & 0xff, 72);
	}
	for (int i = 0; i < 3000; i++) {
		for (int k = 0; k < 72; k++)
			cr_assert(((uint8_t *)p[i])[k] == (i & 0xff));
		qp_slab_put(&s, p[i]);
	}
	cr_expect(s.used == 0);
	void *chunks = s.chunks;
	for (int i = 0; i < 3000; i++)
		qp_slab_get(&s);
	cr_expect(s.chunks == chunks, "a second round needs no more memory");
	qp_slab_release(&s);
}

Test(tcp_units, slab_keeps_no_memory_of_a_crowd_that_has_left)
{
	struct qp_slab s;
	enum { CROWD = 100000 };
	void **p = calloc(CROWD, sizeof(*p));

	cr_assert_not_null(p);
	qp_slab_init(&s, 720);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < CROWD; i++)
			cr_assert_not_null(p[i] = qp_slab_get(&s));
		cr_expect(s.bytes > CROWD * 720 && s.mapped_bytes > 0);
		for (int i = 0; i < CROWD; i++)
			qp_slab_put(&s, p[i]);
		cr_expect(s.used == 0 && s.bytes == 0 && s.mapped_bytes == 0);
	}
	free(p);
	qp_slab_release(&s);
}
