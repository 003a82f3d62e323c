/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Undoing what a dead gateway left. Its processes are ended only when pid,
 * start time and program are those written down. What it changed in the kernel
 * is undone in the network namespace where it lived, if that still exists.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include "controlplane/stale.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "common/host.h"
#include "common/log.h"
#include "controlplane/hostnet.h"
#include "controlplane/instance.h"

/* A data plane without its control plane says goodbye to its clients in this time. */
#define PATIENCE_MS 1500u

#define NAMED_NETNS_DIR "/run/netns"

int
qp_stale_write_processes(
	const char *dir, const struct qp_proc_id *ids, unsigned n, struct qp_errmsg *msg)
{
	char path[PATH_MAX], text[QP_INSTANCE_MAX_PROCESSES * 96];
	size_t at = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < n && i < QP_INSTANCE_MAX_PROCESSES; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%d %llu %s\n",
			(int)ids[i].pid, (unsigned long long)ids[i].start_ticks, ids[i].program);
	snprintf(path, sizeof(path), "%s/processes", dir);
	return qp_file_write(path, text, at, 0600, true, msg);
}

unsigned
qp_stale_read_processes(const char *dir, struct qp_proc_id *ids, unsigned max)
{
	char path[PATH_MAX], line[128];
	unsigned n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/processes", dir);
	f = fopen(path, "re");
	if (f == NULL)
		return 0;
	while (n < max && fgets(line, sizeof(line), f) != NULL) {
		unsigned long long start;
		int pid;

		memset(&ids[n], 0, sizeof(ids[n]));
		if (sscanf(line, "%d %llu %47[^\n]", &pid, &start, ids[n].program) != 3)
			continue;
		ids[n].pid = pid;
		ids[n].start_ticks = start;
		n++;
	}
	fclose(f);
	return n;
}

ino_t
qp_netns_inode(void)
{
	struct stat st;

	return stat("/proc/self/ns/net", &st) == 0 ? st.st_ino : 0;
}

int
qp_stale_write_netns(const char *dir, ino_t netns, struct qp_errmsg *msg)
{
	char path[PATH_MAX], text[32];
	int len = snprintf(text, sizeof(text), "%llu\n", (unsigned long long)netns);

	snprintf(path, sizeof(path), "%s/netns", dir);
	return qp_file_write(path, text, (size_t)len, 0600, true, msg);
}

static ino_t
read_netns(const char *dir)
{
	unsigned long long value = 0;
	char path[PATH_MAX];
	FILE *f;

	snprintf(path, sizeof(path), "%s/netns", dir);
	f = fopen(path, "re");
	if (f == NULL)
		return 0;
	if (fscanf(f, "%llu", &value) != 1)
		value = 0;
	fclose(f);
	return (ino_t)value;
}

/* A descriptor of the namespace that `path` names, if its inode is the one looked for; else -1. */
static int
open_netns_if(const char *path, ino_t inode)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_ino == inode)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Through a process that still lives in it, or by its name; -1 when nothing keeps it alive. */
static int
find_netns(ino_t inode, const struct qp_proc_id *ids, unsigned n)
{
	char path[PATH_MAX];
	struct dirent *e;
	int fd = -1;
	DIR *d;

	for (unsigned i = 0; fd < 0 && i < n; i++) {
		snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)ids[i].pid);
		if (qp_proc_alive(&ids[i]))
			fd = open_netns_if(path, inode);
	}
	d = fd < 0 ? opendir(NAMED_NETNS_DIR) : NULL;
	while (d != NULL && fd < 0 && (e = readdir(d)) != NULL) {
		snprintf(path, sizeof(path), NAMED_NETNS_DIR "/%s", e->d_name);
		fd = open_netns_if(path, inode);
	}
	if (d != NULL)
		closedir(d);
	return fd;
}

static void
undo_hostnet(const char *dir)
{
	struct qp_errmsg msg;

	if (qp_hostnet_undo_stale(dir, &msg) != 0)
		qp_log(QP_LOG_WARN, "cannot undo all that a dead gateway changed on the host",
			QP_LOG_STR("folder", dir), QP_LOG_STR("reason", msg.text));
}

/* `there`: a descriptor of the other namespace; its owner closes it. */
static void
undo_hostnet_in(int there, const char *dir)
{
	int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (here < 0 || setns(there, CLONE_NEWNET) != 0) {
		qp_log(QP_LOG_WARN, "cannot enter a dead gateway's network namespace",
			QP_LOG_STR("folder", dir), QP_LOG_ERRNO(errno));
	} else {
		undo_hostnet(dir);
		if (setns(here, CLONE_NEWNET) != 0) {
			/* All that follows would happen in the wrong place. */
			qp_log(QP_LOG_ERROR, "cannot return to the own network namespace",
				QP_LOG_ERRNO(errno));
			_exit(1);
		}
	}
	if (here >= 0)
		close(here);
}

bool
qp_stale_lives(const char *dir, struct qp_proc_id *ids, unsigned *n)
{
	const unsigned all = qp_stale_read_processes(dir, ids, QP_INSTANCE_MAX_PROCESSES);
	bool data_plane = false;

	*n = 0;
	for (unsigned i = 0; i < all; i++) {
		if (!qp_proc_alive(&ids[i]))
			continue;
		data_plane |= strcmp(ids[i].program, QP_DATA_PLANE_PROGRAM) == 0;
		ids[(*n)++] = ids[i];
	}
	return data_plane;
}

void
qp_stale_undo(const char *dir, const char *name)
{
	struct qp_proc_id ids[QP_INSTANCE_MAX_PROCESSES];
	unsigned n = qp_stale_read_processes(dir, ids, QP_INSTANCE_MAX_PROCESSES);
	ino_t inode = read_netns(dir);
	bool foreign = inode != 0 && inode != qp_netns_inode();
	int there = foreign ? find_netns(inode, ids, n) : -1;

	qp_log(QP_LOG_INFO, "a gateway died here: undoing what it left",
		QP_LOG_STR("instance", name));
	/* The last started goes first: data planes before the owner of their memory. */
	for (unsigned i = n; i-- > 0;) {
		if (!qp_proc_end(&ids[i], PATIENCE_MS))
			qp_log(QP_LOG_WARN, "a dead gateway's process does not end",
				QP_LOG_STR("program", ids[i].program),
				QP_LOG_I64("pid", ids[i].pid));
	}
	if (!foreign)
		undo_hostnet(dir);
	else if (there >= 0)
		undo_hostnet_in(there, dir);
	if (there >= 0)
		close(there);
	qp_host_eal_cleanup(name);
}

void
qp_stale_remove_dir(const char *dir)
{
	struct dirent *e;
	DIR *d = opendir(dir);

	if (d == NULL)
		return;
	while ((e = readdir(d)) != NULL) {
		/* The lock goes last, with the folder: who waits for it looks again. */
		if (strcmp(e->d_name, "lock") != 0)
			unlinkat(dirfd(d), e->d_name, 0);
	}
	unlinkat(dirfd(d), "lock", 0);
	closedir(d);
	rmdir(dir);
}
