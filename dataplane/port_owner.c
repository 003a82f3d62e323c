/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port owner: EAL's primary process. It owns the hugepage memory (and, in
 * nic mode, the physical ports) and sleeps: no reason to change, none to crash.
 * It ends when nobody holds the lifeline's other end any more, or on SIGTERM,
 * and takes EAL's files with it. One thread of ours; EAL has its own. From its
 * readiness on it is locked in (owner_sandbox.c).
 * It makes and frees the memory of the data planes (owner_users.c).
 * Whose memory it is it learns from its command line, or as a service of its
 * own from its socket (owner_service.c).
 * Supervision and everything else are the control plane's.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>

#include "common/crash.h"
#include "common/host.h"
#include "common/log.h"
#include "common/opt.h"
#include "dataplane/nic/owner_args.h"
#include "dataplane/nic/owner_ports.h"
#include "dataplane/owner_locks.h"
#include "dataplane/owner_sandbox.h"
#include "dataplane/owner_service.h"
#include "dataplane/owner_users.h"
#include "dataplane/telemetry.h"

#define OWNER_LCORE 0u
#define LAST_LINES 4u
/* One whose control plane was killed meanwhile may be in its start, and then ends. */
#define PREDECESSOR_MS 5000u

struct options {
	const char *instance;
	uint32_t memory_mib;
	uint32_t ready_fd; /* gets "R" when the memory is there, else one line that says why not */
	uint32_t lifeline_fd; /* the read end */
	uint32_t listen_fd; /* 0: a control plane has started us, and options say all */
	struct qp_owner_ports ports;
	struct qp_log_config log;
};

static void
parse_options(struct options *o, int argc, char **argv)
{
	o->log = QP_LOG_CONFIG_DEFAULT("port-owner");
	const struct qp_opt opts[] = {
		{.name = "instance",
			.arg = "NAME",
			.env = "",
			.help = "the gateway that it belongs to",
			.parse = qp_opt_string,
			.value = &o->instance},
		{.name = "memory",
			.arg = "MIB",
			.env = "",
			.fallback = "128",
			.min = 32,
			.max = 1048576,
			.help = "hugepage memory",
			.parse = qp_opt_u32,
			.value = &o->memory_mib},
		{.name = "ready-fd",
			.arg = "FD",
			.env = "",
			.fallback = "1",
			.max = 65535,
			.help = "where to tell that it is ready",
			.parse = qp_opt_u32,
			.value = &o->ready_fd},
		{.name = "lifeline-fd",
			.arg = "FD",
			.env = "",
			.fallback = "0",
			.max = 65535,
			.help = "a pipe; at its end the port owner ends",
			.parse = qp_opt_u32,
			.value = &o->lifeline_fd},
		{.name = "listen-fd",
			.arg = "FD",
			.env = "",
			.fallback = "0",
			.max = 65535,
			.help = "a listening socket, from a service manager: a control plane tells "
				"there whose memory it is, instead of by the options above",
			.parse = qp_opt_u32,
			.value = &o->listen_fd},
		QP_OPT_PORTS(&o->ports),
		QP_OPT_LOG(&o->log),
		{0},
	};
	const struct qp_opt_command cmd = {
		.name = "quicport-port-owner",
		.summary = "Owns a gateway's memory and its dedicated ports. Started by quicport control-plane, or by a "
			   "service manager.",
		.opts = opts,
	};

	qp_opt_parse_or_exit(&cmd, argc, argv);
	if (o->instance == NULL && o->listen_fd == 0) {
		fprintf(stderr, "quicport-port-owner: --instance is missing; "
				"quicport control-plane starts this program\n");
		exit(2);
	}
}

static void
tell(const struct options *o, const char *text)
{
	if (write((int)o->ready_fd, text, strlen(text)) < 0)
		qp_log(QP_LOG_ERROR, "nobody waits for the port owner", QP_LOG_ERRNO(errno));
	close((int)o->ready_fd);
}

/* --memory is the data planes'; ports have theirs beside it. */
static uint32_t
all_mib(const struct options *o)
{
	return o->memory_mib + (uint32_t)((qp_owner_ports_bytes(&o->ports) + 0xfffff) >> 20);
}

/* Somebody may have taken the pages since we looked. */
static int
explain_eal(const struct options *o, int err, struct qp_errmsg *msg)
{
	struct qp_hugepages pages;
	int rc = qp_host_hugepages((uint64_t)all_mib(o) << 20, &pages, msg);

	if (rc != 0)
		return rc;
	return qp_fail(msg, QP_E_IO, "DPDK does not start: %s", rte_strerror(err));
}

/*
 * Above what sanitizers reserve and below where the kernel puts libraries and stacks,
 * so that a secondary finds it free. A card's IOMMU may know 39 bits of an address only:
 * DPDK's own choice then.
 */
static const char *
base_address(unsigned npci)
{
	return npci > 0 ? "--base-virtaddr=0x100000000" : "--base-virtaddr=0x200000000000";
}

/* EAL's lines go into `eal_log`, whose last one explains a failure. */
static int
start_eal(const struct options *o, FILE *eal_log, struct qp_errmsg *msg)
{
	char memory[16], lcores[QP_LCORES_TEXT_BYTES];
	const char *pci[QP_OWNER_PCI_ARGS];
	struct qp_hugepages pages;
	unsigned npci, n = 0;
	int err = qp_host_hugepages((uint64_t)all_mib(o) << 20, &pages, msg);

	if (err != 0)
		return err;
	snprintf(memory, sizeof(memory), "%u", all_mib(o));
	qp_host_eal_lcores(OWNER_LCORE, lcores);
	err = qp_owner_ports_check(&o->ports, pci, &npci, msg);
	if (err != 0)
		return err;
	/*
	 * All memory at once: growing later would ask every secondary, and one
	 * that was just killed would be waited for.
	 */
	const char *argv[32] = {"quicport-port-owner", "--proc-type=primary", "--file-prefix",
		o->instance, "--huge-dir", pages.dir, "-m", memory, "--socket-limit", memory,
		"--lcores", lcores, base_address(npci), "--iova-mode=va",
		"--mbuf-pool-ops-name=lf_stack", "--log-level=warning"};

	while (argv[n] != NULL)
		n++;
	if (npci == 0)
		argv[n++] = "--no-pci";
	for (unsigned i = 0; i < npci; i++)
		argv[n++] = pci[i];
	/* vhost takes eight files with memory at most, and each page would be one. */
	if (o->ports.n > 0)
		argv[n++] = "--single-file-segments";
	rte_openlog_stream(eal_log);
	if (rte_eal_init((int)n, (char **)(uintptr_t)argv) < 0)
		return explain_eal(o, rte_errno, msg);
	if (qp_telemetry_register() != 0)
		qp_log(QP_LOG_WARN, "DPDK's telemetry lacks the data planes' counters");
	return 0;
}

/* True: it was SIGTERM. */
static bool
told_to_end(int signals)
{
	struct signalfd_siginfo si;
	struct qp_errmsg msg;

	if (read(signals, &si, sizeof(si)) != (ssize_t)sizeof(si))
		return false;
	if (si.ssi_signo != SIGUSR1)
		return true;
	if (qp_log_reopen(&msg) != 0)
		qp_log(QP_LOG_WARN, "the log goes on in the old file",
			QP_LOG_STR("reason", msg.text));
	return false;
}

/* How long a watched service may sleep, in milliseconds; -1: as long as it likes. */
static int
longest_sleep(void)
{
	uint64_t usec = 0;

	return sd_watchdog_enabled(0, &usec) > 0 ? (int)(usec / 2000u) : -1;
}

/* Of two that poll may sleep; -1: for ever. */
static int
shorter(int a, int b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* Until the lifeline's end or SIGTERM. `service` NULL: no control plane comes again. */
static void
sleep_until_done(const struct options *o, struct qp_owner_service *service,
	struct qp_owner_users *users, int signals)
{
	struct pollfd fds[3 + QP_OWNER_USERS_FDS] = {
		{.fd = (int)o->lifeline_fd, .events = 0}, /* POLLHUP needs no asking */
		{.fd = signals, .events = POLLIN},
		{.fd = service != NULL ? service->listen_fd : -1, .events = POLLIN},
	};
	/* A control plane's child is not whom the service manager watches. */
	const int watched_ms = service != NULL ? longest_sleep() : -1;

	for (;;) {
		int sleep_ms = shorter(qp_owner_users_wait(users, fds + 3),
			shorter(watched_ms, qp_owner_ports_wait()));

		if (poll(fds, 3 + QP_OWNER_USERS_FDS, sleep_ms) < 0 && errno == EINTR)
			continue;
		if (watched_ms >= 0)
			sd_notify(0, "WATCHDOG=1");
		qp_owner_users_turn(users, fds + 3);
		qp_owner_ports_turn();
		if (fds[2].revents != 0)
			qp_owner_service_again(service);
		if (fds[0].revents != 0 || (fds[1].revents != 0 && told_to_end(signals)))
			return;
	}
}

/* The last lines, in one: a driver's reason stands before those that pass it on. */
static const char *
last_words(char *text)
{
	char *end = text + strlen(text), *from = text;
	unsigned lines = 0;

	while (end > text && end[-1] == '\n')
		*--end = '\0';
	for (char *c = end; c > text && lines < LAST_LINES; c--) {
		if (c[-1] != '\n')
			continue;
		from = c;
		lines++;
	}
	for (char *c = from; (c = strchr(c, '\n')) != NULL; c++)
		*c = '|';
	return lines < LAST_LINES ? text : from;
}

static int
fail(const struct options *o, struct qp_owner_service *service, const char *why)
{
	if (service == NULL) {
		tell(o, why);
	} else {
		qp_log(QP_LOG_ERROR, "no memory for the gateway", QP_LOG_STR("reason", why));
		qp_owner_service_answer(service, why);
	}
	return 1;
}

static void
succeed(const struct options *o, struct qp_owner_service *service)
{
	if (service == NULL) {
		tell(o, "R");
		return;
	}
	qp_owner_service_answer(service, NULL);
	sd_notifyf(0, "READY=1\nSTATUS=%u MiB for %s", o->memory_mib, o->instance);
}

/* Before EAL starts threads, so that they inherit the mask. */
static int
open_signals(void)
{
	sigset_t term;

	/* ^C on the control plane's terminal is the control plane's matter. */
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigaddset(&term, SIGUSR1);
	sigprocmask(SIG_BLOCK, &term, NULL);
	return signalfd(-1, &term, SFD_CLOEXEC);
}

/* From the memory's start to its end. */
static int
own_locked(struct options *o, struct qp_owner_service *service, int signals)
{
	char *eal_text = NULL;
	size_t eal_len = 0;
	FILE *eal_log = open_memstream(&eal_text, &eal_len);
	static struct qp_owner_users users;
	struct qp_errmsg msg;

	if (eal_log == NULL)
		return fail(o, service, strerror(errno));
	if (start_eal(o, eal_log, &msg) != 0 || qp_owner_ports_open(&o->ports, &msg) != 0 ||
		qp_owner_users_open(&users, o->instance, &msg) != 0) {
		fflush(eal_log);
		if (eal_len > 0)
			qp_log(QP_LOG_WARN, "DPDK's last words",
				QP_LOG_STR("lines", last_words(eal_text)));
		qp_host_eal_cleanup(o->instance);
		return fail(o, service, msg.text);
	}
	if (qp_owner_locks_find(o->instance, &msg) != 0)
		qp_log(QP_LOG_WARN, "locks of processes that die while they attach stay held",
			QP_LOG_STR("reason", msg.text));
	if (qp_owner_sandbox_close(o->ports.n > 0, &msg) != 0)
		qp_log(QP_LOG_WARN, "the port owner runs without its sandbox",
			QP_LOG_STR("reason", msg.text));
	succeed(o, service);
	sleep_until_done(o, service, &users, signals);
	/*
	 * Not by rte_eal_cleanup(): it waits for a lock that a control plane may
	 * have been killed with. The kernel unmaps, and the files go here.
	 */
	qp_host_eal_cleanup(o->instance);
	return 0;
}

static int
own(struct options *o, struct qp_owner_service *service, int signals)
{
	struct qp_errmsg msg;
	int lock, status;

	if (qp_owner_sandbox_begin(o->ports.n > 0, &msg) != 0)
		qp_log(QP_LOG_WARN, "the port owner keeps more rights than it needs",
			QP_LOG_STR("reason", msg.text));
	lock = qp_host_eal_lock(o->instance, PREDECESSOR_MS, &msg);
	if (lock < 0)
		return fail(o, service, msg.text);
	status = own_locked(o, service, signals);
	qp_host_eal_unlock(o->instance, lock);
	return status;
}

/* A control plane's first request fills in what it says on the command line otherwise. */
static int
serve(struct options *o, int signals)
{
	struct qp_owner_service service;
	struct qp_errmsg msg;
	int err = qp_owner_service_wait(&service, (int)o->listen_fd, signals, &msg);

	if (err == QP_E_CLOSED)
		return 0;
	if (err != 0) {
		qp_log(QP_LOG_ERROR, msg.text);
		return 1;
	}
	o->instance = service.instance;
	o->memory_mib = service.memory_mib;
	o->ports = service.ports;
	o->lifeline_fd = (uint32_t)service.lifeline[0];
	return own(o, &service, signals);
}

int
main(int argc, char **argv)
{
	struct qp_errmsg msg;
	struct options o = {0};
	int signals;

	parse_options(&o, argc, argv);
	qp_crash_handle(&(struct qp_crash_config) {0});
	qp_crash_this_thread("main");
	signals = open_signals();
	qp_log_use_journal(sd_journal_sendv);
	if (qp_log_init(&o.log, &msg) != 0 || signals < 0) {
		const char *why = signals < 0 ? strerror(errno) : msg.text;

		if (o.listen_fd == 0)
			tell(&o, why);
		else
			fprintf(stderr, "quicport-port-owner: %s\n", why);
		return 1;
	}
	return o.listen_fd != 0 ? serve(&o, signals) : own(&o, NULL, signals);
}
