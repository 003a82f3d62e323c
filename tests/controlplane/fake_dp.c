/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A data plane without packets, for tests of the control plane: attaches with
 * the real code, again to a control plane that comes after one that was killed, has a TAP device and a mempool for each worker, and hands all
 * messages to and from the test (its brain) over a SOCK_SEQPACKET socket named
 * by FAKE_DP_BRAIN. FAKE_DP_MODE: "" well-behaved; "stubborn" ignores SHUTDOWN;
 * "broken" says HELLO with an error; "quits" exits before it attaches; "hangs"
 * attaches and says nothing; "fickle" hangs up on a new control plane's first
 * answer, as one does that has waited for it too long, and comes again; "deaf"
 * does not heed the first control plane's DRAIN, as if it had not been sent; "late"
 * says HELLO when it is told to end, and does not end. A file named as the brain's
 * socket with ".mode" behind it goes before the variable.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_mbuf.h>

#include "common/clock.h"
#include "common/host.h"
#include "common/shared.h"
#include "dataplane/attach.h"
#include "dataplane/ctl.h"
#include "dataplane/port_tap.h"
#include "dataplane/reattach.h"
#include "tests/controlplane/brain.h"

static struct qp_attachment attachment;
static struct qp_reattach reattach;
static struct qp_ctl ctl[QP_MAX_WORKERS];
static struct qp_tap tap[QP_MAX_WORKERS]; /* live as long as we do */
static unsigned nworkers = 1;
static const char *instance, *lcore_base = "1", *mode = "";
static int brain = -1;

static void
die(const char *what)
{
	fprintf(stderr, "fake_dp: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static void
read_mode(void)
{
	static char text[32];
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s.mode", getenv("FAKE_DP_BRAIN"));
	f = fopen(path, "re");
	if (f == NULL)
		return;
	if (fgets(text, sizeof(text), f) != NULL)
		mode = text;
	fclose(f);
}

static void
parse(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--instance") == 0)
			instance = argv[++i];
		else if (strcmp(argv[i], "--lcore-base") == 0)
			lcore_base = argv[++i];
		else if (strcmp(argv[i], "--workers") == 0)
			nworkers = (unsigned)atoi(argv[++i]);
	}
	if (getenv("FAKE_DP_MODE") != NULL)
		mode = getenv("FAKE_DP_MODE");
	read_mode();
	if (instance == NULL)
		die("--instance is missing");
}

static void
connect_brain(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	const char *path = getenv("FAKE_DP_BRAIN");

	if (path == NULL)
		return;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	brain = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (brain < 0 || connect(brain, (struct sockaddr *)&addr, sizeof(addr)) != 0)
		die("no brain");
}

static void
start_eal(void)
{
	char lcores[QP_LCORES_TEXT_BYTES];
	const char *argv[] = {"fake_dp", "--proc-type=secondary", "--file-prefix", instance,
		"--lcores", lcores, "--no-pci", "--no-telemetry", "--log-level=lib.eal:error"};

	qp_host_eal_lcores((unsigned)atoi(lcore_base), lcores);
	if (rte_eal_init(9, (char **)(uintptr_t)argv) < 0)
		die("EAL");
}

static void
open_ctl(unsigned w)
{
	char name[32];

	ctl[w] = (struct qp_ctl) {.to_cp = attachment.to_cp[w],
		.from_cp = attachment.from_cp[w],
		.shared = attachment.shared,
		.door = &attachment.shared->door[w],
		.mine = qp_shared_worker(attachment.shared, w),
		.version = attachment.version,
		.offer = &reattach.offer[w],
		.cp_doorbell = attachment.cp_doorbell};
	/* As large as the real ones, so that a leak soon shows. */
	snprintf(name, sizeof(name), QP_POOL_NAME, attachment.server_id, w);
	if (rte_pktmbuf_pool_create(name, 8192, 64, 0, 2048 + 128, SOCKET_ID_ANY) == NULL)
		die("no memory for a pool");
}

static void
say_hello(unsigned w)
{
	struct qp_msg m = {.type = QP_MSG_HELLO, .worker = (uint16_t)w, .version = QP_IPC_VERSION};
	struct qp_errmsg msg;
	char name[16];

	if (strcmp(mode, "broken") == 0) {
		snprintf(m.hello.why, sizeof(m.hello.why), "the fake data plane is broken");
		qp_ctl_send(&ctl[w], &m);
		return;
	}
	snprintf(name, sizeof(name), "fake%x.%u", attachment.server_id, w);
	if (tap[w].ifindex == 0 && qp_tap_open(name, 1500, &tap[w], &msg) != 0)
		die(msg.text);
	m.hello.ifindex = tap[w].ifindex;
	memcpy(m.hello.mac, tap[w].mac, sizeof(m.hello.mac));
	m.hello.ok = 1;
	qp_ctl_send(&ctl[w], &m);
}

static void
take_from_control_plane(unsigned w)
{
	struct qp_msg m;

	while (qp_ctl_receive(&ctl[w], &m)) {
		if (brain >= 0 && send(brain, &m, sizeof(m), MSG_NOSIGNAL) < 0)
			brain = -1;
		if (m.type == QP_MSG_DRAIN && (strcmp(mode, "deaf") != 0 || attachment.epoch > 0))
			attachment.shared->state = QP_DP_DRAINING;
		if (m.type == QP_MSG_CONFIG && strcmp(mode, "hangs") != 0 && strcmp(mode, "late") != 0)
			say_hello(w);
		if (m.type == QP_MSG_SHUTDOWN && strcmp(mode, "late") == 0) {
			say_hello(w);
			continue;
		}
		/* The whole data plane ends: no good-byes, its clients are made up. */
		if (m.type == QP_MSG_CONFIG && w == 0)
			attachment.shared->orphan_timeout_s = m.config.orphan_timeout_s;
		if (m.type == QP_MSG_SHUTDOWN && strcmp(mode, "stubborn") != 0)
			_exit(0);
	}
	qp_ctl_follow(&ctl[w]);
}

static void
hang_up_once(void)
{
	static bool done;
	struct qp_attachment next;
	struct qp_errmsg msg;

	if (done || !qp_reattach_away(&reattach) ||
		qp_attach_again(&attachment, instance, &next, &msg) != 0)
		return;
	close(next.sock);
	close(next.cp_doorbell);
	done = true;
}

/* As the real one's main thread does it, in between. */
static void
watch_control_plane(short events)
{
	if (events != 0 && !qp_reattach_away(&reattach))
		qp_reattach_lost(&reattach);
	if (strcmp(mode, "fickle") == 0)
		hang_up_once();
	qp_reattach_turn(&reattach);
	if (qp_reattach_orphaned(&reattach, qp_now_ns()))
		_exit(0);
}

static void
take_from_brain(void)
{
	struct qp_msg m;

	if (recv(brain, &m, sizeof(m), MSG_DONTWAIT) != (ssize_t)sizeof(m)) {
		close(brain);
		brain = -1;
		return;
	}
	if (m.worker >= nworkers)
		die("no such worker");
	switch (m.type) {
	case BRAIN_COUNT:
		ctl[m.worker].mine->c.relay_bytes_in = m.id;
		ctl[m.worker].mine->c.tunnels_active = 1;
		ctl[m.worker].mine->ip_drops[0] = 7;
		ctl[m.worker].mine->tcp[0] = 9;
		break;
	case BRAIN_END:
		_exit(0);
	case BRAIN_FLOOD: /* as many messages as the ring holds, at once */
		m.type = QP_MSG_FORWARD_CLOSED;
		for (unsigned i = 0; i < QP_RING_MESSAGES - 1; i++)
			qp_ctl_send(&ctl[m.worker], &m);
		break;
	default:
		m.version = QP_IPC_VERSION;
		qp_ctl_send(&ctl[m.worker], &m);
	}
}

int
main(int argc, char **argv)
{
	struct pollfd fds[QP_MAX_WORKERS + 2];
	struct qp_errmsg msg;
	uint64_t rings;
	int timeout;

	parse(argc, argv);
	if (strcmp(mode, "quits") == 0)
		return 3;
	connect_brain();
	if (qp_attach_connect(&attachment, instance, nworkers, (uint32_t)atoi(lcore_base), &msg) != 0) {
		fprintf(stderr, "fake_dp: %s\n", msg.text);
		return 1;
	}
	if (qp_attach_begin(&attachment, instance, &msg) != 0)
		die(msg.text);
	start_eal();
	if (qp_attach_share(&attachment, &msg) != 0)
		die(msg.text);
	if (qp_reattach_init(&reattach, &attachment, instance) < 0)
		die("eventfd");
	for (unsigned w = 0; w < nworkers; w++)
		open_ctl(w);
	for (;;) {
		bool may_sleep = true, room = true;

		for (unsigned w = 0; w < nworkers; w++) {
			take_from_control_plane(w);
			qp_ctl_flush(&ctl[w]);
			room &= ctl[w].backlog_len == 0;
			may_sleep &= qp_ctl_sleep_begin(&ctl[w]) && room;
			fds[w] = (struct pollfd) {.fd = attachment.doorbell[w], .events = POLLIN};
		}
		fds[nworkers] = (struct pollfd) {.fd = room ? brain : -1, .events = POLLIN};
		fds[nworkers + 1] = (struct pollfd) {.fd = attachment.sock, .events = POLLIN};
		timeout = qp_reattach_away(&reattach) ? QP_REATTACH_EVERY_MS : -1;
		if (poll(fds, nworkers + 2, may_sleep ? timeout : 0) < 0 && errno != EINTR)
			die("poll");
		watch_control_plane(fds[nworkers + 1].revents);
		for (unsigned w = 0; w < nworkers; w++) {
			qp_ctl_sleep_end(&ctl[w]);
			if ((fds[w].revents & POLLIN) != 0 &&
				read(fds[w].fd, &rings, sizeof(rings)) < 0)
				continue;
		}
		if (fds[nworkers].revents != 0)
			take_from_brain();
	}
}
