/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A gateway that a program starts: `quicport control-plane` as a child, which
 * says by systemd's notification protocol (sd_notify(3)) that it serves, and
 * where its private API is. Any thread; blocks.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/client_impl.h"
#include "common/addr.h"
#include "common/clock.h"

#define STOP_MS 2000u
#define STATS_MS 2000u
#define METRICS_BYTES (1u << 20)

extern char **environ;

struct qp_gateway {
	pid_t pid;
	int notify; /* a datagram socket: what the gateway says of itself */
	struct sockaddr_un notify_addr;
	int log; /* its standard error; read by `pump` until its end */
	pthread_t pump;
	bool pumping, reaped;
	int status;
	struct qp_sockaddr api;
	pthread_mutex_t lock; /* of last_line */
	char last_line[384];
};

static uint64_t
now_ms(void)
{
	return qp_now_ns() / 1000000u;
}

/* An abstract address that nobody else can guess to be there first: the kernel's choice. */
static int
open_notify(struct qp_gateway *g)
{
	socklen_t len = sizeof(g->notify_addr);

	g->notify_addr.sun_family = AF_UNIX;
	g->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (g->notify < 0 || bind(g->notify, (struct sockaddr *)&g->notify_addr,
				     sizeof(sa_family_t)) != 0)
		return -1;
	return getsockname(g->notify, (struct sockaddr *)&g->notify_addr, &len);
}

/* What it logs goes on to our standard error; the last line is kept for the error of a failed start. */
static void *
pump(void *arg)
{
	struct qp_gateway *g = arg;
	char buf[4096];
	size_t line = 0;
	ssize_t n;

	while ((n = read(g->log, buf, sizeof(buf))) > 0 || (n < 0 && errno == EINTR)) {
		for (ssize_t i = 0; i < n; i++) {
			pthread_mutex_lock(&g->lock);
			if (buf[i] == '\n')
				line = 0;
			else if (line + 1 < sizeof(g->last_line)) {
				g->last_line[line++] = buf[i];
				g->last_line[line] = '\0';
			}
			pthread_mutex_unlock(&g->lock);
		}
		for (ssize_t done = 0, w; done < n; done += w) {
			w = write(STDERR_FILENO, buf + done, (size_t)(n - done));
			if (w <= 0)
				break;
		}
	}
	return NULL;
}

/* The environment with NOTIFY_SOCKET; only the array is to be freed. */
static char **
child_environment(char *notify)
{
	size_t n = 0, out = 0;
	char **env;

	while (environ[n] != NULL)
		n++;
	env = calloc(n + 2, sizeof(*env));
	for (size_t i = 0; env != NULL && i < n; i++) {
		if (strncmp(environ[i], "NOTIFY_SOCKET=", 14) != 0)
			env[out++] = environ[i];
	}
	if (env != NULL)
		env[out] = notify;
	return env;
}

static int
spawn(struct qp_gateway *g, const struct qp_gateway_options *o, int log)
{
	const char *program = o->program != NULL ? o->program : "quicport";
	char notify[128];
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	size_t n = 0;
	char **argv, **env;
	int rc = ENOMEM;

	snprintf(notify, sizeof(notify), "NOTIFY_SOCKET=@%s", g->notify_addr.sun_path + 1);
	while (o->args != NULL && o->args[n] != NULL)
		n++;
	argv = calloc(n + 3, sizeof(*argv));
	env = child_environment(notify);
	if (argv == NULL || env == NULL)
		goto out;
	argv[0] = (char *)(uintptr_t)program;
	argv[1] = (char *)(uintptr_t)"control-plane";
	for (size_t i = 0; i < n; i++)
		argv[2 + i] = (char *)(uintptr_t)o->args[i];
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, log, STDERR_FILENO);
	posix_spawnattr_init(&attr);
	/* The program's blocked and ignored signals are not the gateway's. */
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	rc = posix_spawnp(&g->pid, program, &files, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
out:
	free(argv);
	free(env);
	return rc;
}

/* The value of `name` in a notification; NULL when it is not there. */
static const char *
field(const char *text, const char *name, char *out, size_t cap)
{
	size_t len = strlen(name);

	for (const char *line = text; line != NULL && *line != '\0';) {
		const char *end = strchrnul(line, '\n');

		if (strncmp(line, name, len) == 0 && line[len] == '=') {
			snprintf(out, cap, "%.*s", (int)(end - line - (ptrdiff_t)len - 1), line + len + 1);
			return out;
		}
		line = *end != '\0' ? end + 1 : NULL;
	}
	return NULL;
}

static bool
exited(struct qp_gateway *g)
{
	if (!g->reaped && waitpid(g->pid, &g->status, WNOHANG) == g->pid)
		g->reaped = true;
	return g->reaped;
}

/* QP_E_CLOSED: it ended; QP_E_TIMEOUT. */
static int
wait_ready(struct qp_gateway *g, uint32_t timeout_ms)
{
	uint64_t until = now_ms() + timeout_ms;
	char text[1024], value[QP_ADDR_TEXT_BYTES];

	while (now_ms() < until) {
		struct pollfd fd = {.fd = g->notify, .events = POLLIN};
		ssize_t n;

		/* An end is not told by the socket: look now and then. */
		if (poll(&fd, 1, 50) <= 0) {
			if (exited(g))
				return QP_E_CLOSED;
			continue;
		}
		n = recv(g->notify, text, sizeof(text) - 1, 0);
		text[n > 0 ? n : 0] = '\0';
		if (field(text, "X_QUICPORT_API", value, sizeof(value)) != NULL)
			(void)!qp_sockaddr_parse(value, &g->api, NULL);
		if (field(text, "READY", value, sizeof(value)) != NULL)
			return QP_OK;
	}
	return QP_E_TIMEOUT;
}

static int
start(struct qp_gateway *g, const struct qp_gateway_options *o, struct qp_errmsg *msg)
{
	int pair[2], rc;

	if (o->size < sizeof(*o))
		return qp_fail(msg, QP_E_VERSION, "struct qp_gateway_options of %zu bytes, this library's "
			"has %zu: start from QP_GATEWAY_OPTIONS", o->size, sizeof(*o));
	if (open_notify(g) != 0 || pipe2(pair, O_CLOEXEC) != 0)
		return qp_fail(msg, QP_E_IO, "cannot make a socket and a pipe: %s", strerror(errno));
	g->log = pair[0];
	rc = spawn(g, o, pair[1]);
	close(pair[1]);
	if (rc != 0) {
		g->reaped = true;
		return qp_fail(msg, qp_err_from_errno(rc), "cannot start %s: %s",
			o->program != NULL ? o->program : "quicport", strerror(rc));
	}
	g->pumping = pthread_create(&g->pump, NULL, pump, g) == 0;
	rc = wait_ready(g, o->ready_timeout_ms);
	if (rc == QP_E_TIMEOUT)
		return qp_fail(msg, rc, "the gateway was not ready within %u ms", o->ready_timeout_ms);
	return rc;
}

static void
end_child(struct qp_gateway *g)
{
	uint64_t until = now_ms() + STOP_MS;

	if (g->pid <= 0 || exited(g))
		return;
	kill(g->pid, SIGTERM);
	while (!exited(g) && now_ms() < until)
		poll(NULL, 0, 5);
	if (exited(g))
		return;
	kill(g->pid, SIGKILL);
	(void)waitpid(g->pid, &g->status, 0);
	g->reaped = true;
}

/* Nothing is left of it. */
static void
dispose(struct qp_gateway *g)
{
	end_child(g);
	if (g->pumping)
		pthread_join(g->pump, NULL);
	if (g->log >= 0)
		close(g->log);
	if (g->notify >= 0)
		close(g->notify);
	pthread_mutex_destroy(&g->lock);
}

int
qp_gateway_start(const struct qp_gateway_options *options, struct qp_gateway **out,
	struct qp_error *error)
{
	struct qp_gateway *g = calloc(1, sizeof(*g));
	struct qp_errmsg msg = {""};
	int err;

	if (g == NULL)
		return qpc_report(error, QP_E_NOMEM, &msg);
	g->notify = g->log = -1;
	pthread_mutex_init(&g->lock, NULL);
	err = start(g, options, &msg);
	if (err == QP_OK) {
		*out = g;
		return QP_OK;
	}
	dispose(g);
	if (msg.text[0] == '\0')
		(void)qp_fail(&msg, err, "the gateway ended: %s", g->last_line);
	free(g);
	return qpc_report(error, err, &msg);
}

int
qp_gateway_stop(struct qp_gateway *g)
{
	int status;

	if (g == NULL)
		return 0;
	dispose(g);
	status = WIFEXITED(g->status) ? WEXITSTATUS(g->status) : -1;
	free(g);
	return status;
}

/* Statistics: GET /metrics, and a few of its lines. */

static int
fetch(const struct qp_sockaddr *api, char *buf, size_t cap, size_t *len)
{
	static const char request[] = "GET /metrics HTTP/1.0\r\n\r\n";
	int fd = socket(api->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval limit = {.tv_sec = STATS_MS / 1000};
	int err = QP_E_CLOSED;
	ssize_t n = 1;

	*len = 0;
	if (fd < 0)
		return QP_E_IO;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, &api->sa, api->len) == 0 &&
		send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) == (ssize_t)sizeof(request) - 1) {
		while (*len + 1 < cap && (n = recv(fd, buf + *len, cap - 1 - *len, 0)) > 0)
			*len += (size_t)n;
		err = n == 0 ? QP_OK : n < 0 && errno == EAGAIN ? QP_E_TIMEOUT : QP_E_IO;
	}
	close(fd);
	buf[*len] = '\0';
	return err;
}

static uint64_t
metric(const char *text, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = strstr(text, name); at != NULL; at = strstr(at + 1, name)) {
		if (at[-1] == '\n' && at[len] == ' ')
			return (uint64_t)strtod(at + len, NULL);
	}
	return 0;
}

int
qp_gateway_get_stats(struct qp_gateway *g, struct qp_gateway_stats *out, struct qp_error *error)
{
	size_t size = out->size < sizeof(*out) ? out->size : sizeof(*out), len;
	struct qp_errmsg msg = {""};
	struct qp_gateway_stats s;
	char *text;
	int err;

	if (exited(g))
		return qpc_report(error, QP_E_CLOSED, &msg);
	text = malloc(METRICS_BYTES);
	if (text == NULL)
		return qpc_report(error, QP_E_NOMEM, &msg);
	err = fetch(&g->api, text, METRICS_BYTES, &len);
	if (err == QP_OK && strncmp(text, "HTTP/1.", 7) != 0)
		err = QP_E_PROTO;
	if (err != QP_OK) {
		free(text);
		(void)qp_fail(&msg, err, "the gateway's private API does not answer: %s",
			qp_strerror(err));
		return qpc_report(error, err, &msg);
	}
	s = (struct qp_gateway_stats) {
		.size = out->size,
		.uptime_s = metric(text, "quicport_uptime_seconds"),
		.tunnels = metric(text, "quicport_tunnels_total"),
		.tunnels_active = metric(text, "quicport_tunnels_active"),
		.bytes_sent = metric(text, "quicport_bytes_sent_total"),
		.bytes_received = metric(text, "quicport_bytes_received_total"),
		.auth_failed = metric(text, "quicport_auth_psk_failed_total") +
			metric(text, "quicport_auth_x25519_failed_total"),
	};
	memcpy(out, &s, size);
	free(text);
	return QP_OK;
}
