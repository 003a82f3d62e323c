/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose packet it may be: addresses and ports out of a frame, out of the packet
 * that an ICMP error quotes, out of the first piece of a datagram. Any lcore; no
 * state, no DPDK.
 */
#include "dataplane/nic/parse.h"

#include <netinet/in.h>
#include <string.h>

#define ETHER_BYTES       14u
#define ETHERTYPE_4       0x0800u
#define ETHERTYPE_6       0x86ddu
#define IP4_BYTES         20u
#define IP6_BYTES         40u
#define ICMP_BYTES        8u
#define EXT_HEADERS       8u /* as qp_ip_parse */
#define FRAGMENT_OFFSET4  0x1fffu
#define FRAGMENT_MORE4    0x2000u
#define FRAGMENT_OFFSET6  0xfff8u
#define FRAGMENT_MORE6    0x0001u

struct view {
	const uint8_t *at;
	uint32_t len;
};

static uint16_t
read16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static bool
parse4(const struct view *v, uint32_t off, struct qp_steer_flow *f)
{
	const uint8_t *ip = v->at + off;
	uint32_t addr, head;
	uint16_t frag;

	if (off + IP4_BYTES > v->len || ip[0] >> 4 != 4)
		return false;
	head = (ip[0] & 15u) * 4u;
	if (head < IP4_BYTES)
		return false;
	memcpy(&addr, ip + 12, sizeof(addr));
	f->remote = qp_ipaddr_v4(addr);
	memcpy(&addr, ip + 16, sizeof(addr));
	f->local = qp_ipaddr_v4(addr);
	frag = read16(ip + 6);
	f->fragment = (frag & (FRAGMENT_OFFSET4 | FRAGMENT_MORE4)) != 0;
	f->first = (frag & FRAGMENT_OFFSET4) == 0;
	f->id = read16(ip + 4);
	f->proto = ip[9];
	f->l4_off = (uint16_t)(off + head);
	return true;
}

/* Behind a fragment header that is not the first one's nothing can be read. */
static bool
skip_extensions(const struct view *v, uint32_t at, uint8_t next, struct qp_steer_flow *f)
{
	for (unsigned i = 0; i <= EXT_HEADERS; i++) {
		const uint8_t *h;
		uint16_t frag;

		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
			next != IPPROTO_FRAGMENT)
			break;
		if (i == EXT_HEADERS || at + 8 > v->len)
			return false;
		h = v->at + at;
		if (next == IPPROTO_FRAGMENT) {
			frag = read16(h + 2);
			f->fragment = (frag & (FRAGMENT_OFFSET6 | FRAGMENT_MORE6)) != 0;
			f->first = (frag & FRAGMENT_OFFSET6) == 0;
			memcpy(&f->id, h + 4, sizeof(f->id));
		}
		at += next == IPPROTO_FRAGMENT ? 8u : 8u + h[1] * 8u;
		next = h[0];
		if (!f->first)
			break;
	}
	f->proto = next;
	f->l4_off = (uint16_t)at;
	return at <= UINT16_MAX;
}

static bool
parse6(const struct view *v, uint32_t off, struct qp_steer_flow *f)
{
	const uint8_t *ip = v->at + off;

	if (off + IP6_BYTES > v->len || ip[0] >> 4 != 6)
		return false;
	memcpy(&f->remote, ip + 8, sizeof(f->remote));
	memcpy(&f->local, ip + 24, sizeof(f->local));
	f->fragment = false;
	f->first = true;
	f->id = 0;
	return skip_extensions(v, off + IP6_BYTES, ip[6], f);
}

static bool
parse_ip(const struct view *v, uint32_t off, struct qp_steer_flow *f)
{
	return f->v6 ? parse6(v, off, f) : parse4(v, off, f);
}

/* Whether the message is an error that quotes a packet (RFC 792; RFC 4443, 2.1). */
static bool
is_icmp_error(const struct view *v, const struct qp_steer_flow *f)
{
	const uint8_t type = v->at[f->l4_off];

	if (f->v6)
		return type >= 1 && type <= 4;
	return type == 3 || type == 11 || type == 12;
}

/* We sent the packet that the error quotes: its source is `local`. */
static bool
parse_quoted(const struct view *v, struct qp_steer_flow *f)
{
	struct qp_steer_flow sent = {.v6 = f->v6};

	if (!parse_ip(v, f->l4_off + ICMP_BYTES, &sent) || !sent.first ||
		sent.l4_off + 4u > v->len)
		return false;
	f->local = sent.remote;
	f->remote = sent.local;
	memcpy(&f->lport_be, v->at + sent.l4_off, 2);
	memcpy(&f->rport_be, v->at + sent.l4_off + 2, 2);
	f->proto = sent.proto;
	f->quoted = true;
	return true;
}

bool
qp_steer_parse(const uint8_t *frame, uint32_t len, struct qp_steer_flow *f)
{
	const struct view v = {frame, len};
	uint16_t type;

	if (len < ETHER_BYTES)
		return false;
	type = read16(frame + 12);
	f->v6 = type == ETHERTYPE_6;
	f->quoted = false;
	f->lport_be = f->rport_be = 0;
	if ((type != ETHERTYPE_4 && !f->v6) || !parse_ip(&v, ETHER_BYTES, f))
		return false;
	f->sender = f->remote;
	if (!f->first)
		return true;
	if (f->proto == (f->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP)) {
		if (f->l4_off + ICMP_BYTES > len)
			return false;
		return !is_icmp_error(&v, f) || parse_quoted(&v, f);
	}
	if (f->proto != IPPROTO_TCP && f->proto != IPPROTO_UDP)
		return true;
	if (f->l4_off + 4u > len)
		return false;
	memcpy(&f->rport_be, frame + f->l4_off, 2);
	memcpy(&f->lport_be, frame + f->l4_off + 2, 2);
	return true;
}
