/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual line, one direction for each host: frames are flattened, cut to
 * wire packets as a port with TSO would, summed, lost, doubled, delayed,
 * corrupted, and queue up at the other end. All of it from the seed.
 */
#include <stdlib.h>
#include <string.h>

#include <rte_ip.h>

#include "tests/tcp/simnet.h"

static void
put16(uint8_t *p, unsigned v)
{
	p[0] = v >> 8;
	p[1] = v & 0xff;
}

static void
enqueue(struct sim_host *to, struct sim_packet *p)
{
	struct sim_packet **at = &to->arrivals;

	p->order = to->sim->orders++;
	if (to->arrivals != NULL && to->last->at_ns <= p->at_ns)
		at = &to->last->next;
	while (*at != NULL && (*at)->at_ns <= p->at_ns)
		at = &(*at)->next;
	p->next = *at;
	*at = p;
	if (p->next == NULL)
		to->last = p;
}

static struct sim_packet *
packet_new(const uint8_t *bytes, uint32_t len, uint16_t segsz, uint64_t at_ns)
{
	struct sim_packet *p = malloc(sizeof(*p) + len);

	*p = (struct sim_packet) {.len = len, .segsz = segsz, .at_ns = at_ns};
	memcpy(p->bytes, bytes, len);
	return p;
}

/* An ICMP error's checksum is over all of it, and in IPv6 over a pseudo header too. */
static void
finish_icmp(uint8_t *frame, uint32_t l3, uint32_t l4_len)
{
	uint8_t *icmp = frame + 14 + l3;
	uint16_t sum;

	put16(icmp + 2, 0);
	if (l3 == 20) {
		struct rte_ipv4_hdr *ip = (void *)(frame + 14);

		put16(frame + 16, 20 + l4_len);
		ip->hdr_checksum = 0;
		ip->hdr_checksum = rte_ipv4_cksum(ip);
		sum = (uint16_t)~rte_raw_cksum(icmp, l4_len);
	} else {
		put16(frame + 18, l4_len);
		sum = rte_ipv6_udptcp_cksum((void *)(frame + 14), icmp);
	}
	memcpy(icmp + 2, &sum, 2);
}

/* A router, or somebody who says so, tells `from` that the packet was too big (RFC 792, RFC 4443, 3.2). */
static void
too_big(struct sim_host *from, const uint8_t *packet, uint16_t mtu)
{
	bool v4 = packet[12] == 8;
	uint32_t l3 = v4 ? 20 : 40, quoted = l3 + 8;
	uint8_t f[14 + 40 + 8 + 40 + 8], *ip = f + 14, *icmp = ip + l3;

	memset(f, 0, sizeof(f));
	memcpy(f, packet + 6, 6);
	memcpy(f + 6, packet, 6);
	memcpy(f + 12, packet + 12, 2 + l3);
	ip[v4 ? 9 : 6] = v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	memcpy(ip + (v4 ? 12 : 8), packet + 14 + (v4 ? 16 : 24), v4 ? 4 : 16);
	memcpy(ip + (v4 ? 16 : 24), packet + 14 + (v4 ? 12 : 8), v4 ? 4 : 16);
	icmp[0] = v4 ? 3 : 2;
	icmp[1] = v4 ? 4 : 0;
	put16(icmp + 6, mtu);
	memcpy(icmp + 8, packet + 14, quoted);
	finish_icmp(f, l3, 8 + quoted);
	enqueue(from, packet_new(f, 14 + l3 + 8 + quoted, 0, from->sim->now_ns + 2 * from->line.delay_ns));
}

#define BAD_NS (300 * QP_MS_NS)

/*
 * Gilbert's two states; without them plain chance. The bad one does not
 * outlast BAD_NS, or it would hold for hours against a sender that backs off.
 */
static bool
is_lost(struct sim_host *from)
{
	const struct sim_line *l = &from->line;
	struct sim *sim = from->sim;

	if (l->down)
		return true;
	if (sim->now_ns < from->bad_until_ns) {
		if (sim_chance(sim, l->burst_leave))
			from->bad_until_ns = 0;
	} else if (sim_chance(sim, l->burst_enter)) {
		from->bad_until_ns = sim->now_ns + BAD_NS;
	}
	return sim_chance(sim, sim->now_ns < from->bad_until_ns ? l->burst_loss : l->loss);
}

static void
lose(struct sim_host *from, const uint8_t *bytes, uint32_t len, const char *why)
{
	if (from->sim->traced)
		sim_trace(from, bytes, len, why);
	from->dropped++;
	from->sim->disturbed_ns = from->sim->now_ns;
}

/* When the bottleneck is done with the packet; 0: its queue is full. */
static uint64_t
sent_at(struct sim_host *from, uint32_t len)
{
	const struct sim_line *l = &from->line;
	uint64_t start = RTE_MAX(from->free_at_ns, from->sim->now_ns);

	if (l->bytes_per_s == 0)
		return from->sim->now_ns;
	if (l->queue_ns != 0 && start - from->sim->now_ns > l->queue_ns)
		return 0;
	from->free_at_ns = start + len * UINT64_C(1000000000) / l->bytes_per_s;
	return from->free_at_ns;
}

static bool
fits_the_path(const struct sim_host *from, const uint8_t *bytes, uint32_t len, uint16_t segsz)
{
	uint32_t headers = (bytes[12] == 8 ? 20 : 40) + 20;

	if (from->line.path_mtu == 0)
		return true;
	return (segsz != 0 ? segsz + headers : len - 14) <= from->line.path_mtu;
}

/* ECT(0) or ECT(1) (RFC 3168, 5). */
static bool
may_be_marked(const uint8_t *frame)
{
	uint8_t ecn = (frame[12] == 8 ? frame[15] : frame[15] >> 4) & QP_TOS_ECN;

	return ecn != 0 && ecn != QP_TOS_CE;
}

static bool
queue_is_long(const struct sim_host *from)
{
	const struct sim_line *l = &from->line;

	return l->mark_ns != 0 && from->free_at_ns > from->sim->now_ns + l->mark_ns;
}

static void
mark(struct sim_host *from, uint8_t *frame)
{
	struct rte_ipv4_hdr *ip = (void *)(frame + 14);

	from->marked++;
	if (frame[12] != 8) {
		frame[15] |= QP_TOS_CE << 4;
		return;
	}
	ip->type_of_service |= QP_TOS_CE;
	ip->hdr_checksum = 0;
	ip->hdr_checksum = rte_ipv4_cksum(ip);
}

void
sim_line_carry(struct sim_host *from, const uint8_t *bytes, uint32_t len, uint16_t segsz)
{
	struct sim *sim = from->sim;
	const struct sim_line *l = &from->line;
	uint64_t sent;
	bool marked;
	int copies = 1;

	from->wire_packets++;
	if (is_lost(from)) {
		lose(from, bytes, len, "LOST");
		return;
	}
	if (!fits_the_path(from, bytes, len, segsz)) {
		lose(from, bytes, len, "TOO BIG");
		from->too_big++;
		if (l->icmp)
			too_big(from, bytes, l->path_mtu);
		return;
	}
	if (sim_chance(sim, l->forge))
		too_big(from, bytes, (uint16_t)(sim_random(sim) % 1500));
	marked = may_be_marked(bytes) && (sim_chance(sim, l->ce) || queue_is_long(from));
	sent = sent_at(from, len);
	if (sent == 0) {
		lose(from, bytes, len, "QUEUE FULL");
		return;
	}
	copies += sim_chance(sim, l->dup);
	for (int i = 0; i < copies; i++) {
		struct sim_packet *p = packet_new(bytes, len, segsz, sent + l->delay_ns);

		if (marked)
			mark(from, p->bytes);
		if ((i > 0 || sim_chance(sim, l->reorder)) && l->jitter_ns != 0)
			p->at_ns += sim_random(sim) % l->jitter_ns;
		if (sim_chance(sim, l->corrupt)) {
			p->bytes[14 + sim_random(sim) % (len - 14)] ^= 1 << sim_random(sim) % 8;
			sim->disturbed_ns = RTE_MAX(sim->disturbed_ns, p->at_ns);
		}
		enqueue(from->peer, p);
	}
}

/* Options of a SYN become NOPs, as some middleboxes do it. */
static void
wipe_options(const struct sim_line *l, uint8_t *frame, uint32_t l3)
{
	struct rte_tcp_hdr *t = (void *)(frame + 14 + l3);
	uint8_t *p = (uint8_t *)(t + 1), *end = (uint8_t *)t + (t->data_off >> 4) * 4;

	if (!(t->tcp_flags & RTE_TCP_SYN_FLAG))
		return;
	while (p < end) {
		unsigned n = p[0] <= 1 ? 1 : p[1];

		if ((p[0] == 4 && l->no_sack) || (p[0] == 8 && l->no_ts) || (p[0] == 3 && l->no_wscale))
			memset(p, 1, n);
		p += n;
	}
}

void
sim_line_finish(uint8_t *frame, uint32_t l3, uint32_t l4_len)
{
	struct rte_tcp_hdr *t = (void *)(frame + 14 + l3);

	t->cksum = 0;
	if (l3 == 20) {
		struct rte_ipv4_hdr *ip = (void *)(frame + 14);

		put16(frame + 16, 20 + l4_len);
		ip->hdr_checksum = 0;
		ip->hdr_checksum = rte_ipv4_cksum(ip);
		t->cksum = rte_ipv4_udptcp_cksum(ip, t);
	} else {
		put16(frame + 18, l4_len);
		t->cksum = rte_ipv6_udptcp_cksum((void *)(frame + 14), t);
	}
}

/* What a port with TSO does. */
static void
cut_and_carry(struct sim_host *h, uint8_t *flat, uint32_t len, uint32_t l3, uint32_t l4, uint16_t mss)
{
	uint32_t headers = 14 + l3 + l4;
	uint8_t packet[65536 + 64];
	struct rte_tcp_hdr *first = (void *)(flat + 14 + l3);
	uint32_t seq = rte_be_to_cpu_32(first->sent_seq);

	for (uint32_t at = headers; at < len; at += mss) {
		uint32_t n = RTE_MIN((uint32_t)mss, len - at);
		struct rte_tcp_hdr *t = (void *)(packet + 14 + l3);

		memcpy(packet, flat, headers);
		memcpy(packet + headers, flat + at, n);
		t->sent_seq = rte_cpu_to_be_32(seq + at - headers);
		if (at + n < len)
			t->tcp_flags &= ~(RTE_TCP_FIN_FLAG | RTE_TCP_PSH_FLAG);
		sim_line_finish(packet, l3, l4 + n);
		sim_line_carry(h, packet, headers + n, 0);
	}
}

/* A port finishes the checksum: what it finds must be the pseudo header's, without a length for TSO. */
static void
check_offload(struct sim_host *h, const struct rte_mbuf *m, const uint8_t *flat)
{
	const struct rte_tcp_hdr *t = (const void *)(flat + 14 + m->l3_len);
	uint64_t tso = m->ol_flags & RTE_MBUF_F_TX_TCP_SEG;
	uint16_t want = m->l3_len == 20 ? rte_ipv4_phdr_cksum((const void *)(flat + 14), tso) :
					  rte_ipv6_phdr_cksum((const void *)(flat + 14), tso);

	if (!(m->ol_flags & (RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_TCP_SEG)))
		sim_breaks(h->sim, "a frame whose checksum nobody computes", 0, 0);
	if (t->cksum != want)
		sim_breaks(h->sim, "a pseudo header's checksum is wrong", t->cksum, want);
}

static void
check_size(struct sim_host *h, const struct rte_mbuf *m)
{
	uint32_t most = 14u + h->line.mtu, headers = m->l2_len + m->l3_len + m->l4_len;

	if (m->l2_len != 14 || m->l4_len < 20 || m->pkt_len < headers)
		sim_breaks(h->sim, "a frame with wrong lengths", m->l4_len, m->pkt_len);
	if (!(m->ol_flags & RTE_MBUF_F_TX_TCP_SEG)) {
		if (m->pkt_len > most)
			sim_breaks(h->sim, "a frame above the MTU", m->pkt_len, most);
	} else if (headers + m->tso_segsz > most || m->pkt_len > h->line.max_frame_bytes) {
		sim_breaks(h->sim, "a super-segment above the limits", m->tso_segsz, m->pkt_len);
	}
}

void
sim_line_transmit(void *host, struct rte_mbuf *m)
{
	struct sim_host *h = host;
	uint32_t len = m->pkt_len, l3 = m->l3_len, l4 = m->l4_len;
	bool tso = m->ol_flags & RTE_MBUF_F_TX_TCP_SEG;
	uint16_t mss = m->tso_segsz;
	uint8_t flat[65536 + 64];
	const uint8_t *p;

	rte_mbuf_sanity_check(m, 1);
	check_size(h, m);
	if (len > sizeof(flat)) {
		rte_pktmbuf_free(m);
		return;
	}
	p = rte_pktmbuf_read(m, 0, len, flat);
	if (p != flat)
		memcpy(flat, p, len);
	check_offload(h, m, flat);
	rte_pktmbuf_free(m);
	sim_watch_sent(h, flat, len, tso ? mss : 0);
	if (h->sim->traced)
		sim_trace(h, flat, len, "");
	if (h->sim->observe != NULL)
		h->sim->observe(h->sim, h, flat, len);
	if (tso && !h->line.lro) {
		cut_and_carry(h, flat, len, l3, l4, mss);
		return;
	}
	wipe_options(&h->line, flat, l3);
	sim_line_finish(flat, l3, len - 14 - l3);
	sim_line_carry(h, flat, len, tso ? mss : 0);
}
