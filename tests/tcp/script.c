/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packet scripts: literals to frames and back, a virtual clock, an application
 * that notes what it was told.
 */
#include "tests/tcp/script.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_ip.h>
#include <rte_mempool.h>

#include "common/classifier.h"
#include "tests/tcp/check.h"
#include "tests/tcp/eal.h"

#define PEER_ISS 5000000u
#define PORT     80
#define PEER_PORT 40000

static struct rte_mempool *pool, *indirect;

static const uint8_t own_mac[6] = {2, 0, 0, 0, 0, 1}, peer_mac[6] = {2, 0, 0, 0, 0, 2};

void
script_suite_start(void)
{
	test_eal_init();
	pool = test_pool("script", 4095, RTE_PKTMBUF_HEADROOM + 2048);
	indirect = test_pool("script_clones", 4095, 0);
}

/* --- the application --- */

static uint8_t
peer_byte(uint64_t at)
{
	return (uint8_t)(at * 31 + 7);
}

static bool
on_may_connect(void *listener_ctx, const struct qp_flow *flow)
{
	struct script *t = listener_ctx;

	t->asked++;
	cr_assert_neq(flow->rport_be, 0);
	return !t->forbid;
}

static int
on_accept(void *listener_ctx, struct qp_tcp_conn *c)
{
	struct script *t = listener_ctx;

	t->accepted++;
	if (t->refuse)
		return -1;
	t->c = c;
	qp_tcp_set_ctx(c, t);
	return 0;
}

static void
on_connected(void *ctx)
{
	((struct script *)ctx)->connected++;
}

static void
on_receive(void *ctx, struct rte_mbuf *chain)
{
	struct script *t = ctx;
	uint32_t n = chain->pkt_len;

	t->wrong |= n == 0;
	for (const struct rte_mbuf *m = chain; m != NULL; m = m->next) {
		for (uint32_t i = 0; i < m->data_len; i++)
			t->wrong |= *rte_pktmbuf_mtod_offset(m, uint8_t *, i) !=
				    peer_byte(t->received++);
	}
	rte_pktmbuf_free(chain);
	if (!t->hold)
		qp_tcp_consumed(t->c, n);
}

static void
on_receive_end(void *ctx)
{
	((struct script *)ctx)->ends++;
}

static void
on_acked(void *ctx, uint32_t bytes)
{
	((struct script *)ctx)->acked += bytes;
}

static void
on_ended(void *ctx, enum qp_tcp_end why)
{
	struct script *t = ctx;

	t->ended = true;
	t->why = why;
	t->c = NULL;
}

static const struct qp_tcp_ops ops = {
	.may_connect = on_may_connect,
	.accept = on_accept,
	.connected = on_connected,
	.receive = on_receive,
	.receive_end = on_receive_end,
	.acked = on_acked,
	.ended = on_ended,
};

/* --- the stack's surroundings --- */

static void
transmit(void *ctx, struct rte_mbuf *m)
{
	struct script *t = ctx;

	cr_assert(t->out_head - t->out_tail < 256, "more segments than a test can hold");
	rte_mbuf_sanity_check(m, 1);
	t->out[t->out_head++ % 256] = m;
}

static uint64_t
random64(void *ctx)
{
	static uint64_t x = 88172645463325252u;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

void
script_open_cfg(struct script *t)
{
	struct qp_tcp_env env = {
		.now_ns = &t->now_ns,
		.pool = pool,
		.indirect_pool = indirect,
		.own_mac = {2, 0, 0, 0, 0, 1},
		.mtu = 1500,
		.link_mtu_max = 9216,
		.mem_level = &t->mem_level,
		.max_frame_bytes = 65535,
		.transmit = transmit,
		.transmit_ctx = t,
		.random = random64,
	};

	t->now_ns = 50 * QP_SEC_NS;
	t->wheel = env.wheel = qp_wheel_new(t->now_ns);
	t->tcp = qp_tcp_new(&env, &t->cfg);
	t->port = PORT;
	t->peer_port = PEER_PORT;
	cr_assert(qp_tcp_listen(t->tcp, NULL, htons(PORT), &ops, t, &t->listener) == 0);
}

void
script_config(struct qp_tcp_config *cfg)
{
	qp_tcp_config_default(cfg);
	cfg->rcv_buf_bytes = cfg->snd_buf_bytes = 1 << 20;
}

void
script_open(struct script *t)
{
	*t = (struct script) {.v6 = t->v6, .link_mtu = t->link_mtu};
	script_config(&t->cfg);
	t->cfg.max_conns = 256;
	script_open_cfg(t);
}

void
script_ignore(struct script *t)
{
	while (t->out_tail != t->out_head)
		rte_pktmbuf_free(t->out[t->out_tail++ % 256]);
}

void
script_close(struct script *t)
{
	qp_tcp_free(t->tcp);
	qp_wheel_free(t->wheel);
	script_ignore(t);
	cr_expect(rte_mempool_in_use_count(pool) == 0, "%u mbufs leaked",
		rte_mempool_in_use_count(pool));
	cr_expect(rte_mempool_in_use_count(indirect) == 0, "%u clones leaked",
		rte_mempool_in_use_count(indirect));
}

/* --- literals --- */

struct literal {
	uint8_t flags;
	uint32_t seq, len, ack, win, tsval, tsecr;
	uint8_t tos;
	bool has_ack, has_win, has_ts, any_tsecr, has_tos;
	char cookie; /* the first letter of "good" and its like */
	struct qp_tcp_options opt;
};

static uint8_t
flag_of(char ch)
{
	switch (ch) {
	case 'S':
		return RTE_TCP_SYN_FLAG;
	case 'A':
		return RTE_TCP_ACK_FLAG;
	case 'F':
		return RTE_TCP_FIN_FLAG;
	case 'R':
		return RTE_TCP_RST_FLAG;
	case 'U':
		return RTE_TCP_URG_FLAG;
	case 'P':
		return RTE_TCP_PSH_FLAG;
	case 'E':
		return RTE_TCP_ECE_FLAG;
	case 'W':
		return RTE_TCP_CWR_FLAG;
	case '.':
		return 0;
	default:
		cr_assert(false, "unknown flag %c in a literal", ch);
		return 0;
	}
}

static struct literal
parse(const char *text)
{
	struct literal l = {0};
	char copy[256], *save, *word;

	snprintf(copy, sizeof(copy), "%s", text);
	word = strtok_r(copy, " ", &save);
	for (; *word; word++)
		l.flags |= flag_of(*word);
	word = strtok_r(NULL, " ", &save);
	cr_assert(sscanf(word, "%u+%u", &l.seq, &l.len) >= 1, "no sequence number in \"%s\"", text);
	while ((word = strtok_r(NULL, " ", &save)) != NULL) {
		const char *value = strcmp(word, "sackok") != 0 ? strtok_r(NULL, " ", &save) : "";

		cr_assert(value != NULL, "\"%s\" ends after %s", text, word);
		if (strcmp(word, "ack") == 0) {
			l.has_ack = true;
			l.ack = (uint32_t)strtoul(value, NULL, 10);
		} else if (strcmp(word, "win") == 0) {
			l.has_win = true;
			l.win = (uint32_t)strtoul(value, NULL, 10);
		} else if (strcmp(word, "mss") == 0) {
			l.opt.has_mss = true;
			l.opt.mss = (uint16_t)atoi(value);
		} else if (strcmp(word, "ws") == 0) {
			l.opt.has_wscale = true;
			l.opt.wscale = (uint8_t)atoi(value);
		} else if (strcmp(word, "sackok") == 0) {
			l.opt.sack_permitted = true;
		} else if (strcmp(word, "ts") == 0) {
			const char *slash = strchr(value, '/');

			l.has_ts = l.opt.has_ts = true;
			l.opt.tsval = (uint32_t)strtoul(value, NULL, 10);
			l.any_tsecr = slash[1] == '_';
			l.opt.tsecr = (uint32_t)strtoul(slash + 1, NULL, 10);
		} else if (strcmp(word, "tfo") == 0) {
			l.cookie = value[0];
			l.opt.has_fastopen = true;
			l.opt.fastopen_len = l.cookie == 'a' ? 0 : 8;
		} else if (strcmp(word, "uto") == 0) {
			l.opt.has_uto = true;
			l.opt.uto_s = (uint32_t)atoi(value);
		} else if (strcmp(word, "tos") == 0) {
			l.has_tos = true;
			l.tos = (uint8_t)atoi(value);
		} else if (strcmp(word, "sack") == 0) {
			struct qp_tcp_sack *b = &l.opt.sack[l.opt.nsack++];

			cr_assert(sscanf(value, "%u-%u", &b->start, &b->end) == 2);
		} else {
			cr_assert(false, "unknown word %s in \"%s\"", word, text);
		}
	}
	return l;
}

/* --- frames in --- */

static struct qp_flow
peer_flow(const struct script *t)
{
	struct qp_flow f = {
		.local = qp_ipaddr_v4(rte_cpu_to_be_32(0xc0000202)),
		.remote = qp_ipaddr_v4(rte_cpu_to_be_32(0xc0000201)),
		.lport_be = htons(t->peer_port),
		.rport_be = htons(t->port),
	};

	if (t->v6) {
		f.local = (struct qp_ipaddr) {.b = {0xfd, [15] = 2}};
		f.remote = (struct qp_ipaddr) {.b = {0xfd, [15] = 1}};
	}
	if (t->peer_host != 0)
		f.local.b[15] = t->peer_host;
	if (t->same_ip)
		f.local = f.remote;
	memcpy(f.l2.peer_mac, own_mac, 6);
	if (t->link_mtu != 0) {
		const uint8_t mark[6] = {QP_CLS_MARK_0, QP_CLS_MARK_MTU, 0, 0, t->link_mtu >> 8,
			t->link_mtu & 0xff};

		memcpy(f.l2.peer_mac, mark, 6);
	}
	return f;
}

static void
deliver(struct script *t, struct rte_mbuf *m)
{
	struct qp_packet pkt;

	m->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_IP_CKSUM_GOOD;
	cr_assert(qp_ip_parse(m, &pkt) == QP_IP_OK);
	if (pkt.proto == IPPROTO_TCP)
		qp_tcp_input(t->tcp, m, &pkt);
	else
		qp_tcp_icmp_input(t->tcp, m, &pkt);
}

static void
append_payload(struct rte_mbuf *head, uint32_t seq, uint32_t len)
{
	struct rte_mbuf *m = head;

	for (uint32_t i = 0; i < len; i++) {
		if (rte_pktmbuf_tailroom(m) == 0) {
			m = rte_pktmbuf_alloc(pool);
			rte_pktmbuf_chain(head, m);
		}
		*rte_pktmbuf_mtod_offset(m, uint8_t *, m->data_len) = peer_byte((uint64_t)seq - 1 + i);
		m->data_len++;
		head->pkt_len++;
	}
}

static void
inject_literal(struct script *t, struct literal l, uint16_t segsz)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	struct qp_flow flow = peer_flow(t);
	uint8_t options[QP_TCP_OPTIONS_MAX];
	unsigned n;
	struct rte_tcp_hdr *h;

	for (unsigned i = 0; i < l.opt.nsack; i++) {
		l.opt.sack[i].start += t->iss;
		l.opt.sack[i].end += t->iss;
	}
	if (l.any_tsecr)
		l.opt.tsecr = t->last_tsval;
	memcpy(l.opt.fastopen, t->cookie, 8);
	if (l.cookie == 'b')
		l.opt.fastopen[3] ^= 1;
	n = qp_tcp_options_write(options, &l.opt);
	h = (void *)rte_pktmbuf_append(m, sizeof(*h) + n);
	*h = (struct rte_tcp_hdr) {
		.src_port = flow.lport_be,
		.dst_port = flow.rport_be,
		.sent_seq = rte_cpu_to_be_32(PEER_ISS + l.seq),
		.recv_ack = rte_cpu_to_be_32(t->iss + l.ack),
		.data_off = (sizeof(*h) + n) / 4 << 4,
		.tcp_flags = l.flags,
		.rx_win = rte_cpu_to_be_16(l.has_win ? (uint16_t)l.win : 65535),
	};
	memcpy(h + 1, options, n);
	m->l4_len = sizeof(*h) + n;
	append_payload(m, l.seq + !!(l.flags & RTE_TCP_SYN_FLAG), l.len);
	qp_ip_encap(m, &flow, IPPROTO_TCP, l.tos, peer_mac);
	m->ol_flags = 0;
	if (segsz != 0) {
		m->ol_flags |= RTE_MBUF_F_RX_LRO;
		m->tso_segsz = segsz;
	}
	deliver(t, m);
}

static void
inject(struct script *t, const char *segment, uint16_t segsz)
{
	inject_literal(t, parse(segment), segsz);
}

void
script_raw(struct script *t, uint8_t flags, uint32_t seq, uint32_t ack)
{
	inject_literal(t, (struct literal) {.flags = flags, .seq = seq, .ack = ack}, 0);
}

void
script_flush(struct script *t)
{
	const char *bad;

	qp_tcp_flush(t->tcp);
	bad = tcp_check(t->tcp);
	cr_assert(bad == NULL, "does not hold: %s", bad);
}

void
script_in_burst(struct script *t, const char *segment)
{
	inject(t, segment, 0);
}

void
script_in(struct script *t, const char *segment)
{
	inject(t, segment, 0);
	script_flush(t);
}

void
script_in_lro(struct script *t, const char *segment, uint16_t segsz)
{
	inject(t, segment, segsz);
	script_flush(t);
}

void
script_icmp(struct script *t, uint8_t type, uint8_t code, uint16_t mtu, uint32_t seq)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	uint32_t l3 = t->v6 ? 40 : 20;
	struct qp_flow flow = peer_flow(t);
	uint8_t *p = (uint8_t *)rte_pktmbuf_append(m, 8 + l3 + 8), *ip = p + 8;
	uint32_t seq_be = rte_cpu_to_be_32(t->iss + seq);

	memset(p, 0, 8 + l3 + 8);
	p[0] = type;
	p[1] = code;
	p[6] = mtu >> 8;
	p[7] = mtu & 0xff;
	ip[0] = t->v6 ? 0x60 : 0x45;
	ip[t->v6 ? 6 : 9] = IPPROTO_TCP;
	if (t->v6) {
		memcpy(ip + 8, &flow.remote, 16);
		memcpy(ip + 24, &flow.local, 16);
	} else {
		ip[2] = 1500 >> 8;
		ip[3] = 1500 & 0xff;
		memcpy(ip + 12, &flow.remote.w[3], 4);
		memcpy(ip + 16, &flow.local.w[3], 4);
	}
	memcpy(ip + l3, &flow.rport_be, 2);
	memcpy(ip + l3 + 2, &flow.lport_be, 2);
	memcpy(ip + l3 + 4, &seq_be, 4);
	qp_ip_encap(m, &flow, t->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, 0, peer_mac);
	m->ol_flags = 0;
	deliver(t, m);
	script_flush(t);
}

void
script_wait_ms(struct script *t, uint32_t ms)
{
	while (ms-- > 0) {
		t->now_ns += QP_MS_NS;
		qp_wheel_advance(t->wheel, t->now_ns);
		script_flush(t);
	}
}

uint32_t
script_until_sent(struct script *t, uint32_t at_most_ms)
{
	uint32_t ms = 0;

	while (t->out_head == t->out_tail && ms < at_most_ms) {
		script_wait_ms(t, 1);
		ms++;
	}
	return ms;
}

/* --- frames out --- */

void
script_quiet(struct script *t, int line)
{
	cr_expect(t->out_head == t->out_tail, "line %d: %u segments sent, none expected", line,
		t->out_head - t->out_tail);
	script_ignore(t);
}

bool
script_take(struct script *t, uint32_t *seq, uint32_t *len)
{
	struct qp_tcp_options o;
	const struct rte_tcp_hdr *h;
	uint8_t buf[sizeof(*h) + QP_TCP_OPTIONS_MAX];
	struct rte_mbuf *m;
	uint32_t l4;

	if (t->out_tail == t->out_head)
		return false;
	m = t->out[t->out_tail++ % 256];
	l4 = m->l2_len + m->l3_len;
	h = rte_pktmbuf_read(m, l4, RTE_MIN(sizeof(buf), m->pkt_len - l4), buf);
	if (qp_tcp_options_parse((const uint8_t *)(h + 1), (h->data_off >> 4) * 4 - 20, false, &o) == 0 &&
		o.has_ts)
		t->last_tsval = o.tsval;
	*seq = rte_be_to_cpu_32(h->sent_seq) - t->iss;
	*len = m->pkt_len - l4 - (h->data_off >> 4) * 4;
	rte_pktmbuf_free(m);
	return true;
}

static void
describe(char *text, size_t size, const struct script *t, const struct rte_tcp_hdr *h, uint32_t len,
	const struct qp_tcp_options *o)
{
	int n = snprintf(text, size, "%s%s%s%s%s%s%s %u+%u ack %u win %u",
		h->tcp_flags & RTE_TCP_SYN_FLAG ? "S" : "", h->tcp_flags & RTE_TCP_ACK_FLAG ? "A" : "",
		h->tcp_flags & RTE_TCP_FIN_FLAG ? "F" : "", h->tcp_flags & RTE_TCP_RST_FLAG ? "R" : "",
		h->tcp_flags & RTE_TCP_PSH_FLAG ? "P" : "", h->tcp_flags & RTE_TCP_ECE_FLAG ? "E" : "",
		h->tcp_flags & RTE_TCP_CWR_FLAG ? "W" : "",
		rte_be_to_cpu_32(h->sent_seq) - t->iss, len, rte_be_to_cpu_32(h->recv_ack) - PEER_ISS,
		rte_be_to_cpu_16(h->rx_win));

	for (unsigned i = 0; i < o->nsack; i++)
		n += snprintf(text + n, size - n, " sack %u-%u", o->sack[i].start - PEER_ISS,
			o->sack[i].end - PEER_ISS);
	if (o->has_mss)
		n += snprintf(text + n, size - n, " mss %u", o->mss);
	if (o->has_wscale)
		n += snprintf(text + n, size - n, " ws %u", o->wscale);
	if (o->sack_permitted)
		n += snprintf(text + n, size - n, " sackok");
	if (o->has_ts)
		n += snprintf(text + n, size - n, " ts %u/%u", o->tsval, o->tsecr);
	if (o->has_uto)
		n += snprintf(text + n, size - n, " uto %u", o->uto_s);
	if (o->has_fastopen)
		snprintf(text + n, size - n, " tfo of %u bytes", o->fastopen_len);
}

static bool
options_match(const struct literal *l, const struct qp_tcp_options *o, bool syn)
{
	/* In a SYN what is not named must not be there. */
	if (syn && (l->opt.has_mss != o->has_mss || l->opt.has_wscale != o->has_wscale ||
			   l->opt.sack_permitted != o->sack_permitted || l->has_ts != o->has_ts ||
			   l->opt.has_fastopen != o->has_fastopen))
		return false;
	if (l->opt.has_uto != o->has_uto || l->opt.uto_s != o->uto_s)
		return false;
	if (o->has_fastopen && o->fastopen_len != l->opt.fastopen_len)
		return false;
	if (syn && ((o->has_mss && o->mss != l->opt.mss) ||
			   (o->has_wscale && o->wscale != l->opt.wscale)))
		return false;
	if (l->has_ts && (!o->has_ts || (!l->any_tsecr && o->tsecr != l->opt.tsecr)))
		return false;
	if (l->opt.nsack != 0 && l->opt.nsack != o->nsack)
		return false;
	for (unsigned i = 0; i < l->opt.nsack; i++) {
		if (o->sack[i].start != PEER_ISS + l->opt.sack[i].start ||
			o->sack[i].end != PEER_ISS + l->opt.sack[i].end)
			return false;
	}
	return true;
}

static uint8_t
tos_of(const struct script *t, const struct rte_mbuf *m)
{
	const uint8_t *ip = rte_pktmbuf_mtod_offset(m, const uint8_t *, m->l2_len);

	return t->v6 ? (uint8_t)(ip[0] << 4 | ip[1] >> 4) : ip[1];
}

void
script_out(struct script *t, const char *segment, int line)
{
	struct literal l = parse(segment);
	uint8_t buf[256];
	struct qp_tcp_options o;
	const struct rte_tcp_hdr *h;
	struct rte_mbuf *m;
	uint32_t len, seq, flags, l4;
	char got[256];
	bool syn, same;
	uint8_t tos;

	cr_assert(t->out_tail != t->out_head, "line %d: nothing sent; wanted %s", line, segment);
	m = t->out[t->out_tail++ % 256];
	l4 = m->l2_len + m->l3_len;
	h = rte_pktmbuf_read(m, l4, RTE_MIN(sizeof(buf), m->pkt_len - l4), buf);
	len = m->pkt_len - l4 - (h->data_off >> 4) * 4;
	syn = h->tcp_flags & RTE_TCP_SYN_FLAG;
	tos = tos_of(t, m);
	if (syn) {
		t->iss = rte_be_to_cpu_32(h->sent_seq);
		t->iss_known = true;
	}
	cr_assert(qp_tcp_options_parse((const uint8_t *)(h + 1), (h->data_off >> 4) * 4 - 20, syn, &o) ==
		  0);
	if (o.has_ts)
		t->last_tsval = o.tsval;
	if (o.has_fastopen)
		memcpy(t->cookie, o.fastopen, sizeof(t->cookie));
	seq = rte_be_to_cpu_32(h->sent_seq) - t->iss;
	flags = h->tcp_flags & ~RTE_TCP_PSH_FLAG;
	same = flags == (l.flags & ~RTE_TCP_PSH_FLAG) && seq == l.seq && len == l.len &&
	       (!l.has_ack || rte_be_to_cpu_32(h->recv_ack) - PEER_ISS == l.ack) &&
	       (!l.has_win || rte_be_to_cpu_16(h->rx_win) == l.win) && (!l.has_tos || tos == l.tos) &&
	       options_match(&l, &o, syn);
	describe(got, sizeof(got), t, h, len, &o);
	rte_pktmbuf_free(m);
	cr_assert(same, "line %d: sent %s tos %u; wanted %s", line, got, tos, segment);
}

/* --- ways in --- */

void
script_establish(struct script *t)
{
	script_in(t, "S 0 win 65535 mss 1460 sackok ts 100/0 ws 7");
	script_out(t, t->v6 ? "SA 0 ack 1 mss 1440 sackok ts 0/100 ws 5" :
			      "SA 0 ack 1 mss 1460 sackok ts 0/100 ws 5", __LINE__);
	script_wait_ms(t, 20);
	script_in(t, "A 1 ack 1 win 512 ts 101/_");
	script_ignore(t); /* a window update may follow */
	cr_assert(t->c != NULL);
}

void
script_wide(struct script *t)
{
	t->c->rcv_tuned = t->c->rcv_buf;
	qp_tcp_consumed(t->c, 0);
	qp_tcp_flush(t->tcp);
	script_ignore(t);
}

void
script_establish_plain(struct script *t, uint16_t win)
{
	char ack[64];

	script_in(t, "S 0 win 65535 mss 1460");
	script_out(t, t->v6 ? "SA 0 ack 1 mss 1440" : "SA 0 ack 1 mss 1460", __LINE__);
	script_wait_ms(t, 20);
	snprintf(ack, sizeof(ack), "A 1 ack 1 win %u", win);
	script_in(t, ack);
	script_ignore(t);
	cr_assert(t->c != NULL);
}

void
script_connect(struct script *t)
{
	struct qp_flow p = peer_flow(t), f = {.local = p.remote, .remote = p.local,
		.lport_be = htons(30000), .rport_be = p.lport_be};

	memcpy(f.l2.peer_mac, peer_mac, 6);
	t->port = 30000;
	cr_assert(qp_tcp_connect(t->tcp, &f, &ops, t, &t->c) == 0);
}

void
script_send(struct script *t, uint32_t n)
{
	while (n > 0) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
		uint32_t k = RTE_MIN(n, 2048u);

		memset(rte_pktmbuf_append(m, k), 'x', k);
		qp_tcp_send(t->c, m);
		n -= k;
	}
	script_flush(t);
}

void
script_consume(struct script *t, uint32_t n)
{
	qp_tcp_consumed(t->c, n);
	script_flush(t);
}
