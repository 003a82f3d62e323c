/* SPDX-License-Identifier: Apache-2.0 */
/* What a port's device is asked to do by itself, of what it says that it can. Main thread. */
#include <string.h>

#include <rte_mbuf.h>

#include "dataplane/nic/port_setup_internal.h"

#define RX_WANTED                                                                                  \
	(RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM |                            \
		RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_LRO)
#define TX_WANTED                                                                                  \
	(RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM |                            \
		RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_TSO |                        \
		RTE_ETH_TX_OFFLOAD_UDP_TSO | RTE_ETH_TX_OFFLOAD_MULTI_SEGS)

/*
 * mlx5 keeps buffers for the largest packet behind each place of a receive ring: with
 * LRO's 64 KiB, 1,024 buffers are room for 32 packets, of any size. It does not say so.
 */
static bool
chains_are_reserved(const struct qp_setup *s)
{
	return s->info.driver_name != NULL && strcmp(s->info.driver_name, "mlx5_pci") == 0;
}

void
qp_setup_offloads(struct qp_setup *s)
{
	const uint32_t room = RTE_MBUF_DEFAULT_BUF_SIZE - RTE_PKTMBUF_HEADROOM;
	uint64_t rx = RX_WANTED, tx = TX_WANTED;

	if (s->want->vlan) {
		rx |= RTE_ETH_RX_OFFLOAD_VLAN_STRIP;
		tx |= RTE_ETH_TX_OFFLOAD_VLAN_INSERT;
	}
	/*
	 * What knows no MTU copies frames anyway, and net_memif of DPDK 22.11 never
	 * takes a chain's mark off its descriptors again: one mbuf a frame.
	 */
	if (!s->has_mtu)
		tx &= ~RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	if (qp_setup_frame_bytes(s) > room || (s->info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_TCP_LRO) != 0)
		rx |= RTE_ETH_RX_OFFLOAD_SCATTER;
	/* What is joined is longer than a buffer: virtio without mergeable ones has no place for it. */
	if ((s->info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER) == 0)
		rx &= ~RTE_ETH_RX_OFFLOAD_TCP_LRO;
	if (chains_are_reserved(s))
		rx &= ~(RTE_ETH_RX_OFFLOAD_TCP_LRO | RTE_ETH_RX_OFFLOAD_SCATTER);
	/* ice without its DDP package cuts, and sums nothing. */
	if ((s->info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_TCP_CKSUM) == 0)
		tx &= ~RTE_ETH_TX_OFFLOAD_TCP_TSO;
	if ((s->info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_UDP_CKSUM) == 0)
		tx &= ~RTE_ETH_TX_OFFLOAD_UDP_TSO;
	s->conf.rxmode.offloads = rx & s->info.rx_offload_capa;
	s->conf.txmode.offloads = tx & s->info.tx_offload_capa;
	if (s->conf.rxmode.offloads & RTE_ETH_RX_OFFLOAD_TCP_LRO)
		s->conf.rxmode.max_lro_pkt_size = s->info.max_lro_pkt_size;
	if (s->info.dev_flags != NULL && (*s->info.dev_flags & RTE_ETH_DEV_INTR_LSC) != 0)
		s->conf.intr_conf.lsc = 1;
}
