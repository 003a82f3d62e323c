/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses and ports between people's text and the sockets' structs. Numeric
 * only, no resolver, no state; any thread.
 */
#include "common/addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SHOWN_BYTES 96u
/* RFC 1035, 3.1, without the final dot. */
#define MAX_NAME 253u

static int
refuse(struct qp_errmsg *msg, const char *text, const char *expected)
{
	char shown[SHOWN_BYTES];

	qp_slice_printable(qp_slice_of(text), shown, sizeof(shown));
	return qp_fail(msg, QP_E_INVAL, "'%s': expected %s", shown, expected);
}

static const char *
expected_form(unsigned flags)
{
	if ((flags & QP_ADDR_NEED_HOST) == QP_ADDR_NEED_HOST)
		return flags & QP_ADDR_PROTO ? "HOST:PORT[/tcp|/udp] (IPv6 in brackets)" :
					       "HOST:PORT (IPv6 in brackets)";
	if (flags & QP_ADDR_HOST)
		return flags & QP_ADDR_PROTO ?
			       "PORT or HOST:PORT, then /tcp, /udp or nothing (IPv6 in brackets)" :
			       "PORT or HOST:PORT (IPv6 in brackets)";
	return flags & QP_ADDR_PROTO ? "PORT, PORT/tcp or PORT/udp" : "PORT";
}

/* Decimal digits alone: no sign, no space, no other base. */
static bool
parse_port(struct qp_slice text, uint16_t *port)
{
	unsigned value = 0;

	if (text.len == 0 || text.len > 5)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return false;
		value = value * 10 + (unsigned)(text.ptr[i] - '0');
	}
	if (value > UINT16_MAX)
		return false;
	*port = (uint16_t)value;
	return true;
}

static bool
equals(struct qp_slice text, const char *word)
{
	return text.len == strlen(word) && strncasecmp(text.ptr, word, text.len) == 0;
}

/* Takes "/tcp" or "/udp" off the end. */
static bool
take_protocol(struct qp_slice *text, enum qp_wire_protocol *protocol)
{
	const char *slash = memrchr(text->ptr, '/', text->len);
	struct qp_slice word;

	*protocol = QP_WIRE_TCP;
	if (slash == NULL)
		return true;
	word.ptr = slash + 1;
	word.len = text->len - (size_t)(word.ptr - text->ptr);
	text->len = (size_t)(slash - text->ptr);
	if (equals(word, "udp"))
		*protocol = QP_WIRE_UDP;
	else if (!equals(word, "tcp"))
		return false;
	return true;
}

static bool
valid_name(struct qp_slice host)
{
	if (host.len == 0 || host.len > MAX_NAME)
		return false;
	for (size_t i = 0; i < host.len; i++) {
		char c = host.ptr[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			    c == '-' || c == '.' || c == '_'))
			return false;
	}
	return true;
}

/* An IPv6 address, with or without %scope. */
static bool
valid_v6(struct qp_slice host)
{
	const char *percent = host.len == 0 ? NULL : memchr(host.ptr, '%', host.len);
	size_t len = percent == NULL ? host.len : (size_t)(percent - host.ptr);
	char text[INET6_ADDRSTRLEN];
	struct in6_addr addr;

	if (len >= sizeof(text) || (percent != NULL && host.len - len - 1 >= IF_NAMESIZE) ||
		(percent != NULL && host.len - len - 1 == 0))
		return false;
	memcpy(text, host.ptr, len);
	text[len] = '\0';
	return inet_pton(AF_INET6, text, &addr) == 1;
}

/* Splits "host:port", "[v6]:port" or "port"; brackets are taken off. */
static bool
split_host(struct qp_slice text, struct qp_slice *host, struct qp_slice *port)
{
	const char *colon;

	*host = (struct qp_slice) {NULL, 0};
	*port = text;
	if (text.len > 0 && text.ptr[0] == '[') {
		const char *end = memchr(text.ptr, ']', text.len);

		if (end == NULL || end + 1 == text.ptr + text.len || end[1] != ':')
			return false;
		*host = (struct qp_slice) {text.ptr + 1, (size_t)(end - text.ptr - 1)};
		port->ptr = end + 2;
		port->len = text.len - (size_t)(port->ptr - text.ptr);
		return valid_v6(*host);
	}
	colon = text.len == 0 ? NULL : memchr(text.ptr, ':', text.len);
	if (colon == NULL)
		return true;
	*host = (struct qp_slice) {text.ptr, (size_t)(colon - text.ptr)};
	port->ptr = colon + 1;
	port->len = text.len - host->len - 1;
	return valid_name(*host);
}

int
qp_target_parse(const char *text, unsigned flags, struct qp_target *out, struct qp_errmsg *msg)
{
	struct qp_slice rest = qp_slice_of(text), host, port;
	struct qp_target t = {.protocol = QP_WIRE_TCP};

	if ((flags & QP_ADDR_PROTO) && !take_protocol(&rest, &t.protocol))
		return refuse(msg, text, expected_form(flags));
	if (!split_host(rest, &host, &port) || (host.ptr != NULL && !(flags & QP_ADDR_HOST)) ||
		(host.ptr == NULL && (flags & QP_ADDR_NEED_HOST) == QP_ADDR_NEED_HOST))
		return refuse(msg, text, expected_form(flags));
	if (!parse_port(port, &t.port) || (t.port == 0 && !(flags & QP_ADDR_PORT_0)))
		return refuse(msg, text, flags & QP_ADDR_PORT_0 ? "a port from 0 to 65535" :
								  "a port from 1 to 65535");
	if (host.len > 0)
		memcpy(t.host, host.ptr, host.len);
	*out = t;
	return QP_OK;
}

void
qp_target_format(const struct qp_target *t, bool with_protocol, char *out, size_t cap)
{
	bool v6 = strchr(t->host, ':') != NULL;
	int n = 0;

	if (t->host[0] != '\0')
		n = snprintf(out, cap, "%s%s%s:", v6 ? "[" : "", t->host, v6 ? "]" : "");
	if ((size_t)n < cap)
		snprintf(out + n, cap - (size_t)n, "%u%s%s", t->port, with_protocol ? "/" : "",
			with_protocol ? qp_wire_protocol_name(t->protocol) : "");
}

/* `scope` of a link-local address: an interface's name or index. */
static bool
parse_scope(const char *scope, uint32_t *id)
{
	char *end;

	*id = if_nametoindex(scope);
	if (*id != 0)
		return true;
	*id = (uint32_t)strtoul(scope, &end, 10);
	return *id != 0 && *end == '\0';
}

static bool
host_to_sockaddr(const char *host, uint16_t port, struct qp_sockaddr *out)
{
	char text[QP_HOST_BYTES];
	char *percent;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, host, &out->in.sin_addr) == 1) {
		out->in.sin_family = AF_INET;
		out->in.sin_port = htons(port);
		out->len = sizeof(out->in);
		return true;
	}
	snprintf(text, sizeof(text), "%s", host);
	percent = strchr(text, '%');
	if (percent != NULL)
		*percent = '\0';
	if (inet_pton(AF_INET6, text, &out->in6.sin6_addr) != 1 ||
		(percent != NULL && !parse_scope(percent + 1, &out->in6.sin6_scope_id)))
		return false;
	out->in6.sin6_family = AF_INET6;
	out->in6.sin6_port = htons(port);
	out->len = sizeof(out->in6);
	return true;
}

int
qp_sockaddr_parse(const char *text, struct qp_sockaddr *out, struct qp_errmsg *msg)
{
	struct qp_target t;

	if (qp_target_parse(text, QP_ADDR_NEED_HOST | QP_ADDR_PORT_0, &t, NULL) != QP_OK ||
		!host_to_sockaddr(t.host, t.port, out))
		return refuse(msg, text,
			"a numeric address and a port, such as 127.0.0.1:39000 or [::1]:39000");
	return QP_OK;
}

int
qp_ip_parse_text(const char *text, struct in6_addr *out, struct qp_errmsg *msg)
{
	struct qp_slice host = qp_slice_of(text);
	char plain[INET6_ADDRSTRLEN];
	struct in_addr v4;

	if (host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
		host = (struct qp_slice) {host.ptr + 1, host.len - 2};
	if (host.len < sizeof(plain)) {
		memcpy(plain, host.ptr, host.len);
		plain[host.len] = '\0';
		/* Brackets are IPv6's alone. */
		if (host.ptr == text && inet_pton(AF_INET, plain, &v4) == 1) {
			memset(out, 0, sizeof(*out));
			out->s6_addr[10] = out->s6_addr[11] = 0xff;
			memcpy(out->s6_addr + 12, &v4, sizeof(v4));
			return QP_OK;
		}
		if (inet_pton(AF_INET6, plain, out) == 1)
			return QP_OK;
	}
	return refuse(msg, text, "a numeric address, such as 192.0.2.1 or 2001:db8::1");
}

static void
format_v4(const uint8_t addr[4], uint16_t port_be, char out[QP_ADDR_TEXT_BYTES])
{
	snprintf(out, QP_ADDR_TEXT_BYTES, "%u.%u.%u.%u:%u", addr[0], addr[1], addr[2], addr[3],
		ntohs(port_be));
}

static bool
is_mapped(const uint8_t addr[16])
{
	static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(addr, prefix, sizeof(prefix)) == 0;
}

const char *
qp_addr_format(const uint8_t addr[16], uint16_t port_be, char out[QP_ADDR_TEXT_BYTES])
{
	char text[INET6_ADDRSTRLEN];

	if (is_mapped(addr)) {
		format_v4(addr + 12, port_be, out);
		return out;
	}
	inet_ntop(AF_INET6, addr, text, sizeof(text));
	snprintf(out, QP_ADDR_TEXT_BYTES, "[%s]:%u", text, ntohs(port_be));
	return out;
}

static const char *
format_scoped(const struct sockaddr_in6 *in6, char out[QP_ADDR_TEXT_BYTES])
{
	char text[INET6_ADDRSTRLEN], scope[IF_NAMESIZE];

	if (if_indextoname(in6->sin6_scope_id, scope) == NULL)
		snprintf(scope, sizeof(scope), "%u", in6->sin6_scope_id);
	inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
	snprintf(out, QP_ADDR_TEXT_BYTES, "[%s%%%s]:%u", text, scope, ntohs(in6->sin6_port));
	return out;
}

const char *
qp_sockaddr_format(const struct sockaddr *sa, char out[QP_ADDR_TEXT_BYTES])
{
	const struct sockaddr_in *in = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;

	switch (sa->sa_family) {
	case AF_INET:
		format_v4((const uint8_t *)&in->sin_addr, in->sin_port, out);
		return out;
	case AF_INET6:
		if (in6->sin6_scope_id != 0)
			return format_scoped(in6, out);
		return qp_addr_format(in6->sin6_addr.s6_addr, in6->sin6_port, out);
	}
	snprintf(out, QP_ADDR_TEXT_BYTES, "family %u", sa->sa_family);
	return out;
}

uint16_t
qp_sockaddr_port(const struct sockaddr *sa)
{
	switch (sa->sa_family) {
	case AF_INET:
		return ntohs(((const struct sockaddr_in *)(const void *)sa)->sin_port);
	case AF_INET6:
		return ntohs(((const struct sockaddr_in6 *)(const void *)sa)->sin6_port);
	}
	return 0;
}

void
qp_sockaddr_set_port(struct sockaddr *sa, uint16_t port)
{
	if (sa->sa_family == AF_INET)
		((struct sockaddr_in *)(void *)sa)->sin_port = htons(port);
	else if (sa->sa_family == AF_INET6)
		((struct sockaddr_in6 *)(void *)sa)->sin6_port = htons(port);
}

/* v4-mapped or IPv6 as it stands; false for another family. */
static bool
raw_in6(const struct sockaddr *sa, struct in6_addr *out)
{
	const struct sockaddr_in *in = (const void *)sa;

	if (sa->sa_family == AF_INET6) {
		*out = ((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
		return true;
	}
	if (sa->sa_family != AF_INET)
		return false;
	memset(out, 0, sizeof(*out));
	out->s6_addr[10] = out->s6_addr[11] = 0xff;
	memcpy(out->s6_addr + 12, &in->sin_addr, 4);
	return true;
}

static bool
in6_is_any(const struct in6_addr *a)
{
	return IN6_IS_ADDR_UNSPECIFIED(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr32[3] == 0);
}

bool
qp_sockaddr_is_any(const struct sockaddr *sa)
{
	struct in6_addr a;

	return raw_in6(sa, &a) && in6_is_any(&a);
}

bool
qp_sockaddr_is_loopback(const struct sockaddr *sa)
{
	struct in6_addr a;

	return raw_in6(sa, &a) && (IN6_IS_ADDR_LOOPBACK(&a) ||
		(IN6_IS_ADDR_V4MAPPED(&a) && a.s6_addr[12] == 127));
}

bool
qp_sockaddr_to_in6(const struct sockaddr *sa, struct in6_addr *out)
{
	if (!raw_in6(sa, out))
		return false;
	if (in6_is_any(out))
		memset(out, 0, sizeof(*out));
	return true;
}
