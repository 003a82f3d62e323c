/* SPDX-License-Identifier: Apache-2.0 */
/* Frames in: each way to be wrong has its verdict. Frames out: what went in comes back. */
#include "dataplane/ip.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include <rte_mbuf.h>

#include "dataplane/cksum.h"
#include "dataplane/mbufs.h"
#include "tests/tcp/eal.h"

static struct rte_mempool *pool;

static void
start(void)
{
	test_eal_init();
	pool = test_pool("ip", 511, RTE_PKTMBUF_HEADROOM + 2048);
}

TestSuite(ip, .init = start);

static void
put16(uint8_t *p, unsigned v)
{
	p[0] = v >> 8;
	p[1] = v & 0xff;
}

/* The plainest RFC 1071 sum, as a reference: big-endian 16-bit words. */
static uint16_t
reference_sum(const uint8_t *p, size_t len, uint64_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 == 0 ? (uint32_t)p[i] << 8 : p[i];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* The largest words, zeros, the smallest and the largest of signed words, and a mixture. */
static void
fill_bytes(uint8_t *bytes, size_t n, unsigned fill)
{
	static const uint8_t same[] = {0xff, 0, 0x80, 0x7f};

	for (size_t i = 0; i < n; i++)
		bytes[i] = fill < sizeof(same) ? same[fill] : (uint8_t)(i * 167 + i / 7);
}

/* More than any packet has, and no multiple of what is summed at a time. */
Test(ip, checksum_of_many_bytes_is_the_plain_sum)
{
	static uint8_t bytes[300003];

	for (unsigned fill = 0; fill < 5; fill++) {
		uint16_t sum;

		fill_bytes(bytes, sizeof(bytes), fill);
		sum = qp_cksum_fold(qp_cksum_bytes(bytes + 1, sizeof(bytes) - 1));
		cr_assert_eq(ntohs(sum), reference_sum(bytes + 1, sizeof(bytes) - 1, 0), "fill %u", fill);
	}
}

/* By blocks, words and bytes; wherever it starts; sums that carry, too. */
Test(ip, checksum_of_any_length_at_any_place_is_the_plain_sum)
{
	static uint8_t bytes[4096 + 64];

	for (unsigned fill = 0; fill < 5; fill++) {
		fill_bytes(bytes, sizeof(bytes), fill);
		for (uint32_t len = 0; len <= 4096; len += len < 300 ? 1 : 149) {
			for (unsigned at = 0; at < 64; at += 3) {
				uint16_t sum = qp_cksum_fold(qp_cksum_bytes(bytes + at, len));

				cr_assert_eq(ntohs(sum), reference_sum(bytes + at, len, 0),
					"%u bytes at %u", len, at);
			}
		}
	}
}

struct frame {
	uint8_t b[4096];
	unsigned len;
	unsigned l4; /* offset of the transport header */
};

static void
ethernet(struct frame *f, unsigned type)
{
	static const uint8_t macs[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};

	memcpy(f->b, macs, 12);
	put16(f->b + 12, type);
}

static void
fill_l4(struct frame *f, unsigned proto, unsigned len, uint32_t pseudo)
{
	uint8_t *l4 = f->b + f->l4;
	unsigned at = proto == 6 ? 16 : proto == 17 ? 6 : 2;
	uint16_t sum;

	for (unsigned i = 0; i < len; i++)
		l4[i] = i * 7 + 1;
	if (proto == 6)
		l4[12] = 0x50;
	if (proto == 17)
		put16(l4 + 4, len);
	put16(l4 + at, 0);
	sum = reference_sum(l4, len, proto == 1 ? 0 : pseudo + proto + len);
	put16(l4 + at, (uint16_t)~sum);
	f->len = f->l4 + len;
}

static struct frame
v4_frame(unsigned proto, unsigned options, unsigned l4_len)
{
	struct frame f = {.l4 = 14 + 20 + options};
	uint8_t *ip = f.b + 14;
	static const uint8_t addrs[8] = {192, 0, 2, 1, 192, 0, 2, 99};

	ethernet(&f, 0x0800);
	ip[0] = 0x40 | (20 + options) / 4;
	ip[1] = 0x12;
	put16(ip + 2, 20 + options + l4_len);
	put16(ip + 6, 0x4000);
	ip[8] = 61;
	ip[9] = proto;
	memcpy(ip + 12, addrs, 8);
	memset(ip + 20, 1, options); /* NOP */
	put16(ip + 10, (uint16_t)~reference_sum(ip, 20 + options, 0));
	fill_l4(&f, proto, l4_len, reference_sum(addrs, 8, 0));
	return f;
}

/* `ext`: extension headers, the first of type `first`; their last byte chain ends in `proto`. */
static struct frame
v6_frame(unsigned proto, unsigned first, const uint8_t *ext, unsigned ext_len, unsigned l4_len)
{
	struct frame f = {.l4 = 14 + 40 + ext_len};
	uint8_t *ip = f.b + 14;

	ethernet(&f, 0x86dd);
	ip[0] = 0x61;
	ip[1] = 0x20;
	put16(ip + 4, ext_len + l4_len);
	ip[6] = first;
	ip[7] = 61;
	memcpy(ip + 8, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
	memcpy(ip + 24, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x99", 16);
	if (ext_len)
		memcpy(ip + 40, ext, ext_len);
	fill_l4(&f, proto, l4_len, reference_sum(ip + 8, 32, 0));
	return f;
}

/* As a chain of mbufs, the first of which holds `first` bytes. */
static struct rte_mbuf *
to_mbuf(const struct frame *f, unsigned first, unsigned each)
{
	struct rte_mbuf *head = rte_pktmbuf_alloc(pool);
	unsigned done = RTE_MIN(first, f->len);

	memcpy(rte_pktmbuf_append(head, done), f->b, done);
	while (done < f->len) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
		unsigned n = RTE_MIN(each, f->len - done);

		memcpy(rte_pktmbuf_append(m, n), f->b + done, n);
		rte_pktmbuf_chain(head, m);
		done += n;
	}
	return head;
}

static enum qp_ip_verdict
verdict_of(const struct frame *f)
{
	struct rte_mbuf *m = to_mbuf(f, 2048, 2048);
	struct qp_packet pkt;
	enum qp_ip_verdict v = qp_ip_parse(m, &pkt);

	rte_pktmbuf_free(m);
	return v;
}

#define CHECK(got, want) \
	cr_expect((got) == (want), "got %s, want %s", qp_ip_verdict_text(got), #want)

Test(ip, v4_tcp_with_options_and_padding_parses_and_is_trimmed)
{
	for (unsigned options = 0; options <= 40; options += 4) {
		struct frame f = v4_frame(6, options, 25);
		struct rte_mbuf *m;
		struct qp_packet pkt;

		f.len += 19; /* Ethernet padding, not zero */
		m = to_mbuf(&f, 2048, 0);
		CHECK(qp_ip_parse(m, &pkt), QP_IP_OK);
		cr_expect_eq(m->pkt_len, f.len - 19);
		cr_expect_eq(pkt.l4_off, 34 + options);
		cr_expect_eq(pkt.l4_len, 25);
		cr_expect_eq(pkt.tos, 0x12);
		cr_expect_eq(pkt.ttl, 61);
		cr_expect_eq(ntohs(pkt.flow.rport_be), 0x0108);
		cr_expect_eq(ntohs(pkt.flow.lport_be), 0x0f16);
		cr_expect_eq(ntohl(pkt.flow.remote.w[3]), 0xc0000201);
		cr_expect_eq(ntohl(pkt.flow.local.w[3]), 0xc0000263);
		cr_expect_eq(pkt.flow.l2.peer_mac[5], 2);
		cr_expect_eq(pkt.segsz, 0);
		rte_pktmbuf_free(m);
	}
}

Test(ip, each_protocol_any_length_any_chain_verifies)
{
	static const unsigned protos[] = {6, 17, 1};

	for (unsigned p = 0; p < 3; p++) {
		for (unsigned len = 20; len < 1500; len += 37) {
			struct frame f4 = v4_frame(protos[p], 0, len);
			struct frame f6 = v6_frame(protos[p] == 1 ? 58 : protos[p],
				protos[p] == 1 ? 58 : protos[p], NULL, 0, len);
			struct rte_mbuf *m4 = to_mbuf(&f4, 80 + len % 5, 23 + len % 97);
			struct rte_mbuf *m6 = to_mbuf(&f6, 80 + len % 5, 23 + len % 97);
			struct qp_packet pkt;

			CHECK(qp_ip_parse(m4, &pkt), QP_IP_OK);
			CHECK(qp_ip_parse(m6, &pkt), QP_IP_OK);
			rte_pktmbuf_free(m4);
			rte_pktmbuf_free(m6);
			/* One flipped bit anywhere in the transport part must be seen. */
			f4.b[f4.l4 + len * 7 % len] ^= 0x10;
			f6.b[f6.l4 + len / 2] ^= 0x01;
			cr_expect(verdict_of(&f4) != QP_IP_OK);
			cr_expect(verdict_of(&f6) != QP_IP_OK);
		}
	}
	cr_assert_eq(rte_mempool_in_use_count(pool), 0);
}

Test(ip, every_truncation_is_short_or_wrong_never_ok)
{
	static const uint8_t ext[8] = {6, 0, 1, 4, 0, 0, 0, 0};
	struct frame frames[] = {v4_frame(6, 12, 40), v4_frame(17, 0, 30), v4_frame(1, 0, 30),
		v6_frame(6, 0, ext, 8, 40), v6_frame(58, 58, NULL, 0, 24)};

	for (unsigned i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		CHECK(verdict_of(&frames[i]), QP_IP_OK);
		for (unsigned full = frames[i].len; frames[i].len-- > 0 && full > 0;)
			CHECK(verdict_of(&frames[i]), QP_IP_SHORT);
	}
}

struct v4_edit {
	const char *what;
	unsigned at; /* from the IP header */
	uint8_t value;
	bool resum;
	enum qp_ip_verdict want;
};

Test(ip, v4_field_wrong_has_its_verdict)
{
	static const struct v4_edit edits[] = {
		{"version 5", 0, 0x55, true, QP_IP_BAD_HEADER},
		{"header length 16", 0, 0x44, false, QP_IP_BAD_HEADER},
		{"total below header", 3, 19, true, QP_IP_BAD_HEADER},
		{"total below TCP", 3, 39, true, QP_IP_SHORT},
		{"total beyond frame", 2, 0x7f, true, QP_IP_SHORT},
		{"header checksum", 10, 0xff, false, QP_IP_BAD_IP_CKSUM},
		{"more fragments", 6, 0x20, true, QP_IP_FRAGMENT},
		{"fragment offset", 7, 0x01, true, QP_IP_FRAGMENT},
		{"protocol", 9, 47, true, QP_IP_PROTO},
		{"ICMPv6 in IPv4", 9, 58, true, QP_IP_PROTO},
		{"source 0.x", 12, 0, true, QP_IP_BAD_ADDR},
		{"source multicast", 12, 224, true, QP_IP_BAD_ADDR},
		{"source broadcast", 12, 255, true, QP_IP_BAD_ADDR},
		{"dest multicast", 16, 239, true, QP_IP_BAD_ADDR},
		{"source changed", 13, 7, true, QP_IP_BAD_L4_CKSUM},
	};

	for (size_t i = 0; i < sizeof(edits) / sizeof(edits[0]); i++) {
		struct frame f = v4_frame(6, 0, 40);
		uint8_t *ip = f.b + 14;
		enum qp_ip_verdict v;

		ip[edits[i].at] = edits[i].value;
		if (edits[i].resum) {
			put16(ip + 10, 0);
			put16(ip + 10, (uint16_t)~reference_sum(ip, 20, 0));
		}
		v = verdict_of(&f);
		cr_expect(v == edits[i].want, "%s: %s", edits[i].what, qp_ip_verdict_text(v));
	}
}

Test(ip, loopback_source_is_taken)
{
	struct frame f = v4_frame(17, 0, 20);
	uint8_t *ip = f.b + 14;

	memcpy(ip + 12, "\x7f\0\0\1\x7f\0\0\1", 8);
	put16(ip + 10, 0);
	put16(ip + 10, (uint16_t)~reference_sum(ip, 20, 0));
	fill_l4(&f, 17, 20, reference_sum(ip + 12, 8, 0));
	CHECK(verdict_of(&f), QP_IP_OK);
}

struct v6_case {
	const char *what;
	unsigned first;
	uint8_t ext[32];
	unsigned len;
	enum qp_ip_verdict want;
};

Test(ip, v6_extension_headers_have_their_verdicts)
{
	static const struct v6_case cases[] = {
		{"none", 6, {0}, 0, QP_IP_OK},
		{"hop-by-hop, PadN", 0, {6, 0, 1, 4}, 8, QP_IP_OK},
		{"hop-by-hop, router alert", 0, {6, 0, 5, 2, 0, 0, 1, 0}, 8, QP_IP_OK},
		{"hop-by-hop, 16 bytes", 0, {6, 1, 1, 12}, 16, QP_IP_OK},
		{"hop-by-hop, unknown, skip", 0, {6, 0, 0x3e, 4}, 8, QP_IP_OK},
		{"hop-by-hop, unknown, discard", 0, {6, 0, 0x7e, 4}, 8, QP_IP_EXT_HEADER},
		{"hop-by-hop, jumbogram", 0, {6, 0, 0xc2, 4, 0, 1, 0, 0}, 8, QP_IP_EXT_HEADER},
		{"hop-by-hop, option beyond it", 0, {6, 0, 1, 9}, 8, QP_IP_EXT_HEADER},
		{"hop-by-hop, cut option", 0, {6, 0, 1, 3, 0, 0, 0, 1}, 8, QP_IP_EXT_HEADER},
		{"hop-by-hop, beyond the packet", 0, {6, 9, 1, 4}, 8, QP_IP_SHORT},
		{"destination options", 60, {6, 0, 1, 4}, 8, QP_IP_OK},
		{"routing, at its end", 43, {6, 0, 0, 0}, 8, QP_IP_OK},
		{"routing, segments left", 43, {6, 0, 0, 1}, 8, QP_IP_EXT_HEADER},
		{"hop-by-hop, destination, routing", 0,
			{60, 0, 1, 4, 0, 0, 0, 0, 43, 0, 1, 4, 0, 0, 0, 0, 6, 0, 4, 0}, 24, QP_IP_OK},
		{"hop-by-hop second", 60, {0, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4}, 16,
			QP_IP_EXT_HEADER},
		{"atomic fragment", 44, {6, 0, 0, 0, 1, 2, 3, 4}, 8, QP_IP_OK},
		{"first fragment", 44, {6, 0, 0, 1, 1, 2, 3, 4}, 8, QP_IP_FRAGMENT},
		{"last fragment", 44, {6, 0, 1, 0, 1, 2, 3, 4}, 8, QP_IP_FRAGMENT},
		{"no next header", 60, {59, 0, 1, 4}, 8, QP_IP_PROTO},
		{"ESP", 50, {0}, 8, QP_IP_PROTO},
		{"ICMPv4 in IPv6", 60, {1, 0, 1, 4}, 8, QP_IP_PROTO},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct frame f = v6_frame(6, cases[i].first, cases[i].ext, cases[i].len, 33);
		enum qp_ip_verdict v = verdict_of(&f);

		cr_expect(v == cases[i].want, "%s: %s", cases[i].what, qp_ip_verdict_text(v));
	}
}

Test(ip, v6_addresses_that_cannot_be_answered)
{
	static const struct {
		unsigned at;
		const char *addr;
	} bad[] = {
		{8, "\xff\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\1"},
		{8, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"},
		{8, "\0\0\0\0\0\0\0\0\0\0\xff\xff\1\2\3\4"},
		{24, "\0\0\0\0\0\0\0\0\0\0\xff\xff\1\2\3\4"},
		{24, "\xff\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\1"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct frame f = v6_frame(17, 17, NULL, 0, 20);

		memcpy(f.b + 14 + bad[i].at, bad[i].addr, 16);
		CHECK(verdict_of(&f), QP_IP_BAD_ADDR);
	}
}

Test(ip, udp_checksum_zero_is_fine_in_v4_only)
{
	struct frame f4 = v4_frame(17, 0, 20), f6 = v6_frame(17, 17, NULL, 0, 20);

	put16(f4.b + f4.l4 + 6, 0);
	put16(f6.b + f6.l4 + 6, 0);
	CHECK(verdict_of(&f4), QP_IP_OK);
	CHECK(verdict_of(&f6), QP_IP_BAD_L4_CKSUM);
}

/* A device may call a datagram without a sum one that needs none. */
Test(ip, udp_checksum_zero_is_refused_in_v6_whatever_the_port_says)
{
	struct frame f = v6_frame(17, 17, NULL, 0, 20);
	struct rte_mbuf *m;
	struct qp_packet pkt;

	put16(f.b + f.l4 + 6, 0);
	m = to_mbuf(&f, 2048, 0);
	m->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_NONE;
	CHECK(qp_ip_parse(m, &pkt), QP_IP_BAD_L4_CKSUM);
	rte_pktmbuf_free(m);
}

Test(ip, udp_length_shorter_than_ip_cuts_longer_is_refused)
{
	struct frame f = v4_frame(17, 0, 40);
	uint8_t *udp = f.b + f.l4;
	struct rte_mbuf *m;
	struct qp_packet pkt;

	put16(udp + 4, 30);
	put16(udp + 6, 0);
	m = to_mbuf(&f, 2048, 0);
	CHECK(qp_ip_parse(m, &pkt), QP_IP_OK);
	cr_expect_eq(pkt.l4_len, 30);
	cr_expect_eq(m->pkt_len, f.l4 + 30);
	rte_pktmbuf_free(m);
	put16(udp + 4, 41);
	CHECK(verdict_of(&f), QP_IP_BAD_HEADER);
	put16(udp + 4, 7);
	CHECK(verdict_of(&f), QP_IP_BAD_HEADER);
}

/* NONE: a neighbour that is no wire (virtio) has not put the sum in, and says that the bytes are right. */
Test(ip, port_verdicts_are_believed)
{
	static const struct {
		uint64_t flags;
		enum qp_ip_verdict want;
	} cases[] = {
		{RTE_MBUF_F_RX_L4_CKSUM_GOOD, QP_IP_OK},
		{RTE_MBUF_F_RX_L4_CKSUM_BAD, QP_IP_BAD_L4_CKSUM},
		{RTE_MBUF_F_RX_L4_CKSUM_NONE, QP_IP_OK},
		{0, QP_IP_BAD_L4_CKSUM},
		{RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_IP_CKSUM_BAD, QP_IP_BAD_IP_CKSUM},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct frame f = v4_frame(6, 0, 40);
		struct rte_mbuf *m;
		struct qp_packet pkt;

		f.b[f.l4 + 30] ^= 1; /* as with a partial checksum */
		m = to_mbuf(&f, 2048, 0);
		m->ol_flags |= cases[i].flags;
		CHECK(qp_ip_parse(m, &pkt), cases[i].want);
		rte_pktmbuf_free(m);
	}
}

Test(ip, icmp_is_summed_whatever_the_port_says)
{
	struct frame f = v4_frame(1, 0, 40);
	struct rte_mbuf *m;
	struct qp_packet pkt;

	f.b[f.l4 + 20] ^= 1;
	m = to_mbuf(&f, 2048, 0);
	m->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	CHECK(qp_ip_parse(m, &pkt), QP_IP_BAD_L4_CKSUM);
	rte_pktmbuf_free(m);
}

Test(ip, super_segment_reports_its_segment_size)
{
	struct frame f = v4_frame(6, 0, 3000);
	struct rte_mbuf *m = to_mbuf(&f, 1514, 1000);
	struct qp_packet pkt;

	m->ol_flags |= RTE_MBUF_F_RX_LRO;
	m->tso_segsz = 1448;
	CHECK(qp_ip_parse(m, &pkt), QP_IP_OK);
	cr_expect_eq(pkt.segsz, 1448);
	rte_pktmbuf_free(m);
}

/* What the port does with checksum offload flags, by the book. */
static void
finish_like_a_port(struct rte_mbuf *m)
{
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
	uint8_t *l4 = frame + m->l2_len + m->l3_len;
	uint32_t len = m->pkt_len - m->l2_len - m->l3_len;
	uint8_t *field;

	if (m->ol_flags & RTE_MBUF_F_TX_IP_CKSUM)
		put16(frame + m->l2_len + 10,
			(uint16_t)~reference_sum(frame + m->l2_len, m->l3_len, 0));
	switch (m->ol_flags & RTE_MBUF_F_TX_L4_MASK) {
	case RTE_MBUF_F_TX_TCP_CKSUM:
		field = l4 + 16;
		break;
	case RTE_MBUF_F_TX_UDP_CKSUM:
		field = l4 + 6;
		break;
	default:
		return;
	}
	uint8_t *flat = malloc(len);
	rte_pktmbuf_read(m, m->l2_len + m->l3_len, len, flat);
	if (rte_pktmbuf_read(m, m->l2_len + m->l3_len, len, flat) != flat)
		memcpy(flat, l4, len);
	put16(field, (uint16_t)~reference_sum(flat, len, 0));
	free(flat);
}

Test(ip, encap_then_parse_gives_back_the_flow)
{
	static const uint8_t protos[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_ICMPV6};
	static const uint8_t mac[6] = {2, 9, 9, 9, 9, 9};

	for (unsigned i = 0; i < 4; i++) {
		for (unsigned v6 = 0; v6 < 2; v6++) {
			struct qp_flow flow = {.local = qp_ipaddr_v4(htonl(0x7f000001)),
				.remote = qp_ipaddr_v4(htonl(0xc6336407)), .l2 = {{2, 1, 2, 3, 4, 5}}};
			struct rte_mbuf *m = rte_pktmbuf_alloc(pool), *tail = rte_pktmbuf_alloc(pool);
			uint8_t *l4 = (uint8_t *)rte_pktmbuf_append(m, 33);
			struct qp_packet pkt;
			enum qp_ip_verdict v;

			if (protos[i] == (v6 ? IPPROTO_ICMP : IPPROTO_ICMPV6)) {
				rte_pktmbuf_free(m);
				rte_pktmbuf_free(tail);
				continue;
			}
			if (v6) {
				memcpy(&flow.local, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\5", 16);
				memcpy(&flow.remote, "\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\7", 16);
			}
			memset(l4, 0x5a, 33);
			memset(rte_pktmbuf_append(tail, 11), 0xa5, 11);
			rte_pktmbuf_chain(m, tail);
			l4[12] = 0x50;
			put16(l4 + 4, protos[i] == IPPROTO_UDP ? 44 : 0x5a5a);
			m->l4_len = 20;
			qp_ip_encap(m, &flow, protos[i], 0x2e, mac);
			finish_like_a_port(m);
			v = qp_ip_parse(m, &pkt);
			cr_expect(v == QP_IP_OK, "proto %u v6 %u: %s", protos[i], v6,
				qp_ip_verdict_text(v));
			/* The receiver's local end is our remote one. */
			cr_expect(qp_ipaddr_equal(&pkt.flow.local, &flow.remote));
			cr_expect(qp_ipaddr_equal(&pkt.flow.remote, &flow.local));
			cr_expect_eq(pkt.proto, protos[i]);
			cr_expect_eq(pkt.tos, 0x2e);
			cr_expect_eq(pkt.ttl, 64);
			cr_expect_eq(pkt.l4_len, 44);
			cr_expect(memcmp(rte_pktmbuf_mtod(m, uint8_t *), flow.l2.peer_mac, 6) == 0);
			cr_expect(memcmp(rte_pktmbuf_mtod(m, uint8_t *) + 6, mac, 6) == 0);
			rte_pktmbuf_free(m);
		}
	}
	cr_assert_eq(rte_mempool_in_use_count(pool), 0);
}

Test(ip, sockaddr_round_trip_keeps_address_and_port)
{
	struct qp_ipaddr v4 = qp_ipaddr_v4(htonl(0x0a000001)), v6 = {.b = {0x20, 1, [15] = 9}}, back;
	struct sockaddr_storage ss;
	struct sockaddr unix_sa = {.sa_family = AF_UNIX};
	socklen_t len;
	uint16_t port;

	qp_ipaddr_to_sockaddr(&v4, htons(443), &ss, &len);
	cr_expect(ss.ss_family == AF_INET && len == sizeof(struct sockaddr_in));
	cr_expect(qp_ipaddr_from_sockaddr((struct sockaddr *)&ss, &back, &port) == 0);
	cr_expect(qp_ipaddr_equal(&v4, &back) && port == htons(443));
	qp_ipaddr_to_sockaddr(&v6, htons(80), &ss, &len);
	cr_expect(ss.ss_family == AF_INET6 && len == sizeof(struct sockaddr_in6));
	cr_expect(qp_ipaddr_from_sockaddr((struct sockaddr *)&ss, &back, &port) == 0);
	cr_expect(qp_ipaddr_equal(&v6, &back) && port == htons(80));
	cr_expect(qp_ipaddr_from_sockaddr(&unix_sa, &back, &port) != 0);
}

/* --- byte ranges over chains --- */

static struct rte_mbuf *
chain_of(const unsigned *sizes, unsigned n, uint8_t *next)
{
	struct rte_mbuf *head = NULL;

	for (unsigned i = 0; i < n; i++) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
		uint8_t *p = (uint8_t *)rte_pktmbuf_append(m, sizes[i]);

		for (unsigned k = 0; k < sizes[i]; k++)
			p[k] = (*next)++;
		if (head == NULL)
			head = m;
		else
			rte_pktmbuf_chain(head, m);
	}
	return head;
}

static void
check_bytes(const struct rte_mbuf *m, uint8_t first, uint32_t len)
{
	cr_assert_eq(m->pkt_len, len);
	rte_mbuf_sanity_check(m, 1);
	for (; m != NULL; m = m->next) {
		for (unsigned k = 0; k < m->data_len; k++, len--)
			cr_assert(*rte_pktmbuf_mtod_offset(m, uint8_t *, k) == first++);
	}
	cr_assert_eq(len, 0);
}

Test(ip, chain_cut_at_every_byte_from_both_ends_keeps_the_rest)
{
	static const unsigned sizes[] = {5, 0, 7, 1, 20};

	for (unsigned n = 0; n <= 33; n++) {
		uint8_t next = 0;
		struct rte_mbuf *m = qp_mbuf_trim_front(chain_of(sizes, 5, &next), n);

		if (n == 33) {
			cr_assert(m == NULL);
		} else {
			check_bytes(m, n, 33 - n);
			rte_pktmbuf_free(m);
		}
		next = 0;
		m = chain_of(sizes, 5, &next);
		qp_mbuf_truncate(m, n);
		check_bytes(m, 0, n);
		rte_pktmbuf_free(m);
	}
	cr_assert_eq(rte_mempool_in_use_count(pool), 0);
}

Test(ip, queue_of_single_bytes_is_bounded_by_bytes)
{
	static const unsigned one[] = {1}, mixed[] = {1400, 3, 0, 600};
	struct qp_mbufq q = {0}, r = {0};
	uint8_t next = 0;

	for (int i = 0; i < 4096; i++)
		qp_mbufq_append(&q, chain_of(one, 1, &next));
	cr_assert_eq(q.bytes, 4096);
	cr_assert_leq(rte_mempool_in_use_count(pool), 3);
	for (int i = 0; i < 10; i++)
		qp_mbufq_append(&r, chain_of(mixed, 4, &next));
	qp_mbufq_join(&q, &r);
	cr_assert_eq(q.bytes, 4096 + 20030);
	qp_mbufq_drop(&q, 5000);
	check_bytes(qp_mbufq_take(&q), (uint8_t)5000, 19126);
	cr_assert(q.head == NULL && q.bytes == 0);
}
