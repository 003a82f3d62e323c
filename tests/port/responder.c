/* SPDX-License-Identifier: Apache-2.0 */
/* A data plane of a few lines for tests of host mode; see responder.h. */
#include "tests/port/responder.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <rte_eal.h>
#include <rte_ether.h>
#include <rte_icmp.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "common/classifier.h"
#include "dataplane/port.h"

#define BURST 32
#define ISS   5000u

struct rte_mempool *
responder_eal(unsigned mbufs)
{
	char *argv[] = {"test", "--no-huge", "-m", "192", "--no-pci", "--no-shconf",
		"--no-telemetry", "-l", "0", "--log-level", "error", NULL};
	struct rte_mempool *pool;

	cr_assert_geq(rte_eal_init(RTE_DIM(argv) - 1, argv), 0, "EAL does not start");
	pool = rte_pktmbuf_pool_create("port", mbufs, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	cr_assert_not_null(pool);
	return pool;
}

/* What a frame is; pointers into its first mbuf. */
struct frame {
	struct rte_ether_hdr *eth;
	struct rte_ipv4_hdr *ip4; /* or NULL */
	struct rte_ipv6_hdr *ip6; /* or NULL */
	void *l4;
	uint8_t proto;
};

static bool
look(struct rte_mbuf *m, struct frame *f)
{
	*f = (struct frame) {.eth = rte_pktmbuf_mtod(m, void *)};
	m->l2_len = sizeof(*f->eth);
	if (f->eth->ether_type == htons(RTE_ETHER_TYPE_IPV4)) {
		f->ip4 = (void *)(f->eth + 1);
		m->l3_len = rte_ipv4_hdr_len(f->ip4);
		f->proto = f->ip4->next_proto_id;
	} else if (f->eth->ether_type == htons(RTE_ETHER_TYPE_IPV6)) {
		f->ip6 = (void *)(f->eth + 1);
		m->l3_len = sizeof(*f->ip6);
		f->proto = f->ip6->proto;
	} else {
		return false;
	}
	f->l4 = rte_pktmbuf_mtod_offset(m, void *, m->l2_len + m->l3_len);
	return true;
}

static void
swap(void *a, void *b, size_t n)
{
	uint8_t tmp[16];

	memcpy(tmp, a, n);
	memcpy(a, b, n);
	memcpy(b, tmp, n);
}

/* Turns addresses around and makes the frame one to send; returns the pseudo-header's sum. */
static uint16_t
turn(struct responder *r, struct rte_mbuf *m, struct frame *f, uint64_t l4_flags)
{
	const bool lro = (m->ol_flags & RTE_MBUF_F_RX_LRO) != 0;
	const uint16_t l3_bytes = (uint16_t)(m->pkt_len - m->l2_len);
	/* A super-segment's sum is without the length; DPDK 22.11's function knows TCP's only. */
	const uint64_t sum_as = lro ? RTE_MBUF_F_TX_TCP_SEG : 0;

	m->ol_flags = l4_flags & (lro ? ~0ull : ~(RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG));
	memcpy(&f->eth->dst_addr, &f->eth->src_addr, 6);
	memcpy(&f->eth->src_addr, r->port->mac, 6);
	if (f->ip4 != NULL) {
		m->ol_flags |= RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
		swap(&f->ip4->src_addr, &f->ip4->dst_addr, 4);
		f->ip4->total_length = htons(l3_bytes);
		return rte_ipv4_phdr_cksum(f->ip4, sum_as);
	}
	m->ol_flags |= RTE_MBUF_F_TX_IPV6;
	swap(&f->ip6->src_addr, &f->ip6->dst_addr, 16);
	f->ip6->payload_len = htons((uint16_t)(l3_bytes - sizeof(*f->ip6)));
	return rte_ipv6_phdr_cksum(f->ip6, sum_as);
}

static bool
answer_udp(struct responder *r, struct rte_mbuf *m, struct frame *f)
{
	struct rte_udp_hdr *udp = f->l4;

	atomic_fetch_add(&r->stats.udp, 1);
	m->l4_len = sizeof(*udp);
	swap(&udp->src_port, &udp->dst_port, 2);
	udp->dgram_cksum = turn(r, m, f, RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_UDP_SEG);
	return true;
}

static struct responder_conn *
find_conn(struct responder *r, const struct frame *f, const struct rte_tcp_hdr *tcp, bool make)
{
	struct responder_conn key = {.rport = tcp->src_port, .lport = tcp->dst_port}, *c;

	memcpy(key.remote, f->ip4 != NULL ? (void *)&f->ip4->src_addr : f->ip6->src_addr,
		f->ip4 != NULL ? 4 : 16);
	for (unsigned i = 0; i < r->nconns; i++) {
		c = &r->conns[i];
		if (memcmp(c, &key, offsetof(struct responder_conn, rcv_nxt)) == 0)
			return c;
	}
	if (!make || r->nconns == RESPONDER_CONNS)
		return NULL;
	r->conns[r->nconns] = key;
	return &r->conns[r->nconns++];
}

static bool
answer_tcp(struct responder *r, struct rte_mbuf *m, struct frame *f)
{
	static const uint8_t mss_only[4] = {2, 4, 1440 >> 8, 1440 & 0xff};
	struct rte_tcp_hdr *tcp = f->l4;
	const uint32_t hdr = (uint32_t)(m->l2_len + m->l3_len) + (tcp->data_off >> 4) * 4u;
	const uint32_t payload = m->pkt_len - hdr;
	const bool syn = tcp->tcp_flags & RTE_TCP_SYN_FLAG, fin = tcp->tcp_flags & RTE_TCP_FIN_FLAG;
	struct responder_conn *c = find_conn(r, f, tcp, syn);

	atomic_fetch_add(&r->stats.tcp, 1);
	if (c == NULL || (tcp->tcp_flags & RTE_TCP_RST_FLAG) || (payload == 0 && !syn && !fin))
		return false;
	if (syn) {
		/* No option but MSS: the peer then sends none, and headers can be turned around. */
		c->rcv_nxt = ntohl(tcp->sent_seq) + 1;
		c->snd_nxt = ISS;
		memcpy(tcp + 1, mss_only, sizeof(mss_only));
		tcp->data_off = 6 << 4;
		rte_pktmbuf_trim(m, (uint16_t)(m->pkt_len - (m->l2_len + m->l3_len + 24u)));
	} else if (ntohl(tcp->sent_seq) != c->rcv_nxt) {
		return false;
	} else {
		c->rcv_nxt += payload + fin;
	}
	m->l4_len = (tcp->data_off >> 4) * 4u;
	tcp->sent_seq = htonl(c->snd_nxt);
	tcp->recv_ack = htonl(c->rcv_nxt);
	tcp->rx_win = 0xffff;
	tcp->tcp_flags |= RTE_TCP_ACK_FLAG;
	c->snd_nxt += payload + fin + syn;
	swap(&tcp->src_port, &tcp->dst_port, 2);
	tcp->cksum = turn(r, m, f, RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_TCP_SEG);
	return true;
}

static void
note(struct responder *r, const struct rte_mbuf *m, const struct frame *f)
{
	const uint8_t *src = f->eth->src_addr.addr_bytes, *dst = f->eth->dst_addr.addr_bytes;
	const uint32_t ifindex = (uint32_t)src[2] << 24 | (uint32_t)src[3] << 16 |
		(uint32_t)src[4] << 8 | src[5];
	struct responder_stats *s = &r->stats;

	if (src[0] == QP_CLS_MARK_0 && src[1] == QP_CLS_MARK_LINK)
		atomic_store(&s->last_ifindex, ifindex);
	if (dst[0] == QP_CLS_MARK_0 && dst[1] == QP_CLS_MARK_MTU)
		atomic_store(&s->last_mtu, (uint32_t)dst[4] << 8 | dst[5]);
	if (m->ol_flags & RTE_MBUF_F_RX_LRO)
		atomic_fetch_add(&s->super, 1);
	if (!(m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_GOOD) &&
		(f->proto == IPPROTO_TCP || f->proto == IPPROTO_UDP))
		atomic_fetch_add(&s->unverified, 1);
	if (m->pkt_len > atomic_load(&s->largest))
		atomic_store(&s->largest, m->pkt_len);
}

static void
handle(struct responder *r, struct rte_mbuf *m)
{
	struct frame f;
	bool answer = false;

	if (!look(m, &f)) {
		atomic_fetch_add(&r->stats.other, 1);
		rte_pktmbuf_free(m);
		return;
	}
	note(r, m, &f);
	if (f.proto == IPPROTO_UDP)
		answer = answer_udp(r, m, &f);
	else if (f.proto == IPPROTO_TCP)
		answer = answer_tcp(r, m, &f);
	else
		atomic_fetch_add(f.proto == IPPROTO_ICMP || f.proto == IPPROTO_ICMPV6
				? &r->stats.icmp : &r->stats.other, 1);
	if (!answer || qp_port_tx(r->port, &m, 1) == 0) {
		if (answer)
			atomic_fetch_add(&r->stats.tx_refused, 1);
		rte_pktmbuf_free(m);
	}
}

static void *
run(void *arg)
{
	struct responder *r = arg;
	struct rte_mbuf *frames[BURST];

	while (!atomic_load(&r->stop)) {
		struct pollfd pfd[QP_CLS_NQUEUES];
		unsigned total = 0;

		for (unsigned q = 0; q < QP_CLS_NQUEUES; q++) {
			uint16_t n = q == 0 ? qp_port_rx(r->port, frames, BURST)
					    : qp_port_rx_strangers(r->port, q, frames, BURST);

			/* Before the answers: who has one may look. */
			atomic_fetch_add(&r->stats.queue[q], n);
			for (uint16_t i = 0; i < n; i++)
				handle(r, frames[i]);
			total += n;
			pfd[q] = (struct pollfd) {.fd = r->port->wake_fd[q], .events = POLLIN};
		}
		if (total == 0)
			(void)poll(pfd, QP_CLS_NQUEUES, 10);
	}
	return NULL;
}

void
responder_resume(struct responder *r)
{
	atomic_store(&r->stop, false);
	cr_assert_eq(pthread_create(&r->thread, NULL, run, r), 0);
}

void
responder_pause(struct responder *r)
{
	atomic_store(&r->stop, true);
	pthread_join(r->thread, NULL);
}

void
responder_open(struct responder *r, const char *name, struct rte_mempool *pool)
{
	const struct qp_host_port_config cfg = {.name = name, .rx_pool = pool, .mtu = 65535};
	struct qp_errmsg msg;

	memset(r, 0, sizeof(*r));
	cr_assert_eq(qp_host_port_open(&cfg, &r->port, &msg), 0, "%s", msg.text);
	responder_resume(r);
}

void
responder_close(struct responder *r)
{
	responder_pause(r);
	qp_port_close(r->port);
}
