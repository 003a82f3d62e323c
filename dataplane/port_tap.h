/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_PORT_TAP_H
#define QP_DATAPLANE_PORT_TAP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/classifier.h"
#include "common/error.h"

/* A TAP device with virtio-net headers, up, silent by itself. */
struct qp_tap {
	/*
	 * By enum qp_cls_queue; non-blocking; the device lives as long as one is
	 * open. The strangers' are -1 when the kernel cannot tell them apart: then
	 * the first has all frames.
	 */
	int fd[QP_CLS_NQUEUES];
	uint32_t ifindex;
	uint8_t mac[6];
	bool uso;         /* the kernel takes and gives UDP super-segments (Linux 6.2) */
};

/*
 * Makes the device `name` in the current network namespace and sets it up.
 * On failure nothing is left.
 */
int qp_tap_open(const char *name, uint16_t mtu, struct qp_tap *tap, struct qp_errmsg *msg);
void qp_tap_close(struct qp_tap *tap);

#endif
