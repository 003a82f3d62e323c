/* SPDX-License-Identifier: Apache-2.0 */
/* Of the private API: forwarded ports, open or kept for their client. Loop thread. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/addr.h"
#include "controlplane/admin_calls.h"

/* One port of the list. Its place is its protocol and number. */
struct place {
	uint32_t at; /* protocol (TCP first) and port */
	const struct qp_port *open; /* NULL: leased */
	char client[QP_POLICY_NAME_BYTES];
	uint64_t since;
};

struct gathering {
	const struct qp_ports *ports;
	const char *client; /* NULL: all */
	uint8_t protocol; /* IPPROTO_…; 0: both */
	uint16_t port; /* 0: all */
	uint32_t after; /* 0: from the first */
	size_t n, cap;
	bool no_memory;
	struct place *v;
};

static uint32_t
place_of(uint8_t protocol, uint16_t port)
{
	return (protocol == IPPROTO_TCP ? 0x10000u : 0x20000u) | port;
}

static int
compare(const void *a, const void *b)
{
	uint32_t x = ((const struct place *)a)->at, y = ((const struct place *)b)->at;

	return x < y ? -1 : x > y;
}

/* NULL: it is not wanted. */
static struct place *
add(struct gathering *g, uint8_t protocol, uint16_t port, const char *client)
{
	uint32_t at = place_of(protocol, port);

	if (at <= g->after || (g->client != NULL && strcmp(g->client, client) != 0) ||
		(g->protocol != 0 && g->protocol != protocol) || (g->port != 0 && g->port != port))
		return NULL;
	if (g->n == g->cap) {
		size_t cap = g->cap != 0 ? 2 * g->cap : 256;
		struct place *v = reallocarray(g->v, cap, sizeof(g->v[0]));

		if (v == NULL) {
			g->no_memory = true;
			return NULL;
		}
		g->v = v;
		g->cap = cap;
	}
	g->v[g->n] = (struct place) {.at = at};
	snprintf(g->v[g->n].client, sizeof(g->v[0].client), "%s", client);
	return &g->v[g->n++];
}

static void
add_tunnel(void *ctx, struct qp_tunnel *t)
{
	const struct qp_port *p;

	LIST_FOREACH (p, &t->ports, of_tunnel) {
		struct place *at = add(ctx, p->protocol, p->port, t->identity.name);

		if (at != NULL)
			at->open = p;
	}
}

static void
add_lease(void *ctx, const struct qp_lease_row *row)
{
	struct gathering *g = ctx;
	struct place *at = qp_ports_find(g->ports, row->protocol, row->port) == NULL
				   ? add(g, row->protocol, row->port, row->client)
				   : NULL;

	if (at != NULL)
		at->since = row->granted_at;
}

static json_t *
row_of(const struct place *p)
{
	const struct qp_port *open = p->open;
	char id[QP_TUNNEL_ID_BYTES], dp[16], peer[QP_ADDR_TEXT_BYTES], since[QP_TIME_BYTES];
	json_t *row = json_pack("{s:s, s:i, s:s, s:s, s:s}", "protocol",
		p->at < 0x20000u ? "tcp" : "udp", "port", (int)(p->at & 0xffffu), "state",
		open != NULL ? "open" : "leased", "client", p->client, "since",
		qp_time_format(open != NULL ? open->opened_at : p->since, since));

	if (row == NULL || open == NULL)
		return row;
	json_object_set_new(
		row, "tunnel_id", json_string(qp_tunnel_id_format(&open->tunnel->origin, id)));
	json_object_set_new(
		row, "dp_id", json_string(qp_dp_id_format(open->tunnel->origin.server_id, dp)));
	json_object_set_new(row, "peer",
		json_string(
			qp_addr_format(open->tunnel->peer_addr, open->tunnel->peer_port_be, peer)));
	if (open->destination != NULL)
		json_object_set_new(row, "destination", json_string(open->destination));
	return row;
}

static bool
parse_cursor(const char *text, uint32_t *after)
{
	char again[16];
	unsigned port = 0;

	if (sscanf(text, "%*[a-z]:%5u", &port) != 1 || port > 65535)
		return false;
	*after = place_of(text[0] == 't' ? IPPROTO_TCP : IPPROTO_UDP, (uint16_t)port);
	snprintf(again, sizeof(again), "%s:%u", text[0] == 't' ? "tcp" : "udp", port);
	return strcmp(text, again) == 0;
}

static void
reply(struct qp_admin_call *c, struct gathering *g, unsigned limit)
{
	size_t n = g->n < limit ? g->n : limit;
	json_t *rows = json_array();
	char last[16];

	if (g->n > 0)
		qsort(g->v, g->n, sizeof(g->v[0]), compare);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(rows, row_of(&g->v[i]));
	if (n < g->n)
		snprintf(last, sizeof(last), "%s:%u", g->v[n - 1].at < 0x20000u ? "tcp" : "udp",
			(unsigned)(g->v[n - 1].at & 0xffffu));
	qp_admin_reply_rows(c->out, "ports", rows, n < g->n ? last : NULL);
}

void
qp_admin_list_ports(struct qp_admin_call *c)
{
	static const uint8_t of_wire[] = {0, IPPROTO_TCP, IPPROTO_UDP};
	struct qp_admin *a = c->admin;
	struct gathering g = {.ports = a->ports};
	const struct qp_generation *gen;
	struct qp_page page;

	g.client = qp_args_client_name(c->args, "client", false);
	g.protocol = of_wire[qp_args_protocol(c->args)];
	g.port = (uint16_t)qp_args_number(c->args, "port", 1, 65535, 0);
	qp_args_page(c->args, &page);
	if (page.cursor != NULL && !parse_cursor(page.cursor, &g.after))
		qp_args_bad_cursor(c->args);
	if (!qp_args_ok(c->args))
		return;
	TAILQ_FOREACH (gen, qp_supervisor_generations(a->supervisor), next)
		qp_tunnels_each_of(a->tunnels, gen->server_id, add_tunnel, &g);
	if (a->state != NULL && qp_state_each_lease(a->state, add_lease, &g) != 0)
		g.no_memory = true;
	if (g.no_memory)
		qp_problem_failed(c->out);
	else
		reply(c, &g, page.limit);
	free(g.v);
}
