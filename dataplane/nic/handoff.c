/* SPDX-License-Identifier: Apache-2.0 */
/* The hand-off rings' memory. Made by the main thread, before anybody is told where it is. */
#include "dataplane/nic/handoff.h"

#include <string.h>

size_t
qp_handoff_bytes(uint32_t nworkers)
{
	return (size_t)nworkers * (QP_HANDOFF_PRODUCERS * sizeof(struct qp_handoff_ring) +
					  sizeof(struct qp_handoff_door));
}

void
qp_handoff_init(void *at, uint32_t nworkers)
{
	memset(at, 0, qp_handoff_bytes(nworkers));
}
