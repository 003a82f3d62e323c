/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The private API: which path does what. Calls must be POST with JSON: a web
 * page elsewhere cannot make a browser send that without asking first. Loop
 * thread.
 */
#include "controlplane/admin.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/heap.h"
#include "controlplane/admin_calls.h"
#include "controlplane/web.h"

static const struct {
	const char *name;
	void (*run)(struct qp_admin_call *c);
} calls[] = {
	{"ListDataPlanes", qp_admin_list_data_planes},
	{"GetDataPlaneStatus", qp_admin_get_data_plane_status},
	{"DrainDataPlane", qp_admin_drain_data_plane},
	{"ShutdownDataPlane", qp_admin_shutdown_data_plane},
	{"ReplacePortOwner", qp_admin_replace_port_owner},
	{"ListNics", qp_admin_list_nics},
	{"ListTunnels", qp_admin_list_tunnels},
	{"KickTunnel", qp_admin_kick_tunnel},
	{"ListConnections", qp_admin_list_connections},
	{"GetConnections", qp_admin_get_connections},
	{"KickConnection", qp_admin_kick_connection},
	{"ListClients", qp_admin_list_clients},
	{"GetClient", qp_admin_get_client},
	{"PutClient", qp_admin_put_client},
	{"DeleteClient", qp_admin_delete_client},
	{"ListPorts", qp_admin_list_ports},
	{"BlockSource", qp_admin_block_source},
	{"UnblockSource", qp_admin_unblock_source},
	{"ListBlockedSources", qp_admin_list_blocked_sources},
	{"GetConfig", qp_admin_get_config},
	{"ReloadConfig", qp_admin_reload_config},
	{"GetLogLevels", qp_admin_get_log_levels},
	{"SetLogLevel", qp_admin_set_log_level},
};

#define NCALLS (sizeof(calls) / sizeof(calls[0]))

void
qp_admin_reply(struct qp_http_response *out, json_t *body)
{
	char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;

	json_decref(body);
	if (text == NULL) {
		qp_problem_failed(out);
		return;
	}
	out->status = 200;
	out->content_type = "application/json";
	out->body = text;
	out->body_len = strlen(text);
}

void
qp_admin_reply_rows(struct qp_http_response *out, const char *key, json_t *rows, const char *cursor)
{
	json_t *body = json_pack("{s:o}", key, rows);

	if (body != NULL && cursor != NULL)
		json_object_set_new(body, "next_cursor", json_string(cursor));
	qp_admin_reply(out, body);
}

void
qp_admin_audit(const struct qp_admin_call *c, const char *action, json_t *args)
{
	qp_record_admin(c->admin->records, c->actor, action, args);
}

static bool
is_json(const char *content_type)
{
	static const char json[] = "application/json";
	size_t len = sizeof(json) - 1;

	return strncasecmp(content_type, json, len) == 0 &&
	       (content_type[len] == '\0' || content_type[len] == ';' || content_type[len] == ' ');
}

/* No parameter is known but what a path says of itself. */
static bool
check_query(const struct qp_http_request *req, struct qp_http_response *out)
{
	if (req->nqueries == 0)
		return true;
	qp_problem_field(out, req->query[0].name, "no parameter behind \"?\"",
		"the path takes no parameter");
	return false;
}

static void
answer_call(struct qp_admin *a, const char *name, const char *actor,
	const struct qp_http_request *req, struct qp_http_response *out)
{
	struct qp_args args;
	size_t i;

	for (i = 0; i < NCALLS && strcmp(calls[i].name, name) != 0; i++)
		;
	if (i == NCALLS)
		qp_problem(out, 404, "there is no such path");
	else if (strcmp(req->method, "POST") != 0)
		qp_http_not_allowed(out, "POST");
	else if (!is_json(req->content_type))
		qp_problem(out, 415, "Content-Type must be application/json");
	else if (check_query(req, out) && qp_args_open(&args, req, out)) {
		calls[i].run(&(struct qp_admin_call) {
			.admin = a, .req = req, .args = &args, .out = out, .actor = actor});
		qp_args_close(&args);
	}
}

static void
answer_metrics(struct qp_admin *a, const struct qp_http_request *req, struct qp_http_response *out)
{
	struct qp_metrics m;

	if (!qp_http_reads(req, out) || !check_query(req, out))
		return;
	memset(&m, 0, sizeof(m));
	a->metrics(a->ctx, &m);
	out->status = 200;
	out->content_type = "text/plain; version=0.0.4; charset=utf-8";
	out->body = qp_metrics_text(&m, &out->body_len);
}

json_t *
qp_admin_stats(void *ctx)
{
	struct qp_admin *a = ctx;
	struct qp_metrics m;

	memset(&m, 0, sizeof(m));
	a->metrics(a->ctx, &m);
	return qp_stats_take(&a->stats, &m, qp_now_ns() / 1000000u);
}

/* What lasts goes first; figures can be read whatever happens, and SIGHUP reads another budget. */
static bool
heap_has_room(const struct qp_http_request *req, struct qp_http_response *out)
{
	const enum qp_heap_level level = qp_heap_level();

	if (level == QP_HEAP_ROOM ||
		(level == QP_HEAP_TIGHT && strcmp(req->path, "/api/v1/events") != 0))
		return true;
	qp_heap_log_refusal("requests to the API", qp_now_ns());
	qp_problem(out, 503,
		"the control plane's memory budget is reached (%" PRIu64 " of %" PRIu64
		" bytes): raise --control-plane-heap, or try again later",
		qp_heap_in_use(), qp_heap_budget());
	return false;
}

void
qp_admin_answer(void *ctx, const struct qp_http_request *req, struct qp_http_response *out)
{
	static const char prefix[] = "/api/v1/admin/";
	const struct qp_embedded *file = qp_web_find(req->path);
	bool health = strcmp(req->path, "/healthcheck") == 0;
	struct qp_admin *a = ctx;
	char actor[QP_ACTOR_BYTES];

	if (!qp_access_check(&a->access, req, file != NULL || health, actor, out))
		return;
	if (file != NULL) {
		if (check_query(req, out))
			qp_web_answer(file, req, out);
	} else if (health) {
		if (check_query(req, out))
			qp_http_healthcheck(req, a->serving(a->ctx),
				a->trouble != NULL ? a->trouble(a->ctx) : NULL, out);
	} else if (strcmp(req->path, "/metrics") == 0) {
		answer_metrics(a, req, out);
	} else if (!heap_has_room(req, out)) {
		return;
	} else if (strcmp(req->path, "/api/v1/events") == 0 && a->stream != NULL) {
		qp_event_stream_answer(a->stream, req, out);
	} else if (strncmp(req->path, prefix, sizeof(prefix) - 1) == 0) {
		answer_call(a, req->path + sizeof(prefix) - 1, actor, req, out);
	} else {
		qp_problem(out, 404, "there is no such path");
	}
}
