/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world of the gateway tests: namespace, processes, the fake data plane's
 * other end, HTTP. One world a test process.
 */
#include "tests/controlplane/world.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "controlplane/stale.h"

#define TIMEOUT_MS 20000u /* generous: the machine may be busy */

static char dir[] = "/tmp/qp-control-XXXXXX";
static int brain_listener = -1;

uint64_t
world_now_ms(void)
{
	return qp_now_ns() / 1000000u;
}

const char *
world_dir(void)
{
	return dir;
}

bool
world_until(bool (*condition)(void *), void *ctx, unsigned ms)
{
	uint64_t deadline = world_now_ms() + ms;

	while (!condition(ctx)) {
		if (world_now_ms() > deadline)
			return false;
		nanosleep(&(struct timespec) {.tv_nsec = 2000000}, NULL);
	}
	return true;
}

static void
copy_program(const char *from_env, const char *name)
{
	const char *from = getenv(from_env);
	char command[2 * PATH_MAX];

	cr_assert_not_null(from, "%s is not set: run this test by meson test", from_env);
	snprintf(command, sizeof(command), "cp '%s' '%s/%s'", from, dir, name);
	cr_assert_eq(system(command), 0, "cannot copy %s", from);
}

static void
bring_lo_up(void)
{
	struct ifreq ifr = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(ioctl(fd, SIOCGIFFLAGS, &ifr), 0);
	ifr.ifr_flags |= IFF_UP;
	cr_assert_eq(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
	close(fd);
}

static void
listen_for_brains(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/brain", dir);
	setenv("FAKE_DP_BRAIN", addr.sun_path, 1);
	brain_listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(brain_listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	cr_assert_eq(listen(brain_listener, 16), 0);
}

void
world_open(void)
{
	char config[PATH_MAX];

	cr_assert_eq(geteuid(), 0u, "these tests need root");
	cr_assert_eq(unshare(CLONE_NEWNET), 0, "no network namespace: %s", strerror(errno));
	bring_lo_up();
	cr_assert_not_null(mkdtemp(dir));
	copy_program("QP_CONTROL_PLANE", "quicport-control-plane");
	copy_program("QP_PORT_OWNER", "quicport-port-owner");
	copy_program("QP_FAKE_DP", "quicport-data-plane");
	snprintf(config, sizeof(config), "%s/config", dir);
	setenv("QUICPORT_CONFIG_DIR", config, 1);
	setenv("QUICPORT_STATE_DIR", config, 1);
	setenv("QUICPORT_MEMORY", "64", 1);
	unsetenv("NOTIFY_SOCKET");
	listen_for_brains();
}

/* Calls `each` for every process that runs a program of our folder. */
static unsigned
each_process(const char *program, void (*each)(pid_t pid))
{
	char link[64], target[PATH_MAX];
	DIR *proc = opendir("/proc");
	struct dirent *e;
	unsigned n = 0;

	while ((e = readdir(proc)) != NULL) {
		pid_t pid = (pid_t)atoi(e->d_name);
		struct qp_proc_id id;
		ssize_t len;

		if (pid <= 0)
			continue;
		snprintf(link, sizeof(link), "/proc/%d/exe", (int)pid);
		len = readlink(link, target, sizeof(target) - 1);
		if (len <= 0)
			continue;
		target[len] = '\0';
		if (strncmp(target, dir, strlen(dir)) != 0 || qp_proc_identify(pid, &id) != 0 ||
			(program != NULL && strcmp(id.program, program) != 0))
			continue;
		n++;
		if (each != NULL)
			each(pid);
	}
	closedir(proc);
	return n;
}

unsigned
world_processes(const char *program)
{
	return each_process(program, NULL);
}

static void
kill_it(pid_t pid)
{
	kill(pid, SIGKILL);
}

static bool
nothing_runs(void *ctx)
{
	(void)ctx;
	return each_process(NULL, kill_it) == 0;
}

/* What a test that failed left: its own folders only, known by the namespace. */
static void
clear_run_dirs(void)
{
	char path[PATH_MAX], text[32];
	unsigned long long inode;
	struct dirent *e;
	DIR *d = opendir(QP_RUN_DIR);

	while (d != NULL && (e = readdir(d)) != NULL) {
		FILE *f;

		snprintf(path, sizeof(path), QP_RUN_DIR "/%s/netns", e->d_name);
		f = fopen(path, "re");
		if (f == NULL)
			continue;
		if (fgets(text, sizeof(text), f) != NULL && sscanf(text, "%llu", &inode) == 1 &&
			inode == qp_netns_inode()) {
			snprintf(path, sizeof(path), QP_RUN_DIR "/%s", e->d_name);
			qp_stale_undo(path, e->d_name);
			qp_stale_remove_dir(path);
		}
		fclose(f);
	}
	if (d != NULL)
		closedir(d);
}

void
world_close(void)
{
	char command[64];

	world_until(nothing_runs, NULL, TIMEOUT_MS);
	clear_run_dirs();
	close(brain_listener);
	snprintf(command, sizeof(command), "rm -r '%s'", dir);
	cr_assert_eq(system(command), 0);
}

void
gw_start(struct gw *gw, unsigned port, ...)
{
	char path[PATH_MAX], addr[32];
	const char *argv[32] = {path, "--data-plane-addr", addr, "--control-plane-addr", addr,
		"--no-public-api", "--log-level", "debug"};
	unsigned n = 8;
	va_list ap;
	int log;

	*gw = (struct gw) {.port = (uint16_t)port, .brain = -1};
	snprintf(path, sizeof(path), "%s/quicport-control-plane", dir);
	snprintf(addr, sizeof(addr), "127.0.0.1:%u", port);
	snprintf(gw->log, sizeof(gw->log), "%s/log.%u", dir, port);
	va_start(ap, port);
	while (n < 31 && (argv[n] = va_arg(ap, const char *)) != NULL)
		n++;
	va_end(ap);
	log = open(gw->log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
	gw->pid = fork();
	if (gw->pid == 0) {
		dup2(log, STDOUT_FILENO);
		dup2(log, STDERR_FILENO);
		execv(path, (char **)(uintptr_t)argv);
		_exit(127);
	}
	close(log);
}

/* What the gateway said, so that a failure can be understood. */
static const char *
log_text(const struct gw *gw)
{
	static char text[16384];
	FILE *f = fopen(gw->log, "re");
	size_t n = f != NULL ? fread(text, 1, sizeof(text) - 1, f) : 0;

	if (f != NULL)
		fclose(f);
	text[n] = '\0';
	return text;
}

bool
world_log_has(const struct gw *gw, const char *text)
{
	return strstr(log_text(gw), text) != NULL;
}

static bool
readable(int fd, unsigned ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, (int)ms) > 0;
}

void
gw_wait_brain(struct gw *gw)
{
	if (gw->brain >= 0)
		close(gw->brain);
	cr_assert(readable(brain_listener, TIMEOUT_MS), "no data plane was started:\n%s",
		log_text(gw));
	gw->brain = accept4(brain_listener, NULL, NULL, SOCK_CLOEXEC);
	cr_assert_geq(gw->brain, 0);
}

struct qp_msg
gw_expect(struct gw *gw, uint16_t type)
{
	struct qp_msg m = {0};

	cr_assert(readable(gw->brain, TIMEOUT_MS), "no message of type %u came:\n%s", type,
		log_text(gw));
	cr_assert_eq(recv(gw->brain, &m, sizeof(m), 0), (ssize_t)sizeof(m),
		"the data plane is gone:\n%s", log_text(gw));
	/* What it is told of clients' limits beside, and asked for statistics, is unit tests' matter. */
	if (m.type != type && (m.type == QP_MSG_CLIENT_LIMITS || m.type == QP_MSG_CLIENT_FORGET ||
				      m.type == QP_MSG_LIST_TUNNELS))
		return gw_expect(gw, type);
	cr_assert_eq(m.type, type, "a message of type %u came, not %u", m.type, type);
	cr_assert_eq(m.version, QP_IPC_VERSION);
	return m;
}

bool
gw_silent(struct gw *gw, unsigned ms)
{
	return !readable(gw->brain, ms);
}

void
gw_send(struct gw *gw, const struct qp_msg *m)
{
	cr_assert_eq(send(gw->brain, m, sizeof(*m), MSG_NOSIGNAL), (ssize_t)sizeof(*m));
}

static bool
is_serving(void *ctx)
{
	char body[256];

	return gw_http(ctx, "GET", "/healthcheck", NULL, body, sizeof(body)) == 200;
}

struct qp_msg_config
gw_wait_ready(struct gw *gw)
{
	struct qp_msg m;

	gw_wait_brain(gw);
	m = gw_expect(gw, QP_MSG_CONFIG);
	cr_assert(world_until(is_serving, gw, TIMEOUT_MS), "the gateway does not serve:\n%s",
		log_text(gw));
	return m.config;
}

static bool
has_ended(void *ctx)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t)((struct gw *)ctx)->pid, &info, WEXITED | WNOHANG | WNOWAIT) ==
		       0 &&
	       info.si_pid != 0;
}

int
gw_wait_end(struct gw *gw, unsigned timeout_ms)
{
	int status = 0;

	cr_assert(world_until(has_ended, gw, timeout_ms), "the gateway does not end:\n%s",
		log_text(gw));
	waitpid(gw->pid, &status, 0);
	gw->pid = 0;
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int
gw_end(struct gw *gw, int signum, unsigned *took_ms)
{
	uint64_t start = world_now_ms();
	int status;

	kill(gw->pid, signum);
	status = gw_wait_end(gw, TIMEOUT_MS);
	if (took_ms != NULL)
		*took_ms = (unsigned)(world_now_ms() - start);
	return status;
}

static int
connect_api(uint16_t port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	close(fd);
	return -1;
}

int
gw_http(struct gw *gw, const char *method, const char *path, const char *request_body, char *body,
	size_t cap)
{
	size_t len = 0, limit = 1u << 20;
	char *text = malloc(limit), *end;
	int fd = connect_api(gw->port), status = -1;
	ssize_t n = 0;

	body[0] = '\0';
	if (fd < 0) {
		free(text);
		return -1;
	}
	dprintf(fd, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", method, path);
	if (request_body != NULL)
		dprintf(fd, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
			strlen(request_body), request_body);
	else
		dprintf(fd, "\r\n");
	while (len < limit - 1 && readable(fd, TIMEOUT_MS) &&
		(n = read(fd, text + len, limit - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	close(fd);
	end = strstr(text, "\r\n\r\n");
	if (end != NULL && sscanf(text, "HTTP/1.1 %d", &status) == 1)
		snprintf(body, cap, "%s", end + 4);
	free(text);
	return status;
}

double
gw_metric(struct gw *gw, const char *name)
{
	static char text[1u << 20];
	char line[256];
	const char *at;

	cr_assert_eq(gw_http(gw, "GET", "/metrics", NULL, text, sizeof(text)), 200);
	snprintf(line, sizeof(line), "\n%s ", name);
	at = strstr(text, line);
	return at != NULL ? atof(at + strlen(line)) : -1;
}

pid_t
gw_data_plane_pid(struct gw *gw)
{
	char body[1024];
	const char *at;

	if (gw_http(gw, "POST", "/api/v1/admin/ListDataPlanes", "{}", body, sizeof(body)) != 200)
		return 0;
	at = strstr(body, "\"pid\":");
	return at != NULL ? atoi(at + 6) : 0;
}

bool
world_run_dir(uint16_t port, char *path, size_t cap)
{
	char file[PATH_MAX], text[160], want[32];
	DIR *d = opendir(QP_RUN_DIR);
	struct dirent *e;
	bool found = false;

	snprintf(want, sizeof(want), " 127.0.0.1:%u\n", port);
	while (d != NULL && !found && (e = readdir(d)) != NULL) {
		FILE *f;
		unsigned long long inode = 0;

		snprintf(file, sizeof(file), QP_RUN_DIR "/%s/netns", e->d_name);
		f = fopen(file, "re");
		if (f == NULL)
			continue;
		if (fscanf(f, "%llu", &inode) != 1)
			inode = 0;
		fclose(f);
		snprintf(file, sizeof(file), QP_RUN_DIR "/%s/lock", e->d_name);
		f = fopen(file, "re");
		if (f == NULL)
			continue;
		found = inode == qp_netns_inode() && fgets(text, sizeof(text), f) != NULL &&
			strstr(text, want) != NULL;
		fclose(f);
		if (found)
			snprintf(path, cap, QP_RUN_DIR "/%s", e->d_name);
	}
	if (d != NULL)
		closedir(d);
	return found;
}

bool
world_can_bind(uint16_t port)
{
	struct sockaddr_in6 addr = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool can = bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0;

	close(fd);
	return can;
}
