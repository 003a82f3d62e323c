/* SPDX-License-Identifier: Apache-2.0 */
/* Of the private API: tunnels. Loop thread. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "common/addr.h"
#include "controlplane/admin_jobs.h"

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
	return compare_origins(
		&(*(struct qp_tunnel *const *)a)->origin, &(*(struct qp_tunnel *const *)b)->origin);
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
		json_array_append_new(
			ports, json_pack("{s:s, s:i}", "protocol", qp_admin_protocol(p->protocol),
				       "port", (int)p->port));
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

/* ---- a page, and what its data planes say of it ---- */

struct list {
	struct qp_admin_job job;
	size_t n;
	struct qp_origin *origin; /* of the rows, in order */
	json_t *rows;
	bool more;
};

static void
clear(struct qp_admin_job *job)
{
	struct list *l = (struct list *)(void *)job;

	free(l->origin);
	json_decref(l->rows);
}

/* Its place in the page; l->n: not in it. */
static size_t
place_of(const struct list *l, const struct qp_origin *o)
{
	size_t low = 0, high = l->n;

	while (low < high) {
		size_t mid = (low + high) / 2;
		int order = compare_origins(&l->origin[mid], o);

		if (order == 0)
			return mid;
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return l->n;
}

static bool
is_in_page(struct qp_admin_job *job, const void *row)
{
	const struct list *l = (const struct list *)(const void *)job;

	return place_of(l, &((const struct qp_query_tunnel *)row)->origin) < l->n;
}

static void
add_figures(json_t *row, const struct qp_msg_tunnel_row *t)
{
	const struct qp_msg_usage *u = &t->usage;
	char peer[QP_ADDR_TEXT_BYTES];

	json_object_set_new(
		row, "peer", json_string(qp_addr_format(t->peer_addr, t->peer_port_be, peer)));
	json_object_set_new(row, "rtt_us", json_integer((json_int_t)t->rtt_us));
	json_object_set_new(row, "connections", json_integer((json_int_t)u->conns_now));
	json_object_set_new(row, "connections_total", json_integer((json_int_t)u->conns_total));
	json_object_set_new(row, "connections_refused", json_integer((json_int_t)u->conns_refused));
	json_object_set_new(row, "bytes_sent", json_integer((json_int_t)u->in_bytes));
	json_object_set_new(row, "bytes_received", json_integer((json_int_t)u->out_bytes));
}

static void
reply(struct list *l, struct qp_http_response *out)
{
	char last[QP_TUNNEL_ID_BYTES];

	qp_admin_reply_rows(out, "tunnels", json_incref(l->rows),
		l->more ? qp_tunnel_id_format(&l->origin[l->n - 1], last) : NULL);
}

static void
answer(struct qp_admin_job *job, const struct qp_query_page *page, struct qp_http_response *out)
{
	struct list *l = (struct list *)(void *)job;

	for (unsigned i = 0; i < page->n; i++)
		add_figures(json_array_get(l->rows, place_of(l, &page->tunnel[i].origin)),
			&page->tunnel[i].row);
	reply(l, out);
}

/* NULL: no memory. */
static struct list *
make_list(const struct gathering *g, unsigned limit)
{
	struct list *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	l->job = (struct qp_admin_job) {.answer = answer, .keep = is_in_page, .clear = clear};
	l->n = g->n < limit ? g->n : limit;
	l->more = l->n < g->n;
	l->rows = json_array();
	l->origin = calloc(l->n + 1, sizeof(l->origin[0]));
	for (size_t i = 0; l->origin != NULL && i < l->n; i++) {
		l->origin[i] = g->v[i]->origin;
		json_array_append_new(l->rows, qp_admin_tunnel_row(g->v[i]));
	}
	if (l->origin != NULL && json_array_size(l->rows) == l->n)
		return l;
	clear(&l->job);
	free(l);
	return NULL;
}

/* Figures are worth waiting for, but who is there is known without. */
static void
send_list(struct qp_admin_call *c, struct list *l)
{
	struct qp_query_ask ask = {.max = (unsigned)l->n};

	if (l->n > 0)
		ask.from = (struct qp_query_cursor) {
			.server_id = l->origin[0].server_id, .worker = l->origin[0].worker};
	/* In case that nobody can be asked. */
	reply(l, c->out);
	if (l->n == 0) {
		clear(&l->job);
		free(l);
	} else if (qp_admin_job_start(c, &l->job, &ask)) {
		qp_http_response_clear(c->out);
	}
}

void
qp_admin_list_tunnels(struct qp_admin_call *c)
{
	struct gathering g = {.client = qp_args_client_name(c->args, "client", false)};
	uint32_t dp_id = qp_args_dp_id(c->args, false);
	struct qp_page page;
	struct list *l = NULL;

	g.by_peer = qp_args_network(c->args, "peer", false, &g.peer);
	qp_args_page(c->args, &page);
	g.behind = page.cursor != NULL;
	if (g.behind && !qp_tunnel_id_parse(page.cursor, &g.after))
		qp_args_bad_cursor(c->args);
	if (qp_args_ok(c->args) && gather_all(c, &g, dp_id)) {
		if (g.n > 0)
			qsort(g.v, g.n, sizeof(g.v[0]), compare);
		l = make_list(&g, page.limit);
		if (l == NULL)
			qp_problem_failed(c->out);
	}
	free(g.v);
	if (l != NULL)
		send_list(c, l);
}

/* ---- KickTunnel ---- */

void
qp_admin_kick_tunnel(struct qp_admin_call *c)
{
	const char *reason = qp_args_text(c->args, "reason", 0, 100);
	uint64_t seconds = qp_args_number(c->args, "block_seconds", 1, 31536000, 0);
	struct qp_msg_network peer = {.prefix = 128};
	char id[QP_TUNNEL_ID_BYTES];
	struct qp_origin of;
	struct qp_tunnel *tun;
	json_t *blocked = NULL;

	qp_args_tunnel_id(c->args, true, &of);
	if (!qp_args_ok(c->args))
		return;
	tun = qp_tunnels_find(c->admin->tunnels, &of);
	if (tun == NULL || tun->state != QP_TUNNEL_AUTHENTICATED) {
		qp_problem(c->out, 404, "there is no tunnel %s", qp_tunnel_id_format(&of, id));
		return;
	}
	memcpy(peer.addr, tun->peer_addr, sizeof(peer.addr));
	/* Out before it is told to go: it would be back at once. */
	if (seconds != 0 &&
		(!qp_admin_can_block(c) || !qp_admin_block(c, &peer, seconds, reason, &blocked)))
		return;
	qp_admin_audit(c, "KickTunnel",
		json_pack("{s:s, s:s, s:s*}", "tunnel_id", qp_tunnel_id_format(&of, id), "client",
			tun->identity.name, "reason", reason));
	c->admin->end_tunnel(c->admin->ctx, tun,
		reason != NULL && reason[0] != '\0' ? reason : "ended by the gateway's operator");
	qp_admin_reply(c->out, json_pack("{s:s, s:o*}", "status", "kicked", "blocked", blocked));
}
