/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_PRIVILEGE_H
#define QP_CONTROLPLANE_PRIVILEGE_H

#include <stdbool.h>

#include "common/error.h"

/*
 * Whether this process may do what a gateway does: as root, or with the
 * capabilities that the list in privilege.c gives reasons for. QP_E_PERM: `msg`
 * names what is missing. Any thread.
 */
int qp_privilege_check(struct qp_errmsg *msg) __attribute__((warn_unused_result));
/* Whether the kernel gives us another process's eBPF maps by their numbers (CAP_SYS_ADMIN). */
bool qp_privilege_sees_maps(void);

#endif
