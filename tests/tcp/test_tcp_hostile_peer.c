/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ours against a peer that does anything: valid and invalid segments, lies in
 * SACK, windows that shrink, overlaps with other bytes, ACKs of single bytes
 * and of what was never sent, urgent data, text after FIN, odd timestamps, junk
 * for options. Nothing breaks, answers are few, memory is bounded and returns.
 * QP_HOSTILE_SEEDS=n, QP_SEED=n.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include <rte_mempool.h>

#include "tests/tcp/eal.h"
#include "tests/tcp/simapp.h"
#include "tests/tcp/simpeer.h"

#define PORT        7000
#define PEER_PORT   40000
#define PATIENCE_NS (3 * 3600 * QP_SEC_NS)
#define ACTIONS     600
#define BUFFER      65536u
#define MBUFS_MOST  2048u /* for one connection with such buffers */

static struct rte_mempool *pool, *indirect;

static void
start(void)
{
	test_eal_init();
	pool = test_pool("payload", 8191, RTE_PKTMBUF_HEADROOM + 2048);
	indirect = test_pool("clones", 8191, 0);
}

TestSuite(tcp_hostile_peer, .init = start);

struct hostile {
	struct sim_host *h;
	uint64_t seed;
	struct qp_tcp_options syn_opt;
	bool active, got_syn, ts, reset;
	uint32_t iss, irs;
	uint32_t snd_nxt;    /* what it sent in order, by its own count */
	uint32_t seen_end;   /* behind the stack's farthest byte */
	uint32_t seen_ack;   /* the stack's farthest ACK */
	uint32_t clock;      /* its timestamps */
	unsigned actions;
	uint64_t sent, replies; /* segments to the stack, and empty ones from it */
	unsigned mbufs_most;
};

static uint32_t
upto(struct hostile *p, uint32_t n)
{
	return (uint32_t)(sim_random(p->h->sim) % n);
}

static void
out(struct hostile *p, struct sim_seg s)
{
	if (p->ts && !s.opt.has_ts && upto(p, 50) != 0) {
		s.opt.has_ts = true;
		s.opt.tsval = p->clock++;
	}
	p->sent++;
	sim_peer_send(p->h, PEER_PORT, PORT, &s);
}

/* An ordinary segment, to be spoilt. */
static struct sim_seg
plain(struct hostile *p)
{
	return (struct sim_seg) {.flags = RTE_TCP_ACK_FLAG, .seq = p->snd_nxt, .ack = p->seen_end,
		.wnd = (uint16_t)(20000 + upto(p, 40000))};
}

static void
text(struct hostile *p, uint32_t seq, uint32_t len, bool right)
{
	static uint8_t data[1400];
	struct sim_seg s = plain(p);

	for (uint32_t i = 0; i < len; i++)
		data[i] = right ? sim_byte(p->seed, seq - p->iss - 1 + i) : (uint8_t)(sim_random(p->h->sim));
	s.seq = seq;
	s.data = data;
	s.len = len;
	if (upto(p, 20) == 0) {
		s.flags |= RTE_TCP_URG_FLAG;
		s.urgent = (uint16_t)upto(p, 2000);
	}
	out(p, s);
}

static void
lies_in_sack(struct hostile *p)
{
	struct sim_seg s = plain(p);
	uint32_t in_flight = RTE_MAX(p->seen_end - p->irs, 2u);

	s.ack = p->irs + 1 + upto(p, in_flight);
	s.opt.nsack = 1 + (uint8_t)upto(p, 3);
	for (unsigned i = 0; i < s.opt.nsack; i++) {
		uint32_t a = p->irs + upto(p, in_flight + 3000), n = upto(p, 4) ? upto(p, 6000) : upto(p, 3);

		s.opt.sack[i] = (struct qp_tcp_sack) {a, a + n};
	}
	out(p, s);
}

/* RFC 5681, 2: none of this may make the sender faster than its data is delivered. */
static void
odd_acks(struct hostile *p)
{
	struct sim_seg s = plain(p);
	uint32_t n = 1 + upto(p, 8);

	switch (upto(p, 5)) {
	case 0: /* division */
		for (uint32_t i = n; i > 0; i--) {
			s.ack = p->seen_end - i;
			out(p, s);
		}
		break;
	case 1: /* optimism */
		s.ack = p->seen_end + 1 + upto(p, 100000);
		out(p, s);
		break;
	case 2: /* the past */
		s.ack = p->irs - upto(p, 100000);
		out(p, s);
		break;
	default: /* repetition */
		s.ack = p->seen_end - upto(p, RTE_MAX(1u, p->seen_end - p->irs));
		for (uint32_t i = 0; i < n; i++)
			out(p, s);
	}
}

static void
windows(struct hostile *p)
{
	struct sim_seg s = plain(p);

	s.wnd = upto(p, 3) ? (uint16_t)upto(p, 1000) : 0;
	s.ack = p->seen_end - upto(p, 2) * upto(p, 3000);
	out(p, s);
}

static void
out_of_order(struct hostile *p)
{
	uint32_t far = upto(p, 3) ? 20000 : 200000, at = p->snd_nxt + upto(p, far);

	if (upto(p, 4) == 0) /* holes of single bytes */
		for (uint32_t i = 0; i < 20; i++)
			text(p, at + 2 * i, 1, upto(p, 2));
	else
		text(p, at - upto(p, 3000), 1 + upto(p, 1400), upto(p, 2));
}

static void
flags_and_junk(struct hostile *p)
{
	static uint8_t junk[40];
	struct sim_seg s = plain(p);

	s.seq += upto(p, 3) ? 0 : upto(p, 70000) - 35000;
	s.flags = (uint8_t)sim_random(p->h->sim);
	/* A reset at the very next number, with anything, ends the fun: rarely. */
	if ((s.flags & RTE_TCP_RST_FLAG) && upto(p, 20) != 0)
		s.seq = p->seen_ack + 1 + upto(p, 30000);
	if (upto(p, 2)) {
		for (size_t i = 0; i < sizeof(junk); i++)
			junk[i] = upto(p, 3) ? (uint8_t)upto(p, 12) : (uint8_t)sim_random(p->h->sim);
		s.junk = junk;
		s.junk_len = 4 * upto(p, 11);
	}
	out(p, s);
}

static void
odd_timestamp(struct hostile *p)
{
	struct sim_seg s = plain(p);

	s.opt.has_ts = true;
	s.opt.tsval = upto(p, 2) ? (uint32_t)sim_random(p->h->sim) : p->clock - upto(p, 1000);
	s.opt.tsecr = (uint32_t)sim_random(p->h->sim);
	/* One from the far future makes all others old: beyond the window, where it is not believed. */
	s.seq += upto(p, 10) ? 1000000 : 0;
	out(p, s);
}

static void
fin(struct hostile *p)
{
	struct sim_seg s = plain(p);

	s.flags |= RTE_TCP_FIN_FLAG;
	s.seq += upto(p, 2) * upto(p, 5000);
	out(p, s);
}

static void
act(struct hostile *p)
{
	uint32_t len;

	switch (upto(p, 16)) {
	case 0:
	case 1:
	case 2: /* in order, mostly right */
		len = 1 + upto(p, 1400);
		text(p, p->snd_nxt, len, true);
		p->snd_nxt += len;
		break;
	case 3: /* again, with other bytes */
		text(p, p->snd_nxt - upto(p, 2000), 1 + upto(p, 1400), false);
		break;
	case 4:
	case 5:
		out_of_order(p);
		break;
	case 6:
	case 7:
		odd_acks(p);
		break;
	case 8:
	case 9:
		lies_in_sack(p);
		break;
	case 10:
		windows(p);
		break;
	case 11:
		flags_and_junk(p);
		break;
	case 12:
		odd_timestamp(p);
		break;
	case 13:
		if (p->actions < ACTIONS / 3) /* not too soon */
			fin(p);
		break;
	default:
		out(p, plain(p));
	}
}

static void
on_frame(void *ctx, const uint8_t *frame, uint32_t len)
{
	struct hostile *p = ctx;
	struct sim_seg s;
	uint32_t end;

	if (!sim_peer_parse(frame, len, &s))
		return;
	if (s.flags & RTE_TCP_RST_FLAG) {
		p->reset = true;
		return;
	}
	end = s.seq + s.len + !!(s.flags & RTE_TCP_SYN_FLAG) + !!(s.flags & RTE_TCP_FIN_FLAG);
	p->replies += s.len == 0;
	if (s.flags & RTE_TCP_SYN_FLAG) {
		if (!p->got_syn) {
			p->irs = s.seq;
			p->seen_end = end;
			p->ts = s.opt.has_ts && p->syn_opt.has_ts;
		}
		p->got_syn = true;
		if (p->active)
			out(p, plain(p));
	}
	if (seq_lt(p->seen_end, end))
		p->seen_end = end;
	if ((s.flags & RTE_TCP_ACK_FLAG) && (p->seen_ack == 0 || seq_lt(p->seen_ack, s.ack)))
		p->seen_ack = s.ack;
}

static void
on_wake(void *ctx)
{
	struct hostile *p = ctx;
	struct sim_seg syn = {.flags = RTE_TCP_SYN_FLAG | (p->active ? 0 : RTE_TCP_ACK_FLAG), .seq = p->iss,
		.wnd = (uint16_t)sim_random(p->h->sim), .opt = p->syn_opt};

	p->mbufs_most = RTE_MAX(p->mbufs_most, rte_mempool_in_use_count(pool));
	p->h->wake_ns = p->actions == 0 ? UINT64_MAX : p->h->sim->now_ns + 1 + upto(p, 40) * QP_MS_NS;
	if (p->actions > 0)
		p->actions--;
	if (p->got_syn && (p->active || p->seen_ack != 0)) {
		act(p);
	} else if (p->active || p->got_syn) {
		syn.ack = p->active ? 0 : p->seen_end;
		p->h->lawless = false; /* the wiretap is to know its SYN */
		sim_peer_send(p->h, PEER_PORT, PORT, &syn);
		p->h->lawless = true;
	}
}

static void
open_ends(struct sim *sim, struct sim_app *a, struct hostile *p)
{
	static const uint16_t sizes[] = {1460, 536, 1, 0, 65535, 1440};
	struct qp_tcp_listener *l;
	struct qp_flow f = sim_flow(sim, 0, PEER_PORT);

	p->syn_opt = (struct qp_tcp_options) {.has_mss = upto(p, 6) != 0, .mss = sizes[upto(p, 6)],
		.has_ts = upto(p, 2), .tsval = p->clock, .sack_permitted = upto(p, 4) != 0,
		.has_wscale = upto(p, 2), .wscale = (uint8_t)upto(p, 15)};
	sim_take_over(p->h, on_frame, on_wake, p);
	p->h->wake_ns = sim->now_ns + 1;
	if (p->active) {
		cr_assert(qp_tcp_listen(sim->host[0].tcp, NULL, htons(PORT), &sim_app_ops, a, &l) == 0);
	} else {
		f.lport_be = htons(PORT);
		cr_assert(qp_tcp_connect(sim->host[0].tcp, &f, &sim_app_ops, a, &a->c) == 0);
	}
}

/* What the stack may at most have said: an answer a segment, and its own timers' segments. */
static const char *
verdict(const struct sim *sim, const struct sim_app *a, const struct hostile *p, uint64_t began_ns)
{
	const struct qp_tcp_counters *n = qp_tcp_counters(sim->host[0].tcp);
	uint64_t seconds = (sim->now_ns - began_ns) / QP_SEC_NS + 2;

	if (sim->broken[0] != '\0')
		return sim->broken;
	if (sim->host[0].tcp->nconns != 0)
		return "did not end";
	if (a->connected && !a->over)
		return "the application was not told";
	if (n->challenge_acks > seconds * QP_TCP_CHALLENGES)
		return "too many challenge ACKs";
	if (p->replies > p->sent + n->zero_window_probes + 2 * seconds)
		return "more answers than segments";
	if (p->mbufs_most > MBUFS_MOST)
		return "too much memory";
	if (a->acked > a->queued)
		return "more acknowledged than was sent";
	return NULL;
}

static const char *
run_seed(uint64_t seed)
{
	static struct sim sim;
	struct sim_line line = {.mtu = 1500, .max_frame_bytes = 65535, .delay_ns = 5 * QP_MS_NS};
	struct qp_tcp_config cfg;
	const char *bad;
	uint64_t began;

	qp_tcp_config_default(&cfg);
	cfg.max_conns = 16;
	cfg.rcv_buf_bytes = BUFFER;
	cfg.snd_buf_bytes = BUFFER;
	sim_start(&sim, seed, &line, &cfg, pool, indirect);
	began = sim.now_ns;
	struct hostile p = {.h = &sim.host[1], .seed = seed, .active = seed % 2, .actions = ACTIONS,
		.iss = (uint32_t)sim_random(&sim), .clock = (uint32_t)sim_random(&sim)};
	struct sim_app a = {.host = &sim.host[0], .slow = seed % 5 == 0, .seed_out = seed + 1,
		.seed_in = seed, .total = sim_random(&sim) % 400000};

	p.snd_nxt = p.iss + 1;
	p.h->lawless = true;
	open_ends(&sim, &a, &p);
	sim_run(&sim, &a, 1, began + PATIENCE_NS);
	for (int i = 0; i < 100000 && sim.now_ns < began + 2 * PATIENCE_NS && sim_step(&sim, UINT64_MAX); i++)
		continue;
	bad = verdict(&sim, &a, &p, began);
	rte_pktmbuf_free(a.kept);
	sim_stop(&sim);
	if (bad == NULL && rte_mempool_in_use_count(pool) + rte_mempool_in_use_count(indirect) != 0)
		return "mbufs leaked";
	return bad;
}

Test(tcp_hostile_peer, anything_any_seed_breaks_nothing, .timeout = 300)
{
	struct sim_seeds s = sim_seeds("QP_HOSTILE_SEEDS", 1000);

	for (uint64_t seed = s.first; seed <= s.last; seed++) {
		const char *bad = run_seed(seed);

		cr_expect(bad == NULL, "seed %llu: %s\n  again: QP_SEED=%llu QP_TRACE=1 test_tcp_hostile_peer",
			(unsigned long long)seed, bad, (unsigned long long)seed);
	}
}
