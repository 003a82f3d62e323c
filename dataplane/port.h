/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_PORT_H
#define QP_DATAPLANE_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/classifier.h"
#include "common/error.h"

struct qp_port_links;
struct rte_mbuf;
struct rte_mempool;

/*
 * What a worker sends and receives through: a host port (a TAP device with vnet
 * headers), or a nic port (dataplane/nic/nic_port.h), which has one queue pair of each
 * ethdev for it, itself such a port. All speak DPDK's mbuf terms.
 * Owner: one lcore. Life: the generation's. Lock: none.
 *
 * Received mbufs: data starts at the Ethernet header; RTE_MBUF_F_RX_IP_CKSUM_*
 * and RTE_MBUF_F_RX_L4_CKSUM_* say what the port verified; a super-segment
 * (TCP, or UDP as with UDP_GRO) has RTE_MBUF_F_RX_LRO and tso_segsz, the
 * payload bytes of each wire packet. It may be a chain of segments; a UDP
 * datagram inside may straddle them.
 *
 * Sent mbufs: RTE_MBUF_F_TX_{IPV4,IPV6,IP_CKSUM,TCP_CKSUM,UDP_CKSUM,TCP_SEG,
 * UDP_SEG}, l2_len, l3_len, l4_len, tso_segsz as for rte_eth_tx_burst with
 * the offloads of `tx_offloads`. The pseudo-header's sum of a super-segment is
 * without its length, TCP or UDP (rte_ipv4_phdr_cksum of DPDK 22.11 leaves it
 * out for TCP only).
 */
struct qp_port_counters {
	uint64_t rx_frames, rx_bytes;  /* super-segments count once; strangers' included */
	uint64_t rx_again, rx_syns, rx_unknown; /* of them, those of the strangers' queues */
	uint64_t tx_frames, tx_bytes;
	uint64_t rx_nombuf;            /* nothing to receive into */
	uint64_t rx_errors;            /* truncated or malformed by the device */
	uint64_t tx_dropped;           /* the device refused (queue full, down) */
	uint64_t polls, empty_polls;
};

struct qp_port {
	const struct qp_port_ops *ops;
	uint64_t tx_offloads;      /* RTE_ETH_TX_OFFLOAD_* that work on this port */
	uint32_t max_frame_bytes;  /* largest frame to give to tx, super-segments included */
	uint16_t mtu;              /* IP bytes a wire packet; host port: see common/classifier.h */
	uint8_t mac[6];            /* the port's own address */
	/*
	 * Of each queue (enum qp_cls_queue): readable when frames wait. -1 for the
	 * first: the port must be polled; for others: there is no such queue, unless
	 * `strangers` says that there are all, which are polled as well.
	 */
	int wake_fd[QP_CLS_NQUEUES];
	bool strangers;
	/* Frames that tx has taken and the device has no room for yet: the next rx or tx sends them, with none, too. */
	unsigned waiting;
	uint32_t ifindex;          /* host port: the TAP's index in the kernel; nic port: its first port's; else 0 */
	struct qp_port_counters counters;
};

struct qp_port_ops {
	uint16_t (*rx)(struct qp_port *p, enum qp_cls_queue queue, struct rte_mbuf **frames,
		uint16_t n);
	uint16_t (*tx)(struct qp_port *p, struct rte_mbuf **frames, uint16_t n);
	void (*close)(struct qp_port *p);
	/*
	 * Of a port that must be polled; NULL: nothing needs to be done. Before the lcore sleeps
	 * for a moment, false when it must not: something waits; and after it.
	 */
	bool (*nap_begin)(struct qp_port *p);
	void (*nap_end)(struct qp_port *p);
};

/* Up to `n` frames, which the caller then owns. Never blocks. */
static inline uint16_t
qp_port_rx(struct qp_port *p, struct rte_mbuf **frames, uint16_t n)
{
	return p->ops->rx(p, QP_CLS_QUEUE_FLOWS, frames, n);
}

/*
 * The like for packets that ask for something new, which a host port queues
 * apart, and a nic port too. How many to take when is the worker's to decide. Nothing
 * comes from a queue that is not there: then qp_port_rx has all.
 */
static inline uint16_t
qp_port_rx_strangers(struct qp_port *p, enum qp_cls_queue queue, struct rte_mbuf **frames,
	uint16_t n)
{
	return p->wake_fd[queue] < 0 && !p->strangers ? 0 : p->ops->rx(p, queue, frames, n);
}

/*
 * Consumes the first r frames (r is returned): sent, or dropped and counted
 * when the device cannot take them at all. r < n: the port is full for now.
 */
static inline uint16_t
qp_port_tx(struct qp_port *p, struct rte_mbuf **frames, uint16_t n)
{
	return p->ops->tx(p, frames, n);
}

/* NULL is allowed. */
void qp_port_close(struct qp_port *p);

struct qp_host_port_config {
	const char *name;            /* interface name, at most 15 characters */
	struct rte_mempool *rx_pool; /* plain mbufs; borrowed for the port's life */
	uint16_t mtu;                /* of the TAP, 1280 … 65535 */
};

/*
 * Makes a TAP device in the current network namespace and brings it up. It
 * disappears with the process. Needs CAP_NET_ADMIN and /dev/net/tun. All
 * offloads above are on; on kernels before 6.2, which cannot, the port itself
 * cuts UDP super-segments; on those that cannot tell strangers apart, qp_port_rx has all.
 */
int qp_host_port_open(const struct qp_host_port_config *cfg, struct qp_port **out,
	struct qp_errmsg *msg);

/* A worker's queues of an ethdev that the port owner configured and started. */
struct qp_eth_port_config {
	uint16_t port_id;
	uint16_t rx_queue;        /* that qp_port_rx polls; qp_eth_port_rx takes any */
	uint16_t tx_queue;        /* no other worker's (qp_nic_tx_queue) */
	uint16_t mtu;             /* IP bytes of a wire packet */
	uint64_t tx_offloads;     /* that the device was configured with (struct qp_nic_port) */
	struct rte_mempool *pool; /* for pieces of what the device does not cut; borrowed for the port's life */
	/*
	 * NULL, or where to look whether the port may be used now: of the port that is
	 * number `port` in nic mode, by worker `worker`. While it may not be, nothing
	 * comes, and what is to be sent is dropped and counted.
	 */
	struct qp_port_links *links;
	uint32_t port, worker;
};

/*
 * The port does all offloads, in software where the device does not: pieces of a
 * super-segment that found no room are sent by the next calls of rx or tx.
 */
int qp_eth_port_open(const struct qp_eth_port_config *cfg, struct qp_port **out,
	struct qp_errmsg *msg);
/* Of an ethdev port: up to `n` frames of any receive queue that is the worker's. */
uint16_t qp_eth_port_rx(
	struct qp_port *p, uint16_t rx_queue, struct rte_mbuf **frames, uint16_t n);
/* Of an ethdev's queue, each way; 0: the device does not tell. Any thread. */
void qp_eth_port_descriptors(uint16_t port_id, uint32_t *rx, uint32_t *tx);

#endif
