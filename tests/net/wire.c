/* SPDX-License-Identifier: Apache-2.0 */
/* The link of wire.h: a TAP and the thread behind it; and the kernel's side in small functions. */
#include "tests/net/wire.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <pthread.h>
#include <rte_ip.h>
#include <rte_udp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/clock.h"
#include "dataplane/cksum.h"
#include "tests/tcp/eal.h"

#define ROOM 10240u

enum order { NONE, CONFIGURE, CONFIGURE_FRESH, ANNOUNCE, SEND };

static struct wire wire;
static pthread_t thread;
static atomic_bool stop;
static atomic_int order; /* enum order; NONE when it is done */
static struct rte_mbuf *to_send;
static struct rte_mempool *pool;
static struct qp_wheel *wheel;
static uint64_t now_ns, seed;

static uint64_t
random64(void *ctx)
{
	return seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
}

/* What the device would sum. */
static void
finish_sums(uint8_t *frame, uint32_t len, const struct rte_mbuf *m)
{
	struct rte_ipv4_hdr *ip = (void *)(frame + m->l2_len);
	uint8_t *l4 = frame + m->l2_len + m->l3_len;
	uint16_t sum;

	if (m->ol_flags & RTE_MBUF_F_TX_IP_CKSUM) {
		ip->hdr_checksum = 0;
		ip->hdr_checksum = rte_ipv4_cksum(ip);
	}
	if ((m->ol_flags & RTE_MBUF_F_TX_L4_MASK) != RTE_MBUF_F_TX_UDP_CKSUM)
		return;
	sum = (uint16_t)~qp_cksum_fold(qp_cksum_bytes(l4, len - m->l2_len - m->l3_len));
	memcpy(l4 + 6, &sum, sizeof(sum));
}

static void
transmit(void *ctx, unsigned port, struct rte_mbuf *m)
{
	static uint8_t frame[ROOM];

	cr_assert(m->pkt_len <= sizeof(frame));
	memcpy(frame, rte_pktmbuf_read(m, 0, m->pkt_len, frame), m->pkt_len);
	finish_sums(frame, m->pkt_len, m);
	cr_assert_eq(write(wire.fd, frame, m->pkt_len), (ssize_t)m->pkt_len);
	rte_pktmbuf_free(m);
}

static void
receive(const uint8_t *frame, unsigned len)
{
	struct rte_mbuf *head = rte_pktmbuf_alloc(pool), *m = head;
	struct qp_net_info info;

	for (unsigned at = 0, n; at < len; at += n) {
		n = RTE_MIN(len - at, 2048u);
		if (at > 0) {
			m = rte_pktmbuf_alloc(pool);
			rte_pktmbuf_chain(head, m);
		}
		memcpy(rte_pktmbuf_append(at > 0 ? head : m, (uint16_t)n), frame + at, n);
	}
	if (qp_net_input(wire.net, 0, head, &info) == QP_NET_CONSUMED)
		return;
	if (info.proto == IPPROTO_UDP)
		qp_net_port_unreachable(wire.net, 0, head);
	else
		rte_pktmbuf_free(head);
}

static void
obey(void)
{
	switch ((enum order)atomic_load(&order)) {
	case NONE:
		return;
	case CONFIGURE:
	case CONFIGURE_FRESH:
		cr_assert(qp_net_poll_config(wire.net, &wire.conf, atomic_load(&order) == CONFIGURE_FRESH));
		break;
	case ANNOUNCE:
		qp_net_announce(wire.net);
		break;
	case SEND:
		qp_net_output(wire.net, to_send);
		break;
	}
	atomic_store(&order, NONE);
}

static void *
host(void *arg)
{
	static uint8_t frame[ROOM];
	struct pollfd p = {.fd = wire.fd, .events = POLLIN};

	while (!atomic_load(&stop)) {
		ssize_t n = poll(&p, 1, 1) > 0 ? read(wire.fd, frame, sizeof(frame)) : 0;

		now_ns = qp_now_ns();
		if (n > 0)
			receive(frame, (unsigned)n);
		(void)qp_wheel_advance(wheel, now_ns);
		obey();
	}
	return NULL;
}

static void
give(enum order o)
{
	atomic_store(&order, o);
	wire_wait_for(atomic_load(&order) == NONE);
}

static void
set_addr(unsigned i, const char *text, uint8_t prefix)
{
	struct qp_nic_addr *a = &wire.conf.addr[i];

	*a = (struct qp_nic_addr) {.prefix = prefix, .addr.s6_addr = {[10] = 0xff, 0xff}};
	if (inet_pton(AF_INET, text, a->addr.s6_addr + 12) != 1)
		cr_assert_eq(inet_pton(AF_INET6, text, &a->addr), 1);
}

static void
open_tap(unsigned mtu)
{
	struct ifreq ifr = {.ifr_name = "wire0", .ifr_flags = IFF_TAP | IFF_NO_PI};

	wire.fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	cr_assert(wire.fd >= 0 && ioctl(wire.fd, TUNSETIFF, &ifr) == 0, "no TAP");
	cr_assert(wire_run("ip link set lo up && ip link set wire0 mtu %u up && "
			   "ip addr add " WIRE_KERNEL4 "/24 dev wire0 && "
			   "ip addr add " WIRE_KERNEL6 "/64 dev wire0 nodad", mtu));
}

struct wire *
wire_open(unsigned mtu)
{
	struct qp_net_port port = {.mac = {2, 0, 0, 0, 0x0a, 1}, .mtu = 9000};
	struct qp_net_env env = {.now_ns = &now_ns, .transmit = transmit, .random = random64};
	struct qp_net_config cfg;

	if (geteuid() != 0)
		cr_skip_test("not root");
	cr_assert_eq(unshare(CLONE_NEWNET), 0);
	test_eal_init();
	env.pool = pool = test_pool("wire", 1023, RTE_PKTMBUF_HEADROOM + 2048);
	seed = now_ns = qp_now_ns();
	env.wheel = wheel = qp_wheel_new(now_ns);
	qp_net_config_default(&cfg);
	wire.net = qp_net_new(&env, &cfg, &port, 1);
	open_tap(mtu);
	wire.conf.nlinks = 1;
	wire.conf.naddrs = 2;
	wire.conf.link[0].mtu = (uint16_t)mtu;
	set_addr(0, WIRE_OUR4, 96 + 24);
	set_addr(1, WIRE_OUR6, 64);
	cr_assert_eq(pthread_create(&thread, NULL, host, NULL), 0);
	wire_configure(&wire, false);
	return &wire;
}

void
wire_close(struct wire *w)
{
	if (w->net == NULL) /* skipped */
		return;
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	qp_net_free(w->net);
	cr_assert_eq(rte_mempool_in_use_count(pool), 0);
	close(w->fd);
}

void
wire_configure(struct wire *w, bool fresh)
{
	w->conf.seq += 2;
	give(fresh ? CONFIGURE_FRESH : CONFIGURE);
}

void
wire_announce(struct wire *w)
{
	give(ANNOUNCE);
}

uint64_t
wire_count(const struct wire *w, size_t offset)
{
	return __atomic_load_n((const uint64_t *)(const void *)((const char *)&w->net->counters + offset),
		__ATOMIC_RELAXED);
}

static struct qp_ipaddr
addr_of(const char *text)
{
	struct qp_ipaddr a;
	uint32_t v4;

	if (inet_pton(AF_INET, text, &v4) == 1)
		return qp_ipaddr_v4(v4);
	cr_assert_eq(inet_pton(AF_INET6, text, &a), 1);
	return a;
}

void
wire_send(struct wire *w, const char *from, const char *to, uint16_t port)
{
	static const char text[] = "from here";
	struct qp_flow flow = {.local = addr_of(from), .remote = addr_of(to)};
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	struct rte_udp_hdr *udp = (void *)rte_pktmbuf_append(m, sizeof(*udp) + sizeof(text) - 1);

	*udp = (struct rte_udp_hdr) {.src_port = htons(7), .dst_port = htons(port),
		.dgram_len = htons(sizeof(*udp) + sizeof(text) - 1)};
	memcpy(udp + 1, text, sizeof(text) - 1);
	m->l4_len = sizeof(*udp);
	qp_ip_encap(m, &flow, IPPROTO_UDP, 0, w->net->port[0].mac);
	to_send = m;
	give(SEND);
}

bool
wire_run(const char *fmt, ...)
{
	char command[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	return system(command) == 0;
}

bool
wire_prints(const char *part, const char *fmt, ...)
{
	char command[512], out[8192];
	va_list ap;
	size_t n;
	FILE *f;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	f = popen(command, "r");
	cr_assert_not_null(f);
	n = fread(out, 1, sizeof(out) - 1, f);
	out[n] = '\0';
	pclose(f);
	return strstr(out, part) != NULL;
}

static struct sockaddr_storage
resolve(const char *text, socklen_t *len)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_DGRAM}, *ai;
	struct sockaddr_storage ss = {0};

	cr_assert_eq(getaddrinfo(text, NULL, &hints, &ai), 0, "%s", text);
	memcpy(&ss, ai->ai_addr, ai->ai_addrlen);
	*len = ai->ai_addrlen;
	freeaddrinfo(ai);
	return ss;
}

/* Waits for the reply with the payload of `request`. */
static bool
echoed(int fd, bool v4, const uint8_t *request, size_t len)
{
	static uint8_t in[ROOM];
	const uint64_t end = qp_now_ns() + 5 * QP_NET_SEC_NS;
	const size_t head = v4 ? 20 : 0;

	while (qp_now_ns() < end) {
		ssize_t n = recv(fd, in, sizeof(in), 0);

		if (n == (ssize_t)(head + len) && in[head] == (v4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY) &&
			memcmp(in + head + 4, request + 4, len - 4) == 0)
			return true;
	}
	return false;
}

bool
wire_ping(const char *from, const char *to, unsigned bytes)
{
	static uint8_t out[ROOM];
	static uint8_t count;
	const struct timeval wait = {.tv_usec = 100000};
	struct sockaddr_storage local, remote;
	socklen_t len;
	uint16_t sum;
	bool v4, ok;
	int fd;

	local = resolve(from, &len);
	remote = resolve(to, &len);
	v4 = remote.ss_family == AF_INET;
	fd = socket(remote.ss_family, SOCK_RAW, v4 ? (int)IPPROTO_ICMP : (int)IPPROTO_ICMPV6);
	memset(out, ++count, 8 + bytes);
	memset(out, 0, 4);
	out[0] = v4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
	sum = (uint16_t)~qp_cksum_fold(qp_cksum_bytes(out, 8 + bytes));
	if (v4) /* the kernel sums ICMPv6 itself */
		memcpy(out + 2, &sum, sizeof(sum));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	cr_assert_eq(bind(fd, (struct sockaddr *)&local, len), 0);
	cr_assert_eq(sendto(fd, out, 8 + bytes, 0, (struct sockaddr *)&remote, len), (ssize_t)(8 + bytes));
	ok = echoed(fd, v4, out, 8 + bytes);
	close(fd);
	return ok;
}
