/* SPDX-License-Identifier: Apache-2.0 */
/* The header of requests. Pure. */
#include "bench/request.h"

#include "common/wire.h"

#define MAGIC 0x51504231u

void
qpb_request_put(const struct qpb_request *r, uint8_t out[QPB_REQUEST_BYTES])
{
	qp_put_u32(out, MAGIC);
	qp_put_u32(out + 4, r->flags);
	qp_put_u64(out + 8, r->seed);
	qp_put_u64(out + 16, r->request_bytes);
	qp_put_u64(out + 24, r->answer_bytes);
	qp_put_u64(out + 32, r->stamp);
}

int
qpb_request_get(struct qpb_request *r, const uint8_t in[QPB_REQUEST_BYTES])
{
	if (qp_get_u32(in) != MAGIC)
		return QP_E_PROTO;
	*r = (struct qpb_request) {
		.flags = qp_get_u32(in + 4),
		.seed = qp_get_u64(in + 8),
		.request_bytes = qp_get_u64(in + 16),
		.answer_bytes = qp_get_u64(in + 24),
		.stamp = qp_get_u64(in + 32),
	};
	return r->flags & ~(uint32_t)QPB_ECHO ? QP_E_PROTO : 0;
}
