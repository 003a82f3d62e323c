/* SPDX-License-Identifier: Apache-2.0 */
/* Both kinds of port by themselves: an ethdev over rings, and a TAP without a classifier. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <poll.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dataplane/port.h"
#include "tests/port/responder.h"
#include "tests/port/world.h"

/* An ethdev that receives what it sends, through a ring of 64. */
static uint16_t
open_loop(struct rte_mempool *pool)
{
	struct rte_ring *ring = rte_ring_create("loop", 64, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
	const struct rte_eth_conf conf = {0};
	int id;

	cr_assert_not_null(ring);
	id = rte_eth_from_ring(ring);
	cr_assert_geq(id, 0);
	cr_assert_eq(rte_eth_dev_configure((uint16_t)id, 1, 1, &conf), 0);
	cr_assert_eq(rte_eth_rx_queue_setup((uint16_t)id, 0, 64, 0, NULL, pool), 0);
	cr_assert_eq(rte_eth_tx_queue_setup((uint16_t)id, 0, 64, 0, NULL), 0);
	cr_assert_eq(rte_eth_dev_start((uint16_t)id), 0);
	return (uint16_t)id;
}

Test(eth_port, frames_pass_and_are_counted_until_the_queue_is_full)
{
	struct rte_mempool *pool = responder_eal(511);
	struct rte_mbuf *out[128], *in[128];
	struct qp_errmsg msg;
	struct qp_port *p;

	const struct qp_eth_port_config cfg = {.port_id = open_loop(pool), .mtu = 1500};

	cr_assert_eq(qp_eth_port_open(&cfg, &p, &msg), 0, "%s", msg.text);
	cr_expect_eq(p->wake_fd[0], -1);
	cr_expect_eq(p->mtu, 1500);
	cr_assert_eq(rte_pktmbuf_alloc_bulk(pool, out, 128), 0);
	for (uint16_t i = 0; i < 128; i++)
		memset(rte_pktmbuf_append(out[i], (uint16_t)(60 + i)), (int)i, (size_t)(60 + i));

	/* 63 fit; the rest stays the caller's. */
	cr_expect_eq(qp_port_tx(p, out, 128), 63);
	cr_expect_eq(p->counters.tx_frames, 63);
	cr_expect_eq(p->counters.tx_bytes, 63 * 60 + 62 * 63 / 2);
	cr_expect_eq(qp_port_tx(p, out + 63, 65), 0);
	cr_expect_eq(qp_port_rx(p, in, 128), 63);
	for (uint16_t i = 0; i < 63; i++)
		cr_expect_eq(in[i], out[i], "frame %u", i);
	cr_expect_eq(p->counters.rx_frames, 63);
	cr_expect_eq(p->counters.rx_bytes, p->counters.tx_bytes);
	cr_expect_eq(qp_port_rx(p, in, 128), 0);
	cr_expect_eq(p->counters.polls, 2);
	cr_expect_eq(p->counters.empty_polls, 1);
	cr_expect_eq(p->counters.tx_dropped, 0);
	rte_pktmbuf_free_bulk(out, 128);
	qp_port_close(p);
	cr_expect_eq(rte_mempool_avail_count(pool), 511);
}

/* As ena's does with IPv6, where it cuts IPv4 alone. */
static uint16_t
refuse_super(void *queue, struct rte_mbuf **frames, uint16_t n)
{
	uint16_t i = 0;

	(void)queue;
	while (i < n && (frames[i]->ol_flags & RTE_MBUF_F_TX_TCP_SEG) == 0)
		i++;
	return i;
}

static struct rte_mbuf *
super_segment(struct rte_mempool *pool)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	const uint16_t bytes = 14 + 40 + 20 + 1200;
	uint8_t *at = (uint8_t *)rte_pktmbuf_append(m, bytes);

	memset(at, 0, bytes);
	m->ol_flags = RTE_MBUF_F_TX_IPV6 | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_TCP_SEG;
	m->l2_len = 14;
	m->l3_len = 40;
	m->l4_len = 20;
	m->tso_segsz = 400;
	at[14 + 40 + 12] = 0x50;
	return m;
}

Test(eth_port, super_segment_that_the_device_refuses_is_cut_and_keeps_its_place)
{
	struct rte_mempool *pool = responder_eal(511);
	struct rte_mbuf *out[4], *in[16];
	struct qp_errmsg msg;
	struct qp_port *p;

	const struct qp_eth_port_config cfg = {.port_id = open_loop(pool), .mtu = 1500, .pool = pool,
		.tx_offloads = UINT64_MAX & ~RTE_ETH_TX_OFFLOAD_UDP_TSO};

	rte_eth_fp_ops[cfg.port_id].tx_pkt_prepare = refuse_super;
	cr_assert_eq(qp_eth_port_open(&cfg, &p, &msg), 0, "%s", msg.text);
	for (unsigned i = 0; i < 4; i++) {
		if (i == 1 || i == 2) {
			out[i] = super_segment(pool);
			continue;
		}
		out[i] = rte_pktmbuf_alloc(pool);
		memset(rte_pktmbuf_append(out[i], (uint16_t)(60 + i)), 0, 60 + i);
	}
	cr_expect_eq(qp_port_tx(p, out, 4), 4);
	cr_expect_eq(p->counters.tx_dropped, 0);
	cr_assert_eq(qp_port_rx(p, in, 16), 1 + 3 + 3 + 1);
	cr_expect_eq(in[0]->pkt_len, 60);
	for (unsigned i = 1; i < 7; i++) {
		cr_expect_eq(in[i]->pkt_len, 14 + 40 + 20 + 400, "piece %u", i);
		cr_expect_eq(in[i]->ol_flags & RTE_MBUF_F_TX_TCP_SEG, 0);
	}
	cr_expect_eq(in[7]->pkt_len, 63);
	rte_pktmbuf_free_bulk(in, 8);
	qp_port_close(p);
	cr_expect_eq(rte_mempool_avail_count(pool), 511);
}

Test(eth_port, port_that_is_not_there_is_an_error_that_names_it)
{
	struct qp_errmsg msg;
	struct qp_port *p;

	const struct qp_eth_port_config cfg = {.port_id = 17};

	responder_eal(63);
	cr_expect_neq(qp_eth_port_open(&cfg, &p, &msg), 0);
	cr_expect_not_null(strstr(msg.text, "17"), "%s", msg.text);
}

static const struct qp_host_port_config *
config(struct rte_mempool *pool)
{
	static struct qp_host_port_config cfg;

	cfg = (struct qp_host_port_config) {.name = "qptap9", .rx_pool = pool, .mtu = 65535};
	return &cfg;
}

/* A TAP with an address, and a UDP socket that sends out of it. */
static int
sender(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	world_run("ip addr add 10.93.0.1/24 dev qptap9; "
		  "ip neigh add 10.93.0.2 lladdr 02:00:00:00:00:02 dev qptap9");
	cr_assert_eq(inet_pton(AF_INET, "10.93.0.2", &to.sin_addr), 1);
	cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

Test(host_port, device_is_set_up_and_silent)
{
	struct rte_mbuf *in[32];
	struct rte_mempool *pool;
	struct qp_errmsg msg;
	struct qp_port *p;
	struct world w;
	char *text;

	world_open(&w);
	world_run("echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
	pool = responder_eal(1023);
	cr_assert_eq(qp_host_port_open(config(pool), &p, &msg), 0, "%s", msg.text);
	cr_expect_eq(p->ifindex, if_nametoindex("qptap9"));
	text = world_output("ip -d link show dev qptap9; ip -o addr show dev qptap9");
	cr_expect_not_null(strstr(text, "NOARP,UP"), "%s", text);
	cr_expect_null(strstr(text, "MULTICAST"), "%s", text);
	cr_expect_not_null(strstr(text, "qdisc noqueue"), "%s", text);
	cr_expect_null(strstr(text, "inet"), "an address: %s", text);
	/* The first frame is the test's: the kernel has said nothing since the device is up. */
	cr_assert_eq(send(sender(), "marker", 6, 0), 6);
	cr_assert_eq(qp_port_rx(p, in, 32), 1);
	cr_expect_eq(in[0]->pkt_len, 14 + 20 + 8 + 6);
	rte_pktmbuf_free(in[0]);
	free(text);
	qp_port_close(p);
	cr_expect_eq(if_nametoindex("qptap9"), 0, "goes with its descriptor");
	cr_expect_eq(rte_mempool_avail_count(pool), 1023);
	world_close(&w);
}

Test(host_port, wake_fd_tells_of_frames_and_empty_pools_lose_none)
{
	struct rte_mbuf *hog[1023], *in[32];
	struct rte_mempool *pool;
	struct pollfd pfd = {.events = POLLIN};
	struct qp_errmsg msg;
	struct qp_port *p;
	struct world w;
	unsigned hogged;
	int fd;

	world_open(&w);
	pool = responder_eal(1023);
	cr_assert_eq(qp_host_port_open(config(pool), &p, &msg), 0, "%s", msg.text);
	fd = sender();
	pfd.fd = p->wake_fd[0];
	cr_expect_eq(poll(&pfd, 1, 0), 0, "nothing yet");
	cr_assert_eq(send(fd, "one", 3, 0), 3);
	cr_expect_eq(poll(&pfd, 1, 0), 1);

	hogged = rte_mempool_avail_count(pool);
	cr_assert_eq(rte_pktmbuf_alloc_bulk(pool, hog, hogged), 0);
	cr_expect_eq(qp_port_rx(p, in, 32), 0);
	cr_expect_eq(p->counters.rx_nombuf, 1);
	rte_pktmbuf_free_bulk(hog, hogged);
	cr_expect_eq(qp_port_rx(p, in, 32), 1, "the frame waited in the kernel");
	cr_expect_eq(p->counters.rx_frames, 1);
	rte_pktmbuf_free(in[0]);
	close(fd);
	qp_port_close(p);
	world_close(&w);
}

/* Leaves CAP_NET_ADMIN, which a TAP needs; takes what a program needs. */
static bool
drop_bpf(void)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2];
	char text[4] = "0";
	int fd = open("/proc/sys/kernel/unprivileged_bpf_disabled", O_RDONLY);

	cr_assert_geq(fd, 0);
	cr_assert_gt(read(fd, text, sizeof(text) - 1), 0);
	close(fd);
	cr_assert_eq(syscall(SYS_capget, &h, d), 0);
	d[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective &= ~CAP_TO_MASK(CAP_SYS_ADMIN);
	d[CAP_TO_INDEX(CAP_BPF)].effective &= ~CAP_TO_MASK(CAP_BPF);
	cr_assert_eq(syscall(SYS_capset, &h, d), 0);
	return text[0] != '0';
}

Test(host_port, kernel_that_refuses_to_steer_gives_one_queue)
{
	struct rte_mempool *pool;
	struct rte_mbuf *in[32];
	struct qp_errmsg msg;
	struct qp_port *p;
	struct world w;
	int fd;

	world_open(&w);
	pool = responder_eal(1023);
	if (!drop_bpf())
		cr_skip_test("here anybody may load a program");
	cr_assert_eq(qp_host_port_open(config(pool), &p, &msg), 0, "%s", msg.text);
	cr_expect_eq(p->wake_fd[QP_CLS_QUEUE_SYN], -1);
	cr_expect_eq(p->wake_fd[QP_CLS_QUEUE_UNKNOWN], -1);
	fd = sender();
	for (unsigned i = 0; i < 32; i++)
		cr_assert_eq(send(fd, "x", 1, 0), 1);
	for (enum qp_cls_queue q = QP_CLS_QUEUE_SYN; q < QP_CLS_NQUEUES; q++)
		cr_expect_eq(qp_port_rx_strangers(p, q, in, 32), 0);
	cr_expect_eq(qp_port_rx(p, in, 32), 32);
	rte_pktmbuf_free_bulk(in, 32);
	close(fd);
	qp_port_close(p);
	world_close(&w);
}

Test(host_port, burst_waits_in_the_kernel)
{
	struct rte_mempool *pool;
	struct rte_mbuf *in[32];
	struct qp_errmsg msg;
	unsigned got = 0;
	struct qp_port *p;
	struct world w;
	uint16_t n;
	int fd;

	world_open(&w);
	pool = responder_eal(1023);
	cr_assert_eq(qp_host_port_open(config(pool), &p, &msg), 0, "%s", msg.text);
	fd = sender();
	for (unsigned i = 0; i < 4096; i++)
		cr_assert_eq(send(fd, "burst", 5, 0), 5);
	while ((n = qp_port_rx(p, in, 32)) > 0) {
		rte_pktmbuf_free_bulk(in, n);
		got += n;
	}
	cr_expect_eq(got, 4096);
	close(fd);
	qp_port_close(p);
	world_close(&w);
}

Test(host_port, name_that_is_taken_or_bad_is_an_error)
{
	struct rte_mempool *pool;
	struct qp_host_port_config cfg;
	struct qp_errmsg msg;
	struct qp_port *p, *second;
	struct world w;

	world_open(&w);
	pool = responder_eal(1023);
	cfg = *config(pool);
	cr_assert_eq(qp_host_port_open(&cfg, &p, &msg), 0, "%s", msg.text);
	cr_expect_eq(qp_host_port_open(&cfg, &second, &msg), QP_E_INUSE);
	cr_expect_not_null(strstr(msg.text, "qptap9"), "%s", msg.text);
	cfg.name = "a-name-that-is-too-long";
	cr_expect_eq(qp_host_port_open(&cfg, &second, &msg), QP_E_INVAL);
	cfg.name = "gw0";
	cr_expect_eq(qp_host_port_open(&cfg, &second, &msg), QP_E_INUSE, "%s", msg.text);
	qp_port_close(p);
	world_close(&w);
}

Test(host_port, device_that_is_deleted_counts_drops)
{
	struct rte_mempool *pool;
	struct rte_mbuf *m, *in[4];
	struct qp_errmsg msg;
	struct qp_port *p;
	struct world w;

	world_open(&w);
	pool = responder_eal(1023);
	cr_assert_eq(qp_host_port_open(config(pool), &p, &msg), 0, "%s", msg.text);
	world_run("ip link del qptap9");
	m = rte_pktmbuf_alloc(pool);
	memset(rte_pktmbuf_append(m, 60), 0, 60);
	cr_expect_eq(qp_port_tx(p, &m, 1), 1, "consumed");
	cr_expect_eq(p->counters.tx_dropped, 1);
	cr_expect_eq(qp_port_rx(p, in, 4), 0);
	cr_expect_eq(p->counters.rx_errors, 1);
	qp_port_close(p);
	cr_expect_eq(rte_mempool_avail_count(pool), 1023);
	world_close(&w);
}

Test(host_port, without_privileges_it_says_so)
{
	struct rte_mempool *pool;
	struct world w;
	int status;
	pid_t pid;

	world_open(&w);
	pool = responder_eal(1023);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		struct qp_errmsg msg;
		struct qp_port *p;
		int rc = setuid(65534) == 0 ? qp_host_port_open(config(pool), &p, &msg) : 0;

		_exit(rc == QP_E_PERM && strstr(msg.text, "root") != NULL ? 0 : 1);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	world_close(&w);
}
