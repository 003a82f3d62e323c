/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An end of test connections on the stack under test, behind a host port of
 * this namespace.
 *
 *   our_end serve LINE PORT                                until SIGTERM
 *   our_end dial LINE ADDR PORT N OWN_ADDR PEER_MAC        the same, but opens N itself
 *
 * LINE is the interface whose ports 7000 to 7999 are ours (shunt.bpf.c). Or it
 * is an MTU: then the TAP, "qptcp0", is all there is, and the caller addresses
 * it. Says "ready" on standard output; at SIGTERM or after N prints its
 * counters as JSON.
 */
#include <arpa/inet.h>
#include <err.h>
#include <net/ethernet.h>
#include <netinet/ether.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <net/if.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "common/clock.h"
#include "dataplane/port.h"
#include "dataplane/tcp/tcp.h"
#include "tests/tcp/eal.h"
#include "tests/tcp/linux/hook.h"
#include "tests/tcp/linux/ports.h"
#include "tests/tcp/linux/talk.h"
#include "shunt.skel.h"

#define TAP       "qptcp0"
#define BURST     32
#define MBUFS     32767
#define DATA_ROOM 2048
#define SEND_STEP 16384 /* room that is worth being called for */
#define SLEEP_MAX_NS 100000000

struct end {
	struct qp_tcp_conn *c;
	bool shut, ok;
	struct talk talk;
	LIST_ENTRY(end) link;
};

struct stack {
	struct qp_port *port;
	struct qp_tcp *tcp;
	struct qp_wheel *wheel;
	struct rte_mempool *pool, *indirect;
	struct shunt *shunt;
	uint64_t now_ns, ok, failed;
	uint8_t mem_level;
	uint8_t mac[6];
	LIST_HEAD(, end) ends;
};

static struct stack st;
static volatile sig_atomic_t stop;

static void
on_signal(int sig)
{
	stop = 1;
}

static uint64_t
next_random(void *ctx)
{
	uint64_t r;

	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		err(1, "getrandom");
	return r;
}

/* --- the application --- */

static void
fail(struct end *e, const char *why)
{
	fprintf(stderr, "our_end: %s after %llu bytes in, %llu out\n", why,
		(unsigned long long)e->talk.in, (unsigned long long)e->talk.out);
	st.failed++;
	LIST_REMOVE(e, link);
	qp_tcp_abort(e->c);
	free(e);
}

static struct rte_mbuf *
next_chain(struct end *e, uint32_t room)
{
	struct rte_mbuf *head = NULL;

	while (room > 0) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(st.pool);
		size_t n;

		if (m == NULL)
			return head;
		n = talk_peek(&e->talk, rte_pktmbuf_mtod(m, uint8_t *), RTE_MIN(room, rte_pktmbuf_tailroom(m)));
		if (n == 0) {
			rte_pktmbuf_free(m);
			return head;
		}
		talk_sent(&e->talk, n);
		rte_pktmbuf_append(m, (uint16_t)n);
		room -= (uint32_t)n;
		if (head == NULL)
			head = m;
		else if (rte_pktmbuf_chain(head, m) != 0) {
			errx(1, "a chain of too many segments");
		}
	}
	return head;
}

static void
push(struct end *e)
{
	uint32_t space;

	while ((space = qp_tcp_send_space(e->c)) >= SEND_STEP && st.mem_level != QP_MEM_SCARCE) {
		struct rte_mbuf *chain = next_chain(e, SEND_STEP);

		if (chain == NULL)
			break;
		qp_tcp_send(e->c, chain);
	}
	if (talk_may_end(&e->talk) && !e->shut) {
		e->shut = e->ok = true;
		qp_tcp_shutdown(e->c);
	}
}

static struct end *
new_end(struct qp_tcp_conn *c)
{
	struct end *e = calloc(1, sizeof(*e));

	if (e == NULL)
		err(1, "connection");
	e->c = c;
	talk_serve(&e->talk);
	LIST_INSERT_HEAD(&st.ends, e, link);
	return e;
}

static int
on_accept(void *listener_ctx, struct qp_tcp_conn *c)
{
	qp_tcp_set_ctx(c, new_end(c));
	return 0;
}

static void
on_connected(void *ctx)
{
}

static void
on_receive(void *ctx, struct rte_mbuf *chain)
{
	struct end *e = ctx;
	uint32_t n = chain->pkt_len;
	bool right = true;

	for (struct rte_mbuf *m = chain; m != NULL && right; m = m->next)
		right = talk_take(&e->talk, rte_pktmbuf_mtod(m, uint8_t *), m->data_len);
	rte_pktmbuf_free(chain);
	if (!right) {
		fail(e, "wrong bytes");
		return;
	}
	qp_tcp_consumed(e->c, n);
	push(e);
}

static void
on_receive_end(void *ctx)
{
	struct end *e = ctx;

	if (!talk_take_end(&e->talk))
		fail(e, "the other end ended too early");
	else
		push(e);
}

static void
on_acked(void *ctx, uint32_t bytes)
{
	push(ctx);
}

static void
on_ended(void *ctx, enum qp_tcp_end why)
{
	struct end *e = ctx;

	if (why == QP_TCP_END_NORMAL && e->ok) {
		st.ok++;
	} else {
		fprintf(stderr, "our_end: end %d after %llu bytes in, %llu out\n", why,
			(unsigned long long)e->talk.in, (unsigned long long)e->talk.out);
		st.failed++;
	}
	LIST_REMOVE(e, link);
	free(e);
}

static const struct qp_tcp_ops ops = {
	.accept = on_accept,
	.connected = on_connected,
	.receive = on_receive,
	.receive_end = on_receive_end,
	.acked = on_acked,
	.ended = on_ended,
};

/* --- the worker's loop --- */

static void
transmit(void *ctx, struct rte_mbuf *frame)
{
	if (qp_port_tx(st.port, &frame, 1) == 0)
		rte_pktmbuf_free(frame);
}

static void
handle(struct rte_mbuf *m)
{
	struct qp_packet pkt;

	if (qp_ip_parse(m, &pkt) == QP_IP_OK && pkt.proto == IPPROTO_TCP)
		qp_tcp_input(st.tcp, m, &pkt);
	else
		rte_pktmbuf_free(m);
}

/* As a worker's mem_level. */
static uint8_t
mem_level(void)
{
	uint32_t left = rte_mempool_avail_count(st.pool);

	if (left > st.pool->size / 2)
		return QP_MEM_PLENTY;
	return left > st.pool->size / 8 ? QP_MEM_TIGHT : QP_MEM_SCARCE;
}

/* Until a frame comes or a timer is due; SIGTERM is looked for now and then. */
static void
idle(void)
{
	struct pollfd p = {.fd = st.port->wake_fd[0], .events = POLLIN};
	uint64_t next = RTE_MIN(qp_wheel_next_ns(st.wheel), st.now_ns + SLEEP_MAX_NS);
	struct timespec ts = {.tv_nsec = (long)(next - st.now_ns)};

	if (next > st.now_ns)
		ppoll(&p, 1, &ts, NULL);
}

static void
turn(void)
{
	struct rte_mbuf *frames[BURST];
	uint16_t n;

	st.mem_level = mem_level();
	n = qp_port_rx(st.port, frames, BURST);
	st.now_ns = qp_now_ns();
	for (uint16_t i = 0; i < n; i++)
		handle(frames[i]);
	qp_wheel_advance(st.wheel, st.now_ns);
	qp_tcp_flush(st.tcp);
	if (n == 0)
		idle();
}

/* --- set-up --- */

static int
mtu_of(const char *link)
{
	struct ifreq ifr = {0};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", link);
	if (fd < 0 || ioctl(fd, SIOCGIFMTU, &ifr) != 0)
		err(1, "MTU of %s", link);
	close(fd);
	return ifr.ifr_mtu;
}

static void
mac_of(const char *link, uint8_t mac[6])
{
	struct ifreq ifr = {0};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", link);
	if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &ifr) != 0)
		err(1, "address of %s", link);
	close(fd);
	memcpy(mac, ifr.ifr_hwaddr.sa_data, 6);
}

static void
open_shunt(const char *line)
{
	st.shunt = shunt__open();
	if (st.shunt == NULL)
		err(1, "shunt.bpf.o");
	st.shunt->rodata->tap_link = st.port->ifindex;
	st.shunt->rodata->line_link = link_index(line);
	if (shunt__load(st.shunt) != 0)
		err(1, "shunt.bpf.o does not load");
	hook_attach(st.port->ifindex, BPF_TC_INGRESS, st.shunt->progs.shunt_out);
	hook_attach(link_index(line), BPF_TC_INGRESS, st.shunt->progs.shunt_in);
}

static void
open_stack(const char *line)
{
	bool alone = atoi(line) > 0;
	struct qp_host_port_config pc = {.name = TAP,
		.mtu = (uint16_t)(alone ? atoi(line) : mtu_of(line))};
	struct qp_tcp_env env = {.now_ns = &st.now_ns, .random = next_random, .transmit = transmit,
		.mem_level = &st.mem_level, .own_mac = {2, 0, 0, 0, 0, 0x99}};
	struct qp_tcp_config cfg;
	struct qp_errmsg msg;

	st.pool = pc.rx_pool = test_pool("our_end", MBUFS, RTE_PKTMBUF_HEADROOM + DATA_ROOM);
	st.indirect = test_pool("our_end_clones", MBUFS, 0);
	if (qp_host_port_open(&pc, &st.port, &msg) != 0)
		errx(1, "%s", msg.text);
	if (!alone) {
		open_shunt(line);
		mac_of(line, env.own_mac);
	}
	st.now_ns = qp_now_ns();
	env.wheel = st.wheel = qp_wheel_new(st.now_ns);
	env.pool = st.pool;
	env.indirect_pool = st.indirect;
	env.mtu = st.port->mtu;
	env.max_frame_bytes = st.port->max_frame_bytes;
	qp_tcp_config_default(&cfg);
	st.tcp = qp_tcp_new(&env, &cfg);
	if (st.wheel == NULL || st.tcp == NULL)
		errx(1, "the stack does not start");
}

static void
listen_at(const char *port)
{
	struct qp_tcp_listener *l;

	if (qp_tcp_listen(st.tcp, NULL, htons((uint16_t)atoi(port)), &ops, NULL, &l) != 0)
		errx(1, "no listener at port %s", port);
}

static struct qp_ipaddr
address(const char *text)
{
	struct qp_ipaddr a = {.q = {0, 0}};
	struct in_addr a4;

	if (inet_pton(AF_INET, text, &a4) == 1)
		return qp_ipaddr_v4(a4.s_addr);
	if (inet_pton(AF_INET6, text, a.b) != 1)
		errx(2, "not an address: %s", text);
	return a;
}

static void
dial(char **argv)
{
	struct qp_flow flow = {.remote = address(argv[3]), .local = address(argv[6]),
		.rport_be = htons((uint16_t)atoi(argv[4]))};
	const struct ether_addr *mac = ether_aton(argv[7]);
	int count = atoi(argv[5]), ports = OURS_LAST - OURS_FIRST + 1, first;

	if (mac == NULL || count <= 0 || count > ports)
		errx(2, "not a MAC address, or too many connections: %s, %d", argv[7], count);
	memcpy(flow.l2.peer_mac, mac, sizeof(flow.l2.peer_mac));
	/* As the kernel does, not those of the last run: the peer has them in TIME-WAIT. */
	first = OURS_FIRST + (int)(next_random(NULL) % (unsigned)(ports - count + 1));
	for (int i = 0; i < count; i++) {
		struct end *e = new_end(NULL);

		flow.lport_be = htons((uint16_t)(first + i));
		if (qp_tcp_connect(st.tcp, &flow, &ops, e, &e->c) != 0)
			errx(1, "connection %d is not opened", i);
	}
}

static int
report(uint64_t count)
{
	const struct qp_tcp_counters *c = qp_tcp_counters(st.tcp);

	printf("{\"ok\": %llu, \"failed\": %llu", (unsigned long long)st.ok, (unsigned long long)st.failed);
#define X(field, help) printf(", \"" #field "\": %llu", (unsigned long long)c->field);
	QP_TCP_COUNTERS(X)
#undef X
	printf(", \"port_tx_dropped\": %llu, \"port_rx_nombuf\": %llu}\n",
		(unsigned long long)st.port->counters.tx_dropped,
		(unsigned long long)st.port->counters.rx_nombuf);
	return st.failed != 0 || st.ok < count;
}

/* True: something was not given back. */
static bool
close_stack(void)
{
	qp_tcp_free(st.tcp);
	while (!LIST_EMPTY(&st.ends)) {
		struct end *e = LIST_FIRST(&st.ends);

		LIST_REMOVE(e, link);
		free(e);
	}
	qp_wheel_free(st.wheel);
	qp_port_close(st.port);
	shunt__destroy(st.shunt);
	if (rte_mempool_in_use_count(st.pool) == 0 && rte_mempool_in_use_count(st.indirect) == 0)
		return false;
	fprintf(stderr, "our_end: mbufs leaked: %u, %u\n", rte_mempool_in_use_count(st.pool),
		rte_mempool_in_use_count(st.indirect));
	return true;
}

int
main(int argc, char **argv)
{
	bool serves = argc == 4 && strcmp(argv[1], "serve") == 0;
	struct sigaction sa = {.sa_handler = on_signal};
	uint64_t count = 0;
	int rc;

	if (!serves && (argc != 8 || strcmp(argv[1], "dial") != 0))
		errx(2, "usage: our_end serve LINE PORT | dial LINE ADDR PORT N OWN_ADDR PEER_MAC");
	sigaction(SIGTERM, &sa, NULL);
	test_eal_init();
	open_stack(argv[2]);
	if (serves) {
		listen_at(argv[3]);
	} else {
		count = strtoull(argv[5], NULL, 10);
		dial(argv);
	}
	puts("ready");
	fflush(stdout);
	while (!stop && (count == 0 || st.ok + st.failed < count))
		turn();
	rc = report(count);
	return close_stack() || rc != 0;
}
