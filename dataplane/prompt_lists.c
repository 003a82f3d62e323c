/* SPDX-License-Identifier: Apache-2.0 */
/* What the prompt asks workers for: their tunnels and neighbours. Main thread, which waits for them a little. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "common/addr.h"
#include "common/clock.h"
#include "dataplane/prompt_gateway_impl.h"

#define ANSWERS_NS (200ull * 1000 * 1000) /* for all workers together: the main thread has to show that it lives */
#define ROWS_MOST 10000u       /* that are shown */

/* A worker's next rows. False: it gives no answer until then. */
static bool
ask(const struct qp_prompt_gateway *g, unsigned worker, enum qp_sight_what what, uint32_t cursor,
	uint64_t until_ns)
{
	const struct timespec nap = {.tv_nsec = 100000};
	struct qp_sight *s = &g->sight[worker];
	const uint32_t question = atomic_load_explicit(&s->asked, memory_order_relaxed) + 1;

	/* A late answer to the last question may still be on its way. */
	if (question - 1 != atomic_load_explicit(&s->answered, memory_order_acquire))
		return false;
	s->what = what;
	s->cursor = cursor;
	atomic_store_explicit(&s->asked, question, memory_order_release);
	qp_prompt_gw_ring(g);
	while (atomic_load_explicit(&s->answered, memory_order_acquire) != question) {
		if (qp_now_ns() >= until_ns)
			return false;
		nanosleep(&nap, NULL);
	}
	return true;
}

static void
show_tunnel(struct qp_prompt_session *to, const struct qp_sight_row *r)
{
	char peer[QP_ADDR_TEXT_BYTES], forward[32] = "-";

	if (r->local)
		snprintf(forward, sizeof(forward), "local/%s", r->protocol == 2 ? "udp" : "tcp");
	else if (r->port != 0)
		snprintf(forward, sizeof(forward), "%u/%s", r->port, r->protocol == 2 ? "udp" : "tcp");
	qp_prompt_say(to, "  %-16" PRIx64 " %-20.20s %-24s %-10s %7u %15" PRIu64 " %15" PRIu64 " %8u\n", r->id,
		r->name, qp_addr_format(r->peer_addr, r->peer_port_be, peer), forward, r->usage.conns_now,
		r->usage.in_bytes, r->usage.out_bytes, r->rtt_us);
}

/* At most so many; how many there were. */
static uint32_t
show_tunnels_of(const struct qp_prompt_gateway *g, unsigned worker, uint32_t most, uint64_t until_ns,
	struct qp_prompt_session *to)
{
	const struct qp_sight *s = &g->sight[worker];
	uint32_t cursor = 0, shown = 0;

	qp_prompt_say(to, "\nTunnels of lcore %u:\n", g->lcore_base + 1 + worker);
	qp_prompt_say(to, "  %-16s %-20s %-24s %-10s %7s %15s %15s %8s\n", "ID", "CLIENT", "PEER", "FORWARD",
		"CONNS", "IN-BYTES", "OUT-BYTES", "RTT-US");
	do {
		if (!ask(g, worker, QP_SIGHT_TUNNELS, cursor, until_ns)) {
			qp_prompt_say(to, "  the worker gives no answer now: try again\n");
			return shown;
		}
		for (uint32_t i = 0; i < s->n; i++)
			show_tunnel(to, &s->row[i]);
		shown += s->n;
		cursor = s->next;
	} while (cursor != 0 && shown < most);
	if (cursor != 0)
		qp_prompt_say(to, "  … and more: quicport admin list-tunnels has all\n");
	qp_prompt_say(to, "  %u tunnels\n", shown);
	return shown;
}

void
qp_prompt_gw_show_tunnels(void *ctx, struct qp_prompt_session *to)
{
	const struct qp_prompt_gateway *g = ctx;
	const uint64_t until_ns = qp_now_ns() + ANSWERS_NS;
	uint32_t shown = 0;

	for (unsigned i = 0; i < g->nworkers; i++)
		shown += show_tunnels_of(g, i, shown < ROWS_MOST ? ROWS_MOST - shown : 0, until_ns, to);
}

static void
show_neighbour(struct qp_prompt_session *to, const struct qp_net_neighbour *e)
{
	char addr[INET6_ADDRSTRLEN] = "";
	const bool v4 = qp_ipaddr_is_v4(&e->addr);

	(void)inet_ntop(v4 ? AF_INET : AF_INET6, e->addr.b + (v4 ? 12 : 0), addr, sizeof(addr));
	qp_prompt_say(to, "  %-4u %-40s %02X:%02X:%02X:%02X:%02X:%02X  %s%s\n", e->port,
		addr, e->mac[0], e->mac[1], e->mac[2], e->mac[3], e->mac[4],
		e->mac[5], e->state, e->pinned ? " (a route leads by it)" : "");
}

void
qp_prompt_gw_show_neighbours(void *ctx, struct qp_prompt_session *to)
{
	const struct qp_prompt_gateway *g = ctx;
	const uint64_t until_ns = qp_now_ns() + ANSWERS_NS;

	for (unsigned i = 0; i < g->nworkers; i++) {
		const struct qp_sight *s = &g->sight[i];
		uint32_t cursor = 0, shown = 0;

		qp_prompt_say(to, "\nNeighbours of lcore %u:\n  %-4s %-40s %-18s %s\n", g->lcore_base + 1 + i,
			"PORT", "ADDRESS", "MAC", "STATE");
		do {
			if (!ask(g, i, QP_SIGHT_NEIGHBOURS, cursor, until_ns)) {
				qp_prompt_say(to, "  the worker gives no answer now: try again\n");
				break;
			}
			for (uint32_t k = 0; k < s->n; k++)
				show_neighbour(to, &s->neighbour[k]);
			shown += s->n;
			cursor = s->next;
		} while (cursor != 0 && shown < ROWS_MOST);
	}
}
