/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_NIC_PORT_VIRTIO_H
#define QP_DATAPLANE_NIC_PORT_VIRTIO_H

#include "common/error.h"

/*
 * What net_virtio_user's arguments mean for a gateway, and its socket. `devargs`: a
 * port's text whose form is right; any other driver's is left alone. Any thread.
 */

/* QP_E_UNSUPPORTED: the other end has to be woken (/dev/vhost-net, vDPA), which no data plane can. */
int qp_port_virtio_check(const char *devargs, struct qp_errmsg *msg);
/* Before the device is made: a server's socket that a dead process has left goes; who is waited for is told. */
void qp_port_virtio_prepare(const char *devargs);

#endif
