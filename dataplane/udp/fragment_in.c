/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IP fragments of UDP datagrams, to datagrams (RFC 791, 3.2; RFC 8200, 4.5; no
 * overlap: RFC 5722). A table of fixed size whose oldest entry gives way, with
 * a bound on mbufs. DPDK's librte_ip_frag takes 8 fragments a datagram as it is
 * built in distributions; 65,507 bytes at an MTU of 1,500 are 45. Runs on the
 * owning lcore.
 */
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/cksum.h"
#include "dataplane/tcp/siphash.h"
#include "dataplane/udp/internal.h"

#define SETS 256u       /* datagrams in pieces at once */
#define MAX_PIECES 128u /* 65,535 bytes at IPv4's smallest usual MTU, 576 */
#define POOL_PART 16u   /* … of the mbufs at most wait here */
#define ETHER_BYTES ((uint32_t)sizeof(struct rte_ether_hdr))

struct key {
	struct qp_ipaddr local, remote;
	uint32_t id; /* as on the wire */
	uint32_t v4; /* 1 or 0 */
};

/* A received fragment. */
struct piece {
	struct rte_mbuf *m;
	uint32_t off;  /* in the datagram, UDP header included */
	uint32_t len;
	uint16_t head; /* bytes before it in the frame */
	bool more;
};

struct set {
	struct key key;
	uint64_t end_ns;
	uint32_t total;  /* bytes, when the last piece is here; else 0 */
	uint32_t bytes;  /* that are here */
	uint16_t npieces;
	struct piece piece[MAX_PIECES]; /* by offset */
	LIST_ENTRY(set) bucket_link;
	TAILQ_ENTRY(set) link;
};
LIST_HEAD(set_bucket, set);
TAILQ_HEAD(set_queue, set);

struct qp_udp_fragments {
	struct qp_udp *udp;
	uint32_t mbufs, max_mbufs;
	struct qp_timer timer;
	struct set_queue used; /* oldest first: also the first to end */
	struct set_queue unused;
	struct set_bucket bucket[SETS];
	struct set set[SETS];
};

static struct set_bucket *
bucket_of(struct qp_udp_fragments *fr, const struct key *k)
{
	const uint64_t words[] = {k->local.q[0], k->local.q[1], k->remote.q[0], k->remote.q[1],
		(uint64_t)k->id << 1 | k->v4};

	return &fr->bucket[qp_siphash13(fr->udp->key, words, 5) % SETS];
}

/* Forgets a datagram; frees its pieces unless they were taken. */
static void
set_drop(struct qp_udp_fragments *fr, struct set *s)
{
	for (unsigned i = 0; i < s->npieces; i++) {
		if (s->piece[i].m == NULL)
			continue;
		fr->mbufs -= s->piece[i].m->nb_segs;
		rte_pktmbuf_free(s->piece[i].m);
	}
	LIST_REMOVE(s, bucket_link);
	TAILQ_REMOVE(&fr->used, s, link);
	TAILQ_INSERT_HEAD(&fr->unused, s, link);
}

static void
on_timer(struct qp_timer *timer, uint64_t now_ns)
{
	struct qp_udp_fragments *fr = (struct qp_udp_fragments *)((char *)timer -
		offsetof(struct qp_udp_fragments, timer));
	struct set *s;

	while ((s = TAILQ_FIRST(&fr->used)) != NULL && s->end_ns <= now_ns) {
		QP_UDP_COUNT(fr->udp, fragment_timeouts);
		set_drop(fr, s);
	}
	if (s != NULL)
		qp_timer_arm(fr->udp->env.wheel, timer, s->end_ns);
}

struct qp_udp_fragments *
qp_udp_fragments_new(struct qp_udp *u)
{
	struct qp_udp_fragments *fr = calloc(1, sizeof(*fr));

	if (fr == NULL)
		return NULL;
	fr->udp = u;
	fr->max_mbufs = u->env.pool->size / POOL_PART;
	fr->timer.fn = on_timer;
	TAILQ_INIT(&fr->used);
	TAILQ_INIT(&fr->unused);
	for (unsigned i = 0; i < SETS; i++)
		TAILQ_INSERT_TAIL(&fr->unused, &fr->set[i], link);
	return fr;
}

void
qp_udp_fragments_free(struct qp_udp_fragments *fr)
{
	if (fr == NULL)
		return;
	qp_timer_cancel(fr->udp->env.wheel, &fr->timer);
	while (!TAILQ_EMPTY(&fr->used))
		set_drop(fr, TAILQ_FIRST(&fr->used));
	free(fr);
}

/* The datagram of a key, perhaps a new one; the oldest gives way. */
static struct set *
set_of(struct qp_udp_fragments *fr, const struct key *key)
{
	struct set_bucket *b = bucket_of(fr, key);
	struct set *s;

	LIST_FOREACH(s, b, bucket_link)
		if (memcmp(&s->key, key, sizeof(*key)) == 0)
			return s;
	s = TAILQ_FIRST(&fr->unused);
	if (s == NULL) {
		QP_UDP_COUNT(fr->udp, fragment_limit);
		set_drop(fr, TAILQ_FIRST(&fr->used));
		s = TAILQ_FIRST(&fr->unused);
	}
	TAILQ_REMOVE(&fr->unused, s, link);
	TAILQ_INSERT_TAIL(&fr->used, s, link);
	LIST_INSERT_HEAD(b, s, bucket_link);
	s->key = *key;
	s->end_ns = *fr->udp->env.now_ns + fr->udp->cfg.fragment_ns;
	s->total = s->bytes = 0;
	s->npieces = 0;
	if (!qp_timer_armed(&fr->timer))
		qp_timer_arm(fr->udp->env.wheel, &fr->timer, s->end_ns);
	return s;
}

/* 0: not a fragment of a UDP datagram that can be right. */
static bool
parse_v4(const struct rte_mbuf *m, struct key *k, struct piece *p)
{
	const struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(m, const void *, ETHER_BYTES);
	uint32_t hlen = rte_ipv4_hdr_len(ip), total = rte_be_to_cpu_16(ip->total_length);
	uint16_t field = rte_be_to_cpu_16(ip->fragment_offset);

	/* qp_ip_parse has looked at lengths and checksum before it said that this is a fragment. */
	if (ip->next_proto_id != IPPROTO_UDP)
		return false;
	k->local = qp_ipaddr_v4(ip->dst_addr);
	k->remote = qp_ipaddr_v4(ip->src_addr);
	k->id = ip->packet_id;
	k->v4 = 1;
	p->head = (uint16_t)(ETHER_BYTES + hlen);
	p->off = (uint32_t)(field & RTE_IPV4_HDR_OFFSET_MASK) * 8;
	p->len = total - hlen;
	p->more = (field & RTE_IPV4_HDR_MF_FLAG) != 0;
	return true;
}

/* Only with the fragment header right behind the IPv6 header, as for the classifier. */
static bool
parse_v6(const struct rte_mbuf *m, struct key *k, struct piece *p)
{
	const struct rte_ipv6_hdr *ip = rte_pktmbuf_mtod_offset(m, const void *, ETHER_BYTES);
	const uint8_t *frag = (const uint8_t *)(ip + 1);
	uint16_t field;

	if (ip->proto != IPPROTO_FRAGMENT || frag[0] != IPPROTO_UDP)
		return false;
	memcpy(&field, frag + 2, sizeof(field));
	field = rte_be_to_cpu_16(field);
	memcpy(&k->local, ip->dst_addr, 16);
	memcpy(&k->remote, ip->src_addr, 16);
	memcpy(&k->id, frag + 4, sizeof(k->id));
	k->v4 = 0;
	p->head = (uint16_t)(ETHER_BYTES + sizeof(*ip) + RTE_IPV6_FRAG_HDR_SIZE);
	p->off = field & 0xfff8u;
	p->len = rte_be_to_cpu_16(ip->payload_len) - (uint32_t)RTE_IPV6_FRAG_HDR_SIZE;
	p->more = (field & 1) != 0;
	return true;
}

static bool
contradicts(const struct set *s, const struct piece *p)
{
	if (p->len == 0 || (p->more && p->len % 8 != 0) || p->off + p->len > UINT16_MAX)
		return true;
	if (s->total != 0 && (p->off + p->len > s->total || !p->more))
		return true;
	/* The last piece, and one that is here already reaches beyond it. */
	return !p->more && s->npieces > 0 &&
	       s->piece[s->npieces - 1].off + s->piece[s->npieces - 1].len > p->off;
}

enum added { ADDED, TWICE, BAD, OVERLAP };

/*
 * Puts the piece in its place. Any overlap ends the datagram (RFC 5722, 3; with
 * IPv4 too, where it is nothing but an attack any more), the very same piece
 * again does not (RFC 8200, 4.5).
 */
static enum added
set_add(struct set *s, const struct piece *p)
{
	unsigned i = s->npieces;

	while (i > 0 && s->piece[i - 1].off > p->off)
		i--;
	if (i > 0 && s->piece[i - 1].off == p->off && s->piece[i - 1].len == p->len &&
		s->piece[i - 1].more == p->more)
		return TWICE;
	if (contradicts(s, p))
		return BAD;
	if ((i > 0 && s->piece[i - 1].off + s->piece[i - 1].len > p->off) ||
		(i < s->npieces && p->off + p->len > s->piece[i].off))
		return OVERLAP;
	memmove(&s->piece[i + 1], &s->piece[i], (s->npieces - i) * sizeof(*p));
	s->piece[i] = *p;
	s->npieces++;
	s->bytes += p->len;
	if (!p->more)
		s->total = p->off + p->len;
	return ADDED;
}

/* The first frame's headers, as if the datagram had come in one. */
static void
mend_headers(struct rte_mbuf *m, const struct set *s)
{
	if (s->key.v4) {
		struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(m, void *, ETHER_BYTES);

		ip->total_length = rte_cpu_to_be_16((uint16_t)(rte_ipv4_hdr_len(ip) + s->total));
		ip->fragment_offset = 0;
		ip->hdr_checksum = 0;
		ip->hdr_checksum = (uint16_t)~qp_cksum_fold(
			qp_cksum_bytes((const uint8_t *)ip, rte_ipv4_hdr_len(ip)));
	} else {
		struct rte_ipv6_hdr *ip = rte_pktmbuf_mtod_offset(m, void *, ETHER_BYTES);

		ip->proto = IPPROTO_UDP;
		ip->payload_len = rte_cpu_to_be_16((uint16_t)s->total);
		memmove(rte_pktmbuf_mtod_offset(m, uint8_t *, RTE_IPV6_FRAG_HDR_SIZE),
			rte_pktmbuf_mtod(m, uint8_t *), ETHER_BYTES + sizeof(*ip));
		rte_pktmbuf_adj(m, RTE_IPV6_FRAG_HDR_SIZE);
	}
	/* Nobody has summed the whole. */
	m->ol_flags &= ~(uint64_t)(RTE_MBUF_F_RX_L4_CKSUM_MASK | RTE_MBUF_F_RX_IP_CKSUM_MASK);
}

/* All pieces are here: one frame, and the set is free again. NULL: too long for its headers. */
static struct rte_mbuf *
assemble(struct qp_udp_fragments *fr, struct set *s)
{
	struct rte_mbuf *m = s->piece[0].m, *tail = rte_pktmbuf_lastseg(m);

	if (s->key.v4 && s->piece[0].head - ETHER_BYTES + s->total > UINT16_MAX) {
		QP_UDP_COUNT(fr->udp, fragment_bad);
		set_drop(fr, s);
		return NULL;
	}
	fr->mbufs -= m->nb_segs;
	s->piece[0].m = NULL;
	for (unsigned i = 1; i < s->npieces; i++) {
		struct rte_mbuf *next = s->piece[i].m;

		s->piece[i].m = NULL;
		fr->mbufs -= next->nb_segs;
		next = qp_mbuf_trim_front(next, s->piece[i].head);
		tail->next = next;
		tail = rte_pktmbuf_lastseg(next);
		m->nb_segs += next->nb_segs;
		m->pkt_len += next->pkt_len;
	}
	mend_headers(m, s);
	set_drop(fr, s);
	QP_UDP_COUNT(fr->udp, reassembled);
	return m;
}

/* Bounds what waits: pieces of one datagram, and mbufs in all. */
static bool
make_room(struct qp_udp_fragments *fr, struct set *s, const struct piece *p)
{
	if (s->npieces == MAX_PIECES || p->m->nb_segs > fr->max_mbufs) {
		QP_UDP_COUNT(fr->udp, fragment_limit);
		set_drop(fr, s);
		return false;
	}
	while (fr->mbufs + p->m->nb_segs > fr->max_mbufs) {
		struct set *oldest = TAILQ_FIRST(&fr->used);

		QP_UDP_COUNT(fr->udp, fragment_limit);
		set_drop(fr, oldest);
		if (oldest == s)
			return false;
	}
	return true;
}

/* The whole frame, if this was the last piece; consumes the piece's mbuf. */
static struct rte_mbuf *
add(struct qp_udp_fragments *fr, const struct key *key, const struct piece *p)
{
	struct set *s = set_of(fr, key);

	if (!make_room(fr, s, p)) {
		rte_pktmbuf_free(p->m);
		return NULL;
	}
	switch (set_add(s, p)) {
	case TWICE:
		rte_pktmbuf_free(p->m);
		return NULL;
	case BAD:
		QP_UDP_COUNT(fr->udp, fragment_bad);
		rte_pktmbuf_free(p->m);
		set_drop(fr, s);
		return NULL;
	case OVERLAP:
		QP_UDP_COUNT(fr->udp, fragment_overlap);
		rte_pktmbuf_free(p->m);
		set_drop(fr, s);
		return NULL;
	case ADDED:
		break;
	}
	fr->mbufs += p->m->nb_segs;
	return s->total != 0 && s->bytes == s->total ? assemble(fr, s) : NULL;
}

bool
qp_udp_fragment(struct qp_udp *u, struct rte_mbuf *m)
{
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	struct key key = {0};
	struct piece p = {.m = m};
	struct qp_packet pkt;

	if (eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4) ? !parse_v4(m, &key, &p)
							     : !parse_v6(m, &key, &p))
		return false;
	QP_UDP_COUNT(u, fragments_in);
	/* Padding behind the packet is not the datagram's. */
	qp_mbuf_truncate(m, p.head + p.len);
	m = add(u->fragments, &key, &p);
	if (m == NULL)
		return true;
	if (qp_ip_parse(m, &pkt) == QP_IP_OK && pkt.proto == IPPROTO_UDP) {
		qp_udp_input(u, m, &pkt);
	} else {
		QP_UDP_COUNT(u, fragment_bad);
		rte_pktmbuf_free(m);
	}
	return true;
}
