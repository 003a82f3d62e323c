/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_NIC_OWNER_PORTS_H
#define QP_DATAPLANE_NIC_OWNER_PORTS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/ipc.h"
#include "common/nic.h"

/*
 * The dedicated ports of a port owner. Main thread; life: from EAL's start to
 * the process's end.
 */

_Static_assert(QP_OWNER_MAX_PORTS == QP_NIC_MAX_PORTS, "ports asked for are ports to have");

/* EAL's arguments for PCI ports: "-a", "ADDRESS[,ARGS]", …; two for each. */
#define QP_OWNER_PCI_ARGS (2 * QP_NIC_MAX_PORTS)
/* Before EAL starts. *n: how many arguments, 0: no PCI. QP_E_INVAL: `msg` names the port. */
int qp_owner_ports_check(const struct qp_owner_ports *want, const char *args[QP_OWNER_PCI_ARGS],
	unsigned *n, struct qp_errmsg *msg);

/* After EAL's start: opens them all, and makes and fills the zone QP_NIC_ZONE. No ports: nothing. */
int qp_owner_ports_open(const struct qp_owner_ports *want, struct qp_errmsg *msg);

/*
 * While they are open: looks at their links, and tells the others of a change.
 * qp_owner_ports_wait: how long poll may sleep before the next look, in
 * milliseconds; -1: for ever.
 */
int qp_owner_ports_wait(void);
void qp_owner_ports_turn(void);

/*
 * A data plane is dead, and the control plane has its entry in qp_nic.gen still:
 * its transmit queues are emptied, and then the mbufs come back that it had
 * received into. `lives` tells of others that such mbufs are marked with. False:
 * a device does not let go of its memory, which must not be freed.
 */
bool qp_owner_ports_release(uint32_t server_id, bool (*lives)(void *ctx, uint32_t server_id), void *ctx);
/* The first part of it. */
bool qp_owner_slots_clean(const struct qp_nic *nic, uint32_t server_id);

/* Hugepage memory that they need, in bytes, before there is any. */
uint64_t qp_owner_ports_bytes(const struct qp_owner_ports *want);

#endif
