/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data plane process: an EAL secondary whose main thread starts the
 * workers on their lcores and then only waits, for a signal or for them to
 * end. Everything that touches a packet is the workers'.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include <errno.h>
#include <poll.h>
#include <rte_common.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <sched.h>
#include <rte_memzone.h>
#include <rte_service_component.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crash.h"
#include "common/farewell.h"
#include "common/host.h"
#include "common/log.h"
#include "common/opt.h"
#include "dataplane/attach.h"
#include "dataplane/nic/owner_args.h"
#include "dataplane/nic/owner_ports.h"
#include "dataplane/nic/port_link.h"
#include "dataplane/nic/rx_pool.h"
#include "dataplane/prompt_gateway.h"
#include "dataplane/prompt_service.h"
#include "dataplane/reattach.h"
#include "dataplane/trim.h"
#include "dataplane/worker.h"

#define VERBOSE_MS 10
#define MAIN_ARGS (16 + QP_OWNER_PCI_ARGS)
#define LCORES_TEXT_BYTES (QP_LCORES_TEXT_BYTES + 32u * QP_MAX_WORKERS)

struct options {
	const char *instance;
	uint32_t lcore_base;   /* the main thread's lcore id; the workers' follow */
	uint32_t workers;
	const char *cpus;      /* one for each worker, comma-separated */
	uint32_t mbufs;
	struct qp_owner_ports ports; /* that the port owner has opened */
	bool busy_poll;
	bool stopped;          /* the workers wait for the prompt's `start` */
	struct qp_log_config log;
};

struct data_plane {
	struct options opt;
	unsigned cpu[QP_MAX_WORKERS];
	cpu_set_t allowed;     /* of the process, before EAL binds its main thread */
	struct qp_attachment attachment;
	struct qp_reattach reattach;
	struct qp_trim trim;
	struct qp_port_links links; /* nic mode */
	struct qp_worker *worker[QP_MAX_WORKERS];
	struct qp_orders orders;
	struct qp_sight sight[QP_MAX_WORKERS];
	struct qp_verbose verbose[QP_MAX_WORKERS];
	struct qp_prompt_gateway shown;
	struct qp_prompt_service *prompt; /* NULL: there is none */
	atomic_bool stop;
	int signals;
	int ended;             /* eventfd: a worker has returned */
	int taken;             /* eventfd: a worker has gone over to a new control plane */
	bool stopping;
};

static void
parse_options(struct options *o, int argc, char **argv)
{
	o->log = QP_LOG_CONFIG_DEFAULT("data-plane");
	const struct qp_opt opts[] = {
		{.name = "instance", .arg = "NAME",
			.help = "the gateway to join, as its control plane prints it",
			.parse = qp_opt_string, .value = &o->instance},
		{.name = "workers", .arg = "N", .fallback = "1", .min = 1, .max = QP_MAX_WORKERS,
			.help = "worker lcores", .parse = qp_opt_u32, .value = &o->workers},
		{.name = "cpus", .arg = "LIST", .env = "",
			.help = "the CPU of each worker (default: the first allowed ones)",
			.parse = qp_opt_string, .value = &o->cpus},
		{.name = "lcore-base", .arg = "N", .env = "", .fallback = "1", .min = 1, .max = 110,
			.help = "EAL's lcore id of the main thread; the workers' follow",
			.parse = qp_opt_u32, .value = &o->lcore_base},
		{.name = "mbufs", .arg = "N", .env = "", .fallback = "20480", .min = 2048,
			.max = 16777216, .help = "packet buffers of 2 KiB for each worker",
			.parse = qp_opt_u32, .value = &o->mbufs},
		{.name = "port", .arg = "PCI|VDEV[,ARGS]", .env = "", .repeat = true,
			.help = "a dedicated port that the port owner has opened",
			.parse = qp_opt_owner_port, .value = &o->ports},
		{.name = "busy-poll", .help = "never sleep: lowest latency, a core at 100 %",
			.parse = qp_opt_flag, .value = &o->busy_poll},
		{.name = "stopped", .env = "",
			.help = "packets wait until somebody types start at the prompt",
			.parse = qp_opt_flag, .value = &o->stopped},
		QP_OPT_LOG(&o->log),
		{0},
	};
	const struct qp_opt_command cmd = {
		.name = "quicport data-plane",
		.summary = "Runs one data plane of a gateway. quicport control-plane starts it by "
			   "itself unless --no-auto-dataplane was given.",
		.opts = opts,
	};

	qp_opt_parse_or_exit(&cmd, argc, argv);
}

/* --cpus, else the allowed CPUs in turn. */
static int
choose_cpus(struct data_plane *dp, struct qp_errmsg *msg)
{
	unsigned allowed[QP_MAX_CPUS], n = qp_host_cpus(allowed);
	const char *p = dp->opt.cpus;
	char *end;

	for (uint32_t i = 0; i < dp->opt.workers; i++) {
		if (p == NULL) {
			dp->cpu[i] = allowed[i % n];
			continue;
		}
		dp->cpu[i] = (unsigned)strtoul(p, &end, 10);
		if (end == p || (*end != ',' && *end != '\0') ||
			(*end == '\0' && i + 1 < dp->opt.workers))
			return qp_fail(msg, QP_E_INVAL,
				"--cpus %s: expected %u CPU numbers separated by commas",
				dp->opt.cpus, dp->opt.workers);
		p = end + (*end == ',');
	}
	return 0;
}

static void
lcores_text(const struct data_plane *dp, char out[LCORES_TEXT_BYTES])
{
	size_t len = (size_t)snprintf(out, LCORES_TEXT_BYTES, "%u@(", dp->opt.lcore_base);

	/* Starting is work, and another generation's workers may be busy on the other CPUs. */
	for (uint32_t i = 0; i < dp->opt.workers; i++)
		len += (size_t)snprintf(out + len, LCORES_TEXT_BYTES - len, "%s%u",
			i == 0 ? "" : ",", dp->cpu[i]);
	len += (size_t)snprintf(out + len, LCORES_TEXT_BYTES - len, ")");
	for (uint32_t i = 0; i < dp->opt.workers; i++)
		len += (size_t)snprintf(out + len, LCORES_TEXT_BYTES - len, ",%u@%u",
			dp->opt.lcore_base + 1 + i, dp->cpu[i]);
}

static int
start_eal(struct data_plane *dp, struct qp_errmsg *msg)
{
	static char lcores[LCORES_TEXT_BYTES], main_lcore[16];
	const char *pci[QP_OWNER_PCI_ARGS];
	unsigned npci, n = 11;
	char *argv[MAIN_ARGS] = {"quicport-data-plane", "--proc-type=secondary",
		"--no-telemetry", "--log-level=lib.eal:error", "--file-prefix",
		(char *)(uintptr_t)dp->opt.instance, "--lcores", lcores, "--main-lcore",
		main_lcore, "--iova-mode=va"};

	CPU_ZERO(&dp->allowed);
	(void)sched_getaffinity(0, sizeof(dp->allowed), &dp->allowed);
	lcores_text(dp, lcores);
	snprintf(main_lcore, sizeof(main_lcore), "%u", dp->opt.lcore_base);
	if (qp_owner_ports_check(&dp->opt.ports, pci, &npci, msg) != 0)
		return QP_E_INVAL;
	if (npci == 0)
		argv[n++] = "--no-pci";
	for (unsigned i = 0; i < npci; i++)
		argv[n++] = (char *)(uintptr_t)pci[i];
	if (rte_eal_init((int)n, argv) < 0)
		return qp_fail(msg, QP_E_IO,
			"DPDK does not start as a secondary of %s: %s: is its port owner running?",
			dp->opt.instance, rte_strerror(rte_errno));
	/* EAL's tables of services, 150 KiB in shared memory: who is killed would leave them there. */
	rte_service_finalize();
	return 0;
}

/* Once started, the main thread mostly sleeps: it wakes up wherever there is room. */
static void
roam(const struct data_plane *dp)
{
	if (sched_setaffinity(0, sizeof(dp->allowed), &dp->allowed) != 0)
		qp_log(QP_LOG_DEBUG, "the main thread stays on its workers' CPUs",
			QP_LOG_ERRNO(errno));
}

static int
make_workers(struct data_plane *dp, struct qp_errmsg *msg)
{
	const struct qp_attachment *a = &dp->attachment;
	char name[RTE_MEMZONE_NAMESIZE];
	void *farewells;
	int rc = 0;

	for (uint32_t i = 0; i < dp->opt.workers && rc == 0; i++) {
		snprintf(name, sizeof(name), QP_FAREWELL_NAME, a->server_id, i);
		farewells = qp_attach_zone(&dp->attachment, name, qp_worker_farewell_bytes(),
			a->node[i], msg);
		if (farewells == NULL)
			return QP_E_NOMEM;
		const struct qp_worker_config cfg = {
			.index = i,
			.server_id = a->server_id,
			.mbufs = dp->opt.mbufs,
			.pools = a->pools[i],
			.farewells = farewells,
			.busy_poll = dp->opt.busy_poll,
			.shared = a->shared,
			.doorbell = a->doorbell[i],
			.cp_doorbell = a->cp_doorbell,
			.to_cp = a->to_cp[i],
			.from_cp = a->from_cp[i],
			.version = a->version,
			.offer = &dp->reattach.offer[i],
			.orders = &dp->orders,
			.sight = &dp->sight[i],
			.verbose = &dp->verbose[i],
			.stop = &dp->stop,
			.nic = a->nic,
			.links = a->nic != NULL ? &dp->links : NULL,
			.handoff = a->handoff,
			.doorbells = a->doorbell,
		};

		rc = qp_worker_new(&cfg, &dp->worker[i], msg);
	}
	return rc;
}

static void
stop_workers(struct data_plane *dp)
{
	const uint64_t one = 1;

	dp->stopping = true;
	atomic_store(&dp->stop, true);
	for (uint32_t i = 0; i < dp->opt.workers; i++)
		if (write(dp->attachment.doorbell[i], &one, sizeof(one)) < 0)
			qp_log(QP_LOG_WARN, "a worker cannot be woken", QP_LOG_ERRNO(errno));
}

struct run {
	struct data_plane *dp;
	struct qp_worker *worker;
	char name[16];
};

static int
run_worker(void *arg)
{
	struct run *run = arg;
	const uint64_t one = 1;
	int rc;

	qp_crash_this_thread(run->name);
	/* Not from the start: the start of a successor must not hold up who serves. */
	qp_host_go_first();
	rc = qp_worker_run(run->worker);

	if (write(run->dp->ended, &one, sizeof(one)) < 0)
		return QP_E_IO;
	return rc;
}

static void
on_signal(struct data_plane *dp, uint32_t signum)
{
	struct qp_errmsg msg;

	if (signum == SIGUSR1) {
		if (qp_log_reopen(&msg) != 0)
			qp_log(QP_LOG_WARN, "the log goes on in the old file",
				QP_LOG_STR("reason", msg.text));
		return;
	}
	qp_log(QP_LOG_INFO, "stopping", QP_LOG_U64("signal", signum));
	stop_workers(dp);
}

/* The control plane's socket says nothing but its end. */
static void
watch_control_plane(struct data_plane *dp, short events)
{
	struct qp_reattach *r = &dp->reattach;

	if (events != 0 && !qp_reattach_away(r))
		qp_reattach_lost(r);
	if (dp->stopping)
		return;
	qp_reattach_turn(r);
	if (qp_reattach_orphaned(r, qp_now_ns())) {
		qp_log(QP_LOG_WARN, "no control plane and no tunnels for the orphan timeout: ending",
			QP_LOG_U64("seconds", dp->attachment.shared->orphan_timeout_s));
		stop_workers(dp);
	}
}

/* Frames that are to be shown wait in short rings. */
static int
beat_ms(const struct data_plane *dp)
{
	return qp_order(&dp->orders.verbose) != 0 ? VERBOSE_MS : (int)QP_BEAT_MS;
}

static int
patience_ms(const struct data_plane *dp, bool away)
{
	if (dp->attachment.nic != NULL)
		return (int)QP_PORT_LINKS_MS;
	return away ? QP_REATTACH_EVERY_MS : beat_ms(dp);
}

/* Sleeps until every worker has returned; a signal asks them to. */
static void
wait_for_workers(struct data_plane *dp)
{
	struct pollfd fds[] = {{.fd = dp->signals, .events = POLLIN},
		{.fd = dp->ended, .events = POLLIN}, {.fd = dp->taken, .events = POLLIN},
		{.fd = -1, .events = POLLIN},
		{.fd = dp->prompt != NULL ? qp_prompt_service_fd(dp->prompt) : -1, .events = POLLIN}};
	uint64_t ended = 0, n;
	struct signalfd_siginfo si;

	while (ended < dp->opt.workers) {
		const bool away = qp_reattach_away(&dp->reattach);

		__atomic_store_n(&dp->attachment.shared->main_heartbeat_ns, qp_now_ns(), __ATOMIC_RELAXED);
		fds[3].fd = dp->attachment.sock;
		fds[3].revents = 0;
		if (poll(fds, RTE_DIM(fds), patience_ms(dp, away)) < 0 && errno != EINTR)
			break;
		if (dp->attachment.nic != NULL)
			qp_port_links_turn(&dp->links);
		if (read(dp->signals, &si, sizeof(si)) == (ssize_t)sizeof(si))
			on_signal(dp, si.ssi_signo);
		if (read(dp->ended, &n, sizeof(n)) == (ssize_t)sizeof(n))
			ended += n;
		watch_control_plane(dp, fds[3].revents);
		if (dp->prompt != NULL) {
			qp_prompt_gateway_show_verbose(&dp->shown, dp->prompt);
			qp_prompt_service_turn(dp->prompt);
		}
		qp_trim_turn(&dp->trim, dp->attachment.shared, qp_now_ns());
	}
}

/* Without it the gateway serves all the same. */
static void
open_prompt(struct data_plane *dp)
{
	char dir[128];
	struct qp_prompt_service_config cfg = {.dir = dir, .server_id = dp->attachment.server_id,
		.ctx = &dp->shown};
	struct qp_errmsg msg;

	snprintf(dir, sizeof(dir), QP_RUN_DIR "/%s", dp->opt.instance);
	dp->shown = (struct qp_prompt_gateway) {.orders = &dp->orders,
		.sight = dp->sight,
		.verbose = dp->verbose,
		.shared = dp->attachment.shared,
		.nic = dp->attachment.nic,
		.worker = dp->worker,
		.doorbell = dp->attachment.doorbell,
		.cpu = dp->cpu,
		.nworkers = dp->opt.workers,
		.lcore_base = dp->opt.lcore_base};
	cfg.ops = qp_prompt_gateway_ops(&dp->shown);
	if (qp_prompt_gateway_init(&dp->shown, &msg) != 0 ||
		qp_prompt_service_open(&cfg, &dp->prompt, &msg) != 0)
		qp_log(QP_LOG_WARN, "there is no prompt", QP_LOG_STR("reason", msg.text));
}

static void
run_workers(struct data_plane *dp)
{
	struct run run[QP_MAX_WORKERS];

	for (uint32_t i = 0; i < dp->opt.workers; i++) {
		run[i] = (struct run) {dp, dp->worker[i], ""};
		snprintf(run[i].name, sizeof(run[i].name), "worker %u", i);
		rte_eal_remote_launch(run_worker, &run[i], dp->opt.lcore_base + 1 + i);
	}
	wait_for_workers(dp);
	rte_eal_mp_wait_lcore();
}

static int
open_signals(struct data_plane *dp, struct qp_errmsg *msg)
{
	sigset_t set;

	/* The terminal's ^C is the control plane's matter: it says SHUTDOWN. */
	signal(SIGINT, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL); /* before EAL makes threads */
	dp->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	dp->ended = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	dp->taken = qp_reattach_init(&dp->reattach, &dp->attachment, dp->opt.instance);
	if (dp->signals < 0 || dp->ended < 0 || dp->taken < 0)
		return qp_fail(msg, QP_E_IO, "signalfd: %s", strerror(errno));
	return 0;
}

/* Where the control plane finds them. Without memory for it they go to stderr. */
static void
leave_last_words(struct data_plane *dp)
{
	char name[RTE_MEMZONE_NAMESIZE];
	struct qp_errmsg msg;

	snprintf(name, sizeof(name), QP_LAST_WORDS_NAME, dp->attachment.server_id);
	qp_crash_handle(&(struct qp_crash_config) {.words = qp_attach_zone(&dp->attachment, name,
							   sizeof(struct qp_last_words), SOCKET_ID_ANY, &msg)});
	qp_crash_this_thread("main");
}

/* What all workers share of dedicated ports. */
static int
open_dedicated(struct data_plane *dp, struct qp_errmsg *msg)
{
	const struct qp_attachment *a = &dp->attachment;

	if (a->nic == NULL)
		return 0;
	qp_port_links_init(&dp->links, a->nic, dp->opt.workers);
	return qp_rx_pools_attach(a->nic, a->server_id, msg);
}

/* What is a worker's alone lies near its CPU. */
static void
find_nodes(struct data_plane *dp)
{
	dp->attachment.pool_bytes = qp_worker_pool_bytes(dp->opt.mbufs);
	for (uint32_t i = 0; i < dp->opt.workers; i++)
		dp->attachment.node[i] = (int)rte_lcore_to_socket_id(dp->opt.lcore_base + 1 + i);
}

static int
run(struct data_plane *dp, struct qp_errmsg *msg)
{
	int rc;

	rc = qp_attach_connect(&dp->attachment, dp->opt.instance, dp->opt.workers,
		dp->opt.lcore_base, msg);
	if (rc < 0)
		return rc;
	qp_log_set_generation(dp->attachment.server_id);
	rc = qp_attach_begin(&dp->attachment, dp->opt.instance, msg);
	if (rc == 0)
		rc = start_eal(dp, msg);
	if (rc == 0) {
		find_nodes(dp);
		rc = qp_attach_share(&dp->attachment, msg);
		leave_last_words(dp);
		if (rc == 0)
			rc = open_dedicated(dp, msg);
		if (rc == 0)
			rc = make_workers(dp, msg);
		roam(dp);
		if (rc == 0) {
			open_prompt(dp);
			run_workers(dp);
			qp_prompt_service_close(dp->prompt);
		}
		for (uint32_t i = 0; i < dp->opt.workers; i++)
			qp_worker_free(dp->worker[i]);
	}
	qp_attach_close(&dp->attachment);
	/* No rte_eal_cleanup(): it waits for a lock that a control plane may have been killed with. */
	return rc;
}

int
main(int argc, char **argv)
{
	static struct data_plane dp;
	struct qp_errmsg msg = {""};

	parse_options(&dp.opt, argc, argv);
	if (dp.opt.instance == NULL) {
		fprintf(stderr, "quicport data-plane: --instance NAME is needed: the control "
				"plane prints it when it starts\n");
		return 2;
	}
	if (choose_cpus(&dp, &msg) < 0) {
		fprintf(stderr, "quicport data-plane: %s\n", msg.text);
		return 2;
	}
	atomic_init(&dp.orders.burst, QP_BURST_DEFAULT);
	atomic_init(&dp.orders.stopped, dp.opt.stopped);
	qp_log_use_journal(sd_journal_sendv);
	if (qp_log_init(&dp.opt.log, &msg) < 0 || open_signals(&dp, &msg) < 0 ||
		run(&dp, &msg) < 0) {
		qp_log(QP_LOG_ERROR, msg.text);
		return 1;
	}
	return 0;
}
