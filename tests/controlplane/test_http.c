/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP server by itself: answers that come later, streams, slow peers, who may ask. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controlplane/access.h"
#include "controlplane/event_stream.h"
#include "controlplane/http.h"

static struct qp_loop *loop;
static struct qp_http *http;
static struct sockaddr_in addr = {.sin_family = AF_INET};
static struct qp_events *events;
static struct qp_event_stream *stream;
static struct qp_http_later *later;

static json_t *
stats(void *ctx)
{
	return json_pack("{s:i}", "tunnels", 3);
}

static void
answer(void *ctx, const struct qp_http_request *req, struct qp_http_response *out)
{
	if (strcmp(req->path, "/later") == 0)
		later = qp_http_defer(req);
	else if (strcmp(req->path, "/at-once") == 0) {
		struct qp_http_response resp = {0};

		qp_http_json(&resp, 200, "{\"at\":\"once\"}");
		qp_http_finish(qp_http_defer(req), &resp);
	} else if (strcmp(req->path, "/events") == 0)
		qp_event_stream_answer(stream, req, out);
	else if (strcmp(req->path, "/nothing") != 0)
		qp_http_json(out, 200, "{}");
}

static void
start(void)
{
	socklen_t len = sizeof(addr);
	struct qp_errmsg msg;
	int fd;

	loop = qp_loop_new();
	events = qp_events_new();
	stream = qp_event_stream_new(&(struct qp_event_stream_config) {
		.loop = loop, .events = events, .stats = stats, .heartbeat_ms = 1000});
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	cr_assert_eq(qp_http_listen((struct sockaddr *)&addr, sizeof(addr), "--x", &fd, &msg), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	cr_assert_eq(qp_http_new(&(struct qp_http_config) {.loop = loop,
					 .listen_fd = fd,
					 .max_connections = 80,
					 .timeout_s = 2,
					 .answer = answer},
			     &http, &msg),
		0, "%s", msg.text);
}

static void
stop(void)
{
	qp_http_free(http);
	qp_event_stream_free(stream);
	qp_events_free(events);
	qp_loop_free(loop);
}

TestSuite(http_server, .init = start, .fini = stop, .timeout = 60);

/* A peer of the server, and what it has read. */
struct peer {
	int fd;
	size_t len;
	bool ended;
	char text[262144];
};

static struct peer *
dial(const char *request)
{
	struct peer *p = calloc(1, sizeof(*p));

	p->fd = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert_eq(connect(p->fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	cr_assert_eq(send(p->fd, request, strlen(request), 0), (ssize_t)strlen(request));
	return p;
}

static void
hang_up(struct peer *p)
{
	close(p->fd);
	free(p);
}

static void
turn(struct peer *p)
{
	ssize_t n;

	qp_loop_turn(loop, 5);
	if (p->ended)
		return;
	n = recv(p->fd, p->text + p->len, sizeof(p->text) - 1 - p->len, MSG_DONTWAIT);
	if (n > 0)
		p->len += (size_t)n;
	p->ended = n == 0 || (n < 0 && errno == ECONNRESET);
	p->text[p->len] = '\0';
}

static bool
reads(struct peer *p, const char *what)
{
	uint64_t end = qp_now_ns() + 10000000000u;

	while (strstr(p->text, what) == NULL && !p->ended && qp_now_ns() < end)
		turn(p);
	return strstr(p->text, what) != NULL;
}

static bool
ends(struct peer *p, unsigned within_s)
{
	uint64_t end = qp_now_ns() + within_s * 1000000000ull;

	while (!p->ended && qp_now_ns() < end)
		turn(p);
	return p->ended;
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

Test(http_server, answer_that_comes_later_is_sent_then)
{
	struct peer *p = dial(GET("/later") GET("/now")), *other;
	struct qp_http_response resp = {0};
	uint64_t end = qp_now_ns() + 10000000000u;

	while (later == NULL && qp_now_ns() < end)
		turn(p);
	cr_assert_not_null(later);
	other = dial(GET("/now"));
	cr_expect(reads(other, "{}"), "others are not kept waiting");
	cr_expect_eq(p->len, 0u);
	qp_http_json(&resp, 200, "{\"late\":true}");
	qp_http_finish(later, &resp);
	cr_expect(reads(p, "{\"late\":true}"));
	cr_expect(reads(p, "{}"), "what was asked behind it comes behind it: %s", p->text);
	hang_up(other);
	hang_up(p);
}

Test(http_server, answer_that_comes_later_finds_its_peer_gone)
{
	struct qp_http_response resp = {0};
	struct peer *p = dial(GET("/later"));
	uint64_t end = qp_now_ns() + 10000000000u;

	while (later == NULL && qp_now_ns() < end)
		turn(p);
	hang_up(p);
	qp_loop_turn(loop, 10);
	qp_http_json(&resp, 200, "{}");
	qp_http_finish(later, &resp);
	p = dial(GET("/now"));
	cr_expect(reads(p, "{}"));
	hang_up(p);
}

Test(http_server, deferred_and_finished_in_one_go)
{
	struct peer *p = dial(GET("/at-once") GET("/at-once"));

	cr_expect(reads(p, "once\"}HTTP/1.1 200 OK"), "%s", p->text);
	hang_up(p);
}

Test(http_server, handler_that_says_nothing_is_a_500)
{
	struct peer *p = dial(GET("/nothing"));

	cr_expect(reads(p, "HTTP/1.1 500 "));
	cr_expect(reads(p, "application/problem+json"));
	hang_up(p);
}

Test(http_server, head_a_byte_at_a_time_is_cut_off)
{
	struct peer *p = dial("GET /now HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ");
	uint64_t start_ns = qp_now_ns(), next = start_ns;

	while (!p->ended && qp_now_ns() - start_ns < 20000000000u) {
		if (qp_now_ns() >= next) {
			send(p->fd, "y", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
			next += 200000000u;
		}
		turn(p);
	}
	cr_expect(p->ended);
	cr_expect_leq(qp_now_ns() - start_ns, 6000000000u);
	hang_up(p);
}

Test(http_server, idle_connection_is_ended)
{
	struct peer *p = dial(GET("/now"));

	cr_expect(reads(p, "{}"));
	cr_expect(ends(p, 6));
	hang_up(p);
}

static void
emit(const char *type, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		qp_events_emit(events, type, json_pack("{s:i}", "n", (int)i));
}

Test(http_server, listener_hears_what_it_asked_for)
{
	struct peer *p = dial(GET("/events?types=port_opened%2Cconfig"));

	cr_expect(reads(p, "retry: 2000"));
	cr_expect(reads(p, "text/event-stream"));
	emit(QP_EVENT_TUNNEL_OPENED, 1);
	emit(QP_EVENT_PORT_OPENED, 1);
	cr_expect(reads(p, "event: port_opened\ndata: {\"time_ms\":"));
	cr_expect_null(strstr(p->text, "tunnel_opened"));
	cr_expect_null(strstr(p->text, "stats"));
	hang_up(p);
}

Test(http_server, silence_is_broken_by_a_comment)
{
	struct peer *p = dial(GET("/events?types=config"));

	cr_expect(reads(p, ": still here"));
	hang_up(p);
}

Test(http_server, figures_come_each_second)
{
	struct peer *p = dial(GET("/events?types=stats"));
	char *second;

	cr_expect(reads(p, "event: stats\ndata: {\"time_ms\":"));
	cr_expect(reads(p, "\"tunnels\":3}\n\n"));
	second = strstr(p->text, "event: stats") + 1;
	for (uint64_t end = qp_now_ns() + 5000000000u;
		strstr(second, "event: stats") == NULL && qp_now_ns() < end;)
		turn(p);
	cr_expect_not_null(strstr(second, "event: stats"));
	cr_expect_null(strstr(p->text, "id:"), "figures are not repeated, so they have no id");
	hang_up(p);
}

static uint64_t
last_id(const struct peer *p)
{
	const char *at = p->text, *found = NULL;

	while ((at = strstr(at, "id: ")) != NULL)
		found = at++;
	return found != NULL ? strtoull(found + 4, NULL, 10) : 0;
}

Test(http_server, who_comes_back_misses_nothing)
{
	struct peer *p = dial(GET("/events?types=config"));
	char request[256];
	uint64_t id;

	cr_expect(reads(p, "retry"));
	emit(QP_EVENT_CONFIG, 1);
	cr_expect(reads(p, "\"n\":0}"));
	id = last_id(p);
	hang_up(p);
	emit(QP_EVENT_CONFIG, 3);
	snprintf(request, sizeof(request),
		"GET /events?types=config HTTP/1.1\r\nHost: 127.0.0.1\r\nLast-Event-ID: %llu\r\n\r\n",
		(unsigned long long)id);
	p = dial(request);
	cr_expect(reads(p, "\"n\":2}"));
	cr_expect_eq(last_id(p), id + 3);
	cr_expect_null(strstr(p->text, "lost"));
	hang_up(p);
}

Test(http_server, who_comes_back_too_late_is_told)
{
	struct peer *p;
	char request[256];
	uint64_t id = qp_events_last_id(events);

	emit(QP_EVENT_CONFIG, QP_EVENT_REPLAY + 10);
	snprintf(request, sizeof(request),
		"GET /events?types=config HTTP/1.1\r\nHost: 127.0.0.1\r\nLast-Event-ID: %llu\r\n\r\n",
		(unsigned long long)id);
	p = dial(request);
	cr_expect(reads(p, "event: lost"));
	snprintf(request, sizeof(request), "\"n\":%u}", QP_EVENT_REPLAY + 9);
	cr_expect(reads(p, request));
	hang_up(p);
}

/* More than is repeated, and all of it is still kept. */
Test(http_server, who_comes_back_is_told_of_what_is_not_repeated)
{
	struct peer *p;
	char request[256];
	uint64_t id = qp_events_last_id(events);

	emit(QP_EVENT_CONFIG, QP_EVENT_QUEUE / 2 + 1);
	snprintf(request, sizeof(request),
		"GET /events?types=config HTTP/1.1\r\nHost: 127.0.0.1\r\nLast-Event-ID: %llu\r\n\r\n",
		(unsigned long long)id);
	p = dial(request);
	snprintf(request, sizeof(request), "\"n\":%u}", QP_EVENT_QUEUE / 2);
	cr_expect(reads(p, request));
	cr_expect_null(strstr(p->text, "\"n\":0}"));
	cr_expect_not_null(strstr(p->text, "event: lost"));
	hang_up(p);
}

/* What the listener did not ask for takes nothing's place. */
Test(http_server, who_comes_back_gets_its_few_among_many)
{
	struct peer *p;
	char request[256];
	uint64_t id = qp_events_last_id(events);

	emit(QP_EVENT_CONFIG, 1);
	emit(QP_EVENT_PORT_OPENED, QP_EVENT_QUEUE);
	snprintf(request, sizeof(request),
		"GET /events?types=config HTTP/1.1\r\nHost: 127.0.0.1\r\nLast-Event-ID: %llu\r\n\r\n",
		(unsigned long long)id);
	p = dial(request);
	cr_expect(reads(p, "event: config"));
	cr_expect_null(strstr(p->text, "event: lost"));
	hang_up(p);
}

Test(http_server, slow_listener_is_cut_off_and_others_go_on)
{
	struct peer *slow = dial(GET("/events?types=config")),
		    *quick = dial(GET("/events?types=config"));
	char *padding = malloc(8001);
	uint64_t end = qp_now_ns() + 30000000000u;

	cr_assert(reads(slow, "retry") && reads(quick, "retry"));
	memset(padding, 'x', 8000);
	padding[8000] = '\0';
	while (qp_event_stream_listeners(stream) == 2 && qp_now_ns() < end) {
		qp_events_emit(events, QP_EVENT_CONFIG, json_pack("{s:s}", "x", padding));
		turn(quick);
		quick->len = 0;
	}
	cr_expect_eq(qp_event_stream_listeners(stream), 1u);
	emit(QP_EVENT_CONFIG, 1);
	cr_expect(reads(quick, "\"n\":0}"));
	free(padding);
	hang_up(slow);
	hang_up(quick);
}

Test(http_server, listeners_are_bounded_and_their_places_given_back)
{
	struct peer *p[QP_EVENT_LISTENERS], *more;
	uint64_t end;

	for (unsigned i = 0; i < QP_EVENT_LISTENERS; i++) {
		p[i] = dial(GET("/events"));
		cr_assert(reads(p[i], "retry"));
	}
	more = dial(GET("/events"));
	cr_expect(reads(more, "HTTP/1.1 503 "));
	cr_expect(reads(more, "Retry-After: 5"));
	hang_up(more);
	for (unsigned i = 0; i < QP_EVENT_LISTENERS; i++)
		hang_up(p[i]);
	end = qp_now_ns() + 5000000000u;
	while (qp_event_stream_listeners(stream) > 0 && qp_now_ns() < end)
		qp_loop_turn(loop, 10);
	cr_expect_eq(
		qp_event_stream_listeners(stream), 0u, "a peer that leaves is noticed at once");
}

Test(http_server, listeners_that_are_still_there_end_with_the_server)
{
	struct peer *p = dial(GET("/events"));

	cr_expect(reads(p, "retry"));
	free(p); /* stop() ends it; its descriptor goes with the process */
}

/* ---- who may ask ---- */

static struct qp_access access_rules = {.loopback = true};

static unsigned
enters(const char *host, const char *origin, const char *site, const char *token)
{
	struct qp_http_field header[5];
	unsigned n = 0;
	struct qp_http_response resp = {0};
	struct qp_http_request req = {.method = "POST", .path = "/x", .header = header, .fd = -1};
	char actor[QP_ACTOR_BYTES];
	unsigned status;

	if (host != NULL)
		header[n++] = (struct qp_http_field) {"Host", host};
	if (origin != NULL)
		header[n++] = (struct qp_http_field) {"origin", origin};
	if (site != NULL)
		header[n++] = (struct qp_http_field) {"Sec-Fetch-Site", site};
	if (token != NULL)
		header[n++] = (struct qp_http_field) {"AUTHORIZATION", token};
	req.nheaders = n;
	status = qp_access_check(&access_rules, &req, false, actor, &resp) ? 200 : resp.status;
	qp_http_response_clear(&resp);
	return status;
}

Test(access, names_that_were_rebound_to_loopback_are_refused)
{
	static const char *const good[] = {"127.0.0.1", "127.0.0.1:39000", "127.9.9.9", "localhost",
		"LocalHost:1", "localhost.", "[::1]", "[::1]:39000", "[::ffff:127.0.0.1]:80"};
	static const char *const bad[] = {"", ":80", "example.com", "localhost.example.com",
		"127.0.0.1.example.com", "192.0.2.1", "[2001:db8::1]", "[::1", "[::1]x", "::1",
		"0.0.0.0", "localhost@example.com", "2130706433", "127.1", "0x7f.0.0.1"};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		cr_expect_eq(enters(good[i], NULL, NULL, NULL), 200u, "%s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_eq(enters(bad[i], NULL, NULL, NULL), 403u, "%s", bad[i]);
}

Test(access, pages_from_elsewhere_are_refused)
{
	static const char *const bad[] = {"http://example.com", "null", "",
		"https://127.0.0.1:39000", "http://127.0.0.1", "http://127.0.0.1:39001",
		"http://localhost:39000", "http://127.0.0.1:39000.example.com"};

	cr_expect_eq(
		enters("127.0.0.1:39000", "http://127.0.0.1:39000", "same-origin", NULL), 200u);
	cr_expect_eq(enters("127.0.0.1:39000", NULL, "none", NULL), 200u);
	cr_expect_eq(enters("127.0.0.1:39000", NULL, "cross-site", NULL), 403u);
	cr_expect_eq(enters("127.0.0.1:39000", NULL, "same-site", NULL), 403u);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_eq(enters("127.0.0.1:39000", bad[i], NULL, NULL), 403u, "%s", bad[i]);
}

static char token_path[64];

static void
write_token(const char *text, mode_t mode)
{
	int fd = open(token_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	fchmod(fd, mode);
	close(fd);
}

Test(access, token_is_needed_and_read_again)
{
	struct qp_errmsg msg;

	qp_keys_init();
	snprintf(token_path, sizeof(token_path), "/tmp/qp-token-%d", (int)getpid());
	access_rules.token_file = token_path;
	write_token("0123456789abcdef\n", 0600);
	cr_assert_eq(qp_access_load(&access_rules, &msg), 0, "%s", msg.text);
	cr_expect_eq(enters("localhost", NULL, NULL, NULL), 401u);
	cr_expect_eq(enters("localhost", NULL, NULL, "Bearer 0123456789abcdef"), 200u);
	cr_expect_eq(enters("localhost", NULL, NULL, "bearer 0123456789abcdef"), 200u);
	cr_expect_eq(enters("localhost", NULL, NULL, "Bearer 0123456789abcdeF"), 401u);
	cr_expect_eq(enters("localhost", NULL, NULL, "Bearer 0123456789abcde"), 401u);
	cr_expect_eq(enters("localhost", NULL, NULL, "Bearer 0123456789abcdef0"), 401u);
	cr_expect_eq(enters("localhost", NULL, NULL, "Bearer "), 401u);
	cr_expect_eq(enters("localhost", NULL, NULL, "Basic 0123456789abcdef"), 401u);
	cr_expect_eq(enters("example.com", NULL, NULL, "Bearer 0123456789abcdef"), 403u);

	write_token("fedcba9876543210", 0640);
	cr_assert_eq(qp_access_load(&access_rules, &msg), 0, "%s", msg.text);
	cr_expect_eq(enters("localhost", NULL, NULL, "Bearer 0123456789abcdef"), 401u);
	cr_expect_eq(enters("localhost", NULL, NULL, "Bearer fedcba9876543210"), 200u);

	static const struct {
		const char *text;
		mode_t mode;
		const char *says;
	} bad[] = {{"short", 0600, "16 characters"}, {"", 0600, "16 characters"},
		{"0123456789abcdef\n0123456789abcdef", 0600, "one line"},
		{"0123456789abcdef", 0644, "chmod"}, {"0123456789abcdef", 0602, "chmod"},
		{"0123456789abcdef", 0660, "chmod"}};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		write_token(bad[i].text, bad[i].mode);
		cr_expect_neq(qp_access_load(&access_rules, &msg), 0);
		cr_expect_not_null(strstr(msg.text, bad[i].says), "%s", msg.text);
		cr_expect_null(strstr(msg.text, "0123456789abcdef"), "%s", msg.text);
		cr_expect_eq(enters("localhost", NULL, NULL, "Bearer fedcba9876543210"), 200u,
			"a bad file changes nothing");
	}
	unlink(token_path);
	qp_access_clear(&access_rules);
}
