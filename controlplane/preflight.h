/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_PREFLIGHT_H
#define QP_CONTROLPLANE_PREFLIGHT_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "controlplane/options_nic.h"

/*
 * `quicport preflight`: looks at the host as a gateway with dedicated ports would
 * find it, and names what to change. Changes nothing. Single-threaded, no DPDK.
 */
enum qp_finding_status {
	QP_FINDING_OK,
	QP_FINDING_SHOULD, /* it runs, but slower or less evenly */
	QP_FINDING_MUST,   /* it does not start so */
};

struct qp_finding {
	enum qp_finding_status status;
	char check[24];
	char detail[320];
	char change[320]; /* a command, or what to do; "": nothing */
};

#define QP_FINDINGS 128u

struct qp_preflight {
	const char *sys, *proc; /* roots: /sys and /proc, or a test's */
	struct qp_nic_options nic; /* ports, and CPUs of the workers */
	uint32_t workers;
	uint32_t memory_mib; /* 0: what the gateway would take */
	unsigned n;
	struct qp_finding finding[QP_FINDINGS];
};

/* Adds a finding; `change` NULL: there is nothing to change. The format is of `detail`. */
void qp_preflight_add(struct qp_preflight *p, enum qp_finding_status status, const char *check,
	const char *change, const char *detail, ...) __attribute__((format(printf, 5, 6)));

/* A file's text up to its first newline, below a root; false: there is none. */
bool qp_preflight_text(const char *root, char *out, size_t cap, const char *path, ...)
	__attribute__((format(printf, 4, 5)));
/* The number that it begins with; `otherwise`: there is none. */
long qp_preflight_number(const char *root, long otherwise, const char *path, ...)
	__attribute__((format(printf, 3, 4)));
/* The last part of what a symbolic link leads to; false: it is none. */
bool qp_preflight_link(const char *root, char *out, size_t cap, const char *path, ...)
	__attribute__((format(printf, 4, 5)));
/* Whether a list of CPUs ("0-3,8") has this one. */
bool qp_preflight_in_list(const char *list, unsigned cpu);
/* The NUMA node of a CPU; 0 when the kernel knows none. */
unsigned qp_preflight_node(const struct qp_preflight *p, unsigned cpu);

/* preflight_host.c: memory, CPUs, clock, kernel. */
void qp_preflight_host(struct qp_preflight *p);
/* preflight_ports.c: each --port. */
void qp_preflight_ports(struct qp_preflight *p);

#endif
