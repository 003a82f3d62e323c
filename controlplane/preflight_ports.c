/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of each --port: is it there, whose is it, what does it need, how far is it from the workers. */
#include "controlplane/preflight.h"

#include <ctype.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* DDDD:BB:DD.F, or without the domain; `at` gets it whole. */
static bool
pci_address(const char *device, char at[32])
{
	const size_t len = strcspn(device, ",");
	unsigned domain = 0, bus, slot, function;
	char name[32];

	if (len >= sizeof(name))
		return false;
	snprintf(name, sizeof(name), "%.*s", (int)len, device);
	if (sscanf(name, "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4 &&
		(domain = 0, sscanf(name, "%x:%x.%x", &bus, &slot, &function) != 3))
		return false;
	snprintf(at, 32, "%04x:%02x:%02x.%x", domain & 0xffff, bus & 0xff, slot & 0xff, function & 0xf);
	return true;
}

/* Drivers below which DPDK's own work without taking the card away. */
static bool
is_shared(const char *driver)
{
	return strcmp(driver, "mlx5_core") == 0 || strcmp(driver, "mlx4_core") == 0 ||
	       strcmp(driver, "mana") == 0;
}

static void
check_driver(struct qp_preflight *p, const char *at, const char *driver)
{
	char change[320];

	snprintf(change, sizeof(change), "bind-nic.sh bind %s", at);
	if (strcmp(driver, "vfio-pci") == 0 || is_shared(driver))
		qp_preflight_add(p, QP_FINDING_OK, "driver", NULL, "%s: %s", at, driver);
	else
		qp_preflight_add(p, QP_FINDING_MUST, "driver", change, "%s has the driver %s, which the gateway cannot use", at,
			driver);
}

/* vfio without an IOMMU gives cards physical addresses, in all groups when it is switched on; ours are virtual ones. */
static void
check_iommu(struct qp_preflight *p, const char *at)
{
	char group[32], mode[8] = "N";

	(void)qp_preflight_text(p->sys, mode, sizeof(mode), "module/vfio/parameters/enable_unsafe_noiommu_mode");
	if (mode[0] == 'Y') {
		qp_preflight_add(p, QP_FINDING_MUST, "IOMMU", "VT-d or AMD-Vi in the firmware; on the kernel's command "
			"line: intel_iommu=on iommu=pt, or amd_iommu=on iommu=pt; then "
			"echo N > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
			"%s: vfio runs in its unsafe mode: the card could reach all memory, and the gateway cannot "
			"use it", at);
		return;
	}
	if (qp_preflight_link(p->sys, group, sizeof(group), "bus/pci/devices/%s/iommu_group", at)) {
		qp_preflight_add(p, QP_FINDING_OK, "IOMMU", NULL, "%s: group %s", at, group);
		return;
	}
	qp_preflight_add(p, QP_FINDING_MUST, "IOMMU", "VT-d or AMD-Vi in the firmware, and intel_iommu=on iommu=pt "
		"(amd_iommu=on iommu=pt) on the kernel's command line; in a virtual machine, an IOMMU from its host",
		"%s has no IOMMU group: the gateway cannot use it", at);
}

/* A card that is bound away from the kernel tells nothing about its link before it is opened. */
static void
check_link(struct qp_preflight *p, const char *at)
{
	char path[PATH_MAX], state[32] = "unknown";
	const char *name = NULL;
	glob_t found = {0};

	/* Of a virtio card it is its virtio device's. */
	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/{,virtio*/}net/*", p->sys, at);
	if (glob(path, GLOB_BRACE, NULL, &found) == 0 && found.gl_pathc > 0)
		name = strrchr(found.gl_pathv[0], '/') + 1;
	if (name != NULL) {
		(void)qp_preflight_text(p->sys, state, sizeof(state), "class/net/%.64s/operstate", name);
		qp_preflight_add(p, strcmp(state, "down") == 0 ? QP_FINDING_SHOULD : QP_FINDING_OK, "link",
			strcmp(state, "down") == 0 ? "look at the cable and the switch's port" : NULL,
			"%s (%.64s): %s", at, name, state);
	} else {
		qp_preflight_add(p, QP_FINDING_OK, "link", NULL,
			"%s: no interface of the kernel's tells it; the gateway logs it when it has the port", at);
	}
	globfree(&found);
}

static void
check_slot(struct qp_preflight *p, const char *at)
{
	const long now = qp_preflight_number(p->sys, 0, "bus/pci/devices/%s/current_link_width", at);
	const long most = qp_preflight_number(p->sys, 0, "bus/pci/devices/%s/max_link_width", at);

	if (now < most)
		qp_preflight_add(p, QP_FINDING_SHOULD, "PCIe", "put the card into a slot with more lanes",
			"%s: %ld of its %ld lanes are in use", at, now, most);
}

static void
check_distance(struct qp_preflight *p, const char *at)
{
	const long node = qp_preflight_number(p->sys, -1, "bus/pci/devices/%s/numa_node", at);
	char list[256] = "?", change[320];
	unsigned far = 0;

	for (unsigned i = 0; node >= 0 && i < p->nic.nlcores; i++)
		far += qp_preflight_node(p, p->nic.lcore[i]) != (unsigned)node;
	if (node < 0) {
		qp_preflight_add(p, QP_FINDING_OK, "NUMA", NULL, "%s: the kernel knows no node of it", at);
		return;
	}
	if (far == 0) {
		qp_preflight_add(p, QP_FINDING_OK, "NUMA", NULL, "%s and the workers: node %ld", at, node);
		return;
	}
	(void)qp_preflight_text(p->sys, list, sizeof(list), "devices/system/node/node%ld/cpulist", node);
	snprintf(change, sizeof(change), "take --lcores out of %s", list);
	qp_preflight_add(p, QP_FINDING_SHOULD, "NUMA", change, "%s is at node %ld, %u of the workers are elsewhere", at,
		node, far);
}

/* vfio pins what the card may reach, which counts as locked memory; root is exempt. */
static void
check_limits(struct qp_preflight *p)
{
	struct rlimit limit;

	if (geteuid() == 0 || getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
		return;
	qp_preflight_add(p, QP_FINDING_MUST, "memory limit",
		"LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited",
		"%llu KiB may be locked, and vfio locks all hugepages",
		(unsigned long long)limit.rlim_cur / 1024);
}

static void
check_pci(struct qp_preflight *p, const char *at)
{
	char driver[64] = "none";

	if (qp_preflight_number(p->sys, -1, "bus/pci/devices/%s/vendor", at) < 0) {
		qp_preflight_add(p, QP_FINDING_MUST, "device", "bind-nic.sh status shows which there are",
			"%s: there is no such PCI device", at);
		return;
	}
	(void)qp_preflight_link(p->sys, driver, sizeof(driver), "bus/pci/devices/%s/driver", at);
	check_driver(p, at, driver);
	if (!is_shared(driver) && strcmp(driver, "uio_pci_generic") != 0)
		check_iommu(p, at);
	check_link(p, at);
	check_slot(p, at);
	check_distance(p, at);
}

void
qp_preflight_ports(struct qp_preflight *p)
{
	bool pci = false;
	char at[32];

	for (unsigned i = 0; i < p->nic.ports.n; i++) {
		if (pci_address(p->nic.ports.v[i], at)) {
			check_pci(p, at);
			pci = true;
		} else {
			qp_preflight_add(p, QP_FINDING_OK, "device", NULL, "%.120s: a virtual one, nothing to bind",
				p->nic.ports.v[i]);
		}
	}
	if (pci)
		check_limits(p);
}
