/* SPDX-License-Identifier: Apache-2.0 */
#include "junk.h"

#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <string.h>

/*
 * Junk for an open TCP port: segments from nowhere, floods of half-open
 * connections, malformed options and headers, and shots at a connection that
 * is up (RFC 5961's blind attacks). One thread.
 */

enum {
	FIN = 0x01,
	SYN = 0x02,
	RST = 0x04,
	PSH = 0x08,
	ACK = 0x10,
	HEADER_BYTES = 20,
	MAX_PAYLOAD = 600,
};

static uint32_t
sum_bytes(uint32_t sum, const uint8_t *p, size_t len)
{
	for (; len > 1; p += 2, len -= 2)
		sum += (uint32_t)(p[0] << 8 | p[1]);
	return len == 1 ? sum + (uint32_t)(p[0] << 8) : sum;
}

static void
put_u32(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 24);
	p[1] = (uint8_t)(value >> 16);
	p[2] = (uint8_t)(value >> 8);
	p[3] = (uint8_t)value;
}

/* The pseudo-header's v4-mapped prefixes add the same to both families' sums: left out for IPv4. */
static void
set_checksum(const struct junk_flow *flow, uint8_t *tcp, size_t len)
{
	size_t from = IN6_IS_ADDR_V4MAPPED(&flow->dst) ? 12 : 0;
	uint32_t sum = IPPROTO_TCP + (uint32_t)len;

	if (len < 18)
		return;
	tcp[16] = tcp[17] = 0;
	sum = sum_bytes(sum, flow->src.s6_addr + from, 16 - from);
	sum = sum_bytes(sum, flow->dst.s6_addr + from, 16 - from);
	sum = sum_bytes(sum, tcp, len);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	sum = ~sum & 0xffff;
	tcp[16] = (uint8_t)(sum >> 8);
	tcp[17] = (uint8_t)sum;
}

/* Well-formed and malformed options; a multiple of 4 bytes. */
static size_t
put_options(struct junk_rng *rng, uint8_t *p)
{
	static const uint8_t kinds[] = {0, 1, 2, 3, 4, 5, 8, 19, 30, 34, 254};
	size_t len = 4 * junk_below(rng, 11);

	junk_bytes(rng, p, len);
	for (size_t at = 0; at + 1 < len && junk_below(rng, 8) != 0;) {
		uint8_t n = (uint8_t)(junk_below(rng, 4) ? 2 + junk_below(rng, 9)
							 : junk_random(rng));

		p[at] = kinds[junk_below(rng, sizeof(kinds))];
		p[at + 1] = n;
		at += n < 2 ? 2 : n;
	}
	return len;
}

static uint8_t
pick_flags(struct junk_rng *rng)
{
	static const uint8_t usual[] = {
		SYN, SYN, SYN, ACK, ACK, ACK | PSH, FIN | ACK, RST, RST | ACK, SYN | ACK, 0};

	return junk_below(rng, 4) ? usual[junk_below(rng, sizeof(usual))]
				  : (uint8_t)junk_random(rng);
}

static uint16_t
pick_source(struct junk_rng *rng, const struct junk_flow *flow)
{
	uint32_t kind = junk_below(rng, 4);

	if (kind == 0 && flow->live_sport != 0)
		return flow->live_sport;
	/* A few ports that come again, so that a SYN is followed by more. */
	return (uint16_t)(kind == 1 ? 2000 + junk_below(rng, 64) : 1024 + junk_below(rng, 64000));
}

static size_t
make_segment(struct junk_rng *rng, const struct junk_flow *flow, uint8_t *tcp)
{
	uint16_t sport = pick_source(rng, flow);
	size_t options, payload;

	junk_bytes(rng, tcp, HEADER_BYTES);
	tcp[0] = (uint8_t)(sport >> 8);
	tcp[1] = (uint8_t)sport;
	tcp[2] = (uint8_t)(flow->dport >> 8);
	tcp[3] = (uint8_t)flow->dport;
	if (junk_below(rng, 4) == 0)
		put_u32(tcp + 4, junk_below(rng, 1000));
	tcp[13] = pick_flags(rng);
	options = put_options(rng, tcp + HEADER_BYTES);
	tcp[12] = (uint8_t)((HEADER_BYTES + options) / 4 << 4);
	payload = junk_below(rng, 2) ? junk_below(rng, MAX_PAYLOAD) : 0;
	junk_bytes(rng, tcp + HEADER_BYTES + options, payload);
	if (junk_below(rng, 16) == 0)
		tcp[12] = (uint8_t)junk_random(rng); /* a data offset that may lie */
	return HEADER_BYTES + options + payload;
}

/* The kernel fills IPv4's length, identification and checksum. */
static size_t
put_ip(const struct junk_flow *flow, uint8_t *buf, size_t payload)
{
	if (IN6_IS_ADDR_V4MAPPED(&flow->dst)) {
		struct iphdr ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP};

		memcpy(&ip.saddr, flow->src.s6_addr + 12, 4);
		memcpy(&ip.daddr, flow->dst.s6_addr + 12, 4);
		memcpy(buf, &ip, sizeof(ip));
		return sizeof(ip);
	}
	struct ip6_hdr ip6 = {
		.ip6_flow = htonl(6u << 28),
		.ip6_plen = htons((uint16_t)payload),
		.ip6_nxt = IPPROTO_TCP,
		.ip6_hlim = 64,
		.ip6_src = flow->src,
		.ip6_dst = flow->dst,
	};
	memcpy(buf, &ip6, sizeof(ip6));
	return sizeof(ip6);
}

size_t
junk_tcp(struct junk_rng *rng, const struct junk_flow *flow, uint8_t buf[JUNK_MAX_BYTES])
{
	uint8_t tcp[JUNK_MAX_BYTES];
	size_t len = make_segment(rng, flow, tcp);
	size_t header;

	if (junk_below(rng, 32) == 0)
		len = 4 + junk_below(rng, HEADER_BYTES); /* not even a header */
	if (junk_below(rng, 8) != 0)
		set_checksum(flow, tcp, len);
	header = put_ip(flow, buf, len);
	memcpy(buf + header, tcp, len);
	return header + len;
}

size_t
junk_syn(struct junk_rng *rng, const struct junk_flow *flow, uint8_t buf[JUNK_MAX_BYTES])
{
	/* MSS 1,460, SACK permitted, timestamps, no operation, window scale 7: what Linux sends. */
	static const uint8_t options[] = {2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7};
	struct junk_flow from = *flow;
	uint8_t tcp[HEADER_BYTES + sizeof(options)] = {0};
	uint16_t sport = (uint16_t)(1024 + junk_below(rng, 64000));
	size_t header;

	junk_bytes(rng, from.src.s6_addr + 13, 3);
	tcp[0] = (uint8_t)(sport >> 8);
	tcp[1] = (uint8_t)sport;
	tcp[2] = (uint8_t)(flow->dport >> 8);
	tcp[3] = (uint8_t)flow->dport;
	put_u32(tcp + 4, junk_random(rng));
	tcp[12] = sizeof(tcp) / 4 << 4;
	tcp[13] = SYN;
	tcp[14] = 0xfa; /* a window of 64,000 bytes */
	memcpy(tcp + HEADER_BYTES, options, sizeof(options));
	set_checksum(&from, tcp, sizeof(tcp));
	header = put_ip(&from, buf, sizeof(tcp));
	memcpy(buf + header, tcp, sizeof(tcp));
	return header + sizeof(tcp);
}
