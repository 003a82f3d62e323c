/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Internet checksum (RFC 1071) over bytes, chains and pseudo-headers. Pure.
 */
#include "dataplane/cksum.h"

#include <rte_mbuf.h>

/* Adds 32-bit words, which any order of 16-bit words in them sums to. */
uint64_t
qp_cksum_bytes(const uint8_t *p, uint32_t len)
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
