/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_ALLOW_H
#define QP_CONTROLPLANE_ALLOW_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

/*
 * What clients may reach by local forwards (--allow-local-forward): nothing,
 * unless a rule says so. Pure; any thread.
 */
#define QP_ALLOW_RULES 256u

struct qp_allow_rule {
	struct in6_addr net; /* IPv4 as ::ffff:a.b.c.d; the bits beyond `bits` are 0 */
	uint8_t bits;        /* of these 128 */
	uint16_t first, last; /* ports */
};

struct qp_allow {
	bool any; /* everything is allowed, whatever the rules say */
	unsigned n;
	struct qp_allow_rule rule[QP_ALLOW_RULES];
};

/*
 * Adds CIDR[:PORTS]: "10.0.0.0/8", "192.0.2.7:80,443,8000-8099",
 * "[2001:db8::]/32:443". Without /LEN the one address, without PORTS all.
 * QP_E_INVAL, and msg says what was expected; QP_E_FULL.
 */
int qp_allow_add(struct qp_allow *a, const char *text, struct qp_errmsg *msg);

/* `addr` v4-mapped or IPv6. */
bool qp_allow_check(const struct qp_allow *a, const struct in6_addr *addr, uint16_t port);

#endif
