/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_PORT_VNET_H
#define QP_DATAPLANE_PORT_VNET_H

#include <linux/virtio_net.h>

#include "common/error.h"

struct rte_mbuf;

/* Since Linux 6.2; Debian 12's headers are older than the kernels that the program meets. */
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

/*
 * Translation between the virtio-net header that the kernel puts before each
 * frame of a TAP (host byte order) and DPDK's mbuf terms. Pure; any thread.
 */

/* Writes ol_flags and tso_segsz of a received frame from its header. */
void qp_vnet_to_mbuf(const struct virtio_net_hdr *h, struct rte_mbuf *m);

/*
 * Writes the header of a frame to send. What the kernel does not do or does
 * otherwise than DPDK's ethdev API is put right in the frame itself: the IPv4
 * header checksum is filled in, and the pseudo-header checksum of a
 * super-segment gets its length. All headers must be in the first mbuf
 * (borrowed; written to). QP_E_INVAL when the lengths contradict each other;
 * the frame is unchanged then.
 */
int qp_vnet_from_mbuf(struct rte_mbuf *m, struct virtio_net_hdr *h);

/* Takes back what qp_vnet_from_mbuf changed in a frame that could not be sent yet. */
void qp_vnet_restore(struct rte_mbuf *m);

#endif
