/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_DATAPLANE_GOLDEN_H
#define QP_TESTS_DATAPLANE_GOLDEN_H

#include "tests/dataplane/world.h"

/* The authentication that the world's control plane accepts: bytes of the golden vectors. */
void golden_x25519(struct world *w);
void golden_psk(struct world *w);

#endif
