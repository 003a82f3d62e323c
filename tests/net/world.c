/* SPDX-License-Identifier: Apache-2.0 */
/* The links of world.h. */
#include "tests/net/world.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <ctype.h>
#include <rte_arp.h>
#include <rte_udp.h>
#include <string.h>

#include "common/classifier.h"
#include "tests/tcp/eal.h"

const uint8_t nw_mac[2][6] = {{0x02, 0, 0, 0, 0, 0x01}, {0x02, 0, 0, 0, 0, 0x02}};
const uint8_t nw_peer[6] = {0x02, 0, 0x5e, 0, 0, 0x10};
const uint8_t nw_other[6] = {0x02, 0, 0x5e, 0, 0, 0x20};
const uint8_t nw_all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static struct rte_mempool *pool;

static uint64_t
random64(void *ctx)
{
	struct nw *w = ctx;

	/* splitmix64 */
	uint64_t z = (w->seed += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void
transmit(void *ctx, unsigned port, struct rte_mbuf *m)
{
	struct nw *w = ctx;

	rte_mbuf_sanity_check(m, 1);
	if (w->nsent == NW_SENT) {
		w->overflow++;
		rte_pktmbuf_free(m);
		return;
	}
	w->sent_port[w->nsent] = (uint8_t)port;
	w->sent[w->nsent++] = m;
}

static void
replicate(void *ctx, unsigned port, const struct rte_mbuf *m)
{
	struct nw *w = ctx;

	qp_net_learn(w->twin, port, rte_pktmbuf_copy(m, w->pool, 0, UINT32_MAX));
}

struct qp_ipaddr
nw_addr(const char *text)
{
	struct qp_ipaddr a;
	uint32_t v4;

	if (inet_pton(AF_INET, text, &v4) == 1)
		return qp_ipaddr_v4(v4);
	cr_assert(inet_pton(AF_INET6, text, &a) == 1, "%s", text);
	return a;
}

static unsigned
mapped_prefix(const char *addr, unsigned prefix)
{
	return strchr(addr, ':') == NULL ? 96 + prefix : prefix;
}

void
nw_set_addr(struct nw *w, unsigned i, const char *addr, unsigned prefix, unsigned port)
{
	struct qp_ipaddr a = nw_addr(addr);

	w->conf.addr[i] = (struct qp_nic_addr) {.prefix = (uint8_t)mapped_prefix(addr, prefix), .port = (uint8_t)port};
	memcpy(&w->conf.addr[i].addr, &a, sizeof(a));
	w->conf.naddrs = RTE_MAX(w->conf.naddrs, i + 1);
}

void
nw_set_route(struct nw *w, unsigned i, const char *dest, unsigned prefix, const char *via, unsigned port)
{
	struct qp_ipaddr d = nw_addr(dest), v = nw_addr(via);

	w->conf.route[i] = (struct qp_nic_route) {.prefix = (uint8_t)mapped_prefix(dest, prefix), .port = (uint8_t)port};
	memcpy(&w->conf.route[i].dest, &d, sizeof(d));
	memcpy(&w->conf.route[i].via, &v, sizeof(v));
	w->conf.nroutes = RTE_MAX(w->conf.nroutes, i + 1);
}

void
nw_configure(struct nw *w, bool fresh)
{
	w->conf.seq += 2;
	cr_assert(qp_net_poll_config(w->net, &w->conf, fresh));
	if (w->twin != NULL)
		cr_assert(qp_net_poll_config(w->twin, &w->conf, fresh));
}

struct nw *
nw_new(bool twin)
{
	const struct qp_net_port ports[] = {{.mtu = 1500}, {.mtu = 9000}};
	struct qp_net_port with_mac[2];
	struct nw *w = calloc(1, sizeof(*w));
	struct qp_net_env env;

	if (pool == NULL) {
		test_eal_init();
		pool = test_pool("net", 4095, RTE_PKTMBUF_HEADROOM + 2048);
	}
	memcpy(with_mac, ports, sizeof(ports));
	for (unsigned i = 0; i < 2; i++)
		memcpy(with_mac[i].mac, nw_mac[i], 6);
	w->pool = pool;
	w->now_ns = 1000 * QP_NET_SEC_NS;
	w->wheel = qp_wheel_new(w->now_ns);
	env = (struct qp_net_env) {.now_ns = &w->now_ns, .wheel = w->wheel, .pool = pool,
		.transmit = transmit, .transmit_ctx = w, .random = random64, .random_ctx = w};
	qp_net_config_default(&w->cfg);
	w->twin = twin ? qp_net_new(&env, &w->cfg, with_mac, 2) : NULL;
	if (twin) {
		env.replicate = replicate;
		env.replicate_ctx = w;
	}
	w->net = qp_net_new(&env, &w->cfg, with_mac, 2);
	cr_assert_not_null(w->net);
	w->conf.nlinks = 2;
	w->conf.link[0].mtu = 1500;
	w->conf.link[1].mtu = 9000;
	nw_set_addr(w, 0, "192.0.2.1", 24, 0);
	nw_set_addr(w, 1, "2001:db8::1", 64, 0);
	nw_set_addr(w, 2, "198.51.100.1", 25, 1);
	nw_set_route(w, 0, "0.0.0.0", 0, "192.0.2.254", 0);
	nw_set_route(w, 1, "::", 0, "2001:db8::fe", 0);
	nw_configure(w, false);
	return w;
}

void
nw_free(struct nw *w)
{
	nw_forget(w);
	qp_net_free(w->net);
	qp_net_free(w->twin);
	qp_wheel_free(w->wheel);
	cr_assert_eq(rte_mempool_in_use_count(pool), 0);
	free(w);
}

void
nw_advance_ms(struct nw *w, unsigned ms)
{
	for (unsigned i = 0; i < ms; i++) {
		w->now_ns += 1000000;
		(void)qp_wheel_advance(w->wheel, w->now_ns);
	}
}

unsigned
nw_hex(const char *hex, uint8_t *out, unsigned room)
{
	unsigned n = 0;

	for (; *hex != '\0'; hex++) {
		unsigned byte;

		if (isspace((unsigned char)*hex))
			continue;
		cr_assert(sscanf(hex, "%2x", &byte) == 1 && n < room, "%s", hex);
		out[n++] = (uint8_t)byte;
		hex++;
	}
	return n;
}

struct rte_mbuf *
nw_frame(struct nw *w, const void *bytes, unsigned len)
{
	struct rte_mbuf *head = rte_pktmbuf_alloc(w->pool);

	for (unsigned at = 0; at < len;) {
		struct rte_mbuf *m = at == 0 ? head : rte_pktmbuf_alloc(w->pool);
		unsigned n = RTE_MIN(len - at, 2048u);

		memcpy(rte_pktmbuf_append(m, (uint16_t)n), (const char *)bytes + at, n);
		if (at > 0)
			rte_pktmbuf_chain(head, m);
		at += n;
	}
	return head;
}

bool
nw_in(struct nw *w, unsigned port, const void *bytes, unsigned len)
{
	struct rte_mbuf *m = nw_frame(w, bytes, len);

	if (qp_net_input(w->net, port, m, &w->info) == QP_NET_CONSUMED)
		return false;
	rte_mbuf_sanity_check(m, 1);
	rte_pktmbuf_free(m);
	return true;
}

bool
nw_in_hex(struct nw *w, unsigned port, const char *hex)
{
	uint8_t bytes[2048];

	return nw_in(w, port, bytes, nw_hex(hex, bytes, sizeof(bytes)));
}

void
nw_out(struct nw *w, const char *from, const char *to, unsigned len, unsigned mark)
{
	struct qp_flow flow = {.local = nw_addr(from), .remote = nw_addr(to)};
	struct rte_mbuf *m = rte_pktmbuf_alloc(w->pool);
	uint32_t ifindex = htonl(QP_NIC_IFINDEX(mark));
	struct rte_udp_hdr *udp = (void *)rte_pktmbuf_append(m, (uint16_t)(sizeof(*udp) + len));

	*udp = (struct rte_udp_hdr) {.src_port = htons(1), .dst_port = htons(2),
		.dgram_len = htons((uint16_t)(sizeof(*udp) + len))};
	memset(udp + 1, 0x55, len);
	m->l4_len = sizeof(*udp);
	flow.l2.peer_mac[0] = QP_CLS_MARK_0;
	flow.l2.peer_mac[1] = QP_CLS_MARK_LINK;
	memcpy(flow.l2.peer_mac + 2, &ifindex, 4);
	qp_ip_encap(m, &flow, IPPROTO_UDP, 0, nw_mac[0]);
	qp_net_output(w->net, m);
}

struct rte_mbuf *
nw_take(struct nw *w, unsigned *port)
{
	struct rte_mbuf *m = w->sent[0];

	if (w->nsent == 0)
		return NULL;
	if (port != NULL)
		*port = w->sent_port[0];
	w->nsent--;
	memmove(w->sent, w->sent + 1, w->nsent * sizeof(w->sent[0]));
	memmove(w->sent_port, w->sent_port + 1, w->nsent);
	return m;
}

void
nw_expect_hex(struct nw *w, unsigned port, const char *hex)
{
	uint8_t want[2048];
	unsigned len = nw_hex(hex, want, sizeof(want)), by;
	struct rte_mbuf *m = nw_take(w, &by);

	cr_assert_not_null(m, "nothing was sent");
	cr_assert_eq(by, port);
	cr_assert_eq(m->pkt_len, len, "%u bytes instead of %u", m->pkt_len, len);
	for (unsigned i = 0; i < len; i++)
		cr_assert_eq(rte_pktmbuf_mtod(m, uint8_t *)[i], want[i], "byte %u is %02x, not %02x",
			i, rte_pktmbuf_mtod(m, uint8_t *)[i], want[i]);
	rte_pktmbuf_free(m);
}

void
nw_expect_none(struct nw *w)
{
	cr_assert_eq(w->nsent, 0, "%u frames were sent", w->nsent);
}

void
nw_forget(struct nw *w)
{
	while (w->nsent > 0)
		rte_pktmbuf_free(nw_take(w, NULL));
}

enum qp_neigh_state
nw_state(struct nw *w, const char *addr)
{
	const struct qp_ipaddr a = nw_addr(addr);
	struct qp_net_neigh *n = qp_neigh_find(w->net, 0, &a);

	return n != NULL ? (enum qp_neigh_state)n->state : QP_NEIGH_NONE;
}

void
nw_arp(struct nw *w, unsigned port, unsigned op, const uint8_t from[6], const char *sender,
	const uint8_t to[6], const char *target)
{
	struct qp_ipaddr s = nw_addr(sender), t = nw_addr(target);
	uint8_t frame[60] = {0};
	struct rte_ether_hdr *eth = (void *)frame;
	struct rte_arp_hdr *arp = (void *)(eth + 1);

	memcpy(&eth->dst_addr, to, 6);
	memcpy(&eth->src_addr, from, 6);
	eth->ether_type = htons(RTE_ETHER_TYPE_ARP);
	*arp = (struct rte_arp_hdr) {.arp_hardware = htons(1), .arp_protocol = htons(0x800),
		.arp_hlen = 6, .arp_plen = 4, .arp_opcode = htons((uint16_t)op)};
	memcpy(&arp->arp_data.arp_sha, from, 6);
	arp->arp_data.arp_sip = s.w[3];
	arp->arp_data.arp_tip = t.w[3];
	cr_assert_not(nw_in(w, port, frame, sizeof(frame)));
}

bool
nw_in_icmp6(struct nw *w, unsigned port, const char *hex)
{
	uint8_t frame[2048];
	unsigned len = nw_hex(hex, frame, sizeof(frame));
	const uint16_t payload = (uint16_t)(len - 54);
	uint32_t sum = payload + IPPROTO_ICMPV6;

	frame[18] = (uint8_t)(payload >> 8);
	frame[19] = (uint8_t)payload;
	frame[56] = frame[57] = 0;
	for (unsigned i = 22; i < len; i += 2)
		sum += (uint32_t)frame[i] << 8 | (i + 1 < len ? frame[i + 1] : 0);
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	frame[56] = (uint8_t)(~sum >> 8);
	frame[57] = (uint8_t)~sum;
	return nw_in(w, port, frame, len);
}
