/* SPDX-License-Identifier: Apache-2.0 */
/* Receive and send buffers that follow the path, and the budget over all. */
#include <criterion/criterion.h>


#include "tests/tcp/script.h"

TestSuite(tcp_buffer, .init = script_suite_start);

static struct script t;

/* One round trip of 20 ms in which the peer sends `n` segments of 1,000 bytes. */
static uint32_t at;

static void
round_of(uint32_t n)
{
	char s[64];

	for (uint32_t i = 0; i < n; i++) {
		snprintf(s, sizeof(s), "A %u+1000 ack 1 win 512 ts %u/%u", at,
			101 + (uint32_t)(t.now_ns / QP_MS_NS), qp_tcp_tsval(t.c) - 20);
		script_in_burst(&t, s);
		at += 1000;
	}
	script_flush(&t);
	script_ignore(&t);
	script_wait_ms(&t, 20);
}

static void
start(void)
{
	script_open(&t);
	script_establish(&t);
	at = 1;
}

Test(tcp_buffer, established_window_begins_with_64_KiB)
{
	start();
	cr_expect(t.c->rcv_tuned == 65536 && qp_tcp_rcv_space(t.c) == 65536);
	cr_expect(qp_tcp_send_buffer(t.c) == 65536);
	script_close(&t);
}

Test(tcp_buffer, established_faster_rounds_widen_the_window_up_to_the_share)
{
	uint32_t before;

	start();
	for (uint32_t n = 10; n <= 60; n += 10)
		round_of(n);
	before = t.c->rcv_tuned;
	cr_expect(before > 100000 && before < 250000, "%u after 60,000 bytes a round", before);
	for (uint32_t n = 60; n < 220; n += n / 2)
		round_of(n);
	round_of(1);
	cr_expect(t.c->rcv_tuned > 2 * before && t.c->rcv_tuned <= t.cfg.rcv_buf_bytes, "%u",
		t.c->rcv_tuned);
	cr_expect(!t.wrong);
	script_close(&t);
}

/* Its cwnd after so many segments lets twice as many out: a window below ends slow start's doubling. */
Test(tcp_buffer, established_slow_start_finds_the_window_open)
{
	start();
	for (uint32_t n = 10; n <= 320; n *= 2) {
		round_of(n);
		cr_expect(qp_tcp_rcv_space(t.c) >= 2000 * n, "%u after a round of %u000", qp_tcp_rcv_space(t.c), n);
	}
	script_close(&t);
}

Test(tcp_buffer, established_steady_rate_does_not_creep)
{
	uint32_t after;

	start();
	for (int i = 0; i < 10; i++)
		round_of(20);
	after = t.c->rcv_tuned;
	for (int i = 0; i < 200; i++)
		round_of(20);
	cr_expect(t.c->rcv_tuned == after, "%u, then %u", after, t.c->rcv_tuned);
	script_close(&t);
}

Test(tcp_buffer, established_reader_that_holds_keeps_its_window)
{
	start();
	t.hold = true;
	for (int i = 0; i < 6; i++)
		round_of(10);
	cr_expect(t.c->rcv_held == 60000 && t.c->rcv_tuned == 65536);
	cr_expect(t.tcp->held_bytes == 60000);
	script_consume(&t, 60000);
	cr_expect(t.tcp->held_bytes == 0);
	script_close(&t);
}

Test(tcp_buffer, budget_half_used_widens_nothing_and_used_up_takes_no_text)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 64;
	t.cfg.budget_bytes = 100000;
	script_open_cfg(&t);
	script_establish(&t);
	at = 1;
	t.hold = true;
	round_of(40);
	cr_expect(qp_tcp_memory(t.tcp) == QP_MEM_PLENTY);
	round_of(20);
	cr_expect(qp_tcp_memory(t.tcp) == QP_MEM_TIGHT);
	cr_expect(qp_tcp_rcv_space(t.c) == 0, "32 KiB, and more is held");
	script_close(&t);
}

Test(tcp_buffer, budget_counts_what_waits_out_of_order)
{
	start();
	script_ignore(&t);
	IN("A 1001+2000 ack 1 win 512 ts 102/_");
	cr_expect(t.tcp->held_bytes == 2000);
	IN("A 5001+1000 ack 1 win 512 ts 103/_");
	cr_expect(t.tcp->held_bytes == 3000);
	IN("A 1+1000 ack 1 win 512 ts 104/_");
	cr_expect(t.tcp->held_bytes == 1000);
	script_ignore(&t);
	qp_tcp_abort(t.c);
	cr_expect(t.tcp->held_bytes == 0);
	script_ignore(&t);
	script_close(&t);
}

/* Growth that memory forbids is made up for when there is some again. */
Test(tcp_buffer, mbufs_plenty_again_widens_at_the_same_rate)
{
	uint8_t level = QP_MEM_TIGHT;
	uint32_t before;

	start();
	t.tcp->env.mem_level = &level;
	for (uint32_t n = 10; n <= 30; n += 10)
		round_of(n);
	round_of(1);
	before = t.c->rcv_tuned;
	level = QP_MEM_PLENTY;
	for (int i = 0; i < 10; i++)
		round_of(30);
	cr_expect(before == 65536 && t.c->rcv_tuned > 70000, "%u, then %u", before, t.c->rcv_tuned);
	script_close(&t);
}

Test(tcp_buffer, budget_counts_the_send_queue_until_it_is_acknowledged)
{
	start();
	script_send(&t, 5000);
	cr_expect(t.tcp->held_bytes == 5000);
	script_ignore(&t);
	IN("A 1 ack 3001 win 512 ts 102/_");
	cr_expect(t.tcp->held_bytes == 2000);
	qp_tcp_abort(t.c);
	cr_expect(t.tcp->held_bytes == 0);
	script_ignore(&t);
	script_close(&t);
}

Test(tcp_buffer, send_buffer_follows_cwnd_up_to_the_bound)
{
	start();
	t.c->snd_wnd = 1 << 20;
	t.c->cwnd = 200000;
	cr_expect(qp_tcp_send_buffer(t.c) == 400000);
	t.c->cwnd = 900000;
	cr_expect(qp_tcp_send_buffer(t.c) == t.cfg.snd_buf_bytes);
	t.c->snd_wnd = 100000;
	cr_expect(qp_tcp_send_buffer(t.c) == 200000, "no more than the peer has room for, twice");
	script_close(&t);
}

/* RFC 7413: what of a SYN's text was taken before the handshake's end says nothing of the rounds after it. */
Test(tcp_buffer, fast_open_taken_at_once_window_still_widens)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 256;
	t.cfg.fastopen = true;
	script_open_cfg(&t);
	IN("S 0 win 65535 mss 1460 sackok ts 100/0 ws 7 tfo ask");
	OUT("SA 0 ack 1 mss 1460 sackok ts 0/100 ws 5 tfo good");
	IN("R 1");
	t.peer_port++;
	WAIT_MS(200);
	IN("S 0+100 win 20000 mss 1460 sackok ts 100/0 ws 7 tfo good");
	OUT("SA 0 ack 101 mss 1460 sackok ts 0/100 ws 5");
	IN("A 101 ack 1 win 512 ts 101/_");
	script_ignore(&t);
	at = 101;
	for (uint32_t n = 10; n <= 60; n += 10)
		round_of(n);
	cr_expect(t.c->rcv_tuned > 100000, "%u after 60,000 bytes a round", t.c->rcv_tuned);
	script_close(&t);
}
