/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of any bytes, in one mbuf or in several: what qp_ip_parse accepts lies
 * within the frame, and TCP and ICMP survive it. The first byte says where the
 * chain is cut, the second what the port claims to have verified.
 */
#include <string.h>

#include <rte_mempool.h>

#include "dataplane/tcp/internal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/tcp/eal.h"

static struct rte_mempool *pool, *indirect;
static uint64_t now_ns = QP_SEC_NS;
static struct qp_tcp *tcp;

int LLVMFuzzerInitialize(int *argc, char ***argv);

static void
transmit(void *ctx, struct rte_mbuf *m)
{
	rte_pktmbuf_free(m);
}

static uint64_t
random64(void *ctx)
{
	return 4;
}

static int
refuse(void *listener_ctx, struct qp_tcp_conn *c)
{
	return -1;
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const struct qp_tcp_ops ops = {.accept = refuse};
	struct qp_tcp_env env = {.now_ns = &now_ns, .mtu = 1500, .max_frame_bytes = 65535,
		.transmit = transmit, .random = random64};
	struct qp_tcp_listener *l;
	struct qp_tcp_config cfg;

	test_eal_init();
	pool = env.pool = test_pool("fuzz", 511, RTE_PKTMBUF_HEADROOM + 2048);
	indirect = env.indirect_pool = test_pool("fuzz_clones", 63, 0);
	env.wheel = qp_wheel_new(now_ns);
	qp_tcp_config_default(&cfg);
	tcp = qp_tcp_new(&env, &cfg);
	FUZZ_CHECK(qp_tcp_listen(tcp, NULL, RTE_BE16(80), &ops, NULL, &l) == 0);
	return 0;
}

static struct rte_mbuf *
frame(const uint8_t *data, size_t size, unsigned first)
{
	struct rte_mbuf *head = rte_pktmbuf_alloc(pool);
	size_t n = RTE_MIN(size, (size_t)first);

	memcpy(rte_pktmbuf_append(head, (uint16_t)n), data, n);
	for (size_t at = n; at < size; at += n) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

		n = RTE_MIN(size - at, (size_t)2048);
		memcpy(rte_pktmbuf_append(m, (uint16_t)n), data + at, n);
		rte_pktmbuf_chain(head, m);
	}
	return head;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qp_packet pkt;
	struct rte_mbuf *m;

	if (pool == NULL)
		LLVMFuzzerInitialize(NULL, NULL);
	if (size < 2 || size > 60000)
		return 0;
	m = frame(data + 2, size - 2, data[0] & 0x80 ? 2048u : data[0]);
	if (data[1] & 1)
		m->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	if (data[1] & 2)
		m->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_GOOD;
	if (data[1] & 4) {
		m->ol_flags |= RTE_MBUF_F_RX_LRO;
		m->tso_segsz = (uint16_t)(data[1] * 16);
	}
	if (qp_ip_parse(m, &pkt) != QP_IP_OK) {
		rte_pktmbuf_free(m);
	} else {
		FUZZ_CHECK(pkt.l3_off == 14 && pkt.l4_off >= 34 && pkt.l4_off + 8 <= m->data_len);
		FUZZ_CHECK(m->pkt_len == pkt.l4_off + pkt.l4_len);
		rte_mbuf_sanity_check(m, 1);
		if (pkt.proto == IPPROTO_TCP)
			qp_tcp_input(tcp, m, &pkt);
		else if (pkt.proto != IPPROTO_UDP)
			qp_tcp_icmp_input(tcp, m, &pkt);
		else
			rte_pktmbuf_free(m);
		qp_tcp_flush(tcp);
	}
	FUZZ_CHECK(rte_mempool_in_use_count(pool) == 0);
	return 0;
}
