/* SPDX-License-Identifier: Apache-2.0 */
/* Frames by hand. */
#include "tests/nic/packets.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define ETHER 14u
#define V4    20u
#define V6    40u

struct qp_ipaddr
ip(const char *text)
{
	struct qp_ipaddr a;
	struct in_addr v4;

	if (inet_pton(AF_INET, text, &v4) == 1)
		return qp_ipaddr_v4(v4.s_addr);
	if (inet_pton(AF_INET6, text, &a) != 1)
		abort();
	return a;
}

static void
put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t
sum(const uint8_t *p, uint32_t len, uint32_t s)
{
	for (uint32_t i = 0; i < len; i++)
		s += i % 2 == 0 ? (uint32_t)p[i] << 8 : p[i];
	return s;
}

static uint16_t
fold(uint32_t s)
{
	while (s >> 16 != 0)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)~s;
}

/* Ethernet and IP; returns where the transport starts, whose `len` bytes are to come. */
static uint8_t *
headers(struct frame *f, const struct qp_ipaddr *from, const struct qp_ipaddr *to, uint8_t proto,
	uint32_t len)
{
	static const uint8_t macs[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
	uint8_t *h = f->b + ETHER;

	memset(f, 0, sizeof(*f));
	memcpy(f->b, macs, sizeof(macs));
	if (qp_ipaddr_is_v4(from)) {
		put16(f->b + 12, 0x0800);
		h[0] = 0x45;
		put16(h + 2, V4 + len);
		h[8] = 64;
		h[9] = proto;
		memcpy(h + 12, &from->w[3], 4);
		memcpy(h + 16, &to->w[3], 4);
		put16(h + 10, fold(sum(h, V4, 0)));
		f->len = ETHER + V4 + len;
		return h + V4;
	}
	put16(f->b + 12, 0x86dd);
	h[0] = 0x60;
	put16(h + 4, len);
	h[6] = proto;
	h[7] = 64;
	memcpy(h + 8, from, 16);
	memcpy(h + 24, to, 16);
	f->len = ETHER + V6 + len;
	return h + V6;
}

/* Pseudo-header and text; the field itself is 0. */
static uint16_t
checksum(const struct qp_ipaddr *from, const struct qp_ipaddr *to, uint8_t proto, const uint8_t *l4,
	uint32_t len)
{
	uint32_t s = proto + len;

	if (qp_ipaddr_is_v4(from)) {
		s = sum((const uint8_t *)&from->w[3], 4, s);
		s = sum((const uint8_t *)&to->w[3], 4, s);
	} else {
		s = sum(from->b, 16, s);
		s = sum(to->b, 16, s);
	}
	return fold(sum(l4, len, s));
}

struct frame
udp(const char *from, uint16_t sport, const char *to, uint16_t dport, const void *payload,
	uint32_t len)
{
	const struct qp_ipaddr a = ip(from), b = ip(to);
	struct frame f;
	uint8_t *h = headers(&f, &a, &b, IPPROTO_UDP, 8 + len);

	put16(h, sport);
	put16(h + 2, dport);
	put16(h + 4, 8 + len);
	memcpy(h + 8, payload, len);
	put16(h + 6, checksum(&a, &b, IPPROTO_UDP, h, 8 + len));
	return f;
}

struct frame
tcp(const char *from, uint16_t sport, const char *to, uint16_t dport, uint8_t flags, uint32_t seq)
{
	const struct qp_ipaddr a = ip(from), b = ip(to);
	struct frame f;
	uint8_t *h = headers(&f, &a, &b, IPPROTO_TCP, 20);

	put16(h, sport);
	put16(h + 2, dport);
	put16(h + 4, seq >> 16);
	put16(h + 6, seq & 0xffff);
	h[12] = 5 << 4;
	h[13] = flags;
	put16(h + 14, 65535);
	put16(h + 16, checksum(&a, &b, IPPROTO_TCP, h, 20));
	return f;
}

struct frame
quic_short(const char *from, uint16_t sport, const char *to, uint16_t dport, const uint8_t dcid[8])
{
	uint8_t p[40] = {0x40};

	memcpy(p + 1, dcid, 8);
	return udp(from, sport, to, dport, p, sizeof(p));
}

struct frame
quic_initial(const char *from, uint16_t sport, const char *to, uint16_t dport, const uint8_t dcid[8])
{
	uint8_t p[1200] = {0xc0, 0, 0, 0, 1, 8};

	memcpy(p + 6, dcid, 8);
	return udp(from, sport, to, dport, p, sizeof(p));
}

struct frame
icmp_error(const char *from, const char *to, const struct frame *about)
{
	const struct qp_ipaddr a = ip(from), b = ip(to);
	const int v4 = qp_ipaddr_is_v4(&a);
	const uint32_t quoted = about->len - ETHER < 64 ? about->len - ETHER : 64;
	struct frame f;
	uint8_t *h = headers(&f, &a, &b, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, 8 + quoted);

	h[0] = v4 ? 3 : 1;
	h[1] = v4 ? 3 : 4;
	memcpy(h + 8, about->b + ETHER, quoted);
	put16(h + 2, v4 ? fold(sum(h, 8 + quoted, 0))
			: checksum(&a, &b, IPPROTO_ICMPV6, h, 8 + quoted));
	return f;
}

void
make_piece(struct frame *f, uint16_t id, uint16_t offset, int more)
{
	uint8_t *h = f->b + ETHER;

	put16(h + 4, id);
	put16(h + 6, (uint32_t)offset / 8 | (more ? 0x2000u : 0));
	put16(h + 10, 0);
	put16(h + 10, fold(sum(h, V4, 0)));
}

void
cid_of(uint8_t out[8], uint32_t server_id, uint8_t worker)
{
	const uint32_t be = htonl(server_id);

	memcpy(out, &be, 4);
	out[4] = worker;
	memcpy(out + 5, "abc", 3);
}
