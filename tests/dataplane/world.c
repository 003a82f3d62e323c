/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world of world.h: its clock, its network, the gateway in it, and the
 * control plane that the tests play.
 */
#include "tests/dataplane/world.h"

#include <netinet/udp.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <string.h>
#include <unistd.h>

#include "common/cert.h"
#include "common/wire.h"
#include "common/classifier.h"
#include "dataplane/ip.h"
#include "dataplane/memory.h"
#include "dataplane/udp/udp.h"
#include "tests/dataplane/client.h"
#include "tests/dataplane/golden.h"
#include "tests/dataplane/outside.h"
#include "tests/tcp/eal.h"

#if TEST_ASAN
#include <sanitizer/lsan_interface.h>
#endif

#define GRO_MOST 16u
#define GRO_BYTES 60000u

static const uint8_t gateway_mac[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t client_mac[6] = {2, 0, 0, 0, 0, 2};

void
world_init(void)
{
#if TEST_ASAN
	__lsan_disable(); /* EAL keeps what it takes */
#endif
	test_eal_init();
	must(qp_quic_init() == 0);
#if TEST_ASAN
	__lsan_enable();
#endif
}

void
world_config_default(struct world_config *cfg)
{
	*cfg = (struct world_config) {.udp_segmentation = true, .seed = 1, .tcp_window = 65536,
		.stream_window = 256 << 10};
	qp_quic_config_default(&cfg->quic);
	cfg->quic.server_id = 0x3039;
	cfg->quic.lcore = 3;
	memset(cfg->quic.reset_key, 0x5a, sizeof(cfg->quic.reset_key));
}

/* xorshift64*: good enough to lose packets by. */
uint64_t
world_random(struct world *w)
{
	w->random ^= w->random >> 12;
	w->random ^= w->random << 25;
	w->random ^= w->random >> 27;
	return w->random * UINT64_C(2685821657736338717);
}

uint64_t
world_random_of(void *w)
{
	return world_random(w);
}

struct qp_flow
world_flow(uint16_t port)
{
	struct qp_flow f = {
		.local = qp_ipaddr_v4(htonl(0xc0000201)),
		.remote = qp_ipaddr_v4(htonl(0xc6336407)),
		.lport_be = htons(WORLD_QUIC_PORT),
		.rport_be = htons(port),
	};

	memcpy(f.l2.peer_mac, client_mac, sizeof(client_mac));
	return f;
}

struct qp_flow
world_flow6(uint16_t port)
{
	struct qp_flow f = world_flow(port);

	f.local = (struct qp_ipaddr) {.b = {0x20, 1, 0xd, 0xb8, [15] = 1}};
	f.remote = (struct qp_ipaddr) {.b = {0x20, 1, 0xd, 0xb8, 7, [15] = 7}};
	return f;
}

/* The network. */

void
world_post(struct world *w, struct world_packet *p)
{
	struct world_packet *q;

	p->due_ns = p->due_ns != 0 ? p->due_ns : w->now_ns + w->net.delay_ns;
	TAILQ_FOREACH_REVERSE(q, &w->packets, world_packets, link)
	if (q->due_ns <= p->due_ns) {
		TAILQ_INSERT_AFTER(&w->packets, q, p, link);
		return;
	}
	TAILQ_INSERT_HEAD(&w->packets, p, link);
}

static bool
chance(struct world *w, unsigned per_mille)
{
	return per_mille != 0 && world_random(w) % 1000 < per_mille;
}

static struct world_packet *
packet_new(enum world_to to, const struct qp_flow *flow, uint8_t tos, const void *data, size_t len)
{
	struct world_packet *p = calloc(1, sizeof(*p) + len);

	must(p != NULL);
	p->to = to;
	p->flow = *flow;
	p->tos = tos;
	p->len = len;
	memcpy(p->data, data, len);
	return p;
}

static void
post_datagram(struct world *w, struct world_packet *p)
{
	if (p->len > w->net.max_udp_payload || chance(w, w->net.loss)) {
		w->net.lost++;
		free(p);
		return;
	}
	if (chance(w, w->net.duplication))
		world_post(w, packet_new(p->to, &p->flow, p->tos, p->data, p->len));
	if (chance(w, w->net.reordering))
		p->due_ns = w->now_ns + w->net.delay_ns + world_random(w) % (20 * WORLD_MS);
	if (w->net.hold && p->to == TO_GATEWAY)
		p->due_ns = UINT64_MAX;
	world_post(w, p);
}

void
world_send(struct world *w, const struct qp_flow *from, uint8_t tos, const void *data, size_t len)
{
	struct world_packet *p = packet_new(TO_GATEWAY, from, tos, data, len);

	if (w->net.tap != NULL)
		w->net.tap(w->net.tap_ctx, p->data, len);
	post_datagram(w, p);
}

void
world_let_go(struct world *w)
{
	struct world_packet *p, *next;
	struct world_packets held = TAILQ_HEAD_INITIALIZER(held);

	w->net.hold = false;
	for (p = TAILQ_FIRST(&w->packets); p != NULL; p = next) {
		next = TAILQ_NEXT(p, link);
		if (p->due_ns != UINT64_MAX)
			continue;
		TAILQ_REMOVE(&w->packets, p, link);
		TAILQ_INSERT_TAIL(&held, p, link);
	}
	while ((p = TAILQ_FIRST(&held)) != NULL) {
		TAILQ_REMOVE(&held, p, link);
		p->due_ns = 0;
		world_post(w, p);
	}
}

struct world_packet *
world_take_stray(struct world *w)
{
	struct world_packet *p = TAILQ_FIRST(&w->stray);

	if (p != NULL)
		TAILQ_REMOVE(&w->stray, p, link);
	return p;
}

/* The gateway's port: out. */

static struct client *
client_at(struct world *w, const struct qp_flow *flow)
{
	struct client *c;

	TAILQ_FOREACH (c, &w->clients, link)
		if (c->flow.rport_be == flow->rport_be &&
			qp_ipaddr_equal(&c->flow.remote, &flow->remote))
			return c;
	return NULL;
}

/* An answer leaves by the way that the datagrams of its path come in by. */
static void
check_addresses(struct world *w, const struct qp_flow *flow, const uint8_t *frame)
{
	const struct rte_ether_hdr *eth = (const void *)frame;
	const struct client *c = client_at(w, flow);
	const uint8_t *dst = c != NULL ? c->flow.l2.peer_mac : client_mac;

	must(memcmp(&eth->src_addr, gateway_mac, 6) == 0);
	must(memcmp(&eth->dst_addr, dst, 6) == 0);
	must(flow->lport_be == htons(WORLD_QUIC_PORT));
}

/* IPv4 or IPv6 source and destination of a frame from the gateway, and its UDP ports. */
static struct qp_flow
flow_out(const struct rte_mbuf *m, const uint8_t *frame)
{
	struct qp_flow f = {0};
	const struct udphdr *udp = (const void *)(frame + m->l2_len + m->l3_len);

	if (m->ol_flags & RTE_MBUF_F_TX_IPV4) {
		memcpy(&f.local.w[3], frame + m->l2_len + 12, 4);
		memcpy(&f.remote.w[3], frame + m->l2_len + 16, 4);
		f.local.w[2] = f.remote.w[2] = htonl(0xffff);
	} else {
		memcpy(&f.local, frame + m->l2_len + 8, 16);
		memcpy(&f.remote, frame + m->l2_len + 24, 16);
	}
	f.lport_be = udp->source;
	f.rport_be = udp->dest;
	memcpy(f.l2.peer_mac, frame, 6);
	return f;
}

static void
datagrams_out(struct world *w, struct rte_mbuf *m)
{
	static uint8_t buf[65536 + 128];
	const size_t head = m->l2_len + m->l3_len + sizeof(struct udphdr);
	const uint8_t *frame = rte_pktmbuf_read(m, 0, m->pkt_len, buf);
	size_t step = m->ol_flags & RTE_MBUF_F_TX_UDP_SEG ? m->tso_segsz : m->pkt_len;
	struct qp_flow flow = flow_out(m, frame);
	const struct udphdr *udp = (const void *)(frame + m->l2_len + m->l3_len);
	uint8_t tos = m->ol_flags & RTE_MBUF_F_TX_IPV4 ? frame[m->l2_len + 1] : 0;
	unsigned count = 0;

	must(frame != NULL && step > 0 && m->pkt_len > head);
	must(ntohs(udp->len) == m->pkt_len - head + sizeof(*udp));
	check_addresses(w, &flow, frame);
	for (size_t off = head; off < m->pkt_len; off += step, count++) {
		size_t len = RTE_MIN(step, m->pkt_len - off);

		post_datagram(w, packet_new(TO_CLIENT, &flow, tos, frame + off, len));
	}
	w->super_frames_out += count > 1;
	w->largest_super = RTE_MAX(w->largest_super, (uint64_t)count);
	must(w->cfg.udp_segmentation || count == 1);
}

void
world_transmit(void *ctx, struct rte_mbuf *m)
{
	struct world *w = ctx;

	rte_mbuf_sanity_check(m, 1);
	w->frames_out++;
	if ((m->ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_UDP_CKSUM) {
		if (w->port_room != 0 && w->port_taken++ >= w->port_room)
			w->port_dropped++;
		else
			datagrams_out(w, m);
		rte_pktmbuf_free(m);
		return;
	}
	outside_receive(w, m);
}

/* Like the worker's: half of the room is for those who do not ask. */
static bool
port_full(void *ctx)
{
	const struct world *w = ctx;

	return w->port_room != 0 && w->port_taken >= w->port_room / 2;
}

/* The gateway's port: in. */

static bool
append(struct world *w, struct rte_mbuf *head, const uint8_t *data, size_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_lastseg(head);

	while (len > 0) {
		size_t n = RTE_MIN(len, (size_t)rte_pktmbuf_tailroom(m));

		memcpy(rte_pktmbuf_mtod_offset(m, uint8_t *, m->data_len), data, n);
		m->data_len += n;
		head->pkt_len += n;
		data += n;
		len -= n;
		if (len == 0)
			break;
		m->next = rte_pktmbuf_alloc(w->pool);
		if (m->next == NULL)
			return false;
		m = m->next;
		head->nb_segs++;
	}
	return true;
}

static void
input(struct world *w, struct rte_mbuf *m, const struct world_packet *p, uint16_t segsz)
{
	struct udphdr *udp = (struct udphdr *)rte_pktmbuf_prepend(m, sizeof(*udp));
	struct qp_flow back = {p->flow.remote, p->flow.local, p->flow.rport_be, p->flow.lport_be,
		.l2 = {{2, 0, 0, 0, 0, 1}}};
	struct qp_packet pkt;

	udp->source = back.lport_be;
	udp->dest = back.rport_be;
	udp->len = htons((uint16_t)m->pkt_len);
	udp->check = 0;
	m->l4_len = sizeof(*udp);
	if (w->net.link_mtu != 0) /* as common/classifier.h marks it */
		memcpy(back.l2.peer_mac, (const uint8_t[6]) {QP_CLS_MARK_0, QP_CLS_MARK_MTU, 0, 0,
			(uint8_t)(w->net.link_mtu >> 8), (uint8_t)w->net.link_mtu}, 6);
	qp_ip_encap(m, &back, IPPROTO_UDP, p->tos, p->flow.l2.peer_mac);
	m->ol_flags = RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	if (segsz != 0) {
		m->ol_flags |= RTE_MBUF_F_RX_LRO;
		m->tso_segsz = segsz;
	}
	must(qp_ip_parse(m, &pkt) == QP_IP_OK);
	qp_quic_input(w->quic, m, &pkt);
}

static bool
joins(const struct world *w, const struct world_packet *first, const struct world_packet *p)
{
	return p != NULL && p->to == TO_GATEWAY && p->due_ns <= w->now_ns &&
	       p->flow.rport_be == first->flow.rport_be && p->tos == first->tos &&
	       qp_ipaddr_equal(&p->flow.remote, &first->flow.remote) && p->len <= first->len;
}

/* One datagram, or (with GRO) a run of equal ones and a last shorter one. */
static void
deliver_to_gateway(struct world *w, struct world_packet *first)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(w->pool);
	bool ok = m != NULL && append(w, m, first->data, first->len);
	struct world_packet *p;
	unsigned n = 1;

	while (w->net.gro && ok && n < GRO_MOST && joins(w, first, p = TAILQ_FIRST(&w->packets)) &&
		m->pkt_len + p->len < GRO_BYTES) {
		size_t len = p->len;

		TAILQ_REMOVE(&w->packets, p, link);
		ok = append(w, m, p->data, len);
		free(p);
		n++;
		if (len < first->len)
			break;
	}
	if (ok)
		input(w, m, first, n > 1 ? (uint16_t)first->len : 0);
	else
		rte_pktmbuf_free(m);
	free(first);
}

static void
tcp_to_gateway(struct world *w, struct world_packet *p)
{
	struct qp_packet pkt;

	must(qp_ip_parse(p->frame, &pkt) == QP_IP_OK);
	qp_tcp_input(w->tcp, p->frame, &pkt);
	free(p);
}

static void
deliver(struct world *w, struct world_packet *p)
{
	struct client *c;

	switch (p->to) {
	case TO_GATEWAY:
		deliver_to_gateway(w, p);
		return;
	case TCP_TO_GATEWAY:
		tcp_to_gateway(w, p);
		return;
	case TCP_TO_OUTSIDE:
		outside_deliver(w, p->frame);
		free(p);
		return;
	case TO_CLIENT:
		c = client_at(w, &p->flow);
		if (c == NULL) {
			TAILQ_INSERT_TAIL(&w->stray, p, link);
			return;
		}
		client_receive(c, p);
		free(p);
		return;
	}
}

static void
deliver_due(struct world *w)
{
	struct world_packet *p;

	while ((p = TAILQ_FIRST(&w->packets)) != NULL && p->due_ns <= w->now_ns) {
		TAILQ_REMOVE(&w->packets, p, link);
		deliver(w, p);
	}
}

/* The control plane. */

static bool
cp_message(void *ctx, const struct qp_msg *msg)
{
	struct world_cp *cp = &((struct world *)ctx)->cp;

	must(msg->version == QP_IPC_VERSION && (msg->id != 0 || msg->type > QP_MSG_SHUTDOWN));
	if (cp->full && msg->type == QP_MSG_AUTH_BEGIN)
		return false;
	if (cp->len == cp->cap) {
		cp->cap = cp->cap != 0 ? 2 * cp->cap : 64;
		cp->log = realloc(cp->log, cp->cap * sizeof(*cp->log));
		must(cp->log != NULL);
	}
	cp->log[cp->len++] = *msg;
	return true;
}

const struct qp_msg *
cp_find(const struct world *w, enum qp_msg_type type, unsigned nth)
{
	for (size_t i = 0; i < w->cp.len; i++)
		if (w->cp.log[i].type == type && nth-- == 0)
			return &w->cp.log[i];
	return NULL;
}

unsigned
cp_count(const struct world *w, enum qp_msg_type type)
{
	unsigned n = 0;

	for (size_t i = 0; i < w->cp.len; i++)
		n += w->cp.log[i].type == type;
	return n;
}

struct qp_msg
cp_message_of(enum qp_msg_type type, uint64_t id)
{
	return (struct qp_msg) {.type = type, .version = QP_IPC_VERSION, .id = id};
}

void
cp_send(struct world *w, const struct qp_msg *msg)
{
	qp_tunnels_message(w->tunnels, msg);
}

void
cp_reply(struct world *w, uint64_t id, const void *bytes, size_t len)
{
	struct qp_msg m = cp_message_of(QP_MSG_AUTH_REPLY, id);

	m.auth_bytes.len = (uint16_t)len;
	memcpy(m.auth_bytes.bytes, bytes, len);
	qp_tunnels_message(w->tunnels, &m);
}

void
cp_verdict(struct world *w, uint64_t id, bool accepted)
{
	struct qp_msg m = cp_message_of(QP_MSG_VERDICT, id);

	m.verdict.accepted = accepted;
	m.verdict.identity = w->cp.identity;
	qp_tunnels_message(w->tunnels, &m);
}

static void
forward_answer(struct world *w, uint64_t id, enum qp_msg_type type, uint16_t port, uint8_t status,
	const char *text)
{
	struct qp_msg m = cp_message_of(type, id);

	m.forward_answer.port = port;
	m.forward_answer.protocol = QP_WIRE_TCP;
	m.forward_answer.status = status;
	m.forward_answer.message_len = (uint16_t)strlen(text);
	memcpy(m.forward_answer.message, text, strlen(text));
	qp_tunnels_message(w->tunnels, &m);
}

void
cp_grant(struct world *w, uint64_t id, uint16_t port)
{
	char text[64];

	snprintf(text, sizeof(text), "Listening on port %u", port);
	forward_answer(w, id, QP_MSG_FORWARD_GRANT, port, QP_WIRE_SUCCESS, text);
}

void
cp_deny(struct world *w, uint64_t id, uint8_t status, const char *text)
{
	forward_answer(w, id, QP_MSG_FORWARD_DENY, 0, status, text);
}

void
cp_local_deny(struct world *w, uint64_t id, uint8_t status, const char *text)
{
	forward_answer(w, id, QP_MSG_LOCAL_DENY, 0, status, text);
}

void
cp_local_grant(struct world *w, uint64_t id, const uint8_t *hosts, uint8_t n)
{
	static const char text[] = "Forwarding";
	struct qp_msg m = {.type = QP_MSG_LOCAL_GRANT, .version = QP_IPC_VERSION, .id = id};
	struct qp_msg_local_grant *g = &m.local_grant;
	const struct qp_ipaddr from = qp_ipaddr_v4(htonl(0xc0000201));

	g->port = 8080;
	g->protocol = QP_WIRE_TCP;
	g->source_first = 40000;
	g->source_count = 1000;
	g->message_len = sizeof(text) - 1;
	memcpy(g->message, text, g->message_len);
	for (g->naddrs = 0; g->naddrs < n; g->naddrs++) {
		struct qp_msg_local_addr *a = &g->addr[g->naddrs];
		const struct qp_ipaddr to = qp_ipaddr_v4(htonl(0xcb007100u | hosts[g->naddrs]));

		memcpy(a->addr, &to, sizeof(a->addr));
		memcpy(a->source, &from, sizeof(a->source));
		a->ifindex = 7;
		a->mtu = 1500;
	}
	qp_tunnels_message(w->tunnels, &m);
}

static void
cp_answer_one(struct world *w, const struct qp_msg *m)
{
	switch (m->type) {
	case QP_MSG_AUTH_BEGIN:
		if (m->auth_begin.len == w->step1_len &&
			memcmp(m->auth_begin.bytes, w->step1, w->step1_len) == 0)
			cp_reply(w, m->id, w->step2, w->step2_len);
		else
			cp_verdict(w, m->id, false);
		break;
	case QP_MSG_AUTH_FINISH:
		cp_verdict(w, m->id,
			m->auth_bytes.len == w->step3_len &&
				memcmp(m->auth_bytes.bytes, w->step3, w->step3_len) == 0);
		break;
	case QP_MSG_FORWARD_REQUEST:
		if (w->cp.refuse_ports)
			cp_deny(w, m->id, QP_WIRE_PORT_IN_USE, "");
		else
			cp_grant(w, m->id, m->forward.port);
		break;
	case QP_MSG_LOCAL_REQUEST:
		if (w->cp.silent_locals)
			break;
		if (w->cp.nlocal_hosts > 0)
			cp_local_grant(w, m->id, w->cp.local_hosts, w->cp.nlocal_hosts);
		else
			cp_local_deny(w, m->id, QP_WIRE_PERMISSION_DENIED, "not allowed");
		break;
	default:
		break;
	}
}

static void
cp_turn(struct world *w)
{
	while (!w->cp.manual && w->cp.answered < w->cp.len) {
		struct qp_msg m = w->cp.log[w->cp.answered++]; /* the log may move meanwhile */

		cp_answer_one(w, &m);
	}
}

/* Time. */

static uint64_t
next_event(struct world *w)
{
	struct world_packet *p = TAILQ_FIRST(&w->packets);
	uint64_t at = RTE_MIN(qp_wheel_next_ns(w->wheel), outside_next_ns(w));
	struct client *c;

	if (p != NULL)
		at = RTE_MIN(at, p->due_ns);
	TAILQ_FOREACH (c, &w->clients, link)
		at = RTE_MIN(at, client_next_ns(c));
	return at;
}

/* As the worker does. */
static enum qp_mem_level
mem_level(const struct world *w)
{
	unsigned left = rte_mempool_avail_count(w->pool);

	if (left > WORLD_POOL / 2)
		return QP_MEM_PLENTY;
	return left > WORLD_POOL / 8 ? QP_MEM_TIGHT : QP_MEM_SCARCE;
}

void
world_turn(struct world *w)
{
	struct client *c;

	if (!w->force_mem_level)
		w->mem_level = mem_level(w);
	deliver_due(w);
	qp_wheel_advance(w->wheel, w->now_ns);
	cp_turn(w);
	w->more = outside_turn(w);
	qp_tunnels_flush(w->tunnels);
	qp_tcp_flush(w->tcp);
	w->port_taken = 0;
	w->more |= qp_quic_flush(w->quic) || qp_tunnels_busy(w->tunnels);
	TAILQ_FOREACH (c, &w->clients, link)
		client_turn(c);
}

void
world_step(struct world *w, uint64_t limit_ns)
{
	uint64_t next = w->more ? 0 : RTE_MIN(next_event(w), limit_ns);

	w->now_ns = RTE_MAX(w->now_ns + 1000, next); /* a turn takes a microsecond */
	world_turn(w);
}

void
world_run(struct world *w, uint64_t ns)
{
	uint64_t limit = w->now_ns + ns;

	world_turn(w);
	while (w->now_ns < limit)
		world_step(w, limit);
}

/* Its life. */

static void
make_folder(struct world *w)
{
	snprintf(w->folder, sizeof(w->folder), "/tmp/quicport-test-XXXXXX");
	must(mkdtemp(w->folder) != NULL);
}

static void
remove_folder(struct world *w)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/cert.pem", w->folder);
	unlink(path);
	snprintf(path, sizeof(path), "%s/key.pem", w->folder);
	unlink(path);
	rmdir(w->folder);
}

static void
start_quic(struct world *w)
{
	struct qp_quic_env env = {
		.now_ns = &w->now_ns,
		.wheel = w->wheel,
		.pool = w->pool,
		.mem_level = &w->mem_level,
		.udp_segmentation = w->cfg.udp_segmentation,
		.transmit = world_transmit,
		.full = port_full,
		.transmit_ctx = w,
		.counters = &w->counters,
	};
	struct qp_quic_config cfg = w->cfg.quic;
	char cert[96], key[96];
	struct qp_errmsg msg = {""};

	memcpy(env.own_mac, gateway_mac, sizeof(gateway_mac));
	snprintf(cert, sizeof(cert), "%s/cert.pem", w->folder);
	snprintf(key, sizeof(key), "%s/key.pem", w->folder);
	cfg.cert_file = cert;
	cfg.key_file = key;
	if (qp_cert_ensure(cert, key, NULL, &msg) < 0 ||
		qp_quic_new(&env, &cfg, &qp_tunnel_quic_ops, w->tunnels, &w->quic, &msg) < 0)
		fprintf(stderr, "%s\n", msg.text);
	must(w->quic != NULL);
}

/* Nobody sends to it here: tests/udp has a world for that. */
static void
start_udp(struct world *w)
{
	const struct qp_udp_env env = {
		.now_ns = &w->now_ns,
		.wheel = w->wheel,
		.pool = w->pool,
		.indirect_pool = w->indirect,
		.transmit = world_transmit,
		.transmit_ctx = w,
		.mem_level = &w->mem_level,
		.random = world_random_of,
		.random_ctx = w,
	};
	struct qp_udp_config cfg;

	qp_udp_config_default(&cfg);
	w->udp = qp_udp_new(&env, &cfg);
	must(w->udp != NULL);
}

static void
start_gateway(struct world *w)
{
	struct qp_tunnels_env env = {
		.now_ns = &w->now_ns,
		.wheel = w->wheel,
		.pool = w->pool,
		.pool_bytes = WORLD_POOL * (RTE_MBUF_DEFAULT_BUF_SIZE - RTE_PKTMBUF_HEADROOM),
		.stream_window = w->cfg.stream_window,
		.max_stream_window = 1 << 20,
		.counters = &w->counters,
		.mem_level = &w->mem_level,
		.audit_conns = true,
		.send = cp_message,
		.send_ctx = w,
	};

	outside_start(w);
	start_udp(w);
	env.tcp = w->tcp;
	env.udp = w->udp;
	w->tunnels = qp_tunnels_new(&env);
	must(w->tunnels != NULL);
	start_quic(w);
}

static void
stop_gateway(struct world *w)
{
	qp_quic_free(w->quic);
	w->quic = NULL;
	must(qp_tunnels_count(w->tunnels) == 0);
	qp_tunnels_free(w->tunnels);
	qp_udp_free(w->udp);
	outside_stop(w);
	must(w->counters.quic_connections == 0);
	must(w->counters.tunnels_active == 0);
	must(w->counters.conns_active == 0);
	must(w->counters.relay_queued_bytes == 0);
}

void
world_restart_gateway(struct world *w)
{
	stop_gateway(w);
	start_gateway(w);
}

struct world *
world_new(const struct world_config *cfg)
{
	struct world *w = calloc(1, sizeof(*w));
	static unsigned worlds;
	char name[32];

	must(w != NULL);
	if (cfg != NULL)
		w->cfg = *cfg;
	else
		world_config_default(&w->cfg);
	w->random = w->cfg.seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	w->now_ns = 1000 * WORLD_S;
	w->wheel = qp_wheel_new(w->now_ns);
	must(w->wheel != NULL);
	snprintf(name, sizeof(name), "world%u", worlds);
	w->pool = test_pool(name, WORLD_POOL, RTE_MBUF_DEFAULT_BUF_SIZE);
	snprintf(name, sizeof(name), "clones%u", worlds++);
	w->indirect = test_pool(name, WORLD_POOL, 0);
	w->net = (struct world_net) {.delay_ns = 5 * WORLD_MS, .max_udp_payload = 1472};
	TAILQ_INIT(&w->packets);
	TAILQ_INIT(&w->stray);
	TAILQ_INIT(&w->clients);
	golden_x25519(w);
	make_folder(w);
	start_gateway(w);
	return w;
}

void
world_drop_frames(struct world *w)
{
	struct world_packet *p, *next;

	for (p = TAILQ_FIRST(&w->packets); p != NULL; p = next) {
		next = TAILQ_NEXT(p, link);
		if (p->frame == NULL)
			continue;
		TAILQ_REMOVE(&w->packets, p, link);
		rte_pktmbuf_free(p->frame);
		free(p);
	}
}

static void
drop_packets(struct world_packets *list)
{
	struct world_packet *p;

	while ((p = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, p, link);
		free(p);
	}
}

void
world_free(struct world *w)
{
	while (!TAILQ_EMPTY(&w->clients))
		client_free(TAILQ_FIRST(&w->clients));
	stop_gateway(w);
	drop_packets(&w->packets);
	drop_packets(&w->stray);
	must(rte_mempool_avail_count(w->pool) == WORLD_POOL);
	must(rte_mempool_avail_count(w->indirect) == WORLD_POOL);
	rte_mempool_free(w->pool);
	rte_mempool_free(w->indirect);
	qp_wheel_free(w->wheel);
	remove_folder(w);
	free(w->cp.log);
	free(w);
#if TEST_ASAN
	must(!__lsan_do_recoverable_leak_check());
#endif
}

uint32_t
world_mbufs_in_use(const struct world *w)
{
	return WORLD_POOL - rte_mempool_avail_count(w->pool);
}

unsigned
world_take_mbufs(struct world *w, struct rte_mbuf **m, unsigned n)
{
	unsigned got = 0;

	while (got < n && (m[got] = rte_pktmbuf_alloc(w->pool)) != NULL)
		got++;
	return got;
}

void
world_give_mbufs(struct rte_mbuf **m, unsigned n)
{
	rte_pktmbuf_free_bulk(m, n);
}
