/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules of what clients may reach: read from text, asked for an address and a
 * port. Pure; any thread. Which addresses a name has is the resolver's matter,
 * and each of them is asked for by itself.
 */
#include "controlplane/allow.h"

#include <stdlib.h>
#include <string.h>

#include "common/addr.h"

#define EXPECTED "CIDR[:PORTS], such as 10.0.0.0/8, 192.0.2.7:80,443 or [2001:db8::]/32:8000-8099"

static int
malformed(struct qp_errmsg *msg)
{
	return qp_fail(msg, QP_E_INVAL, "%s", EXPECTED);
}

/* A number that `*text` starts with; false: none, or beyond `max`. */
static bool
take_number(const char **text, unsigned max, unsigned *out)
{
	const char *p = *text;
	unsigned value = 0;

	if (*p < '0' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++) {
		value = value * 10 + (unsigned)(*p - '0');
		if (value > max)
			return false;
	}
	*text = p;
	*out = value;
	return true;
}

/*
 * Takes the address off the front. Without brackets, IPv6 ends at the slash or
 * is all there is: after its colons nobody could tell a port.
 */
static bool
take_address(const char **text, struct in6_addr *out)
{
	char addr[INET6_ADDRSTRLEN];
	const char *start = *text, *end;
	size_t len;

	if (*start == '[') {
		end = strchr(++start, ']');
		if (end == NULL)
			return false;
		*text = end + 1;
	} else {
		const char *colon = strchr(start, ':');

		end = start + strcspn(start, "/");
		if (colon != NULL && colon < end && strchr(colon + 1, ':') == NULL)
			end = colon;
		*text = end;
	}
	len = (size_t)(end - start);
	if (len == 0 || len >= sizeof(addr))
		return false;
	memcpy(addr, start, len);
	addr[len] = '\0';
	return qp_ip_parse_text(addr, out, NULL) == 0;
}

static bool
has_host_bits(const struct in6_addr *net, unsigned bits)
{
	for (unsigned i = bits; i < 128; i++)
		if (net->s6_addr[i / 8] & (0x80 >> i % 8))
			return true;
	return false;
}

static int
take_net(const char **text, struct qp_allow_rule *r, struct qp_errmsg *msg)
{
	unsigned of_family, bits;

	if (!take_address(text, &r->net))
		return malformed(msg);
	of_family = bits = IN6_IS_ADDR_V4MAPPED(&r->net) ? 32 : 128;
	if (**text == '/') {
		++*text;
		if (!take_number(text, of_family, &bits))
			return malformed(msg);
	}
	r->bits = (uint8_t)(128 - of_family + bits);
	if (has_host_bits(&r->net, r->bits))
		return qp_fail(msg, QP_E_INVAL,
			"a network: after its first %u bits the address must be 0 (or give no length)",
			bits);
	return 0;
}

/* One PORT or FIRST-LAST off the front. */
static bool
take_range(const char **text, struct qp_allow_rule *r)
{
	unsigned first, last;

	if (!take_number(text, UINT16_MAX, &first) || first == 0)
		return false;
	last = first;
	if (**text == '-') {
		++*text;
		if (!take_number(text, UINT16_MAX, &last) || last < first)
			return false;
	}
	r->first = (uint16_t)first;
	r->last = (uint16_t)last;
	return true;
}

static int
add_rule(struct qp_allow *a, const struct qp_allow_rule *r, struct qp_errmsg *msg)
{
	if (a->n == QP_ALLOW_RULES)
		return qp_fail(msg, QP_E_FULL, "at most %u rules (each port range is one)",
			QP_ALLOW_RULES);
	a->rule[a->n++] = *r;
	return 0;
}

int
qp_allow_add(struct qp_allow *a, const char *text, struct qp_errmsg *msg)
{
	struct qp_allow_rule r = {.first = 1, .last = UINT16_MAX};
	int err = take_net(&text, &r, msg);

	if (err != 0)
		return err;
	if (*text == '\0')
		return add_rule(a, &r, msg);
	if (*text != ':')
		return malformed(msg);
	do {
		text++;
		if (!take_range(&text, &r) || (*text != ',' && *text != '\0'))
			return malformed(msg);
		err = add_rule(a, &r, msg);
	} while (err == 0 && *text == ',');
	return err;
}

static bool
is_within(const struct qp_allow_rule *r, const struct in6_addr *addr)
{
	unsigned whole = r->bits / 8, rest = r->bits % 8;

	/* ::/0 means IPv6: IPv4 has networks of its own. */
	if (IN6_IS_ADDR_V4MAPPED(&r->net) != IN6_IS_ADDR_V4MAPPED(addr))
		return false;
	if (memcmp(&r->net, addr, whole) != 0)
		return false;
	return rest == 0 ||
	       ((r->net.s6_addr[whole] ^ addr->s6_addr[whole]) & (0xff00 >> rest) & 0xff) == 0;
}

bool
qp_allow_check(const struct qp_allow *a, const struct in6_addr *addr, uint16_t port)
{
	if (a->any)
		return true;
	for (unsigned i = 0; i < a->n; i++) {
		const struct qp_allow_rule *r = &a->rule[i];

		if (port >= r->first && port <= r->last && is_within(r, addr))
			return true;
	}
	return false;
}
