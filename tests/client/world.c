/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/client/world.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cert.h"
#include "tests/common/support.h"

#define TICK_NS 2000000u
#define PATIENCE_NS UINT64_C(20000000000)

struct world w;

static void
on_tick(struct qpc_timer *t)
{
	qpc_timer_arm(&w.loop.timers, t, qp_quic_now() + TICK_NS);
}

static int
on_trust(void *ctx, const struct qpc_cert *cert)
{
	memcpy(w.fingerprint, cert->fingerprint, sizeof(w.fingerprint));
	return w.distrust;
}

static void
on_opened(void *ctx, struct qp_slice message)
{
	w.opened = true;
}

static void
on_ended(void *ctx)
{
	w.ended = true;
}

static const struct qpc_session_ops session_ops = {
	.trust = on_trust, .opened = on_opened, .ended = on_ended};

static void
start_service(void)
{
	w.dest = (struct qp_sockaddr) {
		.in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
		.len = sizeof(w.dest.in)};
	w.service = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	cr_assert_eq(bind(w.service, &w.dest.sa, w.dest.len), 0);
	cr_assert_eq(listen(w.service, 4096), 0);
	cr_assert_eq(getsockname(w.service, &w.dest.sa, &w.dest.len), 0);
}

void
world_init(void)
{
	struct qp_errmsg msg;
	const char *folder = scratch_make();

	cr_assert_eq(qp_quic_init(), 0);
	cr_assert_eq(qpc_loop_init(&w.loop, &msg), 0);
	cr_assert_eq(qpc_tls_context(&w.tls, &msg), 0, "%s", msg.text);
	snprintf(w.cert, sizeof(w.cert), "%s/cert.pem", folder);
	snprintf(w.key, sizeof(w.key), "%s/key.pem", folder);
	cr_assert_eq(qp_cert_ensure(w.cert, w.key, NULL, &msg), 0, "%s", msg.text);
	w.psk = qp_secret_new("secret", 6);
	w.client_psk = qp_secret_new("secret", 6);
	w.server_cfg.cert_file = w.cert;
	w.server_cfg.key_file = w.key;
	w.server_cfg.policy.psks = (const struct qp_secret *const *)&w.psk;
	w.server_cfg.policy.npsks = 1;
	qpc_quic_config_default(&w.server_cfg.quic);
	qpc_quic_config_default(&w.cfg.quic);
	w.cfg.auth.method = QP_AUTH_PSK;
	w.cfg.dest = &w.dest;
	w.cfg.ndest = 1;
	w.cfg.request.type = QP_WIRE_REMOTE_FORWARD_REQUEST;
	w.cfg.request.remote_forward_request.protocol = QP_WIRE_TCP;
	w.cfg.request.remote_forward_request.destination = qp_slice_of("test");
	start_service();
	w.tick.fire = on_tick;
	qpc_timer_arm(&w.loop.timers, &w.tick, 0);
}

void
world_fini(void)
{
	qpc_session_free(w.session);
	test_server_free(w.server);
	if (w.path != NULL)
		lossy_stop(w.path);
	if (w.service >= 0)
		close(w.service);
	wolfSSL_CTX_free(w.tls);
	wolfSSL_Cleanup();
	qpc_loop_fini(&w.loop);
	qp_secret_free(w.psk);
	qp_secret_free(w.client_psk);
	scratch_remove();
}

void
world_until(bool (*done)(void *arg), void *arg, const char *what)
{
	uint64_t end = qp_quic_now() + PATIENCE_NS;

	while (!done(arg)) {
		cr_assert_eq(qpc_loop_turn(&w.loop), 0);
		cr_assert(qp_quic_now() < end, "not within 20 s: %s", what);
	}
}

static void
start(void)
{
	struct qp_errmsg msg;

	w.server = test_server_new(&w.loop, &w.server_cfg);
	cr_assert_not_null(w.server);
	w.cfg.server = (struct qp_sockaddr) {
		.in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
			.sin_port = htons(test_server_port(w.server))},
		.len = sizeof(w.cfg.server.in)};
	if (w.path != NULL) {
		lossy_start(w.path, &w.loop, test_server_port(w.server));
		qp_sockaddr_set_port(&w.cfg.server.sa, w.path->port);
	}
	if (w.server_cfg.misbehave == TEST_ABSENT) {
		test_server_free(w.server);
		w.server = NULL;
	}
	w.cfg.auth.psk = w.client_psk;
	cr_assert_eq(qpc_session_start(&w.loop, w.tls, &w.cfg, &session_ops, NULL, &w.session, &msg),
		0, "%s", msg.text);
}

static bool
opened_or_ended(void *arg)
{
	return w.opened || w.ended;
}

static bool
ended(void *arg)
{
	return w.ended;
}

void
world_open(void)
{
	start();
	world_until(opened_or_ended, NULL, "the forward is open");
	cr_assert(w.opened, "ended instead: %s", qpc_session_end(w.session)->text);
}

const struct qpc_session_end *
world_run_to_end(void)
{
	start();
	world_until(ended, NULL, "the session ends");
	return qpc_session_end(w.session);
}

static uint8_t
pattern(size_t at)
{
	return (uint8_t)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

void
end_connect(struct end *e)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(test_server_forward(w.server))};

	e->fd = socket(AF_INET, SOCK_STREAM, 0);
	/* The kernel completes it by itself; the server accepts in its own time. */
	cr_assert_eq(connect(e->fd, (struct sockaddr *)&sa, sizeof(sa)), 0, "%s", strerror(errno));
}

static bool
try_accept(void *arg)
{
	struct end *e = arg;

	e->fd = accept(w.service, NULL, NULL);
	return e->fd >= 0;
}

void
end_accept(struct end *e)
{
	world_until(try_accept, e, "the service is connected to");
}

static void
step_out(struct end *e)
{
	uint8_t buf[65536];

	while (e->sent < e->to_send && e->error == 0) {
		size_t n = e->to_send - e->sent;
		ssize_t rc;

		n = n < sizeof(buf) ? n : sizeof(buf);
		for (size_t i = 0; i < n; i++)
			buf[i] = pattern(e->sent + i);
		rc = send(e->fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (rc < 0 && errno == EAGAIN)
			return;
		if (rc < 0)
			e->error = errno;
		else
			e->sent += (size_t)rc;
	}
	if (e->shut_after && !e->shut && e->sent == e->to_send) {
		shutdown(e->fd, SHUT_WR);
		e->shut = true;
	}
}

static void
step_in(struct end *e)
{
	uint8_t buf[65536];

	while (!e->mute && !e->eof && e->error == 0) {
		ssize_t n = recv(e->fd, buf, sizeof(buf), MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			e->error = errno;
			return;
		}
		e->eof = n == 0;
		for (ssize_t i = 0; i < n; i++)
			e->garbled = e->garbled || buf[i] != pattern(e->received + (size_t)i);
		e->received += (size_t)n;
	}
}

void
end_step(struct end *e)
{
	if (e->fd < 0)
		return;
	step_out(e);
	step_in(e);
	cr_assert(!e->garbled, "received other bytes than were sent");
}

void
end_reset(struct end *e)
{
	struct linger linger = {.l_onoff = 1};

	setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	end_close(e);
}

void
end_close(struct end *e)
{
	close(e->fd);
	e->fd = -1;
}

struct pair {
	struct end *a, *b;
	bool (*done)(struct end *a, struct end *b);
};

static bool
step_pair(void *arg)
{
	struct pair *p = arg;

	end_step(p->a);
	end_step(p->b);
	return p->done(p->a, p->b);
}

void
world_relay(struct end *a, struct end *b, bool (*done)(struct end *a, struct end *b),
	const char *what)
{
	struct pair p = {a, b, done};

	world_until(step_pair, &p, what);
}

void
world_connect(struct end *outside, struct end *service)
{
	end_connect(outside);
	end_accept(service);
}
