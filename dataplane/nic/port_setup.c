/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a text to a started port. What the device lacks is left out here and
 * done in software where frames are sent (port_eth.c). Main thread of the EAL
 * primary; whose the pools are and who polls is left to the caller.
 */
#include "dataplane/nic/port_setup.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

/* A frame's bytes beside its IP packet: Ethernet header and a tag; the check sum is the device's. */
#define FRAME_OVERHEAD 18u
#define MEMIF_BUFFER 2048u /* by itself */

#define RX_WANTED                                                                                  \
	(RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM |                            \
		RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_LRO)
#define TX_WANTED                                                                                  \
	(RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM |                            \
		RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_TSO |                        \
		RTE_ETH_TX_OFFLOAD_UDP_TSO | RTE_ETH_TX_OFFLOAD_MULTI_SEGS)
/* By addresses and ports; a fragment has no ports. */
#define RSS_WANTED                                                                                 \
	(RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV4_UDP |                             \
		RTE_ETH_RSS_NONFRAG_IPV6_TCP | RTE_ETH_RSS_NONFRAG_IPV6_UDP |                      \
		RTE_ETH_RSS_IPV6_TCP_EX | RTE_ETH_RSS_IPV6_UDP_EX | RTE_ETH_RSS_FRAG_IPV4 |        \
		RTE_ETH_RSS_FRAG_IPV6)

/* A port on its way. */
struct setup {
	const struct qp_port_want *want;
	char name[RTE_ETH_NAME_MAX_LEN];
	uint16_t id;
	uint16_t workers, slots;
	uint16_t nrx, ntx;
	uint16_t nrxd, ntxd;
	bool has_mtu; /* else the device carries whatever it is given */
	struct rte_mempool *pool[QP_NIC_MAX_QUEUES]; /* by worker */
	struct rte_eth_dev_info info;
	struct rte_eth_conf conf;
};

static bool
is_pci(const char *text, size_t len)
{
	unsigned domain = 0, bus, dev, fn;
	char copy[16];
	int end = -1;

	if (len >= sizeof(copy))
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (sscanf(copy, "%4x:%2x:%2x.%1x%n", &domain, &bus, &dev, &fn, &end) == 4 &&
		end == (int)len)
		return true;
	end = -1;
	return sscanf(copy, "%2x:%2x.%1x%n", &bus, &dev, &fn, &end) == 3 && end == (int)len;
}

/* key=value[,key=value…] */
static bool
are_arguments(const char *text)
{
	while (*text != '\0') {
		size_t len = strcspn(text, ",");
		const char *equals = memchr(text, '=', len);

		if (equals == NULL || equals == text)
			return false;
		text += len;
		if (*text == ',' && *++text == '\0')
			return false;
	}
	return true;
}

int
qp_port_devargs_check(const char *devargs, bool *pci, struct qp_errmsg *msg)
{
	size_t name = strcspn(devargs, ","), len = strlen(devargs);
	bool plain = name > 0;

	for (size_t i = 0; i < name; i++)
		plain = plain && (isalnum((unsigned char)devargs[i]) || strchr("_-:.", devargs[i]));
	for (size_t i = 0; i < len; i++)
		if (!isgraph((unsigned char)devargs[i]))
			return qp_fail(msg, QP_E_INVAL, "--port %s: a port has no blanks in it", devargs);
	if (len >= QP_PORT_DEVARGS_BYTES || name >= RTE_ETH_NAME_MAX_LEN)
		return qp_fail(msg, QP_E_INVAL, "--port %.60s…: longer than %u characters", devargs,
			QP_PORT_DEVARGS_BYTES - 1);
	*pci = is_pci(devargs, name);
	if (!*pci && (!plain || strncmp(devargs, "net_", 4) != 0))
		return qp_fail(msg, QP_E_INVAL,
			"--port %s: expected a PCI address (0000:3b:00.0) or a DPDK device "
			"(net_memif0,role=server,socket=/run/x.sock)",
			devargs);
	if (devargs[name] == ',' && (devargs[name + 1] == '\0' || !are_arguments(devargs + name + 1)))
		return qp_fail(msg, QP_E_INVAL, "--port %s: expected NAME[,KEY=VALUE…]", devargs);
	return 0;
}

void
qp_port_devargs_name(const char *devargs, char name[64])
{
	size_t len = strcspn(devargs, ",");
	const bool shortened = is_pci(devargs, len) && memchr(devargs, '.', len) != NULL &&
			       len <= strlen("00:00.0");

	snprintf(name, 64, "%s%.*s", shortened ? "0000:" : "", (int)len, devargs);
	if (is_pci(devargs, len))
		for (char *c = name; *c != '\0'; c++)
			*c = (char)tolower((unsigned char)*c);
}

/*
 * net_memif's buffers are its arguments' to size, and DPDK 22.11's mixes frames up
 * once one has needed two of them.
 */
static const char *
with_buffers(const struct setup *s, char text[QP_PORT_DEVARGS_BYTES + 16])
{
	const char *devargs = s->want->devargs;

	if (strncmp(devargs, "net_memif", strlen("net_memif")) != 0 ||
		strstr(devargs, ",bsize=") != NULL || s->want->mtu + FRAME_OVERHEAD <= MEMIF_BUFFER)
		return devargs;
	snprintf(text, QP_PORT_DEVARGS_BYTES + 16, "%s,bsize=%u", devargs,
		(unsigned)RTE_ALIGN_CEIL(s->want->mtu + FRAME_OVERHEAD, 256u));
	return text;
}

static int
find(struct setup *s, struct qp_errmsg *msg)
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
	rc = rte_dev_probe(with_buffers(s, text));
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

static uint16_t
at_least_one(uint32_t n)
{
	return n > 0 ? (uint16_t)n : 1;
}

/* As many receive as transmit queues. */
static void
pair_queues(struct setup *s)
{
	const uint32_t most = RTE_MIN((uint32_t)at_least_one(s->info.max_rx_queues), QP_NIC_MAX_QUEUES);

	if (most < s->workers)
		return;
	s->slots = (uint16_t)RTE_MIN((uint32_t)s->slots, most / s->workers);
	s->nrx = s->ntx = (uint16_t)(s->workers * s->slots);
}

/*
 * net_tap hands a descriptor for each queue of either kind to other processes in one
 * message of EAL's, and writes beyond its end when there are more than fit. It does not say so.
 */
static void
limit_descriptors(struct setup *s)
{
	if (s->info.driver_name == NULL || strcmp(s->info.driver_name, "net_tap") != 0)
		return;
	s->info.max_rx_queues = RTE_MIN(s->info.max_rx_queues, RTE_MP_MAX_FD_NUM / 2);
	s->info.max_tx_queues = RTE_MIN(s->info.max_tx_queues, RTE_MP_MAX_FD_NUM / 2);
}

/*
 * One transmit queue for each worker of each generation, as far as the device
 * has them. A device without RSS is told by nobody which of its queues receive:
 * it uses those of all pairs, so each transmit queue has a receive queue.
 */
static void
choose_queues(struct setup *s)
{
	const uint32_t max_tx = at_least_one(s->info.max_tx_queues);
	const uint32_t max_rx = at_least_one(s->info.max_rx_queues);
	const uint32_t workers = RTE_MIN(at_least_one(s->want->workers), QP_NIC_MAX_QUEUES);

	s->workers = (uint16_t)RTE_MIN(workers, max_tx);
	s->slots = (uint16_t)RTE_MIN((uint32_t)at_least_one(s->want->slots), max_tx / s->workers);
	s->nrx = (uint16_t)RTE_MIN(workers, max_rx);
	s->ntx = (uint16_t)(s->workers * s->slots);
	if ((s->info.flow_type_rss_offloads & RSS_WANTED) == 0)
		pair_queues(s);
}

static uint32_t
wanted_mtu(const struct setup *s)
{
	return s->want->mtu != 0 ? s->want->mtu : RTE_ETHER_MTU;
}

/* Bytes that a frame of that MTU has in buffers. */
static uint32_t
frame_bytes(const struct setup *s)
{
	return wanted_mtu(s) + FRAME_OVERHEAD;
}

static void
choose_offloads(struct setup *s)
{
	const uint32_t room = RTE_MBUF_DEFAULT_BUF_SIZE - RTE_PKTMBUF_HEADROOM;
	uint64_t rx = RX_WANTED, tx = TX_WANTED;

	if (s->want->vlan) {
		rx |= RTE_ETH_RX_OFFLOAD_VLAN_STRIP;
		tx |= RTE_ETH_TX_OFFLOAD_VLAN_INSERT;
	}
	/*
	 * What knows no MTU copies frames anyway, and net_memif of DPDK 22.11 never
	 * takes a chain's mark off its descriptors again: one mbuf a frame.
	 */
	if (!s->has_mtu)
		tx &= ~RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	if (frame_bytes(s) > room || (s->info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_TCP_LRO) != 0)
		rx |= RTE_ETH_RX_OFFLOAD_SCATTER;
	s->conf.rxmode.offloads = rx & s->info.rx_offload_capa;
	s->conf.txmode.offloads = tx & s->info.tx_offload_capa;
	if (s->conf.rxmode.offloads & RTE_ETH_RX_OFFLOAD_TCP_LRO)
		s->conf.rxmode.max_lro_pkt_size = s->info.max_lro_pkt_size;
	if (s->nrx > 1 && (s->info.flow_type_rss_offloads & RSS_WANTED) != 0) {
		s->conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		s->conf.rx_adv_conf.rss_conf.rss_hf = s->info.flow_type_rss_offloads & RSS_WANTED;
	}
	if (s->info.dev_flags != NULL && (*s->info.dev_flags & RTE_ETH_DEV_INTR_LSC) != 0)
		s->conf.intr_conf.lsc = 1;
}

/* What the device says that it can. */
static uint16_t
largest_mtu(const struct setup *s)
{
	const uint32_t overhead = RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN;
	uint32_t mtu = s->info.max_mtu != 0 ? s->info.max_mtu : UINT16_MAX;

	if (s->info.max_rx_pktlen > overhead)
		mtu = RTE_MIN(mtu, s->info.max_rx_pktlen - overhead);
	return (uint16_t)mtu;
}

/* A device that knows no MTU carries what it is given: then this is the most that it checks. */
static uint16_t
mtu_to_configure(const struct setup *s)
{
	const uint16_t min = RTE_MAX(s->info.min_mtu, (uint16_t)RTE_ETHER_MIN_MTU);
	const uint16_t most = RTE_MAX(largest_mtu(s), min);

	return (uint16_t)RTE_MIN(wanted_mtu(s), (uint32_t)most);
}

static int
configure(struct setup *s, struct qp_errmsg *msg)
{
	int rc = rte_eth_dev_info_get(s->id, &s->info);

	if (rc != 0)
		return qp_fail(msg, QP_E_IO, "--port %s: the device tells nothing of itself: %s",
			s->name, rte_strerror(-rc));
	/* Not configured yet, so that nothing is set: whether it is refused for this or not at all. */
	s->has_mtu = rte_eth_dev_set_mtu(s->id, RTE_ETHER_MTU) != -ENOTSUP;
	limit_descriptors(s);
	choose_queues(s);
	choose_offloads(s);
	s->conf.rxmode.mtu = mtu_to_configure(s);
	rc = rte_eth_dev_configure(s->id, s->nrx, s->ntx, &s->conf);
	if (rc != 0 && s->nrx != s->ntx) {
		pair_queues(s); /* some know their queues by the pair */
		rc = rte_eth_dev_configure(s->id, s->nrx, s->ntx, &s->conf);
	}
	if (rc != 0 && (s->conf.rxmode.offloads & RTE_ETH_RX_OFFLOAD_TCP_LRO) != 0) {
		/* Some take it only under conditions of their own: segments come one by one then. */
		s->conf.rxmode.offloads &= ~RTE_ETH_RX_OFFLOAD_TCP_LRO;
		s->conf.rxmode.max_lro_pkt_size = 0;
		rc = rte_eth_dev_configure(s->id, s->nrx, s->ntx, &s->conf);
	}
	if (rc != 0)
		return qp_fail(msg, QP_E_INVAL,
			"--port %s: the device does not take %u receive and %u transmit queues: "
			"its driver's reason is in the log",
			s->name, s->nrx, s->ntx);
	return 0;
}

static int
set_mtu(const struct setup *s, struct qp_errmsg *msg)
{
	const uint16_t mtu = s->want->mtu != 0 ? s->want->mtu : s->conf.rxmode.mtu;
	int rc = rte_eth_dev_set_mtu(s->id, mtu);

	if (rc == 0 || rc == -ENOTSUP || s->want->mtu == 0)
		return 0;
	return qp_fail(msg, QP_E_INVAL, "--mtu %u: port %s takes %u to %u", mtu, s->name,
		s->info.min_mtu, largest_mtu(s));
}

/* Of the pool's buffers: a whole frame in each where the device cannot chain them. */
static uint16_t
data_room(const struct setup *s)
{
	uint32_t room = RTE_MAX((uint32_t)RTE_MBUF_DEFAULT_DATAROOM, s->info.min_rx_bufsize);

	if (s->has_mtu && (s->conf.rxmode.offloads & RTE_ETH_RX_OFFLOAD_SCATTER) == 0)
		room = RTE_MAX(room, frame_bytes(s));
	return (uint16_t)RTE_MIN(room + RTE_PKTMBUF_HEADROOM, (uint32_t)UINT16_MAX);
}

/* For each worker: what all its receive queues hold, and as much on its way. */
static int
make_pools(struct setup *s, struct qp_errmsg *msg)
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

static int
set_up_receive(const struct setup *s, uint16_t queue, struct qp_errmsg *msg)
{
	struct rte_eth_rxconf conf = s->info.default_rxconf;
	const int node = rte_eth_dev_socket_id(s->id);
	struct rte_mempool *pool = s->pool[queue % s->workers];
	int rc;

	conf.offloads = s->conf.rxmode.offloads;
	/* A queue that nobody empties must not hold up the others. */
	conf.rx_drop_en = s->nrx > 1;
	rc = rte_eth_rx_queue_setup(s->id, queue, s->nrxd, (unsigned)node, &conf, pool);
	return rc == 0 ? 0 : qp_fail(msg, QP_E_IO, "--port %s: receive queue %u: %s", s->name, queue,
				     rte_strerror(-rc));
}

static int
set_up_queues(struct setup *s, struct qp_errmsg *msg)
{
	struct rte_eth_txconf tx = s->info.default_txconf;
	const unsigned node = (unsigned)rte_eth_dev_socket_id(s->id);
	int rc;

	s->nrxd = s->ntxd = QP_PORT_DESCRIPTORS;
	rc = rte_eth_dev_adjust_nb_rx_tx_desc(s->id, &s->nrxd, &s->ntxd);
	if (rc != 0)
		return qp_fail(msg, QP_E_IO, "--port %s: descriptors: %s", s->name, rte_strerror(-rc));
	rc = make_pools(s, msg);
	if (rc != 0)
		return rc;
	for (uint16_t q = 0; q < s->nrx; q++) {
		rc = set_up_receive(s, q, msg);
		if (rc != 0)
			return rc;
	}
	tx.offloads = s->conf.txmode.offloads;
	for (uint16_t q = 0; q < s->ntx; q++) {
		rc = rte_eth_tx_queue_setup(s->id, q, s->ntxd, node, &tx);
		if (rc != 0)
			return qp_fail(msg, QP_E_IO, "--port %s: transmit queue %u: %s", s->name, q,
				rte_strerror(-rc));
	}
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
start(struct setup *s, struct qp_errmsg *msg)
{
	int rc = rte_eth_dev_start(s->id);

	if (rc != 0)
		return qp_fail(msg, QP_E_IO, "--port %s: it does not start: %s", s->name,
			rte_strerror(-rc));
	accept_multicast(s->id);
	return 0;
}

static void
tell(const struct setup *s, struct qp_nic_port *out)
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
	struct setup s = {.want = want};
	int rc = find(&s, msg);

	if (rc != 0)
		return rc;
	rc = configure(&s, msg);
	if (rc == 0)
		rc = set_mtu(&s, msg);
	if (rc == 0)
		rc = set_up_queues(&s, msg);
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
