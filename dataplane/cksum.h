/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_CKSUM_H
#define QP_DATAPLANE_CKSUM_H

#include <stdint.h>

#include "dataplane/ip.h"

/* The Internet checksum (RFC 1071), for ip.c and ip_encap.c; over chains: qp_cksum_chain in ip.h. */

/* A sum of 16-bit words as they lie in memory, not folded. */
uint64_t qp_cksum_bytes(const uint8_t *p, uint32_t len);
/* One's complement sum of a sum's 16-bit words; not inverted. */
uint16_t qp_cksum_fold(uint64_t sum);
/* The pseudo-header's (RFC 9293, 3.1; RFC 8200, 8.1). */
uint16_t qp_cksum_pseudo(const struct qp_flow *f, uint8_t proto, uint32_t l4_len);

#endif
