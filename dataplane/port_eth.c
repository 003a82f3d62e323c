/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ethdev port: a worker's queues of a device that the port owner configured
 * and started, and in software what the device does not do to what is sent.
 * Owned by one worker's lcore; it starts and stops nothing.
 */
#include <errno.h>
#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/lines.h"
#include "dataplane/nic/port_link.h"
#include "dataplane/nic/rx_pool.h"
#include "dataplane/pool.h"
#include "dataplane/port.h"
#include "dataplane/port_soft.h"

/* Ethernet header, a tag, and some for a peer's. */
#define FRAME_OVERHEAD 32u
/* Pieces of one super-segment of jumbo frames, and a burst that finds no room. */
#define LARGE_MBUFS 127u

/* Owner: one lcore. Life: qp_eth_port_open to close. Lock: none. */
struct eth_port {
	struct qp_port port;
	uint16_t port_id;
	uint16_t rx_queue, tx_queue;
	struct qp_port_links *links; /* NULL: it may always be used */
	uint32_t port_index, worker;
	struct qp_soft soft;
	void *large; /* memory of a pool of our own; NULL: the caller's will do */
	/* Frames made of the last one that tx consumed, which the device had no room for. */
	unsigned next, npending;
	/* Of the frame at the head: attempts that sent nothing, and the device's errors at one of them. */
	unsigned refusals;
	bool cut_next; /* the frame at the head is a super-segment that tx_prepare refuses */
	uint64_t errors;
	struct rte_mbuf *pending[QP_SOFT_PIECES];
};

#define REFUSALS 64u

static uint64_t
device_errors(const struct eth_port *e)
{
	struct rte_eth_stats stats = {0};

	return rte_eth_stats_get(e->port_id, &stats) == 0 ? stats.oerrors : 0;
}

/*
 * A queue that is full says nothing; a device that counts an error at each
 * attempt does not want the frame, and all others would wait behind it for ever.
 */
static bool
refuses(struct eth_port *e)
{
	e->refusals++;
	if (e->refusals == REFUSALS)
		e->errors = device_errors(e);
	return e->refusals == 2 * REFUSALS && device_errors(e) - e->errors >= REFUSALS;
}

/* It says that it cuts super-segments, and does not this one (net_tap: one of full size): we do. */
static void
cut_here(struct eth_port *e)
{
	const uint64_t cuts = RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_UDP_TSO;

	e->soft.hw &= ~cuts;
	e->soft.flags |= RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG;
}

static bool
is_super(const struct rte_mbuf *m)
{
	return (m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)) != 0;
}

/* Fewer than `n`: the next one has to wait, or is a super-segment that the device refuses (`cut_next`). */
static uint16_t
send_as_they_are(struct eth_port *e, struct rte_mbuf **frames, uint16_t n)
{
	struct qp_port *p = &e->port;
	uint16_t done = 0;

	while (done < n) {
		uint16_t left = (uint16_t)(n - done);
		uint16_t ready = rte_eth_tx_prepare(e->port_id, e->tx_queue, frames + done, left);
		uint64_t bytes = 0;
		uint16_t sent;

		/* The driver frees what it sends: the sizes have to be read before. */
		for (uint16_t i = 0; i < ready; i++)
			bytes += frames[done + i]->pkt_len;
		sent = ready > 0 ? rte_eth_tx_burst(e->port_id, e->tx_queue, frames + done, ready) : 0;
		for (uint16_t i = sent; i < ready; i++)
			bytes -= frames[done + i]->pkt_len;
		p->counters.tx_frames += sent;
		p->counters.tx_bytes += bytes;
		done = (uint16_t)(done + sent);
		if (sent > 0 || ready == 0)
			e->refusals = 0;
		else if (refuses(e)) {
			if (is_super(frames[done])) {
				cut_here(e);
			} else {
				rte_pktmbuf_free(frames[done++]);
				p->counters.tx_dropped++;
			}
		}
		if (sent < ready)
			break;
		/* tx_prepare stopped at a frame that this device can never send as it is. */
		if (ready < left && is_super(frames[done])) {
			e->cut_next = true;
			break;
		}
		if (ready < left) {
			rte_pktmbuf_free(frames[done++]);
			p->counters.tx_dropped++;
		}
	}
	return done;
}

/* True: nothing waits any more. */
static bool
flush(struct eth_port *e)
{
	if (e->next < e->npending)
		e->next += send_as_they_are(
			e, e->pending + e->next, (uint16_t)(e->npending - e->next));
	e->port.waiting = e->npending - e->next;
	return e->port.waiting == 0;
}

static bool
usable(const struct eth_port *e)
{
	return e->links == NULL || qp_port_link_usable(e->links, e->worker, e->port_index);
}

/* Its link is down: what was to be sent is lost, as on any wire. */
static uint16_t
drop_all(struct eth_port *e, struct rte_mbuf **frames, uint16_t n)
{
	rte_pktmbuf_free_bulk(e->pending + e->next, e->npending - e->next);
	rte_pktmbuf_free_bulk(frames, n);
	e->port.counters.tx_dropped += e->npending - e->next + n;
	e->next = e->npending = e->port.waiting = 0;
	return n;
}

static void
make_frames(struct eth_port *e, struct rte_mbuf *m)
{
	const uint64_t flags = e->soft.flags;

	/* What a device cuts may go by the family (ena), which it does not tell: the next may be fine. */
	if (e->cut_next)
		e->soft.flags |= RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG;
	e->cut_next = false;
	e->next = 0;
	e->npending = qp_soft_frames(&e->soft, m, e->pending);
	e->soft.flags = flags;
	e->port.counters.tx_dropped += e->npending == 0;
}

/*
 * The frames at the front that the device can take in one burst, finished in place
 * where they need no more than that; one that cannot be is dropped and counted in
 * *dropped: its place is the first one then.
 */
static uint16_t
run_of(struct eth_port *e, struct rte_mbuf **frames, uint16_t n, uint16_t *dropped)
{
	struct rte_mbuf *one[QP_SOFT_PIECES];
	uint16_t run = 0;

	for (*dropped = 0; run < n; run++) {
		if (!qp_soft_needed(&e->soft, frames[run]))
			continue;
		if (!qp_soft_in_place(&e->soft, frames[run]))
			break;
		if (qp_soft_frames(&e->soft, frames[run], one) == 0) {
			memmove(frames + 1, frames, run * sizeof(frames[0]));
			e->port.counters.tx_dropped++;
			*dropped = 1;
			break;
		}
		frames[run] = one[0];
	}
	return run;
}

static uint16_t
eth_tx(struct qp_port *p, struct rte_mbuf **frames, uint16_t n)
{
	struct eth_port *e = (struct eth_port *)p;
	uint16_t done = 0;

	if (!usable(e))
		return drop_all(e, frames, n);
	while (flush(e) && done < n) {
		uint16_t dropped, sent;
		uint16_t run = run_of(e, frames + done, (uint16_t)(n - done), &dropped);

		done = (uint16_t)(done + dropped);
		if (run == 0 && dropped != 0)
			continue;
		if (run == 0) {
			make_frames(e, frames[done++]);
			continue;
		}
		sent = send_as_they_are(e, frames + done, run);
		done = (uint16_t)(done + sent);
		if (e->cut_next)
			make_frames(e, frames[done++]);
		else if (sent < run)
			break;
	}
	return done;
}

uint16_t
qp_eth_port_rx(struct qp_port *p, uint16_t rx_queue, struct rte_mbuf **frames, uint16_t n)
{
	struct eth_port *e = (struct eth_port *)p;
	uint64_t bytes = 0;
	uint16_t got;

	if (!usable(e))
		return 0;
	got = rte_eth_rx_burst(e->port_id, rx_queue, frames, n);

	for (uint16_t i = 0; i < got; i++) {
		bytes += frames[i]->pkt_len;
		qp_rx_give(frames[i], qp_rx_mark_own);
	}
	p->counters.rx_frames += got;
	p->counters.rx_bytes += bytes;
	p->counters.polls++;
	p->counters.empty_polls += got == 0;
	/* What waits to be sent must not wait for more to send. */
	(void)flush(e);
	return got;
}

static uint16_t
eth_rx(struct qp_port *p, enum qp_cls_queue queue, struct rte_mbuf **frames, uint16_t n)
{
	(void)queue;
	return qp_eth_port_rx(p, ((struct eth_port *)p)->rx_queue, frames, n);
}

static void
eth_close(struct qp_port *p)
{
	struct eth_port *e = (struct eth_port *)p;

	rte_pktmbuf_free_bulk(e->pending + e->next, e->npending - e->next);
	free(e->large);
	free(p);
}

static const struct qp_port_ops eth_ops = {
	.rx = eth_rx,
	.tx = eth_tx,
	.close = eth_close,
};

/*
 * What we do ourselves as well as what the device does. But for UDP segmentation,
 * which is the device's or nobody's: QUIC makes its datagrams one by one anyway,
 * and to put them together and copy them apart again is dearer than to send them so.
 */
#define ALL_OFFLOADS                                                                               \
	(RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM |                            \
		RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_TSO |                        \
		RTE_ETH_TX_OFFLOAD_MULTI_SEGS | RTE_ETH_TX_OFFLOAD_VLAN_INSERT)

/* Its offloads are some program's, and not proven by millions of machines. */
static bool
is_virtual(const struct rte_eth_dev_info *info)
{
	return info->device != NULL &&
	       strcmp(rte_bus_name(rte_dev_bus(info->device)), "vdev") == 0;
}

/* The most mbufs that a driver says that it takes; ena's tx_prepare refuses as many. */
static uint16_t
below(uint16_t most)
{
	return most > 2 ? (uint16_t)(most - 1) : most;
}

/*
 * A device that takes no chains gets each frame in one mbuf, whatever its MTU. It
 * copies frames (port_offloads.c asks for chains of all others), so that these need
 * not be in memory that it can reach.
 */
static int
choose_pool(struct eth_port *e, const struct qp_eth_port_config *cfg, const struct rte_eth_desc_lim *lim,
	struct qp_errmsg *msg)
{
	const uint32_t room = cfg->mtu + RTE_PKTMBUF_HEADROOM + FRAME_OVERHEAD;
	struct rte_mempool *pool = cfg->pool;
	size_t bytes;

	if ((cfg->tx_offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) == 0 && pool != NULL &&
		room > rte_pktmbuf_data_room_size(pool)) {
		bytes = qp_pool_bytes(LARGE_MBUFS, (uint16_t)RTE_MIN(room, (uint32_t)UINT16_MAX));
		e->large = aligned_alloc(RTE_CACHE_LINE_SIZE, RTE_ALIGN_CEIL(bytes, (size_t)RTE_CACHE_LINE_SIZE));
		if (e->large == NULL)
			return qp_fail(msg, QP_E_NOMEM, "no memory for frames of port %u", cfg->port_id);
		pool = qp_pool_make(e->large, "large", LARGE_MBUFS,
			(uint16_t)RTE_MIN(room, (uint32_t)UINT16_MAX));
	}
	qp_soft_init(&e->soft, cfg->tx_offloads, below(lim->nb_seg_max), below(lim->nb_mtu_seg_max), pool);
	return 0;
}

int
qp_eth_port_open(const struct qp_eth_port_config *cfg, struct qp_port **out, struct qp_errmsg *msg)
{
	struct rte_eth_dev_info info;
	struct rte_ether_addr mac;
	struct eth_port *e;
	int rc = rte_eth_dev_info_get(cfg->port_id, &info);

	if (rc == 0)
		rc = rte_eth_macaddr_get(cfg->port_id, &mac);
	if (rc != 0)
		return qp_fail(msg, qp_err_from_errno(-rc), "port %u cannot be used: %s", cfg->port_id,
			rte_strerror(-rc));
	e = qp_lines_alloc(sizeof(*e));
	if (e == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no memory for port %u", cfg->port_id);
	*e = (struct eth_port) {
		.port = {
			.ops = &eth_ops,
			.tx_offloads = ALL_OFFLOADS | (cfg->tx_offloads & RTE_ETH_TX_OFFLOAD_UDP_TSO),
			.max_frame_bytes = UINT16_MAX,
			.mtu = cfg->mtu,
			.wake_fd = {-1, -1, -1, -1},
		},
		.port_id = cfg->port_id,
		.rx_queue = cfg->rx_queue,
		.tx_queue = cfg->tx_queue,
		.links = cfg->links,
		.port_index = cfg->port,
		.worker = cfg->worker,
	};
	rc = choose_pool(e, cfg, &info.tx_desc_lim, msg);
	if (rc != 0) {
		free(e);
		return rc;
	}
	e->soft.even_only = is_virtual(&info);
	memcpy(e->port.mac, mac.addr_bytes, sizeof(e->port.mac));
	*out = &e->port;
	return 0;
}

void
qp_eth_port_descriptors(uint16_t port_id, uint32_t *rx, uint32_t *tx)
{
	struct rte_eth_rxq_info r;
	struct rte_eth_txq_info t;

	*rx = rte_eth_rx_queue_info_get(port_id, 0, &r) == 0 ? r.nb_desc : 0;
	*tx = rte_eth_tx_queue_info_get(port_id, 0, &t) == 0 ? t.nb_desc : 0;
}
