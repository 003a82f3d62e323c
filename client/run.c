/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `quicport client` at work: the loop, signals, the server's addresses in
 * turn, trust, and the words and exit status for each way that it can end.
 * Main thread.
 */
#include "client/run.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "client/resolve.h"
#include "client/session.h"
#include "client/trust.h"

/* For a server's addresses but the last. */
#define NEXT_ADDRESS_TIMEOUT_S 3u

struct run {
	const struct qpc_options *o;
	struct qpc_loop loop;
	struct qpc_source signals;
	WOLFSSL_CTX *tls;
	struct qpc_trust trust;
	struct qp_errmsg trust_error; /* of the last check, when known_hosts could not be read */
	struct qpc_addrs server, local;
	struct qpc_session_config cfg;
	struct qpc_session *session;
	char destination[QP_HOST_BYTES + 16];
	bool stopping;                /* a signal came */
	bool ended;                   /* the session has */
};

/* A connection needs a descriptor: take as many as the system lets us have. */
static void
raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static void
on_signal(struct qpc_source *source, uint32_t events)
{
	struct run *run = QPC_CONTAINER(source, struct run, signals);
	struct signalfd_siginfo info;

	if (read(source->fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	run->stopping = true;
	if (run->session != NULL && !run->ended)
		qpc_session_close(run->session);
}

static int
catch_signals(struct run *run, struct qp_errmsg *msg)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return qp_fail(msg, QP_E_IO, "cannot block signals: %s", strerror(errno));
	run->signals = (struct qpc_source) {signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC),
		on_signal};
	if (run->signals.fd < 0 || qpc_loop_add(&run->loop, &run->signals, EPOLLIN) != QP_OK)
		return qp_fail(msg, QP_E_IO, "cannot receive signals: %s", strerror(errno));
	return QP_OK;
}

/* The session's questions and news. */

static int
on_trust(void *ctx, const struct qpc_cert *cert)
{
	struct run *run = ctx;

	qp_log(QP_LOG_DEBUG, "server certificate", QP_LOG_STR("fingerprint", cert->fingerprint));
	run->trust_error.text[0] = '\0';
	return qpc_trust_check(&run->trust, cert, &run->trust_error);
}

static void
on_opened(void *ctx, struct qp_slice message)
{
	struct run *run = ctx;

	qp_log(QP_LOG_INFO, "forward open", QP_LOG_STR("server", run->trust.host),
		QP_LOG_U64("port", run->o->remote.port), QP_LOG_STR("protocol", "tcp"),
		QP_LOG_STR("destination", run->destination), QP_LOG_SLICE("answer", message));
}

static void
on_ended(void *ctx)
{
	((struct run *)ctx)->ended = true;
}

static const struct qpc_session_ops session_ops = {
	.trust = on_trust,
	.opened = on_opened,
	.ended = on_ended,
};

/* Making things ready. */

static void
fill_config(struct run *run)
{
	const struct qpc_options *o = run->o;
	struct qpc_session_config *cfg = &run->cfg;

	qpc_quic_config_default(&cfg->quic);
	cfg->quic.keep_alive_s = o->keep_alive_s;
	cfg->quic.idle_timeout_s = o->idle_timeout_s;
	cfg->auth.method = o->method;
	cfg->auth.private_key = o->privkey;
	cfg->auth.psk = o->psk;
	memcpy(cfg->auth.server_key, o->server_pubkey, sizeof(cfg->auth.server_key));
	cfg->request.type = QP_WIRE_REMOTE_FORWARD_REQUEST;
	cfg->request.remote_forward_request.port = o->remote.port;
	cfg->request.remote_forward_request.protocol = o->remote.protocol;
	cfg->request.remote_forward_request.destination = qp_slice_of(run->destination);
	cfg->dest = run->local.v;
	cfg->ndest = run->local.n;
}

static int
prepare(struct run *run, struct qp_errmsg *msg)
{
	const struct qpc_options *o = run->o;
	struct qp_target local = o->local;
	int err = qpc_trust_init(&run->trust, &o->server, o->insecure, msg);

	if (local.host[0] == '\0')
		snprintf(local.host, sizeof(local.host), "127.0.0.1");
	qp_target_format(&local, false, run->destination, sizeof(run->destination));
	if (err == QP_OK)
		err = qpc_resolve(&o->server, &run->server, msg);
	if (err == QP_OK)
		err = qpc_resolve(&local, &run->local, msg);
	if (err == QP_OK && qp_quic_init() != QP_OK)
		err = qp_fail(msg, QP_E_CRYPTO, "libsodium or wolfSSL does not start");
	if (err == QP_OK)
		err = qpc_tls_context(&run->tls, msg);
	if (err == QP_OK)
		err = qpc_loop_init(&run->loop, msg);
	if (err == QP_OK)
		err = catch_signals(run, msg);
	fill_config(run);
	raise_descriptor_limit();
	return err;
}

static void
clean_up(struct run *run)
{
	qpc_session_free(run->session);
	if (run->signals.fd >= 0)
		close(run->signals.fd);
	qpc_loop_fini(&run->loop);
	if (run->tls != NULL)
		wolfSSL_CTX_free(run->tls);
	wolfSSL_Cleanup();
}

/* One session, to its end. */
static int
run_session(struct run *run, size_t address, struct qp_errmsg *msg)
{
	bool last = address + 1 == run->server.n;
	struct qpc_quic_config *quic = &run->cfg.quic;
	int err;

	qpc_session_free(run->session);
	run->session = NULL;
	run->ended = false;
	run->cfg.server = run->server.v[address];
	quic->heed_icmp = !last;
	if (!last)
		quic->handshake_timeout_s = NEXT_ADDRESS_TIMEOUT_S;
	err = qpc_session_start(&run->loop, run->tls, &run->cfg, &session_ops, run, &run->session,
		msg);
	if (err != QP_OK)
		return err;
	qp_log(QP_LOG_INFO, "connecting", QP_LOG_STR("server", run->trust.host),
		QP_LOG_ADDR("address", &run->cfg.server.sa));
	while (!run->ended) {
		err = qpc_loop_turn(&run->loop);
		if (err != QP_OK)
			return qp_fail(msg, err, "epoll failed: %s", strerror(errno));
	}
	return QP_OK;
}

/* The ends. */

static void
explain_authentication(const struct run *run, struct qp_errmsg *msg)
{
	const struct qpc_session_end *end = qpc_session_end(run->session);
	uint8_t key[QP_KEY_BYTES];
	char text[QP_KEY_TEXT_BYTES] = "?";

	if (end->err == QP_E_AUTH) {
		(void)qp_fail(msg, end->err,
			"%s is not the gateway that %s belongs to (%.100s): check both",
			run->trust.host,
			run->o->method == QP_AUTH_X25519 ? "--server-pubkey" : "--psk", end->text);
		return;
	}
	if (run->o->method == QP_AUTH_X25519) {
		if (qp_key_public(run->o->privkey, key) == QP_OK)
			qp_key_format(key, text);
		(void)qp_fail(msg, QP_E_AUTH,
			"%s did not accept this client (%.100s): its --client-pubkeys must have %s",
			run->trust.host, end->text, text);
		return;
	}
	(void)qp_fail(msg, QP_E_AUTH,
		"%s did not accept this client (%.100s): --psk must be the gateway's, and the two "
		"clocks within %u s",
		run->trust.host, end->text, QP_WIRE_PSK_WINDOW_S);
}

static enum qpc_exit
explain_refusal(const struct run *run, struct qp_errmsg *msg)
{
	const struct qpc_session_end *end = qpc_session_end(run->session);

	(void)qp_fail(msg, end->err, "%s did not open port %u: %s (%.150s)%s", run->trust.host,
		run->o->remote.port, qp_wire_status_name(end->status), end->text,
		end->status == QP_WIRE_PORT_IN_USE ? "; choose another one with -r" : "");
	return QPC_EXIT_REFUSED;
}

/* The line and the exit status for a session that ended by itself. */
static enum qpc_exit
explain(const struct run *run, struct qp_errmsg *msg)
{
	const struct qpc_session_end *end = qpc_session_end(run->session);

	if (end->refused)
		return explain_refusal(run, msg);
	switch (end->stage) {
	case QPC_SESSION_CONNECTING:
		(void)qp_fail(msg, end->err,
			"no connection to %s: %.200s; is a gateway running there, and does UDP "
			"reach it?",
			run->trust.host, end->text);
		return QPC_EXIT_FAILED;
	case QPC_SESSION_AUTHENTICATING:
	case QPC_SESSION_REQUESTING:
		if (end->by_peer || end->err == QP_E_AUTH) {
			explain_authentication(run, msg);
			return QPC_EXIT_AUTH;
		}
		break;
	default:
		break;
	}
	(void)qp_fail(msg, end->err, end->by_peer ? "%s closed the forward: %.200s" :
						    "the connection to %s was lost: %.200s",
		run->trust.host, end->text);
	return QPC_EXIT_FAILED;
}

/* An unknown or changed certificate. True: trusted now, connect again. */
static bool
settle_trust(struct run *run, struct qp_errmsg *msg)
{
	if (run->trust_error.text[0] != '\0') {
		*msg = run->trust_error;
		return false;
	}
	if (!qpc_trust_can_ask()) {
		qpc_trust_explain(&run->trust, msg);
		return false;
	}
	return qpc_trust_ask(&run->trust, run->signals.fd, msg) == QP_OK;
}

/* Whether the session ended over the certificate. */
static bool
was_distrusted(const struct run *run)
{
	const struct qpc_session_end *end = qpc_session_end(run->session);

	return end->stage == QPC_SESSION_CONNECTING && !run->trust.insecure &&
		run->trust.cert.fingerprint[0] != '\0' && run->trust.verdict != QPC_HOST_KNOWN;
}

static enum qpc_exit
run_forward(struct run *run, struct qp_errmsg *msg)
{
	size_t address = 0;

	for (;;) {
		if (run_session(run, address, msg) != QP_OK) {
			if (++address < run->server.n)
				continue;
			return QPC_EXIT_FAILED;
		}
		if (run->stopping)
			return QPC_EXIT_OK;
		if (was_distrusted(run)) {
			if (!settle_trust(run, msg))
				return QPC_EXIT_AUTH;
			continue;
		}
		if (qpc_session_end(run->session)->stage == QPC_SESSION_CONNECTING &&
			++address < run->server.n)
			continue;
		return explain(run, msg);
	}
}

static void
log_end(const struct run *run, enum qpc_exit status, const struct qp_errmsg *msg)
{
	const struct qpc_relay_counters *c =
		run->session != NULL ? qpc_session_counters(run->session) : NULL;

	if (status != QPC_EXIT_OK)
		qp_log(QP_LOG_ERROR, msg->text);
	else
		qp_log(QP_LOG_INFO, "stopped", QP_LOG_U64("connections", c != NULL ? c->opened : 0),
			QP_LOG_U64("bytes_in", c != NULL ? c->bytes_to_local : 0),
			QP_LOG_U64("bytes_out", c != NULL ? c->bytes_from_local : 0));
}

enum qpc_exit
qpc_run(const struct qpc_options *o)
{
	struct run run = {.o = o, .loop.epfd = -1, .signals.fd = -1};
	struct qp_errmsg msg = {0};
	enum qpc_exit status = QPC_EXIT_FAILED;

	if (prepare(&run, &msg) == QP_OK)
		status = run_forward(&run, &msg);
	log_end(&run, status, &msg);
	clean_up(&run);
	return status;
}
