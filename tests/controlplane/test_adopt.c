/* SPDX-License-Identifier: Apache-2.0 */
/* A control plane that is killed, and the next one, which takes its data planes over. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/auth.h"
#include "common/wire.h"
#include "tests/controlplane/world.h"

TestSuite(adopt, .init = world_open, .fini = world_close, .timeout = 120);

#define AUDIT_PATH 300u
#define PORT 39000
#define ROW 2048
#define PSK "correct horse battery staple"

/* Starts the next control plane; the data plane, and its brain, are those that are there. */
static void
start_again(struct gw *gw, const char *more, const char *value)
{
	int brain = gw->brain;

	gw_start(gw, PORT, "--psk", PSK, more, value, NULL);
	gw->brain = brain;
}

static void
kill_control_plane(struct gw *gw)
{
	cr_assert_eq(gw_end(gw, SIGKILL, NULL), -SIGKILL);
	cr_assert_eq(world_processes("quicport-data-plane"), 1u, "the data plane died with it");
	cr_assert_eq(world_processes("quicport-port-owner"), 1u, "the port owner died with it");
}

/* A gateway whose first control plane was killed; the next one has asked for the tunnels. */
static void
start_and_replace(struct gw *gw)
{
	gw_start(gw, PORT, "--psk", PSK, NULL);
	gw_wait_ready(gw);
	kill_control_plane(gw);
	start_again(gw, NULL, NULL);
	gw_expect(gw, QP_MSG_CONFIG);
	gw_expect(gw, QP_MSG_REPLAY);
}

/* The same with an audit log, at `path`. */
static void
audit_and_replace(struct gw *gw, char path[AUDIT_PATH])
{
	snprintf(path, AUDIT_PATH, "%s/audit.log", world_dir());
	gw_start(gw, PORT, "--psk", PSK, "--audit-log", path, NULL);
	gw_wait_ready(gw);
	kill_control_plane(gw);
	start_again(gw, "--audit-log", path);
	gw_expect(gw, QP_MSG_CONFIG);
	gw_expect(gw, QP_MSG_REPLAY);
}

static bool
serves(void *ctx)
{
	char body[256];

	return gw_http(ctx, "GET", "/healthcheck", NULL, body, sizeof(body)) == 200;
}

static bool
is_up(void *ctx)
{
	char body[256];

	return gw_http(ctx, "GET", "/healthcheck", NULL, body, sizeof(body)) > 0;
}

static void
tell_tunnel(struct gw *gw, uint64_t id, uint16_t port)
{
	/* As a client of --psk is known; one that is not is told to end. */
	const struct qp_msg m = {.type = QP_MSG_TUNNEL_STATE, .id = id,
		.tunnel_state = {.port = port, .protocol = QP_WIRE_TCP,
			.identity = {.client_id = 1, .method = QP_AUTH_PSK, .name = "psk"}}};

	gw_send(gw, &m);
}

static void
tell_end(struct gw *gw)
{
	gw_send(gw, &(struct qp_msg) {.type = QP_MSG_REPLAY_END});
}

static void
ask_port(struct gw *gw, uint64_t id, uint16_t port)
{
	gw_send(gw, &(struct qp_msg) {.type = QP_MSG_FORWARD_REQUEST, .id = id,
			    .forward = {.port = port, .protocol = QP_WIRE_TCP}});
}

/* The answer to a port request; limits and lists may be told and asked for in between. */
static struct qp_msg
expect_answer(struct gw *gw, uint16_t type)
{
	struct qp_msg m = {0};

	do
		cr_assert_eq(recv(gw->brain, &m, sizeof(m), 0), (ssize_t)sizeof(m));
	while (m.type != QP_MSG_FORWARD_GRANT && m.type != QP_MSG_FORWARD_DENY);
	cr_assert_eq(m.type, type);
	return m;
}

static void
expect_in_use(struct gw *gw)
{
	cr_expect_eq(expect_answer(gw, QP_MSG_FORWARD_DENY).forward_answer.status,
		QP_WIRE_PORT_IN_USE);
}

/* Nothing answers a question for a while; limits may be told. */
static bool
unanswered(struct gw *gw)
{
	struct qp_msg m;

	while (!gw_silent(gw, 300)) {
		if (recv(gw->brain, &m, sizeof(m), 0) != (ssize_t)sizeof(m) ||
			m.type == QP_MSG_FORWARD_GRANT || m.type == QP_MSG_FORWARD_DENY)
			return false;
	}
	return true;
}

static void
end_cleanly(struct gw *gw)
{
	unsigned ms;

	cr_expect_eq(gw_end(gw, SIGTERM, &ms), 0);
	cr_expect_lt(ms, 2000u);
	cr_expect_eq(world_processes(NULL), 0u, "processes are left");
	cr_expect_not(world_run_dir(PORT, (char[256]) {0}, 256), "the run folder is left");
}

Test(adopt, tunnels_and_ports_are_the_ones_before)
{
	struct gw gw;

	start_and_replace(&gw);
	tell_tunnel(&gw, 1, 9000);
	tell_tunnel(&gw, 2, 9001);
	tell_end(&gw);
	cr_assert(world_until(serves, &gw, 20000));
	cr_expect_eq(gw_metric(&gw, "quicport_ports_open"), 2);
	cr_expect_not(world_can_bind(9000), "the host can take a tunnel's port");
	ask_port(&gw, 2, 9000);
	expect_in_use(&gw);
	gw_send(&gw, &(struct qp_msg) {.type = QP_MSG_TUNNEL_CLOSED, .id = 1});
	ask_port(&gw, 2, 9000);
	expect_answer(&gw, QP_MSG_FORWARD_GRANT);
	cr_expect_eq(world_processes(NULL), 3u);
	end_cleanly(&gw);
}

Test(adopt, questions_wait_until_all_tunnels_are_told)
{
	struct gw gw;

	start_and_replace(&gw);
	tell_tunnel(&gw, 2, 0);
	ask_port(&gw, 2, 9000);
	cr_assert(world_until(is_up, &gw, 20000));
	cr_expect(unanswered(&gw), "a port was given out while tunnels were still told");
	cr_expect_not(serves(&gw), "it says that it serves while it does not");
	tell_tunnel(&gw, 1, 9000);
	tell_end(&gw);
	expect_in_use(&gw);
	end_cleanly(&gw);
}

static bool
is_reserved(void *ctx)
{
	(void)ctx;
	return !world_can_bind(9000);
}

Test(adopt, tunnel_of_a_client_that_was_removed_meanwhile_is_ended)
{
	struct gw gw;

	start_and_replace(&gw);
	gw_send(&gw, &(struct qp_msg) {.type = QP_MSG_TUNNEL_STATE, .id = 1,
			     .tunnel_state = {.port = 9000, .protocol = QP_WIRE_TCP,
				     .identity = {.client_id = 9, .method = QP_AUTH_PSK,
					     .name = "fired"}}});
	cr_expect_eq(gw_expect(&gw, QP_MSG_TUNNEL_CLOSE).id, 1u);
	tell_end(&gw);
	cr_assert(world_until(serves, &gw, 20000));
	end_cleanly(&gw);
}

Test(adopt, port_that_the_host_took_meanwhile_is_kept_and_reserved_later)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(9000)};
	int thief = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct gw gw;

	start_and_replace(&gw);
	cr_assert_eq(bind(thief, (struct sockaddr *)&addr, sizeof(addr)), 0);
	tell_tunnel(&gw, 1, 9000);
	tell_end(&gw);
	cr_assert(world_until(serves, &gw, 20000));
	cr_expect_eq(gw_metric(&gw, "quicport_ports_open"), 1, "the tunnel lost its port");
	cr_expect(world_log_has(&gw, "cannot be reserved"));
	close(thief);
	cr_expect(world_until(is_reserved, NULL, 5000), "the port was never reserved");
	end_cleanly(&gw);
}

Test(adopt, killed_again_and_again)
{
	struct gw gw;

	start_and_replace(&gw);
	for (unsigned i = 0; i < 4; i++) {
		tell_tunnel(&gw, 1, 9000);
		if (i % 2 == 0) { /* else killed while it waits for the tunnels */
			tell_end(&gw);
			cr_assert(world_until(serves, &gw, 20000));
		}
		kill_control_plane(&gw);
		start_again(&gw, NULL, NULL);
		gw_expect(&gw, QP_MSG_CONFIG);
		gw_expect(&gw, QP_MSG_REPLAY);
	}
	tell_tunnel(&gw, 1, 9000);
	tell_end(&gw);
	cr_assert(world_until(serves, &gw, 20000));
	cr_expect_eq(gw_metric(&gw, "quicport_ports_open"), 1);
	end_cleanly(&gw);
}

Test(adopt, adopted_data_plane_that_dies_is_replaced)
{
	struct gw gw;
	pid_t first;

	start_and_replace(&gw);
	tell_tunnel(&gw, 1, 9000);
	tell_end(&gw);
	cr_assert(world_until(serves, &gw, 20000));
	first = gw_data_plane_pid(&gw);
	kill(first, SIGKILL);
	gw_wait_ready(&gw);
	cr_expect_neq(gw_data_plane_pid(&gw), first);
	cr_expect_eq(gw_metric(&gw, "quicport_ports_open"), 0);
	cr_expect_eq(gw_metric(&gw, "quicport_data_plane_deaths_total"), 1);
	end_cleanly(&gw);
}

Test(adopt, end_of_a_tunnel_that_nobody_read_is_not_lost)
{
	struct qp_msg end = {.type = QP_MSG_TUNNEL_CLOSED, .id = 5,
		.tunnel_closed = {.authenticated = 1, .state = {.port = 9000,
			.protocol = QP_WIRE_TCP, .identity = {.client_id = 7}}}};
	struct gw gw;

	gw_start(&gw, PORT, "--psk", PSK, NULL);
	gw_wait_ready(&gw);
	kill_control_plane(&gw);
	gw_send(&gw, &end);
	start_again(&gw, NULL, NULL);
	gw_expect(&gw, QP_MSG_CONFIG);
	gw_expect(&gw, QP_MSG_REPLAY);
	tell_end(&gw);
	cr_assert(world_until(serves, &gw, 20000));
	cr_expect(world_log_has(&gw, "client left"), "nobody knows that the client left");
	cr_expect_eq(gw_metric(&gw, "quicport_ports_open"), 0);
	end_cleanly(&gw);
}

/* The audit log has a row of connection 77; `line` gets it. */
static bool
has_row(void *line)
{
	char path[300], *text = line;
	FILE *f;

	snprintf(path, sizeof(path), "%s/audit.log", world_dir());
	f = fopen(path, "re");
	text[0] = '\0';
	while (f != NULL && strstr(text, "\"connection\":77") == NULL && fgets(text, ROW, f) != NULL)
		;
	if (f != NULL)
		fclose(f);
	return strstr(text, "\"connection\":77") != NULL;
}

Test(adopt, ended_connection_is_written_down_whatever_else_is_not_told_yet)
{
	struct qp_msg gone = {.type = QP_MSG_CONN_CLOSED, .id = 1,
		.conn_closed = {.conn = {.tunnel_id = 1, .conn_id = 77, .port = 9000,
			.protocol = QP_WIRE_TCP}, .client = "psk"}};
	char path[AUDIT_PATH], line[ROW];
	struct gw gw;

	audit_and_replace(&gw, path);
	gw_send(&gw, &gone);
	/* This control plane may be killed at any moment, too. */
	cr_assert(world_until(has_row, line, 5000), "it would be lost with this control plane");
	cr_expect(strstr(line, "\"client\":\"psk\"") != NULL, "whose connection? %s", line);
	tell_end(&gw);
	cr_assert(world_until(serves, &gw, 20000));
	end_cleanly(&gw);
}

/* How many rows the audit log has with these words in them. */
static unsigned
rows_with(const char *event, const char *more)
{
	char path[300], line[ROW];
	unsigned n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/audit.log", world_dir());
	f = fopen(path, "re");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		n += strstr(line, event) != NULL && strstr(line, more) != NULL;
	if (f != NULL)
		fclose(f);
	return n;
}

static bool
end_is_written_down(void *ctx)
{
	(void)ctx;
	return rows_with("\"tunnel_closed\"", "\"bytes_in\":7100") > 0;
}

/* The next control plane takes what was not read from the ring, and may be killed then, too. */
Test(adopt, ended_tunnel_is_written_down_once_however_often_control_planes_are_killed)
{
	struct qp_msg end = {.type = QP_MSG_TUNNEL_CLOSED, .id = 5,
		.tunnel_closed = {.authenticated = 1, .usage = {.in_bytes = 7100},
			.state = {.port = 9000, .protocol = QP_WIRE_TCP,
				.identity = {.client_id = 7, .name = "psk"}}}};
	char path[AUDIT_PATH];
	struct gw gw;

	audit_and_replace(&gw, path);
	gw_send(&gw, &end);
	cr_assert(world_until(end_is_written_down, NULL, 10000), "a kill would lose it");
	kill_control_plane(&gw);
	start_again(&gw, "--audit-log", path);
	gw_expect(&gw, QP_MSG_CONFIG);
	gw_expect(&gw, QP_MSG_REPLAY);
	end.id = 6; /* another one, whose take-over comes to its end */
	gw_send(&gw, &end);
	tell_end(&gw);
	cr_assert(world_until(serves, &gw, 20000));
	cr_expect_eq(rows_with("\"tunnel_closed\"", "\"bytes_in\":7100"), 2u);
	cr_expect_eq(rows_with("\"tunnel_closed\"", "-5\""), 1u);
	cr_expect_eq(rows_with("\"port_closed\"", "-5\""), 1u);
	cr_expect_eq(rows_with("\"tunnel_closed\"", "-6\""), 1u);
	cr_expect_eq(rows_with("\"port_closed\"", "-6\""), 1u);
	cr_expect_eq(gw_metric(&gw, "quicport_ports_open"), 0);
	end_cleanly(&gw);
}

static bool
nothing_runs(void *ctx)
{
	(void)ctx;
	return world_processes(NULL) == 0;
}

/* Says that it is a data plane of this gateway; its lifeline keeps nobody alive. */
static void
come_as_impostor(void)
{
	struct qp_attach hello = {.magic = QP_ATTACH_MAGIC, .version = QP_IPC_OLDEST,
		.newest = QP_IPC_VERSION,
		.pid = getpid(), .nworkers = 1, .server_id = 0x1234, .epoch = 1};
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC), fds[] = {null, null};
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(fds))] = {0};
	struct iovec iov = {&hello, sizeof(hello)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = sizeof(control)};
	struct qp_attach_reply reply;
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	char dir[80];

	cr_assert(world_run_dir(PORT, dir, sizeof(dir)));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/control.sock", dir);
	cr_assert_eq(connect(sock, (struct sockaddr *)&addr, sizeof(addr)), 0);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(c), fds, sizeof(fds));
	cr_assert_eq(sendmsg(sock, &m, 0), (ssize_t)sizeof(hello));
	cr_assert_eq(recv(sock, &reply, sizeof(reply), 0), (ssize_t)sizeof(reply));
	cr_assert_eq(reply.server_id, 0u, "it was taken over");
	close(sock);
	close(null);
}

Test(adopt, lifeline_of_somebody_else_is_not_ours)
{
	struct gw gw;
	pid_t first;

	gw_start(&gw, PORT, "--psk", PSK, NULL);
	gw_wait_ready(&gw);
	first = gw_data_plane_pid(&gw);
	kill(first, SIGSTOP);
	kill_control_plane(&gw);
	start_again(&gw, NULL, NULL);
	cr_assert(world_until(is_up, &gw, 20000));
	come_as_impostor();
	kill(first, SIGCONT);
	gw_expect(&gw, QP_MSG_CONFIG);
	gw_expect(&gw, QP_MSG_REPLAY);
	tell_end(&gw);
	cr_assert(world_until(serves, &gw, 20000));
	/* The true one is the control plane's now, or the port owner ends with this one. */
	kill(first, SIGKILL);
	gw_wait_ready(&gw);
	cr_expect_eq(world_processes("quicport-port-owner"), 1u);
	end_cleanly(&gw);
}

Test(adopt, data_plane_that_hangs_up_on_the_answer_may_come_again)
{
	struct gw gw;
	pid_t first;

	setenv("FAKE_DP_MODE", "fickle", 1);
	gw_start(&gw, PORT, "--psk", PSK, NULL);
	gw_wait_ready(&gw);
	first = gw_data_plane_pid(&gw);
	kill_control_plane(&gw);
	start_again(&gw, NULL, NULL);
	gw_expect(&gw, QP_MSG_CONFIG);
	gw_expect(&gw, QP_MSG_REPLAY);
	tell_tunnel(&gw, 1, 9000);
	tell_end(&gw);
	cr_assert(world_until(serves, &gw, 20000));
	cr_expect_eq(gw_data_plane_pid(&gw), first, "its tunnels died with it");
	cr_expect_eq(gw_metric(&gw, "quicport_ports_open"), 1);
	end_cleanly(&gw);
}

Test(adopt, orphans_without_tunnels_end)
{
	struct gw gw;

	gw_start(&gw, PORT, "--psk", PSK, "--orphan-timeout", "1", NULL);
	gw_wait_ready(&gw);
	kill_control_plane(&gw);
	cr_expect(world_until(nothing_runs, NULL, 10000), "data plane and port owner live on");
}

Test(adopt, hung_data_plane_is_killed_and_the_gateway_says_why_it_ends)
{
	struct gw gw;
	pid_t hung;

	gw_start(&gw, PORT, "--psk", PSK, NULL);
	gw_wait_ready(&gw);
	hung = gw_data_plane_pid(&gw);
	kill(hung, SIGSTOP);
	kill_control_plane(&gw);
	start_again(&gw, NULL, NULL);
	cr_expect_eq(gw_wait_end(&gw, 20000), 1);
	cr_expect(world_log_has(&gw, "the last data plane: start again"));
	/* … and the next start finds nothing in its way. */
	gw_start(&gw, PORT, "--psk", PSK, NULL);
	gw_wait_ready(&gw);
	end_cleanly(&gw);
}
