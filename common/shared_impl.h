/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_SHARED_IMPL_H
#define QP_COMMON_SHARED_IMPL_H

#include "common/shared.h"

/* What shared.c and shared_3.c share. */

/* qp_gen_shared.layout of the block whose counters these are. */
#define QP_SHARED_LAYOUT_OF_3 0xbfb5f660u

/* They are where qp_worker_door.of_3 is. For the process's life. Any thread. */
const struct qp_shared_name *qp_shared_names_of_3(uint32_t *n);

#endif
