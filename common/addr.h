/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_ADDR_H
#define QP_COMMON_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/error.h"
#include "common/wire.h"

/*
 * Addresses as people write them. Pure: nothing here asks a resolver. Any
 * thread. Error texts name the value and the form that was expected.
 */
#define QP_HOST_BYTES 256u
#define QP_ADDR_TEXT_BYTES 80u /* "[v6%scope]:port" and NUL */

struct qp_target {
	char host[QP_HOST_BYTES];       /* name or address, without brackets; "" when left out */
	uint16_t port;
	enum qp_wire_protocol protocol; /* QP_WIRE_TCP when left out */
};

/* A numeric socket address. */
struct qp_sockaddr {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_storage ss;
	};
	socklen_t len;
};

enum qp_addr_flags {
	QP_ADDR_HOST = 1,      /* HOST: may stand before the port */
	QP_ADDR_NEED_HOST = 3, /* must */
	QP_ADDR_PROTO = 4,     /* /tcp or /udp may stand at the end */
	QP_ADDR_PORT_0 = 8,    /* port 0 (any free one) is allowed */
};

/*
 * PORT, HOST:PORT, [v6]:PORT, each with /tcp or /udp, as far as `flags` allow.
 * HOST: an IPv4 address or a DNS name; IPv6 needs brackets. QP_E_INVAL.
 */
int qp_target_parse(const char *text, unsigned flags, struct qp_target *out,
	struct qp_errmsg *msg);
/* The same form again (brackets for IPv6, protocol if `with_protocol`). Always terminated. */
void qp_target_format(const struct qp_target *t, bool with_protocol, char *out, size_t cap);

/* ADDR:PORT or [v6%scope]:PORT, numeric only; port 0 is allowed. QP_E_INVAL. */
int qp_sockaddr_parse(const char *text, struct qp_sockaddr *out, struct qp_errmsg *msg);
/* A numeric address without a port, IPv4 as ::ffff:a.b.c.d; brackets are allowed. QP_E_INVAL. */
int qp_ip_parse_text(const char *text, struct in6_addr *out, struct qp_errmsg *msg);

/*
 * "192.0.2.1:9000", "[2001:db8::1]:9000"; v4-mapped prints as IPv4. Other
 * families print as "family N". Always terminated; returns `out`.
 */
const char *qp_sockaddr_format(const struct sockaddr *sa, char out[QP_ADDR_TEXT_BYTES]);
/* The same from parts: `addr` v4-mapped or IPv6, port in network order. */
const char *qp_addr_format(const uint8_t addr[16], uint16_t port_be, char out[QP_ADDR_TEXT_BYTES]);

/* Port in host order; 0 for other families. */
uint16_t qp_sockaddr_port(const struct sockaddr *sa);
void qp_sockaddr_set_port(struct sockaddr *sa, uint16_t port);
/* 0.0.0.0, :: or ::ffff:0.0.0.0 */
bool qp_sockaddr_is_any(const struct sockaddr *sa);
/* 127.0.0.0/8, ::1, also v4-mapped */
bool qp_sockaddr_is_loopback(const struct sockaddr *sa);
/* The address v4-mapped, all zero for any (both families). False: neither IPv4 nor IPv6. */
bool qp_sockaddr_to_in6(const struct sockaddr *sa, struct in6_addr *out);

#endif
