/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP segmentation in software, for TAP devices of kernels that cannot
 * (before Linux 6.2), so that the layers above send super-segments everywhere.
 * Payload is gathered from where it lies; only headers are copied. Runs on a
 * worker's lcore.
 */
#include "dataplane/port_uso.h"

#include <errno.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_udp.h>
#include <sys/uio.h>

#include "dataplane/port_vnet.h"

#define USO_HEADER_BYTES 128u /* Ethernet with a tag, IPv4 with options, UDP: 86 */
#define USO_IOVECS       64u

/* Where in a chain the next packet's payload starts. */
struct cursor {
	const struct rte_mbuf *seg;
	uint32_t off;
};

/* Points iovecs at the next `len` payload bytes; how many iovecs, 0 when they do not suffice. */
static unsigned
gather(struct cursor *c, uint32_t len, struct iovec *iov, unsigned max)
{
	unsigned n = 0;

	while (len > 0) {
		uint32_t take = RTE_MIN(len, c->seg->data_len - c->off);

		if (take > 0) {
			if (n == max)
				return 0;
			iov[n].iov_base = rte_pktmbuf_mtod_offset(c->seg, void *, c->off);
			iov[n++].iov_len = take;
			c->off += take;
			len -= take;
		}
		if (c->off == c->seg->data_len && c->seg->next != NULL) {
			c->seg = c->seg->next;
			c->off = 0;
		}
	}
	return n;
}

/* Makes the super-segment's headers those of its packet number `index`. */
static void
fix_headers(uint8_t *hdr, const struct rte_mbuf *m, uint32_t payload, uint16_t index)
{
	struct rte_udp_hdr *udp = (struct rte_udp_hdr *)(hdr + m->l2_len + m->l3_len);
	const uint16_t udp_len_be = rte_cpu_to_be_16((uint16_t)(sizeof(*udp) + payload));
	uint32_t sum = (uint32_t)udp->dgram_cksum + udp_len_be;

	/* DPDK left the length out of the pseudo-header's sum. */
	udp->dgram_cksum = (uint16_t)((sum & 0xffff) + (sum >> 16));
	udp->dgram_len = udp_len_be;
	if (m->ol_flags & RTE_MBUF_F_TX_IPV6) {
		struct rte_ipv6_hdr *ip6 = (struct rte_ipv6_hdr *)(hdr + m->l2_len);
		const uint16_t ext = (uint16_t)(m->l3_len - sizeof(*ip6));

		ip6->payload_len =
			rte_cpu_to_be_16((uint16_t)(ext + sizeof(*udp) + payload));
	} else {
		struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)(hdr + m->l2_len);

		ip->total_length =
			rte_cpu_to_be_16((uint16_t)(m->l3_len + sizeof(*udp) + payload));
		ip->packet_id =
			rte_cpu_to_be_16((uint16_t)(rte_be_to_cpu_16(ip->packet_id) + index));
		ip->hdr_checksum = 0;
		ip->hdr_checksum = rte_ipv4_cksum(ip);
	}
}

int
qp_uso_write(int fd, const struct rte_mbuf *m)
{
	const uint32_t hdr_len = (uint32_t)(m->l2_len + m->l3_len + sizeof(struct rte_udp_hdr));
	struct cursor at = {m, hdr_len};
	uint8_t hdr[USO_HEADER_BYTES];
	struct virtio_net_hdr vnet = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.hdr_len = (uint16_t)hdr_len,
		.csum_start = (uint16_t)(m->l2_len + m->l3_len),
		.csum_offset = offsetof(struct rte_udp_hdr, dgram_cksum),
	};
	struct iovec iov[2 + USO_IOVECS] = {{&vnet, sizeof(vnet)}, {hdr, hdr_len}};
	uint16_t index = 0;

	if (hdr_len > sizeof(hdr) || hdr_len > m->data_len || m->tso_segsz == 0)
		return EINVAL;
	for (uint32_t left = m->pkt_len - hdr_len; left > 0; index++) {
		uint32_t payload = RTE_MIN(left, (uint32_t)m->tso_segsz);
		unsigned n = gather(&at, payload, iov + 2, USO_IOVECS);

		if (n == 0)
			return EMSGSIZE;
		memcpy(hdr, rte_pktmbuf_mtod(m, void *), hdr_len);
		fix_headers(hdr, m, payload, index);
		if (writev(fd, iov, (int)(2 + n)) < 0)
			return errno;
		left -= payload;
	}
	return 0;
}
