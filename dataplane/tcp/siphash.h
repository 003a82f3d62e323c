/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_TCP_SIPHASH_H
#define QP_DATAPLANE_TCP_SIPHASH_H

#include <stdint.h>

/*
 * SipHash (Aumasson and Bernstein) over whole 64-bit words. 2-4 where a peer
 * must not predict the value (ISNs, cookies); 1-3 where it must merely not
 * find collisions at will (the connection table).
 */
static inline void
sip_round(uint64_t v[4])
{
#define SIP_ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
	v[0] += v[1];
	v[2] += v[3];
	v[1] = SIP_ROTL(v[1], 13) ^ v[0];
	v[3] = SIP_ROTL(v[3], 16) ^ v[2];
	v[0] = SIP_ROTL(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = SIP_ROTL(v[1], 17) ^ v[2];
	v[3] = SIP_ROTL(v[3], 21) ^ v[0];
	v[2] = SIP_ROTL(v[2], 32);
#undef SIP_ROTL
}

static inline uint64_t
qp_siphash_words(const uint64_t key[2], const uint64_t *words, unsigned n, int c_rounds, int d_rounds)
{
	uint64_t v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
		key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};

	for (unsigned i = 0; i <= n; i++) {
		uint64_t w = i < n ? words[i] : (uint64_t)(8 * n) << 56;

		v[3] ^= w;
		for (int r = 0; r < c_rounds; r++)
			sip_round(v);
		v[0] ^= w;
	}
	v[2] ^= 0xff;
	for (int r = 0; r < d_rounds; r++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static inline uint64_t
qp_siphash24(const uint64_t key[2], const uint64_t *words, unsigned n)
{
	return qp_siphash_words(key, words, n, 2, 4);
}

static inline uint64_t
qp_siphash13(const uint64_t key[2], const uint64_t *words, unsigned n)
{
	return qp_siphash_words(key, words, n, 1, 3);
}

#endif
