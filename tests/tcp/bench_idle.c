/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What idle connections cost: N of them are opened in one stack by injected
 * handshakes, then looked up, timed and closed. No kernel, no port.
 *
 *	bench_idle [N...]            a table, for 1,000, 10,000, 100,000 and 1,000,000 by default
 *	bench_idle --check N         fails when a connection costs more than 512 bytes
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_mempool.h>

#include "dataplane/tcp/internal.h"
#include "tests/tcp/eal.h"
#if TEST_ASAN
#include <sanitizer/allocator_interface.h>
#endif

#define LIMIT_BYTES 512
#define PROBES 1000000u
#define MOST 10000000u /* what packet_of can tell apart */

static uint64_t now_ns = QP_SEC_NS;
static struct qp_tcp *tcp;
static struct qp_wheel *wheel;
static struct rte_mempool *pool;
static uint32_t last_seq; /* of what the stack sent last */
static uint64_t sent;

static uint64_t
random64(void *ctx)
{
	static uint64_t s = 88172645463325252u;

	s ^= s << 13;
	s ^= s >> 7;
	s ^= s << 17;
	return s;
}

static void
transmit(void *ctx, struct rte_mbuf *m)
{
	const struct rte_tcp_hdr *h = rte_pktmbuf_mtod_offset(m, void *, m->l2_len + m->l3_len);

	last_seq = rte_be_to_cpu_32(h->sent_seq);
	sent++;
	rte_pktmbuf_free(m);
}

static int
take(void *listener_ctx, struct qp_tcp_conn *c)
{
	return 0;
}

static void
ended(void *ctx, enum qp_tcp_end why)
{
}

static const struct qp_tcp_ops ops = {.accept = take, .ended = ended};

/* The i-th outside client. */
static struct qp_packet
packet_of(uint32_t i)
{
	return (struct qp_packet) {
		.flow = {.local = qp_ipaddr_v4(htonl(0xc0000201)),
			.remote = qp_ipaddr_v4(htonl(0x0a000000 + i / 50000)),
			.lport_be = htons(80), .rport_be = htons(1024 + i % 50000)},
		.proto = IPPROTO_TCP, .ttl = 64};
}

static void
segment(uint32_t i, uint8_t flags, uint32_t seq, uint32_t ack)
{
	static const uint8_t syn_options[] = {2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7};
	uint8_t options[20] = {1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0};
	uint32_t n = flags & RTE_TCP_SYN_FLAG ? 20 : 12;
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	struct rte_tcp_hdr *h = (void *)rte_pktmbuf_append(m, sizeof(*h) + n);
	struct qp_packet pkt = packet_of(i);

	*h = (struct rte_tcp_hdr) {.src_port = pkt.flow.rport_be, .dst_port = pkt.flow.lport_be,
		.sent_seq = rte_cpu_to_be_32(seq), .recv_ack = rte_cpu_to_be_32(ack),
		.data_off = (uint8_t)((sizeof(*h) + n) / 4 << 4), .tcp_flags = flags,
		.rx_win = rte_cpu_to_be_16(1000)};
	memcpy(h + 1, n == 20 ? syn_options : options, n);
	pkt.l4_len = sizeof(*h) + n;
	qp_tcp_input(tcp, m, &pkt);
}

static double
seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static size_t
heap_bytes(void)
{
#if TEST_ASAN
	return __sanitizer_get_current_allocated_bytes();
#else
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
#endif
}

static void
make(uint32_t n)
{
	const struct qp_tcp_env env = {.now_ns = &now_ns, .wheel = wheel, .pool = pool,
		.indirect_pool = pool, .mtu = 1500, .transmit = transmit, .random = random64};
	struct qp_tcp_listener *l;
	struct qp_tcp_config cfg;

	qp_tcp_config_default(&cfg);
	cfg.max_conns = n;
	cfg.syn_backlog = n;
	tcp = qp_tcp_new(&env, &cfg);
	if (tcp == NULL || qp_tcp_listen(tcp, NULL, htons(80), &ops, NULL, &l) != 0) {
		fprintf(stderr, "no memory for %u connections\n", n);
		exit(1);
	}
}

static void
open_all(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		segment(i, RTE_TCP_SYN_FLAG, 1000, 0);
		segment(i, RTE_TCP_ACK_FLAG, 1001, last_seq + 1);
		/* Once in a while, as a worker does it a turn. */
		if (i % 16 == 15)
			qp_tcp_flush(tcp);
	}
	qp_tcp_flush(tcp);
}

static double
lookups(uint32_t n)
{
	double start = seconds();
	volatile const void *found;

	for (uint32_t i = 0; i < PROBES; i++) {
		struct qp_packet pkt = packet_of((uint32_t)(random64(NULL) % n));

		found = qp_tcp_lookup(tcp, &pkt.flow);
		if (found == NULL)
			abort();
	}
	return (seconds() - start) / PROBES;
}

/* An ACK that says nothing new, for random connections in bursts of 32: input and flush. */
static double
acks(uint32_t n)
{
	double start = seconds();

	for (uint32_t i = 0; i < PROBES; i++) {
		uint32_t k = (uint32_t)(random64(NULL) % n);
		struct qp_packet pkt = packet_of(k);
		struct qp_tcp_conn *c = (struct qp_tcp_conn *)qp_tcp_lookup(tcp, &pkt.flow);

		segment(k, RTE_TCP_ACK_FLAG, 1001, c->snd_nxt);
		if (i % 32 == 31)
			qp_tcp_flush(tcp);
	}
	return (seconds() - start) / PROBES;
}

/* A minute in steps of 10 ms: no timer is due, the keep-alives wait in the wheel. */
static double
quiet_second(void)
{
	double start;

	/* The handshakes' timers still are in the wheel, and fire for nothing. */
	for (int i = 0; i < 1000; i++) {
		now_ns += 10 * QP_MS_NS;
		qp_wheel_advance(wheel, now_ns);
	}
	start = seconds();
	for (int i = 0; i < 6000; i++) {
		now_ns += 10 * QP_MS_NS;
		qp_wheel_advance(wheel, now_ns);
	}
	return (seconds() - start) / 60;
}

/* Silence until every keep-alive has fired once. */
static double
keepalives(uint32_t n)
{
	double start = seconds();
	uint64_t before = sent;

	for (int i = 0; i < 60000 && sent - before < n; i++) {
		now_ns += 10 * QP_MS_NS;
		qp_wheel_advance(wheel, now_ns);
	}
	if (sent - before != n)
		abort();
	return (seconds() - start) / n;
}

static double
close_all(uint32_t n)
{
	double start = seconds();

	for (uint32_t i = 0; i < n; i++) {
		segment(i, RTE_TCP_RST_FLAG, 1001, 0);
		if (i % 32 == 31)
			qp_tcp_flush(tcp);
	}
	qp_tcp_flush(tcp);
	return (seconds() - start) / n;
}

/* Bytes a connection, beside its slot in the table. */
static double
run(uint32_t n)
{
	size_t before, after, slots;
	double start, handshake, bytes;

	wheel = qp_wheel_new(now_ns);
	before = heap_bytes();
	make(n);
	start = seconds();
	open_all(n);
	handshake = (seconds() - start) / n;
	after = heap_bytes();
	slots = ((size_t)tcp->bucket_mask + 1) * sizeof(*tcp->buckets);
	/* The largest chunks are mapped, and no business of the heap's. */
	bytes = (double)(after - before - slots - sizeof(*tcp) + tcp->conns.mapped_bytes +
			tcp->xmits.mapped_bytes) / n;
	if (qp_tcp_counters(tcp)->established != n) {
		fprintf(stderr, "%lu of %u are established\n",
			(unsigned long)qp_tcp_counters(tcp)->established, n);
		exit(1);
	}
	printf("| %9u | %5.0f | %5.1f | %5.0f | %5.0f | %5.0f |", n, bytes, (double)slots / n,
		handshake * 1e9, lookups(n) * 1e9, acks(n) * 1e9);
	printf(" %8.1f |", quiet_second() * 1e6);
	printf(" %5.0f |", keepalives(n) * 1e9);
	printf(" %5.0f |\n", close_all(n) * 1e9);
	if (tcp->nconns != 0 || tcp->conns.used != 0 || tcp->xmits.used != 0 ||
		rte_mempool_in_use_count(pool) != 0) {
		fprintf(stderr, "something is left after all have closed\n");
		exit(1);
	}
	qp_tcp_free(tcp);
	qp_wheel_free(wheel);
	return bytes;
}

static uint32_t
number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end != '\0' || n == 0 || n > MOST) {
		fprintf(stderr, "bench_idle: %s is no number of connections (1 to %u)\n", text, MOST);
		exit(2);
	}
	return (uint32_t)n;
}

int
main(int argc, char **argv)
{
	static const uint32_t usual[] = {1000, 10000, 100000, 1000000};
	bool check = argc > 1 && strcmp(argv[1], "--check") == 0;
	double worst = 0;

	test_eal_init();
	pool = test_pool("idle", 1023, RTE_PKTMBUF_HEADROOM + 2048);
	printf("|         N | bytes | slot  | open  | find  | ACK   | quiet s  | probe | reset |\n"
	       "|           |       | bytes | ns    | ns    | ns    | us       | ns    | ns    |\n");
	if (argc <= 1 + check) {
		for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
			worst = RTE_MAX(worst, run(usual[i]));
	}
	for (int i = 1 + check; i < argc; i++)
		worst = RTE_MAX(worst, run(number(argv[i])));
	if (!check || worst <= LIMIT_BYTES)
		return 0;
	fprintf(stderr, "%.0f bytes an idle connection are more than %d\n", worst, LIMIT_BYTES);
	return 1;
}
