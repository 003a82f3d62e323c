/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Internet checksum (RFC 1071) over bytes, chains and pseudo-headers. Pure.
 */
#include "dataplane/cksum.h"

#ifdef RTE_ARCH_X86_64
#include <immintrin.h>
#endif
#include <rte_mbuf.h>

/* Adds 32-bit words, which any order of 16-bit words in them sums to. */
static uint64_t
sum_words(const uint8_t *p, uint32_t len)
{
	uint64_t a = 0, b = 0;

	for (; len >= 16; p += 16, len -= 16) {
		uint32_t w[4];

		memcpy(w, p, 16);
		a += (uint64_t)w[0] + w[1];
		b += (uint64_t)w[2] + w[3];
	}
	for (; len >= 4; p += 4, len -= 4) {
		uint32_t w;

		memcpy(&w, p, 4);
		a += w;
	}
	if (len != 0) {
		uint32_t w = 0;

		memcpy(&w, p, len);
		b += w;
	}
	return a + b;
}

#ifdef RTE_ARCH_X86_64
#define BLOCK_BYTES 64u
#define MAX_BLOCKS  1024u /* as many sum up within 32 bits, sign and all */

/*
 * The same of whole blocks. Products of 16-bit words with one come summed by pairs,
 * but are of signed words: each is made 32,768 less, which is added at the end.
 */
__attribute__((target("avx2"))) static uint64_t
sum_blocks(const uint8_t *p, uint32_t blocks)
{
	const __m256i less = _mm256_set1_epi16(INT16_MIN), one = _mm256_set1_epi16(1);
	__m256i a = _mm256_setzero_si256(), b = a;
	__m128i half;

	for (const uint8_t *end = p + (size_t)blocks * BLOCK_BYTES; p < end; p += BLOCK_BYTES) {
		/* lddqu: gcc makes two loads of loadu for old processors. */
		const __m256i v = _mm256_xor_si256(_mm256_lddqu_si256((const void *)p), less);
		const __m256i w = _mm256_xor_si256(_mm256_lddqu_si256((const void *)(p + 32)), less);

		a = _mm256_add_epi32(a, _mm256_madd_epi16(v, one));
		b = _mm256_add_epi32(b, _mm256_madd_epi16(w, one));
	}
	a = _mm256_add_epi32(a, b);
	half = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
	half = _mm_hadd_epi32(half, half);
	half = _mm_hadd_epi32(half, half);
	return (uint64_t)blocks * (BLOCK_BYTES / 2 * 32768) + (uint64_t)(int64_t)_mm_cvtsi128_si32(half);
}
#endif

uint64_t
qp_cksum_bytes(const uint8_t *p, uint32_t len)
{
	uint64_t sum = 0;

#ifdef RTE_ARCH_X86_64
	while (len >= BLOCK_BYTES && __builtin_cpu_supports("avx2")) {
		const uint32_t blocks = RTE_MIN(len / BLOCK_BYTES, MAX_BLOCKS);

		sum += sum_blocks(p, blocks);
		p += (size_t)blocks * BLOCK_BYTES;
		len -= blocks * BLOCK_BYTES;
	}
#endif
	return sum + sum_words(p, len);
}

uint16_t
qp_cksum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

uint16_t
qp_cksum_chain(const struct rte_mbuf *m, uint32_t off, uint32_t len)
{
	uint64_t sum = 0;
	bool odd = false;

	for (; m != NULL && off >= m->data_len; m = m->next)
		off -= m->data_len;
	for (; m != NULL && len > 0; m = m->next) {
		uint32_t n = RTE_MIN(len, m->data_len - off);
		uint16_t part = qp_cksum_fold(qp_cksum_bytes(rte_pktmbuf_mtod_offset(m, uint8_t *, off), n));

		/* A part that starts at an odd byte sums with its bytes swapped (RFC 1071, 2B). */
		sum += odd ? rte_bswap16(part) : part;
		odd ^= n & 1;
		len -= n;
		off = 0;
	}
	return qp_cksum_fold(sum);
}

/* RFC 793, 3.1 and RFC 8200, 8.1; IPv4's addresses in v6-mapped form would add the 0xffffs. */
uint16_t
qp_cksum_pseudo(const struct qp_flow *f, uint8_t proto, uint32_t l4_len)
{
	uint64_t sum = (uint64_t)rte_cpu_to_be_32(l4_len) + rte_cpu_to_be_16(proto);

	if (qp_ipaddr_is_v4(&f->local)) {
		sum += (uint64_t)f->local.w[3] + f->remote.w[3];
	} else {
		for (int i = 0; i < 4; i++)
			sum += (uint64_t)f->local.w[i] + f->remote.w[i];
	}
	return qp_cksum_fold(sum);
}
