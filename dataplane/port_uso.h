/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_PORT_USO_H
#define QP_DATAPLANE_PORT_USO_H

struct rte_mbuf;

/*
 * Writes a UDP super-segment (RTE_MBUF_F_TX_UDP_SEG, as for qp_port_tx; all
 * headers in the first mbuf) to a TAP with virtio-net headers as single
 * packets: for kernels before 6.2. Borrows `m` and leaves it unchanged.
 * Returns 0 or the errno value of the write that failed; what was written
 * before it stays sent.
 */
int qp_uso_write(int fd, const struct rte_mbuf *m);

#endif
