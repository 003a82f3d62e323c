/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator's clock: two hosts, what is on its way to each, what the line
 * does when. The line itself is simline.c, the wiretap simwatch.c.
 */
#include "tests/tcp/simnet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tcp/check.h"

#if defined(__SANITIZE_ADDRESS__)
#define SLOWER 10
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLOWER 10
#endif
#endif
#ifndef SLOWER
#define SLOWER 1
#endif

static uint64_t
number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text != NULL ? strtoull(text, NULL, 0) : otherwise;
}

struct sim_seeds
sim_seeds(const char *name, uint64_t n)
{
	uint64_t one = number("QP_SEED", 0), first = number("QP_FIRST", 1);

	if (one != 0)
		return (struct sim_seeds) {one, one};
	return (struct sim_seeds) {first, first + number(name, n / SLOWER) - 1};
}

uint64_t
sim_random(struct sim *sim)
{
	uint64_t z = sim->rnd += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

bool
sim_chance(struct sim *sim, double p)
{
	return p > 0 && (double)(sim_random(sim) >> 11) * 0x1p-53 < p;
}

static uint64_t
env_random(void *ctx)
{
	return sim_random(ctx);
}

void
sim_breaks(struct sim *sim, const char *what, uint32_t a, uint32_t b)
{
	if (sim->broken[0] == '\0')
		snprintf(sim->broken, sizeof(sim->broken), "%s (%u, %u) at %.6f s", what, a, b,
			(double)sim->now_ns / 1e9);
}

void
sim_deliver(struct sim_host *h, const uint8_t *frame, uint32_t len, uint16_t segsz)
{
	struct rte_mbuf *head = NULL;
	struct qp_packet pkt;

	if (h->input != NULL) {
		h->input(h->ctx, frame, len);
		return;
	}
	for (uint32_t at = 0; at < len;) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(h->pool);
		uint32_t n;

		if (m == NULL) { /* as a port without buffers: the frame is lost */
			h->sim->disturbed_ns = h->sim->now_ns;
			rte_pktmbuf_free(head);
			return;
		}
		n = RTE_MIN(len - at, (uint32_t)rte_pktmbuf_tailroom(m));
		memcpy(rte_pktmbuf_append(m, n), frame + at, n);
		at += n;
		if (head == NULL)
			head = m;
		else
			rte_pktmbuf_chain(head, m);
	}
	if (segsz != 0) {
		head->ol_flags |= RTE_MBUF_F_RX_LRO;
		head->tso_segsz = segsz;
	}
	if (qp_ip_parse(head, &pkt) != QP_IP_OK) {
		rte_pktmbuf_free(head);
	} else if (pkt.proto == IPPROTO_TCP) {
		sim_watch_arrives(h, frame, len, &pkt);
		qp_tcp_input(h->tcp, head, &pkt);
		sim_watch_quiet(h);
	} else {
		qp_tcp_icmp_input(h->tcp, head, &pkt);
	}
}

static void
start_host(struct sim *sim, int i, const struct sim_line *line, const struct qp_tcp_config *cfg)
{
	struct sim_host *h = &sim->host[i];
	struct qp_tcp_env env = {
		.now_ns = &sim->now_ns,
		.pool = h->pool,
		.indirect_pool = h->indirect,
		.own_mac = {2, 0, 0, 0, 0, (uint8_t)(i + 1)},
		.mtu = line->mtu,
		.max_frame_bytes = line->max_frame_bytes,
		.transmit = sim_line_transmit,
		.transmit_ctx = h,
		.random = env_random,
		.random_ctx = sim,
	};

	h->sim = sim;
	h->peer = &sim->host[1 - i];
	h->line = *line;
	h->wake_ns = UINT64_MAX;
	h->wheel = env.wheel = qp_wheel_new(sim->now_ns);
	memcpy(h->mac, env.own_mac, 6);
	if (sim->v6)
		h->addr = (struct qp_ipaddr) {.b = {0xfd, [15] = (uint8_t)(i + 1)}};
	else
		h->addr = qp_ipaddr_v4(rte_cpu_to_be_32(0x0a000001 + i));
	h->tcp = qp_tcp_new(&env, cfg);
}

void
sim_start_at(struct sim *sim, uint64_t seed, uint64_t now_ns, const struct sim_line *line,
	const struct qp_tcp_config *cfg, struct rte_mempool *pool, struct rte_mempool *indirect)
{
	uint64_t second;

	memset(sim, 0, sizeof(*sim));
	sim->rnd = seed;
	second = 1000000000 + sim_random(sim) % 1000000000;
	sim->now_ns = now_ns != 0 ? now_ns : second;
	sim->disturbed_ns = sim->now_ns;
	sim->v6 = seed % 3 == 2;
	sim->traced = getenv("QP_TRACE") != NULL;
	for (int i = 0; i < 2; i++) {
		sim->host[i].pool = pool;
		sim->host[i].indirect = indirect;
		start_host(sim, i, line, cfg);
	}
}

void
sim_start(struct sim *sim, uint64_t seed, const struct sim_line *line,
	const struct qp_tcp_config *cfg, struct rte_mempool *pool, struct rte_mempool *indirect)
{
	sim_start_at(sim, seed, 0, line, cfg, pool, indirect);
}

uint64_t
sim_wrap_ns(const struct sim *sim, int host, const struct qp_flow *flow, bool ts, uint32_t before)
{
	const struct qp_tcp *tcp = sim->host[host].tcp;
	uint64_t step = ts ? QP_MS_NS : 4000;
	uint32_t at = ts ? (uint32_t)(sim->now_ns / QP_MS_NS) + qp_tcp_ts_offset(tcp, flow) :
			   qp_tcp_isn(tcp, flow);

	return sim->now_ns + (uint64_t)(uint32_t)(0 - before - at) * step;
}

void
sim_stop(struct sim *sim)
{
	for (int i = 0; i < 2; i++) {
		struct sim_host *h = &sim->host[i];

		qp_tcp_free(h->tcp);
		qp_wheel_free(h->wheel);
	}
	for (int i = 0; i < 2; i++) {
		struct sim_packet *p;

		while ((p = sim->host[i].arrivals) != NULL) {
			sim->host[i].arrivals = p->next;
			free(p);
		}
	}
}

void
sim_take_over(struct sim_host *h, void (*input)(void *, const uint8_t *, uint32_t), void (*wake)(void *),
	void *ctx)
{
	qp_tcp_free(h->tcp);
	h->tcp = NULL;
	h->input = input;
	h->wake = wake;
	h->ctx = ctx;
}

void
sim_play(struct sim *sim, const struct sim_change *change, unsigned n)
{
	sim->change = change;
	sim->nchanges = n;
	sim->play_ns = sim->now_ns;
}

struct qp_flow
sim_flow(struct sim *sim, int from, uint16_t port)
{
	struct qp_flow f = {
		.local = sim->host[from].addr,
		.remote = sim->host[1 - from].addr,
		.rport_be = rte_cpu_to_be_16(port),
	};

	memcpy(f.l2.peer_mac, sim->host[1 - from].mac, 6);
	return f;
}

static uint64_t
next_ns(const struct sim *sim)
{
	uint64_t next = sim->nchanges != 0 ? sim->play_ns + sim->change->at_ns : UINT64_MAX;

	for (int i = 0; i < 2; i++) {
		const struct sim_host *h = &sim->host[i];

		next = RTE_MIN(next, h->tcp != NULL ? qp_wheel_next_ns(h->wheel) : h->wake_ns);
		if (h->arrivals != NULL)
			next = RTE_MIN(next, h->arrivals->at_ns);
	}
	return next;
}

static void
change_line(struct sim_line *l, const struct sim_change *c)
{
	switch (c->what) {
	case SIM_DOWN:
		l->down = c->value != 0;
		break;
	case SIM_RATE:
		l->bytes_per_s = c->value;
		break;
	case SIM_DELAY:
		l->delay_ns = c->value;
		break;
	case SIM_PATH_MTU:
		l->path_mtu = (uint16_t)c->value;
		break;
	}
}

static void
play(struct sim *sim)
{
	while (sim->nchanges != 0 && sim->play_ns + sim->change->at_ns <= sim->now_ns) {
		for (int i = 0; i < 2; i++) {
			if (sim->change->host < 0 || sim->change->host == i)
				change_line(&sim->host[i].line, sim->change);
		}
		sim->disturbed_ns = sim->now_ns;
		sim->change++;
		sim->nchanges--;
	}
}

static void
run_host(struct sim_host *h)
{
	struct sim *sim = h->sim;
	struct sim_packet *p;
	const char *bad;

	while ((p = h->arrivals) != NULL && p->at_ns <= sim->now_ns) {
		h->arrivals = p->next;
		sim_deliver(h, p->bytes, p->len, p->segsz);
		free(p);
	}
	if (h->tcp == NULL) {
		if (h->wake_ns <= sim->now_ns)
			h->wake(h->ctx);
		return;
	}
	qp_wheel_advance(h->wheel, sim->now_ns);
	qp_tcp_flush(h->tcp);
	sim_watch_settle(h);
	if (!sim->unchecked && sim->broken[0] == '\0' && (bad = tcp_check(h->tcp)) != NULL)
		sim_breaks(sim, bad, (uint32_t)(h - sim->host), 0);
}

bool
sim_step(struct sim *sim, uint64_t at_most_ns)
{
	uint64_t next = next_ns(sim);

	if (at_most_ns != UINT64_MAX)
		next = RTE_MIN(next, sim->now_ns + at_most_ns);
	if (next == UINT64_MAX)
		return false;
	sim->now_ns = RTE_MAX(sim->now_ns, next);
	play(sim);
	for (int i = 0; i < 2; i++)
		run_host(&sim->host[i]);
	return true;
}

uint64_t
sim_longest_rto_ns(const struct sim_host *h)
{
	uint64_t longest = 0;
	uint32_t n = 0;

	for (uint32_t i = 0; n < h->tcp->nconns && i <= h->tcp->bucket_mask; i++) {
		for (const struct qp_tcp_tcb *b = h->tcp->buckets[i]; b != NULL; b = b->next, n++) {
			if (b->state != QP_TCP_TIME_WAIT)
				longest = RTE_MAX(longest, ((const struct qp_tcp_conn *)b)->rto_ns);
		}
	}
	return longest;
}
