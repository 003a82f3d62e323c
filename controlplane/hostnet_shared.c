/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What several gateways of a namespace hold in common: two settings of lo, and
 * the clsact qdiscs that one made and another may still use. The loop thread's,
 * under a lock between processes that a dead one cannot keep.
 */
#define QP_LOG_MODULE QP_LOG_M_host
#include "controlplane/hostnet_shared.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/ip.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/classifier.h"
#include "common/file.h"
#include "common/log.h"
#include "controlplane/hostnet_links.h"
#include "controlplane/hostnet_tc.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

#define HEADER       "quicport-shared 1"
#define LOCK_PATH    QP_HOST_SHARED_DIR "/lock"
#define SHARED_BYTES (1u << 20)
#define MAX_CLSACT   4096u
#define MAX_USERS    256u

static const struct {
	const char *name;
	uint16_t conf;
} sysctls[] = {
	{"accept_local", IPV4_DEVCONF_ACCEPT_LOCAL},
	{"route_localnet", IPV4_DEVCONF_ROUTE_LOCALNET},
};
#define NSYSCTLS (sizeof(sysctls) / sizeof(sysctls[0]))

/* The file in memory, for the time that the lock is held. */
struct shared {
	int lock_fd;
	uint64_t netns;
	bool sysctl_known[NSYSCTLS];
	uint32_t sysctl[NSYSCTLS];
	uint32_t clsact[MAX_CLSACT];
	unsigned nclsact;
	char users[MAX_USERS][PATH_MAX];
	unsigned nusers;
};

uint64_t
qp_host_netns(void)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);
	int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s < 0)
		return 0;
	if (getsockopt(s, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) != 0)
		cookie = 0;
	close(s);
	return cookie;
}

static void
shared_path(char path[PATH_MAX], uint64_t netns)
{
	snprintf(path, PATH_MAX, QP_HOST_SHARED_DIR "/%" PRIu64, netns);
}

/* A line that is not understood is left out: better an empty qdisc left than a wrong one removed. */
static void
parse_line(struct shared *s, const char *line)
{
	char name[32];
	uint32_t value;

	if (sscanf(line, "sysctl %31s %" SCNu32, name, &value) == 2) {
		for (unsigned i = 0; i < NSYSCTLS; i++)
			if (strcmp(name, sysctls[i].name) == 0) {
				s->sysctl[i] = value;
				s->sysctl_known[i] = true;
			}
	} else if (sscanf(line, "clsact %" SCNu32, &value) == 1) {
		if (s->nclsact < MAX_CLSACT)
			s->clsact[s->nclsact++] = value;
	} else if (strncmp(line, "user ", 5) == 0) {
		if (s->nusers < MAX_USERS && strlen(line + 5) < PATH_MAX)
			strcpy(s->users[s->nusers++], line + 5);
	}
}

static void
load(struct shared *s)
{
	char path[PATH_MAX], *text, *line, *save = NULL;
	size_t len;

	shared_path(path, s->netns);
	if (qp_file_read(path, SHARED_BYTES, &text, &len, NULL, NULL) != 0)
		return;
	line = strtok_r(text, "\n", &save);
	if (line != NULL && strcmp(line, HEADER) == 0)
		while ((line = strtok_r(NULL, "\n", &save)) != NULL)
			parse_line(s, line);
	qp_file_free(text);
}

/*
 * Whether a gateway that is listed has anything written down at all. When its
 * run folder is gone, there is nobody left to leave.
 */
static bool
has_state(const char *user)
{
	char path[PATH_MAX + sizeof("/host.state")];

	snprintf(path, sizeof(path), "%s/host.state", user);
	return access(path, F_OK) == 0;
}

static void
prune_users(struct shared *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->nusers; i++)
		if (has_state(s->users[i]))
			memmove(s->users[n++], s->users[i], sizeof(s->users[0]));
	s->nusers = n;
}

/* Nobody needs anything any more: the file goes. */
static bool
is_over(const struct shared *s)
{
	return s->nusers == 0 && s->nclsact == 0;
}

static int
save(const struct shared *s, struct qp_errmsg *msg)
{
	char path[PATH_MAX], *text = NULL;
	size_t len;
	FILE *f;
	int rc;

	shared_path(path, s->netns);
	if (is_over(s)) {
		(void)unlink(path);
		return 0;
	}
	f = open_memstream(&text, &len);
	if (f == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no memory to write down the host's state");
	fputs(HEADER "\n", f);
	for (unsigned i = 0; i < NSYSCTLS; i++)
		if (s->sysctl_known[i])
			fprintf(f, "sysctl %s %" PRIu32 "\n", sysctls[i].name, s->sysctl[i]);
	for (unsigned i = 0; i < s->nclsact; i++)
		fprintf(f, "clsact %" PRIu32 "\n", s->clsact[i]);
	for (unsigned i = 0; i < s->nusers; i++)
		fprintf(f, "user %s\n", s->users[i]);
	rc = fclose(f) == 0 ? qp_file_write(path, text, len, 0600, true, msg) : QP_E_NOMEM;
	free(text);
	return rc;
}

/* Removes the files of namespaces that no gateway is left of. */
static void
sweep(uint64_t own)
{
	struct shared *s = calloc(1, sizeof(*s));
	DIR *d = opendir(QP_HOST_SHARED_DIR);
	char path[PATH_MAX], *end;
	struct dirent *e;

	qp_file_sweep(QP_HOST_SHARED_DIR);
	while (s != NULL && d != NULL && (e = readdir(d)) != NULL) {
		s->netns = strtoull(e->d_name, &end, 10);
		if (end == e->d_name || *end != '\0' || s->netns == own)
			continue;
		s->nusers = 0;
		load(s);
		prune_users(s);
		shared_path(path, s->netns);
		if (s->nusers == 0)
			(void)unlink(path);
	}
	if (d != NULL)
		closedir(d);
	free(s);
}

static void
unlock(struct shared *s)
{
	close(s->lock_fd);
	free(s);
}

/* Locks and loads; NULL with a line in msg. */
static struct shared *
lock(uint64_t netns, struct qp_errmsg *msg)
{
	struct shared *s = calloc(1, sizeof(*s));
	int rc = -1;

	if (s == NULL) {
		qp_fail(msg, QP_E_NOMEM, "no memory for the host's state");
		return NULL;
	}
	s->netns = netns;
	s->lock_fd = -1;
	if (qp_file_make_parents(LOCK_PATH, msg) != 0)
		goto err;
	s->lock_fd = open(LOCK_PATH, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	while (s->lock_fd >= 0 && (rc = flock(s->lock_fd, LOCK_EX)) != 0 && errno == EINTR)
		;
	if (rc != 0) {
		qp_fail(msg, qp_err_from_errno(errno), "cannot lock %s: %s", LOCK_PATH,
			strerror(errno));
		goto err;
	}
	load(s);
	return s;

err:
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	free(s);
	return NULL;
}

static void
drop_user(struct shared *s, const char *user)
{
	for (unsigned i = 0; i < s->nusers; i++)
		if (strcmp(s->users[i], user) == 0) {
			--s->nusers;
			memmove(s->users[i], s->users[s->nusers], sizeof(s->users[i]));
			return;
		}
}

static int
open_lo(struct shared *s, struct qp_errmsg *msg)
{
	for (unsigned i = 0; i < NSYSCTLS; i++) {
		int err = qp_host_set_ipv4_conf(QP_CLS_LO_IFINDEX, sysctls[i].conf, 1);

		if (err != 0)
			return qp_fail(msg, qp_err_from_errno(err),
				"cannot set net.ipv4.conf.lo.%s: %s; run as root", sysctls[i].name,
				strerror(err));
	}
	return 0;
}

static void
restore_lo(struct shared *s)
{
	for (unsigned i = 0; i < NSYSCTLS; i++) {
		if (s->sysctl_known[i])
			(void)qp_host_set_ipv4_conf(QP_CLS_LO_IFINDEX, sysctls[i].conf,
				s->sysctl[i]);
		s->sysctl_known[i] = false;
	}
}

static int
remember_lo(struct shared *s, struct qp_errmsg *msg)
{
	for (unsigned i = 0; i < NSYSCTLS; i++) {
		int err = 0;

		if (!s->sysctl_known[i])
			err = qp_host_get_ipv4_conf(QP_CLS_LO_IFINDEX, sysctls[i].conf,
				&s->sysctl[i]);
		if (err != 0)
			return qp_fail(msg, qp_err_from_errno(err),
				"cannot read net.ipv4.conf.lo.%s: %s", sysctls[i].name,
				strerror(err));
		s->sysctl_known[i] = true;
	}
	return 0;
}

int
qp_host_shared_join(const char *user, struct qp_errmsg *msg)
{
	struct shared *s = lock(qp_host_netns(), msg);
	int rc;

	if (s == NULL)
		return QP_E_IO;
	sweep(s->netns);
	prune_users(s);
	drop_user(s, user);
	if (s->nusers == MAX_USERS || strlen(user) >= PATH_MAX) {
		rc = qp_fail(msg, QP_E_FULL, "%u gateways share this host already", s->nusers);
		goto out;
	}
	rc = remember_lo(s, msg);
	if (rc != 0)
		goto out;
	strcpy(s->users[s->nusers++], user);
	rc = save(s, msg);
	if (rc == 0)
		rc = open_lo(s, msg);
	if (rc != 0) {
		drop_user(s, user);
		if (s->nusers == 0)
			restore_lo(s);
		(void)save(s, NULL);
	}

out:
	unlock(s);
	return rc;
}

/*
 * Qdiscs that a gateway made and was killed before their filters. What is left
 * of the others is gone, or somebody else's filters are on it: theirs.
 */
static void
destroy_unused(struct shared *s)
{
	for (unsigned i = 0; i < s->nclsact; i++)
		if (!qp_tc_clsact_in_use(s->clsact[i]))
			(void)qp_tc_clsact_destroy(s->clsact[i]);
	s->nclsact = 0;
}

void
qp_host_shared_leave(const char *user)
{
	struct qp_errmsg msg;
	struct shared *s = lock(qp_host_netns(), &msg);

	if (s == NULL) {
		qp_log(QP_LOG_WARN, "cannot undo changes of the host",
			QP_LOG_STR("reason", msg.text));
		return;
	}
	drop_user(s, user);
	prune_users(s);
	if (s->nusers == 0) {
		restore_lo(s);
		destroy_unused(s);
	}
	(void)save(s, NULL);
	unlock(s);
}

void
qp_host_shared_forget(const char *user, uint64_t netns)
{
	struct shared *s = lock(netns, NULL);

	if (s == NULL)
		return;
	drop_user(s, user);
	/* What else it says is about interfaces that are gone with their namespace. */
	if (s->nusers == 0)
		s->nclsact = 0;
	(void)save(s, NULL);
	unlock(s);
}

static void
drop_clsact(struct shared *s, uint32_t ifindex)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->nclsact; i++)
		if (s->clsact[i] != ifindex)
			s->clsact[n++] = s->clsact[i];
	s->nclsact = n;
}

static bool
has_clsact(const struct shared *s, uint32_t ifindex)
{
	for (unsigned i = 0; i < s->nclsact; i++)
		if (s->clsact[i] == ifindex)
			return true;
	return false;
}

int
qp_host_clsact_ensure(uint32_t ifindex, struct qp_errmsg *msg)
{
	struct shared *s = lock(qp_host_netns(), msg);
	bool known;
	int err;

	if (s == NULL)
		return EIO;
	known = has_clsact(s, ifindex);
	if (!known && s->nclsact < MAX_CLSACT)
		s->clsact[s->nclsact++] = ifindex;
	err = save(s, msg) == 0 ? qp_tc_clsact_create(ifindex) : EIO;
	/* Somebody else's, or none: then it is not ours to remove. */
	if (err != 0 && !known) {
		drop_clsact(s, ifindex);
		(void)save(s, NULL);
	}
	unlock(s);
	return err == EEXIST ? 0 : err;
}

void
qp_host_clsact_release(uint32_t ifindex)
{
	struct shared *s = lock(qp_host_netns(), NULL);

	if (s == NULL)
		return;
	if (has_clsact(s, ifindex) && !qp_tc_clsact_in_use(ifindex)) {
		(void)qp_tc_clsact_destroy(ifindex);
		drop_clsact(s, ifindex);
		(void)save(s, NULL);
	}
	unlock(s);
}
