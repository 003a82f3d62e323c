/* SPDX-License-Identifier: Apache-2.0 */
/* A port's MTU, and the buffers that its frames are received into. Main thread. */
#include <stdio.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_mbuf.h>

#include "dataplane/nic/port_setup_internal.h"

/* A frame's bytes beside its IP packet: Ethernet header and a tag; the check sum is the device's. */
#define FRAME_OVERHEAD 18u
/* virtio wants room for a header of its own, too, wherever it puts it. */
#define DRIVER_OVERHEAD 12u
#define MEMIF_BUFFER 2048u /* by itself */

/*
 * net_memif's buffers are its arguments' to size, and DPDK 22.11's mixes frames up
 * once one has needed two of them.
 */
const char *
qp_setup_devargs(const struct qp_setup *s, char text[QP_PORT_DEVARGS_BYTES + 16])
{
	const char *devargs = s->want->devargs;

	if (strncmp(devargs, "net_memif", strlen("net_memif")) != 0 ||
		strstr(devargs, ",bsize=") != NULL || s->want->mtu + FRAME_OVERHEAD <= MEMIF_BUFFER)
		return devargs;
	snprintf(text, QP_PORT_DEVARGS_BYTES + 16, "%s,bsize=%u", devargs,
		(unsigned)RTE_ALIGN_CEIL(s->want->mtu + FRAME_OVERHEAD, 256u));
	return text;
}

static uint32_t
wanted_mtu(const struct qp_setup *s)
{
	return s->want->mtu != 0 ? s->want->mtu : RTE_ETHER_MTU;
}

/* Bytes that a frame of that MTU has in buffers. */
uint32_t
qp_setup_frame_bytes(const struct qp_setup *s)
{
	return wanted_mtu(s) + FRAME_OVERHEAD + DRIVER_OVERHEAD;
}

/* What the device says that it can. */
uint16_t
qp_setup_largest_mtu(const struct qp_setup *s)
{
	const uint32_t overhead = RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN;
	uint32_t mtu = s->info.max_mtu != 0 ? s->info.max_mtu : UINT16_MAX;

	if (s->info.max_rx_pktlen > overhead)
		mtu = RTE_MIN(mtu, s->info.max_rx_pktlen - overhead);
	return (uint16_t)mtu;
}

/* A device that knows no MTU carries what it is given: then this is the most that it checks. */
uint16_t
qp_setup_mtu_to_configure(const struct qp_setup *s)
{
	const uint16_t min = RTE_MAX(s->info.min_mtu, (uint16_t)RTE_ETHER_MIN_MTU);
	const uint16_t most = RTE_MAX(qp_setup_largest_mtu(s), min);

	return (uint16_t)RTE_MIN(wanted_mtu(s), (uint32_t)most);
}

int
qp_setup_mtu(const struct qp_setup *s, struct qp_errmsg *msg)
{
	const uint16_t mtu = s->want->mtu != 0 ? s->want->mtu : s->conf.rxmode.mtu;
	int rc = rte_eth_dev_set_mtu(s->id, mtu);

	if (rc == 0 || rc == -ENOTSUP || s->want->mtu == 0)
		return 0;
	return qp_fail(msg, QP_E_INVAL, "--mtu %u: port %s takes %u to %u", mtu, s->name,
		s->info.min_mtu, qp_setup_largest_mtu(s));
}

/* Of the pool's buffers: a whole frame in each where the device cannot chain them. */
static uint16_t
data_room(const struct qp_setup *s)
{
	uint32_t room = RTE_MAX((uint32_t)RTE_MBUF_DEFAULT_DATAROOM, s->info.min_rx_bufsize);

	if (s->has_mtu && (s->conf.rxmode.offloads & RTE_ETH_RX_OFFLOAD_SCATTER) == 0)
		room = RTE_MAX(room, qp_setup_frame_bytes(s));
	return (uint16_t)RTE_MIN(room + RTE_PKTMBUF_HEADROOM, (uint32_t)UINT16_MAX);
}

/* For each worker: what all its receive queues hold, and as much on its way. */
int
qp_setup_pools(struct qp_setup *s, struct qp_errmsg *msg)
{
	const int node = rte_eth_dev_socket_id(s->id);
	const uint32_t queues = (uint32_t)(s->nrx + s->workers - 1) / s->workers;

	for (uint16_t w = 0; w < RTE_MIN(s->workers, s->nrx); w++) {
		s->pool[w] = s->want->pool(s->want->ctx, w, node, 2 * queues * s->nrxd,
			data_room(s), msg);
		if (s->pool[w] == NULL)
			return QP_E_NOMEM;
	}
	return 0;
}
