/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_PORT_STEER_H
#define QP_DATAPLANE_PORT_STEER_H

/*
 * Makes the kernel put each frame into the queue of a TAP device that the
 * classifier's mark names (common/classifier.h). `tap_fd`: any of the device's
 * queues. 0 or an errno value.
 */
int qp_steer_attach(int tap_fd);

#endif
