/* SPDX-License-Identifier: Apache-2.0 */
/* Of the private API: data planes. Loop thread. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/admin_calls.h"

#define PLACE_BYTES 40u

static json_t *
row_of(const struct qp_generation *g, const struct qp_totals *t)
{
	char id[16];

	return json_pack("{s:s, s:i, s:s, s:I, s:I, s:I}", "dp_id",
		qp_dp_id_format(g->server_id, id), "pid", (int)g->pid, "state",
		qp_generation_state_name(g->state), "active_tunnels",
		(json_int_t)t->c.tunnels_active, "bytes_sent", (json_int_t)t->c.relay_bytes_in,
		"bytes_received", (json_int_t)t->c.relay_bytes_out);
}

json_t *
qp_admin_data_plane_row(const struct qp_generation *g)
{
	struct qp_totals t;

	memset(&t, 0, sizeof(t));
	qp_totals_add_generation(&t, g);
	return row_of(g, &t);
}

/*
 * Where a data plane stands in the list: the oldest first. It is kept for life, over
 * restarts of the control plane, too, so a cursor is good when its data plane is gone.
 */
struct place {
	uint64_t started_at;
	uint32_t id;
};

static bool
is_behind(const struct place *a, const struct place *b)
{
	return a->started_at != b->started_at ? a->started_at > b->started_at : a->id > b->id;
}

/* The first one behind `after`, whose place that becomes; NULL: there is none. They are few. */
static const struct qp_generation *
next_behind(const struct qp_generations *all, struct place *after)
{
	const struct qp_generation *g, *first = NULL;
	struct place at = {0};

	TAILQ_FOREACH (g, all, next) {
		const struct place here = {g->started_at, g->server_id};

		if (g->server_id == 0 || !is_behind(&here, after) ||
			(first != NULL && !is_behind(&at, &here)))
			continue;
		first = g;
		at = here;
	}
	if (first != NULL)
		*after = at;
	return first;
}

static const char *
format_place(const struct place *p, char out[PLACE_BYTES])
{
	snprintf(out, PLACE_BYTES, "%" PRIu64 "-%04" PRIx32, p->started_at, p->id);
	return out;
}

static bool
parse_place(const char *text, struct place *out)
{
	char again[PLACE_BYTES];

	return sscanf(text, "%" SCNu64 "-%" SCNx32, &out->started_at, &out->id) == 2 &&
	       strcmp(format_place(out, again), text) == 0;
}

void
qp_admin_list_data_planes(struct qp_admin_call *c)
{
	const struct qp_generations *all = qp_supervisor_generations(c->admin->supervisor);
	const struct qp_generation *g;
	struct place at = {0}, last;
	char cursor[PLACE_BYTES];
	struct qp_page page;
	json_t *rows;

	qp_args_page(c->args, &page);
	if (page.cursor != NULL && !parse_place(page.cursor, &at))
		qp_args_bad_cursor(c->args);
	if (!qp_args_ok(c->args))
		return;
	rows = json_array();
	while (json_array_size(rows) < page.limit && (g = next_behind(all, &at)) != NULL)
		json_array_append_new(rows, qp_admin_data_plane_row(g));
	last = at;
	g = next_behind(all, &at);
	qp_admin_reply_rows(
		c->out, "data_planes", rows, g != NULL ? format_place(&last, cursor) : NULL);
}

/* The data plane that {"dp_id": "0x3039"} names; NULL: answered already. */
static const struct qp_generation *
named(struct qp_admin_call *c)
{
	uint32_t id = qp_args_dp_id(c->args, true);
	const struct qp_generation *g;

	if (!qp_args_ok(c->args))
		return NULL;
	g = qp_supervisor_find(c->admin->supervisor, id);
	if (g == NULL)
		qp_problem(c->out, 404, "no data plane has this dp_id");
	return g;
}

/* Of the one that would drain now if it had not failed. */
static void
set_handover_error(json_t *row, const struct qp_admin *a, const struct qp_generation *g)
{
	const char *why = a->handover_error != NULL ? a->handover_error(a->ctx) : NULL;

	if (why != NULL && g->state == QP_DP_ACTIVE)
		json_object_set_new(row, "handover_error", json_string(why));
}

void
qp_admin_get_data_plane_status(struct qp_admin_call *c)
{
	const struct qp_generation *g = named(c);
	struct qp_totals t;
	json_t *row;

	if (g == NULL)
		return;
	memset(&t, 0, sizeof(t));
	qp_totals_add_generation(&t, g);
	row = row_of(g, &t);
	if (row != NULL) {
		json_object_set_new(row, "started_at", json_integer((json_int_t)g->started_at));
		json_object_set_new(row, "workers", json_integer((json_int_t)g->nworkers));
		json_object_set_new(
			row, "active_connections", json_integer((json_int_t)t.c.conns_active));
		json_object_set_new(row, "drops", qp_totals_drops(&t));
		set_handover_error(row, c->admin, g);
	}
	qp_admin_reply(c->out, row);
}

static json_t *
dp_argument(const struct qp_generation *g)
{
	char id[16];

	return json_pack("{s:s}", "dp_id", qp_dp_id_format(g->server_id, id));
}

/* Why a data plane is not drained. */
static void
refuse_drain(struct qp_admin_call *c, int err, const struct qp_errmsg *msg)
{
	if (err == QP_E_INVAL)
		qp_admin_refuse_config(c->out, msg->text);
	else if (err == QP_E_INUSE || err == QP_E_NOMEM || err == QP_E_FULL)
		qp_problem(c->out, 409, "%s", msg->text);
	else
		qp_problem(c->out, err == QP_E_UNSUPPORTED ? 501 : 500, "%s", msg->text);
}

void
qp_admin_drain_data_plane(struct qp_admin_call *c)
{
	const struct qp_generation *g = named(c);
	struct qp_errmsg msg;
	int err;

	if (g == NULL)
		return;
	err = c->admin->hand_over != NULL
		? c->admin->hand_over(c->admin->ctx, c->actor, g->server_id, &msg)
		: qp_fail(&msg, QP_E_UNSUPPORTED, "data planes are not started here");
	if (err != 0) {
		refuse_drain(c, err, &msg);
		return;
	}
	qp_admin_audit(c, "DrainDataPlane", dp_argument(g));
	qp_admin_reply(c->out, json_pack("{s:s}", "status", "draining"));
}

void
qp_admin_shutdown_data_plane(struct qp_admin_call *c)
{
	const struct qp_generation *g = named(c);

	if (g == NULL)
		return;
	qp_admin_audit(c, "ShutdownDataPlane", dp_argument(g));
	qp_supervisor_end(c->admin->supervisor, g->server_id);
	qp_admin_reply(c->out, json_pack("{s:s}", "status", "shutdown_initiated"));
}

void
qp_admin_replace_port_owner(struct qp_admin_call *c)
{
	struct qp_errmsg msg;

	if (!qp_args_ok(c->args))
		return;
	if (c->admin->replace_owner == NULL) {
		qp_problem(c->out, 501, "there is no port owner here");
		return;
	}
	if (c->admin->replace_owner(c->admin->ctx, &msg) != 0) {
		qp_problem(c->out, 409, "%s", msg.text);
		return;
	}
	qp_admin_audit(c, "ReplacePortOwner", NULL);
	qp_admin_reply(c->out, json_pack("{s:s}", "status", "replacing"));
}
