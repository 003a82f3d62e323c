/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TOOLS_JUNK_H
#define QP_TESTS_TOOLS_JUNK_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Packets that no honest peer sends, and some that one might: what a gateway
 * must survive. All randomness comes from `rng`, so that a seed repeats a run.
 */
struct junk_rng {
	uint64_t state;
};

enum {
	JUNK_MAX_BYTES = 1500,
};

uint32_t junk_random(struct junk_rng *rng);
/* 0 … below - 1. */
uint32_t junk_below(struct junk_rng *rng, uint32_t below);
void junk_bytes(struct junk_rng *rng, uint8_t *buf, size_t len);
/* Flips, inserts, repeats or cuts a few bytes; the new length, at most `size`. */
size_t junk_mutate(struct junk_rng *rng, uint8_t *buf, size_t len, size_t size);

/* A UDP payload for a QUIC port; its length. */
size_t junk_quic(struct junk_rng *rng, uint8_t buf[JUNK_MAX_BYTES]);

/* Who a TCP segment claims to be from and to. IPv4 as v4-mapped. */
struct junk_flow {
	struct in6_addr src, dst;
	uint16_t dport; /* host order */
	uint16_t live_sport; /* a connection that is up, to aim at; 0: none */
};

/* An IP packet with a TCP segment; its length. */
size_t junk_tcp(struct junk_rng *rng, const struct junk_flow *flow, uint8_t buf[JUNK_MAX_BYTES]);

/*
 * The first packet of an honest handshake, from an address whose last three
 * bytes are random, and a random port: one of a SYN flood. Its length.
 */
size_t junk_syn(struct junk_rng *rng, const struct junk_flow *flow, uint8_t buf[JUNK_MAX_BYTES]);

#endif
