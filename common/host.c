/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hugepages, CPUs and EAL's leftovers, from /proc, /sys and the file system.
 * Any thread; reads files, so not for the packet path.
 */
#include "common/host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_EVERY_MS 5u
#define KIB 1024ull
#define MIB (1024ull * 1024ull)

/* EAL's name for a page's file is PREFIX "map_" N. */
#define EAL_FILE_MARK "map_"

static uint64_t
read_number(const char *path)
{
	unsigned long long value = 0;
	FILE *f = fopen(path, "re");

	if (f == NULL)
		return 0;
	if (fscanf(f, "%llu", &value) != 1)
		value = 0;
	fclose(f);
	return value;
}

static uint64_t
default_page_bytes(void)
{
	unsigned long long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	if (f == NULL)
		return 0;
	while (fgets(line, sizeof(line), f) != NULL) {
		if (sscanf(line, "Hugepagesize: %llu kB", &kib) == 1)
			break;
	}
	fclose(f);
	return kib * KIB;
}

/* The mount option is "pagesize=2M", "pagesize=1G" or in bytes; without it, the default size. */
static uint64_t
mount_page_bytes(const struct mntent *ent)
{
	const char *opt = hasmntopt(ent, "pagesize");
	char *end;
	uint64_t value;

	if (opt == NULL || (opt = strchr(opt, '=')) == NULL)
		return default_page_bytes();
	value = strtoull(opt + 1, &end, 10);
	switch (*end) {
	case 'K':
	case 'k':
		return value * KIB;
	case 'M':
	case 'm':
		return value * MIB;
	case 'G':
	case 'g':
		return value * KIB * MIB;
	}
	return value;
}

#define PAGES_FILE "/sys/kernel/mm/hugepages/hugepages-%llukB/%s"

/* free_hugepages or nr_hugepages */
static uint64_t
count_pages(uint64_t page_bytes, const char *file)
{
	char path[128];

	snprintf(path, sizeof(path), PAGES_FILE, (unsigned long long)(page_bytes / KIB), file);
	return read_number(path);
}

static uint64_t
free_bytes(uint64_t page_bytes)
{
	return count_pages(page_bytes, "free_hugepages") * page_bytes;
}

static int
explain_too_few(const struct qp_hugepages *p, uint64_t want_bytes, struct qp_errmsg *msg)
{
	const uint64_t page = p->page_bytes, reserved = count_pages(page, "nr_hugepages");
	const uint64_t lacking = (want_bytes - p->free_bytes + page - 1) / page;
	char there[96] = "none are reserved on this host", path[128];

	if (reserved > 0)
		snprintf(there, sizeof(there), "%llu MiB of the host's %llu MiB are free",
			(unsigned long long)(p->free_bytes / MIB),
			(unsigned long long)(reserved * page / MIB));
	snprintf(path, sizeof(path), PAGES_FILE, (unsigned long long)(page / KIB), "nr_hugepages");
	return qp_fail(msg, QP_E_NOMEM,
		"%llu MiB of hugepages are wanted and %s: reserve more (as root: echo %llu >%s), %s"
		"lower --memory", (unsigned long long)(want_bytes / MIB), there,
		(unsigned long long)(reserved + lacking), path,
		reserved > 0 ? "end another program that uses them, or " : "or ");
}

/* Calls `each` for every hugetlbfs mount. */
static void
for_each_mount(void (*each)(const char *dir, uint64_t page_bytes, void *ctx), void *ctx)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	char strings[8192];
	struct mntent ent;

	if (mounts == NULL)
		return;
	while (getmntent_r(mounts, &ent, strings, sizeof(strings)) != NULL) {
		if (strcmp(ent.mnt_type, "hugetlbfs") == 0)
			each(ent.mnt_dir, mount_page_bytes(&ent), ctx);
	}
	endmntent(mounts);
}

struct search {
	uint64_t want_bytes;
	struct qp_hugepages *best; /* page_bytes 0: none yet */
	bool best_is_ours; /* it can be written to */
};

static void
consider_mount(const char *dir, uint64_t page_bytes, void *ctx)
{
	struct search *s = ctx;
	uint64_t avail = page_bytes == 0 ? 0 : free_bytes(page_bytes);
	bool fits = avail >= s->want_bytes, best_fits = s->best->free_bytes >= s->want_bytes;
	bool ours = access(dir, W_OK) == 0;

	/* A service's own mount is beside the host's, which only root writes to. */
	if (page_bytes == 0 || (s->best->page_bytes != 0 && s->best_is_ours && !ours))
		return;
	if (ours && !s->best_is_ours) {
		s->best_is_ours = true;
		s->best->page_bytes = 0;
		best_fits = false;
	}
	if (best_fits && !fits)
		return;
	if (s->best->page_bytes != 0 && fits == best_fits && page_bytes >= s->best->page_bytes)
		return;
	*s->best = (struct qp_hugepages) {.page_bytes = page_bytes, .free_bytes = avail};
	snprintf(s->best->dir, sizeof(s->best->dir), "%s", dir);
}

int
qp_host_hugepages(uint64_t want_bytes, struct qp_hugepages *out, struct qp_errmsg *msg)
{
	struct search s = {.want_bytes = want_bytes, .best = out};

	memset(out, 0, sizeof(*out));
	for_each_mount(consider_mount, &s);
	if (out->page_bytes == 0)
		return qp_fail(msg, QP_E_NOTFOUND,
			"no hugetlbfs is mounted: run scripts/setup.sh, or mkdir -p /dev/hugepages && "
			"mount -t hugetlbfs hugetlbfs /dev/hugepages");
	if (out->free_bytes < want_bytes)
		return explain_too_few(out, want_bytes, msg);
	if (access(out->dir, W_OK) != 0)
		return qp_fail(msg, QP_E_PERM,
			"cannot write to %s (hugetlbfs): %s: start as root, or as root: "
			"mount -o remount,rw,uid=%u %s", out->dir, strerror(errno),
			(unsigned)getuid(), out->dir);
	return 0;
}

static void
remove_pages(const char *dir, uint64_t page_bytes, void *ctx)
{
	const char *prefix = ctx;
	size_t len = strlen(prefix);
	DIR *d = opendir(dir);
	struct dirent *e;

	(void)page_bytes;
	if (d == NULL)
		return;
	while ((e = readdir(d)) != NULL) {
		if (strncmp(e->d_name, prefix, len) == 0 &&
			strncmp(e->d_name + len, EAL_FILE_MARK, strlen(EAL_FILE_MARK)) == 0)
			unlinkat(dirfd(d), e->d_name, 0);
	}
	closedir(d);
}

/* As EAL chooses it: RUNTIME_DIRECTORY, /var/run for root, XDG_RUNTIME_DIR, /tmp. */
static const char *
eal_runtime_base(void)
{
	const char *dir = getenv("RUNTIME_DIRECTORY");

	if (dir != NULL)
		return dir;
	if (getuid() == 0)
		return "/var/run";
	dir = getenv("XDG_RUNTIME_DIR");
	return dir != NULL ? dir : "/tmp";
}

void
qp_host_eal_file(const char *prefix, const char *file, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/dpdk/%s/%s", eal_runtime_base(), prefix, file);
}

/* "mp_socket_PID_TIME", "fbarray_memseg-…_PID". */
static bool
is_of_process(const char *name, pid_t pid)
{
	char mark[16];
	size_t len = (size_t)snprintf(mark, sizeof(mark), "_%d", (int)pid);

	for (const char *at = strstr(name, mark); at != NULL; at = strstr(at + 1, mark)) {
		if (at[len] == '\0' || at[len] == '_')
			return true;
	}
	return false;
}

void
qp_host_eal_forget(const char *prefix, pid_t pid)
{
	char path[PATH_MAX];
	struct dirent *e;
	DIR *d;

	qp_host_eal_file(prefix, "", path);
	d = opendir(path);
	if (d == NULL)
		return;
	while ((e = readdir(d)) != NULL) {
		if (is_of_process(e->d_name, pid))
			unlinkat(dirfd(d), e->d_name, 0);
	}
	closedir(d);
}

static void
lock_path(const char *prefix, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/dpdk", eal_runtime_base());
	(void)mkdir(path, 0700); /* as EAL does; what is wrong with it shows at the file */
	snprintf(path, PATH_MAX, "%s/dpdk/%s.lock", eal_runtime_base(), prefix);
}

/* -1: somebody else has it, or errno says why it cannot be made. */
static int
try_lock(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct stat ours, there;

	if (fd < 0)
		return -1;
	/* Who had it before may have removed it in between. */
	if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &ours) == 0 &&
		stat(path, &there) == 0 && ours.st_ino == there.st_ino)
		return fd;
	close(fd);
	errno = EWOULDBLOCK;
	return -1;
}

int
qp_host_eal_lock(const char *prefix, unsigned patience_ms, struct qp_errmsg *msg)
{
	const struct timespec pause = {.tv_nsec = LOCK_EVERY_MS * 1000000};
	char path[PATH_MAX];
	int fd;

	lock_path(prefix, path);
	for (unsigned waited = 0;; waited += LOCK_EVERY_MS) {
		fd = try_lock(path);
		if (fd >= 0)
			return fd;
		if (errno != EWOULDBLOCK)
			return qp_fail(msg, QP_E_IO, "cannot make %s: %s", path, strerror(errno));
		if (waited >= patience_ms)
			return qp_fail(msg, QP_E_INUSE, "another port owner of %s does not end", prefix);
		nanosleep(&pause, NULL);
	}
}

void
qp_host_eal_unlock(const char *prefix, int fd)
{
	char path[PATH_MAX];

	lock_path(prefix, path);
	unlink(path);
	close(fd);
}

/* One that was killed has left its lock's file. */
static void
remove_lock(const char *prefix)
{
	char path[PATH_MAX];
	int fd;

	lock_path(prefix, path);
	fd = access(path, F_OK) == 0 ? try_lock(path) : -1;
	if (fd >= 0)
		qp_host_eal_unlock(prefix, fd);
}

void
qp_host_eal_cleanup(const char *prefix)
{
	char path[PATH_MAX];
	struct dirent *e;
	DIR *d;

	remove_lock(prefix);
	for_each_mount(remove_pages, (void *)(uintptr_t)prefix);
	snprintf(path, sizeof(path), "%s/dpdk/%s", eal_runtime_base(), prefix);
	d = opendir(path);
	if (d == NULL)
		return;
	while ((e = readdir(d)) != NULL) {
		/* Only files and sockets are in there; "." and ".." refuse by themselves. */
		unlinkat(dirfd(d), e->d_name, 0);
	}
	closedir(d);
	rmdir(path);
}

unsigned
qp_host_cpus(unsigned cpus[QP_MAX_CPUS])
{
	cpu_set_t set;
	unsigned n = 0;

	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set) == 0) {
		for (unsigned cpu = 0; cpu < QP_MAX_CPUS && cpu < CPU_SETSIZE; cpu++) {
			if (CPU_ISSET(cpu, &set))
				cpus[n++] = cpu;
		}
	}
	if (n == 0)
		cpus[n++] = 0;
	return n;
}

const char *
qp_host_eal_lcores(unsigned lcore, char out[QP_LCORES_TEXT_BYTES])
{
	unsigned cpus[QP_MAX_CPUS], n = qp_host_cpus(cpus);
	size_t at = (size_t)snprintf(out, QP_LCORES_TEXT_BYTES, "%u@(", lcore);

	for (unsigned i = 0; i < n; i++)
		at += (size_t)snprintf(
			out + at, QP_LCORES_TEXT_BYTES - at, "%s%u", i == 0 ? "" : ",", cpus[i]);
	snprintf(out + at, QP_LCORES_TEXT_BYTES - at, ")");
	return out;
}

/* -5 is 3.05 times the weight of 0. */
#define FIRST_NICE (-5)

static void
raise_session(void)
{
	char text[64] = "";
	const char *rank;
	int fd = open("/proc/self/autogroup", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return;
	if (read(fd, text, sizeof(text) - 1) > 0 && (rank = strstr(text, "nice ")) != NULL &&
		atoi(rank + strlen("nice ")) == 0 && dprintf(fd, "%d", FIRST_NICE) < 0)
		errno = 0; /* not allowed: see the header */
	close(fd);
}

void
qp_host_go_first(void)
{
	int rank;

	errno = 0;
	rank = getpriority(PRIO_PROCESS, 0);
	/* Linux has a rank for each thread: 0 is the calling one. */
	if (errno == 0)
		(void)setpriority(PRIO_PROCESS, 0, rank + FIRST_NICE);
	raise_session();
}
