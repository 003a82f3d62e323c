/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_NIC_H
#define QP_COMMON_NIC_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Nic mode's common ground: what port owner, control plane and data planes have
 * to agree on about dedicated ports. One block in hugepage memory, at the same
 * address in all of them: the zone QP_NIC_ZONE, which the port owner makes when
 * it has ports. It outlives data planes and control planes.
 *
 * Each field has one writer, named beside it. Readers on the packet path only
 * read lines that change with configuration, tunnels and generations, never with
 * packets: no line that a lcore writes for each packet is here. Fields of 32
 * bits are stored and loaded whole (relaxed, unless said otherwise).
 */
#define QP_NIC_ZONE       "qp_nic" /* by name: qp_owner_link's FIND, or rte_memzone_lookup */
#define QP_NIC_MAGIC      0x51504e43u /* "QPNC" */
#define QP_NIC_VERSION    1u          /* a control plane or data plane with another one refuses nic mode */
#define QP_NIC_MAX_PORTS  8u
#define QP_NIC_MAX_QUEUES 16u
#define QP_NIC_MAX_GENS   4u          /* transmit slots: generations that coexist */
#define QP_NIC_MAX_ADDRS  16u
#define QP_NIC_MAX_ROUTES 64u
#define QP_NIC_HANDOFF    512u        /* slots of a hand-off ring; one stays free */

/*
 * The interface number of a port towards TCP, UDP, QUIC and the control plane,
 * as a kernel's ifindex is in host mode; and in the marks of frames
 * (common/classifier.h), which the port puts on what it receives and reads from
 * what it is to send. Beyond what stands for lo.
 */
#define QP_NIC_IFINDEX(port) (0x100u + (port))

/* Writer: the port owner, before it says that it is ready; link_mbps and link_epoch also later. */
struct qp_nic_port {
	char name[64];         /* DPDK's: a PCI address or a vdev's name */
	char driver[32];
	uint16_t port_id;      /* the same in all processes */
	uint16_t nrx, ntx;     /* queues; who sends by which: qp_nic_tx_queue */
	uint16_t mtu;          /* IP bytes of a packet, VLAN tag not counted */
	uint8_t mac[6];
	int16_t socket;        /* NUMA node, -1: unknown */
	uint32_t rx_burst, tx_burst;
	uint64_t rx_offloads, tx_offloads; /* RTE_ETH_*_OFFLOAD_* that are on */
	uint32_t max_frame_bytes;          /* largest frame that the device cuts itself; 0: it cuts nothing */
	uint32_t link_mbps;                /* 0: the link is down; UINT32_MAX: up, at an unknown speed */
	uint16_t nslots;                   /* generations that can send at once, 1 … QP_NIC_MAX_GENS */
	uint16_t shares_memory;            /* 1: with its peer, and each process maps it for itself (memif) */
	/*
	 * Counts the link's changes; written (release) after link_mbps. What a peer
	 * shares with us may be another's after each: dataplane/nic/port_link.h.
	 */
	uint32_t link_epoch;
};

/* Which generation polls a receive queue. A line of its own: it is read each turn. */
struct qp_nic_queue {
	/*
	 * server_id of the generation that polls it now; 0: nobody. A data plane
	 * puts its own in place of 0 when `holder` names it (compare and exchange,
	 * acquire: the holder may have changed since it looked), and 0 when
	 * `holder` names another one (release). For one that died the control plane
	 * stores 0 after it has seen it dead.
	 */
	uint32_t polled_by;
	uint32_t pad[15];
} __attribute__((aligned(64)));

/*
 * A generation, for those that hand packets to it. Writer: the control plane,
 * before it sends the generation's workers their CONFIG: a worker finds its
 * transmit slot here. The rings' place is told by the generation's shared block
 * (struct qp_gen_shared, handoff_at).
 *
 * Its end: handoff becomes 0 first, and server_id when its memory is freed, since
 * until then its slot is nobody else's. A worker looks here at the beginning of a
 * turn and may use what it saw until the turn's end. So the generation's memory is
 * freed only when each worker of the others has begun a turn since: its door's
 * heartbeat_ns (common/ipc.h) is later, or its process is dead.
 */
struct qp_nic_gen {
	uint32_t server_id;    /* 0: free; written last (release) */
	uint32_t nworkers;
	/*
	 * Its inbound hand-off rings (dataplane/nic/handoff.h), single producer, single
	 * consumer: for the producer with transmit slot s and worker number i, and own
	 * worker j, the ring at handoff + ((s * QP_NIC_MAX_QUEUES + i) * nworkers + j) *
	 * handoff_bytes. So no two generations ever fill the same ring, and one that has
	 * given the receive queues away can hand over the rest of what it took from them.
	 */
	uint64_t handoff;      /* address; 0: it has none (any more) */
	uint32_t handoff_bytes;
	uint32_t slot;         /* its transmit slot: the index of this entry */
};

/* v4-mapped everywhere, prefixes in bits of that form. */
struct qp_nic_addr {
	struct in6_addr addr;
	uint8_t prefix;
	uint8_t port;          /* index in `port` */
	uint8_t pad[6];
};

struct qp_nic_route {
	struct in6_addr dest;
	struct in6_addr via;   /* all zero: on the link */
	uint8_t prefix;
	uint8_t port;
	uint8_t pad[6];
};

/* Per port. */
struct qp_nic_link {
	uint16_t vlan;         /* 802.1Q id, 0: untagged */
	uint16_t mtu;          /* of IP packets, at most the port's */
	uint8_t accept_ra;     /* 1: routers' advertisements give the IPv6 default route */
	uint8_t pad[3];
};

/* Addresses and routes. Writer: the control plane; readers take `seq` before and after (odd: being written). */
struct qp_nic_net {
	uint32_t seq;
	uint32_t naddrs, nroutes, nlinks;
	struct qp_nic_link link[QP_NIC_MAX_PORTS];
	struct qp_nic_addr addr[QP_NIC_MAX_ADDRS];
	struct qp_nic_route route[QP_NIC_MAX_ROUTES]; /* longest prefix first */
};

/*
 * Sources that are kept out, networks of any length: common/nic_block.h reads and
 * writes it. Writer: the control plane.
 */
#define QP_NIC_MAX_BLOCKED   65536u  /* as in host mode (QP_CLS_MAX_BLOCKED) */
#define QP_NIC_BLOCKED_SLOTS 131072u

struct qp_nic_blocked_slot {
	uint32_t addr[4];      /* as in memory; host bits are 0 */
	uint32_t bits;         /* 1 + the prefix's, of the v4-mapped form; 0: free */
};

struct qp_nic_blocked {
	uint32_t seq;          /* odd: being written */
	uint32_t n;            /* 0: nobody is kept out */
	uint64_t lengths[3];   /* bit N: there are networks of N bits */
	uint32_t count[129];   /* how many of each; the writer's own */
	uint32_t pad[3];
	struct qp_nic_blocked_slot slot[QP_NIC_BLOCKED_SLOTS];
};

/*
 * Whose a forwarded port is: server_id << 8 | worker, 0: nobody's. The top byte:
 * 1 + the index of the only address that it answers on, 0: every address.
 */
#define QP_NIC_OWNER(server_id, worker) ((uint32_t)(server_id) << 8 | (uint32_t)(worker))
#define QP_NIC_OWNER_SERVER(owner)      ((owner) >> 8 & 0xffffu)
#define QP_NIC_OWNER_WORKER(owner)      ((owner) & 0xffu)
#define QP_NIC_OWNER_ADDR(owner)        ((owner) >> 24)

enum { QP_NIC_TCP = 0, QP_NIC_UDP = 1, QP_NIC_NPROTOCOLS };

struct qp_nic {
	/* Port owner. */
	uint32_t magic, version;
	/*
	 * nqueues: how many workers a generation may have, each with transmit queues
	 * of its own on each port. Receive queue q of a port is worker q % nworkers's.
	 */
	uint32_t nports, nqueues;
	uint32_t rx_ops;                      /* of the pools to receive into: dataplane/nic/rx_pool.h */
	int32_t rx_mark;
	struct qp_nic_port port[QP_NIC_MAX_PORTS];
	struct qp_nic_queue queue[QP_NIC_MAX_PORTS][QP_NIC_MAX_QUEUES];
	/* Port owner: the address of the mempool that a port's queues of a worker receive into; 0: none. */
	uint64_t rx_pool[QP_NIC_MAX_PORTS][QP_NIC_MAX_QUEUES];
	/* Control plane. */
	uint32_t holder __attribute__((aligned(64))); /* server_id whose workers are to poll; takes new clients */
	uint32_t holder_workers;
	uint16_t quic_port, public_port;      /* host order; public_port 0: none */
	struct in6_addr quic_addr;            /* all zero: each of its addresses */
	struct qp_nic_gen gen[QP_NIC_MAX_GENS] __attribute__((aligned(64)));
	struct qp_nic_net net __attribute__((aligned(64)));
	uint32_t owner[QP_NIC_NPROTOCOLS][65536] __attribute__((aligned(64))); /* by port, host order */
	struct qp_nic_blocked blocked __attribute__((aligned(64)));
};

_Static_assert(sizeof(struct qp_nic_queue) == 64 && offsetof(struct qp_nic, queue) % 64 == 0,
	"what changes when a queue changes hands is in no line that workers read for each packet");
_Static_assert(offsetof(struct qp_nic, holder) % 64 == 0 && offsetof(struct qp_nic, gen) % 64 == 0 &&
		offsetof(struct qp_nic, net) % 64 == 0 && offsetof(struct qp_nic, owner) % 64 == 0 &&
		offsetof(struct qp_nic, blocked) % 64 == 0,
	"what one writer changes often is in no line of what another one changes");

/* By which queue of a port a worker sends: no other worker's, of no other generation's. worker < nqueues. */
static inline uint16_t
qp_nic_tx_queue(const struct qp_nic_port *port, uint32_t slot, uint32_t worker)
{
	return (uint16_t)(slot * (port->ntx / port->nslots) + worker);
}

#endif
