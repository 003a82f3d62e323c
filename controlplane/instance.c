/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The instance's name, run folder and lock. Taking an instance and clearing
 * away dead ones happens under one lock of the whole root folder, so that no
 * folder is half made in another gateway's eyes. A gateway that ends removes
 * its own without that lock; who waits for it sees that the file has no name
 * any more.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include "controlplane/instance.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "common/log.h"
#include "controlplane/fdstore.h"
#include "controlplane/hostnet.h"
#include "controlplane/privilege.h"
#include "controlplane/reexec.h"
#include "controlplane/stale.h"

#define NAME_PREFIX "quicport-"

void
qp_instance_name(
	const struct qp_sockaddr *data_plane_addr, ino_t netns, uint32_t *hash, char name[32])
{
	char text[QP_ADDR_TEXT_BYTES + 32];
	char addr[QP_ADDR_TEXT_BYTES];
	uint8_t digest[crypto_generichash_BYTES];
	int len = snprintf(text, sizeof(text), "%llu %s", (unsigned long long)netns,
		qp_sockaddr_format(&data_plane_addr->sa, addr));

	crypto_generichash(digest, sizeof(digest), (const uint8_t *)text, (size_t)len, NULL, 0);
	memcpy(hash, digest, sizeof(*hash));
	snprintf(name, 32, NAME_PREFIX "%08x", *hash);
}

/*
 * Locks `dir`/lock, which must exist unless `create`. -1 and errno: EWOULDBLOCK,
 * another has it; ENOENT, its owner has just removed it.
 */
static int
take_lock(const char *dir, bool create)
{
	char path[PATH_MAX];
	struct stat locked, named;
	int fd, err;

	snprintf(path, sizeof(path), "%s/lock", dir);
	fd = open(path, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0600);
	if (fd < 0)
		return -1;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
		if (fstat(fd, &locked) == 0 && stat(path, &named) == 0 &&
			locked.st_ino == named.st_ino && locked.st_dev == named.st_dev)
			return fd;
		errno = ENOENT;
	}
	err = errno;
	close(fd);
	errno = err;
	return -1;
}

/*
 * The lock that this process holds already, as the program that it was before; -1: it
 * holds none, or another instance's.
 */
static int
take_passed_lock(const char *dir)
{
	char path[PATH_MAX];
	struct stat locked, named;
	int fd;

	if (qp_fdstore_take(QP_PASS_LOCK, &fd, 1) == 0)
		return -1;
	snprintf(path, sizeof(path), "%s/lock", dir);
	if (fstat(fd, &locked) == 0 && stat(path, &named) == 0 && locked.st_ino == named.st_ino &&
		locked.st_dev == named.st_dev)
		return fd;
	close(fd);
	return -1;
}

/* Held while folders appear and go. Released by closing. */
static int
lock_root(const char *root, struct qp_errmsg *msg)
{
	int fd;

	if (mkdir(root, 0755) != 0 && errno != EEXIST)
		return qp_fail(
			msg, QP_E_PERM, "cannot make the folder %s: %s", root, strerror(errno));
	fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || flock(fd, LOCK_EX) != 0) {
		qp_fail(msg, QP_E_IO, "cannot lock the folder %s: %s", root, strerror(errno));
		if (fd >= 0)
			close(fd);
		return QP_E_IO;
	}
	return fd;
}

static int
refuse_second(const char *dir, struct qp_errmsg *msg)
{
	char path[PATH_MAX], owner[160] = "";
	char addr[128] = "this address";
	int pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/lock", dir);
	f = fopen(path, "re");
	if (f != NULL) {
		if (fgets(owner, sizeof(owner), f) == NULL ||
			sscanf(owner, "%d %127[^\n]", &pid, addr) != 2)
			pid = 0;
		fclose(f);
	}
	return qp_fail(msg, QP_E_INUSE,
		"a gateway runs at %s already (process %d): end it, or choose another "
		"--data-plane-addr",
		addr, pid);
}

static void
undo_other_instances(const char *root, const char *own_name)
{
	struct qp_proc_id ids[QP_INSTANCE_MAX_PROCESSES];
	char dir[PATH_MAX];
	unsigned n;
	struct dirent *e;
	DIR *d = opendir(root);
	int lock;

	while (d != NULL && (e = readdir(d)) != NULL) {
		if (strncmp(e->d_name, NAME_PREFIX, strlen(NAME_PREFIX)) != 0 ||
			strcmp(e->d_name, own_name) == 0)
			continue;
		snprintf(dir, sizeof(dir), "%s/%s", root, e->d_name);
		lock = take_lock(dir, false);
		if (lock < 0)
			continue;
		/* Data planes without a control plane wait for theirs, or end by themselves. */
		if (!qp_stale_lives(dir, ids, &n)) {
			qp_stale_undo(dir, e->d_name);
			qp_stale_remove_dir(dir);
		}
		close(lock);
	}
	if (d != NULL)
		closedir(d);
}

/*
 * Without the classifier's maps nothing can be taken over. A service finds them in its manager's
 * store, unless it was stopped in between.
 */
static bool
can_adopt(void)
{
	if (qp_privilege_sees_maps() || qp_fdstore_count(QP_HOSTNET_FDS) > 0)
		return true;
	qp_log(QP_LOG_WARN, "a predecessor's data planes live, and cannot be taken over: nobody has "
			    "kept the classifier's maps, and there is no CAP_SYS_ADMIN to look for them");
	return false;
}

/* The folder exists and is ours alone: what is in it is a dead gateway's. */
static int
move_in(struct qp_instance *inst, const struct qp_sockaddr *addr, bool was_there,
	struct qp_errmsg *msg)
{
	char text[QP_ADDR_TEXT_BYTES + 16], addr_text[QP_ADDR_TEXT_BYTES];
	int len = snprintf(text, sizeof(text), "%d %s\n", (int)getpid(),
		qp_sockaddr_format(&addr->sa, addr_text));

	if (was_there && qp_stale_lives(inst->dir, inst->processes, &inst->nprocesses) &&
		can_adopt()) {
		inst->adopted = true;
		qp_file_sweep(inst->dir);
		if (qp_stale_write_processes(
			    inst->dir, inst->processes, inst->nprocesses, msg) != 0)
			return QP_E_IO;
	} else if (was_there) {
		inst->nprocesses = 0;
		qp_stale_undo(inst->dir, inst->name);
	}
	if (ftruncate(inst->lock_fd, 0) != 0 || pwrite(inst->lock_fd, text, (size_t)len, 0) != len)
		return qp_fail(
			msg, QP_E_IO, "cannot write %s/lock: %s", inst->dir, strerror(errno));
	return qp_stale_write_netns(inst->dir, qp_netns_inode(), msg);
}

int
qp_instance_open(const char *root, const struct qp_sockaddr *data_plane_addr,
	struct qp_instance *out, struct qp_errmsg *msg)
{
	int root_lock, err = 0;
	bool was_there;

	qp_proc_reap_strays();
	root_lock = lock_root(root, msg);

	if (root_lock < 0)
		return root_lock;
	memset(out, 0, sizeof(*out));
	qp_instance_name(data_plane_addr, qp_netns_inode(), &out->hash, out->name);
	snprintf(out->dir, sizeof(out->dir), "%s/%s", root, out->name);
	do {
		was_there = mkdir(out->dir, 0700) != 0 && errno == EEXIST;
		out->lock_fd = take_passed_lock(out->dir);
		if (out->lock_fd < 0)
			out->lock_fd = take_lock(out->dir, true);
	} while (out->lock_fd < 0 && errno == ENOENT);
	if (out->lock_fd < 0) {
		err = errno == EWOULDBLOCK
			      ? refuse_second(out->dir, msg)
			      : qp_fail(msg, qp_err_from_errno(errno), "cannot lock %s/lock: %s",
					out->dir, strerror(errno));
	} else {
		err = move_in(out, data_plane_addr, was_there, msg);
		if (err == 0)
			undo_other_instances(root, out->name);
		else if (out->adopted)
			qp_instance_leave(out);
		else
			qp_instance_close(out);
	}
	close(root_lock);
	return err;
}

void
qp_instance_close(struct qp_instance *inst)
{
	qp_stale_remove_dir(inst->dir);
	close(inst->lock_fd);
	inst->lock_fd = -1;
}

bool
qp_instance_lives(const struct qp_instance *inst)
{
	struct qp_proc_id ids[QP_INSTANCE_MAX_PROCESSES];
	unsigned n;

	return qp_stale_lives(inst->dir, ids, &n);
}

void
qp_instance_leave(struct qp_instance *inst)
{
	close(inst->lock_fd);
	inst->lock_fd = -1;
}

int
qp_instance_add_process(struct qp_instance *inst, pid_t pid, struct qp_errmsg *msg)
{
	struct qp_proc_id id;
	int err;

	for (unsigned i = 0; i < inst->nprocesses; i++) {
		if (inst->processes[i].pid == pid)
			return 0;
	}
	if (inst->nprocesses == QP_INSTANCE_MAX_PROCESSES)
		return qp_fail(msg, QP_E_FULL, "more than %u processes of one gateway",
			QP_INSTANCE_MAX_PROCESSES);
	if (qp_proc_identify(pid, &id) != 0)
		return qp_fail(msg, QP_E_NOTFOUND, "process %d has ended", (int)pid);
	inst->processes[inst->nprocesses++] = id;
	err = qp_stale_write_processes(inst->dir, inst->processes, inst->nprocesses, msg);
	if (err != 0)
		inst->nprocesses--;
	return err;
}

int
qp_instance_place(const struct qp_instance *inst, pid_t pid)
{
	for (unsigned i = 0; i < inst->nprocesses; i++) {
		if (inst->processes[i].pid == pid)
			return (int)i;
	}
	return -1;
}

void
qp_instance_remove_process(struct qp_instance *inst, pid_t pid)
{
	struct qp_errmsg msg;
	unsigned kept = 0;

	for (unsigned i = 0; i < inst->nprocesses; i++) {
		if (inst->processes[i].pid != pid)
			inst->processes[kept++] = inst->processes[i];
	}
	if (kept == inst->nprocesses)
		return;
	inst->nprocesses = kept;
	if (qp_stale_write_processes(inst->dir, inst->processes, kept, &msg) != 0)
		qp_log(QP_LOG_WARN, "cannot write down which processes live",
			QP_LOG_STR("reason", msg.text));
}
