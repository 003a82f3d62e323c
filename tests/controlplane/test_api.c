/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP servers: the private API's rules, and the public API over messages. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/heap.h"
#include "controlplane/admin.h"
#include "controlplane/public_api.h"
#include "tests/controlplane/supervisor_double.h"
#include "tests/controlplane/support.h"

static bool serving = true;

static bool
is_serving(void *ctx)
{
	return serving;
}

static struct qp_admin admin = {
	.access = {.loopback = true}, .metrics = supervisor_double_metrics, .serving = is_serving};

static unsigned
ask(const char *method, const char *path, const char *type, const char *body, char *answer)
{
	struct qp_http_request req = {.method = method,
		.path = path,
		.content_type = type,
		.body = body,
		.body_len = strlen(body)};
	struct qp_http_response resp = {0};

	qp_admin_answer(&admin, &req, &resp);
	snprintf(answer, 4096, "%.*s", (int)resp.body_len,
		resp.constant != NULL ? (const char *)resp.constant : resp.body);
	free(resp.body);
	return resp.status;
}

TestSuite(admin, .init = supervisor_double_begin);

#define JSON "application/json"
#define CALL "/api/v1/admin/"

Test(admin, healthcheck_follows_the_data_plane)
{
	char a[4096];

	cr_expect_eq(ask("GET", "/healthcheck", "", "", a), 200u);
	cr_expect_str_eq(a, "{\"status\":\"SERVING\"}");
	serving = false;
	cr_expect_eq(ask("GET", "/healthcheck", "", "", a), 503u);
	cr_expect_str_eq(a, "{\"status\":\"NOT_SERVING\"}");
	cr_expect_eq(ask("POST", "/healthcheck", "", "", a), 405u);
}

Test(admin, data_planes_are_listed_as_the_contract_says)
{
	char a[4096];

	cr_expect_eq(ask("POST", CALL "ListDataPlanes", JSON, "{}", a), 200u);
	cr_expect_str_eq(a,
		"{\"data_planes\":[{\"dp_id\":\"0x3039\",\"pid\":77,\"state\":\"ACTIVE\","
		"\"active_tunnels\":0,\"bytes_sent\":0,\"bytes_received\":0}]}");
	cr_expect_eq(ask("POST", CALL "GetDataPlaneStatus", JSON "; charset=utf-8",
			     "{\"dp_id\":\"0x3039\"}", a),
		200u);
	cr_expect_not_null(strstr(a, "\"started_at\":1700000000"));
}

Test(admin, shutdown_is_passed_on)
{
	char a[4096];

	cr_expect_eq(
		ask("POST", CALL "ShutdownDataPlane", JSON, "{\"dp_id\":\"0x3039\"}", a), 200u);
	cr_expect_str_eq(a, "{\"status\":\"shutdown_initiated\"}");
	cr_expect_eq(supervisor_double.told_to_end, 0x3039u);
}

Test(admin, shutdown_needs_post_and_json)
{
	char a[4096];

	cr_expect_eq(
		ask("POST", CALL "ShutdownDataPlane", "text/plain", "{\"dp_id\":\"0x3039\"}", a),
		415u);
	cr_expect_eq(ask("GET", CALL "ShutdownDataPlane", JSON, "{\"dp_id\":\"0x3039\"}", a), 405u);
	cr_expect_eq(supervisor_double.told_to_end, 0u);
}

/* First what lasts, then all calls; never what says how things are. */
Test(admin, heap_budget_reached_calls_are_refused_and_figures_are_not)
{
	const int64_t most = 1000 << 20; /* far above what the test has itself */
	char a[4096];

	qp_heap_set_budget(most);
	qp_heap_count(most - most / 8);
	cr_expect_eq(ask("GET", "/api/v1/events", "", "", a), 503u);
	cr_expect_not_null(strstr(a, "--control-plane-heap"));
	cr_expect_eq(ask("POST", CALL "ListDataPlanes", JSON, "{}", a), 200u);
	qp_heap_count(most / 8);
	cr_expect_eq(ask("POST", CALL "ListDataPlanes", JSON, "{}", a), 503u);
	cr_expect_eq(ask("GET", "/healthcheck", "", "", a), 200u);
	cr_expect_eq(ask("GET", "/metrics", "", "", a), 200u);
	qp_heap_count(-most);
	cr_expect_eq(ask("POST", CALL "ListDataPlanes", JSON, "{}", a), 200u);
	qp_heap_set_budget(0);
}

Test(admin, bad_requests_are_told_apart)
{
	static const struct {
		const char *body;
		unsigned status;
		const char *field; /* that the answer names */
	} bad[] = {{"", 400, NULL}, {"[]", 400, NULL}, {"{", 400, NULL}, {"{}", 400, "dp_id"},
		{"{\"dp_id\":12345}", 400, "dp_id"}, {"{\"dp_id\":\"\"}", 400, "dp_id"},
		{"{\"dp_id\":\"-1\"}", 400, "dp_id"}, {"{\"dp_id\":\"0x3039x\"}", 400, "dp_id"},
		{"{\"dp_id\":\"0xffffffffffffffffffff\"}", 400, "dp_id"},
		{"{\"dp_id\":\"0x3039\",\"dp_id\":\"0x3039\"}", 400, NULL},
		{"{\"dp_id\":\"0x3039\",\"more\":1}", 400, "more"},
		{"{\"dp_id\":\"0x3039\\u0000\"}", 400, NULL},
		{"{\"dp_id\":\"\xff\"}", 400, NULL}, {"{\"dp_id\":\"0x1\"}", 404, NULL},
		{"{\"dp_id\":\"0x0\"}", 404, NULL}};
	char a[4096];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_expect_eq(ask("POST", CALL "GetDataPlaneStatus", JSON, bad[i].body, a),
			bad[i].status, "%s", bad[i].body);
		json_t *parsed = json_loads(a, 0, NULL);
		cr_expect(json_is_string(json_object_get(parsed, "detail")), "%s", a);
		cr_expect_eq(json_integer_value(json_object_get(parsed, "status")), bad[i].status);
		const char *field = json_string_value(json_object_get(parsed, "field"));
		cr_expect(bad[i].field == NULL ? field == NULL
					       : field != NULL && strcmp(field, bad[i].field) == 0,
			"%s: %s", bad[i].body, a);
		json_decref(parsed);
	}
	cr_expect_eq(ask("POST", CALL "Nothing", JSON, "{}", a), 404u);
	cr_expect_eq(ask("GET", "/", "", "", a), 200u);
	cr_expect_eq(ask("POST", "/", "", "", a), 405u);
	cr_expect_eq(ask("GET", "/nothing", "", "", a), 404u);
	cr_expect_eq(ask("GET", "/metrics", "", "", a), 200u);
	cr_expect_eq(ask("PUT", "/metrics", "", "", a), 405u);
}

/* ---- a real server on loopback ---- */

static struct qp_loop *loop;
static struct qp_http *http;
static struct sockaddr_in addr = {.sin_family = AF_INET};

static void
start_server(void)
{
	socklen_t len = sizeof(addr);
	struct qp_errmsg msg;
	int fd;

	supervisor_double_begin();
	loop = qp_loop_new();
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	cr_assert_eq(qp_http_listen((struct sockaddr *)&addr, sizeof(addr), "--x", &fd, &msg), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	cr_assert_eq(qp_http_new(&(struct qp_http_config) {.loop = loop,
					 .listen_fd = fd,
					 .max_connections = 4,
					 .timeout_s = 5,
					 .answer = qp_admin_answer,
					 .ctx = &admin},
			     &http, &msg),
		0, "%s", msg.text);
}

static void
stop_server(void)
{
	qp_http_free(http);
	qp_loop_free(loop);
}

TestSuite(http, .init = start_server, .fini = stop_server, .timeout = 60);

/* Sends a request, turns the loop until the server is done with it; returns the status. */
static int
exchange(const char *request, size_t len, char *answer, size_t cap)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), status = -1;
	uint64_t deadline = qp_now_ns() + 10000000000u;
	size_t sent = 0, got = 0;

	cr_assert_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	while (qp_now_ns() < deadline) {
		ssize_t n = sent < len ? send(fd, request + sent, len - sent,
						 MSG_DONTWAIT | MSG_NOSIGNAL)
				       : 0;

		if (n > 0)
			sent += (size_t)n;
		qp_loop_turn(loop, 5);
		n = recv(fd, answer + got, cap - 1 - got, MSG_DONTWAIT);
		if (n == 0 || (n > 0 && (got += (size_t)n) == cap - 1) ||
			(n < 0 && errno == ECONNRESET))
			break;
	}
	answer[got] = '\0';
	close(fd);
	qp_loop_turn(loop, 5);
	return sscanf(answer, "HTTP/1.1 %d", &status) == 1 ? status : -1;
}

Test(http, request_is_answered)
{
	const char get[] = "GET /healthcheck HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
	char a[4096];

	cr_expect_eq(exchange(get, sizeof(get) - 1, a, sizeof(a)), 200);
	cr_expect_not_null(strstr(a, "{\"status\":\"SERVING\"}"));
	cr_expect_not_null(strstr(a, "nosniff"));
}

Test(http, body_beyond_the_bound_is_refused)
{
	static char big[3 * QP_HTTP_BODY_BYTES];
	char a[4096];
	int head = snprintf(big, 512,
		"POST /api/v1/admin/ListDataPlanes HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
		"Content-Type: application/json\r\nContent-Length: %u\r\n\r\n",
		2 * QP_HTTP_BODY_BYTES);

	memset(big + head, ' ', 2 * QP_HTTP_BODY_BYTES);
	cr_expect_eq(exchange(big, (size_t)head + 2 * QP_HTTP_BODY_BYTES, a, sizeof(a)), 413);
}

Test(http, junk_is_survived)
{
	static char junk[65536];
	const char get[] = "GET /healthcheck HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
	char a[4096];

	for (unsigned seed = 1; seed <= 20; seed++) {
		srand(seed);
		for (size_t i = 0; i < sizeof(junk); i++)
			junk[i] = (char)rand();
		exchange(
			junk, seed == 1 ? sizeof(junk) : (size_t)rand() % 2000 + 100, a, sizeof(a));
	}
	cr_expect_eq(exchange(get, sizeof(get) - 1, a, sizeof(a)), 200);
}

Test(http, address_in_use_names_the_option)
{
	struct qp_errmsg msg;
	int fd;

	cr_expect_eq(qp_http_listen((struct sockaddr *)&addr, sizeof(addr), "--private-api-listen",
			     &fd, &msg),
		QP_E_INUSE);
	cr_expect_not_null(strstr(msg.text, "--private-api-listen"), "%s", msg.text);
}

/* ---- the public API, whose connections are messages ---- */

static struct outbox box;
static bool room = true;
static struct qp_public_api *api;
static const struct qp_origin conn = {.server_id = 1000, .id = 5};

static bool
has_room(void *ctx, const struct qp_origin *to)
{
	return room;
}

static void
start_public(void)
{
	struct qp_errmsg msg;

	loop = qp_loop_new();
	cr_assert_eq(qp_public_api_new(&(struct qp_public_api_config) {.loop = loop,
					       .sender = outbox_sender(&box),
					       .has_room = has_room,
					       .serving = is_serving},
			     &api, &msg),
		0, "%s", msg.text);
}

static void
stop_public(void)
{
	qp_public_api_free(api);
	qp_loop_free(loop);
}

TestSuite(public_api, .init = start_public, .fini = stop_public, .timeout = 60);

static void
open_conn(const struct qp_origin *from)
{
	qp_public_api_open(api, from, &(struct qp_msg) {.type = QP_MSG_API_OPEN});
}

static void
send_text(const struct qp_origin *from, const char *text)
{
	struct qp_msg m = {.type = QP_MSG_API_DATA};

	while (*text != '\0') {
		size_t len = strnlen(text, QP_MSG_API_BYTES);

		memcpy(m.api_data.bytes, text, len);
		m.api_data.len = (uint16_t)len;
		qp_public_api_data(api, from, &m);
		text += len;
	}
}

/* Turns the loop until an API_CLOSE comes; what API_DATA brought before it is in `answer`. */
static enum qp_api_close
gather(char *answer, size_t cap)
{
	uint64_t deadline = qp_now_ns() + 20000000000u;
	size_t len = 0;

	for (;;) {
		for (unsigned i = 0; i < box.n; i++) {
			const struct qp_msg *m = &box.sent[i].m;

			if (m->type == QP_MSG_API_CLOSE) {
				answer[len] = '\0';
				return m->api_close.how;
			}
			cr_assert_lt(len + m->api_data.len, cap);
			memcpy(answer + len, m->api_data.bytes, m->api_data.len);
			len += m->api_data.len;
		}
		box.n = 0;
		cr_assert_lt(qp_now_ns(), deadline, "the connection was not closed");
		qp_loop_turn(loop, 100);
	}
}

Test(public_api, healthcheck_is_answered_and_closed)
{
	char a[8192];

	open_conn(&conn);
	send_text(&conn, "GET /healthcheck HT");
	qp_loop_turn(loop, 1);
	send_text(&conn, "TP/1.1\r\nHost: x\r\n\r\n");
	cr_expect_eq(gather(a, sizeof(a)), QP_API_FIN);
	cr_expect_eq(strncmp(a, "HTTP/1.1 200", 12), 0, "%s", a);
	cr_expect_not_null(strstr(a, "{\"status\":\"SERVING\"}"));
}

Test(public_api, nothing_else_is_there)
{
	char a[8192];

	open_conn(&conn);
	send_text(&conn, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
	cr_expect_eq(gather(a, sizeof(a)), QP_API_FIN);
	cr_expect_eq(strncmp(a, "HTTP/1.1 404", 12), 0, "%s", a);
}

Test(public_api, huge_request_is_reset)
{
	static char big[QP_PUBLIC_API_REQUEST_BYTES + 2];
	char a[8192];

	memset(big, 'x', sizeof(big) - 1);
	open_conn(&conn);
	send_text(&conn, big);
	cr_expect_eq(gather(a, sizeof(a)), QP_API_RESET);
}

Test(public_api, length_beyond_the_message_is_reset)
{
	struct qp_msg m = {.type = QP_MSG_API_DATA, .api_data = {.len = 65535}};
	char a[8192];

	open_conn(&conn);
	qp_public_api_data(api, &conn, &m);
	cr_expect_eq(gather(a, sizeof(a)), QP_API_RESET);
}

Test(public_api, newcomer_takes_the_place_of_the_oldest)
{
	char a[8192];

	for (unsigned i = 0; i < QP_PUBLIC_API_CONNS; i++) {
		open_conn(&(struct qp_origin) {.server_id = 1000, .id = 100 + i});
		send_text(&(struct qp_origin) {.server_id = 1000, .id = 100 + i}, "GET /health");
	}
	cr_expect_eq(box.n, 0u);
	open_conn(&conn);
	cr_expect_eq(outbox_last(&box, QP_MSG_API_CLOSE)->api_close.how, QP_API_RESET);
	cr_expect_eq(box.sent[0].to.id, 100u);
	box.n = 0;
	send_text(&conn, "GET /healthcheck HTTP/1.1\r\nHost: x\r\n\r\n");
	cr_expect_eq(gather(a, sizeof(a)), QP_API_FIN);
	cr_expect_not_null(strstr(a, "SERVING"));
}

Test(public_api, full_ring_delays_the_answer)
{
	char a[8192];

	open_conn(&conn);
	room = false;
	send_text(&conn, "GET /healthcheck HTTP/1.1\r\nHost: x\r\n\r\n");
	for (unsigned i = 0; i < 20; i++)
		qp_loop_turn(loop, 5);
	cr_expect_eq(box.n, 0u, "an answer was sent into a full ring");
	room = true;
	cr_expect_eq(gather(a, sizeof(a)), QP_API_FIN);
	cr_expect_not_null(strstr(a, "SERVING"));
}

Test(public_api, unknown_connection_is_ignored)
{
	send_text(&conn, "GET / HTTP/1.1\r\n\r\n");
	qp_public_api_close(api, &conn, &(struct qp_msg) {.api_close = {.how = QP_API_FIN}});
	qp_loop_turn(loop, 1);
	cr_expect_eq(box.n, 0u);
}
