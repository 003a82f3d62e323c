/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a text to a started port. What the device lacks is left out here and
 * done in software where frames are sent (port_eth.c). Main thread of the EAL
 * primary; whose the pools are and who polls is left to the caller.
 */
#include "dataplane/nic/port_setup.h"

#include <stdio.h>
#include <string.h>

#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include "dataplane/nic/port_setup_internal.h"

static int
find(struct qp_setup *s, struct qp_errmsg *msg)
{
	const char *devargs = s->want->devargs;
	char text[QP_PORT_DEVARGS_BYTES + 16];
	bool pci;
	int rc = qp_port_devargs_check(devargs, &pci, msg);

	if (rc != 0)
		return rc;
	qp_port_devargs_name(devargs, s->name);
	if (rte_eth_dev_get_port_by_name(s->name, &s->id) == 0)
		return 0;
	rc = rte_dev_probe(qp_setup_devargs(s, text));
	if (rc == 0 && rte_eth_dev_get_port_by_name(s->name, &s->id) == 0)
		return 0;
	if (pci)
		return qp_fail(msg, QP_E_NOTFOUND,
			"--port %s: no network device that DPDK can use: is the address right "
			"(lspci -D), and is it bound to vfio-pci (scripts/bind-nic.sh)?",
			devargs);
	return qp_fail(msg, QP_E_NOTFOUND,
		"--port %s: DPDK cannot make the device: wrong driver, or wrong arguments? The "
		"driver's reason is in the log",
		devargs);
}

static int
configure(struct qp_setup *s, struct qp_errmsg *msg)
{
	int rc = rte_eth_dev_info_get(s->id, &s->info);

	if (rc != 0)
		return qp_fail(msg, QP_E_IO, "--port %s: the device tells nothing of itself: %s",
			s->name, rte_strerror(-rc));
	/* Not configured yet, so that nothing is set: whether it is refused for this or not at all. */
	s->has_mtu = rte_eth_dev_set_mtu(s->id, RTE_ETHER_MTU) != -ENOTSUP;
	qp_setup_limit_descriptors(s);
	qp_setup_choose_queues(s);
	qp_setup_spread(s);
	qp_setup_offloads(s);
	s->conf.rxmode.mtu = qp_setup_mtu_to_configure(s);
	rc = rte_eth_dev_configure(s->id, s->nrx, s->ntx, &s->conf);
	if (rc != 0 && s->nrx != s->ntx) {
		qp_setup_pair_queues(s); /* some know their queues by the pair */
		rc = rte_eth_dev_configure(s->id, s->nrx, s->ntx, &s->conf);
	}
	if (rc != 0 && (s->conf.rxmode.offloads & RTE_ETH_RX_OFFLOAD_TCP_LRO) != 0) {
		/* Some take it only under conditions of their own: segments come one by one then. */
		s->conf.rxmode.offloads &= ~RTE_ETH_RX_OFFLOAD_TCP_LRO;
		s->conf.rxmode.max_lro_pkt_size = 0;
		rc = rte_eth_dev_configure(s->id, s->nrx, s->ntx, &s->conf);
	}
	/* … or say that they have more queues than they get (iavf). */
	while (rc != 0 && qp_setup_fewer_queues(s))
		rc = rte_eth_dev_configure(s->id, s->nrx, s->ntx, &s->conf);
	if (rc != 0)
		return qp_fail(msg, QP_E_INVAL,
			"--port %s: the device does not take %u receive and %u transmit queues: "
			"its driver's reason is in the log",
			s->name, s->nrx, s->ntx);
	return 0;
}

/* IPv6's neighbours speak by multicast. A device that can tell nothing apart gives all anyway. */
static void
accept_multicast(uint16_t id)
{
	if (rte_eth_allmulticast_enable(id) != 0)
		(void)rte_eth_promiscuous_enable(id);
}

static int
start(struct qp_setup *s, struct qp_errmsg *msg)
{
	int rc = rte_eth_dev_start(s->id);

	if (rc != 0)
		return qp_fail(msg, QP_E_IO, "--port %s: it does not start: %s", s->name,
			rte_strerror(-rc));
	accept_multicast(s->id);
	return 0;
}

static void
tell(const struct qp_setup *s, struct qp_nic_port *out)
{
	const uint64_t cuts = RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_UDP_TSO;
	struct rte_ether_addr mac = {{0}};

	(void)rte_eth_macaddr_get(s->id, &mac);
	*out = (struct qp_nic_port) {
		.port_id = s->id,
		.nrx = s->nrx,
		.ntx = s->ntx,
		.mtu = s->want->mtu != 0 ? s->want->mtu : s->conf.rxmode.mtu,
		.socket = (int16_t)rte_eth_dev_socket_id(s->id),
		.rx_burst = s->info.default_rxportconf.burst_size,
		.tx_burst = s->info.default_txportconf.burst_size,
		.rx_offloads = s->conf.rxmode.offloads,
		.tx_offloads = s->conf.txmode.offloads,
		.max_frame_bytes = (s->conf.txmode.offloads & cuts) != 0 ? UINT16_MAX : 0,
		.nslots = s->slots,
		.link_mbps = qp_port_setup_link(s->id),
	};
	snprintf(out->name, sizeof(out->name), "%s", s->name);
	snprintf(out->driver, sizeof(out->driver), "%s", s->info.driver_name);
	memcpy(out->mac, mac.addr_bytes, sizeof(out->mac));
}

int
qp_port_setup_open(const struct qp_port_want *want, struct qp_nic_port *out, struct qp_errmsg *msg)
{
	struct qp_setup s = {.want = want};
	int rc = find(&s, msg);

	if (rc != 0)
		return rc;
	rc = configure(&s, msg);
	if (rc == 0)
		rc = qp_setup_mtu(&s, msg);
	if (rc == 0)
		rc = qp_setup_queues(&s, msg);
	if (rc == 0)
		rc = start(&s, msg);
	if (rc == 0)
		tell(&s, out);
	else
		qp_port_setup_close(s.id);
	return rc;
}

void
qp_port_setup_close(uint16_t port_id)
{
	struct rte_eth_dev_info info;
	const bool known = rte_eth_dev_info_get(port_id, &info) == 0;

	(void)rte_eth_dev_stop(port_id);
	(void)rte_eth_dev_close(port_id);
	if (known && info.device != NULL)
		(void)rte_dev_remove(info.device);
}

uint32_t
qp_port_setup_link(uint16_t port_id)
{
	struct rte_eth_link link;

	if (rte_eth_link_get_nowait(port_id, &link) != 0 || link.link_status == RTE_ETH_LINK_DOWN)
		return 0;
	return link.link_speed == RTE_ETH_SPEED_NUM_NONE ? UINT32_MAX : link.link_speed;
}
