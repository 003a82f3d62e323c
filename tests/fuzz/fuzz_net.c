/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile link: frames of any bytes, true ARP and NDP with any bytes in them,
 * packets to send, time, new configurations, two lcores that replicate to each
 * other. Invariants: what goes up lies within its frame and is to us, the tables
 * agree with themselves, no more waits than may, all mbufs come back.
 *
 * An input: steps, each an operation (1), an argument (1) and what it eats.
 */
#include "tests/fuzz/fuzz.h"

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mempool.h>
#include <rte_udp.h>
#include <string.h>

#include "common/log.h"
#include "dataplane/cksum.h"
#include "dataplane/net/internal.h"
#include "tests/fuzz/input.h"
#include "tests/tcp/eal.h"

#define STEPS  96u
#define LCORES 2u
#define PORTS  2u

static const uint8_t port_mac[PORTS][6] = {{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}};
static struct rte_mempool *pool;
static struct qp_net *net[LCORES];
static struct qp_wheel *wheel;
static struct qp_nic_net conf;
static uint64_t now_ns, seed;
static unsigned depth;

int LLVMFuzzerInitialize(int *argc, char ***argv);

/* What the input has not got is zeros. */
static void
fill(struct fuzz_input *in, void *out, size_t len)
{
	size_t n = len;
	const uint8_t *p = fuzz_get_bytes(in, &n);

	memset(out, 0, len);
	memcpy(out, p, n);
}

static uint64_t
random64(void *ctx)
{
	return seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
}

/* What leaves is a whole frame of ours with the right tag, within the link's MTU. */
static void
transmit(void *ctx, unsigned port, struct rte_mbuf *m)
{
	const struct qp_net *n = net[0] != NULL ? net[0] : net[1];
	const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);
	const uint16_t vlan = n->link[port].vlan;
	uint32_t header = 14;

	rte_mbuf_sanity_check(m, 1);
	FUZZ_CHECK(port < PORTS && m->data_len >= 14);
	FUZZ_CHECK(memcmp(p + 6, port_mac[port], 6) == 0);
	FUZZ_CHECK(!(p[0] & 1) || p[0] == 0xff || p[0] == 0x33);
	if (vlan != 0) {
		FUZZ_CHECK(p[12] == 0x81 && p[13] == 0 && (p[14] << 8 | p[15]) == vlan);
		header += 4;
	}
	FUZZ_CHECK(m->pkt_len <= header + n->link[port].mtu);
	rte_pktmbuf_free(m);
}

static void
replicate(void *ctx, unsigned port, const struct rte_mbuf *m)
{
	struct qp_net *to = net[ctx == &net[0] ? 1 : 0];

	FUZZ_CHECK(depth == 0); /* a copy is never copied */
	depth++;
	qp_net_learn(to, port, rte_pktmbuf_copy(m, pool, 0, UINT32_MAX));
	depth--;
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct qp_log_config quiet = QP_LOG_CONFIG_DEFAULT("fuzz_net");

	quiet.output = "/dev/null"; /* conflicts are logged, and there are many */
	FUZZ_CHECK(qp_log_init(&quiet, NULL) == 0);
	test_eal_init();
	pool = test_pool("fuzz", 2047, RTE_PKTMBUF_HEADROOM + 2048);
	return 0;
}

static struct qp_ipaddr
some_addr(uint8_t arg)
{
	static const struct qp_ipaddr v6 = {.b = {0x20, 1, 0x0d, 0xb8}}, local = {.b = {0xfe, 0x80}};
	struct qp_ipaddr a = arg & 0x80 ? arg & 0x40 ? local : v6 : qp_ipaddr_v4(RTE_BE32(0x0a000000));

	if (arg & 0x20)
		a.b[arg & 0x80 ? 5 : 13] = 1; /* another network */
	a.b[15] = arg & 0x1f;
	return a;
}

static void
configure(struct fuzz_input *in, uint8_t arg)
{
	struct qp_ipaddr a;

	conf.seq += 2;
	conf.naddrs = 4;
	conf.nroutes = arg & 7;
	conf.nlinks = PORTS;
	for (unsigned i = 0; i < conf.naddrs; i++) {
		const uint8_t b = fuzz_get8(in);

		a = some_addr(b);
		conf.addr[i] = (struct qp_nic_addr) {.prefix = b & 0x80 ? 64 : 120, .port = i & 1};
		memcpy(&conf.addr[i].addr, &a, 16);
	}
	for (unsigned i = 0; i < conf.nroutes; i++) {
		conf.route[i] = (struct qp_nic_route) {.prefix = fuzz_get8(in), .port = i & 3};
		a = some_addr(fuzz_get8(in));
		memcpy(&conf.route[i].dest, &a, 16);
		a = some_addr(fuzz_get8(in));
		memcpy(&conf.route[i].via, &a, 16);
	}
	for (unsigned i = 0; i < PORTS; i++)
		conf.link[i] = (struct qp_nic_link) {.vlan = arg & 8 ? 7 : 0, .mtu = arg & 16 ? 1400 : 1500,
			.accept_ra = arg >> 5 & 1};
	for (unsigned i = 0; i < LCORES; i++)
		FUZZ_CHECK(qp_net_poll_config(net[i], &conf, arg & 64));
	if (arg & 128)
		qp_net_announce(net[0]);
}

static void
receive(struct rte_mbuf *m, uint8_t arg)
{
	struct qp_net_info info;
	struct qp_packet pkt;
	struct qp_net *n = net[arg & 1];

	if (arg & 2) {
		m->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
		m->vlan_tci = arg & 4 ? 7 : 0;
	}
	if (qp_net_input(n, arg >> 3 & 3, m, &info) == QP_NET_CONSUMED)
		return;
	rte_mbuf_sanity_check(m, 1);
	FUZZ_CHECK(info.l4_off >= 34 && info.l4_off <= m->data_len);
	FUZZ_CHECK(info.addr == QP_NET_NO_ADDR || info.addr < conf.naddrs);
	if (arg & 32) {
		qp_net_port_unreachable(n, arg >> 3 & 1, m);
		return;
	}
	/* It is to us, and steering and parsing agree on what it is. */
	if (qp_ip_parse(m, &pkt) == QP_IP_OK) {
		FUZZ_CHECK(!info.fragment && pkt.proto == info.proto && pkt.l4_off == info.l4_off);
		FUZZ_CHECK(qp_net_own_valid(n, &pkt.flow.local) != NULL);
	}
	rte_pktmbuf_free(m);
}

static struct rte_mbuf *
frame(const uint8_t *head, size_t head_len, struct fuzz_input *in, size_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

	FUZZ_CHECK(m != NULL);
	memcpy(rte_pktmbuf_append(m, (uint16_t)head_len), head, head_len);
	fill(in, rte_pktmbuf_append(m, (uint16_t)len), len);
	return m;
}

/* An ICMPv6 message of any bytes whose addresses, hop limit and sum are right. */
static struct rte_mbuf *
icmp6(struct fuzz_input *in, uint8_t arg)
{
	uint8_t head[54] = {0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, 0x60, [20] = IPPROTO_ICMPV6,
		[21] = 255};
	const struct qp_flow flow = {.remote = some_addr(fuzz_get8(in) | 0x80),
		.local = arg & 64 ? some_addr(fuzz_get8(in) | 0x80) : (struct qp_ipaddr) {.b = {0xff, 2, [15] = 1}}};
	const size_t len = 8 + fuzz_get8(in) % 64;
	struct rte_mbuf *m;
	uint16_t sum;
	uint8_t *p;

	head[19] = (uint8_t)len;
	if (arg & 64)
		memcpy(head, port_mac[arg >> 3 & 1], 6);
	memcpy(head + 22, &flow.remote, 16);
	memcpy(head + 38, &flow.local, 16);
	m = frame(head, sizeof(head), in, len);
	p = rte_pktmbuf_mtod_offset(m, uint8_t *, sizeof(head));
	p[0] = (uint8_t)(arg & 128 ? 133 + p[0] % 5 : p[0]);
	p[1] &= p[1] >> 1 & 1;
	memset(p + 2, 0, 2);
	sum = (uint16_t)~qp_cksum_fold(qp_cksum_bytes(p, (uint32_t)len) +
				       qp_cksum_pseudo(&flow, IPPROTO_ICMPV6, (uint32_t)len));
	memcpy(p + 2, &sum, 2);
	return m;
}

static struct rte_mbuf *
arp(struct fuzz_input *in, uint8_t arg)
{
	uint8_t head[22] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1};
	struct rte_mbuf *m;
	uint8_t *p;

	if (arg & 64)
		memcpy(head, port_mac[arg >> 3 & 1], 6);
	head[21] = 1 + (arg >> 7);
	m = frame(head, sizeof(head), in, 20);
	p = rte_pktmbuf_mtod_offset(m, uint8_t *, sizeof(head));
	p[0] &= 0xfe;
	memset(p + 6, 0, 3);
	memset(p + 16, 0, 3);
	p[6] = p[16] = 10;
	return m;
}

static void
send_packet(struct fuzz_input *in, uint8_t arg)
{
	struct qp_flow flow = {.remote = some_addr(fuzz_get8(in)), .local = some_addr(arg)};
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

	if (qp_ipaddr_is_v4(&flow.local) != qp_ipaddr_is_v4(&flow.remote))
		flow.local = flow.remote;
	memset(rte_pktmbuf_append(m, 8 + 5u * arg), 0, 8 + 5u * arg);
	m->l4_len = sizeof(struct rte_udp_hdr);
	qp_net_mark(flow.l2.peer_mac, arg & 3);
	qp_ip_encap(m, &flow, IPPROTO_UDP, 0, port_mac[0]);
	qp_net_output(net[arg & 1], m);
}

static void
check(const struct qp_net *n)
{
	uint64_t used = 0, held = 0, unproven = 0, listed = 0;
	const struct qp_net_neigh *e;

	for (uint32_t i = 0; i < n->cfg.max_neighbours; i++) {
		e = &n->neigh[i];
		used += e->id != 0;
		held += e->nheld;
		if (e->id == 0)
			continue;
		unproven += !e->pinned && !e->proven;
		FUZZ_CHECK(qp_neigh_find((struct qp_net *)(uintptr_t)n, e->port, &e->addr) == e);
		FUZZ_CHECK(e->nheld == 0 || e->state == QP_NEIGH_INCOMPLETE);
		FUZZ_CHECK(e->state == QP_NEIGH_INCOMPLETE || e->state == QP_NEIGH_NONE || !(e->mac[0] & 1));
		/* Nothing waits for ever. */
		FUZZ_CHECK((e->state != QP_NEIGH_INCOMPLETE && e->state != QP_NEIGH_DELAY &&
				   e->state != QP_NEIGH_PROBE) || qp_timer_armed(&e->timer));
	}
	TAILQ_FOREACH (e, &n->unproven, link)
		listed++;
	FUZZ_CHECK(used == n->counters.neighbours && held == n->counters.held);
	FUZZ_CHECK(unproven == n->nunproven && listed == unproven);
	FUZZ_CHECK(held <= n->cfg.max_held && unproven <= n->cfg.max_neighbours / 4 + QP_NET_MAX_ROUTES);
}

static void
open_world(void)
{
	struct qp_net_port ports[PORTS] = {{.mtu = 1500}, {.mtu = 1500}};
	struct qp_net_config cfg;

	now_ns = 1000 * QP_NET_SEC_NS;
	seed = 1;
	wheel = qp_wheel_new(now_ns);
	conf.seq = 0;
	for (unsigned i = 0; i < PORTS; i++)
		memcpy(ports[i].mac, port_mac[i], 6);
	qp_net_config_default(&cfg);
	cfg.max_neighbours = 1; /* as few as it can be */
	cfg.max_held = 16;
	for (unsigned i = 0; i < LCORES; i++) {
		struct qp_net_env env = {.now_ns = &now_ns, .wheel = wheel, .pool = pool, .transmit = transmit,
			.replicate = replicate, .replicate_ctx = &net[i], .random = random64};

		net[i] = qp_net_new(&env, &cfg, ports, PORTS);
		FUZZ_CHECK(net[i] != NULL);
	}
}

static void
step(struct fuzz_input *in, uint8_t op, uint8_t arg)
{
	switch (op % 8) {
	case 0:
		configure(in, arg);
		break;
	case 1:
		receive(frame(in->p, 0, in, fuzz_get8(in)), arg);
		break;
	case 2:
	case 3:
		receive(icmp6(in, arg), arg);
		break;
	case 4:
		receive(arp(in, arg), arg);
		break;
	case 5:
	case 6:
		send_packet(in, arg);
		break;
	default:
		if (arg == 255)
			qp_net_link_up(net[0], 0);
		now_ns += arg * UINT64_C(100000000);
		(void)qp_wheel_advance(wheel, now_ns);
		break;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};

	if (pool == NULL)
		LLVMFuzzerInitialize(NULL, NULL);
	open_world();
	for (unsigned i = 0; i < STEPS && in.left > 0; i++) {
		const uint8_t op = fuzz_get8(&in);

		step(&in, op, fuzz_get8(&in));
	}
	for (unsigned i = 0; i < LCORES; i++)
		check(net[i]);
	for (unsigned i = 0; i < LCORES; i++) {
		qp_net_free(net[i]);
		net[i] = NULL;
	}
	qp_wheel_free(wheel);
	FUZZ_CHECK(rte_mempool_in_use_count(pool) == 0);
	return 0;
}
