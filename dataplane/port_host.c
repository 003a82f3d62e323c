/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host port: frames to and from the kernel through a TAP device with
 * virtio-net headers, one system call a frame, and a frame is a super-segment
 * wherever the traffic allows. Owned by one worker's lcore; the device's set-up
 * is port_tap.c's, the headers' meaning port_vnet.c's.
 */
#include <errno.h>
#include <net/ethernet.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "dataplane/port.h"
#include "dataplane/port_tap.h"
#include "dataplane/port_uso.h"
#include "dataplane/port_vnet.h"

/* An IP packet of 65,535 bytes (lo's MTU is 65,536), an Ethernet header, a VLAN tag. */
#define FRAME_BYTES_MAX (65536u + ETHER_HDR_LEN + 4u)
#define RX_SLOTS_MAX    128u
#define RX_ROOM_MIN     (FRAME_BYTES_MAX / RX_SLOTS_MAX + 1u)
#define TX_IOVECS       1024u /* UIO_MAXIOV */
/*
 * A stranger's first words are short: with so few pieces (UIO_FASTIOV, less the
 * virtio header), the kernel takes them without allocating memory. 14 KB.
 */
#define RX_SLOTS_STRANGER 7u

#define HOST_TX_OFFLOADS                                                                           \
	(RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM |                            \
		RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_TSO |                        \
		RTE_ETH_TX_OFFLOAD_UDP_TSO | RTE_ETH_TX_OFFLOAD_MULTI_SEGS)

/* Owner: one lcore. Life: qp_host_port_open to close. Lock: none. */
struct host_port {
	struct qp_port port;
	struct qp_tap tap;
	struct rte_mempool *rx_pool;
	/*
	 * What the next frame is read into: together they hold the largest frame.
	 * slots[rx_missing … rx_nslots-1] are filled; a frame takes the first ones.
	 */
	struct rte_mbuf *slots[RX_SLOTS_MAX];
	unsigned rx_nslots;
	unsigned rx_missing;
	uint32_t rx_room;            /* bytes a slot takes */
	struct virtio_net_hdr rx_hdr;
	struct iovec rx_iov[1 + RX_SLOTS_MAX]; /* rx_hdr, then the slots' data */
	struct iovec tx_iov[TX_IOVECS];
};

/* Replaces what the last frame took; false when the pool is dry. */
static bool
rx_refill(struct host_port *h)
{
	if (likely(h->rx_missing == 0))
		return true;
	if (unlikely(rte_pktmbuf_alloc_bulk(h->rx_pool, h->slots, h->rx_missing) != 0))
		return false;
	for (unsigned i = 0; i < h->rx_missing; i++)
		h->rx_iov[1 + i].iov_base = rte_pktmbuf_mtod(h->slots[i], void *);
	h->rx_missing = 0;
	return true;
}

/* Chains the slots that `len` bytes were read into. */
static struct rte_mbuf *
rx_take(struct host_port *h, uint32_t len)
{
	struct rte_mbuf *head = h->slots[0], **link = &head;
	uint32_t left = len;
	unsigned n = 0;

	while (left > 0) {
		struct rte_mbuf *seg = h->slots[n++];
		uint32_t take = RTE_MIN(left, h->rx_room);

		seg->data_len = (uint16_t)take;
		left -= take;
		*link = seg;
		link = &seg->next;
	}
	head->pkt_len = len;
	head->nb_segs = (uint16_t)n;
	h->rx_missing = n;
	return head;
}

/* One frame, or NULL when there is none (for us) now. */
static struct rte_mbuf *
rx_one(struct host_port *h, int fd, unsigned nslots)
{
	struct qp_port_counters *c = &h->port.counters;

	while (rx_refill(h)) {
		ssize_t got = readv(fd, h->rx_iov, (int)(1 + nslots));
		struct rte_mbuf *m;

		if (got < 0) {
			if (unlikely(errno != EAGAIN && errno != EINTR))
				c->rx_errors++;
			return NULL;
		}
		got -= (ssize_t)sizeof(h->rx_hdr);
		/* Filled to the brim: the kernel had more and threw it away. */
		if (unlikely(got < ETHER_HDR_LEN || got == (ssize_t)(nslots * h->rx_room))) {
			c->rx_errors++;
			continue;
		}
		m = rx_take(h, (uint32_t)got);
		qp_vnet_to_mbuf(&h->rx_hdr, m);
		c->rx_frames++;
		c->rx_bytes += (uint32_t)got;
		return m;
	}
	c->rx_nombuf++;
	return NULL;
}

static uint16_t
host_rx(struct qp_port *p, enum qp_cls_queue queue, struct rte_mbuf **frames, uint16_t n)
{
	struct host_port *h = (struct host_port *)p;
	struct qp_port_counters *c = &p->counters;
	const unsigned nslots = queue == QP_CLS_QUEUE_FLOWS
					? h->rx_nslots
					: RTE_MIN(h->rx_nslots, RX_SLOTS_STRANGER);
	uint16_t got = 0;

	while (got < n && (frames[got] = rx_one(h, h->tap.fd[queue], nslots)) != NULL)
		got++;
	c->rx_again += queue == QP_CLS_QUEUE_AGAIN ? got : 0;
	c->rx_syns += queue == QP_CLS_QUEUE_SYN ? got : 0;
	c->rx_unknown += queue == QP_CLS_QUEUE_UNKNOWN ? got : 0;
	c->polls++;
	c->empty_polls += got == 0;
	return got;
}

/* 0 or an errno value; EAGAIN leaves the frame as it was. */
static int
tx_one(struct host_port *h, struct rte_mbuf *m)
{
	const int fd = h->tap.fd[QP_CLS_QUEUE_FLOWS]; /* any would do */
	struct virtio_net_hdr hdr;
	int n = 1, err;

	if (!h->tap.uso && (m->ol_flags & RTE_MBUF_F_TX_UDP_SEG))
		return qp_uso_write(fd, m) == 0 ? 0 : EIO;
	if (unlikely(m->nb_segs >= TX_IOVECS || qp_vnet_from_mbuf(m, &hdr) != 0))
		return EINVAL;
	h->tx_iov[0] = (struct iovec) {&hdr, sizeof(hdr)};
	for (struct rte_mbuf *seg = m; seg != NULL; seg = seg->next)
		h->tx_iov[n++] =
			(struct iovec) {rte_pktmbuf_mtod(seg, void *), seg->data_len};
	if (likely(writev(fd, h->tx_iov, n) >= 0))
		return 0;
	err = errno;
	if (err == EAGAIN)
		qp_vnet_restore(m);
	return err;
}

static uint16_t
host_tx(struct qp_port *p, struct rte_mbuf **frames, uint16_t n)
{
	struct host_port *h = (struct host_port *)p;
	uint16_t i;

	for (i = 0; i < n; i++) {
		const uint32_t len = frames[i]->pkt_len;
		int err = tx_one(h, frames[i]);

		if (unlikely(err == EAGAIN))
			break;
		if (likely(err == 0)) {
			p->counters.tx_frames++;
			p->counters.tx_bytes += len;
		} else {
			p->counters.tx_dropped++;
		}
		rte_pktmbuf_free(frames[i]);
	}
	return i;
}

static void
host_close(struct qp_port *p)
{
	struct host_port *h = (struct host_port *)p;

	if (h->rx_missing < h->rx_nslots)
		rte_pktmbuf_free_bulk(h->slots + h->rx_missing, h->rx_nslots - h->rx_missing);
	qp_tap_close(&h->tap);
	free(h);
}

static const struct qp_port_ops host_ops = {
	.rx = host_rx,
	.tx = host_tx,
	.close = host_close,
};

static void
set_rx_slots(struct host_port *h, struct rte_mempool *pool, uint32_t room)
{
	h->rx_pool = pool;
	h->rx_room = room;
	/* One byte more than the largest frame: a read that fills all is a cut one. */
	h->rx_nslots = FRAME_BYTES_MAX / room + 1;
	h->rx_missing = h->rx_nslots;
	h->rx_iov[0] = (struct iovec) {&h->rx_hdr, sizeof(h->rx_hdr)};
	for (unsigned i = 0; i < h->rx_nslots; i++)
		h->rx_iov[1 + i].iov_len = room;
}

int
qp_host_port_open(const struct qp_host_port_config *cfg, struct qp_port **out,
	struct qp_errmsg *msg)
{
	const uint16_t room = rte_pktmbuf_data_room_size(cfg->rx_pool);
	struct host_port *h;
	struct qp_tap tap;
	int rc;

	if (room < RTE_PKTMBUF_HEADROOM + RX_ROOM_MIN)
		return qp_fail(msg, QP_E_INVAL, "mbufs of %u bytes are too small for the host port "
			"(at least %u)", room, (unsigned)(RTE_PKTMBUF_HEADROOM + RX_ROOM_MIN));
	h = aligned_alloc(RTE_CACHE_LINE_SIZE, RTE_CACHE_LINE_ROUNDUP(sizeof(*h)));
	if (h == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no memory for the host port %s", cfg->name);
	rc = qp_tap_open(cfg->name, cfg->mtu, &tap, msg);
	if (rc != 0) {
		free(h);
		return rc;
	}
	*h = (struct host_port) {
		.port = {
			.ops = &host_ops,
			.tx_offloads = HOST_TX_OFFLOADS,
			.max_frame_bytes = UINT16_MAX + ETHER_HDR_LEN,
			.mtu = cfg->mtu,
			.ifindex = tap.ifindex,
		},
		.tap = tap,
	};
	memcpy(h->port.mac, tap.mac, sizeof(tap.mac));
	memcpy(h->port.wake_fd, tap.fd, sizeof(tap.fd));
	set_rx_slots(h, cfg->rx_pool, (uint32_t)room - RTE_PKTMBUF_HEADROOM);
	*out = &h->port;
	return 0;
}

void
qp_port_close(struct qp_port *p)
{
	if (p != NULL)
		p->ops->close(p);
}
