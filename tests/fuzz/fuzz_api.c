/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to the private API, behind the HTTP parser: method, path, headers
 * and body as a peer likes them. An input is a request as text: a line "METHOD
 * PATH", header lines, an empty line, the body. Whatever comes is answered,
 * errors as problem documents, JSON as JSON.
 */
#include "tests/fuzz/fuzz.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "controlplane/admin.h"
#include "controlplane/options.h"
#include "tests/controlplane/supervisor_double.h"

static bool
is_serving(void *ctx)
{
	return true;
}

static unsigned ended;

static void
end_tunnel(void *ctx, struct qp_tunnel *tun, const char *phrase)
{
	FUZZ_CHECK(strlen(phrase) <= 100);
	ended++;
}

static const struct qp_policy *
policy(void *ctx)
{
	static struct qp_policy *made;
	const struct qp_grants grants = {.nports = 1,
		.ports = &(const struct qp_port_range) {1, 9000, 9099},
		.limits = {.tunnels = 4}};
	uint8_t key[QP_KEY_BYTES] = {1};

	if (made != NULL)
		return made;
	made = qp_policy_new();
	FUZZ_CHECK(made != NULL);
	FUZZ_CHECK(qp_policy_add_key(
			   made, "alice", "homes", "/etc/x.yaml:12", key, &grants, NULL) == 0);
	key[0] = 2;
	FUZZ_CHECK(qp_policy_add_key(made, "bob", NULL, NULL, key, &grants, NULL) == 0);
	return made;
}

/* A write that is well-formed gets as far as here. */
static int
write_client(void *ctx, const struct qp_client_write *w, struct qp_errmsg *msg)
{
	FUZZ_CHECK(strlen(w->name) <= 63 && (w->entry == NULL || json_is_object(w->entry)));
	if (w->psk != NULL)
		return qp_fail(msg, QP_E_FULL, "too many clients are being written: try again");
	w->done(w->ctx, QP_WRITE_REFUSED, "(api):1: group: expected a group that is under `groups`");
	return 0;
}

static int
reload(void *ctx, const char *actor, struct qp_reload_result *out, struct qp_errmsg *msg)
{
	return qp_fail(msg, QP_E_INVAL, "/etc/x.yaml:3: workers: expected a number");
}

static struct qp_options options;

static struct qp_admin admin = {
	.policy = policy,
	.write_client = write_client,
	.reload = reload,
	.options = &options,
	.access = {.loopback = true},
	.metrics = supervisor_double_metrics,
	.serving = is_serving,
	.end_tunnel = end_tunnel,
};

static void
add_tunnel(uint64_t id)
{
	const struct qp_origin origin = {.server_id = 0x3039, .id = id};
	struct qp_tunnel *t = qp_tunnels_add(admin.tunnels, &origin, 0);

	FUZZ_CHECK(t != NULL);
	qp_tunnels_authenticated(admin.tunnels, t);
	t->identity = (struct qp_msg_identity) {
		.client_id = 1, .name = "alice", .since = 1700000000};
	t->peer_addr[15] = (uint8_t)id;
}

static void
set_up(void)
{
	struct qp_loop *loop = qp_loop_new();

	supervisor_double_begin();
	TAILQ_INIT(&admin.jobs);
	FUZZ_CHECK(qp_keys_init() == 0);
	admin.tunnels = qp_tunnels_new();
	admin.ports = qp_ports_new(&(struct qp_ports_config) {.tunnels = admin.tunnels});
	admin.events = qp_events_new();
	admin.stream = qp_event_stream_new(&(struct qp_event_stream_config) {
		.loop = loop, .events = admin.events, .stats = qp_admin_stats, .ctx = &admin});
	FUZZ_CHECK(admin.tunnels != NULL && admin.ports != NULL && admin.stream != NULL);
	for (uint64_t id = 0x1f; id < 0x24; id++)
		add_tunnel(id);
	qp_log_set_level(QP_LOG_ERROR);
}

/* The next line, its end made a NUL; NULL: there is none. */
static char *
next_line(char **at)
{
	char *line = *at, *end = strchr(line, '\n');

	if (end == NULL)
		return NULL;
	*end = '\0';
	*at = end + 1;
	return line;
}

static unsigned
split_query(char *path, struct qp_http_field *query)
{
	char *at = strchr(path, '?'), *rest = NULL, *part;
	unsigned n = 0;

	if (at == NULL)
		return 0;
	*at = '\0';
	for (part = strtok_r(at + 1, "&", &rest); part != NULL && n < QP_HTTP_FIELDS;
		part = strtok_r(NULL, "&", &rest)) {
		char *value = strchr(part, '=');

		if (value != NULL)
			*value++ = '\0';
		query[n++] = (struct qp_http_field) {part, value != NULL ? value : ""};
	}
	return n;
}

/* What the HTTP server makes of it; false: nothing. */
static bool
parse(char *text, const char *end, struct qp_http_request *req, struct qp_http_field *header,
	struct qp_http_field *query)
{
	char *at = text, *line = next_line(&at), *path;
	const char *type;

	if (line == NULL || (path = strchr(line, ' ')) == NULL)
		return false;
	*path++ = '\0';
	*req = (struct qp_http_request) {
		.method = line, .path = path, .header = header, .query = query, .fd = -1};
	req->nqueries = split_query(path, query);
	while ((line = next_line(&at)) != NULL && line[0] != '\0') {
		char *value = strchr(line, ':');

		if (value == NULL || req->nheaders == QP_HTTP_FIELDS)
			return false;
		*value++ = '\0';
		header[req->nheaders++] = (struct qp_http_field) {line, value + strspn(value, " ")};
	}
	type = qp_http_header(req, "Content-Type");
	req->content_type = type != NULL ? type : "";
	req->body = at;
	req->body_len = (size_t)(end - at);
	return true;
}

static void
check_answer(const struct qp_http_response *r)
{
	const char *type = r->content_type;
	json_t *body;

	FUZZ_CHECK(r->status >= 200 && r->status < 600);
	if (type == NULL || r->body == NULL)
		return;
	if (r->status >= 400 && r->status != 503)
		FUZZ_CHECK(strcmp(type, "application/problem+json") == 0);
	if (strstr(type, "json") == NULL)
		return;
	body = json_loadb(r->body, r->body_len, JSON_REJECT_DUPLICATES, NULL);
	FUZZ_CHECK(json_is_object(body));
	if (strcmp(type, "application/problem+json") == 0) {
		FUZZ_CHECK(json_integer_value(json_object_get(body, "status")) == (int)r->status);
		FUZZ_CHECK(json_is_string(json_object_get(body, "detail")));
		/* A field that is wrong comes with what it should have been. */
		FUZZ_CHECK((json_object_get(body, "field") == NULL) ==
			   (json_object_get(body, "expected") == NULL));
	}
	json_decref(body);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	struct qp_http_field header[QP_HTTP_FIELDS], query[QP_HTTP_FIELDS];
	struct qp_http_request req;
	struct qp_http_response resp = {0};
	char *text;

	if (size > QP_HTTP_BODY_BYTES)
		return 0;
	if (!ready)
		set_up();
	ready = true;
	text = malloc(size + 1);
	FUZZ_CHECK(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	if (parse(text, text + size, &req, header, query)) {
		qp_admin_answer(&admin, &req, &resp);
		check_answer(&resp);
		qp_http_response_clear(&resp);
	}
	free(text);
	return 0;
}
