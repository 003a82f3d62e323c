/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts `quicport-port-owner` and waits for its one line, or asks one that a
 * service manager starts; holds its lifeline. Loop thread.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include "controlplane/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "controlplane/owner_socket.h"
#include "controlplane/proc.h"

#define PROGRAM QP_PORT_OWNER_PROGRAM
#define START_PATIENCE_MS 15000u /* zeroing memory takes about 0.2 s a GiB */
#define END_PATIENCE_MS 300u

struct qp_owner {
	struct qp_owner_config cfg;
	struct qp_child child;
	pid_t pid; /* still there when the child's is gone */
	int lifeline; /* -1: let go */
	int ready_fd; /* -1: it has told. A service manager's: the connection, while it lives */
	struct qp_watch ready_watch;
	struct qp_loop_timer patience;
	bool ready;
	size_t line_len;
	char line[512];
};

static void
stop_listening(struct qp_owner *o)
{
	qp_loop_unwatch(o->cfg.loop, &o->ready_watch);
	if (o->ready_fd >= 0)
		close(o->ready_fd);
	o->ready_fd = -1;
}

/* The pipe's end: all that it had to say is here. */
static void
on_told(struct qp_owner *o)
{
	stop_listening(o);
	o->line[o->line_len] = '\0';
	if (strcmp(o->line, "R") == 0) {
		o->ready = true;
		qp_loop_timer_cancel(o->cfg.loop, &o->patience);
		o->cfg.ready(o->cfg.ctx);
	} else if (o->line_len > 0) {
		o->cfg.failed(o->cfg.ctx, o->line);
	}
	/* Nothing said: its end will be told by on_ended. */
}

static void
on_ready_fd(void *ctx, uint32_t events)
{
	struct qp_owner *o = ctx;
	ssize_t n = read(o->ready_fd, o->line + o->line_len, sizeof(o->line) - 1 - o->line_len);

	(void)events;
	if (n > 0)
		o->line_len += (size_t)n;
	else if (n == 0 || errno != EAGAIN)
		on_told(o);
}

/* The connection's end, or ours when it takes too long. */
static void
let_service_go(struct qp_owner *o, const char *how, const char *why)
{
	bool was_ready = o->ready;

	stop_listening(o);
	qp_loop_timer_cancel(o->cfg.loop, &o->patience);
	qp_instance_remove_process(o->cfg.instance, o->pid);
	o->ready = false;
	if (!was_ready)
		o->cfg.failed(o->cfg.ctx, why);
	o->cfg.ended(o->cfg.ctx, how);
}

static void
on_service_ready(struct qp_owner *o, int lifeline)
{
	struct qp_errmsg msg;
	int err = 0;

	/* In the placeholder's place: others know the number already. */
	if (dup3(lifeline, o->lifeline, O_CLOEXEC) < 0)
		err = qp_fail(&msg, QP_E_IO, "cannot hold the lifeline: %s", strerror(errno));
	close(lifeline);
	if (err == 0)
		err = qp_instance_add_process(o->cfg.instance, o->pid, &msg);
	if (err != 0) {
		let_service_go(o, "is of no use", msg.text);
		return;
	}
	o->ready = true;
	qp_loop_timer_cancel(o->cfg.loop, &o->patience);
	o->cfg.ready(o->cfg.ctx);
}

static void
on_connection(void *ctx, uint32_t events)
{
	struct qp_owner *o = ctx;
	struct qp_errmsg msg;
	int lifeline = -1, err;

	(void)events;
	if (o->ready || o->lifeline < 0) { /* it says nothing any more */
		let_service_go(o, "ended", "the gateway is ending");
		return;
	}
	err = qp_owner_socket_answer(o->ready_fd, &o->pid, &lifeline, &msg);
	if (err == QP_E_AGAIN)
		return;
	if (err == 0)
		on_service_ready(o, lifeline);
	else
		let_service_go(o, "could not start", msg.text);
}

static void
on_ended(void *ctx, int status)
{
	struct qp_owner *o = ctx;
	char how[96], why[192];

	qp_loop_timer_cancel(o->cfg.loop, &o->patience);
	qp_instance_remove_process(o->cfg.instance, o->pid);
	qp_proc_status_text(status, how);
	/* Its last words may still be in the pipe. */
	while (o->ready_fd >= 0)
		on_ready_fd(o, 0);
	if (!o->ready && o->line_len == 0) {
		snprintf(why, sizeof(why), "the port owner %s before it was ready", how);
		o->cfg.failed(o->cfg.ctx, why);
	}
	o->cfg.ended(o->cfg.ctx, how);
}

static void
on_patience_over(void *ctx)
{
	struct qp_owner *o = ctx;

	if (o->cfg.socket_path != NULL) {
		qp_log(QP_LOG_WARN, "the port owner takes too long: it is left to who started it");
		let_service_go(o, "takes too long", "the port owner takes too long to start");
		return;
	}
	qp_log(QP_LOG_WARN, "the port owner takes too long: it is killed");
	qp_child_signal(&o->child, SIGKILL);
}

/* What is put together for the ports' options; the rest of a command line is borrowed. */
struct port_words {
	char queues[16], slots[16];
	char mtu[QP_NIC_MAX_PORTS][24];
	char vlan[QP_NIC_MAX_PORTS][24];
};

/* Adds the ports to a command line of `n` words; returns how many it has then. */
static unsigned
add_ports(const struct qp_owner *o, const char **argv, unsigned n, struct port_words *w)
{
	const struct qp_nic_options *nic = o->cfg.nic;

	if (nic == NULL || !qp_nic_mode(nic))
		return n;
	snprintf(w->queues, sizeof(w->queues), "%u", o->cfg.queues);
	argv[n++] = "--queues";
	argv[n++] = w->queues;
	snprintf(w->slots, sizeof(w->slots), "%u", nic->generations);
	argv[n++] = "--slots";
	argv[n++] = w->slots;
	for (unsigned p = 0; p < nic->ports.n; p++) {
		snprintf(w->mtu[p], sizeof(w->mtu[p]), "%u@%u", qp_nic_options_mtu(nic, p), p);
		argv[n++] = "--port";
		argv[n++] = nic->ports.v[p];
		argv[n++] = "--mtu";
		argv[n++] = w->mtu[p];
		if (qp_nic_options_vlan(nic, p) == 0)
			continue;
		snprintf(w->vlan[p], sizeof(w->vlan[p]), "%u@%u", qp_nic_options_vlan(nic, p), p);
		argv[n++] = "--vlan";
		argv[n++] = w->vlan[p];
	}
	return n;
}

#define MAX_WORDS (22u + 6u * QP_NIC_MAX_PORTS)

static int
spawn(struct qp_owner *o, int ready_write, int lifeline_read, struct qp_errmsg *msg)
{
	char path[PATH_MAX], memory[16], levels[QP_LOG_LEVELS_BYTES];
	const int fds[] = {ready_write, lifeline_read};
	const char *argv[MAX_WORDS] = {PROGRAM, "--instance", o->cfg.instance->name, "--memory",
		memory, "--ready-fd", "3", "--lifeline-fd", "4", "--log-level",
		qp_log_levels_text(levels), "--log-format",
		qp_log_format_name(o->cfg.log.format)};
	struct port_words words;
	unsigned n = add_ports(o, argv, 13, &words);
	int err = qp_proc_sibling(PROGRAM, path, sizeof(path), msg);

	if (o->cfg.log.output != NULL) {
		argv[n++] = "--log-output";
		argv[n++] = o->cfg.log.output;
	}

	_Static_assert(QP_CHILD_FIRST_FD == 3, "the descriptors' numbers above");
	snprintf(memory, sizeof(memory), "%u", o->cfg.memory_mib);
	if (err == 0)
		err = qp_child_start(o->cfg.loop, &o->child, path, argv, fds, 2, on_ended, o, msg);
	return err;
}

/* One that has ended already has said why: that is read as any other's last words. */
static int
note_process(struct qp_owner *o, struct qp_errmsg *msg)
{
	int err;

	o->pid = o->child.pid;
	err = qp_instance_add_process(o->cfg.instance, o->pid, msg);
	return err == QP_E_NOTFOUND ? 0 : err;
}

/* The same ports for one that has no command line of ours. */
static void
fill_ports(const struct qp_owner *o, struct qp_owner_ports *out)
{
	const struct qp_nic_options *nic = o->cfg.nic;

	_Static_assert(QP_OWNER_MAX_PORTS >= QP_NIC_MAX_PORTS, "all ports fit");
	_Static_assert(QP_NIC_DEVICE_BYTES <= sizeof(out->port[0].devargs), "devices fit");
	*out = (struct qp_owner_ports) {.n = nic != NULL ? nic->ports.n : 0, .queues = o->cfg.queues,
		.slots = nic != NULL ? nic->generations : 0};
	for (unsigned p = 0; p < out->n; p++) {
		snprintf(out->port[p].devargs, sizeof(out->port[p].devargs), "%s", nic->ports.v[p]);
		out->port[p].mtu = (uint16_t)qp_nic_options_mtu(nic, p);
		out->port[p].vlan = (uint16_t)qp_nic_options_vlan(nic, p);
	}
}

/* A service manager's is asked; it answers when its memory is there. */
static int
ask(struct qp_owner *o, struct qp_errmsg *msg)
{
	struct qp_owner_ports ports;
	int err;

	fill_ports(o, &ports);
	err = qp_owner_socket_ask(o->cfg.socket_path, o->cfg.instance->name, o->cfg.memory_mib,
		&ports, &o->ready_fd, msg);

	if (err != 0)
		return err;
	o->lifeline = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (o->lifeline < 0 || qp_loop_watch(o->cfg.loop, &o->ready_watch, o->ready_fd, EPOLLIN,
				       on_connection, o) != 0)
		return qp_fail(msg, QP_E_IO, "cannot watch the port owner: %s", strerror(errno));
	return 0;
}

/* Our own is a child with two pipes. */
static int
start(struct qp_owner *o, struct qp_errmsg *msg)
{
	int ready[2] = {-1, -1}, lifeline[2] = {-1, -1}, err;

	if (pipe2(ready, O_CLOEXEC) != 0 || pipe2(lifeline, O_CLOEXEC) != 0 ||
		fcntl(ready[0], F_SETFL, O_NONBLOCK) != 0)
		err = qp_fail(msg, QP_E_IO, "cannot make a pipe: %s", strerror(errno));
	else
		err = spawn(o, ready[1], lifeline[0], msg);
	o->ready_fd = ready[0];
	o->lifeline = lifeline[1];
	if (ready[1] >= 0)
		close(ready[1]);
	if (lifeline[0] >= 0)
		close(lifeline[0]);
	if (err == 0 && qp_loop_watch(o->cfg.loop, &o->ready_watch, o->ready_fd, EPOLLIN, on_ready_fd,
				o) != 0)
		err = qp_fail(msg, QP_E_IO, "cannot watch a pipe: %s", strerror(errno));
	return err == 0 ? note_process(o, msg) : err;
}

int
qp_owner_new(const struct qp_owner_config *cfg, struct qp_owner **out, struct qp_errmsg *msg)
{
	struct qp_owner *o = calloc(1, sizeof(*o));
	int err;

	if (o == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	o->cfg = *cfg;
	o->child = (struct qp_child)QP_CHILD_NONE;
	o->ready_watch.fd = -1;
	o->ready_fd = o->lifeline = -1;
	o->patience = (struct qp_loop_timer) {.fire = on_patience_over, .ctx = o};
	err = cfg->socket_path != NULL ? ask(o, msg) : start(o, msg);
	if (err != 0) {
		qp_child_signal(&o->child, SIGKILL);
		qp_owner_free(o);
		return err;
	}
	qp_loop_timer_set(cfg->loop, &o->patience, START_PATIENCE_MS);
	*out = o;
	return 0;
}

int
qp_owner_adopt(const struct qp_owner_config *cfg, struct qp_owner **out, struct qp_errmsg *msg)
{
	const struct qp_instance *inst = cfg->instance;
	struct qp_owner *o = calloc(1, sizeof(*o));
	int err = 0;

	if (o == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	*o = (struct qp_owner) {.cfg = *cfg, .child = QP_CHILD_NONE, .lifeline = -1,
		.ready_fd = -1, .ready_watch = QP_WATCH_NONE, .ready = true,
		.patience = {.fire = on_patience_over, .ctx = o}};
	for (unsigned i = 0; i < inst->nprocesses; i++) {
		if (strcmp(inst->processes[i].program, PROGRAM) != 0)
			continue;
		o->pid = inst->processes[i].pid;
		err = qp_child_adopt(
			cfg->loop, &o->child, &inst->processes[i], on_ended, o, msg);
	}
	if (err == QP_E_NOTFOUND) /* it has just ended: dead, too */
		err = 0;
	if (err != 0) {
		free(o);
		return err;
	}
	*out = o;
	return 0;
}

void
qp_owner_hold(struct qp_owner *o, int lifeline)
{
	if (o->lifeline >= 0)
		close(lifeline);
	else
		o->lifeline = lifeline;
}

int
qp_owner_lifeline(const struct qp_owner *o)
{
	return o->lifeline;
}

void
qp_owner_release(struct qp_owner *o)
{
	if (o->lifeline >= 0)
		close(o->lifeline);
	o->lifeline = -1;
	if (qp_owner_alive(o))
		qp_loop_timer_set(o->cfg.loop, &o->patience, END_PATIENCE_MS);
}

void
qp_owner_reopen_log(struct qp_owner *o)
{
	/* Before it is ready the signal would end it: it opens the file itself then. */
	if (!o->ready)
		return;
	/* A service manager's lives as long as the connection: the pid is nobody else's. */
	if (o->cfg.socket_path != NULL)
		kill(o->pid, SIGUSR1);
	else
		qp_child_signal(&o->child, SIGUSR1);
}

pid_t
qp_owner_pid(const struct qp_owner *o)
{
	return o != NULL ? o->pid : 0;
}

bool
qp_owner_alive(const struct qp_owner *o)
{
	return o->child.pid != 0 || (o->cfg.socket_path != NULL && o->ready_fd >= 0);
}

void
qp_owner_free(struct qp_owner *o)
{
	if (o == NULL)
		return;
	stop_listening(o);
	qp_loop_timer_cancel(o->cfg.loop, &o->patience);
	qp_child_forget(&o->child);
	if (o->lifeline >= 0)
		close(o->lifeline);
	free(o);
}
