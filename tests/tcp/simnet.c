/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual line: frames are flattened, cut to wire packets as a port with
 * TSO would, summed, lost, doubled, delayed, corrupted, and arrive as mbufs.
 * What leaves a host is checked against what may never happen.
 */
#include "tests/tcp/simnet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_ip.h>

#include "tests/tcp/check.h"

uint64_t
sim_random(struct sim *sim)
{
	uint64_t z = sim->rnd += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

bool
sim_chance(struct sim *sim, double p)
{
	return p > 0 && (double)(sim_random(sim) >> 11) * 0x1p-53 < p;
}

static uint64_t
env_random(void *ctx)
{
	return sim_random(ctx);
}

static void
breaks(struct sim *sim, const char *what, uint32_t a, uint32_t b)
{
	if (sim->broken[0] == '\0')
		snprintf(sim->broken, sizeof(sim->broken), "%s (%u, %u) at %.6f s", what, a, b,
			(double)sim->now_ns / 1e9);
}

/* RFC 9293, 3.8.6: acknowledgments and the window's right edge never go back. */
static void
check_frame(struct sim_host *h, const uint8_t *frame, uint32_t len)
{
	bool v4 = frame[12] == 8;
	const struct rte_tcp_hdr *t = (const void *)(frame + 14 + (v4 ? 20 : 40));
	uint32_t ack = rte_be_to_cpu_32(t->recv_ack), edge, slack;
	uint32_t seq = rte_be_to_cpu_32(t->sent_seq);
	uint32_t data = len - 14 - (v4 ? 20 : 40) - (t->data_off >> 4) * 4;

	if (!h->watch || (t->tcp_flags & RTE_TCP_RST_FLAG) || !(t->tcp_flags & RTE_TCP_ACK_FLAG))
		return;
	slack = t->tcp_flags & RTE_TCP_SYN_FLAG ? 0 : h->wscale;
	edge = ack + ((uint32_t)rte_be_to_cpu_16(t->rx_win) << slack);
	if (h->ack_known && seq_lt(ack, h->ack))
		breaks(h->sim, "an ACK went back", ack, h->ack);
	/* A scaled window may lose less than one unit by rounding (RFC 7323, 2.4). */
	if (h->edge_known && seq_lt(edge + (1u << h->wscale) - 1, h->edge))
		breaks(h->sim, "the window shrank", edge, h->edge);
	if (data > 0 && h->peer->edge_known && seq_lt(h->peer->edge, seq + data))
		breaks(h->sim, "data beyond the peer's window", seq + data, h->peer->edge);
	h->ack = ack;
	h->ack_known = true;
	h->edge = h->edge_known ? seq_max(h->edge, edge) : edge;
	h->edge_known = true;
}

static uint8_t
tos_of(const uint8_t *frame)
{
	return frame[12] == 8 ? frame[15] : (uint8_t)(frame[14] << 4 | frame[15] >> 4);
}

/* RFC 3168, 6.1: who may be ECT, and that CWR and ECE are where they belong. */
static void
check_ecn(struct sim_host *h, const uint8_t *frame, uint32_t len, bool tso)
{
	uint32_t l3 = frame[12] == 8 ? 20 : 40;
	const struct rte_tcp_hdr *t = (const void *)(frame + 14 + l3);
	uint32_t seq = rte_be_to_cpu_32(t->sent_seq);
	uint32_t data = len - 14 - l3 - (t->data_off >> 4) * 4;
	bool syn = t->tcp_flags & RTE_TCP_SYN_FLAG, rst = t->tcp_flags & RTE_TCP_RST_FLAG;
	bool old = h->seq_known && seq_lt(seq, h->next_seq);

	if (!h->watch)
		return;
	if (tos_of(frame) != 0 && (tos_of(frame) != QP_TOS_ECT || data == 0 || old || syn || rst))
		breaks(h->sim, "ECT where it must not be", tos_of(frame), data);
	if (!syn && (t->tcp_flags & RTE_TCP_CWR_FLAG) && (tso || tos_of(frame) != QP_TOS_ECT))
		breaks(h->sim, "CWR where it must not be", tso, data);
	if (rst && (t->tcp_flags & (RTE_TCP_CWR_FLAG | RTE_TCP_ECE_FLAG)))
		breaks(h->sim, "a reset with ECN flags", t->tcp_flags, 0);
	if (!h->seq_known || seq_lt(h->next_seq, seq + data))
		h->next_seq = seq + data;
	h->seq_known = true;
}

/* QP_TRACE=1: a line for each frame, as a failing seed is replayed. */
static void
trace(struct sim_host *h, const uint8_t *frame, uint32_t len, const char *what)
{
	uint32_t l3 = frame[12] == 8 ? 20 : 40;
	const struct rte_tcp_hdr *t = (const void *)(frame + 14 + l3);
	struct qp_tcp_options o = {0};

	qp_tcp_options_parse((const uint8_t *)(t + 1), (t->data_off >> 4) * 4 - 20,
		t->tcp_flags & RTE_TCP_SYN_FLAG, &o);
	fprintf(stderr, "%.6f %c %s %02x seq %u len %u ack %u win %u", (double)h->sim->now_ns / 1e9,
		h->mac[5] == 1 ? '>' : '<', what, t->tcp_flags, rte_be_to_cpu_32(t->sent_seq),
		len - 14 - l3 - (t->data_off >> 4) * 4, rte_be_to_cpu_32(t->recv_ack),
		rte_be_to_cpu_16(t->rx_win));
	for (unsigned i = 0; i < o.nsack; i++)
		fprintf(stderr, " [%u %u]", o.sack[i].start, o.sack[i].end);
	fprintf(stderr, "\n");
}

static void
enqueue(struct sim_host *to, struct sim_packet *p)
{
	struct sim_packet **at = &to->arrivals;

	p->order = to->sim->orders++;
	while (*at != NULL && (*at)->at_ns <= p->at_ns)
		at = &(*at)->next;
	p->next = *at;
	*at = p;
}

static void
put16(uint8_t *p, unsigned v)
{
	p[0] = v >> 8;
	p[1] = v & 0xff;
}

/* "Packet too big" about `bytes`, from somewhere on the way, back to its sender. */
static void
send_icmp(struct sim_host *to, const uint8_t *bytes, uint16_t mtu)
{
	bool v6 = to->sim->v6;
	uint32_t l3 = v6 ? 40 : 20, icmp = 8 + l3 + 8, len = 14 + l3 + icmp;
	struct sim_packet *p = calloc(1, sizeof(*p) + len);
	uint8_t *ip = p->bytes + 14, *e = ip + l3;

	p->len = len;
	p->at_ns = to->sim->now_ns + 1 + to->sim->line.delay_ns;
	memcpy(p->bytes, to->mac, 6);
	memcpy(p->bytes + 6, to->peer->mac, 6);
	memcpy(p->bytes + 12, bytes + 12, 2);
	e[0] = v6 ? 2 : 3;
	e[1] = v6 ? 0 : 4;
	put16(e + 6, mtu);
	memcpy(e + 8, bytes + 14, l3 + 8);
	if (v6) {
		struct rte_ipv6_hdr *h = (void *)ip;

		*h = (struct rte_ipv6_hdr) {.vtc_flow = rte_cpu_to_be_32(6u << 28), .proto = IPPROTO_ICMPV6,
			.payload_len = rte_cpu_to_be_16(icmp), .hop_limits = 64};
		memcpy(h->src_addr, to->peer->addr.b, 16);
		memcpy(h->dst_addr, to->addr.b, 16);
		put16(e + 2, 0);
		h->hop_limits = 64;
		memcpy(e + 2, &(uint16_t) {rte_ipv6_udptcp_cksum(h, e)}, 2);
	} else {
		struct rte_ipv4_hdr *h = (void *)ip;

		*h = (struct rte_ipv4_hdr) {.version_ihl = 0x45, .next_proto_id = IPPROTO_ICMP,
			.total_length = rte_cpu_to_be_16(l3 + icmp), .time_to_live = 64};
		memcpy(&h->src_addr, &to->peer->addr.w[3], 4);
		memcpy(&h->dst_addr, &to->addr.w[3], 4);
		h->hdr_checksum = rte_ipv4_cksum(h);
		memcpy(e + 2, &(uint16_t) {(uint16_t)~rte_raw_cksum(e, icmp)}, 2);
	}
	enqueue(to, p);
}

/* A router whose next link is smaller: drops, and most often says so. */
static bool
too_big(struct sim_host *from, const uint8_t *bytes, uint32_t len, uint16_t segsz)
{
	struct sim *sim = from->sim;
	const struct sim_line *l = &sim->line;
	uint32_t l3 = sim->v6 ? 40 : 20;
	const struct rte_tcp_hdr *t = (const void *)(bytes + 14 + l3);
	uint32_t packet = segsz != 0 ? l3 + (t->data_off >> 4) * 4 + segsz : len - 14;

	if (sim_chance(sim, l->forge))
		send_icmp(from, bytes, (uint16_t)(sim_random(sim) % 1500));
	if (l->path_mtu == 0 || sim->now_ns < sim->start_ns + l->path_mtu_at_ns || packet <= l->path_mtu)
		return false;
	from->too_big++;
	if (!l->black_hole)
		send_icmp(from, bytes, l->path_mtu);
	return true;
}

static void
mark(struct sim_host *from, uint8_t *frame)
{
	from->marked++;
	if (frame[12] == 8) {
		struct rte_ipv4_hdr *ip = (void *)(frame + 14);

		ip->type_of_service |= QP_TOS_CE;
		ip->hdr_checksum = 0;
		ip->hdr_checksum = rte_ipv4_cksum(ip);
	} else {
		frame[15] |= QP_TOS_CE << 4;
	}
}

/* One wire packet on the line. */
static void
carry(struct sim_host *from, const uint8_t *bytes, uint32_t len, uint16_t segsz)
{
	struct sim *sim = from->sim;
	const struct sim_line *l = &sim->line;
	bool marked = (tos_of(bytes) & QP_TOS_ECN) == QP_TOS_ECT && sim_chance(sim, l->ce);
	int copies = 1;

	from->wire_packets++;
	if (too_big(from, bytes, len, segsz)) {
		if (sim->traced)
			trace(from, bytes, len, "BIG ");
		from->dropped++;
		return;
	}
	if (sim_chance(sim, l->loss)) {
		if (sim->traced)
			trace(from, bytes, len, "LOST");
		from->dropped++;
		return;
	}
	if (l->bytes_per_s != 0) {
		uint64_t start = RTE_MAX(from->free_at_ns, sim->now_ns);

		if (l->queue_ns != 0 && start - sim->now_ns > l->queue_ns) {
			from->dropped++;
			return;
		}
		marked |= l->mark_ns != 0 && start - sim->now_ns > l->mark_ns &&
			  (tos_of(bytes) & QP_TOS_ECN) == QP_TOS_ECT;
		from->free_at_ns = start + len * UINT64_C(1000000000) / l->bytes_per_s;
	}
	copies += sim_chance(sim, l->dup);
	for (int i = 0; i < copies; i++) {
		struct sim_packet *p = malloc(sizeof(*p) + len);
		uint64_t sent = l->bytes_per_s != 0 ? from->free_at_ns : sim->now_ns;

		p->len = len;
		p->segsz = segsz;
		p->at_ns = sent + l->delay_ns;
		memcpy(p->bytes, bytes, len);
		if (marked)
			mark(from, p->bytes);
		if ((i > 0 || sim_chance(sim, l->reorder)) && l->jitter_ns != 0)
			p->at_ns += sim_random(sim) % l->jitter_ns;
		if (sim_chance(sim, l->corrupt))
			p->bytes[14 + sim_random(sim) % (len - 14)] ^= 1 << sim_random(sim) % 8;
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

/* The checksums that the flags ask for; `l4_len` bytes of TCP. */
static void
finish_sums(uint8_t *frame, uint32_t l3, uint32_t l4_len)
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
		finish_sums(packet, l3, l4 + n);
		carry(h, packet, headers + n, 0);
	}
}

static void
transmit(void *ctx, struct rte_mbuf *m)
{
	struct sim_host *h = ctx;
	uint32_t len = m->pkt_len, l3 = m->l3_len, l4 = m->l4_len;
	bool tso = m->ol_flags & RTE_MBUF_F_TX_TCP_SEG;
	uint16_t mss = m->tso_segsz;
	uint8_t flat[65536 + 64];
	const uint8_t *p;

	rte_mbuf_sanity_check(m, 1);
	if (m->l2_len != 14 || l4 < 20 || len > sizeof(flat))
		breaks(h->sim, "a frame with wrong lengths", l4, len);
	if (!tso && len > 14u + h->sim->line.mtu)
		breaks(h->sim, "a frame above the MTU", len, h->sim->line.mtu);
	if (tso && (14 + l3 + l4 + mss > 14u + h->sim->line.mtu || len > h->sim->line.max_frame_bytes))
		breaks(h->sim, "a super-segment above the limits", mss, len);
	p = rte_pktmbuf_read(m, 0, len, flat);
	if (p != flat)
		memcpy(flat, p, len);
	rte_pktmbuf_free(m);
	if (h->sim->traced)
		trace(h, flat, len, "sent");
	check_frame(h, flat, len);
	check_ecn(h, flat, len, tso);
	if (h->sim->observe != NULL)
		h->sim->observe(h->sim, h, flat, len);
	if (tso && !h->sim->line.lro) {
		cut_and_carry(h, flat, len, l3, l4, mss);
		return;
	}
	wipe_options(&h->sim->line, flat, l3);
	finish_sums(flat, l3, len - 14 - l3);
	carry(h, flat, len, tso ? mss : 0);
}

void
sim_deliver(struct sim_host *h, const uint8_t *frame, uint32_t len, uint16_t segsz)
{
	struct rte_mbuf *head = NULL;
	struct qp_packet pkt;

	for (uint32_t at = 0; at < len;) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(h->pool);
		uint32_t n;

		if (m == NULL) { /* as a port without buffers: the frame is lost */
			rte_pktmbuf_free(head);
			return;
		}
		n = RTE_MIN(len - at, (uint32_t)rte_pktmbuf_tailroom(m));
		memcpy(rte_pktmbuf_append(m, n), frame + at, n);
		at += n;
		if (head == NULL)
			head = m;
		else
			rte_pktmbuf_chain(head, m);
	}
	if (segsz != 0) {
		head->ol_flags |= RTE_MBUF_F_RX_LRO;
		head->tso_segsz = segsz;
	}
	if (qp_ip_parse(head, &pkt) != QP_IP_OK)
		rte_pktmbuf_free(head);
	else if (pkt.proto == IPPROTO_TCP)
		qp_tcp_input(h->tcp, head, &pkt);
	else
		qp_tcp_icmp_input(h->tcp, head, &pkt);
}

void
sim_start(struct sim *sim, uint64_t seed, const struct sim_line *line,
	const struct qp_tcp_config *cfg, struct rte_mempool *pool, struct rte_mempool *indirect)
{
	memset(sim, 0, sizeof(*sim));
	sim->rnd = seed;
	sim->line = *line;
	sim->now_ns = 1000000000 + sim_random(sim) % 1000000000;
	sim->start_ns = sim->now_ns;
	sim->v6 = seed % 3 == 2;
	sim->traced = getenv("QP_TRACE") != NULL;
	for (int i = 0; i < 2; i++) {
		struct sim_host *h = &sim->host[i];
		struct qp_tcp_env env = {
			.now_ns = &sim->now_ns,
			.pool = pool,
			.indirect_pool = indirect,
			.own_mac = {2, 0, 0, 0, 0, (uint8_t)(i + 1)},
			.mtu = line->mtu,
			.max_frame_bytes = line->max_frame_bytes,
			.transmit = transmit,
			.transmit_ctx = h,
			.random = env_random,
			.random_ctx = sim,
		};

		h->sim = sim;
		h->peer = &sim->host[1 - i];
		h->wheel = env.wheel = qp_wheel_new(sim->now_ns);
		h->pool = pool;
		h->indirect = indirect;
		memcpy(h->mac, env.own_mac, 6);
		if (sim->v6)
			h->addr = (struct qp_ipaddr) {.b = {0xfd, [15] = (uint8_t)(i + 1)}};
		else
			h->addr = qp_ipaddr_v4(rte_cpu_to_be_32(0x0a000001 + i));
		h->tcp = qp_tcp_new(&env, cfg);
		h->wscale = line->no_wscale ? 0 : qp_tcp_rcv_wscale(h->tcp);
	}
}

void
sim_stop(struct sim *sim)
{
	for (int i = 0; i < 2; i++) {
		struct sim_host *h = &sim->host[i];

		qp_tcp_free(h->tcp);
		qp_wheel_free(h->wheel);
	}
	for (int i = 0; i < 2; i++) {
		struct sim_packet *p;

		while ((p = sim->host[i].arrivals) != NULL) {
			sim->host[i].arrivals = p->next;
			free(p);
		}
	}
}

struct qp_flow
sim_flow(struct sim *sim, int from, uint16_t port)
{
	struct qp_flow f = {
		.local = sim->host[from].addr,
		.remote = sim->host[1 - from].addr,
		.rport_be = rte_cpu_to_be_16(port),
	};

	memcpy(f.l2.peer_mac, sim->host[1 - from].mac, 6);
	return f;
}

bool
sim_step(struct sim *sim, uint64_t at_most_ns)
{
	uint64_t next = at_most_ns == UINT64_MAX ? UINT64_MAX : sim->now_ns + at_most_ns;

	for (int i = 0; i < 2; i++) {
		struct sim_host *h = &sim->host[i];

		next = RTE_MIN(next, qp_wheel_next_ns(h->wheel));
		if (h->arrivals != NULL)
			next = RTE_MIN(next, h->arrivals->at_ns);
	}
	if (next == UINT64_MAX)
		return false;
	sim->now_ns = RTE_MAX(sim->now_ns, next);
	for (int i = 0; i < 2; i++) {
		struct sim_host *h = &sim->host[i];
		struct sim_packet *p;

		while ((p = h->arrivals) != NULL && p->at_ns <= sim->now_ns) {
			h->arrivals = p->next;
			sim_deliver(h, p->bytes, p->len, p->segsz);
			free(p);
		}
		qp_wheel_advance(h->wheel, sim->now_ns);
		qp_tcp_flush(h->tcp);
		if (sim->broken[0] == '\0') {
			const char *bad = tcp_check(h->tcp);

			if (bad != NULL)
				breaks(sim, bad, (uint32_t)i, 0);
		}
	}
	return true;
}
