/* SPDX-License-Identifier: Apache-2.0 */
/* Of the private API: tunnels. Loop thread. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "common/addr.h"
#include "controlplane/admin_calls.h"

/* What is wanted of the table, gathered: in order of their ids, behind the cursor. */
struct gathering {
	const char *client; /* NULL: all */
	bool by_peer;
	struct qp_msg_network peer;
	bool behind; /* `after` counts */
	struct qp_origin after;
	size_t n, cap;
	bool no_memory;
	struct qp_tunnel **v;
};

static int
compare_origins(const struct qp_origin *a, const struct qp_origin *b)
{
	if (a->server_id != b->server_id)
		return a->server_id < b->server_id ? -1 : 1;
	if (a->worker != b->worker)
		return a->worker < b->worker ? -1 : 1;
	return a->id == b->id ? 0 : a->id < b->id ? -1 : 1;
}

static int
compare(const void *a, const void *b)
{
	return compare_origins(&(*(struct qp_tunnel *const *)a)->origin,
		&(*(struct qp_tunnel *const *)b)->origin);
}

static void
gather(void *ctx, struct qp_tunnel *t)
{
	struct gathering *g = ctx;

	if (t->state != QP_TUNNEL_AUTHENTICATED ||
		(g->client != NULL && strcmp(g->client, t->identity.name) != 0) ||
		(g->by_peer && !qp_network_contains(&g->peer, t->peer_addr)) ||
		(g->behind && compare_origins(&t->origin, &g->after) <= 0))
		return;
	if (g->n == g->cap) {
		size_t cap = g->cap != 0 ? 2 * g->cap : 256;
		struct qp_tunnel **v = reallocarray(g->v, cap, sizeof(g->v[0]));

		if (v == NULL) {
			g->no_memory = true;
			return;
		}
		g->v = v;
		g->cap = cap;
	}
	g->v[g->n++] = t;
}

const char *
qp_admin_protocol(uint8_t ipproto)
{
	return ipproto == IPPROTO_TCP ? "tcp" : "udp";
}

static json_t *
ports_of(const struct qp_tunnel *t)
{
	json_t *ports = json_array();
	const struct qp_port *p;

	LIST_FOREACH (p, &t->ports, of_tunnel)
		json_array_append_new(ports, json_pack("{s:s, s:i}", "protocol",
						     qp_admin_protocol(p->protocol), "port",
						     (int)p->port));
	return ports;
}

json_t *
qp_admin_tunnel_row(const struct qp_tunnel *t)
{
	const struct qp_msg_identity *who = &t->identity;
	bool has_key = who->method == QP_AUTH_X25519;
	char id[QP_TUNNEL_ID_BYTES], dp[16], peer[QP_ADDR_TEXT_BYTES], since[QP_TIME_BYTES];
	char key[QP_KEY_TEXT_BYTES];
	json_t *row = json_pack("{s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:o}", "tunnel_id",
		qp_tunnel_id_format(&t->origin, id), "dp_id",
		qp_dp_id_format(t->origin.server_id, dp), "worker", (int)t->origin.worker, "client",
		who->name, "method", has_key ? "x25519" : "psk", "peer",
		qp_addr_format(t->peer_addr, t->peer_port_be, peer), "since",
		qp_time_format(who->since, since), "ports", ports_of(t));

	if (row != NULL && has_key) {
		qp_key_format(who->key, key);
		json_object_set_new(row, "public_key", json_string(key));
	}
	return row;
}

static bool
gather_all(struct qp_admin_call *c, struct gathering *g, uint32_t dp_id)
{
	const struct qp_generation *gen;

	if (dp_id != 0 && qp_supervisor_find(c->admin->supervisor, dp_id) == NULL) {
		qp_problem(c->out, 404, "no data plane has this dp_id");
		return false;
	}
	TAILQ_FOREACH (gen, qp_supervisor_generations(c->admin->supervisor), next) {
		if (gen->server_id != 0 && (dp_id == 0 || gen->server_id == dp_id))
			qp_tunnels_each_of(c->admin->tunnels, gen->server_id, gather, g);
	}
	if (g->no_memory)
		qp_problem_failed(c->out);
	return !g->no_memory;
}

void
qp_admin_list_tunnels(struct qp_admin_call *c)
{
	struct gathering g = {.client = qp_args_client_name(c->args, "client", false)};
	uint32_t dp_id = qp_args_dp_id(c->args, false);
	char last[QP_TUNNEL_ID_BYTES];
	struct qp_page page;
	json_t *rows;
	size_t n;

	g.by_peer = qp_args_network(c->args, "peer", false, &g.peer);
	qp_args_page(c->args, &page);
	g.behind = page.cursor != NULL;
	if (g.behind && !qp_tunnel_id_parse(page.cursor, &g.after))
		qp_args_bad_cursor(c->args);
	if (qp_args_ok(c->args) && gather_all(c, &g, dp_id)) {
		if (g.n > 0)
			qsort(g.v, g.n, sizeof(g.v[0]), compare);
		n = g.n < page.limit ? g.n : page.limit;
		rows = json_array();
		for (size_t i = 0; i < n; i++)
			json_array_append_new(rows, qp_admin_tunnel_row(g.v[i]));
		qp_admin_reply_rows(c->out, "tunnels", rows,
			n < g.n ? qp_tunnel_id_format(&g.v[n - 1]->origin, last) : NULL);
	}
	free(g.v);
}
