/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EAL's start and end in the control plane, and EAL's lines in our log: at
 * debug level, and the last one beside an error. Main thread; lines come from
 * EAL's threads as well.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include "controlplane/eal.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <rte_service_component.h>

#include "common/host.h"
#include "common/log.h"
#include "controlplane/memory.h"

/* Each process has lcore ids of its own (mempool caches): ours is the last, the first are theirs. */
#define CONTROL_PLANE_LCORE (RTE_MAX_LCORE - 1)

static bool attached;
static FILE *log_stream;

static ssize_t
log_line(void *cookie, const char *text, size_t len)
{
	size_t n = len;

	(void)cookie;
	while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
		n--;
	if (n > 0)
		qp_log(QP_LOG_DEBUG, "DPDK", QP_LOG_SLICE("line", ((struct qp_slice) {text, n})));
	return (ssize_t)len;
}

int
qp_eal_attach(const char *instance, struct qp_errmsg *msg)
{
	char lcores[QP_LCORES_TEXT_BYTES];
	int err;

	qp_host_eal_lcores(CONTROL_PLANE_LCORE, lcores);
	const char *argv[] = {"quicport-control-plane", "--proc-type=secondary", "--file-prefix",
		instance, "--lcores", lcores, "--no-pci", "--no-telemetry", "--log-level=warning",
		"--iova-mode=va", NULL};

	if (log_stream == NULL) {
		log_stream = fopencookie(NULL, "w", (cookie_io_functions_t) {.write = log_line});
		if (log_stream != NULL) {
			setvbuf(log_stream, NULL, _IOLBF, 0);
			rte_openlog_stream(log_stream);
		}
	}
	err = qp_memory_begin(instance, msg);
	if (err != 0)
		return err;
	if (rte_eal_init((int)(sizeof(argv) / sizeof(argv[0])) - 1, (char **)(uintptr_t)argv) < 0)
		return qp_fail(msg, QP_E_IO,
			"cannot attach to the port owner's memory (%s): start with --log-level "
			"debug to see DPDK's reasons",
			rte_strerror(rte_errno));
	/* EAL's tables of services, 150 KiB in shared memory: who is killed would leave them there. */
	rte_service_finalize();
	attached = true;
	return qp_memory_attached(msg);
}

void
qp_eal_detach(void)
{
	/*
	 * Not by rte_eal_cleanup(): it waits for a lock in shared memory that a
	 * control plane may have been killed with. The process's end unmaps all,
	 * and EAL's files are removed by qp_host_eal_cleanup().
	 */
	attached = false;
}

bool
qp_eal_attached(void)
{
	return attached;
}
