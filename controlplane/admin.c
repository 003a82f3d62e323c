/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The private API: which path does what. Loop thread. Requests that change
 * something must be POST with JSON: a web page elsewhere cannot make a browser
 * send that without asking first.
 */
#include "controlplane/admin.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void
answer_error(struct qp_http_response *out, unsigned status, const char *why)
{
	json_t *body = json_pack("{s:s}", "error", why);
	char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;

	if (text != NULL)
		qp_http_json(out, status, text);
	free(text);
	json_decref(body);
}

/* Consumes `body`. */
static void
answer_json(struct qp_http_response *out, json_t *body)
{
	char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;

	if (text != NULL)
		qp_http_json(out, 200, text);
	free(text);
	json_decref(body);
}

static json_t *
data_plane_row(const struct qp_generation *g, bool with_start)
{
	struct qp_totals t;
	json_t *row;
	char id[16];

	memset(&t, 0, sizeof(t));
	qp_totals_add_generation(&t, g);
	snprintf(id, sizeof(id), "0x%04x", g->server_id);
	row = json_pack("{s:s, s:i, s:s, s:I, s:I, s:I}", "dp_id", id, "pid", (int)g->pid, "state",
		qp_generation_state_name(g->state), "active_tunnels",
		(json_int_t)t.c.tunnels_active, "bytes_sent", (json_int_t)t.c.relay_bytes_in,
		"bytes_received", (json_int_t)t.c.relay_bytes_out);
	if (row != NULL && with_start)
		json_object_set_new(row, "started_at", json_integer((json_int_t)g->started_at));
	return row;
}

static void
list_data_planes(struct qp_admin *a, json_t *args, struct qp_http_response *out)
{
	const struct qp_generation *g;
	json_t *rows = json_array();

	(void)args;
	TAILQ_FOREACH (g, qp_supervisor_generations(a->supervisor), next) {
		if (g->server_id != 0)
			json_array_append_new(rows, data_plane_row(g, false));
	}
	answer_json(out, json_pack("{s:o}", "data_planes", rows));
}

/* The data plane that {"dp_id": "0x3039"} names; NULL: answered already. */
static const struct qp_generation *
named_data_plane(struct qp_admin *a, json_t *args, struct qp_http_response *out)
{
	const char *text = json_string_value(json_object_get(args, "dp_id"));
	const struct qp_generation *g;
	unsigned long id;
	char *end;

	if (text == NULL || !isxdigit((unsigned char)text[0])) {
		answer_error(out, 400, "dp_id is missing: expected a string such as \"0x3039\"");
		return NULL;
	}
	id = strtoul(text, &end, 16);
	g = *end == '\0' && id <= 65535 ? qp_supervisor_find(a->supervisor, (uint32_t)id) : NULL;
	if (g == NULL)
		answer_error(out, 404, "no data plane has this dp_id");
	return g;
}

static void
get_data_plane_status(struct qp_admin *a, json_t *args, struct qp_http_response *out)
{
	const struct qp_generation *g = named_data_plane(a, args, out);

	if (g != NULL)
		answer_json(out, data_plane_row(g, true));
}

static void
shutdown_data_plane(struct qp_admin *a, json_t *args, struct qp_http_response *out)
{
	const struct qp_generation *g = named_data_plane(a, args, out);

	if (g == NULL)
		return;
	qp_supervisor_end(a->supervisor, g->server_id);
	answer_json(out, json_pack("{s:s}", "status", "shutdown_initiated"));
}

static const struct {
	const char *name;
	bool changes; /* not only reads */
	void (*run)(struct qp_admin *a, json_t *args, struct qp_http_response *out);
} calls[] = {
	{"ListDataPlanes", false, list_data_planes},
	{"GetDataPlaneStatus", false, get_data_plane_status},
	{"ShutdownDataPlane", true, shutdown_data_plane},
};

static bool
is_json(const char *content_type)
{
	static const char json[] = "application/json";
	size_t len = sizeof(json) - 1;

	return strncasecmp(content_type, json, len) == 0 &&
	       (content_type[len] == '\0' || content_type[len] == ';' || content_type[len] == ' ');
}

static void
answer_call(struct qp_admin *a, const char *name, const struct qp_http_request *req,
	struct qp_http_response *out)
{
	json_t *args;

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (strcmp(calls[i].name, name) != 0)
			continue;
		if (strcmp(req->method, "POST") != 0) {
			qp_http_not_allowed(out, "POST");
			return;
		}
		if (!is_json(req->content_type)) {
			answer_error(out, 415, "Content-Type must be application/json");
			return;
		}
		if (calls[i].changes && !a->trusted) {
			answer_error(out, 403,
				"only possible while the private API listens on a loopback address");
			return;
		}
		args = json_loadb(req->body, req->body_len, JSON_REJECT_DUPLICATES, NULL);
		if (json_is_object(args))
			calls[i].run(a, args, out);
		else
			answer_error(out, 400, "the body is not a JSON object");
		json_decref(args);
		return;
	}
	answer_error(out, 404, "not found");
}

static void
answer_metrics(struct qp_admin *a, const struct qp_http_request *req, struct qp_http_response *out)
{
	struct qp_metrics m;

	if (strcmp(req->method, "GET") != 0 && strcmp(req->method, "HEAD") != 0) {
		qp_http_not_allowed(out, "GET, HEAD");
		return;
	}
	memset(&m, 0, sizeof(m));
	a->metrics(a->ctx, &m);
	out->status = 200;
	out->content_type = "text/plain; version=0.0.4; charset=utf-8";
	out->body = qp_metrics_text(&m, &out->body_len);
}

void
qp_admin_answer(void *ctx, const struct qp_http_request *req, struct qp_http_response *out)
{
	static const char prefix[] = "/api/v1/admin/";
	struct qp_admin *a = ctx;

	if (strcmp(req->path, "/healthcheck") == 0)
		qp_http_healthcheck(req, a->serving(a->ctx), out);
	else if (strcmp(req->path, "/metrics") == 0)
		answer_metrics(a, req, out);
	else if (strncmp(req->path, prefix, sizeof(prefix) - 1) == 0)
		answer_call(a, req->path + sizeof(prefix) - 1, req, out);
	else
		answer_error(out, 404, "not found");
}
