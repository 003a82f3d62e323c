/* SPDX-License-Identifier: Apache-2.0 */
/* The generator's ARP and neighbour discovery, frame by frame. */
#include <criterion/criterion.h>
#include <netinet/icmp6.h>
#include <rte_arp.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <string.h>

#include "bench/worker.h"
#include "common/addr.h"
#include "tests/tcp/eal.h"

static const uint8_t peer[6] = {2, 0, 0, 0, 0, 9};
static struct qpb bench;
static struct qpb_worker worker;
static struct qpb_path path;
static struct rte_mbuf *sent;
static unsigned nsent;

void
qpb_path_transmit(void *p, struct rte_mbuf *frame)
{
	cr_assert_eq(p, &path);
	rte_pktmbuf_free(sent);
	sent = frame;
	nsent++;
}

static struct qp_ipaddr
addr(const char *text)
{
	struct in6_addr in6;
	struct qp_ipaddr a;

	cr_assert_eq(qp_ip_parse_text(text, &in6, NULL), 0);
	memcpy(&a, &in6, sizeof(a));
	return a;
}

/* A port 10.0.0.2, or fd00::2, with the network 10.1.0.0/16, or fd01::/112. */
static void
set_up(bool v6)
{
	struct qpb_port *p = &bench.port[0];

	test_eal_init();
	worker = (struct qpb_worker) {
		.b = &bench, .pool = test_pool("l2", 63, RTE_MBUF_DEFAULT_BUF_SIZE)};
	path = (struct qpb_path) {.w = &worker, .port = p};
	p->addr = addr(v6 ? "fd00::2" : "10.0.0.2");
	p->hop = addr(v6 ? "fd00::1" : "10.0.0.1");
	p->net = addr(v6 ? "fd01::" : "10.1.0.0");
	p->net_prefix = 112;
	memcpy(p->nic.mac, (uint8_t[]) {2, 0, 0, 0, 0, 2}, 6);
}

static void
set_up_v4(void)
{
	set_up(false);
}

static void
set_up_v6(void)
{
	set_up(true);
}

/* Whether it was consumed. */
static bool
input(const void *frame, uint16_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(worker.pool);
	bool consumed;

	memcpy(rte_pktmbuf_append(m, len), frame, len);
	consumed = qpb_l2_input(&path, m);
	if (!consumed)
		rte_pktmbuf_free(m);
	return consumed;
}

struct arp {
	struct rte_ether_hdr eth;
	struct rte_arp_hdr arp;
} __attribute__((packed, aligned(2)));

static struct arp
arp(uint16_t op, const char *from, const char *to)
{
	struct arp a = {.eth.ether_type = htons(RTE_ETHER_TYPE_ARP)};

	memcpy(a.eth.src_addr.addr_bytes, peer, 6);
	a.arp.arp_hardware = htons(RTE_ARP_HRD_ETHER);
	a.arp.arp_protocol = htons(RTE_ETHER_TYPE_IPV4);
	a.arp.arp_hlen = 6;
	a.arp.arp_plen = 4;
	a.arp.arp_opcode = htons(op);
	memcpy(a.arp.arp_data.arp_sha.addr_bytes, peer, 6);
	a.arp.arp_data.arp_sip = addr(from).w[3];
	a.arp.arp_data.arp_tip = addr(to).w[3];
	return a;
}

Test(arp, request_for_the_link_address_is_answered, .init = set_up_v4)
{
	struct arp q = arp(RTE_ARP_OP_REQUEST, "10.0.0.7", "10.0.0.2"), *a;

	cr_assert(input(&q, sizeof(q)));
	cr_assert_eq(nsent, 1);
	a = rte_pktmbuf_mtod(sent, struct arp *);
	cr_assert_eq(a->arp.arp_opcode, htons(RTE_ARP_OP_REPLY));
	cr_assert_eq(memcmp(a->eth.dst_addr.addr_bytes, peer, 6), 0);
	cr_assert_eq(memcmp(a->arp.arp_data.arp_sha.addr_bytes, bench.port[0].nic.mac, 6), 0);
	cr_assert_eq(a->arp.arp_data.arp_sip, q.arp.arp_data.arp_tip);
	cr_assert_eq(a->arp.arp_data.arp_tip, q.arp.arp_data.arp_sip);
	cr_assert_not(atomic_load(&bench.port[0].hop_known), "10.0.0.7 is not the next hop");
}

Test(arp, request_for_any_address_of_the_network_is_answered, .init = set_up_v4)
{
	static const char *const ours[] = {"10.1.0.1", "10.1.77.9", "10.1.255.254"};
	static const char *const others[] = {"10.0.0.3", "10.2.0.1", "192.0.2.1"};

	for (unsigned i = 0; i < 3; i++) {
		struct arp q = arp(RTE_ARP_OP_REQUEST, "10.0.0.7", ours[i]);

		cr_assert(input(&q, sizeof(q)));
		cr_assert_eq(nsent, i + 1, "%s", ours[i]);
	}
	for (unsigned i = 0; i < 3; i++) {
		struct arp q = arp(RTE_ARP_OP_REQUEST, "10.0.0.7", others[i]);

		cr_assert(input(&q, sizeof(q)));
		cr_assert_eq(nsent, 3, "%s", others[i]);
	}
}

Test(arp, the_gateways_own_address_is_not_claimed, .init = set_up_v4)
{
	struct arp q = arp(RTE_ARP_OP_REQUEST, "0.0.0.0", "10.0.0.1");

	bench.port[0].net = addr("10.0.0.0");
	cr_assert(input(&q, sizeof(q)));
	cr_assert_eq(nsent, 0);
}

Test(arp, the_next_hop_is_asked_for_and_learned_once, .init = set_up_v4)
{
	struct arp a = arp(RTE_ARP_OP_REPLY, "10.0.0.1", "10.0.0.2");

	qpb_l2_ask(&path);
	cr_assert_eq(nsent, 1);
	cr_assert_eq(
		rte_pktmbuf_mtod(sent, struct arp *)->arp.arp_data.arp_tip, addr("10.0.0.1").w[3]);
	cr_assert_eq(rte_pktmbuf_mtod(sent, struct arp *)->eth.dst_addr.addr_bytes[0], 0xff);
	cr_assert(input(&a, sizeof(a)));
	cr_assert(atomic_load(&bench.port[0].hop_known));
	cr_assert_eq(memcmp(bench.port[0].hop_mac, peer, 6), 0);
	memset(a.arp.arp_data.arp_sha.addr_bytes, 0xee, 6);
	cr_assert(input(&a, sizeof(a)));
	cr_assert_eq(memcmp(bench.port[0].hop_mac, peer, 6), 0, "workers read it by now");
}

Test(arp, short_frames_change_nothing, .init = set_up_v4)
{
	struct arp a = arp(RTE_ARP_OP_REPLY, "10.0.0.1", "10.0.0.2");

	for (uint16_t len = 0; len < sizeof(a); len++)
		(void)input(&a, len);
	cr_assert_eq(nsent, 0);
	cr_assert_not(atomic_load(&bench.port[0].hop_known));
}

struct nd {
	struct rte_ether_hdr eth;
	struct rte_ipv6_hdr ip;
	struct nd_neighbor_solicit ns;
	uint8_t option[8];
} __attribute__((packed, aligned(2)));

static struct nd
nd(uint8_t type, const char *from, const char *target)
{
	struct qp_ipaddr src = addr(from), of = addr(target);
	struct nd n = {.eth.ether_type = htons(RTE_ETHER_TYPE_IPV6),
		.option = {type == ND_NEIGHBOR_ADVERT ? ND_OPT_TARGET_LINKADDR
						      : ND_OPT_SOURCE_LINKADDR,
			1}};

	memcpy(n.eth.src_addr.addr_bytes, peer, 6);
	memcpy(n.option + 2, peer, 6);
	n.ip.vtc_flow = htonl(6u << 28);
	n.ip.payload_len = htons(sizeof(n.ns) + sizeof(n.option));
	n.ip.proto = IPPROTO_ICMPV6;
	n.ip.hop_limits = 255;
	memcpy(n.ip.src_addr, &src, 16);
	memcpy(n.ip.dst_addr, &of, 16);
	n.ns.nd_ns_type = type;
	memcpy(&n.ns.nd_ns_target, &of, 16);
	return n;
}

Test(nd, solicitation_for_ours_is_answered_with_a_right_sum, .init = set_up_v6)
{
	struct nd q = nd(ND_NEIGHBOR_SOLICIT, "fe80::7", "fd01::1234"), *a;
	uint16_t sum;

	cr_assert(input(&q, sizeof(q)));
	cr_assert_eq(nsent, 1);
	a = rte_pktmbuf_mtod(sent, struct nd *);
	cr_assert_eq(a->ns.nd_ns_type, ND_NEIGHBOR_ADVERT);
	cr_assert_eq(memcmp(a->ip.dst_addr, q.ip.src_addr, 16), 0);
	cr_assert_eq(memcmp(&a->ns.nd_ns_target, &q.ns.nd_ns_target, 16), 0);
	cr_assert_eq(memcmp(a->option + 2, bench.port[0].nic.mac, 6), 0);
	sum = a->ns.nd_ns_cksum;
	a->ns.nd_ns_cksum = 0;
	cr_assert_eq(rte_ipv6_udptcp_cksum(&a->ip, &a->ns), sum);
	q = nd(ND_NEIGHBOR_SOLICIT, "fe80::7", "fd02::1");
	cr_assert(input(&q, sizeof(q)));
	cr_assert_eq(nsent, 1);
}

Test(nd, advertisement_of_the_next_hop_is_learned_others_are_not, .init = set_up_v6)
{
	struct nd other = nd(ND_NEIGHBOR_ADVERT, "fd00::5", "fd00::5");
	struct nd hop = nd(ND_NEIGHBOR_ADVERT, "fd00::1", "fd00::1");

	qpb_l2_ask(&path);
	cr_assert_eq(rte_pktmbuf_mtod(sent, struct nd *)->eth.dst_addr.addr_bytes[0], 0x33);
	cr_assert(input(&other, sizeof(other)));
	cr_assert_not(atomic_load(&bench.port[0].hop_known));
	cr_assert(input(&hop, sizeof(hop)));
	cr_assert(atomic_load(&bench.port[0].hop_known));
	cr_assert_eq(memcmp(bench.port[0].hop_mac, peer, 6), 0);
}

Test(nd, what_came_over_a_router_is_not_taken, .init = set_up_v6)
{
	struct nd hop = nd(ND_NEIGHBOR_ADVERT, "fd00::1", "fd00::1");

	hop.ip.hop_limits = 254;
	cr_assert_not(input(&hop, sizeof(hop)));
	cr_assert_not(atomic_load(&bench.port[0].hop_known));
}
