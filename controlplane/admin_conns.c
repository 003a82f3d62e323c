/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Of the private API: outside connections, which the data planes alone know.
 * Loop thread.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/addr.h"
#include "controlplane/admin_jobs.h"

struct list {
	struct qp_admin_job job;
	uint32_t dp_id; /* 0: all */
	bool by_peer;
	struct qp_msg_network peer;
	uint16_t port; /* 0: all */
	uint8_t protocol; /* 0: all */
};

static bool
keep(struct qp_admin_job *job, const void *row)
{
	const struct list *l = (const struct list *)(const void *)job;
	const struct qp_query_conn *c = row;

	return (l->dp_id == 0 || c->tunnel.server_id == l->dp_id) &&
	       (l->port == 0 || c->row.port == l->port) &&
	       (l->protocol == 0 || c->row.protocol == l->protocol) &&
	       (!l->by_peer || qp_network_contains(&l->peer, c->row.peer_addr));
}

static json_t *
row_of(struct qp_admin *a, const struct qp_query_conn *c)
{
	const struct qp_tunnel *tun = qp_tunnels_find(a->tunnels, &c->tunnel);
	char id[QP_TUNNEL_ID_BYTES], dp[16], peer[QP_ADDR_TEXT_BYTES];
	json_t *row = json_pack("{s:I, s:s, s:s, s:s, s:s, s:b, s:i, s:I, s:I, s:I}",
		"connection_id", (json_int_t)c->row.conn_id, "tunnel_id",
		qp_tunnel_id_format(&c->tunnel, id), "dp_id",
		qp_dp_id_format(c->tunnel.server_id, dp), "remote_addr",
		qp_addr_format(c->row.peer_addr, c->row.peer_port_be, peer), "protocol",
		c->row.protocol == 1 ? "tcp" : "udp", "local", c->row.local != 0, "port",
		(int)c->row.port, "age_ms", (json_int_t)c->row.age_ms, "bytes_sent",
		(json_int_t)c->row.in_bytes, "bytes_received", (json_int_t)c->row.out_bytes);

	if (row != NULL && tun != NULL && tun->state == QP_TUNNEL_AUTHENTICATED)
		json_object_set_new(row, "client", json_string(tun->identity.name));
	return row;
}

#define CURSOR_BYTES 48u

static const char *
format_cursor(const struct qp_query_cursor *c, char out[CURSOR_BYTES])
{
	snprintf(out, CURSOR_BYTES, "%04" PRIx32 ".%u.%" PRIx64, c->server_id, c->worker, c->at);
	return out;
}

static bool
parse_cursor(const char *text, struct qp_query_cursor *out)
{
	char again[CURSOR_BYTES];
	unsigned server_id, worker;

	if (sscanf(text, "%4x.%2u.%16" SCNx64, &server_id, &worker, &out->at) != 3)
		return false;
	out->server_id = server_id;
	out->worker = (uint16_t)worker;
	return strcmp(format_cursor(out, again), text) == 0;
}

static void
answer(struct qp_admin_job *job, const struct qp_query_page *page, struct qp_http_response *out)
{
	const struct list *l = (const struct list *)(const void *)job;
	char cursor[CURSOR_BYTES];
	json_t *rows;
	bool more = page->more && (l->dp_id == 0 || page->next.server_id <= l->dp_id);

	if (page->silent > 0) {
		qp_problem(out, 503, "%u workers of the data planes did not answer in time",
			page->silent);
		return;
	}
	rows = json_array();
	for (unsigned i = 0; i < page->n; i++)
		json_array_append_new(rows, row_of(job->admin, &page->conn[i]));
	qp_admin_reply_rows(
		out, "connections", rows, more ? format_cursor(&page->next, cursor) : NULL);
}

static void
start(struct qp_admin_call *c, const struct list *wanted, const struct qp_origin *of)
{
	struct list *l = malloc(sizeof(*l));
	struct qp_query_ask ask = {.conns = true, .of = of};
	struct qp_page page;

	qp_args_page(c->args, &page);
	ask.from.server_id = wanted->dp_id;
	if (page.cursor != NULL && !parse_cursor(page.cursor, &ask.from))
		qp_args_bad_cursor(c->args);
	ask.max = page.limit;
	if (l == NULL || !qp_args_ok(c->args)) {
		free(l);
		return;
	}
	if ((wanted->dp_id != 0 &&
		    qp_supervisor_find(c->admin->supervisor, wanted->dp_id) == NULL) ||
		(of != NULL && qp_tunnels_find(c->admin->tunnels, of) == NULL)) {
		qp_problem(
			c->out, 404, "there is no such %s", of != NULL ? "tunnel" : "data plane");
		free(l);
		return;
	}
	*l = *wanted;
	l->job = (struct qp_admin_job) {.answer = answer, .keep = keep};
	if (!qp_admin_job_start(c, &l->job, &ask))
		qp_problem(c->out, 503, "too many lists are asked for at once");
}

void
qp_admin_list_connections(struct qp_admin_call *c)
{
	struct list wanted = {0};
	struct qp_origin of;
	bool of_one = qp_args_tunnel_id(c->args, false, &of);

	wanted.by_peer = qp_args_network(c->args, "peer", false, &wanted.peer);
	wanted.port = (uint16_t)qp_args_number(c->args, "port", 1, 65535, 0);
	wanted.protocol = qp_args_protocol(c->args);
	start(c, &wanted, of_one ? &of : NULL);
}

void
qp_admin_get_connections(struct qp_admin_call *c)
{
	start(c, &(struct list) {.dp_id = qp_args_dp_id(c->args, true)}, NULL);
}

/* ---- KickConnection: first whether it is there ---- */

struct kick {
	struct qp_admin_job job;
	struct qp_origin tunnel;
	uint32_t conn_id;
};

static bool
is_the_one(struct qp_admin_job *job, const void *row)
{
	const struct kick *k = (const struct kick *)(const void *)job;

	return ((const struct qp_query_conn *)row)->row.conn_id == k->conn_id;
}

static void
kick(struct qp_admin_job *job, const struct qp_query_page *page, struct qp_http_response *out)
{
	const struct kick *k = (const struct kick *)(const void *)job;
	struct qp_msg m = {.type = QP_MSG_CONN_CLOSE, .conn_close = {.conn_id = k->conn_id}};

	if (page->silent > 0) {
		qp_problem(out, 503, "the data plane did not answer in time");
	} else if (page->n == 0) {
		qp_problem(out, 404, "the tunnel has no connection %" PRIu32 " (any more)",
			k->conn_id);
	} else {
		qp_send(&job->admin->sender, &k->tunnel, &m);
		qp_admin_reply(out, json_pack("{s:s}", "status", "kicked"));
	}
}

void
qp_admin_kick_connection(struct qp_admin_call *c)
{
	struct kick *k = calloc(1, sizeof(*k));
	struct qp_query_ask ask = {.conns = true, .max = 1};
	char id[QP_TUNNEL_ID_BYTES];
	struct qp_origin of = {0};
	uint32_t conn_id;

	qp_args_tunnel_id(c->args, true, &of);
	qp_args_need(c->args, "connection_id", "a connection's number");
	conn_id = (uint32_t)qp_args_number(c->args, "connection_id", 0, UINT32_MAX, 0);
	if (k == NULL || !qp_args_ok(c->args)) {
		free(k);
		return;
	}
	if (qp_tunnels_find(c->admin->tunnels, &of) == NULL) {
		qp_problem(c->out, 404, "there is no tunnel %s", qp_tunnel_id_format(&of, id));
		free(k);
		return;
	}
	*k = (struct kick) {
		.job = {.answer = kick, .keep = is_the_one}, .tunnel = of, .conn_id = conn_id};
	ask.of = &k->tunnel;
	/* Before it is done: who asks for it is known now. */
	qp_admin_audit(c, "KickConnection",
		json_pack("{s:s, s:I}", "tunnel_id", qp_tunnel_id_format(&of, id), "connection_id",
			(json_int_t)conn_id));
	if (!qp_admin_job_start(c, &k->job, &ask))
		qp_problem(c->out, 503, "too many questions at once");
}
