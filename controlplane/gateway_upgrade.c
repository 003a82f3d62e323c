/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGUSR2: this process becomes the control plane on the disk. That one is
 * tried out first, so that one that cannot run changes nothing; then whatever
 * is starting comes to its end, whoever has asked gets the answer, and the rest
 * is as after a crash, which loses nothing either. Loop thread.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "controlplane/eal.h"
#include "controlplane/gateway_internal.h"
#include "controlplane/memory.h"
#include "controlplane/reexec.h"

/* In which the new program says whether it can run. */
#define PROBE_PATIENCE_MS 10000u
/* How often we look whether all is at rest. */
#define SETTLE_EVERY_MS 20u
#define CLEAR_EVERY_MS 5u
/* Requests that take longer than this are cut; the API's own ones take milliseconds. */
#define CLEAR_PATIENCE_MS 500u

static void
give_up(struct qp_gateway *g, const char *why)
{
	g->upgrade.state = QP_UPGRADE_NONE;
	qp_log(QP_LOG_ERROR, "the new control plane cannot run: this one goes on as it was",
		QP_LOG_STR("program", qp_reexec_program()), QP_LOG_STR("reason", why));
}

static void
listen_to_probe(struct qp_gateway *g)
{
	struct qp_upgrade *u = &g->upgrade;
	ssize_t n;

	while (u->len < sizeof(u->line) - 1 &&
		(n = read(u->fd, u->line + u->len, sizeof(u->line) - 1 - u->len)) > 0)
		u->len += (size_t)n;
	u->line[u->len] = '\0';
	close(u->fd);
	u->fd = -1;
}

static void
on_probe_ended(void *ctx, int status)
{
	struct qp_gateway *g = ctx;
	struct qp_upgrade *u = &g->upgrade;
	char how[96], why[160];

	qp_loop_timer_cancel(g->loop, &u->timer);
	listen_to_probe(g);
	if (g->stopping)
		return;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && strcmp(u->line, "R") == 0) {
		u->state = QP_UPGRADE_SETTLING;
		qp_loop_timer_set(g->loop, &u->timer, 0);
		return;
	}
	snprintf(why, sizeof(why), "it %s", qp_proc_status_text(status, how));
	give_up(g, u->len > 0 && u->line[0] != 'R' ? u->line : why);
}

/* What listens goes along; it is ours no more, and nobody is refused meanwhile. */
static void
pass_listener(struct qp_http *h, const char *name)
{
	int fd = h != NULL ? qp_http_quiesce(h) : -1;

	if (fd < 0)
		return;
	if (qp_reexec_pass(name, fd) != 0)
		qp_log(QP_LOG_WARN, "a listening socket cannot be passed on: it is opened anew",
			QP_LOG_STR("name", name));
	close(fd);
}

/* Neither the next program nor, if that one gives up, this one anew can attach to one that hangs. */
static bool
can_attach(const struct qp_gateway *g)
{
	uint64_t used, left;

	return !qp_owner_alive(g->owner) || !qp_eal_attached() || qp_memory_usage(0, &used, &left);
}

static void
begin_clearing(struct qp_gateway *g)
{
	qp_log(QP_LOG_INFO, "becoming the control plane on the disk",
		QP_LOG_STR("program", qp_reexec_program()));
	qp_gateway_tell_reloading();
	pass_listener(g->private_api, QP_PASS_API);
	pass_listener(g->private_api_unix, QP_PASS_API_UNIX);
	g->upgrade.state = QP_UPGRADE_CLEARING;
	g->upgrade.since_ns = qp_now_ns();
}

static bool
is_busy(const struct qp_gateway *g)
{
	if (qp_now_ns() - g->upgrade.since_ns >= CLEAR_PATIENCE_MS * 1000000ull)
		return false;
	return (g->private_api != NULL && qp_http_busy(g->private_api)) ||
	       (g->private_api_unix != NULL && qp_http_busy(g->private_api_unix)) ||
	       qp_tunnels_count(g->tunnels, QP_TUNNEL_CHALLENGED) > 0 ||
	       qp_goodbyes_busy(g->goodbyes);
}

/* Out of the loop; run_once and main do the rest. */
static void
go(struct qp_gateway *g)
{
	int maps[QP_HOSTNET_MAX_MAPS];
	unsigned n = g->network.ops->maps(g->network.net, maps, QP_HOSTNET_MAX_MAPS);
	const bool data_planes = !TAILQ_EMPTY(qp_supervisor_generations(g->supervisor));

	for (unsigned i = 0; i < n; i++)
		(void)qp_reexec_pass(QP_HOSTNET_FDS, maps[i]);
	/* Without a data plane there is nothing to go on with: the port owner ends. */
	if (data_planes && qp_owner_lifeline(g->owner) >= 0)
		(void)qp_reexec_pass(QP_PASS_LIFELINE, qp_owner_lifeline(g->owner));
	qp_gateway_keep_counters(g);
	if (g->handover.again)
		raise(SIGHUP); /* it is blocked, and waits for the next program */
	g->upgrade.state = QP_UPGRADE_GONE;
	g->leaving = g->stopping = true;
	qp_supervisor_leave(g->supervisor);
	qp_loop_stop(g->loop);
}

static void
on_timer(void *ctx)
{
	struct qp_gateway *g = ctx;
	struct qp_upgrade *u = &g->upgrade;

	if (g->stopping)
		return;
	if (u->state == QP_UPGRADE_PROBING) {
		snprintf(u->line, sizeof(u->line), "it does not answer");
		u->len = strlen(u->line);
		qp_child_signal(&u->probe, SIGKILL);
		return;
	}
	if (u->state == QP_UPGRADE_SETTLING && qp_supervisor_settled(g->supervisor)) {
		if (!can_attach(g)) {
			give_up(g, "the port owner does not answer");
			return;
		}
		begin_clearing(g);
	}
	if (u->state == QP_UPGRADE_CLEARING && !is_busy(g))
		go(g);
	else
		qp_loop_timer_set(g->loop, &u->timer,
			u->state == QP_UPGRADE_CLEARING ? CLEAR_EVERY_MS : SETTLE_EVERY_MS);
}

static int
start_probe(struct qp_gateway *g, struct qp_errmsg *msg)
{
	const char *const more[] = {QP_PROBE_WORD, "3", g->instance.name, NULL};
	struct qp_upgrade *u = &g->upgrade;
	char **words = qp_reexec_words(more), **environment = qp_reexec_environment();
	int fds[2] = {-1, -1}, given[2], err = 0;

	_Static_assert(QP_CHILD_FIRST_FD == 3, "the descriptor's number above");
	if (words == NULL || environment == NULL)
		err = qp_fail(msg, QP_E_NOMEM, "out of memory");
	else if (pipe2(fds, O_CLOEXEC) != 0 || fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0)
		err = qp_fail(msg, QP_E_IO, "cannot make a pipe: %s", strerror(errno));
	/* By what we listen on it sees that an address is taken by nobody but us. */
	given[0] = fds[1];
	given[1] = qp_http_listener(g->private_api);
	if (err == 0)
		err = qp_child_start_in(g->loop, &u->probe, qp_reexec_program(),
			(const char *const *)words, environment, given, 2, on_probe_ended, g, msg);
	qp_reexec_free_words(words);
	qp_reexec_free_words(environment);
	if (fds[1] >= 0)
		close(fds[1]);
	if (err != 0 && fds[0] >= 0)
		close(fds[0]);
	if (err == 0)
		u->fd = fds[0];
	return err;
}

void
qp_gateway_upgrade(struct qp_gateway *g)
{
	struct qp_upgrade *u = &g->upgrade;
	struct qp_errmsg msg;

	/* Who replaces the port owner becomes the program on the disk, too. */
	if (g->stopping || g->owner_end.asked || u->state != QP_UPGRADE_NONE)
		return;
	*u = (struct qp_upgrade) {.state = QP_UPGRADE_PROBING, .fd = -1, .probe = QP_CHILD_NONE,
		.timer = {.fire = on_timer, .ctx = g}};
	if (start_probe(g, &msg) != 0) {
		give_up(g, msg.text);
		return;
	}
	qp_loop_timer_set(g->loop, &u->timer, PROBE_PATIENCE_MS);
}

void
qp_gateway_upgrade_close(struct qp_gateway *g)
{
	struct qp_upgrade *u = &g->upgrade;

	if (u->state == QP_UPGRADE_NONE)
		return;
	qp_loop_timer_cancel(g->loop, &u->timer);
	qp_child_signal(&u->probe, SIGKILL);
	qp_child_forget(&u->probe);
	if (u->fd >= 0)
		close(u->fd);
}
