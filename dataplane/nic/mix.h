/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_NIC_MIX_H
#define QP_DATAPLANE_NIC_MIX_H

#include "dataplane/nic/parse.h"

/* Hashes of conversations, as the classifier has them. Not secret without a seed. */

static inline uint32_t
qp_mix(uint32_t h, uint32_t word)
{
	h ^= word;
	h *= 0x9e3779b1; /* 2^32 / golden ratio */
	return h ^ (h >> 15);
}

static inline uint32_t
qp_mix_addr(uint32_t h, const struct qp_ipaddr *a)
{
	h = qp_mix(h, a->w[0]);
	h = qp_mix(h, a->w[1]);
	h = qp_mix(h, a->w[2]);
	return qp_mix(h, a->w[3]);
}

/* Only the other end counts: what comes again, and an ICMP error about it, lead to the same place. */
static inline uint32_t
qp_mix_remote(uint32_t h, const struct qp_steer_flow *f)
{
	return qp_mix(qp_mix_addr(h, &f->remote), f->rport_be);
}

#endif
