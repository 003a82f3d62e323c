/* SPDX-License-Identifier: Apache-2.0 */
/* The applications of a simulation, and the loop that runs it to its end. */
#include "tests/tcp/simapp.h"

#include <rte_mempool.h>

static void
moved(struct sim_app *a)
{
	a->progress_ns = a->host->sim->now_ns;
}

static struct rte_mbuf *
piece(struct sim_app *a, uint32_t n)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(a->host->pool);
	uint8_t *p = (uint8_t *)rte_pktmbuf_append(m, n);

	for (uint32_t i = 0; i < n; i++)
		p[i] = sim_byte(a->seed_out, a->queued + i);
	return m;
}

static void
give(struct sim_app *a)
{
	struct sim *sim = a->host->sim;

	if (a->c == NULL || !a->connected || (a->answers && !a->got_end))
		return;
	while (a->queued < a->total && sim->now_ns >= a->next_ns) {
		uint32_t n = (uint32_t)RTE_MIN(a->total - a->queued, 1 + sim_random(sim) % 2048);

		/* An application leaves some mbufs for what arrives. */
		if (n > qp_tcp_send_space(a->c) || rte_mempool_avail_count(a->host->pool) < 64)
			return;
		qp_tcp_send(a->c, piece(a, n));
		a->queued += n;
		if (a->think_ns != 0 && sim_chance(sim, 0.2))
			a->next_ns = sim->now_ns + 1 + sim_random(sim) % a->think_ns;
	}
	if (a->queued == a->total && !a->finished) {
		a->finished = true;
		qp_tcp_shutdown(a->c);
	}
}

static void
on_connected(void *ctx)
{
	struct sim_app *a = ctx;

	moved(a);
	a->connected = true;
	give(a);
}

static void
on_receive(void *ctx, struct rte_mbuf *chain)
{
	struct sim_app *a = ctx;

	moved(a);
	a->held += chain->pkt_len;
	for (const struct rte_mbuf *m = chain; m != NULL; m = m->next) {
		const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);

		for (uint32_t i = 0; i < m->data_len; i++)
			a->wrong |= p[i] != sim_byte(a->seed_in, a->received++);
	}
	if (a->slow) {
		rte_pktmbuf_free(a->kept);
		a->kept = chain;
		return;
	}
	rte_pktmbuf_free(chain);
	qp_tcp_consumed(a->c, (uint32_t)a->held);
	a->held = 0;
}

static void
on_receive_end(void *ctx)
{
	struct sim_app *a = ctx;

	moved(a);
	a->wrong |= a->got_end;
	a->got_end = true;
}

static void
on_acked(void *ctx, uint32_t bytes)
{
	struct sim_app *a = ctx;

	moved(a);
	a->acked += bytes;
	give(a);
}

static void
on_ended(void *ctx, enum qp_tcp_end why)
{
	struct sim_app *a = ctx;

	moved(a);
	if (why == QP_TCP_END_TIMEOUT || why == QP_TCP_END_NO_MEMORY)
		sim_watch_gave_up(a->host);
	a->over = true;
	a->why = why;
	a->c = NULL;
}

void
sim_app_accepted(struct sim_app *a, struct qp_tcp_conn *c)
{
	a->c = c;
	qp_tcp_set_ctx(c, a);
	on_connected(a);
}

static int
on_accept(void *listener_ctx, struct qp_tcp_conn *c)
{
	struct sim_app *a = listener_ctx;

	if (a->c != NULL || a->over) {
		sim_watch_resets(a->host); /* a refusal resets */
		return -1;
	}
	sim_app_accepted(a, c);
	return 0;
}

const struct qp_tcp_ops sim_app_ops = {
	.accept = on_accept,
	.connected = on_connected,
	.receive = on_receive,
	.receive_end = on_receive_end,
	.acked = on_acked,
	.ended = on_ended,
};

/* A slow reader takes a bit now and then. */
static void
take_some(struct sim_app *a)
{
	struct sim *sim = a->host->sim;
	uint32_t n;

	moved(a);
	if (!sim_chance(sim, 0.05))
		return;
	n = (uint32_t)RTE_MIN(a->held, 1 + sim_random(sim) % 60000);
	a->held -= n;
	qp_tcp_consumed(a->c, n);
}

static void
reset(struct sim_app *a)
{
	sim_watch_resets(a->host);
	qp_tcp_abort(a->c);
	sim_watch_quiet(a->host);
	a->c = NULL;
	a->aborted = true;
	a->over = true;
}

void
sim_app_turn(struct sim_app *a)
{
	if (a->c == NULL)
		return;
	if (a->abort_ns != 0 && a->host->sim->now_ns >= a->abort_ns) {
		reset(a);
		return;
	}
	if (a->slow && a->held > 0)
		take_some(a);
	if (a->c != NULL)
		give(a);
	qp_tcp_flush(a->host->tcp);
	sim_watch_settle(a->host);
}

uint64_t
sim_app_wait_ns(const struct sim_app *a)
{
	uint64_t now, wait = UINT64_MAX;

	if (a->c == NULL)
		return UINT64_MAX;
	now = a->host->sim->now_ns;
	if (a->held > 0)
		wait = 5 * QP_MS_NS;
	if (a->queued < a->total && a->next_ns > now)
		wait = RTE_MIN(wait, a->next_ns - now);
	if (a->abort_ns > now)
		wait = RTE_MIN(wait, a->abort_ns - now);
	return wait;
}

/* Does the line, or an application, give a reason to wait? Else a timeout must have ended it. */
static void
check_standstill(struct sim *sim, uint64_t progress_ns)
{
	const struct sim_line *l = &sim->host[0].line, *r = &sim->host[1].line;
	uint64_t slack = 2 * (l->delay_ns + l->jitter_ns + l->queue_ns + r->delay_ns + r->jitter_ns + r->queue_ns);
	uint64_t since = RTE_MAX(progress_ns, sim->disturbed_ns), rto;

	if (l->down || r->down)
		return;
	/* A timeout may have got shorter meanwhile: what it was at the last event bounds the wait. */
	if (since != sim->still_since_ns)
		sim->still_rto_ns = 0;
	sim->still_since_ns = since;
	for (int i = 0; i < 2; i++) {
		if (sim->host[i].tcp != NULL)
			sim->still_rto_ns = RTE_MAX(sim->still_rto_ns, sim_longest_rto_ns(&sim->host[i]));
	}
	rto = 2 * sim->still_rto_ns; /* a loss probe may go first (RFC 8985, 7.3) */
	if (sim->now_ns > since + rto + slack + QP_SEC_NS)
		sim_breaks(sim, "a standstill: ms since the last event, and the longest wait for a timeout",
			(uint32_t)((sim->now_ns - since) / QP_MS_NS), (uint32_t)(rto / QP_MS_NS));
}

bool
sim_run(struct sim *sim, struct sim_app *apps, unsigned n, uint64_t until_ns)
{
	while (sim->now_ns < until_ns && sim->broken[0] == '\0') {
		uint64_t wait = UINT64_MAX, progress = 0;
		bool over = true, one_sided = n != 2;

		for (unsigned i = 0; i < n; i++) {
			wait = RTE_MIN(wait, sim_app_wait_ns(&apps[i]));
			progress = RTE_MAX(progress, apps[i].progress_ns);
			over &= apps[i].over;
			/* Who was left by a reset that got lost may wait for a keep-alive. */
			one_sided |= apps[i].aborted || (apps[i].over && apps[i].why != QP_TCP_END_NORMAL);
		}
		if (over)
			return true;
		if (wait == UINT64_MAX && !one_sided)
			check_standstill(sim, progress);
		if (!sim_step(sim, wait))
			break;
		for (unsigned i = 0; i < n; i++)
			sim_app_turn(&apps[i]);
	}
	return false;
}
