/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio-net header ⇄ mbuf flags, both ways, and the two places where Linux
 * and DPDK mean different things by the same words. Runs on a worker's lcore
 * for each frame of a host port; the port itself does the input and output.
 */
#include "dataplane/port_vnet.h"

#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#define TX_GSO (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)

void
qp_vnet_to_mbuf(const struct virtio_net_hdr *h, struct rte_mbuf *m)
{
	uint64_t flags = 0;

	/*
	 * NEEDS_CSUM: the sender is on this host (or the kernel aggregated packets
	 * that it had verified), and the field holds the pseudo-header's sum only.
	 * Neither flag speaks of the IPv4 header, so its state stays unknown.
	 */
	if (h->flags & (VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID))
		flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;

	switch (h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
	case VIRTIO_NET_HDR_GSO_TCPV6:
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		flags |= RTE_MBUF_F_RX_LRO;
		m->tso_segsz = h->gso_size;
		break;
	default:
		m->tso_segsz = 0;
		break;
	}
	m->ol_flags |= flags;
}

static uint16_t
sum16(uint16_t a, uint16_t b)
{
	uint32_t sum = (uint32_t)a + b;

	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

static void
fill_ipv4_cksum(struct rte_mbuf *m)
{
	struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(m, struct rte_ipv4_hdr *, m->l2_len);

	ip->hdr_checksum = 0;
	ip->hdr_checksum = rte_ipv4_cksum(ip);
}

/* The transport header's length and the checksum's place in it; 0 when there is none to fill. */
static uint16_t
l4_shape(uint64_t flags, uint16_t *cksum_offset)
{
	const uint64_t l4 = flags & RTE_MBUF_F_TX_L4_MASK;

	if (l4 == RTE_MBUF_F_TX_TCP_CKSUM || (flags & RTE_MBUF_F_TX_TCP_SEG)) {
		*cksum_offset = offsetof(struct rte_tcp_hdr, cksum);
		return sizeof(struct rte_tcp_hdr);
	}
	if (l4 == RTE_MBUF_F_TX_UDP_CKSUM || (flags & RTE_MBUF_F_TX_UDP_SEG)) {
		*cksum_offset = offsetof(struct rte_udp_hdr, dgram_cksum);
		return sizeof(struct rte_udp_hdr);
	}
	*cksum_offset = 0;
	return 0;
}

/* DPDK leaves the length out of a super-segment's pseudo-header, Linux wants it in. */
static void
add_length_to_cksum(struct rte_mbuf *m, uint16_t l4_off, uint16_t cksum_offset)
{
	uint16_t *cksum = rte_pktmbuf_mtod_offset(m, uint16_t *, l4_off + cksum_offset);
	uint16_t length_be = rte_cpu_to_be_16((uint16_t)(m->pkt_len - l4_off));

	*cksum = sum16(*cksum, length_be);
}

void
qp_vnet_restore(struct rte_mbuf *m)
{
	const uint16_t l4_off = (uint16_t)(m->l2_len + m->l3_len);
	uint16_t cksum_offset, *cksum;

	if (!(m->ol_flags & TX_GSO))
		return;
	(void)l4_shape(m->ol_flags, &cksum_offset);
	cksum = rte_pktmbuf_mtod_offset(m, uint16_t *, l4_off + cksum_offset);
	/* In one's complement arithmetic, adding the inverse subtracts. */
	*cksum = sum16(*cksum, (uint16_t)~rte_cpu_to_be_16((uint16_t)(m->pkt_len - l4_off)));
}

static uint8_t
gso_type(const struct rte_mbuf *m)
{
	const struct rte_tcp_hdr *tcp;
	uint8_t ecn = 0;

	if (m->ol_flags & RTE_MBUF_F_TX_UDP_SEG)
		return VIRTIO_NET_HDR_GSO_UDP_L4;
	tcp = rte_pktmbuf_mtod_offset(m, const struct rte_tcp_hdr *, m->l2_len + m->l3_len);
	/* CWR is for the first segment alone: whoever cuts the frame must know (RFC 3168, 6.1.2). */
	if (tcp->tcp_flags & RTE_TCP_CWR_FLAG)
		ecn = VIRTIO_NET_HDR_GSO_ECN;
	return ecn | (m->ol_flags & RTE_MBUF_F_TX_IPV6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4);
}

int
qp_vnet_from_mbuf(struct rte_mbuf *m, struct virtio_net_hdr *h)
{
	const uint64_t flags = m->ol_flags;
	const uint16_t l4_off = (uint16_t)(m->l2_len + m->l3_len);
	uint16_t cksum_offset, l4_len = l4_shape(flags, &cksum_offset), hdr_len = l4_off;

	*h = (struct virtio_net_hdr) {.gso_type = VIRTIO_NET_HDR_GSO_NONE};
	if (l4_len != 0)
		hdr_len = (uint16_t)(l4_off + RTE_MAX(l4_len, (uint16_t)m->l4_len));
	if (hdr_len > m->data_len || m->pkt_len - l4_off > UINT16_MAX)
		return QP_E_INVAL;
	if ((flags & TX_GSO) && m->tso_segsz == 0)
		return QP_E_INVAL;

	if (flags & RTE_MBUF_F_TX_IP_CKSUM) {
		if (m->l3_len < sizeof(struct rte_ipv4_hdr))
			return QP_E_INVAL;
		fill_ipv4_cksum(m);
	}
	/* Also without offloads: the kernel keeps that much in one piece and the rest in pages. */
	h->hdr_len = hdr_len;
	if (l4_len == 0)
		return 0;

	h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->csum_start = l4_off;
	h->csum_offset = cksum_offset;
	if (flags & TX_GSO) {
		add_length_to_cksum(m, l4_off, cksum_offset);
		/* The kernel refuses a "super-segment" that fits one packet. */
		if (m->pkt_len - hdr_len > m->tso_segsz) {
			h->gso_type = gso_type(m);
			h->gso_size = m->tso_segsz;
		}
	}
	return 0;
}
