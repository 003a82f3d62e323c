/* SPDX-License-Identifier: Apache-2.0 */
/* Of the private API: clients, as the policy in force has them. Loop thread. */
#include <stdlib.h>
#include <string.h>

#include "controlplane/admin_calls.h"
#include "controlplane/grants_json.h"

/* Tunnels by client, for the clients of one page, which are sorted by name. */
struct counting {
	unsigned n;
	const char *name[QP_PAGE_MAX];
	unsigned tunnels[QP_PAGE_MAX];
};

static void
count(void *ctx, struct qp_tunnel *t)
{
	struct counting *c = ctx;
	unsigned low = 0, high = c->n;

	if (t->state != QP_TUNNEL_AUTHENTICATED)
		return;
	while (low < high) {
		unsigned mid = (low + high) / 2;
		int order = strcmp(c->name[mid], t->identity.name);

		if (order == 0)
			c->tunnels[mid]++;
		if (order == 0)
			return;
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
}

static void
count_all(const struct qp_admin *a, struct counting *c)
{
	const struct qp_generation *gen;

	TAILQ_FOREACH (gen, qp_supervisor_generations(a->supervisor), next)
		qp_tunnels_each_of(a->tunnels, gen->server_id, count, c);
}

static json_t *
row_of(const struct qp_admin *a, const struct qp_policy_client *c, unsigned tunnels)
{
	bool ours = qp_api_client_is(c);
	json_t *row = json_pack("{s:s, s:s, s:s, s:i}", "name", c->name, "kind",
		c->kind == QP_CLIENT_PSK ? "psk" : "x25519", "origin",
		ours                ? "api"
		: c->origin != NULL ? c->origin
				    : "",
		"tunnels_now", (int)tunnels);
	json_t *keys = ours ? qp_api_client_keys(a->clients, c->name) : NULL;

	if (row == NULL) {
		json_decref(keys);
		return NULL;
	}
	if (c->group != NULL)
		json_object_set_new(row, "group", json_string(c->group));
	if (keys != NULL)
		json_object_set_new(row, "public_keys", keys);
	qp_grants_to_json(&c->grants, row);
	return row;
}

json_t *
qp_admin_client_row(const struct qp_admin *a, const struct qp_policy_client *client)
{
	struct counting c = {.n = 1, .name = {client->name}};

	count_all(a, &c);
	return row_of(a, client, c.tunnels[0]);
}

/* The first client whose name is not before `name`, or is behind it. */
static unsigned
place_of(const struct qp_policy *p, const char *name, bool behind)
{
	unsigned low = 0, high = qp_policy_count(p);

	while (low < high) {
		unsigned mid = (low + high) / 2;
		int order = strcmp(qp_policy_at(p, mid)->name, name);

		if (order < 0 || (behind && order == 0))
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct filters {
	const char *group, *prefix; /* NULL: all */
	const char *cursor;
};

/* A page's clients; `*more`: there are some behind it. */
static unsigned
gather(const struct qp_policy *p, const struct filters *f, unsigned limit,
	const struct qp_policy_client **out, bool *more)
{
	const char *prefix = f->prefix != NULL ? f->prefix : "";
	bool behind = f->cursor != NULL && strcmp(f->cursor, prefix) >= 0;
	unsigned n = 0;

	*more = false;
	for (unsigned i = place_of(p, behind ? f->cursor : prefix, behind); i < qp_policy_count(p);
		i++) {
		const struct qp_policy_client *c = qp_policy_at(p, i);

		if (strncmp(c->name, prefix, strlen(prefix)) != 0)
			break;
		if (f->group != NULL && (c->group == NULL || strcmp(c->group, f->group) != 0))
			continue;
		*more = n == limit;
		if (*more)
			break;
		out[n++] = c;
	}
	return n;
}

static void
reply(struct qp_admin_call *call, const struct filters *f, unsigned limit)
{
	const struct qp_policy_client *client[QP_PAGE_MAX];
	struct counting *c = calloc(1, sizeof(*c));
	json_t *rows;
	bool more;

	if (c == NULL) {
		qp_problem_failed(call->out);
		return;
	}
	c->n = gather(call->admin->policy(call->admin->ctx), f, limit, client, &more);
	for (unsigned i = 0; i < c->n; i++)
		c->name[i] = client[i]->name;
	count_all(call->admin, c);
	rows = json_array();
	for (unsigned i = 0; i < c->n; i++)
		json_array_append_new(rows, row_of(call->admin, client[i], c->tunnels[i]));
	qp_admin_reply_rows(call->out, "clients", rows, more ? c->name[c->n - 1] : NULL);
	free(c);
}

void
qp_admin_list_clients(struct qp_admin_call *c)
{
	struct filters f = {.group = qp_args_client_name(c->args, "group", false),
		.prefix = qp_args_text(c->args, "prefix", 0, 63)};
	struct qp_page page;

	qp_args_page(c->args, &page);
	f.cursor = page.cursor;
	if (qp_args_ok(c->args))
		reply(c, &f, page.limit);
}

void
qp_admin_get_client(struct qp_admin_call *c)
{
	const char *name = qp_args_client_name(c->args, "name", true);
	const struct qp_policy_client *client;

	if (!qp_args_ok(c->args))
		return;
	client = qp_policy_by_name(c->admin->policy(c->admin->ctx), name);
	if (client == NULL)
		qp_problem(c->out, 404, "there is no client %s", name);
	else
		qp_admin_reply(c->out,
			json_pack("{s:o}", "client", qp_admin_client_row(c->admin, client)));
}
