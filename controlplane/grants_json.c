/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/grants_json.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "controlplane/apitext.h"

static json_t *
ports(const struct qp_grants *g)
{
	static const char *const suffix[] = {"", "/tcp", "/udp"};
	json_t *list = json_array();
	char text[32];

	if (g->any_port)
		json_array_append_new(list, json_string("any"));
	for (unsigned i = 0; !g->any_port && i < g->nports; i++) {
		const struct qp_port_range *r = &g->ports[i];

		if (r->first == r->last)
			snprintf(text, sizeof(text), "%u%s", r->first, suffix[r->protocol]);
		else
			snprintf(text, sizeof(text), "%u-%u%s", r->first, r->last,
				suffix[r->protocol]);
		json_array_append_new(list, json_string(text));
	}
	if (json_array_size(list) == 0)
		json_array_append_new(list, json_string("none"));
	return list;
}

/* "10.0.0.0/8:443", "[2001:db8::]/32:80-90": as --allow-local-forward takes it. */
static json_t *
rule_text(const struct qp_allow_rule *r)
{
	bool v4 = IN6_IS_ADDR_V4MAPPED(&r->net) && r->bits >= 96;
	char addr[INET6_ADDRSTRLEN], text[96], behind[16] = "";

	if (v4)
		inet_ntop(AF_INET, r->net.s6_addr + 12, addr, sizeof(addr));
	else
		inet_ntop(AF_INET6, &r->net, addr, sizeof(addr));
	if (r->first == r->last)
		snprintf(behind, sizeof(behind), ":%u", r->first);
	else if (r->first > 1 || r->last < 65535)
		snprintf(behind, sizeof(behind), ":%u-%u", r->first, r->last);
	snprintf(text, sizeof(text), v4 ? "%s/%u%s" : "[%s]/%u%s", addr, r->bits - (v4 ? 96u : 0u),
		behind);
	return json_string(text);
}

static json_t *
locals(const struct qp_allow *a)
{
	json_t *list = json_array();

	if (a != NULL && a->any)
		json_array_append_new(list, json_string("any"));
	for (unsigned i = 0; a != NULL && !a->any && i < a->n; i++)
		json_array_append_new(list, rule_text(&a->rule[i]));
	if (json_array_size(list) == 0)
		json_array_append_new(list, json_string("none"));
	return list;
}

static json_t *
sources(const struct qp_grants *g)
{
	json_t *list = json_array();
	char text[QP_NETWORK_BYTES];

	for (unsigned i = 0; i < g->nsources; i++)
		json_array_append_new(list, json_string(qp_network_format(&g->sources[i], text)));
	return list;
}

static void
set_number(json_t *row, const char *name, uint64_t n)
{
	json_object_set_new(row, name, json_integer((json_int_t)n));
}

void
qp_grants_to_json(const struct qp_grants *g, json_t *row)
{
	const struct qp_policy_limits *l = &g->limits;
	char text[QP_TIME_BYTES];

	json_object_set_new(row, "ports", ports(g));
	json_object_set_new(row, "local_forwards", locals(g->locals));
	json_object_set_new(row, "sources", sources(g));
	set_number(row, "tunnels", l->tunnels);
	set_number(row, "forwards", l->forwards);
	set_number(row, "connections", l->conns);
	set_number(row, "connections_per_second", l->conns_per_s);
	set_number(row, "bandwidth_in", l->in_bytes_per_s * 8);
	set_number(row, "bandwidth_out", l->out_bytes_per_s * 8);
	if (g->expires_at != 0)
		json_object_set_new(
			row, "expires", json_string(qp_time_format(g->expires_at, text)));
}
