/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which packets the classifier takes, and whom it gives them to.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <rte_mbuf.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/port.h"
#include "tests/port/gw.h"
#include "tests/port/raw.h"

/* Long enough that an answer would have come, for what must not be answered. */
#define SILENCE_MS 50

static struct in6_addr
mapped(const char *addr)
{
	struct in6_addr a = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

	cr_assert_eq(inet_pton(AF_INET, addr, a.s6_addr + 12), 1);
	return a;
}

static int
peer_connect(const struct gw *g, const char *addr, uint16_t port, int type)
{
	int fd;

	world_enter_peer(&g->w);
	fd = gw_connect(addr, port, type);
	world_enter_gw(&g->w);
	return fd;
}

/* Sends an IP packet from the peer's wire to gw0. */
static void
inject(const struct gw *g, const uint8_t *packet, size_t len)
{
	uint8_t mac[6];

	raw_mac_of("gw0", mac);
	world_enter_peer(&g->w);
	raw_send("out0", mac, packet, len);
	world_enter_gw(&g->w);
}

/* An ACK from the peer to the echo port, of a connection that does not exist. */
static void
inject_ack(const struct gw *g, uint16_t sport)
{
	const uint8_t rest[12] = {[3] = 1, [4] = 5 << 4, [5] = 0x10, [6] = 1};
	uint8_t packet[64];
	/* The ports stand where UDP has them; what UDP calls length and checksum is the number. */
	size_t len = raw_udp(packet, &(struct raw_udp) {WORLD_PEER4, WORLD_GW4, sport,
			GW_ECHO_PORT, 0}, rest, sizeof(rest));

	packet[9] = IPPROTO_TCP;
	inject(g, packet, len);
}

struct quic_case {
	const char *what;
	uint8_t bytes[32];
	unsigned want; /* which of the responders */
};

/* Three workers: generation 1's two, and generation 2's one, which is active. */
static const struct quic_case quic_cases[] = {
	{"short header, generation 1, worker 0", {0x40, 0, 0, 0, 1, 0, 9, 9, 9}, 0},
	{"short header, generation 1, worker 1", {0x40, 0, 0, 0, 1, 1, 9, 9, 9}, 1},
	{"short header, generation 2, worker 0", {0x40, 0, 0, 0, 2, 0, 9, 9, 9}, 2},
	{"short header, unknown worker", {0x40, 0, 0, 0, 1, 2, 9, 9, 9}, 2},
	{"short header, unknown generation", {0x40, 0, 0, 1, 1, 0, 9, 9, 9}, 2},
	{"long header, generation 1, worker 1",
		{0xc0, 0, 0, 0, 1, 8, 0, 0, 0, 1, 1, 9, 9, 9}, 1},
	{"long header of another version, generation 1, worker 0",
		{0x80, 0x6b, 0x33, 0x43, 0xcf, 8, 0, 0, 0, 1, 0, 9, 9, 9}, 0},
	{"long header, random id", {0xc0, 0, 0, 0, 1, 8, 7, 7, 7, 7, 7, 7, 7, 7}, 2},
	{"long header, longer id", {0xc0, 0, 0, 0, 1, 20, 0, 0, 0, 1, 1, 9, 9, 9}, 2},
	{"long header, empty id", {0xc0, 0, 0, 0, 1, 0, 8, 0, 0, 0, 1, 1, 9, 9, 9}, 2},
};

static void
open_second_generation(struct gw *g, struct responder *b, struct responder *c)
{
	gw_open(g);
	responder_open(b, "qptap1", g->pool);
	responder_open(c, "qptap2", g->pool);
	qp_hostnet_worker_remove(g->h, GW_SERVER_ID, 0);
	gw_add_worker(g->h, 1, 0, &g->r);
	gw_add_worker(g->h, 1, 1, b);
	gw_add_worker(g->h, 2, 0, c);
	cr_assert_eq(qp_hostnet_set_active(g->h, 2, 1), 0);
}

Test(steer, quic_packet_goes_to_the_worker_that_its_id_names)
{
	struct responder b, c, *all[3] = {NULL, &b, &c};
	struct gw g;

	open_second_generation(&g, &b, &c);
	all[0] = &g.r;
	for (unsigned from_peer = 0; from_peer < 2; from_peer++) {
		int fd = from_peer ? peer_connect(&g, WORLD_GW6, GW_QUIC_PORT, SOCK_DGRAM)
				   : gw_connect("127.0.0.1", GW_QUIC_PORT, SOCK_DGRAM);

		for (unsigned i = 0; i < sizeof(quic_cases) / sizeof(quic_cases[0]); i++) {
			const struct quic_case *q = &quic_cases[i];
			uint64_t before = atomic_load(&all[q->want]->stats.udp);

			cr_expect(gw_udp_answers(fd, q->bytes, sizeof(q->bytes), 5000), "%s",
				q->what);
			cr_expect_eq(atomic_load(&all[q->want]->stats.udp), before + 1,
				"%s: elsewhere", q->what);
		}
		/* Shorter than any QUIC packet: the active generation counts it. */
		cr_expect(gw_udp_answers(fd, "\x40", 1, 5000));
		close(fd);
	}
	cr_expect_eq(gw_counter(&g, QP_CLS_quic_known), 10);
	cr_expect_eq(gw_counter(&g, QP_CLS_quic_new), 12);
	responder_close(&b);
	responder_close(&c);
	gw_close(&g);
}

static uint64_t
queued(const struct gw *g, enum qp_cls_queue queue)
{
	return atomic_load(&g->r.stats.queue[queue]);
}

Test(steer, syn_waits_apart_from_the_rest_of_its_connection)
{
	struct gw g;
	int fd[2];

	gw_open(&g);
	fd[0] = peer_connect(&g, WORLD_GW4, GW_ECHO_PORT, SOCK_STREAM);
	fd[1] = peer_connect(&g, WORLD_GW6, GW_PUBLIC_PORT, SOCK_STREAM);
	for (unsigned i = 0; i < 2; i++) {
		gw_tcp_echo(fd[i], 100000, "over two queues");
		close(fd[i]);
	}
	/* Handshake's ACK, data, FIN and its ACK at the least. */
	world_wait_for(queued(&g, QP_CLS_QUEUE_FLOWS) >= 8, );
	cr_expect_eq(queued(&g, QP_CLS_QUEUE_SYN), 2);
	cr_expect_eq(gw_counter(&g, QP_CLS_syn_queued), 2);
	cr_expect_eq(g.r.port->counters.rx_syns, 2);
	cr_expect_eq(queued(&g, QP_CLS_QUEUE_UNKNOWN), 0);
	gw_close(&g);
}

Test(steer, syn_that_comes_again_waits_apart_from_first_ones)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(GW_ECHO_PORT)};
	struct gw g;
	int fd;

	gw_open(&g);
	responder_pause(&g.r);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	cr_assert_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), -1);
	cr_assert_eq(errno, EINPROGRESS);
	cr_expect_eq(gw_counter(&g, QP_CLS_syn_queued), 1);
	/* Nobody answers; so the kernel asks again. */
	world_wait_for(gw_counter(&g, QP_CLS_again_queued) == 1, );
	responder_resume(&g.r);
	gw_tcp_echo(fd, 1000, "after two of them");
	cr_expect_eq(queued(&g, QP_CLS_QUEUE_SYN), 1);
	cr_expect_eq(queued(&g, QP_CLS_QUEUE_AGAIN), 1);
	cr_expect_eq(g.r.port->counters.rx_again, 1);
	close(fd);
	gw_close(&g);
}

/* Sends the same until it counts as a second attempt, or time is over; how many did. */
static uint64_t
ask_again(struct gw *g, int fd, unsigned ms)
{
	const uint8_t initial[1200] = {0xc0, 0, 0, 0, 1, 8, 7, 7, 7, 7, 7, 7, 7, 7};
	const uint64_t end = qp_now_ns() + ms * 1000000ull;
	const uint64_t before = queued(g, QP_CLS_QUEUE_AGAIN);

	do {
		cr_assert(gw_udp_answers(fd, initial, sizeof(initial), 5000));
		nanosleep(&(struct timespec) {.tv_nsec = 100000000}, NULL);
	} while (queued(g, QP_CLS_QUEUE_AGAIN) == before && qp_now_ns() < end);
	return queued(g, QP_CLS_QUEUE_AGAIN) - before;
}

Test(steer, quic_client_that_asks_again_waits_apart_one_that_asks_too_often_does_not)
{
	const uint8_t initial[1200] = {0xc0, 0, 0, 0, 1, 8, 7, 7, 7, 7, 7, 7, 7, 7};
	struct gw g;
	int fd;

	gw_open(&g);
	fd = peer_connect(&g, WORLD_GW4, GW_QUIC_PORT, SOCK_DGRAM);
	cr_expect_eq(ask_again(&g, fd, 3000), 1);
	for (unsigned i = 0; i < 32; i++)
		cr_assert(gw_udp_answers(fd, initial, sizeof(initial), 5000));
	cr_expect_eq(ask_again(&g, fd, 1000), 0, "that is no client");
	close(fd);
	fd = peer_connect(&g, WORLD_GW4, GW_QUIC_PORT, SOCK_DGRAM);
	cr_expect_eq(ask_again(&g, fd, 3000), 1, "another one is");
	close(fd);
	gw_close(&g);
}

Test(steer, segment_of_a_connection_that_nobody_opened_waits_apart)
{
	struct gw g;
	int fd;

	gw_open(&g);
	fd = peer_connect(&g, WORLD_GW4, GW_ECHO_PORT, SOCK_STREAM);
	gw_tcp_echo(fd, 100, "a connection");
	cr_expect_eq(queued(&g, QP_CLS_QUEUE_UNKNOWN), 0);
	inject_ack(&g, 5555);
	world_wait_for(queued(&g, QP_CLS_QUEUE_UNKNOWN) == 1, );
	gw_tcp_echo(fd, 100, "goes on");
	cr_expect_eq(queued(&g, QP_CLS_QUEUE_UNKNOWN), 1);
	close(fd);
	gw_close(&g);
}

Test(steer, quic_of_no_known_connection_waits_apart)
{
	const uint8_t known[32] = {0x40, 0, 0, GW_SERVER_ID >> 8, GW_SERVER_ID & 0xff, 0, 9};
	const uint8_t initial[1200] = {0xc0, 0, 0, 0, 1, 8, 7, 7, 7, 7, 7, 7, 7, 7};
	uint8_t quoted[64], packet[256];
	struct gw g;
	size_t len;
	int fd;

	gw_open(&g);
	fd = peer_connect(&g, WORLD_GW4, GW_QUIC_PORT, SOCK_DGRAM);
	cr_expect(gw_udp_answers(fd, known, sizeof(known), 5000));
	cr_expect_eq(queued(&g, QP_CLS_QUEUE_FLOWS), 1);
	cr_expect(gw_udp_answers(fd, initial, sizeof(initial), 5000));
	cr_expect_eq(queued(&g, QP_CLS_QUEUE_UNKNOWN), 1);
	len = raw_udp(quoted, &(struct raw_udp) {WORLD_GW4, WORLD_PEER4, GW_QUIC_PORT, 5555, 0},
		NULL, 8);
	inject(&g, packet, raw_unreachable(packet, WORLD_PEER4, WORLD_GW4, quoted, len));
	world_wait_for(queued(&g, QP_CLS_QUEUE_UNKNOWN) == 2, );
	cr_expect_eq(gw_counter(&g, QP_CLS_unknown_queued), 2);
	cr_expect_eq(g.r.port->counters.rx_unknown, 2);
	cr_expect_eq(queued(&g, QP_CLS_QUEUE_FLOWS), 1);
	/* UDP of other ports is nobody's connection, and not ours to judge. */
	close(fd);
	fd = peer_connect(&g, WORLD_GW4, GW_ECHO_PORT, SOCK_DGRAM);
	gw_udp_echo(fd, 100, "echo port");
	cr_expect_eq(queued(&g, QP_CLS_QUEUE_FLOWS), 2);
	close(fd);
	gw_close(&g);
}

Test(steer, full_queue_of_strangers_leaves_the_others_open)
{
	const uint8_t initial[64] = {0xc0, 0, 0, 0, 1, 8, 7, 7, 7, 7, 7, 7, 7, 7};
	const uint8_t known[32] = {0x40, 0, 0, GW_SERVER_ID >> 8, GW_SERVER_ID & 0xff, 0, 9};
	struct rte_mbuf *in[32];
	struct gw g;
	unsigned n = 0;
	int fd;

	gw_open(&g);
	responder_pause(&g.r);
	fd = gw_connect("127.0.0.1", GW_QUIC_PORT, SOCK_DGRAM);
	for (unsigned i = 0; i < 10000; i++)
		cr_assert_eq(send(fd, initial, sizeof(initial), 0), (ssize_t)sizeof(initial));
	cr_assert_eq(send(fd, known, sizeof(known), 0), (ssize_t)sizeof(known));
	cr_expect_eq(qp_port_rx(g.r.port, in, 32), 1, "the established one came through");
	rte_pktmbuf_free(in[0]);
	for (uint16_t got = 1; got > 0; n += got) {
		got = qp_port_rx_strangers(g.r.port, QP_CLS_QUEUE_UNKNOWN, in, 32);
		rte_pktmbuf_free_bulk(in, got);
	}
	cr_expect_eq(n, 4096, "%u waited", n);
	cr_expect_eq(gw_counter(&g, QP_CLS_unknown_queued), 10000);
	close(fd);
	responder_resume(&g.r);
	gw_close(&g);
}

Test(steer, client_stays_on_one_of_the_active_workers)
{
	const uint8_t initial[1200] = {0xc0, 0, 0, 0, 1, 8, 7, 7, 7, 7, 7, 7, 7, 7};
	struct responder b;
	struct gw g;

	gw_open(&g);
	responder_open(&b, "qptap1", g.pool);
	gw_add_worker(g.h, GW_SERVER_ID, 1, &b);
	cr_assert_eq(qp_hostnet_set_active(g.h, GW_SERVER_ID, 2), 0);
	for (unsigned i = 0; i < 64; i++) {
		int fd = gw_connect("127.0.0.1", GW_QUIC_PORT, SOCK_DGRAM);
		const uint64_t before = atomic_load(&b.stats.udp);

		for (unsigned n = 0; n < 3; n++)
			cr_assert(gw_udp_answers(fd, initial, sizeof(initial), 5000));
		cr_expect((atomic_load(&b.stats.udp) - before) % 3 == 0, "client %u moved", i);
		close(fd);
	}
	cr_expect_gt(atomic_load(&b.stats.udp), 3 * 12, "uneven");
	cr_expect_gt(atomic_load(&g.r.stats.udp), 3 * 12, "uneven");
	responder_close(&b);
	gw_close(&g);
}

Test(steer, new_clients_and_ports_move_to_another_worker)
{
	const uint8_t initial[1200] = {0xc0, 0, 0, 0, 1, 8, 7, 7, 7, 7, 7, 7, 7, 7};
	struct responder b;
	struct gw g;
	int quic, api, echo;

	gw_open(&g);
	responder_open(&b, "qptap1", g.pool);
	quic = gw_connect("127.0.0.1", GW_QUIC_PORT, SOCK_DGRAM);
	echo = gw_connect("127.0.0.1", GW_ECHO_PORT, SOCK_DGRAM);
	cr_assert(gw_udp_answers(quic, initial, sizeof(initial), 5000));
	gw_udp_echo(echo, 10, "before");
	cr_expect_eq(atomic_load(&b.stats.udp), 0);

	cr_expect_eq(qp_hostnet_set_active(g.h, 77, 1), QP_E_NOTFOUND);
	gw_add_worker(g.h, 77, 0, &b);
	cr_assert_eq(qp_hostnet_set_active(g.h, 77, 1), 0);
	cr_assert_eq(qp_hostnet_port_move(g.h, IPPROTO_UDP, GW_ECHO_PORT, b.port->ifindex), 0);
	cr_expect_eq(qp_hostnet_port_move(g.h, IPPROTO_UDP, 1, b.port->ifindex), QP_E_NOTFOUND);
	cr_assert(gw_udp_answers(quic, initial, sizeof(initial), 5000));
	gw_udp_echo(echo, 10, "after");
	api = gw_connect("127.0.0.1", GW_PUBLIC_PORT, SOCK_STREAM);
	gw_tcp_echo(api, 100, "public API");
	cr_expect_eq(atomic_load(&b.stats.udp), 2);
	cr_expect_gt(atomic_load(&b.stats.tcp), 1);
	cr_expect_eq(atomic_load(&g.r.stats.tcp), 0);
	close(quic);
	close(echo);
	close(api);
	responder_close(&b);
	gw_close(&g);
}

Test(steer, one_address_is_served_alone_when_it_is_named)
{
	struct qp_hostnet_config cfg;
	struct in6_addr addr = mapped(WORLD_GW4);
	struct qp_errmsg msg;
	struct gw g;
	int fd;

	gw_open(&g);
	qp_hostnet_close(g.h);
	cfg = gw_config(&g.w);
	cfg.quic_addr = addr;
	g.h = gw_hostnet_open(&cfg);
	gw_add_worker(g.h, GW_SERVER_ID, 0, &g.r);
	cr_assert_eq(qp_hostnet_set_active(g.h, GW_SERVER_ID, 1), 0);
	cr_assert_eq(qp_hostnet_port_open(g.h, IPPROTO_UDP, GW_ECHO_PORT, &addr,
			     g.r.port->ifindex, &msg), 0, "%s", msg.text);

	for (unsigned i = 0; i < 2; i++) {
		const uint16_t port = i == 0 ? GW_QUIC_PORT : GW_ECHO_PORT;

		fd = gw_connect(WORLD_GW4, port, SOCK_DGRAM);
		gw_udp_echo(fd, 100, "the address");
		close(fd);
		fd = gw_connect("127.0.0.1", port, SOCK_DGRAM);
		cr_expect_not(gw_udp_answers(fd, "x", 1, SILENCE_MS), "port %u", port);
		close(fd);
		fd = peer_connect(&g, WORLD_GW6, port, SOCK_DGRAM);
		cr_expect_not(gw_udp_answers(fd, "x", 1, SILENCE_MS), "port %u", port);
		close(fd);
	}
	fd = gw_connect(WORLD_GW4, GW_PUBLIC_PORT, SOCK_STREAM);
	gw_tcp_echo(fd, 100, "public API");
	close(fd);
	gw_close(&g);
}

Test(steer, closed_port_is_the_kernels_again)
{
	struct qp_errmsg msg;
	struct gw g;
	int fd;

	gw_open(&g);
	fd = gw_connect("127.0.0.1", GW_ECHO_PORT, SOCK_DGRAM);
	gw_udp_echo(fd, 10, "open");
	qp_hostnet_port_close(g.h, IPPROTO_UDP, GW_ECHO_PORT);
	cr_expect_eq(send(fd, "x", 1, 0), 1);
	cr_expect_eq(recv(fd, &(char) {0}, 1, 0), -1);
	cr_expect_eq(errno, ECONNREFUSED, "%s", strerror(errno));
	/* And can be opened again at once. */
	cr_assert_eq(qp_hostnet_port_open(g.h, IPPROTO_UDP, GW_ECHO_PORT, NULL,
			     g.r.port->ifindex, &msg), 0, "%s", msg.text);
	gw_udp_echo(fd, 10, "again");
	close(fd);
	gw_close(&g);
}

struct refused_case {
	const char *what, *src, *dst;
	uint16_t frag;
	enum qp_cls_counter counter;
};

Test(steer, packets_that_are_not_ours_to_take_stay_the_kernels)
{
	static const struct refused_case cases[] = {
		{"another host's address", WORLD_PEER4, "10.91.0.77", 0, QP_CLS_not_local_pass},
		{"another host's IPv6 address", WORLD_PEER6, "fd91::77", 0, QP_CLS_not_local_pass},
		{"localhost, from outside", WORLD_PEER4, "127.0.0.1", 0, QP_CLS_not_local_pass},
		{"::1, from outside", WORLD_PEER6, "::1", 0, QP_CLS_not_local_pass},
		{"our own address as the source", WORLD_GW4, WORLD_GW4, 0, QP_CLS_spoofed_pass},
		{"our IPv6 address as the source", WORLD_GW6, WORLD_GW6, 0, QP_CLS_spoofed_pass},
		{"a loopback source", "127.0.0.1", WORLD_GW4, 0, QP_CLS_spoofed_pass},
		{"a fragment that is not the first", WORLD_PEER4, WORLD_GW4, 100,
			QP_CLS_fragment_pass},
	};
	uint8_t packet[256];
	struct gw g;

	gw_open(&g);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct refused_case *c = &cases[i];
		const struct raw_udp u = {c->src, c->dst, 5555, GW_ECHO_PORT, c->frag};
		uint64_t before = gw_counter(&g, c->counter);

		inject(&g, packet, raw_udp(packet, &u, NULL, 20));
		world_wait_for(gw_counter(&g, c->counter) == before + 1, );
	}
	/* The first fragment is ours: the kernel must not answer it. */
	inject(&g, packet, raw_udp(packet, &(struct raw_udp) {WORLD_PEER4, WORLD_GW4, 5555,
			GW_ECHO_PORT, 0x2000}, NULL, 24));
	world_wait_for(atomic_load(&g.r.stats.udp) == 1, );
	gw_close(&g);
}

Test(steer, other_traffic_is_left_alone)
{
	struct gw g;
	int server, fd;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(8080)};
	char buf[16];

	gw_open(&g);
	server = socket(AF_INET, SOCK_DGRAM, 0);
	cr_assert_eq(bind(server, (struct sockaddr *)&a, sizeof(a)), 0);
	fd = peer_connect(&g, WORLD_GW4, 8080, SOCK_DGRAM);
	cr_expect_eq(send(fd, "hello", 5, 0), 5);
	cr_expect_eq(recv(server, buf, sizeof(buf), 0), 5);
	world_run("ping -c 1 -W 2 127.0.0.1 >/dev/null 2>&1 || ! command -v ping >/dev/null");
	cr_expect_gt(gw_counter(&g, QP_CLS_other_pass), 0);
	cr_expect_eq(atomic_load(&g.r.stats.udp), 0);
	close(fd);
	close(server);
	gw_close(&g);
}

Test(steer, icmp_error_about_our_packet_comes_to_us)
{
	uint8_t quoted[64], packet[256];
	struct gw g;
	size_t len;
	int fd;

	gw_open(&g);
	len = raw_udp(quoted, &(struct raw_udp) {WORLD_GW4, WORLD_PEER4, GW_ECHO_PORT, 5555, 0},
		NULL, 8);
	inject(&g, packet, raw_unreachable(packet, WORLD_PEER4, WORLD_GW4, quoted, len));
	world_wait_for(atomic_load(&g.r.stats.icmp) == 1, );
	len = raw_udp(quoted, &(struct raw_udp) {WORLD_GW6, WORLD_PEER6, GW_QUIC_PORT, 5555, 0},
		NULL, 8);
	inject(&g, packet, raw_unreachable(packet, WORLD_PEER6, WORLD_GW6, quoted, len));
	world_wait_for(atomic_load(&g.r.stats.icmp) == 2, );
	cr_expect_eq(gw_counter(&g, QP_CLS_icmp), 2);
	/* About somebody else's packet: the kernel's. */
	len = raw_udp(quoted, &(struct raw_udp) {WORLD_GW4, WORLD_PEER4, 9999, 5555, 0}, NULL, 8);
	inject(&g, packet, raw_unreachable(packet, WORLD_PEER4, WORLD_GW4, quoted, len));
	fd = peer_connect(&g, WORLD_GW4, GW_ECHO_PORT, SOCK_DGRAM);
	gw_udp_echo(fd, 1, "after it");
	cr_expect_eq(atomic_load(&g.r.stats.icmp), 2);
	/* And a real one: nobody is there any more to take the answer. */
	close(fd);
	inject(&g, packet, raw_udp(packet, &(struct raw_udp) {WORLD_PEER4, WORLD_GW4, 5555,
			GW_ECHO_PORT, 0}, NULL, 1));
	world_wait_for(atomic_load(&g.r.stats.icmp) >= 3, );
	gw_close(&g);
}

Test(steer, frame_says_which_interface_and_what_mtu)
{
	struct gw g;
	int fd;

	gw_open(&g);
	fd = peer_connect(&g, WORLD_GW4, GW_ECHO_PORT, SOCK_DGRAM);
	gw_udp_echo(fd, 10, "1500");
	cr_expect_eq(atomic_load(&g.r.stats.last_ifindex), if_nametoindex("gw0"));
	cr_expect_eq(atomic_load(&g.r.stats.last_mtu), 1500);
	world_run("ip link set gw0 mtu 1400");
	world_wait_for(atomic_load(&g.r.stats.last_mtu) == 1400, {
		qp_hostnet_process(g.h);
		gw_udp_echo(fd, 10, "1400");
	});
	close(fd);
	fd = gw_connect("127.0.0.1", GW_ECHO_PORT, SOCK_DGRAM);
	gw_udp_echo(fd, 10, "lo");
	cr_expect_eq(atomic_load(&g.r.stats.last_ifindex), 1);
	cr_expect_eq(atomic_load(&g.r.stats.last_mtu), 65535);
	close(fd);
	gw_close(&g);
}

/* A tunnel interface whose far end is the test: bare IP packets, no Ethernet. */
static int
open_tun(void)
{
	struct ifreq ifr = {.ifr_flags = IFF_TUN | IFF_NO_PI, .ifr_name = "tun0"};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);

	cr_assert_geq(fd, 0);
	cr_assert_eq(ioctl(fd, TUNSETIFF, &ifr), 0, "%s", strerror(errno));
	world_run("ip addr add 10.92.0.1 peer 10.92.0.2 dev tun0; ip link set tun0 up");
	return fd;
}

Test(steer, interface_without_ethernet_is_served)
{
	uint8_t packet[256], answer[256];
	ssize_t n = -1;
	struct gw g;
	size_t len;
	int tun;

	gw_open(&g);
	tun = open_tun();
	len = raw_udp(packet, &(struct raw_udp) {"10.92.0.2", "10.92.0.1", 5555, GW_ECHO_PORT, 0},
		"payload", 7);
	/* The classifier has to come first; then the answer comes out here. */
	world_wait_for(n == (ssize_t)len, {
		qp_hostnet_process(g.h);
		cr_assert_eq(write(tun, packet, len), (ssize_t)len, "%s", strerror(errno));
		n = read(tun, answer, sizeof(answer));
		/* IPv6 has things to say on a new interface. */
		if (n > 0 && answer[0] >> 4 != 4)
			n = -1;
	});
	cr_expect_eq(memcmp(answer + 12, packet + 16, 4), 0, "source");
	cr_expect_eq(memcmp(answer + 16, packet + 12, 4), 0, "destination");
	cr_expect_eq(memcmp(answer + 28, "payload", 7), 0);
	close(tun);
	gw_close(&g);
}

/* A frame with a destination MAC address that leads nowhere. */
static void
write_stray(struct qp_port *p, struct rte_mempool *pool, const uint8_t mac[6], const char *dst)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	uint8_t *data = (uint8_t *)rte_pktmbuf_append(m, 14);
	uint8_t packet[128];
	size_t len = raw_udp(packet, &(struct raw_udp) {WORLD_PEER4, dst, 9, 8080, 0}, "x", 1);

	cr_assert_not_null(data);
	memcpy(data, mac, 6);
	memcpy(data + 6, p->mac, 6);
	data[12] = 8;
	data[13] = 0;
	memcpy(rte_pktmbuf_append(m, (uint16_t)len), packet, len);
	cr_assert_eq(qp_port_tx(p, &m, 1), 1);
}

Test(steer, tap_leaks_nothing_into_the_host)
{
	static const uint8_t broadcast[6] = {255, 255, 255, 255, 255, 255};
	static const uint8_t no_interface[6] = {2, 0x71, 0, 0, 0, 0};
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(8080)};
	struct qp_errmsg msg;
	struct qp_port *p;
	struct gw g;
	char c;
	int fd;

	gw_open(&g);
	cr_assert_eq(qp_host_port_open(&(struct qp_host_port_config) {.name = "qptap1",
			     .rx_pool = g.pool, .mtu = 1500}, &p, &msg), 0, "%s", msg.text);
	cr_assert_eq(qp_hostnet_worker_add(g.h, 5, 0, p->ifindex, p->mac, &msg), 0, "%s",
		msg.text);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	write_stray(p, g.pool, p->mac, WORLD_GW4);
	write_stray(p, g.pool, broadcast, WORLD_GW4);
	write_stray(p, g.pool, no_interface, WORLD_GW4);
	cr_expect_eq(gw_counter(&g, QP_CLS_answer_drop), 3);
	cr_expect_eq(recv(fd, &c, 1, MSG_DONTWAIT), -1);
	cr_expect_eq(p->counters.tx_frames, 3);
	close(fd);
	qp_port_close(p);
	gw_close(&g);
}

Test(steer, strict_reverse_path_filter_does_not_matter)
{
	static const char *const addrs[] = {"127.0.0.1", WORLD_GW4, "::1", WORLD_GW6};
	struct gw g;
	int fd;

	gw_open(&g);
	world_run("for i in all default lo gw0 qptap0; do "
		  "echo 1 >/proc/sys/net/ipv4/conf/$i/rp_filter; done; "
		  "echo 1 >/proc/sys/net/ipv4/ip_forward; "
		  "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
	for (unsigned i = 0; i < 4; i++) {
		fd = gw_connect(addrs[i], GW_ECHO_PORT, SOCK_DGRAM);
		gw_udp_echo(fd, 100, addrs[i]);
		close(fd);
	}
	/* From one own address to another, of which neither is lo's. */
	world_run("ip addr add 10.91.0.9/24 dev gw0");
	qp_hostnet_process(g.h);
	fd = gw_connect("10.91.0.9", GW_ECHO_PORT, SOCK_DGRAM);
	gw_udp_echo(fd, 100, "second address");
	close(fd);
	fd = peer_connect(&g, "10.91.0.9", GW_ECHO_PORT, SOCK_DGRAM);
	gw_udp_echo(fd, 100, "second address, from outside");
	close(fd);
	gw_close(&g);
}
