/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control plane and the port owner as processes, with a fake data plane:
 * start, service, end, and what is left after each.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/auth.h"
#include "common/wire.h"
#include "controlplane/proc.h"
#include "tests/controlplane/brain.h"
#include "tests/controlplane/world.h"

TestSuite(gateway, .init = world_open, .fini = world_close, .timeout = 120);

#define PSK "correct horse battery staple"

static struct qp_secret *psk;

static struct qp_auth_client *
begin(struct gw *gw, uint64_t tunnel, const struct qp_auth_client_config *cfg)
{
	struct qp_msg m = {.type = QP_MSG_AUTH_BEGIN, .id = tunnel};
	struct qp_auth_client *c;
	size_t len;

	cr_assert_eq(
		qp_auth_client_begin(cfg, (uint64_t)time(NULL), &c, m.auth_begin.bytes, &len), 0);
	m.auth_begin.len = (uint16_t)len;
	m.auth_begin.peer_addr[10] = m.auth_begin.peer_addr[11] = 0xff;
	m.auth_begin.peer_addr[12] = 192;
	m.auth_begin.peer_port_be = htons(5000);
	gw_send(gw, &m);
	return c;
}

/* The whole conversation; returns the verdict. */
static bool
authenticate(struct gw *gw, uint64_t tunnel, const struct qp_auth_client_config *cfg)
{
	struct qp_auth_client *c = begin(gw, tunnel, cfg);
	struct qp_msg reply = gw_expect(gw, QP_MSG_AUTH_REPLY);
	struct qp_msg finish = {.type = QP_MSG_AUTH_FINISH, .id = tunnel};

	cr_assert_eq(reply.id, tunnel);
	cr_assert_eq(qp_auth_client_reply(c, reply.auth_bytes.bytes, reply.auth_bytes.len,
			     finish.auth_bytes.bytes, NULL),
		0);
	finish.auth_bytes.len = QP_WIRE_STEP3_BYTES;
	gw_send(gw, &finish);
	qp_auth_client_free(c);
	return gw_expect(gw, QP_MSG_VERDICT).verdict.accepted;
}

static bool
authenticate_psk(struct gw *gw, uint64_t tunnel)
{
	const struct qp_auth_client_config cfg = {
		.method = QP_AUTH_PSK, .psk = psk = qp_secret_new(PSK, strlen(PSK))};
	bool ok = authenticate(gw, tunnel, &cfg);

	qp_secret_free(psk);
	return ok;
}

static struct qp_msg
request_port(struct gw *gw, uint64_t tunnel, uint16_t port, uint8_t protocol, uint16_t answer)
{
	struct qp_msg m = {.type = QP_MSG_FORWARD_REQUEST,
		.id = tunnel,
		.forward = {.port = port,
			.protocol = protocol,
			.destination_len = 2,
			.destination = "22"}};

	gw_send(gw, &m);
	return gw_expect(gw, answer);
}

static unsigned
count_files(const char *pattern)
{
	glob_t g;
	unsigned n = glob(pattern, 0, NULL, &g) == 0 ? (unsigned)g.gl_pathc : 0;

	if (n > 0)
		globfree(&g);
	return n;
}

/* No process, no run folder, no hugepage, no filter's file of the instance `name`. */
static void
assert_nothing_left(const char *name)
{
	char pattern[160];

	cr_expect_eq(world_processes(NULL), 0u, "processes are left");
	snprintf(pattern, sizeof(pattern), QP_RUN_DIR "/%s", name);
	cr_expect_eq(access(pattern, F_OK), -1, "%s is left", pattern);
	snprintf(pattern, sizeof(pattern), "/var/run/dpdk/%s", name);
	cr_expect_eq(access(pattern, F_OK), -1, "%s is left", pattern);
	snprintf(pattern, sizeof(pattern), "/dev/hugepages/%smap_*", name);
	cr_expect_eq(count_files(pattern), 0u, "hugepages are left");
}

static void
instance_name(struct gw *gw, char name[64])
{
	char path[160];

	cr_assert(world_run_dir(gw->port, path, sizeof(path)), "no run folder");
	snprintf(name, 64, "%s", strrchr(path, '/') + 1);
}

Test(gateway, started_sigterm_ends_all_in_two_seconds)
{
	char name[64];
	unsigned ms;
	struct gw gw;

	gw_start(&gw, 39000, "--psk", PSK, NULL);
	struct qp_msg_config cfg = gw_wait_ready(&gw);

	cr_expect_eq(ntohs(cfg.data_plane_port_be), 39000);
	cr_expect_eq(cfg.public_port_be, 0);
	cr_expect_eq(cfg.keep_alive_s, 5u);
	cr_expect(cfg.tcp.ecn == 1 && cfg.tcp.buffer_kib == 4096 && cfg.tcp.keepalive_s == 600);
	cr_expect_eq(cfg.idle_timeout_s, 90u);
	cr_expect_eq(cfg.data_plane_addr[15], 1);
	cr_expect_eq(access(cfg.cert_file, R_OK), 0);
	cr_expect_eq(access(cfg.key_file, R_OK), 0);
	instance_name(&gw, name);
	cr_expect_eq(world_processes(NULL), 3u);

	cr_expect_eq(gw_end(&gw, SIGTERM, &ms), 0);
	cr_expect_lt(ms, 2000u, "it took %u ms", ms);
	assert_nothing_left(name);
}

static bool
told_ready(void *ctx)
{
	char text[128] = "";

	/* The second line is for a program that has started it. */
	return recv(*(int *)ctx, text, sizeof(text) - 1, MSG_DONTWAIT) > 0 &&
	       strcmp(text, "READY=1\nX_QUICPORT_API=127.0.0.1:39000") == 0;
}

Test(gateway, service_manager_is_told_when_it_serves)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct gw gw;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/notify", world_dir());
	cr_assert_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	setenv("NOTIFY_SOCKET", addr.sun_path, 1);
	gw_start(&gw, 39000, "--psk", PSK, NULL);
	cr_expect(world_until(told_ready, &fd, 10000));
	cr_expect_eq(gw_end(&gw, SIGTERM, NULL), 0);
}

Test(gateway, data_plane_ignores_shutdown_ends_in_two_seconds)
{
	char name[64];
	unsigned ms;
	struct gw gw;

	setenv("FAKE_DP_MODE", "stubborn", 1);
	gw_start(&gw, 39000, "--psk", PSK, NULL);
	gw_wait_ready(&gw);
	instance_name(&gw, name);
	cr_expect_eq(gw_end(&gw, SIGINT, &ms), 0);
	cr_expect_lt(ms, 2000u, "it took %u ms", ms);
	assert_nothing_left(name);
}

Test(gateway, second_signal_ends_at_once)
{
	unsigned ms;
	struct gw gw;

	setenv("FAKE_DP_MODE", "stubborn", 1);
	gw_start(&gw, 39000, "--psk", PSK, NULL);
	gw_wait_ready(&gw);
	kill(gw.pid, SIGTERM);
	gw_expect(&gw, QP_MSG_SHUTDOWN);
	cr_expect_eq(gw_end(&gw, SIGTERM, &ms), 0);
	cr_expect_lt(ms, 1000u, "it took %u ms", ms);
}

Test(gateway, psk_client_gets_port)
{
	struct qp_msg m;
	struct gw gw;

	gw_start(&gw, 39000, "--psk", PSK, NULL);
	gw_wait_ready(&gw);
	cr_assert(authenticate_psk(&gw, 1));
	m = request_port(&gw, 1, 9000, QP_WIRE_TCP, QP_MSG_FORWARD_GRANT);
	cr_expect_eq(m.forward_answer.port, 9000);
	cr_expect_eq(m.forward_answer.status, QP_WIRE_SUCCESS);
	cr_expect_arr_eq(m.forward_answer.message, "Listening on port 9000", 22);
	cr_expect_eq(m.forward_answer.message_len, 22);
	cr_expect_not(world_can_bind(9000), "the port is not reserved in the kernel");
	cr_expect_eq(gw_metric(&gw, "quicport_auth_psk_success_total"), 1);
	cr_expect_eq(gw_metric(&gw, "quicport_ports_open"), 1);

	/* A second tunnel cannot have it, and is told in words. */
	cr_assert(authenticate_psk(&gw, 2));
	m = request_port(&gw, 2, 9000, QP_WIRE_TCP, QP_MSG_FORWARD_DENY);
	cr_expect_eq(m.forward_answer.status, QP_WIRE_PORT_IN_USE);
	cr_expect_gt(m.forward_answer.message_len, 0);

	/* The first one leaves: it is free at once. */
	gw_send(&gw, &(struct qp_msg) {.type = QP_MSG_TUNNEL_CLOSED, .id = 1});
	request_port(&gw, 2, 9000, QP_WIRE_TCP, QP_MSG_FORWARD_GRANT);
	gw_send(&gw, &(struct qp_msg) {.type = QP_MSG_FORWARD_CLOSED,
			     .id = 2,
			     .forward_closed = {.port = 9000, .protocol = QP_WIRE_TCP}});
	request_port(&gw, 2, 0, QP_WIRE_TCP, QP_MSG_FORWARD_GRANT);
	cr_expect(world_can_bind(9000));
	cr_expect_eq(gw_end(&gw, SIGTERM, NULL), 0);
}

Test(gateway, port_of_another_program_is_denied)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(9001)};
	struct qp_msg m;
	struct gw gw;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	cr_assert_eq(listen(fd, 1), 0);
	gw_start(&gw, 39000, "--psk", PSK, NULL);
	gw_wait_ready(&gw);
	cr_assert(authenticate_psk(&gw, 1));
	m = request_port(&gw, 1, 9001, QP_WIRE_TCP, QP_MSG_FORWARD_DENY);
	cr_expect_eq(m.forward_answer.status, QP_WIRE_PORT_IN_USE);
	m = request_port(&gw, 1, 39000, QP_WIRE_TCP, QP_MSG_FORWARD_DENY);
	cr_expect_eq(m.forward_answer.status, QP_WIRE_PORT_IN_USE);
	m = request_port(&gw, 1, 39000, QP_WIRE_UDP, QP_MSG_FORWARD_DENY);
	cr_expect_eq(m.forward_answer.status, QP_WIRE_PORT_IN_USE, "QUIC's own");
	m = request_port(&gw, 1, 9001, QP_WIRE_UDP, QP_MSG_FORWARD_GRANT);
	cr_expect_eq(m.forward_answer.port, 9001, "the program has the TCP port only");
	close(fd);
}

Test(gateway, wrong_psk_is_refused_without_a_reason)
{
	struct qp_secret *wrong = qp_secret_new("wrong", 5);
	const struct qp_auth_client_config cfg = {.method = QP_AUTH_PSK, .psk = wrong};
	struct qp_msg m;
	struct gw gw;

	gw_start(&gw, 39000, "--psk", PSK, NULL);
	gw_wait_ready(&gw);
	qp_auth_client_free(begin(&gw, 1, &cfg));
	m = gw_expect(&gw, QP_MSG_VERDICT);
	cr_expect_eq(m.verdict.accepted, 0);
	cr_expect_eq(gw_metric(&gw, "quicport_auth_psk_failed_total"), 1);
	m = request_port(&gw, 1, 9000, QP_WIRE_TCP, QP_MSG_FORWARD_DENY);
	cr_expect_eq(m.forward_answer.status, QP_WIRE_PERMISSION_DENIED);
	cr_expect(world_log_has(&gw, "authentication failed"));
	cr_expect_not(world_log_has(&gw, PSK), "the secret is in the log");
	qp_secret_free(wrong);
}

/* A server key and one client's, as options want them. */
struct keys {
	struct qp_secret *server, *client;
	uint8_t server_public[QP_KEY_BYTES], client_public[QP_KEY_BYTES];
	char server_text[QP_KEY_TEXT_BYTES], client_text[QP_KEY_TEXT_BYTES];
};

static void
make_keys(struct keys *k)
{
	cr_assert_eq(qp_keys_init(), 0);
	k->server = qp_key_generate();
	k->client = qp_key_generate();
	cr_assert_eq(qp_key_public(k->server, k->server_public), 0);
	cr_assert_eq(qp_key_public(k->client, k->client_public), 0);
	qp_key_format(k->server->bytes, k->server_text);
	qp_key_format(k->client_public, k->client_text);
}

Test(gateway, x25519_client_is_known_after_sighup)
{
	struct qp_auth_client_config cfg = {.method = QP_AUTH_X25519};
	char file[256];
	struct keys k, other;
	struct qp_msg m;
	struct gw gw;
	FILE *f;

	make_keys(&k);
	make_keys(&other);
	snprintf(file, sizeof(file), "%s/clients", world_dir());
	f = fopen(file, "we");
	fprintf(f, "# clients\n%s\n", other.client_text);
	fclose(f);
	gw_start(&gw, 39000, "--privkey", k.server_text, "--client-pubkeys-file", file, NULL);
	gw_wait_ready(&gw);

	cfg.private_key = k.client;
	memcpy(cfg.server_key, k.server_public, sizeof(cfg.server_key));
	qp_auth_client_free(begin(&gw, 1, &cfg));
	cr_expect_eq(gw_expect(&gw, QP_MSG_VERDICT).verdict.accepted, 0);
	cr_expect_eq(gw_metric(&gw, "quicport_auth_x25519_failed_total"), 1);

	f = fopen(file, "we");
	fprintf(f, "not a key\n");
	fclose(f);
	kill(gw.pid, SIGHUP);
	/* The loop takes the signal before the next request of ours. */
	gw_metric(&gw, "quicport_uptime_seconds");
	cr_expect(world_log_has(&gw, "nothing was reloaded"));
	cfg.private_key = other.client;
	cr_expect(authenticate(&gw, 2, &cfg), "a bad file took the good keys away");

	f = fopen(file, "we");
	fprintf(f, "%s\n", k.client_text);
	fclose(f);
	kill(gw.pid, SIGHUP);
	m = gw_expect(&gw, QP_MSG_TUNNEL_CLOSE);
	cr_expect_eq(m.id, 2u, "the other's tunnel");
	cr_expect_not_null(strstr(m.tunnel_close.phrase, "does not know this client"), "%s",
		m.tunnel_close.phrase);
	cfg.private_key = k.client;
	cr_expect(authenticate(&gw, 3, &cfg));
	cr_expect_eq(gw_metric(&gw, "quicport_auth_x25519_success_total"), 2);
	cr_expect_eq(gw_end(&gw, SIGTERM, NULL), 0);
}

/* The file has a name that the policy in force does not know yet: writing it reads both. */
Test(gateway, client_that_the_file_has_since_is_not_written)
{
	char file[256], request[256], body[2048];
	struct keys k, other;
	struct gw gw;
	FILE *f;

	make_keys(&k);
	make_keys(&other);
	snprintf(file, sizeof(file), "%s/gateway.yaml", world_dir());
	f = fopen(file, "we");
	fprintf(f, "clients: []\n");
	fclose(f);
	gw_start(&gw, 39000, "--privkey", k.server_text, "--config", file, NULL);
	gw_wait_ready(&gw);
	f = fopen(file, "we");
	fprintf(f, "# alice\nclients:\n- {name: alice, public-key: %s}\n", k.client_text);
	fclose(f);

	snprintf(request, sizeof(request), "{\"name\":\"alice\",\"public_key\":\"%s\"}",
		other.client_text);
	cr_expect_eq(gw_http(&gw, "POST", "/api/v1/admin/PutClient", request, body, sizeof(body)),
		409, "%s", body);
	cr_expect_not_null(strstr(body, "\"line\":3"), "%s", body);

	/* Nor is it there once the file has it no more. */
	f = fopen(file, "we");
	fprintf(f, "clients: []\n");
	fclose(f);
	cr_expect_eq(gw_http(&gw, "POST", "/api/v1/admin/ReloadConfig", "{}", body, sizeof(body)), 200,
		"%s", body);
	cr_expect_eq(gw_http(&gw, "POST", "/api/v1/admin/GetClient", "{\"name\":\"alice\"}", body,
			     sizeof(body)), 404, "%s", body);
	cr_expect_eq(gw_end(&gw, SIGTERM, NULL), 0);
}

static void
write_config(const char *text)
{
	char file[256];
	FILE *f;

	snprintf(file, sizeof(file), "%s/gateway.yaml", world_dir());
	f = fopen(file, "we");
	fputs(text, f);
	fclose(f);
}

static int
call(struct gw *gw, const char *name, const char *request)
{
	char path[64], body[4096];

	snprintf(path, sizeof(path), "/api/v1/admin/%s", name);
	return gw_http(gw, "POST", path, request, body, sizeof(body));
}

/* A group was taken from the file while the gateway was down. */
Test(gateway, clients_that_the_start_left_out_come_back_with_the_file)
{
	static const char alice[] = "{\"name\":\"alice\"}";
	char file[256], state[256], request[256];
	struct keys k;
	struct gw gw;

	make_keys(&k);
	snprintf(file, sizeof(file), "%s/gateway.yaml", world_dir());
	snprintf(state, sizeof(state), "%s/state", world_dir());
	write_config("groups: [{name: homes}]\n");
	gw_start(&gw, 39000, "--privkey", k.server_text, "--config", file, "--state-dir", state, NULL);
	gw_wait_ready(&gw);
	snprintf(request, sizeof(request),
		"{\"name\":\"alice\",\"public_key\":\"%s\",\"group\":\"homes\"}", k.client_text);
	cr_expect_eq(call(&gw, "PutClient", request), 200);
	cr_expect_eq(gw_end(&gw, SIGTERM, NULL), 0);

	write_config("groups: [{name: offices}]\n");
	gw_start(&gw, 39000, "--privkey", k.server_text, "--config", file, "--state-dir", state, NULL);
	gw_wait_ready(&gw);
	cr_expect(world_log_has(&gw, "clients that the API has written are not in force"));
	cr_expect_eq(call(&gw, "GetClient", alice), 404);
	/* The file's own changes need not wait for it. */
	write_config("groups: [{name: shops}]\n");
	cr_expect_eq(call(&gw, "ReloadConfig", "{}"), 200);
	cr_expect_eq(call(&gw, "GetClient", alice), 404);
	cr_expect_eq(call(&gw, "PutClient", request), 400, "its group is not there");
	write_config("groups: [{name: homes}]\n");
	cr_expect_eq(call(&gw, "ReloadConfig", "{}"), 200);
	cr_expect_eq(call(&gw, "GetClient", alice), 200);
	/* In force again: nothing takes it away by the way. */
	write_config("groups: [{name: offices}]\n");
	cr_expect_eq(call(&gw, "ReloadConfig", "{}"), 400);
	cr_expect_eq(call(&gw, "GetClient", alice), 200);
	cr_expect_eq(gw_end(&gw, SIGTERM, NULL), 0);
}

/* By a restored backup, or a change that was in force and not on the disk before a crash. */
Test(gateway, client_whose_psk_is_gone_takes_no_other_with_it)
{
	char state[256], request[256];
	struct keys k;
	glob_t found;
	struct gw gw;

	make_keys(&k);
	snprintf(state, sizeof(state), "%s/state", world_dir());
	gw_start(&gw, 39000, "--psk", PSK, "--state-dir", state, NULL);
	gw_wait_ready(&gw);
	snprintf(request, sizeof(request), "{\"name\":\"alice\",\"public_key\":\"%s\"}", k.client_text);
	cr_expect_eq(call(&gw, "PutClient", request), 200);
	cr_expect_eq(call(&gw, "PutClient", "{\"name\":\"shop\",\"psk\":\"a secret of the shop's\"}"), 200);
	cr_expect_eq(gw_end(&gw, SIGTERM, NULL), 0);

	snprintf(request, sizeof(request), "%s/state/psk-shop-*", world_dir());
	cr_assert_eq(glob(request, 0, NULL, &found), 0);
	cr_assert_eq(found.gl_pathc, 1u);
	cr_assert_eq(unlink(found.gl_pathv[0]), 0);
	globfree(&found);
	gw_start(&gw, 39000, "--psk", PSK, "--state-dir", state, NULL);
	gw_wait_ready(&gw);
	cr_expect_eq(call(&gw, "GetClient", "{\"name\":\"alice\"}"), 200);
	cr_expect_eq(call(&gw, "GetClient", "{\"name\":\"shop\"}"), 404);
	cr_expect(world_log_has(&gw, "its PSK's file is gone"));
	cr_expect_eq(call(&gw, "DeleteClient", "{\"name\":\"shop\"}"), 200);
	cr_expect_eq(gw_end(&gw, SIGTERM, NULL), 0);
}

/* Its text is cut somewhere, also in the middle of a character. */
Test(gateway, failed_reload_is_audited_with_its_reason)
{
	char file[256], audit[256], line[8192];
	unsigned found = 0;
	struct gw gw;
	FILE *f;

	snprintf(file, sizeof(file), "%s/gateway.yaml", world_dir());
	snprintf(audit, sizeof(audit), "%s/audit", world_dir());
	f = fopen(file, "we");
	fclose(f);
	gw_start(&gw, 39000, "--psk", PSK, "--config", file, "--audit-log", audit, NULL);
	gw_wait_ready(&gw);
	for (unsigned i = 0; i < 2; i++) {
		f = fopen(file, "we");
		fprintf(f, "include: [\"%s", i == 0 ? "" : "x");
		for (unsigned k = 0; k < 150; k++)
			fprintf(f, "\xc3\xa9");
		fprintf(f, "\", nothere]\n");
		fclose(f);
		cr_expect_eq(gw_http(&gw, "POST", "/api/v1/admin/ReloadConfig", "{}", line,
				     sizeof(line)), 400, "%s", line);
	}
	cr_expect_eq(gw_end(&gw, SIGTERM, NULL), 0);

	f = fopen(audit, "re");
	cr_assert_not_null(f);
	while (fgets(line, sizeof(line), f) != NULL)
		found += strstr(line, "\"reload\"") != NULL && strstr(line, "\"error\":\"") != NULL;
	fclose(f);
	cr_expect_eq(found, 2u);
}

/* Of the data plane that lives: the sum does not tell when it has changed. */
static bool
counters_are_set(void *ctx)
{
	return gw_metric(ctx, "quicport_tunnels_active") == 1;
}

Test(gateway, data_plane_killed_is_replaced_and_leaks_nothing)
{
	struct gw gw;

	gw_start(&gw, 39000, "--psk", PSK, NULL);
	gw_wait_ready(&gw);
	/* 64 MiB hold three pools of the fake's: with a leak, the fourth data plane has none. */
	for (unsigned i = 1; i <= 3; i++) {
		cr_assert(authenticate_psk(&gw, i));
		request_port(&gw, i, 9000, QP_WIRE_TCP, QP_MSG_FORWARD_GRANT);
		gw_send(&gw, &(struct qp_msg) {.type = BRAIN_COUNT, .id = 1000});
		cr_assert(world_until(counters_are_set, &gw, 10000));
		kill(gw_data_plane_pid(&gw), SIGKILL);
		gw_wait_ready(&gw);
		cr_expect(world_log_has(&gw, "data plane died"));
		cr_expect_eq(gw_metric(&gw, "quicport_ports_open"), 0);
		cr_expect_eq(gw_metric(&gw, "quicport_data_plane_deaths_total"), i);
		/* What was counted stays counted, what was alive is not. */
		cr_expect_eq(gw_metric(&gw, "quicport_bytes_sent_total"), 1000 * i);
		cr_expect_eq(gw_metric(&gw, "quicport_tunnels_active"), 0);
	}
	cr_expect_eq(gw_end(&gw, SIGTERM, NULL), 0);
}

Test(gateway, data_plane_shut_down_by_api_is_replaced)
{
	char body[512], request[64], id[16] = "";
	struct gw gw;

	gw_start(&gw, 39000, "--psk", PSK, NULL);
	gw_wait_ready(&gw);
	cr_assert_eq(gw_http(&gw, "POST", "/api/v1/admin/ListDataPlanes", "{}", body, sizeof(body)),
		200);
	cr_assert_eq(sscanf(strstr(body, "\"dp_id\""), "\"dp_id\":\"%15[^\"]\"", id), 1);
	cr_expect_not_null(strstr(body, "\"state\":\"ACTIVE\""));
	snprintf(request, sizeof(request), "{\"dp_id\":\"%s\"}", id);
	cr_expect_eq(gw_http(&gw, "POST", "/api/v1/admin/GetDataPlaneStatus", request, body,
			     sizeof(body)),
		200);
	cr_expect_not_null(strstr(body, "\"started_at\":"));
	cr_expect_eq(gw_http(&gw, "POST", "/api/v1/admin/ShutdownDataPlane", request, body,
			     sizeof(body)),
		200);
	cr_expect_str_eq(body, "{\"status\":\"shutdown_initiated\"}");
	gw_expect(&gw, QP_MSG_SHUTDOWN);
	gw_wait_ready(&gw);
	cr_expect_eq(gw_http(&gw, "POST", "/api/v1/admin/GetDataPlaneStatus", request, body,
			     sizeof(body)),
		404);
	cr_expect_eq(gw_metric(&gw, "quicport_data_plane_deaths_total"), 0);
	cr_expect_eq(gw_end(&gw, SIGTERM, NULL), 0);
}

static bool
is_gone(void *pid)
{
	struct qp_proc_id id;

	return qp_proc_identify(*(pid_t *)pid, &id) != 0;
}

/* With its data plane: what lives without a control plane is test_adopt.c's. */
static void
kill_gateway(struct gw *gw)
{
	pid_t data_plane = gw_data_plane_pid(gw);

	cr_expect_eq(gw_end(gw, SIGKILL, NULL), -SIGKILL);
	kill(data_plane, SIGKILL);
	cr_assert(world_until(is_gone, &data_plane, 10000));
}

Test(gateway, killed_gateway_is_replaced_and_leaves_nothing)
{
	char name[64], name_again[64];
	struct gw gw, again;
	unsigned ms;

	gw_start(&gw, 39000, "--psk", PSK, NULL);
	gw_wait_ready(&gw);
	cr_assert(authenticate_psk(&gw, 1));
	request_port(&gw, 1, 9000, QP_WIRE_TCP, QP_MSG_FORWARD_GRANT);
	instance_name(&gw, name);
	kill_gateway(&gw);

	gw_start(&again, 39000, "--psk", PSK, NULL);
	gw_wait_ready(&again);
	instance_name(&again, name_again);
	cr_expect_str_eq(name, name_again);
	cr_expect_eq(world_processes(NULL), 3u);
	cr_assert(authenticate_psk(&again, 1));
	request_port(&again, 1, 9000, QP_WIRE_TCP, QP_MSG_FORWARD_GRANT);
	cr_expect_eq(gw_end(&again, SIGTERM, &ms), 0);
	cr_expect_lt(ms, 2000u);
	assert_nothing_left(name);
}

Test(gateway, another_gateway_clears_away_a_dead_one)
{
	struct gw dead, alive, next;
	char name[64];

	gw_start(&dead, 39000, "--psk", PSK, NULL);
	gw_wait_ready(&dead);
	instance_name(&dead, name);
	gw_start(&alive, 39010, "--psk", PSK, NULL);
	gw_wait_ready(&alive);
	kill_gateway(&dead);

	gw_start(&next, 39020, "--psk", PSK, NULL);
	gw_wait_ready(&next);
	cr_expect_eq(world_processes(NULL), 6u, "the dead gateway's processes live");
	char path[128];
	snprintf(path, sizeof(path), QP_RUN_DIR "/%s", name);
	cr_expect_eq(access(path, F_OK), -1, "%s is left", path);
	cr_expect_eq(gw_metric(&alive, "quicport_data_plane_deaths_total"), 0);
	cr_expect_eq(gw_end(&alive, SIGTERM, NULL), 0);
	cr_expect_eq(gw_end(&next, SIGTERM, NULL), 0);
}

Test(gateway, same_address_twice_is_refused_by_name)
{
	struct gw gw, second;
	char pid[32];

	gw_start(&gw, 39000, "--psk", PSK, NULL);
	gw_wait_ready(&gw);
	gw_start(&second, 39000, "--private-api-listen", "127.0.0.1:39005", "--psk", PSK, NULL);
	cr_expect_eq(gw_wait_end(&second, 10000), 1);
	snprintf(pid, sizeof(pid), "process %d", (int)gw.pid);
	cr_expect(world_log_has(&second, "a gateway runs at 127.0.0.1:39000 already"));
	cr_expect(world_log_has(&second, pid));
	cr_expect_eq(gw_end(&gw, SIGTERM, NULL), 0);
}

Test(gateway, eight_side_by_side_all_serve)
{
	struct gw gw[8];

	for (unsigned i = 0; i < 8; i++) {
		gw_start(&gw[i], (uint16_t)(39000 + 10 * i), "--psk", PSK, NULL);
		gw_wait_ready(&gw[i]);
	}
	cr_expect_eq(world_processes(NULL), 24u);
	for (unsigned i = 0; i < 8; i++) {
		cr_expect(authenticate_psk(&gw[i], 1));
		request_port(&gw[i], 1, (uint16_t)(9000 + i), QP_WIRE_TCP, QP_MSG_FORWARD_GRANT);
	}
	for (unsigned i = 0; i < 8; i++)
		kill(gw[i].pid, SIGTERM);
	for (unsigned i = 0; i < 8; i++)
		cr_expect_eq(gw_wait_end(&gw[i], 10000), 0);
	cr_expect_eq(world_processes(NULL), 0u);
}

Test(gateway, first_data_plane_broken_ends_with_its_reason)
{
	struct gw gw;

	setenv("FAKE_DP_MODE", "broken", 1);
	gw_start(&gw, 39000, "--psk", PSK, NULL);
	cr_expect_eq(gw_wait_end(&gw, 20000), 1);
	cr_expect(world_log_has(&gw, "quicport control-plane: the fake data plane is broken"));
	cr_expect_eq(world_processes(NULL), 0u);
}

Test(gateway, first_data_plane_quits_ends_with_its_status)
{
	struct gw gw;

	setenv("FAKE_DP_MODE", "quits", 1);
	gw_start(&gw, 39000, "--psk", PSK, NULL);
	cr_expect_eq(gw_wait_end(&gw, 20000), 1);
	cr_expect(world_log_has(&gw, "the data plane exited with status 3 before it was ready"));
}

Test(gateway, too_much_memory_is_told_with_the_way_out)
{
	struct gw gw;

	gw_start(&gw, 39000, "--psk", PSK, "--memory", "1000000", NULL);
	cr_expect_eq(gw_wait_end(&gw, 20000), 1);
	cr_expect(world_log_has(&gw, "1000000 MiB of hugepages are wanted"));
	cr_expect_eq(world_processes(NULL), 0u);
}

Test(gateway, by_hand_data_plane_attaches)
{
	char name[64], command[512], body[256];
	struct gw gw;

	gw_start(&gw, 39000, "--psk", PSK, "--no-auto-dataplane", NULL);
	while (!world_log_has(&gw, "quicport data-plane --instance"))
		cr_assert(kill(gw.pid, 0) == 0);
	cr_expect_eq(gw_http(&gw, "GET", "/healthcheck", NULL, body, sizeof(body)), 503);
	cr_expect_str_eq(body, "{\"status\":\"NOT_SERVING\",\"reason\":\"the gateway is starting\"}");
	instance_name(&gw, name);
	snprintf(command, sizeof(command), "%s/quicport-data-plane --instance %s &", world_dir(),
		name);
	cr_assert_eq(system(command), 0);
	gw_wait_ready(&gw);
	cr_assert(authenticate_psk(&gw, 1));
	cr_expect_eq(gw_end(&gw, SIGTERM, NULL), 0);
	cr_expect_eq(world_processes(NULL), 0u);
}

Test(gateway, full_ring_is_worked_off)
{
	struct gw gw;

	gw_start(&gw, 39000, "--psk", PSK, "--workers", "2", NULL);
	gw_wait_ready(&gw);
	gw_expect(&gw, QP_MSG_CONFIG); /* the second worker's */
	for (unsigned i = 0; i < 20; i++)
		gw_send(&gw, &(struct qp_msg) {.type = BRAIN_FLOOD, .id = 77});
	cr_expect(authenticate_psk(&gw, 1));
	cr_expect_eq(gw_metric(&gw, "quicport_control_messages_dropped_total"), 0);
}
