/* SPDX-License-Identifier: Apache-2.0 */
/* A data plane hands over to a successor, or goes on when there is none; with fakes. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "common/wire.h"
#include "tests/controlplane/brain.h"
#include "tests/controlplane/world.h"

TestSuite(drain, .init = world_open, .fini = world_close, .timeout = 120);

#define PORT 39000
#define PSK "correct horse battery staple"
#define PLANES "/api/v1/admin/ListDataPlanes"

/* The first one that is in this state. */
static bool
id_of(struct gw *gw, const char *state, char id[16])
{
	char body[1024], mark[32], *at, *start;

	snprintf(mark, sizeof(mark), "\"state\":\"%s\"", state);
	if (gw_http(gw, "POST", PLANES, "{}", body, sizeof(body)) != 200 ||
		(at = strstr(body, mark)) == NULL)
		return false;
	*at = '\0';
	for (start = body; (at = strstr(start + 1, "\"dp_id\"")) != NULL; start = at)
		;
	return sscanf(start, "\"dp_id\":\"%15[^\"]\"", id) == 1;
}

static int
drain(struct gw *gw, const char *id, char body[512])
{
	char request[64];

	snprintf(request, sizeof(request), "{\"dp_id\":\"%s\"}", id);
	return gw_http(gw, "POST", "/api/v1/admin/DrainDataPlane", request, body, 512);
}

/* What the next data planes do. */
static void
set_mode(const char *mode)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/brain.mode", world_dir());
	f = fopen(path, "we");
	cr_assert_not_null(f);
	fputs(mode, f);
	fclose(f);
}

struct pair {
	struct gw gw; /* its brain: the successor's */
	struct gw old; /* the same, with the first one's brain */
	char id[16];
	pid_t pid;
};

static void
start(struct pair *p, const char *more, const char *value)
{
	gw_start(&p->gw, PORT, "--psk", PSK, more, value, NULL);
	gw_wait_ready(&p->gw);
	p->old = p->gw;
	p->pid = gw_data_plane_pid(&p->gw);
	cr_assert(id_of(&p->gw, "ACTIVE", p->id));
}

static bool
drains(void *ctx)
{
	struct pair *p = ctx;
	char id[16];

	return id_of(&p->gw, "DRAINING", id) && strcmp(id, p->id) == 0 &&
	       id_of(&p->gw, "ACTIVE", id);
}

/* One that was adopted serves before it has told all; until then it cannot be succeeded. */
static bool
is_accepted(void *ctx)
{
	struct pair *p = ctx;
	char body[512];
	int status = drain(&p->gw, p->id, body);

	cr_assert(status == 200 || strstr(body, "being taken over") != NULL, "%s", body);
	if (status == 200)
		cr_expect_str_eq(body, "{\"status\":\"draining\"}");
	return status == 200;
}

/* The successor serves, the first one drains. */
static void
hand_over(struct pair *p)
{
	p->gw.brain = -1;
	cr_assert(world_until(is_accepted, p, 10000));
	gw_wait_brain(&p->gw);
	gw_expect(&p->gw, QP_MSG_CONFIG);
	gw_expect(&p->old, QP_MSG_DRAIN);
	cr_assert(world_until(drains, p, 10000));
}

static bool
is_reaped(void *ctx)
{
	return kill(((struct pair *)ctx)->pid, 0) != 0 && errno == ESRCH;
}

static void
end(struct pair *p)
{
	unsigned ms;

	cr_expect_eq(gw_end(&p->gw, SIGTERM, &ms), 0);
	cr_expect_lt(ms, 2000u, "it took %u ms", ms);
	cr_expect_eq(world_processes(NULL), 0u);
}

Test(drain, successor_serves_and_the_first_ends_by_itself)
{
	char body[512], id[16];
	struct pair p;

	start(&p, NULL, NULL);
	cr_expect_eq(drain(&p.gw, "0x0001", body), 404);
	hand_over(&p);
	cr_expect_eq(world_processes("quicport-data-plane"), 2u);
	cr_expect_eq(drain(&p.gw, p.id, body), 409);
	cr_expect_not_null(strstr(body, "draining already"), "%s", body);
	cr_expect_eq(kill(p.pid, 0), 0);

	gw_send(&p.old, &(struct qp_msg) {.type = BRAIN_END});
	cr_assert(world_until(is_reaped, &p, 10000), "it is left as a zombie");
	cr_expect_not(id_of(&p.gw, "DRAINING", id));
	cr_expect(id_of(&p.gw, "ACTIVE", id));
	cr_expect_eq(world_processes("quicport-data-plane"), 1u, "another one was started");
	cr_expect_eq(gw_metric(&p.gw, "quicport_data_plane_deaths_total"), 0);
	end(&p);
}

/* One row; behind `cursor`, or the first. */
static void
page_of(struct gw *gw, const char *cursor, char body[1024])
{
	char request[128] = "{\"limit\":1}";

	if (cursor != NULL)
		snprintf(request, sizeof(request), "{\"limit\":1,\"cursor\":\"%s\"}", cursor);
	cr_assert_eq(gw_http(gw, "POST", PLANES, request, body, 1024), 200, "%s", body);
}

/* Of the row that was there when it was made. */
static void
take_cursor(const char *body, char cursor[64])
{
	const char *at = strstr(body, "\"next_cursor\":\"");

	cr_assert_not_null(at, "%s", body);
	cr_assert_eq(sscanf(at, "\"next_cursor\":\"%63[^\"]", cursor), 1);
}

/* Data planes of one second are in order of their ids. */
static bool
is_later(void *ctx)
{
	return time(NULL) > *(const time_t *)ctx;
}

Test(drain, list_goes_on_behind_a_data_plane_that_is_gone)
{
	char body[1024], cursor[64], id[16];
	struct pair p;
	time_t began;

	start(&p, NULL, NULL);
	began = time(NULL);
	cr_assert(world_until(is_later, &began, 10000));
	hand_over(&p);
	cr_assert(id_of(&p.gw, "ACTIVE", id));
	page_of(&p.gw, NULL, body);
	cr_expect_not_null(strstr(body, p.id), "%s", body);
	take_cursor(body, cursor);
	page_of(&p.gw, cursor, body);
	cr_expect_not_null(strstr(body, id), "%s", body);
	cr_expect_null(strstr(body, "next_cursor"), "%s", body);

	gw_send(&p.old, &(struct qp_msg) {.type = BRAIN_END});
	cr_assert(world_until(is_reaped, &p, 10000));
	page_of(&p.gw, cursor, body);
	cr_expect_not_null(strstr(body, id), "it goes on nowhere: %s", body);
	cr_expect_eq(gw_http(&p.gw, "POST", PLANES, "{\"cursor\":\"0x3039\"}", body, sizeof(body)),
		400);
	end(&p);
}

Test(drain, again_and_again)
{
	struct pair p;

	start(&p, NULL, NULL);
	for (unsigned i = 0; i < 4; i++) {
		hand_over(&p);
		gw_send(&p.old, &(struct qp_msg) {.type = BRAIN_END});
		cr_assert(world_until(is_reaped, &p, 10000));
		p.old = p.gw;
		p.pid = gw_data_plane_pid(&p.gw);
		cr_assert(id_of(&p.gw, "ACTIVE", p.id));
	}
	end(&p);
}

/* A listener of events; they come as they happen. */
static int
listen_to_events(struct gw *gw)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(gw->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct timeval patience = {.tv_sec = 20};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	dprintf(fd, "GET /api/v1/events?types=data_plane HTTP/1.1\r\nHost: localhost\r\n\r\n");
	return fd;
}

/* Until an event says why nothing drains. */
static void
expect_error_event(int fd, const char *id, const char *why)
{
	char text[8192] = "", about[64];
	size_t len = 0;
	ssize_t n;

	while (strstr(text, "\"error\"") == NULL || text[len - 1] != '\n') {
		n = recv(fd, text + len, sizeof(text) - 1 - len, 0);
		cr_assert_gt(n, 0, "no such event came: %s", text);
		len += (size_t)n;
		text[len] = '\0';
	}
	close(fd);
	snprintf(about, sizeof(about), "\"dp_id\":\"%s\"", id);
	cr_expect_not_null(strstr(text, about), "%s", text);
	cr_expect_not_null(strstr(text, "\"state\":\"ACTIVE\",\"error\":"), "%s", text);
	cr_expect_not_null(strstr(text, why), "%s", text);
}

static bool
has_failed(void *ctx)
{
	return world_log_has(&((struct pair *)ctx)->gw, "nothing drains");
}

/* `why` is in the log, the first one serves on, and may be drained later. */
static void
expect_nothing_changes(const char *mode, const char *why)
{
	char body[512], id[16];
	struct pair p;
	int events;

	start(&p, NULL, NULL);
	events = listen_to_events(&p.gw);
	set_mode(mode);
	cr_assert_eq(drain(&p.gw, p.id, body), 200);
	if (strcmp(mode, "hangs") == 0) /* the others may be over by now */
		cr_expect_eq(drain(&p.gw, p.id, body), 409, "%s", body);
	expect_error_event(events, p.id, why);
	cr_assert(world_until(has_failed, &p, 20000));
	cr_expect(world_log_has(&p.gw, why));
	cr_expect(id_of(&p.gw, "ACTIVE", id));
	cr_expect_str_eq(id, p.id);
	cr_expect_not(id_of(&p.gw, "DRAINING", id));
	cr_expect_eq(kill(p.pid, 0), 0);

	set_mode("");
	if (strcmp(mode, "quits") == 0) { /* the others' brains wait to be taken first */
		hand_over(&p);
		gw_send(&p.old, &(struct qp_msg) {.type = BRAIN_END});
		cr_assert(world_until(is_reaped, &p, 10000));
	}
	end(&p);
}

Test(drain, successor_that_quits_changes_nothing)
{
	expect_nothing_changes("quits", "exited with status 3 before it was ready");
}

Test(drain, successor_that_cannot_serve_changes_nothing)
{
	expect_nothing_changes("broken", "the fake data plane is broken");
}

Test(drain, successor_that_hangs_changes_nothing)
{
	expect_nothing_changes("hangs", "it takes too long to start");
}

static bool
is_starting(void *ctx)
{
	char id[16];

	return id_of(&((struct pair *)ctx)->gw, "STARTING", id);
}

/* Its HELLO crosses the request to end, which it does not heed. */
Test(drain, successor_that_is_told_to_end_never_serves)
{
	char body[512], id[16], request[64];
	struct pair p;

	start(&p, NULL, NULL);
	set_mode("late");
	p.gw.brain = -1;
	cr_assert_eq(drain(&p.gw, p.id, body), 200);
	cr_assert(world_until(is_starting, &p, 10000));
	gw_wait_brain(&p.gw);
	gw_expect(&p.gw, QP_MSG_CONFIG);
	cr_assert(id_of(&p.gw, "STARTING", id));
	snprintf(request, sizeof(request), "{\"dp_id\":\"%s\"}", id);
	cr_assert_eq(gw_http(&p.gw, "POST", "/api/v1/admin/ShutdownDataPlane", request, body,
			     sizeof(body)), 200);
	cr_assert(world_until(has_failed, &p, 10000), "it serves");
	cr_expect(id_of(&p.gw, "ACTIVE", id));
	cr_expect_str_eq(id, p.id);
	cr_expect_eq(kill(p.pid, 0), 0);
	set_mode("");
	end(&p);
}

Test(drain, successor_killed_later_is_replaced)
{
	struct pair p;
	char id[16];

	start(&p, NULL, NULL);
	hand_over(&p);
	cr_assert(id_of(&p.gw, "ACTIVE", id));
	gw_send(&p.gw, &(struct qp_msg) {.type = BRAIN_END});
	p.gw.brain = -1;
	gw_wait_brain(&p.gw);
	gw_expect(&p.gw, QP_MSG_CONFIG);
	cr_expect(world_until(drains, &p, 10000));
	cr_expect_eq(kill(p.pid, 0), 0);
	end(&p);
}

Test(drain, timeout_ends_it_politely)
{
	struct pair p;

	setenv("QUICPORT_DRAIN_GRACE", "0", 1);
	start(&p, "--drain-timeout", "1");
	hand_over(&p);
	gw_expect(&p.old, QP_MSG_RETIRE); /* which the fake does not heed */
	gw_expect(&p.old, QP_MSG_SHUTDOWN);
	cr_assert(world_until(is_reaped, &p, 10000));
	cr_expect_eq(gw_metric(&p.gw, "quicport_data_plane_deaths_total"), 0);
	end(&p);
}

/* Another control plane after this one; the first data plane has been asked for its tunnels. */
static void
restart_with(struct pair *p, const char *more, const char *value)
{
	const int brain = p->gw.brain;

	cr_assert_eq(gw_end(&p->gw, SIGKILL, NULL), -SIGKILL);
	gw_start(&p->gw, PORT, "--psk", PSK, more, value, NULL);
	p->gw.brain = brain;
	gw_expect(&p->old, QP_MSG_CONFIG);
	gw_expect(&p->old, QP_MSG_REPLAY);
	gw_send(&p->old, &(struct qp_msg) {.type = QP_MSG_REPLAY_END});
}

static void
restart(struct pair *p)
{
	restart_with(p, NULL, NULL);
}

Test(drain, control_plane_killed_meanwhile_finds_it_draining)
{
	struct pair p;
	char id[16];

	start(&p, NULL, NULL);
	hand_over(&p);
	restart(&p);
	gw_expect(&p.gw, QP_MSG_CONFIG);
	gw_expect(&p.gw, QP_MSG_REPLAY);
	gw_send(&p.gw, &(struct qp_msg) {.type = QP_MSG_REPLAY_END});
	cr_assert(world_until(drains, &p, 10000));
	gw_expect(&p.old, QP_MSG_DRAIN);
	gw_send(&p.old, &(struct qp_msg) {.type = BRAIN_END});
	cr_assert(world_until(is_reaped, &p, 10000));
	cr_expect(id_of(&p.gw, "ACTIVE", id));
	cr_expect_str_neq(id, p.id);
	cr_expect_eq(world_processes("quicport-data-plane"), 1u);
	end(&p);
}

/* The successor was ACTIVE, and DRAIN was never sent: both say that they serve. */
Test(drain, control_plane_killed_between_activation_and_drain)
{
	struct pair p;
	char id[16];

	set_mode("deaf");
	start(&p, NULL, NULL);
	set_mode("");
	hand_over(&p);
	restart(&p);
	gw_expect(&p.gw, QP_MSG_CONFIG);
	gw_expect(&p.gw, QP_MSG_REPLAY);
	gw_send(&p.gw, &(struct qp_msg) {.type = QP_MSG_REPLAY_END});
	gw_expect(&p.old, QP_MSG_DRAIN);
	cr_assert(world_until(drains, &p, 10000));
	gw_send(&p.old, &(struct qp_msg) {.type = BRAIN_END});
	cr_assert(world_until(is_reaped, &p, 10000));
	cr_expect(id_of(&p.gw, "ACTIVE", id));
	cr_expect_str_neq(id, p.id);
	cr_expect_eq(gw_metric(&p.gw, "quicport_data_plane_deaths_total"), 0);
	end(&p);
}

static bool
is_past(void *ctx)
{
	return world_now_ms() >= *(uint64_t *)ctx;
}

Test(drain, timeout_goes_on_over_a_restart)
{
	struct pair p;
	uint64_t since, most;

	start(&p, "--drain-timeout", "6");
	hand_over(&p);
	since = world_now_ms();
	most = since + 4000; /* of the six seconds */
	cr_assert(world_until(is_past, &most, 10000));
	restart_with(&p, "--drain-timeout", "6");
	gw_expect(&p.old, QP_MSG_DRAIN);
	gw_expect(&p.old, QP_MSG_RETIRE);
	cr_expect_lt(world_now_ms() - since, 9500u, "it counted anew");
	end(&p);
}

/* Also: all its tunnels are told. */
static bool
serves(void *ctx)
{
	char body[256];

	return gw_http(&((struct pair *)ctx)->gw, "GET", "/healthcheck", NULL, body,
		       sizeof(body)) == 200;
}

Test(drain, adopted_data_plane_is_succeeded)
{
	struct pair p;

	start(&p, NULL, NULL);
	restart(&p);
	cr_assert(world_until(serves, &p, 10000));
	hand_over(&p);
	gw_send(&p.old, &(struct qp_msg) {.type = BRAIN_END});
	cr_assert(world_until(is_reaped, &p, 10000));
	cr_expect_eq(world_processes("quicport-data-plane"), 1u);
	end(&p);
}

Test(drain, successor_that_died_with_its_control_plane_is_replaced)
{
	struct pair p;

	start(&p, NULL, NULL);
	hand_over(&p);
	kill(p.gw.pid, SIGSTOP);
	gw_send(&p.gw, &(struct qp_msg) {.type = BRAIN_END});
	p.gw.brain = -1;
	restart(&p);
	gw_wait_brain(&p.gw);
	gw_expect(&p.gw, QP_MSG_CONFIG);
	cr_assert(world_until(drains, &p, 10000));
	cr_expect_eq(kill(p.pid, 0), 0);
	end(&p);
}

Test(drain, memory_for_one_only_is_told_with_the_way_out)
{
	char body[512], id[16];
	struct pair p;

	start(&p, "--memory", "32");
	cr_expect_eq(drain(&p.gw, p.id, body), 409);
	cr_expect_not_null(strstr(body, "raise --memory"), "%s", body);
	cr_expect(id_of(&p.gw, "ACTIVE", id));
	end(&p);
}
