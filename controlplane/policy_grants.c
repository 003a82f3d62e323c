/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client may do: asked, copied, and read from the words of a
 * configuration. Pure; any thread.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/addr.h"
#include "common/text.h"
#include "controlplane/policy_impl.h"

#define EXPECTED_PORTS                                                                             \
	"ports such as 8080, 9000-9099/tcp or 53/udp (from 1 to 65535), several by comma; any; "   \
	"or none"
#define EXPECTED_NETWORK "a network, such as 198.51.100.0/24 or 2001:db8::/32, or one address"
#define MAX_RANGES 1024u /* asked one after the other for each port that is opened */

bool
qp_port_range_has(const struct qp_port_range *r, uint8_t protocol, uint16_t port)
{
	return (r->protocol == 0 || r->protocol == protocol) && port >= r->first && port <= r->last;
}

bool
qp_grants_allow_port(const struct qp_grants *g, uint8_t protocol, uint16_t port)
{
	if (g->any_port)
		return true;
	for (unsigned i = 0; i < g->nports; i++) {
		if (qp_port_range_has(&g->ports[i], protocol, port))
			return true;
	}
	return false;
}

bool
qp_grants_expired(const struct qp_grants *g, uint64_t now_unix_s)
{
	return g->expires_at != 0 && now_unix_s >= g->expires_at;
}

/* NULL for none, and when out of memory, which `*failed` tells apart. */
static void *
copy_of(const void *from, size_t bytes, bool *failed)
{
	void *to;

	if (bytes == 0)
		return NULL;
	to = malloc(bytes);
	if (to == NULL)
		*failed = true;
	else
		memcpy(to, from, bytes);
	return to;
}

int
qp_grants_copy(struct qp_grants *to, const struct qp_grants *from)
{
	bool failed = false;

	*to = *from;
	to->ports = copy_of(from->ports, from->nports * sizeof(*from->ports), &failed);
	to->sources = copy_of(from->sources, from->nsources * sizeof(*from->sources), &failed);
	/* Only the rules in use: thousands of clients have some each. */
	to->locals = copy_of(from->locals,
		from->locals == NULL ? 0
				     : offsetof(struct qp_allow, rule) +
					       from->locals->n * sizeof(from->locals->rule[0]),
		&failed);
	if (!failed)
		return 0;
	qp_grants_release(to);
	return QP_E_NOMEM;
}

void
qp_grants_release(struct qp_grants *g)
{
	free((void *)(uintptr_t)g->ports);
	free((void *)(uintptr_t)g->sources);
	free((void *)(uintptr_t)g->locals);
	memset(g, 0, sizeof(*g));
}

static bool
is_word(struct qp_slice s, const char *word)
{
	return s.len == strlen(word) && strncasecmp(s.ptr, word, s.len) == 0;
}

/* A number from 1 to 65535 off the front. */
static bool
take_port(struct qp_slice *s, uint16_t *out)
{
	unsigned value = 0, digits = 0;

	for (; s->len > 0 && s->ptr[0] >= '0' && s->ptr[0] <= '9'; digits++) {
		value = value * 10 + (unsigned)(s->ptr[0] - '0');
		if (value > UINT16_MAX)
			return false;
		s->ptr++;
		s->len--;
	}
	*out = (uint16_t)value;
	return digits > 0 && value > 0;
}

/* PORT, FIRST-LAST, with /tcp or /udp or neither. */
static bool
read_range(struct qp_slice s, struct qp_port_range *out)
{
	out->protocol = 0;
	if (!take_port(&s, &out->first))
		return false;
	out->last = out->first;
	if (s.len > 0 && s.ptr[0] == '-') {
		s.ptr++;
		s.len--;
		if (!take_port(&s, &out->last) || out->last < out->first)
			return false;
	}
	if (is_word(s, "/tcp"))
		out->protocol = QP_WIRE_TCP;
	else if (is_word(s, "/udp"))
		out->protocol = QP_WIRE_UDP;
	else
		return s.len == 0;
	return true;
}

static int
add_range(struct qp_slice s, struct qp_port_range **list, unsigned *n, struct qp_errmsg *msg)
{
	struct qp_port_range r, *grown;

	if (!read_range(s, &r))
		return qp_fail(msg, QP_E_INVAL, "%s", EXPECTED_PORTS);
	if (*n >= MAX_RANGES)
		return qp_fail(msg, QP_E_INVAL, "at most %u port ranges", MAX_RANGES);
	grown = realloc(*list, (*n + 1) * sizeof(**list));
	if (grown == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	grown[(*n)++] = r;
	*list = grown;
	return 0;
}

int
qp_port_ranges_parse(const char *text, bool *any, struct qp_port_range **list, unsigned *n,
	struct qp_errmsg *msg)
{
	if (is_word(qp_slice_trim(qp_slice_of(text)), "none"))
		return 0;
	for (;;) {
		size_t len = strcspn(text, ",");
		struct qp_slice word = qp_slice_trim((struct qp_slice) {text, len});
		int err = 0;

		if (is_word(word, "any"))
			*any = true;
		else
			err = add_range(word, list, n, msg);
		if (err != 0 || text[len] == '\0')
			return err;
		text += len + 1;
	}
}

/* Decimal digits and nothing else, `max` at most. */
static bool
read_bits(const char *text, unsigned max, unsigned *out)
{
	unsigned value = 0;

	if (*text == '\0')
		return false;
	for (; *text >= '0' && *text <= '9'; text++) {
		value = value * 10 + (unsigned)(*text - '0');
		if (value > max)
			return false;
	}
	*out = value;
	return *text == '\0';
}

int
qp_network_parse(const char *text, struct qp_msg_network *out, struct qp_errmsg *msg)
{
	char addr[INET6_ADDRSTRLEN];
	size_t len = strcspn(text, "/");
	unsigned of_family, bits;
	struct in6_addr in6;

	if (len == 0 || len >= sizeof(addr))
		return qp_fail(msg, QP_E_INVAL, "%s", EXPECTED_NETWORK);
	memcpy(addr, text, len);
	addr[len] = '\0';
	if (qp_ip_parse_text(addr, &in6, NULL) != 0)
		return qp_fail(msg, QP_E_INVAL, "%s", EXPECTED_NETWORK);
	of_family = bits = IN6_IS_ADDR_V4MAPPED(&in6) ? 32 : 128;
	if (text[len] == '/' && !read_bits(text + len + 1, of_family, &bits))
		return qp_fail(msg, QP_E_INVAL, "%s", EXPECTED_NETWORK);
	memset(out, 0, sizeof(*out));
	memcpy(out->addr, &in6, sizeof(out->addr));
	out->prefix = (uint8_t)(128 - of_family + bits);
	for (unsigned i = out->prefix; i < 128; i++) {
		if (out->addr[i / 8] & (0x80 >> i % 8))
			return qp_fail(msg, QP_E_INVAL,
				"a network: after its first %u bits the address must be 0 (or give "
				"no length)", bits);
	}
	return 0;
}
