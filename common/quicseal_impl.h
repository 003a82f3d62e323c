/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_QUICSEAL_IMPL_H
#define QP_COMMON_QUICSEAL_IMPL_H

#include <stdbool.h>

#include "common/quicseal.h"

/* What quicseal.c and quicseal_tls.c share. */

/* Whether the connection's 1-RTT packets are ours to protect: QUIC 1 with an AES-GCM suite. */
bool qp_seal_serves(ngtcp2_conn *conn);

#endif
