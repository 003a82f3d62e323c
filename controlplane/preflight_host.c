/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the host itself: kernel, clock, memory, and the CPUs that the workers are to have. */
#include "controlplane/preflight.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/host.h"

/* As options_check.c and the port owner reckon: a generation's share a worker, and a queue's buffers. */
#define GENERATION_MIB 57u
#define GENERATIONS 4u
#define SHARED_MIB 12u
#define QUEUE_MIB 40u
#define DEEP_US 10 /* a sleep from which a CPU needs longer to wake up shows in latencies */

static void
check_kernel(struct qp_preflight *p)
{
	char release[128] = "?";
	unsigned major = 0, minor = 0;

	(void)qp_preflight_text(p->proc, release, sizeof(release), "sys/kernel/osrelease");
	(void)sscanf(release, "%u.%u", &major, &minor);
	if (major * 1000 + minor < 5010)
		qp_preflight_add(p, QP_FINDING_MUST, "kernel", "install Linux 6.1 or newer",
			"Linux %s: pidfds and vfio as they are needed came with 5.10", release);
	else if (major * 1000 + minor < 6001)
		qp_preflight_add(p, QP_FINDING_SHOULD, "kernel", "install Linux 6.1 or newer",
			"Linux %s: works, but is older than what the gateway is tested with", release);
	else
		qp_preflight_add(p, QP_FINDING_OK, "kernel", NULL, "Linux %s", release);
}

static bool
has_flag(const struct qp_preflight *p, const char *flag)
{
	char path[PATH_MAX], line[8192];
	FILE *f;
	bool found = false;

	snprintf(path, sizeof(path), "%s/cpuinfo", p->proc);
	f = fopen(path, "re");
	while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL) {
		const char *at = strncmp(line, "flags", 5) == 0 ? strstr(line, flag) : NULL;

		found = at != NULL && (at[strlen(flag)] == ' ' || at[strlen(flag)] == '\n');
	}
	if (f != NULL)
		fclose(f);
	return found;
}

static void
check_clock(struct qp_preflight *p)
{
	char source[64] = "?";

	(void)qp_preflight_text(p->sys, source, sizeof(source),
		"devices/system/clocksource/clocksource0/current_clocksource");
	if (strcmp(source, "tsc") != 0 && strcmp(source, "kvm-clock") != 0)
		qp_preflight_add(p, QP_FINDING_SHOULD, "clock",
			"on the kernel's command line: tsc=reliable clocksource=tsc (dmesg | grep -i tsc tells "
			"why it was not taken)",
			"clock source %s: each look at the time is a system call", source);
	else if (!has_flag(p, "constant_tsc"))
		qp_preflight_add(p, QP_FINDING_SHOULD, "clock", "in a virtual machine: pass the host's CPU through",
			"clock source %s, but the CPU does not promise that its TSC keeps its pace", source);
	else
		qp_preflight_add(p, QP_FINDING_OK, "clock", NULL, "clock source %s", source);
}

static void
check_mount(struct qp_preflight *p)
{
	char path[PATH_MAX], line[1024], dir[512], type[64];
	FILE *f;
	bool found = false;

	snprintf(path, sizeof(path), "%s/mounts", p->proc);
	f = fopen(path, "re");
	while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL)
		found = sscanf(line, "%*s %511s %63s", dir, type) == 2 && strcmp(type, "hugetlbfs") == 0;
	if (f != NULL)
		fclose(f);
	if (found)
		qp_preflight_add(p, QP_FINDING_OK, "hugetlbfs", NULL, "mounted at %s", dir);
	else
		qp_preflight_add(p, QP_FINDING_MUST, "hugetlbfs",
			"mkdir -p /dev/hugepages && mount -t hugetlbfs -o pagesize=2M none /dev/hugepages",
			"no hugetlbfs is mounted");
}

static uint32_t
memory_wanted(const struct qp_preflight *p)
{
	if (p->memory_mib > 0)
		return p->memory_mib;
	return p->workers * (GENERATION_MIB * GENERATIONS + QUEUE_MIB * p->nic.ports.n) + SHARED_MIB;
}

/* The node's, or the whole host's where there are no nodes. */
static void
check_node_pages(struct qp_preflight *p, unsigned node, uint32_t mib)
{
	char change[320], where[64];
	long have, total;

	snprintf(where, sizeof(where), "devices/system/node/node%u/hugepages/hugepages-2048kB", node);
	have = qp_preflight_number(p->sys, -1, "%s/free_hugepages", where);
	if (have < 0)
		snprintf(where, sizeof(where), "kernel/mm/hugepages/hugepages-2048kB");
	have = qp_preflight_number(p->sys, 0, "%s/free_hugepages", where);
	total = qp_preflight_number(p->sys, 0, "%s/nr_hugepages", where);
	if (have * 2 >= (long)mib) {
		qp_preflight_add(p, QP_FINDING_OK, "hugepages", NULL, "node %u: %ld MiB free, %u needed",
			node, have * 2, mib);
		return;
	}
	snprintf(change, sizeof(change), "echo %ld > %s/%s/nr_hugepages (at each boot: hugepages=%ld)",
		total - have + (mib + 1) / 2, p->sys, where, total - have + (mib + 1) / 2);
	qp_preflight_add(p, QP_FINDING_MUST, "hugepages", change,
		"node %u: %ld MiB of 2 MiB pages free, %u needed (workers and ports there)", node,
		have * 2, mib);
}

/* Each node that has workers gets their share; without --lcores, the first one has all. */
static void
check_pages(struct qp_preflight *p)
{
	const uint32_t mib = memory_wanted(p);
	unsigned count[64] = {0};

	for (unsigned i = 0; i < p->nic.nlcores; i++)
		count[qp_preflight_node(p, p->nic.lcore[i]) % 64]++;
	if (p->nic.nlcores == 0)
		count[0] = p->workers;
	for (unsigned node = 0; node < 64; node++) {
		if (count[node] > 0)
			check_node_pages(p, node, (mib * count[node] + p->workers - 1) / p->workers);
	}
}

static void
check_balancing(struct qp_preflight *p)
{
	if (qp_preflight_number(p->proc, 0, "sys/kernel/numa_balancing") == 0)
		return;
	qp_preflight_add(p, QP_FINDING_SHOULD, "numa balancing", "sysctl -w kernel.numa_balancing=0",
		"the kernel moves memory between nodes behind the workers' back");
}

static void
check_irqbalance(struct qp_preflight *p)
{
	char comm[64], change[320];
	struct dirent *e;
	DIR *d = opendir(p->proc);

	while (d != NULL && (e = readdir(d)) != NULL) {
		if (e->d_name[0] < '0' || e->d_name[0] > '9' ||
			!qp_preflight_text(p->proc, comm, sizeof(comm), "%.32s/comm", e->d_name) ||
			strcmp(comm, "irqbalance") != 0)
			continue;
		snprintf(change, sizeof(change), "IRQBALANCE_BANNED_CPULIST=%.100s in /etc/default/irqbalance, then "
			"systemctl restart irqbalance", p->nic.lcores);
		qp_preflight_add(p, QP_FINDING_SHOULD, "irqbalance", change,
			"irqbalance runs (pid %.16s): keep it off the workers' CPUs", e->d_name);
		break;
	}
	if (d != NULL)
		closedir(d);
}

/* A list in a kernel file that is to have all of the workers' CPUs. */
static void
check_isolated(struct qp_preflight *p, const char *check, const char *file, const char *why)
{
	char list[1024] = "", change[320];
	unsigned missing = 0;

	(void)qp_preflight_text(p->sys, list, sizeof(list), "devices/system/cpu/%s", file);
	for (unsigned i = 0; i < p->nic.nlcores; i++)
		missing += !qp_preflight_in_list(list, p->nic.lcore[i]);
	if (missing == 0) {
		qp_preflight_add(p, QP_FINDING_OK, check, NULL, "%s has all of --lcores", file);
		return;
	}
	snprintf(change, sizeof(change), "on the kernel's command line: isolcpus=managed_irq,domain,%.60s "
		"nohz_full=%.60s rcu_nocbs=%.60s", p->nic.lcores, p->nic.lcores, p->nic.lcores);
	qp_preflight_add(p, QP_FINDING_SHOULD, check, change, "%u of the workers' CPUs are not in %s (\"%.100s\"): %s",
		missing, file, list, why);
}

static void
check_governor(struct qp_preflight *p)
{
	char governor[64], change[320], which[64] = "";
	unsigned seen = 0, slow = 0;

	for (unsigned i = 0; i < p->nic.nlcores; i++) {
		if (!qp_preflight_text(p->sys, governor, sizeof(governor),
			    "devices/system/cpu/cpu%u/cpufreq/scaling_governor", p->nic.lcore[i]))
			continue;
		seen++;
		if (strcmp(governor, "performance") != 0) {
			slow++;
			snprintf(which, sizeof(which), "%s", governor);
		}
	}
	if (slow > 0) {
		snprintf(change, sizeof(change), "cpupower -c %.100s frequency-set -g performance", p->nic.lcores);
		qp_preflight_add(p, QP_FINDING_SHOULD, "governor", change,
			"%u of the workers' CPUs have the governor %s: the first packets after a pause find a slow CPU",
			slow, which);
	} else if (seen > 0) {
		qp_preflight_add(p, QP_FINDING_OK, "governor", NULL, "performance");
	} else {
		qp_preflight_add(p, QP_FINDING_OK, "governor", NULL, "the kernel does not set the CPUs' pace here");
	}
}

static void
check_idle(struct qp_preflight *p)
{
	long deepest = 0;
	char change[320];

	for (unsigned i = 0; i < p->nic.nlcores; i++) {
		for (unsigned s = 0; s < 16; s++) {
			const long us = qp_preflight_number(p->sys, -1, "devices/system/cpu/cpu%u/cpuidle/state%u/latency",
				p->nic.lcore[i], s);

			if (us > deepest && qp_preflight_number(p->sys, 0, "devices/system/cpu/cpu%u/cpuidle/state%u/disable",
						    p->nic.lcore[i], s) == 0)
				deepest = us;
		}
	}
	if (deepest <= DEEP_US) {
		qp_preflight_add(p, QP_FINDING_OK, "C-states", NULL, "waking up takes %ld us at most", deepest);
		return;
	}
	snprintf(change, sizeof(change), "cpupower -c %.100s idle-set -D %d (or --busy-poll, which never sleeps)",
		p->nic.lcores, DEEP_US);
	qp_preflight_add(p, QP_FINDING_SHOULD, "C-states", change, "an idle worker's CPU takes up to %ld us to wake up",
		deepest);
}

static void
check_siblings(struct qp_preflight *p)
{
	char list[256];

	for (unsigned i = 0; i < p->nic.nlcores; i++) {
		if (!qp_preflight_text(p->sys, list, sizeof(list),
			    "devices/system/cpu/cpu%u/topology/thread_siblings_list", p->nic.lcore[i]))
			continue;
		for (unsigned k = 0; k < i; k++) {
			if (!qp_preflight_in_list(list, p->nic.lcore[k]))
				continue;
			qp_preflight_add(p, QP_FINDING_SHOULD, "hyperthreads", "take one of each core's two",
				"CPUs %u and %u are one core: two workers share it", p->nic.lcore[k],
				p->nic.lcore[i]);
		}
	}
}

static void
check_online(struct qp_preflight *p)
{
	char online[1024] = "";

	(void)qp_preflight_text(p->sys, online, sizeof(online), "devices/system/cpu/online");
	for (unsigned i = 0; i < p->nic.nlcores; i++) {
		if (!qp_preflight_in_list(online, p->nic.lcore[i]))
			qp_preflight_add(p, QP_FINDING_MUST, "lcores", "give --lcores others",
				"CPU %u is not there (online: %.100s)", p->nic.lcore[i], online);
		else if (p->nic.lcore[i] == 0)
			qp_preflight_add(p, QP_FINDING_SHOULD, "lcores", "give --lcores another one",
				"CPU 0 does the kernel's own work, too");
	}
}

void
qp_preflight_host(struct qp_preflight *p)
{
	check_kernel(p);
	check_clock(p);
	check_mount(p);
	check_pages(p);
	check_balancing(p);
	if (p->nic.nlcores == 0) {
		qp_preflight_add(p, QP_FINDING_SHOULD, "lcores", "--lcores LIST",
			"no CPUs are chosen: isolation, governor and C-states are not looked at");
		return;
	}
	check_online(p);
	check_siblings(p);
	check_isolated(p, "isolation", "isolated", "other programs run there as well");
	check_isolated(p, "ticks", "nohz_full", "the kernel's timer interrupts them");
	check_governor(p);
	check_idle(p);
	check_irqbalance(p);
}
