/* SPDX-License-Identifier: Apache-2.0 */
/* Headers of frames, for the prompt. The worker's lcore, but for the two functions at the end. */
#include "dataplane/verbose.h"

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <string.h>

static uint8_t
l4_proto(const struct rte_mbuf *m, uint16_t ether_type)
{
	const char *ip = rte_pktmbuf_mtod_offset(m, const char *, RTE_ETHER_HDR_LEN);

	if (ether_type == RTE_ETHER_TYPE_IPV4 &&
		m->data_len >= RTE_ETHER_HDR_LEN + sizeof(struct rte_ipv4_hdr))
		return ((const struct rte_ipv4_hdr *)(const void *)ip)->next_proto_id;
	if (ether_type == RTE_ETHER_TYPE_IPV6 &&
		m->data_len >= RTE_ETHER_HDR_LEN + sizeof(struct rte_ipv6_hdr))
		return ((const struct rte_ipv6_hdr *)(const void *)ip)->proto;
	return 0;
}

static void
fill(struct qp_verbose_row *r, bool sent, const struct rte_mbuf *m, uint16_t burst)
{
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);

	*r = (struct qp_verbose_row) {.sent = sent, .burst = burst, .nb_segs = m->nb_segs,
		.length = m->pkt_len, .ol_flags = m->ol_flags};
	if (m->data_len < RTE_ETHER_HDR_LEN)
		return;
	r->ether_type = rte_be_to_cpu_16(eth->ether_type);
	memcpy(r->dst, &eth->dst_addr, sizeof(r->dst));
	memcpy(r->src, &eth->src_addr, sizeof(r->src));
	r->l4_proto = l4_proto(m, r->ether_type);
}

void
qp_verbose_burst(struct qp_verbose *v, bool sent, struct rte_mbuf *const *frames, uint16_t n)
{
	uint32_t tail = atomic_load_explicit(&v->tail, memory_order_relaxed);
	const uint32_t head = atomic_load_explicit(&v->head, memory_order_acquire);
	uint16_t i = 0;

	for (; i < n && tail - head < QP_VERBOSE_ROWS; i++)
		fill(&v->row[tail++ % QP_VERBOSE_ROWS], sent, frames[i], i == 0 ? n : 0);
	atomic_store_explicit(&v->tail, tail, memory_order_release);
	if (i < n)
		atomic_store_explicit(&v->lost, atomic_load_explicit(&v->lost, memory_order_relaxed) + n - i,
			memory_order_relaxed);
}

bool
qp_verbose_next(struct qp_verbose *v, struct qp_verbose_row *out)
{
	const uint32_t head = atomic_load_explicit(&v->head, memory_order_relaxed);

	if (head == atomic_load_explicit(&v->tail, memory_order_acquire))
		return false;
	*out = v->row[head % QP_VERBOSE_ROWS];
	atomic_store_explicit(&v->head, head + 1, memory_order_release);
	return true;
}

uint64_t
qp_verbose_lost(struct qp_verbose *v)
{
	const uint64_t lost = atomic_load_explicit(&v->lost, memory_order_relaxed);
	const uint64_t since = lost - v->told_lost;

	v->told_lost = lost;
	return since;
}
