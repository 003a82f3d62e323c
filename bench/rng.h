/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_BENCH_RNG_H
#define QP_BENCH_RNG_H

#include <stdint.h>

/*
 * A seeded random source (xoshiro256**): the same seed gives the same load.
 * Not for secrets. Owner: one thread.
 */
struct qpb_rng {
	uint64_t s[4];
};

/* One step of splitmix64: well-mixed 64 bits for each value. */
static inline uint64_t
qpb_mix(uint64_t v)
{
	v += 0x9e3779b97f4a7c15u;
	v = (v ^ (v >> 30)) * 0xbf58476d1ce4e5b9u;
	v = (v ^ (v >> 27)) * 0x94d049bb133111ebu;
	return v ^ (v >> 31);
}

/* `stream` sets apart those that share a seed: a lcore's number, what it is for. */
static inline void
qpb_rng_init(struct qpb_rng *r, uint64_t seed, uint64_t stream)
{
	uint64_t base = qpb_mix(seed) ^ qpb_mix(~stream);

	for (unsigned i = 0; i < 4; i++)
		r->s[i] = qpb_mix(base + i);
}

static inline uint64_t
qpb_rotl(uint64_t v, unsigned k)
{
	return v << k | v >> (64 - k);
}

static inline uint64_t
qpb_rng_next(struct qpb_rng *r)
{
	uint64_t *s = r->s, result = qpb_rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = qpb_rotl(s[3], 45);
	return result;
}

/* 0 … n - 1; n > 0. Lemire's multiplication: biased by less than n / 2^64. */
static inline uint64_t
qpb_rng_below(struct qpb_rng *r, uint64_t n)
{
	return (uint64_t)((unsigned __int128)qpb_rng_next(r) * n >> 64);
}

/* (0, 1]: never 0, so that its logarithm exists. */
static inline double
qpb_rng_unit(struct qpb_rng *r)
{
	return (double)((qpb_rng_next(r) >> 11) + 1) * 0x1p-53;
}

#endif
