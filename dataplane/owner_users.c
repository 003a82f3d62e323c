/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who uses the memory: takes questions, answers them in order, cleans up after
 * the dead. While somebody starts EAL no question is answered that needs one of
 * the locks that EAL's start takes; he tells when he is there, or his
 * connection's end tells that he is dead, its memory unmapped.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include "dataplane/owner_users.h"

#include <errno.h>
#include <rte_memzone.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/genmem.h"
#include "common/host.h"
#include "common/log.h"
#include "dataplane/nic/owner_ports.h"
#include "dataplane/owner_locks.h"
#include "dataplane/owner_zone.h"

/* EAL starts within a fifth of a second. Who needs longer hangs, and others go on. */
#define START_PATIENCE_NS 3000000000ull
#define LOOK_AGAIN_MS 100

int
qp_owner_users_open(struct qp_owner_users *u, const char *instance, struct qp_errmsg *msg)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char path[PATH_MAX];

	*u = (struct qp_owner_users) {.instance = instance, .listen_fd = -1};
	for (unsigned i = 0; i < QP_OWNER_USERS; i++)
		u->user[i].fd = -1;
	qp_host_eal_file(instance, QP_OWNER_LINK_SOCKET, path);
	if (snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path) >= (int)sizeof(addr.sun_path))
		return qp_fail(msg, QP_E_INVAL, "%s: the path is too long for a socket", path);
	unlink(path);
	u->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (u->listen_fd < 0 || bind(u->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
		listen(u->listen_fd, (int)QP_OWNER_USERS) != 0)
		return qp_fail(msg, QP_E_IO, "%s: %s", path, strerror(errno));
	return 0;
}

/* While locks are to be freed, this is one that was given up on, too: it may have taken some since. */
static const struct qp_owner_user *
who_starts(const struct qp_owner_users *u)
{
	for (unsigned i = 0; i < QP_OWNER_USERS; i++) {
		const struct qp_owner_user *user = &u->user[i];

		if (user->fd >= 0 &&
			(user->starting || (u->suspect != 0 && user->began_ns != 0)))
			return user;
	}
	return NULL;
}

/* Whose memory it is. The folder is its owner's already: this is for a folder that is not. */
static bool
may_ask(int fd, pid_t *pid)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 ||
		(peer.uid != geteuid() && peer.uid != 0))
		return false;
	*pid = peer.pid;
	return true;
}

static void
take_user(struct qp_owner_users *u)
{
	int fd = accept4(u->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	pid_t pid;

	for (unsigned i = 0; fd >= 0 && i < QP_OWNER_USERS; i++) {
		if (u->user[i].fd >= 0)
			continue;
		if (!may_ask(fd, &pid))
			break;
		u->user[i] = (struct qp_owner_user) {.fd = fd, .pid = pid};
		return;
	}
	if (fd >= 0)
		close(fd);
}

/* One that started EAL may have died with locks. Whoever starts it now has some, too: after him. */
static void
repair(struct qp_owner_users *u)
{
	char names[128];

	if (u->suspect != 0 && qp_owner_locks_free())
		u->suspect = 0; /* what the dead hold never gets free by itself */
	if (u->suspect == 0 || who_starts(u) != NULL)
		return;
	if (qp_owner_locks_repair(names) > 0)
		qp_log(QP_LOG_WARN, "a process died while it attached: its locks are freed",
			QP_LOG_I64("pid", u->suspect), QP_LOG_STR("locks", names));
	u->suspect = 0;
}

static void
user_ended(struct qp_owner_users *u, struct qp_owner_user *dead)
{
	close(dead->fd);
	dead->fd = -1;
	if (dead->began_ns != 0)
		u->suspect = dead->pid;
	qp_host_eal_forget(u->instance, dead->pid);
}

static void
take_question(struct qp_owner_users *u, struct qp_owner_user *user)
{
	ssize_t n;

	memset(&user->ask, 0, sizeof(user->ask));
	n = recv(user->fd, &user->ask, sizeof(user->ask), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < (ssize_t)QP_OWNER_ASK_MIN || user->ask.magic != QP_OWNER_LINK_MAGIC) {
		user_ended(u, user);
		return;
	}
	user->ask.name[sizeof(user->ask.name) - 1] = '\0';
	user->asks = true;
	user->turn = ++u->turns;
}

/* It may have died since poll looked, and who saw that asks already. */
static bool
ended(int fd)
{
	struct pollfd pfd = {.fd = fd};

	return poll(&pfd, 1, 0) == 1 && (pfd.revents & (POLLHUP | POLLERR)) != 0;
}

/* By its connection, or one of an earlier release by what its block says. */
static bool
lives(const struct qp_owner_users *u, uint32_t server_id)
{
	char name[RTE_MEMZONE_NAMESIZE];
	const struct qp_gen_shared *s;
	struct pollfd pfd = {.events = POLLIN};
	uint64_t bytes;
	bool dead;

	for (unsigned i = 0; i < QP_OWNER_USERS; i++) {
		if (u->user[i].fd >= 0 && u->user[i].server_id == server_id)
			return !ended(u->user[i].fd);
	}
	snprintf(name, sizeof(name), QP_SHARED_NAME, server_id);
	s = qp_genmem_find(name, &bytes);
	if (s == NULL || bytes < sizeof(*s) || s->pid <= 0)
		return false;
	pfd.fd = pidfd_open(s->pid, 0);
	if (pfd.fd < 0)
		return false;
	dead = poll(&pfd, 1, 0) == 1; /* nobody has waited for it yet */
	close(pfd.fd);
	return !dead;
}

static void
reserve(struct qp_owner_user *user, struct qp_owner_told *told)
{
	const struct rte_memzone *zone = NULL;
	const char *name = user->ask.name;
	uint32_t id = user->ask.server_id;
	uint64_t used, left;

	/* DPDK takes no bytes for as many as there are. */
	if (user->ask.bytes == 0)
		snprintf(told->why, sizeof(told->why), "a zone of no bytes");
	else if (id == 0 || id > UINT16_MAX || (user->server_id != 0 && user->server_id != id) ||
		!qp_genmem_named(name, id))
		snprintf(told->why, sizeof(told->why), "a data plane has one id, and its zones' names have it");
	else if (rte_memzone_lookup(name) != NULL)
		snprintf(told->why, sizeof(told->why), "the zone %s is another data plane's", name);
	else
		zone = qp_owner_zone(name, user->ask.bytes, user->ask.node, &qp_owner_zone_dpdk);
	if (zone == NULL && told->why[0] == '\0') {
		qp_genmem_usage(0, &used, &left);
		snprintf(told->why, sizeof(told->why),
			"no hugepage memory for a data plane: it needs %llu MiB more, %llu MiB are free "
			"of --memory",
			(unsigned long long)(user->ask.bytes >> 20) + 1,
			(unsigned long long)(left >> 20));
	}
	told->ok = zone != NULL;
	if (zone == NULL)
		return;
	user->server_id = id;
	told->address = (uint64_t)(uintptr_t)zone->addr;
	told->bytes = zone->len;
}

static bool
is_alive(void *ctx, uint32_t server_id)
{
	return lives(ctx, server_id);
}

static void
reclaim(struct qp_owner_users *u, const struct qp_owner_user *user, struct qp_owner_told *told)
{
	uint32_t id = user->ask.server_id;

	told->id[0] = id;
	if (lives(u, id))
		snprintf(told->why, sizeof(told->why), "the data plane lives");
	else if (!qp_owner_ports_release(id, is_alive, u))
		snprintf(told->why, sizeof(told->why), "a port still holds what it was given to send");
	told->ok = told->why[0] == '\0';
	if (told->ok != 0)
		told->n = qp_genmem_reclaim(id);
}

static void
find(const struct qp_owner_user *user, struct qp_owner_told *told)
{
	void *at = qp_genmem_find(user->ask.name, &told->bytes);

	told->ok = at != NULL;
	told->address = (uint64_t)(uintptr_t)at;
	if (at == NULL)
		snprintf(told->why, sizeof(told->why), "there is no zone of this name");
}

static void
answer(struct qp_owner_users *u, struct qp_owner_user *user)
{
	struct qp_owner_told told = {.magic = QP_OWNER_LINK_MAGIC,
		.version = QP_OWNER_LINK_VERSION,
		.type = user->ask.type,
		.ok = 1};

	switch (user->ask.version == QP_OWNER_LINK_VERSION ? user->ask.type : 0) {
	case QP_OWNER_BEGIN:
		/* Said again, it is no new start: our patience has an end. */
		if (!user->starting)
			user->began_ns = qp_now_ns();
		user->starting = true;
		break;
	case QP_OWNER_ATTACHED:
		user->starting = false;
		user->began_ns = 0;
		break;
	case QP_OWNER_RESERVE:
		reserve(user, &told);
		break;
	case QP_OWNER_FIND:
		find(user, &told);
		break;
	case QP_OWNER_RECLAIM:
		reclaim(u, user, &told);
		break;
	case QP_OWNER_MEMORY:
		qp_genmem_usage(user->ask.server_id, &told.bytes, &told.left);
		break;
	case QP_OWNER_LIST:
		told.n = qp_genmem_list(told.id);
		break;
	default:
		told.ok = 0;
		snprintf(told.why, sizeof(told.why), "it does not know this question");
	}
	user->asks = false;
	/* Who does not read its answers has a full socket: its own loss. */
	if (send(user->fd, &told, sizeof(told), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		qp_log(QP_LOG_DEBUG, "an answer was not taken", QP_LOG_I64("pid", user->pid));
}

/* That somebody is there needs no lock, whoever starts. */
static bool
has_to_wait(const struct qp_owner_users *u, const struct qp_owner_user *user,
	const struct qp_owner_user *starts)
{
	return user->ask.type != QP_OWNER_ATTACHED && starts != NULL &&
	       (starts != user || u->suspect != 0);
}

/* Whose turn it is; NULL: nobody's, now. */
static struct qp_owner_user *
next_to_answer(struct qp_owner_users *u)
{
	const struct qp_owner_user *starts = who_starts(u);
	struct qp_owner_user *next = NULL;

	for (unsigned i = 0; i < QP_OWNER_USERS; i++) {
		struct qp_owner_user *user = &u->user[i];

		if (user->fd < 0 || !user->asks || has_to_wait(u, user, starts))
			continue;
		if (next == NULL || user->turn < next->turn)
			next = user;
	}
	return next;
}

/*
 * One that hangs in EAL's start: the others get their turn, unless it hangs with
 * a lock. Then they wait until somebody ends it, as its control plane does: taken
 * from it, the lock would be given back twice when it goes on.
 */
static void
give_up_waiting(struct qp_owner_users *u)
{
	for (unsigned i = 0; i < QP_OWNER_USERS; i++) {
		struct qp_owner_user *user = &u->user[i];

		if (user->fd < 0 || !user->starting || user->asks ||
			qp_now_ns() - user->began_ns < START_PATIENCE_NS || !qp_owner_locks_free())
			continue;
		qp_log(QP_LOG_ERROR, "a process hangs while it attaches: others go on without it",
			QP_LOG_I64("pid", user->pid));
		user->starting = false;
	}
}

int
qp_owner_users_wait(const struct qp_owner_users *u, struct pollfd fds[QP_OWNER_USERS_FDS])
{
	fds[0] = (struct pollfd) {.fd = u->listen_fd, .events = POLLIN};
	for (unsigned i = 0; i < QP_OWNER_USERS; i++) {
		const struct qp_owner_user *user = &u->user[i];

		/* Its next question waits in its socket while this one has no answer. */
		fds[1 + i] = (struct pollfd) {.fd = user->fd, .events = user->asks ? 0 : POLLIN};
	}
	return who_starts(u) != NULL ? LOOK_AGAIN_MS : -1;
}

void
qp_owner_users_turn(struct qp_owner_users *u, const struct pollfd fds[QP_OWNER_USERS_FDS])
{
	struct qp_owner_user *next;

	for (unsigned i = 0; i < QP_OWNER_USERS; i++) {
		struct qp_owner_user *user = &u->user[i];
		short events = fds[1 + i].revents;

		if (user->fd < 0 || user->fd != fds[1 + i].fd)
			continue;
		if ((events & POLLIN) != 0 && !user->asks)
			take_question(u, user);
		else if ((events & (POLLHUP | POLLERR)) != 0)
			user_ended(u, user);
	}
	if ((fds[0].revents & POLLIN) != 0)
		take_user(u);
	give_up_waiting(u);
	repair(u);
	while ((next = next_to_answer(u)) != NULL)
		answer(u, next);
}
