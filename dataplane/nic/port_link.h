/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_NIC_PORT_LINK_H
#define QP_DATAPLANE_NIC_PORT_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ipc.h"
#include "common/nic.h"

/*
 * Which ports the process's workers may use now. A port whose peer shares memory
 * with us (net_memif) has other memory after each of its comings and goings, and
 * each process maps it for itself: it must not while a worker polls the port, and
 * two workers must not at once. So when the port owner tells of a change
 * (link_epoch), workers stop using the port, the main thread asks the driver for
 * the link, which maps what there is, and then they go on. A port whose link is
 * down is not used.
 *
 * One a process. Lock: none: the main thread writes `open`, each worker its own
 * line; both change with the link only.
 */
struct qp_port_links {
	const struct qp_nic *nic;
	uint32_t nworkers;
	uint32_t done[QP_NIC_MAX_PORTS]; /* epoch that the main thread has dealt with */
	bool was_up[QP_NIC_MAX_PORTS];   /* once, so that something may be mapped */
	void (*map)(uint16_t port_id);   /* asks the driver; a test has its own */
	void (*anew)(const char *name);  /* lets go of the port and attaches it again */
	uint32_t open[QP_NIC_MAX_PORTS] __attribute__((aligned(64))); /* epoch at which it may be used */
	struct {
		uint32_t active;
		uint32_t stopped[QP_NIC_MAX_PORTS]; /* epoch that it has seen and does not use the port for */
	} __attribute__((aligned(64))) worker[QP_MAX_WORKERS];
};

/* Main thread, before the workers run: maps what is up. */
void qp_port_links_init(struct qp_port_links *l, const struct qp_nic *nic, uint32_t nworkers);
/* Main thread, again and again, QP_PORT_LINKS_MS apart at most. Blocks while a driver asks the port owner. */
#define QP_PORT_LINKS_MS 20u
void qp_port_links_turn(struct qp_port_links *l);

/* A worker, on its lcore: before its first use, and after its last. */
void qp_port_link_join(struct qp_port_links *l, uint32_t worker);
void qp_port_link_leave(struct qp_port_links *l, uint32_t worker);

/* Of the worker that calls, each turn for each port, not in the middle of a burst. */
static inline bool
qp_port_link_usable(struct qp_port_links *l, uint32_t worker, uint32_t port)
{
	/* Pairs with the port owner's release. */
	const uint32_t epoch = __atomic_load_n(&l->nic->port[port].link_epoch, __ATOMIC_ACQUIRE);

	/* Pairs with the main thread's release: what it has mapped is seen. */
	if (__builtin_expect(epoch == __atomic_load_n(&l->open[port], __ATOMIC_ACQUIRE), 1))
		return true;
	/* Pairs with the main thread's acquire: all use of the port lies before. */
	__atomic_store_n(&l->worker[worker].stopped[port], epoch, __ATOMIC_RELEASE);
	return false;
}

#endif
