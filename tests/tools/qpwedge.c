/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qpwedge INSTANCE OWNER_PID SEED KILLS CHECK_EVERY: kills processes that use a
 * port owner's memory, and asks after each whether anybody is worse off for it.
 *
 * A victim does what a data plane and a control plane do there: it attaches,
 * gets memory, builds rings and a pool in it, uses them, asks and reclaims. Half
 * of them die at a random moment of that. The others die at a random
 * instruction behind one that takes or gives back a shared lock: a watchpoint
 * on the lock's word stops them there. After each, its memory is reclaimed, and
 * after every CHECK_EVERY'th a fresh process must attach and work.
 *
 * Prints one line of JSON; status 1 when something was wedged or is missing.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>

#include "common/host.h"
#include "common/owner_link.h"
#include "dataplane/pool.h"

#define MBUFS 2047u
#define RING_SLOTS 256u
#define FIRST_ID 1000u
#define SHORTEST_S 0.0002
#define LONGEST_S 0.25
#define MOST_STEPS 4000.0
#define FRESH_PATIENCE_MS 10000
/* Words of EAL's shared configuration: locks, behind magic, version and memory channels. */
#define FIRST_LOCK 4u
#define LAST_LOCK 8u

static const char *instance;
static const uint32_t *config;  /* EAL's, as this process has it mapped */
static uint64_t config_at;      /* … and as all EAL processes have */
static int owner;

static double
seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static _Noreturn void
fail(const char *what, const char *why)
{
	fprintf(stderr, "qpwedge: %s: %s\n", what, why);
	exit(1);
}

/* ---- the victim, and the fresh process ---- */

static void
start_eal(void)
{
	char prefix[64];
	const char *argv[] = {"qpwedge", "--proc-type=secondary", "--no-pci", "--no-telemetry",
		"--log-level=lib.eal:error", "--file-prefix", prefix, "--lcores", "20@0", NULL};

	snprintf(prefix, sizeof(prefix), "%s", instance);
	if (rte_eal_init(9, (char **)(uintptr_t)argv) < 0)
		fail("EAL", "does not start");
}

/* Everything that is done with the memory while a gateway runs. */
static void
use(int fd, struct rte_mempool *pool, struct rte_ring *ring)
{
	struct qp_owner_told told;
	struct qp_errmsg msg;
	struct rte_mbuf *m[32];
	uint64_t word = 7;

	for (unsigned i = 0; i < 200; i++) {
		if (rte_pktmbuf_alloc_bulk(pool, m, 32) != 0)
			fail("pool", "empty");
		rte_ring_sp_enqueue_elem(ring, &word, sizeof(word));
		rte_ring_sc_dequeue_elem(ring, &word, sizeof(word));
		rte_pktmbuf_free_bulk(m, 32);
	}
	if (word != 7 || rte_mempool_avail_count(pool) != MBUFS)
		fail("pool and ring", "not as they were");
	if (qp_owner_link_ask(fd, QP_OWNER_LIST, &told, &msg) != 0 ||
		qp_owner_link_zone(fd, QP_OWNER_RECLAIM, FIRST_ID - 1, NULL, 0, &told, &msg) != 0)
		fail("port owner", msg.text);
}

static int
victim(uint32_t id, bool once)
{
	const uint64_t ring_bytes = (uint64_t)rte_ring_get_memsize_elem(8, RING_SLOTS);
	struct qp_owner_told told;
	struct rte_mempool *pool;
	struct qp_errmsg msg;
	char name[32];
	int fd;

	if (qp_owner_link_open(instance, &fd, &msg) != 0 ||
		qp_owner_link_ask(fd, QP_OWNER_BEGIN, &told, &msg) != 0)
		fail("port owner", msg.text);
	start_eal();
	snprintf(name, sizeof(name), QP_SHARED_NAME, id);
	if (qp_owner_link_ask(fd, QP_OWNER_ATTACHED, &told, &msg) != 0 ||
		qp_owner_link_zone(fd, QP_OWNER_RESERVE, id, name,
			ring_bytes + qp_pool_bytes(MBUFS, RTE_MBUF_DEFAULT_BUF_SIZE), &told, &msg) != 0)
		fail("port owner", msg.text);
	do {
		struct rte_ring *ring = (struct rte_ring *)(uintptr_t)told.address;
		uint64_t at = told.address + ring_bytes;

		rte_ring_init(ring, "", RING_SLOTS, RING_F_SP_ENQ | RING_F_SC_DEQ);
		pool = qp_pool_make((void *)(uintptr_t)at, "victim", MBUFS, RTE_MBUF_DEFAULT_BUF_SIZE);
		use(fd, pool, ring);
	} while (!once);
	return 0;
}

static pid_t
spawn(uint32_t id, const char *mode)
{
	char number[16];
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	snprintf(number, sizeof(number), "%u", id);
	if (strcmp(mode, "traced") == 0)
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	execl("/proc/self/exe", "qpwedge", mode, instance, number, NULL);
	_exit(127);
}

/* ---- who kills ---- */

static double
log_uniform(double from, double to)
{
	return from * exp(drand48() * log(to / from));
}

static void
kill_after_a_while(pid_t pid)
{
	const double wait = log_uniform(SHORTEST_S, LONGEST_S);
	const struct timespec ts = {.tv_nsec = (long)(wait * 1e9)};

	nanosleep(&ts, NULL);
	kill(pid, SIGKILL);
}

/* Stops once a lock's word is written, some steps later. False: it was not, before its end. */
static bool
run_to_lock(pid_t pid, unsigned lock, unsigned nth, unsigned steps)
{
	const uint64_t at = config_at + lock * sizeof(uint32_t);
	/* Local, on writes, of four bytes. */
	const unsigned long enable = 1ul | 0xdul << 16;
	int status;

	if (waitpid(pid, &status, 0) != pid ||
		ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[0]), at) != 0 ||
		ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]), enable) != 0)
		fail("ptrace", strerror(errno));
	for (unsigned i = 0; i <= nth + steps; i++) {
		ptrace(i <= nth ? PTRACE_CONT : PTRACE_SINGLESTEP, pid, NULL, NULL);
		if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
			return false;
	}
	return true;
}

static bool
locked(void)
{
	for (unsigned i = FIRST_LOCK; i <= LAST_LOCK; i++) {
		if (config[i] != 0)
			return true;
	}
	return false;
}

static void
reclaim(uint32_t id)
{
	struct qp_owner_told told;
	struct qp_errmsg msg;

	if (qp_owner_link_zone(owner, QP_OWNER_RECLAIM, id, NULL, 0, &told, &msg) != 0)
		fail("reclaim", msg.text);
}

/* A victim's life and death. True: it died with a lock. */
static bool
kill_one(uint32_t id)
{
	bool traced = drand48() < 0.5, held;
	pid_t pid = spawn(id, traced ? "traced" : "endless");
	int status;

	if (!traced)
		kill_after_a_while(pid);
	else if (run_to_lock(pid, drand48() < 0.5 ? FIRST_LOCK : LAST_LOCK, (unsigned)(drand48() * 4),
			 (unsigned)log_uniform(1, MOST_STEPS)))
		kill(pid, SIGKILL);
	held = locked();
	waitpid(pid, &status, 0);
	reclaim(id);
	return held;
}

/* Seconds that a fresh process needed to attach and to use all. */
static double
check(uint32_t id)
{
	const double start = seconds();
	pid_t pid = spawn(id, "once");
	struct pollfd pfd = {.fd = pidfd_open(pid, 0), .events = POLLIN};
	int status = -1;

	if (poll(&pfd, 1, FRESH_PATIENCE_MS) != 1) {
		kill(pid, SIGKILL);
		fail("a fresh process", locked() ? "hangs at a lock of a dead one" : "hangs");
	}
	close(pfd.fd);
	waitpid(pid, &status, 0);
	if (status != 0)
		fail("a fresh process", "failed");
	reclaim(id);
	return seconds() - start;
}

static uint64_t
memory_left(void)
{
	struct qp_owner_told told;
	struct qp_errmsg msg;

	if (qp_owner_link_ask(owner, QP_OWNER_MEMORY, &told, &msg) != 0)
		fail("port owner", msg.text);
	return told.left;
}

static void
map_config(const char *owner_pid)
{
	char path[PATH_MAX], line[512];
	FILE *maps;
	int fd;

	qp_host_eal_file(instance, "config", path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	config = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	if (config == MAP_FAILED)
		fail(path, strerror(errno));
	close(fd);
	snprintf(path, sizeof(path), "/proc/%s/maps", owner_pid);
	maps = fopen(path, "r");
	while (maps != NULL && config_at == 0 && fgets(line, sizeof(line), maps) != NULL) {
		if (strstr(line, "/config\n") != NULL)
			config_at = strtoull(line, NULL, 16);
	}
	if (config_at == 0)
		fail(path, "no configuration of EAL's");
	fclose(maps);
}

int
main(int argc, char **argv)
{
	unsigned kills, every, with_lock = 0;
	struct qp_errmsg msg;
	uint64_t before, after;
	double slowest = 0;

	if (argc == 4) {
		instance = argv[2];
		return victim((uint32_t)atoi(argv[3]), strcmp(argv[1], "endless") != 0);
	}
	if (argc != 6)
		return 2;
	instance = argv[1];
	srand48(atol(argv[3]));
	kills = (unsigned)atoi(argv[4]);
	every = (unsigned)atoi(argv[5]);
	if (qp_owner_link_open(instance, &owner, &msg) != 0)
		fail("port owner", msg.text);
	map_config(argv[2]);
	before = memory_left();
	for (unsigned i = 0; i < kills; i++) {
		with_lock += kill_one(FIRST_ID + i % 30000);
		if ((i + 1) % every == 0 || i + 1 == kills)
			slowest = fmax(slowest, check(FIRST_ID + 30000));
	}
	after = memory_left();
	printf("{\"kills\": %u, \"with_lock\": %u, \"slowest_s\": %.3f, \"missing_bytes\": %lld}\n",
		kills, with_lock, slowest, (long long)(before - after));
	return before == after ? 0 : 1;
}
