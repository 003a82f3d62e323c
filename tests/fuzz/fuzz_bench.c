/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a load generator hears: frames of its link, and a service's stream. The
 * first byte says which, and how the stream is cut. Invariants: all stream credit
 * is given back, all mbufs come back, nothing is queued for a service that is gone.
 */
#include "tests/fuzz/fuzz.h"

#include <rte_mbuf.h>
#include <string.h>

#include "bench/client.h"
#include "bench/pattern.h"
#include "tests/tcp/eal.h"

#define MBUFS 511u

static struct qpb bench;
static struct qpb_worker worker;
static struct qpb_client client;
static struct qpb_path path;
static uint64_t consumed, written;

int LLVMFuzzerInitialize(int *argc, char ***argv);

void
qpb_path_transmit(void *p, struct rte_mbuf *frame)
{
	rte_pktmbuf_free(frame);
}

void
qp_quic_stream_write(struct qp_quic_stream *s, struct rte_mbuf *chain)
{
	written += chain->pkt_len;
	rte_pktmbuf_free(chain);
}

int
qp_quic_stream_write_bytes(struct qp_quic_stream *s, const void *data, size_t len)
{
	written += len;
	return 0;
}

uint64_t
qp_quic_stream_queued(const struct qp_quic_stream *s)
{
	return written; /* nobody acknowledges */
}

void
qp_quic_stream_consumed(struct qp_quic_stream *s, uint64_t bytes)
{
	consumed += bytes;
}

void
qp_quic_conn_consumed(struct qp_quic_conn *c, uint64_t bytes)
{
}

void
qp_quic_stream_fin(struct qp_quic_stream *s)
{
}

void
qp_quic_stream_abort(struct qp_quic_stream *s, uint64_t code)
{
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct qpb_port *p = &bench.port[0];

	test_eal_init();
	qpb_pattern_init();
	bench.cfg.verify = true;
	worker = (struct qpb_worker) {
		.b = &bench, .pool = test_pool("fuzz", MBUFS, RTE_MBUF_DEFAULT_BUF_SIZE)};
	TAILQ_INIT(&worker.pumps);
	client = (struct qpb_client) {.w = &worker};
	path = (struct qpb_path) {.w = &worker, .port = p};
	p->addr = qp_ipaddr_v4(htonl(0x0a000002));
	p->hop = qp_ipaddr_v4(htonl(0x0a000001));
	p->net = qp_ipaddr_v4(htonl(0x0a010000));
	p->net_prefix = 112;
	return 0;
}

static void
frame(const uint8_t *data, size_t size)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(worker.pool);
	uint16_t len = (uint16_t)RTE_MIN(size, (size_t)rte_pktmbuf_tailroom(m));

	memcpy(rte_pktmbuf_append(m, len), data, len);
	if (!qpb_l2_input(&path, m))
		rte_pktmbuf_free(m);
}

static void
stream(const uint8_t *data, size_t size, size_t cut)
{
	struct qpb_service *v = qpb_service_new(&client, NULL);

	FUZZ_CHECK(v != NULL);
	consumed = written = 0;
	for (size_t off = 0; off < size; off += cut) {
		size_t n = RTE_MIN(cut, size - off);

		qpb_service_data(v, data + off, n, off + n == size);
		(void)qpb_pump_all(&worker);
	}
	/* An echo gives credit as it is acknowledged. */
	written = 0;
	qpb_service_acked(v);
	FUZZ_CHECK(consumed == size);
	qpb_service_closed(v);
	FUZZ_CHECK(TAILQ_EMPTY(&worker.pumps));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (worker.pool == NULL)
		LLVMFuzzerInitialize(NULL, NULL);
	if (size == 0)
		return 0;
	bench.cfg.scenario = data[0] & 1 ? QPB_UDP : QPB_REQUESTS;
	if (data[0] & 2)
		frame(data + 1, size - 1);
	else
		stream(data + 1, size - 1, (size_t)(data[0] >> 2) + 1);
	FUZZ_CHECK(rte_mempool_avail_count(worker.pool) == MBUFS);
	return 0;
}
