/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_NIC_PORT_SETUP_H
#define QP_DATAPLANE_NIC_PORT_SETUP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/nic.h"

struct rte_mempool;

/*
 * Opens, configures and starts an ethdev port by what the device says that it
 * can, never by its driver's name. For the EAL primary that owns the port: the
 * port owner, a load generator, a test. Its main thread.
 */

/* Longest text of a port: "PCI-ADDRESS[,ARGS]" or "net_DRIVERn[,ARGS]". */
#define QP_PORT_DEVARGS_BYTES 256u

/* Of each queue, as far as the device has so many. */
#define QP_PORT_DESCRIPTORS 1024u

struct qp_port_want {
	const char *devargs;
	uint16_t workers; /* at most, that send and receive at once; fewer when the device has fewer queues */
	uint16_t slots; /* sets of transmit queues, one queue a worker, at most: generations that coexist */
	uint16_t mtu;   /* IP bytes of a packet; 0: what the device has by itself */
	bool vlan;      /* packets have a tag, which the device takes off and puts on if it can */
	/*
	 * A pool for the receive queues of worker number `worker`, with buffers of `data_room`
	 * bytes (headroom included) and at least `min` of them, on the NUMA node
	 * `socket` (or SOCKET_ID_ANY). NULL: `msg` says why.
	 */
	struct rte_mempool *(*pool)(void *ctx, uint16_t worker, int socket, uint32_t min,
		uint16_t data_room, struct qp_errmsg *msg);
	void *ctx;
};

/*
 * Whether the text can be one of a port: its form alone, no device is looked for.
 * `*pci`: it is an address on the PCI bus. QP_E_INVAL.
 */
int qp_port_devargs_check(const char *devargs, bool *pci, struct qp_errmsg *msg);
/* The name that DPDK gives the port: without arguments, PCI's with its domain. */
void qp_port_devargs_name(const char *devargs, char name[64]);

/*
 * Opens the port and fills `out`; out->ntx / out->nslots is how many workers it serves. A PCI device has to be on the list that EAL
 * started with (-a). QP_E_NOTFOUND: no such device or driver; QP_E_INVAL: the
 * device cannot do what is wanted; QP_E_NOMEM; QP_E_IO.
 */
int qp_port_setup_open(const struct qp_port_want *want, struct qp_nic_port *out,
	struct qp_errmsg *msg);
/* Stops and removes it. Nobody polls it any more. */
void qp_port_setup_close(uint16_t port_id);

/* Megabits a second; 0: down, UINT32_MAX: up, at an unknown speed. Does not wait. */
uint32_t qp_port_setup_link(uint16_t port_id);

#endif
