/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP options to and from bytes (RFC 9293, 3.1; RFC 7323; RFC 2018; RFC 7413; RFC 5482). Pure.
 */
#include "dataplane/tcp/options.h"

#include <string.h>

#include "common/error.h"

enum {
	OPT_END = 0,
	OPT_NOP = 1,
	OPT_MSS = 2,
	OPT_WSCALE = 3,
	OPT_SACK_PERMITTED = 4,
	OPT_SACK = 5,
	OPT_TS = 8,
	OPT_UTO = 28,
	OPT_FASTOPEN = 34,
};

#define WSCALE_MAX 14

static uint32_t
get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint8_t *
put32(uint8_t *p, uint32_t v)
{
	p[0] = v >> 24;
	p[1] = v >> 16;
	p[2] = v >> 8;
	p[3] = v;
	return p + 4;
}

static int
parse_sack(const uint8_t *p, unsigned len, struct qp_tcp_options *o)
{
	if (len < 10 || (len - 2) % 8 != 0)
		return QP_E_PROTO;
	o->nsack = (len - 2) / 8;
	if (o->nsack > QP_TCP_SACK_MAX)
		return QP_E_PROTO;
	for (unsigned i = 0; i < o->nsack; i++) {
		o->sack[i].start = get32(p + 2 + 8 * i);
		o->sack[i].end = get32(p + 6 + 8 * i);
	}
	return 0;
}

/* RFC 7413, 4.1.1: what is neither a request nor a cookie's length is ignored. */
static void
parse_fastopen(const uint8_t *p, unsigned len, bool syn, struct qp_tcp_options *o)
{
	unsigned n = len - 2;

	if (!syn || (n != 0 && (n < 4 || n > QP_TCP_FASTOPEN_MAX || n % 2 != 0)))
		return;
	o->has_fastopen = true;
	o->fastopen_len = (uint8_t)n;
	memcpy(o->fastopen, p + 2, n);
}

/* `p` holds kind, len and len - 2 bytes. */
static int
parse_one(const uint8_t *p, unsigned len, bool syn, struct qp_tcp_options *o)
{
	switch (p[0]) {
	case OPT_MSS:
		if (len != 4)
			return QP_E_PROTO;
		o->has_mss = syn;
		o->mss = (uint16_t)(p[2] << 8 | p[3]);
		return 0;
	case OPT_WSCALE:
		if (len != 3)
			return QP_E_PROTO;
		o->has_wscale = syn;
		o->wscale = p[2] > WSCALE_MAX ? WSCALE_MAX : p[2];
		return 0;
	case OPT_SACK_PERMITTED:
		if (len != 2)
			return QP_E_PROTO;
		o->sack_permitted = syn;
		return 0;
	case OPT_SACK:
		return parse_sack(p, len, o);
	case OPT_TS:
		if (len != 10)
			return QP_E_PROTO;
		o->has_ts = true;
		o->tsval = get32(p + 2);
		o->tsecr = get32(p + 6);
		return 0;
	case OPT_UTO:
		if (len != 4)
			return QP_E_PROTO;
		o->uto_s = ((p[2] & 0x7fu) << 8 | p[3]) * (p[2] & 0x80 ? 60 : 1);
		o->has_uto = o->uto_s != 0; /* reserved */
		return 0;
	case OPT_FASTOPEN:
		parse_fastopen(p, len, syn, o);
		return 0;
	default:
		return 0;
	}
}

int
qp_tcp_options_parse(const uint8_t *p, unsigned len, bool syn, struct qp_tcp_options *o)
{
	memset(o, 0, sizeof(*o));
	while (len > 0 && p[0] != OPT_END) {
		unsigned n;

		if (p[0] == OPT_NOP) {
			p++;
			len--;
			continue;
		}
		if (len < 2 || p[1] < 2 || p[1] > len)
			return QP_E_PROTO;
		n = p[1];
		if (parse_one(p, n, syn, o) != 0)
			return QP_E_PROTO;
		p += n;
		len -= n;
	}
	return 0;
}

static uint8_t *
write_sack(uint8_t *p, const struct qp_tcp_options *o)
{
	*p++ = OPT_NOP;
	*p++ = OPT_NOP;
	*p++ = OPT_SACK;
	*p++ = 2 + 8 * o->nsack;
	for (unsigned i = 0; i < o->nsack; i++) {
		p = put32(p, o->sack[i].start);
		p = put32(p, o->sack[i].end);
	}
	return p;
}

/* 15 bits of seconds, or of minutes with the highest bit set. */
static uint8_t *
write_uto(uint8_t *p, uint32_t s)
{
	uint32_t minutes = s / 60 < 0x7fff ? s / 60 : 0x7fff;

	return put32(p, (uint32_t)OPT_UTO << 24 | 4u << 16 | (s <= 0x7fff ? s : 0x8000u | minutes));
}

static uint8_t *
write_fastopen(uint8_t *p, const struct qp_tcp_options *o)
{
	for (unsigned n = 2 + o->fastopen_len; n % 4 != 0; n++)
		*p++ = OPT_NOP;
	*p++ = OPT_FASTOPEN;
	*p++ = 2 + o->fastopen_len;
	memcpy(p, o->fastopen, o->fastopen_len);
	return p + o->fastopen_len;
}

unsigned
qp_tcp_options_write(uint8_t *p, const struct qp_tcp_options *o)
{
	uint8_t *start = p;

	if (o->has_mss) {
		p = put32(p, (uint32_t)OPT_MSS << 24 | 4u << 16 | o->mss);
	}
	if (o->sack_permitted)
		p = put32(p, OPT_NOP << 24 | OPT_NOP << 16 | OPT_SACK_PERMITTED << 8 | 2);
	if (o->has_ts) {
		p = put32(p, OPT_NOP << 24 | OPT_NOP << 16 | OPT_TS << 8 | 10);
		p = put32(p, o->tsval);
		p = put32(p, o->tsecr);
	}
	if (o->has_wscale)
		p = put32(p, (uint32_t)(OPT_NOP << 24 | OPT_WSCALE << 16 | 3 << 8 | o->wscale));
	if (o->has_uto)
		p = write_uto(p, o->uto_s);
	if (o->has_fastopen)
		p = write_fastopen(p, o);
	if (o->nsack > 0)
		p = write_sack(p, o);
	return (unsigned)(p - start);
}
