/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts `quicport-data-plane` again and again: the first replacement at once,
 * then after 0.5, 1, 2 … 10 s while they keep ending soon; after 1 s at most
 * when the one that ended had served. Loop thread.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include "controlplane/launcher.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/host.h"
#include "common/ipc.h"
#include "controlplane/proc.h"

#define PROGRAM QP_DATA_PLANE_PROGRAM
/* One that lived so long was well: its end is the first of a new row. */
#define HEALTHY_NS 10000000000ull
/*
 * A start that fails will fail again, and costs; clients have no use for it.
 * One that served is worth the next try: its clients were there, and are to be
 * served again within 3 s, however often it is killed.
 */
#define FAILED_MOST_MS 10000u
#define SERVED_MOST_MS 1000u
/*
 * EAL lcore ids: 0 is the port owner's, the last is ours. A data plane takes one
 * for its main thread and one a worker; its successor takes the next, since both
 * may live for a while.
 */
#define LCORES 110u
#define MAX_ARGS (20 + 2 * QP_NIC_MAX_PORTS)

struct qp_launcher {
	struct qp_launcher_config cfg;
	char path[PATH_MAX];
	struct qp_child child;
	struct qp_loop_timer restart;
	pid_t started_pid;
	uint64_t started_ns;
	pid_t ended_pid; /* the last one that has ended; 0: none */
	int ended_status;
	char ended_how[96];
	unsigned starts;
	unsigned failures; /* in a row */
	bool served; /* the one that runs now */
	bool once; /* the one that runs now is a successor: see qp_launcher_succeed */
	bool stopped;
	bool hold; /* see qp_launcher_hold */
};

unsigned
qp_launcher_backoff_ms(unsigned failures, bool served)
{
	const unsigned most = served ? SERVED_MOST_MS : FAILED_MOST_MS;
	unsigned wait;

	if (failures <= 1)
		return 0;
	wait = failures >= 7 ? FAILED_MOST_MS : 250u << (failures - 1);
	return wait < most ? wait : most;
}

/* The first of the CPUs in a row on which the fewest workers of other generations run. */
static unsigned
first_cpu(const struct qp_launcher_config *cfg, const unsigned cpus[QP_MAX_CPUS], unsigned n)
{
	unsigned used[QP_MAX_CPUS] = {0}, best = cfg->hash % n, fewest = UINT_MAX;

	if (cfg->cpus_used != NULL)
		cfg->cpus_used(cfg->ctx, used);
	for (unsigned i = 0; i < n; i++) {
		const unsigned first = (cfg->hash % n + i) % n;
		unsigned sum = 0;

		for (unsigned w = 0; w < cfg->workers; w++)
			sum += used[cpus[(first + w) % n]];
		if (sum < fewest) {
			fewest = sum;
			best = first;
		}
	}
	return best;
}

/* Worker i's CPU, as --lcores says, or else: gateways beside each other start at different ones, and so do generations. */
static void
cpu_list(const struct qp_launcher_config *cfg, char *out, size_t cap)
{
	const bool chosen = cfg->nic != NULL && cfg->nic->nlcores == cfg->workers;
	unsigned cpus[QP_MAX_CPUS], n, first = 0;
	size_t at = 0;

	n = chosen ? cfg->workers : qp_host_cpus(cpus);
	for (unsigned i = 0; chosen && i < n; i++)
		cpus[i] = cfg->nic->lcore[i];
	if (!chosen)
		first = first_cpu(cfg, cpus, n);
	for (unsigned i = 0; i < cfg->workers && at < cap; i++)
		at += (size_t)snprintf(
			out + at, cap - at, "%s%u", i == 0 ? "" : ",", cpus[(first + i) % n]);
}

static int spawn(struct qp_launcher *l, struct qp_errmsg *msg);

static void
on_restart(void *ctx)
{
	struct qp_launcher *l = ctx;
	struct qp_errmsg msg;

	if (spawn(l, &msg) != 0) {
		l->failures++;
		snprintf(l->ended_how, sizeof(l->ended_how), "could not be started");
		qp_log(QP_LOG_ERROR, "cannot start a data plane", QP_LOG_STR("reason", msg.text));
		l->cfg.failed(l->cfg.ctx, msg.text);
		if (!l->stopped)
			qp_loop_timer_set(
				l->cfg.loop, &l->restart, qp_launcher_backoff_ms(l->failures + 1, false));
	}
}

/* The first is an accident; from then on they are a row, and each step of the back-off is told. */
static void
log_restart(const struct qp_launcher *l, unsigned wait_ms)
{
	if (l->failures <= 1)
		qp_log(QP_LOG_WARN, "the data plane's process ended: a new one is started",
			QP_LOG_STR("how", l->ended_how), QP_LOG_U64("wait_ms", wait_ms));
	else
		qp_log(QP_LOG_ERROR, "data planes end again and again: the next one waits",
			QP_LOG_U64("in_a_row", l->failures), QP_LOG_U64("wait_ms", wait_ms),
			QP_LOG_STR("how", l->ended_how));
}

static void
on_ended(void *ctx, int status)
{
	struct qp_launcher *l = ctx;
	char *how = l->ended_how, why[192];
	unsigned wait_ms;

	l->ended_pid = l->started_pid;
	l->ended_status = status;
	qp_proc_status_text(status, how);
	if (l->stopped) {
		l->cfg.idle(l->cfg.ctx);
		return;
	}
	if (l->once && !l->served) {
		l->once = false;
		snprintf(why, sizeof(why), "the data plane %s before it was ready", how);
		l->cfg.failed(l->cfg.ctx, why);
		return;
	}
	l->failures = qp_now_ns() - l->started_ns >= HEALTHY_NS ? 1 : l->failures + 1;
	wait_ms = qp_launcher_backoff_ms(l->failures, l->served);
	log_restart(l, wait_ms);
	if (!l->served) {
		snprintf(why, sizeof(why), "the data plane %s before it was ready", how);
		l->cfg.failed(l->cfg.ctx, why);
	}
	if (!l->stopped)
		qp_loop_timer_set(l->cfg.loop, &l->restart, wait_ms);
}

/* The next ids in turn that nobody has. 0: living data planes have them all. */
static uint32_t
pick_lcores(struct qp_launcher *l)
{
	const unsigned each = l->cfg.workers + 1, sets = LCORES / each;
	uint32_t base;

	for (unsigned i = 0; i < sets; i++) {
		base = 1 + l->starts++ % sets * each;
		if (l->cfg.lcores_used == NULL || !l->cfg.lcores_used(l->cfg.ctx, base, each))
			return base;
	}
	return 0;
}

static int
spawn(struct qp_launcher *l, struct qp_errmsg *msg)
{
	char lcore_base[16], workers[16], cpus[QP_MAX_WORKERS * 8], levels[QP_LOG_LEVELS_BYTES];
	uint32_t base;
	unsigned n = 0;
	const char *argv[MAX_ARGS] = {0};
	int err;

	qp_loop_timer_cancel(l->cfg.loop, &l->restart);
	base = pick_lcores(l);
	if (base == 0)
		return qp_fail(msg, QP_E_FULL,
			"as many data planes as there can be are draining: end one of them "
			"(shutdown-data-plane), or give --drain-timeout");
	snprintf(lcore_base, sizeof(lcore_base), "%u", base);
	snprintf(workers, sizeof(workers), "%u", l->cfg.workers);
	cpu_list(&l->cfg, cpus, sizeof(cpus));
	argv[n++] = PROGRAM;
	argv[n++] = "--instance";
	argv[n++] = l->cfg.instance;
	argv[n++] = "--lcore-base";
	argv[n++] = lcore_base;
	argv[n++] = "--workers";
	argv[n++] = workers;
	argv[n++] = "--cpus";
	argv[n++] = cpus;
	for (unsigned p = 0; l->cfg.nic != NULL && p < l->cfg.nic->ports.n; p++) {
		argv[n++] = "--port";
		argv[n++] = l->cfg.nic->ports.v[p];
	}
	if (l->cfg.busy_poll)
		argv[n++] = "--busy-poll";
	if (l->hold)
		argv[n++] = "--stopped";
	argv[n++] = "--log-level";
	argv[n++] = qp_log_levels_text(levels);
	argv[n++] = "--log-format";
	argv[n++] = qp_log_format_name(l->cfg.log.format);
	if (l->cfg.log.output != NULL) {
		argv[n++] = "--log-output";
		argv[n++] = l->cfg.log.output;
	}
	l->served = false;
	l->started_ns = qp_now_ns();
	err = qp_child_start(l->cfg.loop, &l->child, l->path, argv, NULL, 0, on_ended, l, msg);
	l->started_pid = l->child.pid;
	return err;
}

int
qp_launcher_new(
	const struct qp_launcher_config *cfg, struct qp_launcher **out, struct qp_errmsg *msg)
{
	struct qp_launcher *l = calloc(1, sizeof(*l));
	int err;

	if (l == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	l->cfg = *cfg;
	l->child = (struct qp_child)QP_CHILD_NONE;
	l->restart = (struct qp_loop_timer) {.fire = on_restart, .ctx = l};
	err = qp_proc_sibling(PROGRAM, l->path, sizeof(l->path), msg);
	if (err != 0) {
		free(l);
		return err;
	}
	*out = l;
	return 0;
}

void
qp_launcher_free(struct qp_launcher *l)
{
	if (l == NULL)
		return;
	qp_loop_timer_cancel(l->cfg.loop, &l->restart);
	qp_child_forget(&l->child);
	free(l);
}

void
qp_launcher_configure(struct qp_launcher *l, unsigned workers, bool busy_poll)
{
	if (l == NULL)
		return;
	l->cfg.workers = workers;
	l->cfg.busy_poll = busy_poll;
}

void
qp_launcher_hold(struct qp_launcher *l, bool stopped)
{
	if (l != NULL)
		l->hold = stopped;
}

int
qp_launcher_start(struct qp_launcher *l, struct qp_errmsg *msg)
{
	return spawn(l, msg);
}

void
qp_launcher_refill(struct qp_launcher *l)
{
	if (l != NULL)
		on_restart(l);
}

int
qp_launcher_succeed(struct qp_launcher *l, struct qp_errmsg *msg)
{
	int err;

	qp_child_forget(&l->child);
	err = spawn(l, msg);
	l->once = err == 0;
	return err;
}

void
qp_launcher_kill(struct qp_launcher *l)
{
	if (l != NULL)
		qp_child_signal(&l->child, SIGKILL);
}

void
qp_launcher_abort(struct qp_launcher *l)
{
	if (l == NULL)
		return;
	l->stopped = true;
	qp_loop_timer_cancel(l->cfg.loop, &l->restart);
	qp_child_end(&l->child);
}

void
qp_launcher_skip(struct qp_launcher *l, uint32_t lcore_base)
{
	if (l != NULL && lcore_base > 0)
		l->starts = (lcore_base - 1) / (l->cfg.workers + 1) + 1;
}

void
qp_launcher_stop(struct qp_launcher *l, bool kill_it)
{
	if (l == NULL)
		return;
	l->stopped = true;
	qp_loop_timer_cancel(l->cfg.loop, &l->restart);
	if (kill_it)
		qp_child_signal(&l->child, SIGKILL);
}

void
qp_launcher_succeeded(struct qp_launcher *l)
{
	if (l == NULL)
		return;
	l->served = true;
	l->once = false;
}

pid_t
qp_launcher_pid(const struct qp_launcher *l)
{
	return l != NULL ? l->child.pid : 0;
}

int
qp_launcher_status(const struct qp_launcher *l, pid_t pid)
{
	return l != NULL && pid == l->ended_pid ? l->ended_status : QP_STATUS_UNKNOWN;
}

void
qp_launcher_trouble(const struct qp_launcher *l, struct qp_launcher_trouble *out)
{
	const uint64_t now_ns = qp_now_ns();

	*out = (struct qp_launcher_trouble) {0};
	if (l == NULL)
		return;
	if (l->restart.armed && l->restart.at_ns > now_ns)
		out->wait_ms = (unsigned)((l->restart.at_ns - now_ns) / 1000000u);
	if (l->restart.armed || now_ns - l->started_ns < HEALTHY_NS)
		out->deaths = l->failures;
	memcpy(out->how, l->ended_how, sizeof(out->how));
}

bool
qp_launcher_soon(const struct qp_launcher *l)
{
	return l != NULL && l->restart.armed &&
	       l->restart.at_ns <= qp_now_ns() + SERVED_MOST_MS * 1000000ull;
}

bool
qp_launcher_busy(const struct qp_launcher *l)
{
	return l != NULL && (l->child.pid != 0 || l->restart.armed);
}
