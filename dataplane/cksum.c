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
	for (; len >= 2; p += 2, len -= 2) {
		uint16_t w;

		memcpy(&w, p, 2);
		a += w;
	}
	if (len != 0) {
		uint16_t w = 0;

		memcpy(&w, p, 1);
		a += w;
	}
	return a + b;
}

#ifdef RTE_ARCH_X86_64
/* The same, 64 bytes at a time: words become 64 bits wide beside zeros. What is left, the rest sums. */
__attribute__((target("avx2"))) static uint64_t
sum_blocks(const uint8_t **at, uint32_t *len)
{
	const __m256i zero = _mm256_setzero_si256();
	__m256i a = zero, b = zero;
	uint64_t part[4];

	for (; *len >= 64; *at += 64, *len -= 64) {
		const __m256i v = _mm256_loadu_si256((const void *)*at);
		const __m256i w = _mm256_loadu_si256((const void *)(*at + 32));

		a = _mm256_add_epi64(a, _mm256_unpacklo_epi32(v, zero));
		b = _mm256_add_epi64(b, _mm256_unpackhi_epi32(v, zero));
		a = _mm256_add_epi64(a, _mm256_unpacklo_epi32(w, zero));
		b = _mm256_add_epi64(b, _mm256_unpackhi_epi32(w, zero));
	}
	_mm256_storeu_si256((void *)part, _mm256_add_epi64(a, b));
	return part[0] + part[1] + part[2] + part[3];
}
#endif

uint64_t
qp_cksum_bytes(const uint8_t *p, uint32_t len)
{
	uint64_t sum = 0;

#ifdef RTE_ARCH_X86_64
	if (len >= 64 && __builtin_cpu_supports("avx2"))
		sum = sum_blocks(&p, &len);
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
