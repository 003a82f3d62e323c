/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_TCP_KEYRING_H
#define QP_DATAPLANE_TCP_KEYRING_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/tcp/siphash.h"

/*
 * Keys that change with time: each period has its own, made from the secret
 * and the period's number, so that whoever shares the secret and the clock has
 * the same ones. What a key made is good for its period and the next.
 */
struct qp_tcp_keyring {
	uint64_t secret[2];
	uint64_t period;
	uint64_t now[2], before[2];
	bool made;
};

static inline void
qp_tcp_keyring_derive(const struct qp_tcp_keyring *r, uint64_t period, uint64_t key[2])
{
	const uint64_t words[2] = {period, 0}, more[2] = {period, 1};

	key[0] = qp_siphash24(r->secret, words, 2);
	key[1] = qp_siphash24(r->secret, more, 2);
}

/* Afterwards `now` and `before` are the keys of `period` and of the one before it. */
static inline void
qp_tcp_keyring_turn(struct qp_tcp_keyring *r, uint64_t period)
{
	if (r->made && r->period == period)
		return;
	r->made = true;
	r->period = period;
	qp_tcp_keyring_derive(r, period, r->now);
	qp_tcp_keyring_derive(r, period - 1, r->before);
}

#endif
