/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nic mode's part of a data plane's death. Others may be about to hand it a
 * packet: its memory is freed when each worker of each of them has begun a turn
 * since its rings were taken off the list, which a sleeping one does within a
 * quarter of a second. Its transmit slot is free when its memory is. Loop thread.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/host.h"
#include "controlplane/gateway_internal.h"
#include "controlplane/memory.h"

#define LOOK_MS 10u
/* One that does not turn at all is killed for it long before, unless that is switched off. */
#define PATIENCE_NS 5000000000ull
/* The turn under way may have read the list before: it must end, and the next one begin. */
#define TURNS 2u

/* A worker that lived when the rings went. */
struct witness {
	uint32_t server_id;
	uint32_t worker;
	uint64_t loops;
};

struct qp_grave {
	LIST_ENTRY(qp_grave) next;
	struct qp_gateway *g;
	struct qp_loop_timer timer;
	uint32_t server_id;
	uint64_t since_ns;
	unsigned n;
	struct witness witness[QP_NIC_MAX_GENS * QP_MAX_WORKERS];
};

static uint64_t
loops_of(const struct qp_generation *gen, unsigned worker)
{
	return qp_shared_count(qp_dp_link_view(gen->link), worker,
		offsetof(struct qp_worker_shared, c.loops));
}

/* Gone, or it has turned. */
static bool
has_seen(const struct qp_gateway *g, const struct witness *w)
{
	const struct qp_generation *gen = qp_supervisor_find(g->supervisor, w->server_id);

	return gen == NULL || gen->link == NULL || loops_of(gen, w->worker) >= w->loops + TURNS;
}

static void
bury(struct qp_grave *grave)
{
	LIST_REMOVE(grave, next);
	qp_loop_timer_cancel(grave->g->loop, &grave->timer);
	qp_memory_reclaim(grave->server_id);
	free(grave);
}

static void
look(void *ctx)
{
	struct qp_grave *grave = ctx;

	while (grave->n > 0 && has_seen(grave->g, &grave->witness[grave->n - 1]))
		grave->n--;
	if (grave->n > 0 && qp_now_ns() - grave->since_ns < PATIENCE_NS) {
		qp_loop_timer_set(grave->g->loop, &grave->timer, LOOK_MS);
		return;
	}
	if (grave->n > 0)
		qp_log(QP_LOG_WARN, "a worker does not turn: a dead data plane's memory is freed all the same",
			QP_LOG_HEX("dp_id", grave->server_id),
			QP_LOG_HEX("of", grave->witness[grave->n - 1].server_id));
	bury(grave);
}

static void
call_witnesses(struct qp_grave *grave)
{
	const struct qp_generation *gen;
	const unsigned max = sizeof(grave->witness) / sizeof(grave->witness[0]);

	TAILQ_FOREACH (gen, qp_supervisor_generations(grave->g->supervisor), next) {
		for (unsigned w = 0; gen->link != NULL && w < gen->nworkers && grave->n < max; w++)
			grave->witness[grave->n++] = (struct witness) {
				gen->server_id, w, loops_of(gen, w)};
	}
}

void
qp_gateway_free_memory(void *ctx, uint32_t server_id)
{
	struct qp_gateway *g = ctx;
	struct qp_grave *grave = g->nicnet != NULL ? calloc(1, sizeof(*grave)) : NULL;

	/* At the end of all, nobody is left who could use it again. */
	if (grave == NULL || g->stopping) {
		free(grave);
		qp_memory_reclaim(server_id);
		return;
	}
	grave->g = g;
	grave->server_id = server_id;
	grave->since_ns = qp_now_ns();
	grave->timer = (struct qp_loop_timer) {.fire = look, .ctx = grave};
	LIST_INSERT_HEAD(&g->graves, grave, next);
	call_witnesses(grave);
	look(grave);
}

void
qp_gateway_close_graves(struct qp_gateway *g)
{
	struct qp_grave *grave;

	qp_memory_on_freed(NULL, NULL);
	while ((grave = LIST_FIRST(&g->graves)) != NULL) {
		LIST_REMOVE(grave, next);
		qp_loop_timer_cancel(g->loop, &grave->timer);
		free(grave);
	}
}

static void
on_freed(void *ctx, uint32_t server_id)
{
	struct qp_gateway *g = ctx;

	g->network.ops->generation_freed(g->network.net, server_id);
}

void
qp_gateway_nic_begin(struct qp_gateway *g)
{
	if (g->nicnet != NULL)
		qp_memory_on_freed(on_freed, g);
}

static bool
is_among(uint32_t id, const uint32_t *ids, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (ids[i] == id)
			return true;
	}
	return false;
}

void
qp_gateway_nic_adopted(struct qp_gateway *g)
{
	const struct qp_nic *nic = g->nicnet != NULL ? qp_nicnet_shared(g->nicnet) : NULL;
	uint32_t with_memory[QP_OWNER_LINK_IDS];
	const unsigned n = nic != NULL ? qp_memory_list(with_memory) : 0;

	for (unsigned i = 0; nic != NULL && i < QP_NIC_MAX_GENS; i++) {
		const uint32_t id = nic->gen[i].server_id;

		if (id == 0 || qp_supervisor_find(g->supervisor, id) != NULL)
			continue;
		g->network.ops->generation_remove(g->network.net, id);
		/* Else its memory is about to be freed, and the slot with it. */
		if (!is_among(id, with_memory, n))
			g->network.ops->generation_freed(g->network.net, id);
	}
}

/* False: there is no way to it. */
static bool
fill_farewell(struct qp_gateway *g, const struct qp_farewell_entry *e, struct qp_msg_farewell *out)
{
	struct qp_hostnet_route way;
	struct in6_addr peer;
	struct qp_errmsg msg;

	memcpy(&peer, e->peer, sizeof(peer));
	if (g->network.ops->route(g->network.net, &peer, &way, &msg) != 0)
		return false;
	memcpy(out->peer_addr, e->peer, sizeof(out->peer_addr));
	memcpy(out->local_addr, e->local, sizeof(out->local_addr));
	memcpy(out->token, e->token, sizeof(out->token));
	out->peer_port_be = e->peer_port_be;
	out->ifindex = way.ifindex;
	out->mtu = (uint16_t)way.mtu;
	return true;
}

int
qp_gateway_send_farewells(void *ctx, const struct qp_farewell_entry *e, unsigned n)
{
	struct qp_gateway *g = ctx;
	const struct qp_generation *gen = qp_supervisor_active(g->supervisor);
	const struct qp_origin to = {.server_id = gen != NULL ? gen->server_id : 0};
	unsigned taken = 0;

	if (gen == NULL)
		return -1;
	while (taken < n && qp_supervisor_has_room(g->supervisor, &to)) {
		struct qp_msg m = {.type = QP_MSG_FAREWELLS};

		for (; taken < n && m.farewells.n < QP_MSG_FAREWELLS_MAX; taken++)
			m.farewells.n += fill_farewell(g, &e[taken], &m.farewells.to[m.farewells.n]);
		if (m.farewells.n > 0)
			qp_supervisor_send(g->supervisor, &to, &m);
	}
	return (int)taken;
}

int
qp_gateway_check_lcores(const struct qp_options *o, struct qp_errmsg *msg)
{
	unsigned cpus[QP_MAX_CPUS];
	const unsigned n = qp_host_cpus(cpus);

	for (unsigned i = 0; i < o->nic.nlcores; i++) {
		unsigned k = 0;

		while (k < n && cpus[k] != o->nic.lcore[i])
			k++;
		if (k == n)
			return qp_fail(msg, QP_E_INVAL,
				"--lcores %.100s: this process may not run on CPU %u: give others "
				"(taskset -pc $$ shows them), or allow it (AllowedCPUs=, cpusets)",
				o->nic.lcores, o->nic.lcore[i]);
	}
	return 0;
}
