/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends and receives on a port as a data plane would (an EAL secondary of a port
 * owner), or as its peer (an EAL primary with a port of its own). Reads commands,
 * answers each with a line:
 *   tx PORT QUEUE FRAMES BYTES [SEGMENTS]   "sent N"
 *   rx PORT QUEUE FRAMES MS                 "got N bytes B bad X segs S": waits so long for so many
 *   hold PORT QUEUE FRAMES MS               the same, and never frees them
 *   link PORT                               "up" or "down"
 *   restart PORT                            "0": stopped and started at once
 *   ports                                   how many there are
 * A frame's bytes are its number and a pattern that rx compares.
 */
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_memzone.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/nic/port_link.h"
#include "dataplane/nic/port_setup.h"
#include "dataplane/nic/rx_pool.h"

#define BURST 32

static struct rte_mempool *pool; /* to send from */
static struct qp_port_links links; /* of a secondary: its only worker is its main thread */

/* As a data plane's two kinds of thread do in turns. */
static bool
usable(uint16_t port)
{
	if (links.nic == NULL || qp_port_link_usable(&links, 0, port))
		return true;
	qp_port_links_turn(&links);
	return false;
}

static struct rte_mempool *
make_pool(void *ctx, uint16_t worker, int socket, uint32_t min, uint16_t data_room,
	struct qp_errmsg *msg)
{
	char name[32];

	(void)ctx, (void)msg;
	snprintf(name, sizeof(name), "probe%u", worker);
	return rte_pktmbuf_pool_create(name, min, 0, 0, data_room, socket);
}

static uint64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* The byte at `at` of frame number `n`: first two MAC addresses and a type, then the number. */
static uint8_t
pattern(uint32_t n, uint32_t at)
{
	static const uint8_t head[14] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};

	if (at < sizeof(head))
		return head[at];
	if (at < sizeof(head) + 4)
		return (uint8_t)(n >> 8 * (at - sizeof(head)));
	return (uint8_t)(n + at);
}

static struct rte_mbuf *
make_frame(uint32_t n, uint32_t bytes, uint32_t segments)
{
	struct rte_mbuf *head = NULL, *seg;
	uint32_t at = 0;

	for (uint32_t s = 0; s < segments; s++) {
		uint32_t len = s + 1 < segments ? bytes / segments : bytes - at;

		seg = rte_pktmbuf_alloc(pool);
		if (seg == NULL)
			return head;
		for (uint8_t *p = (uint8_t *)rte_pktmbuf_append(seg, (uint16_t)len); len > 0; len--)
			*p++ = pattern(n, at++);
		if (head == NULL)
			head = seg;
		else
			rte_pktmbuf_chain(head, seg);
	}
	return head;
}

static void
send_frames(uint16_t port, uint16_t queue, uint32_t frames, uint32_t bytes, uint32_t segments)
{
	const uint64_t end = now_ms() + 2000;
	uint32_t sent = 0;

	while (sent < frames && now_ms() < end) {
		struct rte_mbuf *m = make_frame(sent, bytes, segments);

		if (m == NULL || !usable(port) || rte_eth_tx_burst(port, queue, &m, 1) == 0)
			rte_pktmbuf_free(m);
		else
			sent++;
	}
	printf("sent %u\n", sent);
}

static bool
is_whole(const struct rte_mbuf *m)
{
	uint32_t n = 0, at = 0;

	for (unsigned i = 0; i < 4 && m->data_len >= 18; i++)
		n |= (uint32_t)rte_pktmbuf_mtod(m, uint8_t *)[14 + i] << 8 * i;
	for (const struct rte_mbuf *s = m; s != NULL; s = s->next)
		for (unsigned i = 0; i < s->data_len; i++)
			if (rte_pktmbuf_mtod(s, uint8_t *)[i] != pattern(n, at++))
				return false;
	return at == m->pkt_len && at >= 18;
}

/* What the kernel sends by itself (IPv6's announcements) has another type. */
static bool
is_ours(const struct rte_mbuf *m)
{
	return m->data_len >= 14 && rte_pktmbuf_mtod(m, uint8_t *)[12] == 0x88 &&
	       rte_pktmbuf_mtod(m, uint8_t *)[13] == 0xb5;
}

static void
receive_frames(uint16_t port, uint16_t queue, uint32_t frames, uint32_t ms, bool hold)
{
	const uint64_t end = now_ms() + ms;
	struct rte_mbuf *in[BURST];
	uint32_t got = 0, bad = 0, segs = 0;
	uint64_t bytes = 0;

	while (got < frames && now_ms() < end) {
		uint16_t n = usable(port) ? rte_eth_rx_burst(port, queue, in, BURST) : 0;

		for (uint16_t i = 0; i < n; i++) {
			if (is_ours(in[i])) {
				got++;
				bytes += in[i]->pkt_len;
				segs += in[i]->nb_segs;
				bad += !is_whole(in[i]);
			}
			if (hold)
				qp_rx_give(in[i], qp_rx_mark_own);
			else
				rte_pktmbuf_free(in[i]);
		}
	}
	printf("got %u bytes %llu bad %u segs %u\n", got, (unsigned long long)bytes, bad, segs);
}

static void
obey(const char *line)
{
	unsigned a, b, c, d, e = 1;

	if (sscanf(line, "tx %u %u %u %u %u", &a, &b, &c, &d, &e) >= 4)
		send_frames((uint16_t)a, (uint16_t)b, c, d, e);
	else if (sscanf(line, "rx %u %u %u %u", &a, &b, &c, &d) == 4)
		receive_frames((uint16_t)a, (uint16_t)b, c, d, false);
	else if (sscanf(line, "hold %u %u %u %u", &a, &b, &c, &d) == 4)
		receive_frames((uint16_t)a, (uint16_t)b, c, d, true);
	else if (sscanf(line, "link %u", &a) == 1)
		puts((links.nic != NULL ? usable((uint16_t)a)
					 : qp_port_setup_link((uint16_t)a) != 0) ? "up" : "down");
	else if (sscanf(line, "restart %u", &a) == 1)
		printf("%d\n", rte_eth_dev_stop((uint16_t)a) | rte_eth_dev_start((uint16_t)a));
	else if (strcmp(line, "ports\n") == 0)
		printf("%u\n", rte_eth_dev_count_avail());
	else
		puts("what?");
}

static void
start_eal(const char *kind, char *prefix, char *lcores)
{
	char *secondary[] = {"nicprobe", "--proc-type=secondary", "--no-pci", "--no-telemetry",
		"--file-prefix", prefix, "--lcores", lcores, NULL};
	char *primary[] = {"nicprobe", "--no-pci", "--no-telemetry", "--file-prefix", prefix,
		"--lcores", lcores, "-m", "64", "--base-virtaddr=0x300000000000", NULL};
	const bool peer = strcmp(kind, "peer") == 0;

	if (rte_eal_init(peer ? 10 : 8, peer ? primary : secondary) < 0) {
		fprintf(stderr, "EAL does not start\n");
		exit(1);
	}
}

static void
open_own(const char *devargs, unsigned workers, unsigned slots, unsigned mtu)
{
	const struct qp_port_want want = {.devargs = devargs, .workers = (uint16_t)workers,
		.slots = (uint16_t)slots, .mtu = (uint16_t)mtu, .pool = make_pool};
	struct qp_nic_port port;
	struct qp_errmsg msg;

	if (qp_port_setup_open(&want, &port, &msg) != 0) {
		fprintf(stderr, "%s\n", msg.text);
		exit(1);
	}
}

/* The port owner's pools, as a data plane has them; its server_id is its lcore's number. */
static void
attach(const char *lcore)
{
	const struct rte_memzone *zone = rte_memzone_lookup(QP_NIC_ZONE);
	struct qp_errmsg msg = {"the port owner has no ports"};

	if (zone != NULL) {
		struct qp_nic *nic = zone->addr;

		/* As a control plane does: who dies with frames in the first slot's queues. */
		nic->gen[0] = (struct qp_nic_gen) {.server_id = (uint32_t)atoi(lcore), .nworkers = 1};
	}
	if (zone == NULL || qp_rx_pools_attach(zone->addr, (uint32_t)atoi(lcore), &msg) != 0) {
		fprintf(stderr, "%s\n", msg.text);
		exit(1);
	}
	qp_port_links_init(&links, zone->addr, 1);
	qp_port_link_join(&links, 0);
}

/* secondary INSTANCE LCORE | peer PREFIX LCORE DEVARGS WORKERS SLOTS MTU */
int
main(int argc, char **argv)
{
	char line[256], name[32];

	if (argc != 4 && argc != 8) {
		fprintf(stderr, "nicprobe secondary INSTANCE LCORE@CPU | "
				"peer PREFIX LCORE@CPU DEVARGS WORKERS SLOTS MTU\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	start_eal(argv[1], argv[2], argv[3]);
	if (argc == 8)
		open_own(argv[4], (unsigned)atoi(argv[5]), (unsigned)atoi(argv[6]),
			(unsigned)atoi(argv[7]));
	else
		attach(argv[3]);
	snprintf(name, sizeof(name), "probe_tx_%d", getpid());
	pool = rte_pktmbuf_pool_create(name, 1023, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	printf("%s\n", pool != NULL ? "ready" : "no memory");
	while (fgets(line, sizeof(line), stdin) != NULL)
		obey(line);
	return 0;
}
