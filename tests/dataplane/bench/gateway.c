/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker, its port in memory and its control plane. The linker gives the
 * worker this file's qp_host_port_open in place of the real one.
 */
#include "tests/dataplane/bench/bench.h"

#include <fcntl.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_ip.h>
#include <rte_launch.h>
#include <rte_mbuf.h>
#include <rte_memzone.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <rte_tcp.h>
#include <semaphore.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/cert.h"
#include "common/quicglue.h"
#include "common/shared.h"
#include "dataplane/cksum.h"
#include "dataplane/port.h"
#include "dataplane/worker.h"
#include "tests/dataplane/golden.h"

#define MBUFS 16384u
#define RING_MESSAGES 1024u
#define LCORE 1u

int __wrap_qp_host_port_open(
	const struct qp_host_port_config *cfg, struct qp_port **out, struct qp_errmsg *msg);

struct bench_config bench_cfg;
struct bench_wire bench_to_gateway, bench_from_gateway;

static struct {
	struct qp_port port;
	struct rte_mempool *pool;
	sem_t go, done;
	bool free_run; /* nobody waits for the worker any more */
	uint64_t resumed;
	long switches; /* that were not the thread's wish */
	bool busy;
	struct bench_meter meter;
	struct qp_worker *worker;
	struct qp_gen_shared *shared;
	struct rte_ring *to_cp, *from_cp;
	struct qp_orders orders;
	struct qp_sight sight;
	struct qp_verbose verbose;
	atomic_bool stop;
	struct world world; /* the golden bytes only */
	char folder[64];
} g;

/* Wires. */

static void
wire_init(struct bench_wire *w, uint32_t slots, uint32_t stride)
{
	*w = (struct bench_wire) {.slots = slots, .stride = stride};
	w->bytes = calloc(slots, stride);
	w->slot = calloc(slots, sizeof(*w->slot));
	must(w->bytes != NULL && w->slot != NULL);
}

uint8_t *
bench_wire_room(struct bench_wire *w)
{
	if (w->head - w->tail == w->slots)
		return NULL;
	return w->bytes + (size_t)(w->head % w->slots) * w->stride;
}

void
bench_wire_push(struct bench_wire *w, struct bench_slot slot)
{
	w->slot[w->head++ % w->slots] = slot;
}

uint8_t *
bench_wire_peek(struct bench_wire *w, struct bench_slot *slot)
{
	if (w->head == w->tail)
		return NULL;
	*slot = w->slot[w->tail % w->slots];
	return w->bytes + (size_t)(w->tail % w->slots) * w->stride;
}

void
bench_wire_pop(struct bench_wire *w)
{
	w->tail++;
}

static void
make_checksums(struct rte_mbuf *m)
{
	const bool tcp = (m->ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_TCP_CKSUM;
	const uint32_t l4 = m->l2_len + m->l3_len;
	struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(m, void *, m->l2_len);
	uint16_t *sum = rte_pktmbuf_mtod_offset(m, void *, l4 + (tcp ? 16 : 6));
	uint16_t v;

	ip->hdr_checksum = (uint16_t)~qp_cksum_fold(qp_cksum_bytes((const void *)ip, m->l3_len));
	v = (uint16_t)~qp_cksum_chain(m, l4, m->pkt_len - l4);
	*sum = v == 0 && !tcp ? 0xffff : v;
}

void
bench_wire_send(struct bench_wire *w, struct rte_mbuf *m)
{
	struct bench_slot slot = {.len = m->pkt_len,
		.tcp = (m->ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_TCP_CKSUM};
	uint8_t *to = bench_wire_room(w);

	if (to == NULL) {
		w->dropped++;
		rte_pktmbuf_free(m);
		return;
	}
	must(m->pkt_len <= w->stride);
	if (m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG))
		slot.segsz = m->tso_segsz;
	if (!bench_cfg.super)
		make_checksums(m);
	for (const struct rte_mbuf *s = m; s != NULL; s = s->next) {
		memcpy(to, rte_pktmbuf_mtod(s, const void *), s->data_len);
		to += s->data_len;
	}
	bench_wire_push(w, slot);
	rte_pktmbuf_free(m);
}

static bool
fill(struct rte_mbuf *head, const uint8_t *from, uint32_t len, struct rte_mempool *pool)
{
	struct rte_mbuf *m = head;

	while (len > 0) {
		uint16_t n = (uint16_t)RTE_MIN(len, (uint32_t)rte_pktmbuf_tailroom(m));

		memcpy(rte_pktmbuf_mtod(m, void *), from, n);
		m->data_len = n;
		head->pkt_len += n;
		from += n;
		len -= n;
		if (len == 0)
			break;
		m->next = rte_pktmbuf_alloc(pool);
		m = m->next;
		if (m == NULL)
			return false;
		head->nb_segs++;
	}
	return true;
}

struct rte_mbuf *
bench_wire_receive(struct bench_wire *w, struct rte_mempool *pool)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	struct bench_slot slot = {0};
	const uint8_t *from = bench_wire_peek(w, &slot);

	if (m == NULL || !fill(m, from, slot.len, pool)) {
		rte_pktmbuf_free(m);
		return NULL;
	}
	bench_wire_pop(w);
	if (bench_cfg.super)
		m->ol_flags = RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	if (slot.segsz != 0) {
		m->ol_flags |= RTE_MBUF_F_RX_LRO;
		m->tso_segsz = slot.segsz;
	}
	return m;
}

/* The port. */

static long
switches(void)
{
	struct rusage u;

	must(getrusage(RUSAGE_THREAD, &u) == 0);
	return u.ru_nivcsw;
}

/* A stretch of the worker's time ends. */
static void
pause_meter(void)
{
	uint64_t took = rte_rdtsc() - g.resumed;

	if (switches() != g.switches)
		g.meter.preempted++;
	else if (g.busy)
		g.meter.cycles += took;
	else
		g.meter.idle += took;
	g.meter.turns += g.busy;
	g.busy = false;
}

static uint16_t
port_rx(struct qp_port *p, enum qp_cls_queue queue, struct rte_mbuf **frames, uint16_t n)
{
	struct bench_wire *w = &bench_to_gateway;
	uint16_t got = 0;

	pause_meter();
	if (w->head == w->tail && !g.free_run) {
		must(sem_post(&g.done) == 0);
		while (sem_wait(&g.go) != 0)
			;
	}
	g.switches = switches();
	g.resumed = rte_rdtsc();
	while (got < n && w->head != w->tail) {
		frames[got] = bench_wire_receive(w, g.pool);
		must(frames[got] != NULL);
		got++;
	}
	g.busy = got > 0;
	return got;
}

static uint16_t
port_tx(struct qp_port *p, struct rte_mbuf **frames, uint16_t n)
{
	struct bench_wire *w = &bench_from_gateway;
	uint16_t done = 0;

	while (done < n && bench_wire_room(w) != NULL)
		bench_wire_send(w, frames[done++]);
	g.busy |= done > 0;
	return done;
}

static void
port_close(struct qp_port *p)
{
}

int
__wrap_qp_host_port_open(
	const struct qp_host_port_config *cfg, struct qp_port **out, struct qp_errmsg *msg)
{
	static const struct qp_port_ops ops = {port_rx, port_tx, port_close};
	const uint64_t sums = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM |
			      RTE_ETH_TX_OFFLOAD_UDP_CKSUM;

	g.pool = cfg->rx_pool;
	g.port = (struct qp_port) {
		.ops = &ops,
		.tx_offloads = sums,
		.max_frame_bytes = 1514,
		.mtu = 1500,
		.mac = {2, 0, 0, 0, 0, 1},
		.wake_fd = {-1, -1, -1, -1},
	};
	if (bench_cfg.super) {
		g.port.tx_offloads |= RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_UDP_TSO;
		g.port.max_frame_bytes = 65549;
	}
	*out = &g.port;
	return 0;
}

/* The control plane. */

static void
tell(struct qp_msg *m)
{
	m->version = QP_IPC_VERSION;
	must(rte_ring_sp_enqueue_elem(g.from_cp, m, sizeof(*m)) == 0);
}

static void
answer(const struct qp_msg *m)
{
	struct qp_msg out = {.id = m->id};

	switch (m->type) {
	case QP_MSG_AUTH_BEGIN:
		out.type = QP_MSG_AUTH_REPLY;
		out.auth_bytes.len = (uint16_t)g.world.step2_len;
		memcpy(out.auth_bytes.bytes, g.world.step2, g.world.step2_len);
		break;
	case QP_MSG_AUTH_FINISH:
		out.type = QP_MSG_VERDICT;
		out.verdict.accepted = 1;
		break;
	case QP_MSG_FORWARD_REQUEST:
		out.type = QP_MSG_FORWARD_GRANT;
		out.forward_answer.port = m->forward.port;
		out.forward_answer.protocol = m->forward.protocol;
		break;
	case QP_MSG_HELLO:
		must(m->hello.ok);
		return;
	default:
		return;
	}
	tell(&out);
}

static void
control_plane(void)
{
	struct qp_msg m;

	while (rte_ring_sc_dequeue_elem(g.to_cp, &m, sizeof(m)) == 0)
		answer(&m);
}

static void
configure(void)
{
	struct qp_msg m = {.type = QP_MSG_CONFIG};
	struct qp_errmsg why = {""};

	snprintf(g.folder, sizeof(g.folder), "/tmp/quicport-bench-XXXXXX");
	must(mkdtemp(g.folder) != NULL);
	m.config.data_plane_port_be = htons(BENCH_QUIC_PORT);
	m.config.keep_alive_s = 5;
	m.config.idle_timeout_s = 90;
	m.config.tcp = (struct qp_msg_tcp) {.buffer_kib = 1024, .max_conns = 262144, .ecn = 1};
	m.config.udp = (struct qp_msg_udp) {.idle_timeout_s = 60, .max_flows = 1024,
		.max_flows_per_tunnel = 1024};
	m.config.audit_conns = bench_cfg.audit;
	memset(m.config.reset_key, 0x5a, sizeof(m.config.reset_key));
	snprintf(m.config.cert_file, sizeof(m.config.cert_file), "%s/cert.pem", g.folder);
	snprintf(m.config.key_file, sizeof(m.config.key_file), "%s/key.pem", g.folder);
	must(qp_cert_ensure(m.config.cert_file, m.config.key_file, NULL, &why) == 0);
	tell(&m);
}

/* Life. */

static void
eal(const struct bench_config *cfg)
{
	char lcores[48];
	char *argv[] = {"bench_lcore", "--no-pci", "--no-telemetry", "--log-level", "error", "-m", "384",
		"--iova-mode", "va", "--lcores", lcores, cfg->huge ? "--in-memory" : "--no-shconf",
		cfg->huge ? "--no-shconf" : "--no-huge", NULL};

	snprintf(lcores, sizeof(lcores), "0@%u,%u@%u", cfg->peers_cpu, LCORE, cfg->cpu);
	if (rte_eal_init((int)RTE_DIM(argv) - 1, argv) < 0) {
		fprintf(stderr, "EAL does not start: %s\n", rte_strerror(rte_errno));
		exit(1);
	}
	must(qp_quic_init() == 0);
}

static struct rte_ring *
ring(const char *name)
{
	struct rte_ring *r = rte_ring_create_elem(name, sizeof(struct qp_msg), RING_MESSAGES,
		SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);

	must(r != NULL);
	return r;
}

static void *
zone(const char *name, size_t bytes)
{
	const struct rte_memzone *z = rte_memzone_reserve_aligned(name, bytes, SOCKET_ID_ANY, 0, 64);

	must(z != NULL);
	return z->addr;
}

static void
make_worker(void)
{
	const uint32_t bytes = 64; /* its rings are elsewhere */
	struct qp_worker_config cfg = {.server_id = 0x3039, .mbufs = MBUFS, .busy_poll = true,
		.version = QP_IPC_VERSION, .stop = &g.stop,
		.orders = &g.orders, .sight = &g.sight, .verbose = &g.verbose};
	struct qp_errmsg why = {""};

	atomic_init(&g.orders.burst, QP_BURST_DEFAULT);
	g.shared = aligned_alloc(4096, RTE_ALIGN_CEIL(qp_shared_bytes(1, bytes), 4096));
	must(g.shared != NULL);
	memset(g.shared, 0, qp_shared_bytes(1, bytes));
	qp_shared_init(g.shared, 1, bytes);
	cfg.shared = g.shared;
	cfg.pools = zone("pools", qp_worker_pool_bytes(MBUFS));
	cfg.farewells = zone("farewells", qp_worker_farewell_bytes());
	cfg.doorbell = eventfd(0, EFD_NONBLOCK);
	cfg.cp_doorbell = eventfd(0, EFD_NONBLOCK);
	cfg.to_cp = g.to_cp = ring("to_cp");
	cfg.from_cp = g.from_cp = ring("from_cp");
	must(qp_worker_new(&cfg, &g.worker, &why) == 0);
}

void
bench_gateway_start(const struct bench_config *cfg)
{
	const uint32_t stride = cfg->super ? 66048 : 2048, slots = 1024;

	bench_cfg = *cfg;
	eal(cfg);
	golden_x25519(&g.world);
	wire_init(&bench_to_gateway, slots, stride);
	wire_init(&bench_from_gateway, slots, stride);
	must(sem_init(&g.go, 0, 0) == 0 && sem_init(&g.done, 0, 0) == 0);
	make_worker();
	configure();
	must(rte_eal_remote_launch(qp_worker_run, g.worker, LCORE) == 0);
	while (sem_wait(&g.done) != 0)
		;
}

void
bench_gateway_turn(void)
{
	must(sem_post(&g.go) == 0);
	while (sem_wait(&g.done) != 0)
		;
	control_plane();
}

void
bench_gateway_stop(void)
{
	char path[96];

	g.free_run = true;
	atomic_store(&g.stop, true);
	must(sem_post(&g.go) == 0);
	rte_eal_wait_lcore(LCORE);
	qp_worker_free(g.worker);
	snprintf(path, sizeof(path), "%s/cert.pem", g.folder);
	unlink(path);
	snprintf(path, sizeof(path), "%s/key.pem", g.folder);
	unlink(path);
	rmdir(g.folder);
}

struct bench_meter
bench_meter(void)
{
	return g.meter;
}

const struct qp_worker_shared *
bench_counters(void)
{
	return qp_shared_worker(g.shared, 0);
}

double
bench_ghz(void)
{
	return (double)rte_get_tsc_hz() / 1e9;
}
