/* SPDX-License-Identifier: Apache-2.0 */
/* The world of world.h: frames in and out, and the streams that are played. */
#include "tests/udp/world.h"

#include <netinet/in.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_udp.h>
#include <string.h>

#include "common/classifier.h"
#include "tests/tcp/eal.h"

#define ETHER 14u

static const uint8_t gateway_mac[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t outside_mac[6] = {2, 0, 0, 0, 0, 9};
static struct rte_mempool *pool, *indirect;

/* QUIC, as UDP forwards see it. */

void
qp_quic_conn_consumed(struct qp_quic_conn *c, uint64_t bytes)
{
	c->consumed += bytes;
}

int
qp_quic_stream_open(struct qp_quic_conn *c, void *ctx, struct qp_quic_stream **out)
{
	struct uw *w = c->w;
	struct qp_quic_stream *s;

	if (c->streams_left == 0)
		return QP_E_AGAIN;
	c->streams_left--;
	s = calloc(1, sizeof(*s));
	w->stream = realloc(w->stream, (w->nstreams + 1) * sizeof(s));
	must(s != NULL && w->stream != NULL);
	*s = (struct qp_quic_stream) {.w = w, .ctx = ctx, .live = true};
	w->stream[w->nstreams++] = *out = s;
	return 0;
}

void
qp_quic_stream_set_ctx(struct qp_quic_stream *s, void *ctx)
{
	must(s->live);
	s->ctx = ctx;
}

int
qp_quic_stream_write_bytes(struct qp_quic_stream *s, const void *data, size_t len)
{
	must(s->live && !s->fin && !s->aborted && len > 0);
	if (s->out_len + len > s->out_cap) {
		s->out_cap = 2 * (s->out_len + len);
		s->out = realloc(s->out, s->out_cap);
		must(s->out != NULL);
	}
	memcpy(s->out + s->out_len, data, len);
	s->out_len += len;
	s->unsent += len;
	return 0;
}

void
qp_quic_stream_write(struct qp_quic_stream *s, struct rte_mbuf *chain)
{
	rte_mbuf_sanity_check(chain, 1);
	for (const struct rte_mbuf *m = chain; m != NULL; m = m->next)
		if (m->data_len > 0)
			(void)qp_quic_stream_write_bytes(s, rte_pktmbuf_mtod(m, void *), m->data_len);
	rte_pktmbuf_free(chain);
}

uint64_t
qp_quic_stream_unsent(const struct qp_quic_stream *s)
{
	must(s->live);
	return s->unsent;
}

void
qp_quic_stream_fin(struct qp_quic_stream *s)
{
	must(s->live && !s->aborted);
	s->fin = true;
}

void
qp_quic_stream_consumed(struct qp_quic_stream *s, uint64_t bytes)
{
	must(s->live);
	s->consumed += bytes;
}

void
qp_quic_stream_abort(struct qp_quic_stream *s, uint64_t code)
{
	must(s->live && !s->aborted);
	s->aborted = true;
	s->code = code;
}

void
qp_tunnel_announce(struct qp_tunnel *t, uint32_t conn_id)
{
	struct uw *w = t->conn->w;

	w->announced++;
	w->last_announced = conn_id;
}

/* Local forwards: here the test is who asked. */

void
qp_local_conn_free(struct qp_tunnel *t, struct qp_local_conn *c)
{
	must(c == UW_LOCAL);
	t->conn->w->locals_gone++;
}

void
qp_local_flow_refused(struct qp_tunnel *t, struct qp_local_conn *c)
{
	must(c == UW_LOCAL);
	t->conn->w->locals_refused++;
}

struct qp_quic_stream *
uw_stream(struct uw *w)
{
	struct qp_quic_stream *s;

	w->conn.streams_left++;
	must(qp_quic_stream_open(&w->conn, NULL, &s) == 0);
	return s;
}

/* What leaves. */

uint16_t
uw_sum(uint32_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 == 0 ? (uint32_t)p[i] << 8 : p[i];
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

uint32_t
uw_pseudo(bool v6, const struct qp_flow *f, uint8_t proto, size_t len)
{
	const unsigned from = v6 ? 0 : 12;
	uint32_t sum = uw_sum(0, f->local.b + from, 16 - from);

	sum += uw_sum(0, f->remote.b + from, 16 - from);
	return sum + proto + (uint32_t)(len & 0xffff) + (uint32_t)(len >> 16);
}

static void
keep(struct uw *w, const struct uw_packet *like, const uint8_t *data, size_t len)
{
	struct uw_packet *p = malloc(sizeof(*p) + len);

	must(p != NULL);
	*p = *like;
	p->len = len;
	memcpy(p->data, data, len);
	TAILQ_INSERT_TAIL(&w->sent, p, link);
	w->nsent++;
}

static uint32_t
get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

/* IP's header at `ip`: its length; fills in what it says. */
static uint32_t
read_ip(const struct rte_mbuf *m, const uint8_t *ip, uint32_t bytes, struct uw_packet *p)
{
	uint32_t head = 40;

	if (ip[0] >> 4 == 4) {
		must(ip[0] == 0x45 && get16(ip + 2) == bytes);
		must(m->ol_flags & RTE_MBUF_F_TX_IP_CKSUM);
		p->proto = ip[9];
		p->id = get16(ip + 4);
		p->off = (get16(ip + 6) & 0x1fff) * 8;
		p->more = (get16(ip + 6) & 0x2000) != 0;
		p->df = (get16(ip + 6) & 0x4000) != 0;
		p->flow.local = p->flow.remote = qp_ipaddr_v4(0);
		memcpy(&p->flow.local.w[3], ip + 12, 4);
		memcpy(&p->flow.remote.w[3], ip + 16, 4);
		p->fragment = p->more || p->off != 0;
		return 20;
	}
	must(ip[0] >> 4 == 6 && get16(ip + 4) == bytes - 40);
	p->v6 = true;
	p->proto = ip[6];
	memcpy(&p->flow.local, ip + 8, 16);
	memcpy(&p->flow.remote, ip + 24, 16);
	if (p->proto == IPPROTO_FRAGMENT) {
		p->fragment = true;
		p->proto = ip[40];
		p->off = get16(ip + 42) & 0xfff8;
		p->more = ip[43] & 1;
		p->id = get16(ip + 44) << 16 | get16(ip + 46);
		head += 8;
	}
	return head;
}

static void
keep_datagrams(struct uw *w, const struct rte_mbuf *m, struct uw_packet *p, const uint8_t *udp,
	uint32_t len, uint32_t head)
{
	const bool super = (m->ol_flags & RTE_MBUF_F_TX_UDP_SEG) != 0;
	const uint32_t step = super ? m->tso_segsz : len - 8;

	must((m->ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_UDP_CKSUM || super);
	must(get16(udp + 4) == len && m->l4_len == 8);
	must(!super || (w->segmentation && step > 0 && step < len - 8));
	memcpy(&p->flow.lport_be, udp, 2);
	memcpy(&p->flow.rport_be, udp + 2, 2);
	p->in_super = super ? (len - 8 + step - 1) / step : 1;
	for (uint32_t off = 0; off < len - 8 || off == 0; off += step) {
		uint32_t n = RTE_MIN(step, len - 8 - off);

		p->wire_bytes = head + 8 + n;
		keep(w, p, udp + 8 + off, n);
		if (step == 0)
			break;
	}
}

static void
transmit(void *ctx, struct rte_mbuf *m)
{
	static uint8_t buf[70000];
	const uint8_t *frame = rte_pktmbuf_read(m, 0, m->pkt_len, buf), *ip = frame + ETHER;
	struct uw_packet p = {0};
	uint32_t bytes = m->pkt_len - ETHER, head;
	struct uw *w = ctx;

	rte_mbuf_sanity_check(m, 1);
	must(memcmp(frame, outside_mac, 6) == 0 && memcmp(frame + 6, gateway_mac, 6) == 0);
	head = read_ip(m, ip, bytes, &p);
	must(m->l2_len == ETHER && m->l3_len == head);
	p.wire_bytes = bytes;
	if (p.proto == IPPROTO_UDP && !p.fragment) {
		keep_datagrams(w, m, &p, ip + head, bytes - head, head);
	} else {
		if (!p.fragment)
			must(uw_sum(p.v6 ? uw_pseudo(true, &p.flow, p.proto, bytes - head) : 0,
				     ip + head, bytes - head) == 0xffff);
		keep(w, &p, ip + head, bytes - head);
	}
	rte_pktmbuf_free(m);
}

struct uw_packet *
uw_take(struct uw *w)
{
	struct uw_packet *p;

	uw_flush(w);
	p = TAILQ_FIRST(&w->sent);
	if (p != NULL)
		TAILQ_REMOVE(&w->sent, p, link);
	return p;
}

/* What arrives. */

struct qp_flow
uw_flow(bool v6, uint16_t peer)
{
	struct qp_flow f = {
		.local = qp_ipaddr_v4(htonl(0xc0000201)),
		.remote = qp_ipaddr_v4(htonl(0xc6336407)),
		.lport_be = htons(UW_PORT),
		.rport_be = htons(peer),
	};

	if (v6) {
		f.local = (struct qp_ipaddr) {.b = {0x20, 1, 0xd, 0xb8, [15] = 1}};
		f.remote = (struct qp_ipaddr) {.b = {0x20, 1, 0xd, 0xb8, 7, [15] = 7}};
	}
	return f;
}

uint8_t
uw_pattern(size_t i, unsigned salt)
{
	return (uint8_t)(i * 7 + (i >> 8) + salt * 31);
}

void
uw_udp(uint8_t *buf, bool v6, uint16_t peer, size_t len, unsigned salt)
{
	const struct qp_flow f = uw_flow(v6, peer);
	struct rte_udp_hdr h = {.src_port = f.rport_be, .dst_port = f.lport_be,
		.dgram_len = htons((uint16_t)(len + 8))};

	for (size_t i = 0; i < len; i++)
		buf[8 + i] = uw_pattern(i, salt);
	memcpy(buf, &h, 8);
	h.dgram_cksum = htons((uint16_t)~uw_sum(uw_pseudo(v6, &f, IPPROTO_UDP, len + 8), buf, len + 8));
	if (h.dgram_cksum == 0)
		h.dgram_cksum = 0xffff;
	memcpy(buf, &h, 8);
}

static void
append(struct uw *w, struct rte_mbuf *m, const uint8_t *data, size_t len)
{
	struct rte_mbuf *tail = rte_pktmbuf_lastseg(m);

	for (size_t n; len > 0; data += n, len -= n) {
		if (rte_pktmbuf_tailroom(tail) == 0) {
			tail->next = rte_pktmbuf_alloc(w->pool);
			must(tail->next != NULL);
			tail = tail->next;
			m->nb_segs++;
		}
		n = RTE_MIN(len, (size_t)rte_pktmbuf_tailroom(tail));
		memcpy(rte_pktmbuf_mtod_offset(tail, uint8_t *, tail->data_len), data, n);
		tail->data_len += (uint16_t)n;
		m->pkt_len += (uint32_t)n;
	}
}

static void
put_v4(uint8_t *h, const struct uw_ip *ip, size_t len)
{
	const struct qp_flow f = uw_flow(false, 0);
	uint32_t total = (uint32_t)len + 20, field = ip->off / 8 | (ip->more ? 0x2000u : 0);
	const uint8_t head[12] = {0x45, 0, (uint8_t)(total >> 8), (uint8_t)total,
		(uint8_t)(ip->id >> 8), (uint8_t)ip->id, (uint8_t)(field >> 8), (uint8_t)field, 64,
		ip->proto};
	uint16_t sum;

	memcpy(h, head, 12);
	memcpy(h + 12, &f.remote.b[12], 4);
	memcpy(h + 16, &f.local.b[12], 4);
	sum = (uint16_t)~uw_sum(0, h, 20);
	h[10] = (uint8_t)(sum >> 8);
	h[11] = (uint8_t)sum;
}

static uint32_t
put_v6(uint8_t *h, const struct uw_ip *ip, size_t len)
{
	const struct qp_flow f = uw_flow(true, 0);
	const bool frag = ip->off != 0 || ip->more || ip->header;
	uint32_t payload = (uint32_t)len + (frag ? 8 : 0);
	const uint8_t head[8] = {0x60, 0, 0, 0, (uint8_t)(payload >> 8), (uint8_t)payload,
		frag ? IPPROTO_FRAGMENT : ip->proto, 64};
	const uint8_t ext[8] = {ip->proto, 0, (uint8_t)(ip->off >> 8),
		(uint8_t)((ip->off & 0xf8) | ip->more), (uint8_t)(ip->id >> 24),
		(uint8_t)(ip->id >> 16), (uint8_t)(ip->id >> 8), (uint8_t)ip->id};

	memcpy(h, head, 8);
	memcpy(h + 8, &f.remote, 16);
	memcpy(h + 24, &f.local, 16);
	if (!frag)
		return 40;
	memcpy(h + 40, ext, 8);
	return 48;
}

struct rte_mbuf *
uw_frame(struct uw *w, const struct uw_ip *ip, const void *data, size_t len)
{
	uint8_t head[ETHER + 48] = {QP_CLS_MARK_0, QP_CLS_MARK_MTU, 0, 0, (uint8_t)(w->mtu >> 8),
		(uint8_t)w->mtu};
	struct rte_mbuf *m = rte_pktmbuf_alloc(w->pool);
	uint32_t n = 20;

	must(m != NULL);
	memcpy(head + 6, outside_mac, 6);
	head[12] = ip->v6 ? 0x86 : 0x08;
	head[13] = ip->v6 ? 0xdd : 0x00;
	if (ip->v6)
		n = put_v6(head + ETHER, ip, len);
	else
		put_v4(head + ETHER, ip, len);
	append(w, m, head, ETHER + n);
	append(w, m, data, len);
	return m;
}

void
uw_input(struct uw *w, struct rte_mbuf *m)
{
	struct qp_packet pkt;
	enum qp_ip_verdict v = qp_ip_parse(m, &pkt);

	if (v == QP_IP_OK && pkt.proto == IPPROTO_UDP) {
		qp_udp_input(w->udp, m, &pkt);
		return;
	}
	if (v == QP_IP_FRAGMENT && qp_udp_fragment(w->udp, m))
		return;
	if (v == QP_IP_OK && (pkt.proto == IPPROTO_ICMP || pkt.proto == IPPROTO_ICMPV6) &&
		qp_udp_icmp_input(w->udp, m, &pkt))
		return;
	w->unclaimed++;
	rte_pktmbuf_free(m);
}

void
uw_datagram(struct uw *w, bool v6, uint16_t peer, size_t len, unsigned salt, uint16_t segsz)
{
	static uint8_t buf[70000];
	const struct uw_ip ip = {.v6 = v6, .proto = IPPROTO_UDP};
	struct rte_mbuf *m;

	uw_udp(buf, v6, peer, len, salt);
	m = uw_frame(w, &ip, buf, len + 8);
	if (segsz != 0) {
		m->ol_flags |= RTE_MBUF_F_RX_LRO;
		m->tso_segsz = segsz;
	}
	uw_input(w, m);
}

/* The client. */

/* Finds the n-th; *seen: how many there are before it, or in all. */
static bool
find_record(const struct qp_quic_stream *s, unsigned nth, const uint8_t **data, size_t *len, unsigned *seen)
{
	size_t at = 4;

	for (*seen = 0; at + 4 <= s->out_len; (*seen)++) {
		*len = (size_t)get16(s->out + at) << 16 | get16(s->out + at + 2);
		*data = s->out + at + 4;
		at += 4 + *len;
		must(at <= s->out_len);
		if (*seen == nth)
			return true;
	}
	must(at == s->out_len);
	return false;
}

bool
uw_record(const struct qp_quic_stream *s, unsigned nth, const uint8_t **data, size_t *len)
{
	unsigned seen;

	return find_record(s, nth, data, len, &seen);
}

unsigned
uw_records(const struct qp_quic_stream *s)
{
	const uint8_t *data;
	unsigned seen;
	size_t len;

	(void)find_record(s, UINT32_MAX, &data, &len, &seen);
	return seen;
}

/* In pieces of what a QUIC packet may hold. */
void
uw_bytes(struct qp_quic_stream *s, const void *data, size_t len, bool fin)
{
	const uint8_t *p = data;

	for (size_t n; s->ctx != NULL && (len > 0 || fin); p += n, len -= n) {
		n = RTE_MIN(len, (size_t)1400);
		qp_udp_stream_data(s->ctx, p, n, fin && n == len);
		if (n == len)
			break;
	}
}

void
uw_answer(struct uw *w, struct qp_quic_stream *s, size_t len, unsigned salt)
{
	static uint8_t buf[70000];

	buf[0] = (uint8_t)(len >> 24);
	buf[1] = (uint8_t)(len >> 16);
	buf[2] = (uint8_t)(len >> 8);
	buf[3] = (uint8_t)len;
	for (size_t i = 0; i < len; i++)
		buf[4 + i] = uw_pattern(i, salt);
	uw_bytes(s, buf, len + 4, false);
}

void
uw_sent(struct qp_quic_stream *s)
{
	s->unsent = 0;
}

void
uw_acked(struct qp_quic_stream *s)
{
	uw_sent(s);
	must(s->ctx != NULL);
	qp_udp_stream_acked(s->ctx, s->out_len);
}

void
uw_allow(struct uw *w, unsigned n)
{
	w->conn.streams_left += n;
	qp_udp_open_waiting(&w->tunnel);
}

/* The world. */

static uint64_t
random64(void *ctx)
{
	static uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

void
uw_init(void)
{
	test_eal_init();
	pool = test_pool("udp", UW_POOL, RTE_MBUF_DEFAULT_BUF_SIZE);
	indirect = test_pool("clones", UW_POOL, 0);
}

struct uw *
uw_new(void)
{
	struct uw *w = calloc(1, sizeof(*w));

	must(w != NULL);
	w->now_ns = 1000 * UW_MS;
	w->wheel = qp_wheel_new(w->now_ns);
	w->pool = pool;
	w->indirect = indirect;
	w->segmentation = true;
	qp_udp_config_default(&w->cfg);
	w->conn = (struct qp_quic_conn) {.w = w, .streams_left = 10000};
	TAILQ_INIT(&w->sent);
	return w;
}

static void
open_port(struct uw *w)
{
	w->tunnel = (struct qp_tunnel) {
		.state = QP_TUNNEL_OPEN, .all = &w->tunnels, .conn = &w->conn, .port = UW_PORT};
	TAILQ_INIT(&w->tunnel.flows);
	TAILQ_INIT(&w->tunnel.waiting_flows);
	must(qp_udp_listen(w->udp, NULL, htons(UW_PORT), &w->tunnel, &w->tunnel.udp_port) == 0);
}

void
uw_start(struct uw *w)
{
	struct qp_udp_env env = {
		.now_ns = &w->now_ns,
		.wheel = w->wheel,
		.pool = w->pool,
		.indirect_pool = w->indirect,
		.udp_segmentation = w->segmentation,
		.transmit = transmit,
		.transmit_ctx = w,
		.mem_level = &w->mem_level,
		.random = random64,
	};

	memcpy(env.own_mac, gateway_mac, 6);
	w->udp = qp_udp_new(&env, &w->cfg);
	must(w->udp != NULL);
	w->tunnels.env.counters = &w->counters;
	w->tunnels.env.now_ns = &w->now_ns;
	open_port(w);
}

void
uw_flush(struct uw *w)
{
	qp_udp_flush(w->udp);
	for (unsigned i = 0; i < w->nstreams; i++)
		if (w->stream[i]->aborted)
			w->stream[i]->live = false;
}

void
uw_wait(struct uw *w, uint64_t ns)
{
	const uint64_t end = w->now_ns + ns;

	while (w->now_ns < end) {
		w->now_ns = RTE_MIN(w->now_ns + 10 * UW_MS, end);
		qp_wheel_advance(w->wheel, w->now_ns);
	}
	uw_flush(w);
}

static void
end_tunnel(struct uw *w)
{
	qp_udp_abort_all(&w->tunnel);
	qp_udp_unlisten(w->tunnel.udp_port);
	uw_flush(w);
	must(w->tunnel.nflows == 0 && w->tunnel.nwaiting == 0 && w->tunnel.held_bytes == 0);
	must(w->counters.conns_active == 0 && qp_udp_counters(w->udp)->flows == 0);
	must(qp_udp_counters(w->udp)->queued_bytes == 0);
	must(w->tunnel.relay_ids.used == 0);
	qp_slots_fini(&w->tunnel.relay_ids);
}

/* What the test has looked at, or not. */
static void
forget(struct uw *w)
{
	struct uw_packet *p;

	while ((p = TAILQ_FIRST(&w->sent)) != NULL) {
		TAILQ_REMOVE(&w->sent, p, link);
		free(p);
	}
	for (unsigned i = 0; i < w->nstreams; i++) {
		free(w->stream[i]->out);
		free(w->stream[i]);
	}
	free(w->stream);
	w->stream = NULL;
	w->nstreams = 0;
}

static void
check_pools(void)
{
	must(rte_mempool_avail_count(pool) == UW_POOL);
	must(rte_mempool_avail_count(indirect) == UW_POOL);
}

void
uw_reset(struct uw *w)
{
	end_tunnel(w);
	/* Fragments go in time. */
	w->now_ns += w->udp->cfg.fragment_ns + UW_MS;
	qp_wheel_advance(w->wheel, w->now_ns);
	check_pools();
	forget(w);
	w->conn = (struct qp_quic_conn) {.w = w, .streams_left = 10000};
	w->mem_level = QP_MEM_PLENTY;
	w->mtu = 0;
	open_port(w);
}

void
uw_free(struct uw *w)
{
	end_tunnel(w);
	qp_udp_free(w->udp);
	check_pools();
	forget(w);
	qp_wheel_free(w->wheel);
	free(w);
}
