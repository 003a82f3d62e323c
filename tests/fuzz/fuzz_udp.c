/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP forwards under a hostile outside and a hostile client: frames of any
 * bytes, fragments of datagrams in any order and overlap, ICMP, records cut
 * anywhere. The world (tests/udp) looks at each frame that leaves; here: that
 * none exceeds the MTU, that streams carry whole records, that limits hold and
 * that everything is given back.
 *
 * An input: one byte of settings; then steps, each an operation (1), an
 * argument (1) and what the operation eats.
 */
#include "tests/fuzz/fuzz.h"

#include <rte_ether.h>
#include <string.h>

#include "tests/fuzz/input.h"
#include "tests/udp/world.h"

#define PEERS 64u
#define FLOWS 48u
#define TUNNEL_FLOWS 32u
#define LEAST_MTU_V4 68u
#define STEPS 64u /* some cost a hundred microseconds, with sanitizers more */

static struct uw *w;
static uint8_t forced_level;
static uint32_t most_mtu; /* that the outside ever had in this input */

/* The flow of a stream that still has one. */
static struct qp_quic_stream *
pick(uint8_t arg)
{
	struct qp_quic_stream *s = w->nstreams > 0 ? w->stream[arg % w->nstreams] : NULL;

	return s != NULL && s->live && s->ctx != NULL ? s : NULL;
}

/* IP header and all behind it are the input's. */
static void
raw_frame(struct fuzz_input *in, uint8_t arg)
{
	uint8_t head[14] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, arg & 1 ? 0x86 : 8, arg & 1 ? 0xdd : 0};
	struct rte_mbuf *m = rte_pktmbuf_alloc(w->pool);
	size_t len = fuzz_get8(in);
	const uint8_t *p = fuzz_get_bytes(in, &len);

	FUZZ_CHECK(m != NULL);
	memcpy(rte_pktmbuf_append(m, 14), head, 14);
	memcpy(rte_pktmbuf_append(m, (uint16_t)len), p, len);
	/* The port has looked at the sums: what is behind them is to be reached. */
	if (arg & 2)
		m->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	if (arg & 4) {
		m->ol_flags |= RTE_MBUF_F_RX_LRO;
		m->tso_segsz = fuzz_get8(in);
	}
	uw_input(w, m);
}

/* A piece, true to its datagram or (arg & 0x40) with any bytes in it. */
static void
fragment(struct fuzz_input *in, uint8_t arg)
{
	static uint8_t whole[70000];
	static uint32_t made = UINT32_MAX; /* which datagram `whole` is: to make one takes long */
	struct uw_ip ip = {.v6 = arg & 1, .proto = IPPROTO_UDP, .id = arg >> 1 & 3,
		.more = arg & 8, .header = arg & 16};
	uint32_t total = 8 + fuzz_get16(in) % 65528, len;
	size_t n;

	ip.off = fuzz_get16(in) & 0xfff8u;
	len = fuzz_get16(in) % 4096;
	if (made != (total << 3 | ip.id << 1 | ip.v6))
		uw_udp(whole, ip.v6, (uint16_t)(1 + ip.id), total - 8, 0);
	made = total << 3 | ip.id << 1 | ip.v6;
	if (arg & 0x20) /* … as long as it can be */
		len = ip.off < total ? RTE_MIN(total - ip.off, 4096u & ~7u) : 0;
	if (ip.off + len > sizeof(whole))
		len = 0;
	if (arg & 0x40) {
		const uint8_t *p;

		n = len;
		p = fuzz_get_bytes(in, &n);
		memcpy(whole + ip.off, p, n);
		made = UINT32_MAX;
	}
	uw_input(w, uw_frame(w, &ip, whole + ip.off, len));
}

/* An error that quotes a datagram of ours, as far as the input lets it stand. */
static void
icmp(struct fuzz_input *in, uint8_t arg)
{
	const bool v6 = arg & 1;
	const struct uw_ip ip = {.v6 = v6, .proto = v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP};
	const struct qp_flow f = uw_flow(v6, (uint16_t)(1 + (arg >> 2) % PEERS));
	uint8_t p[8 + 80] = {fuzz_get8(in), fuzz_get8(in)}, *quote = p + 8, *l4 = quote + (v6 ? 40 : 20);
	size_t len = arg & 2 ? fuzz_get8(in) % (sizeof(p) + 1) : sizeof(p);
	uint16_t sum;

	p[6] = fuzz_get8(in);
	p[7] = fuzz_get8(in);
	quote[0] = v6 ? 0x60 : 0x45;
	quote[v6 ? 6 : 9] = IPPROTO_UDP;
	memcpy(quote + (v6 ? 8 : 12), v6 ? f.local.b : &f.local.b[12], v6 ? 16 : 4);
	memcpy(quote + (v6 ? 24 : 16), v6 ? f.remote.b : &f.remote.b[12], v6 ? 16 : 4);
	memcpy(l4, &f.lport_be, 2);
	memcpy(l4 + 2, &f.rport_be, 2);
	for (unsigned n = fuzz_get8(in) % 8; n > 0; n--) {
		uint8_t at = fuzz_get8(in) % 80;

		quote[at] = fuzz_get8(in);
	}
	if (len >= 4) {
		sum = (uint16_t)~uw_sum(v6 ? uw_pseudo(true, &f, ip.proto, len) : 0, p, len);
		p[2] = (uint8_t)(sum >> 8);
		p[3] = (uint8_t)sum;
	}
	uw_input(w, uw_frame(w, &ip, p, len));
}

static void
stream_bytes(struct fuzz_input *in, struct qp_quic_stream *s, bool fin)
{
	size_t len = fuzz_get8(in);
	const uint8_t *p = fuzz_get_bytes(in, &len);

	if (s != NULL)
		uw_bytes(s, p, len, fin);
}

static void
stream_event(struct fuzz_input *in, struct qp_quic_stream *s)
{
	uint8_t what = fuzz_get8(in), code = fuzz_get8(in);

	if (s == NULL)
		return;
	switch (what % 5) {
	case 0:
		qp_udp_stream_reset(s->ctx, code);
		break;
	case 1:
		qp_udp_stream_stopped(s->ctx, code);
		break;
	case 2:
		qp_udp_stream_closed(s->ctx);
		s->ctx = NULL;
		s->live = false;
		break;
	case 3:
		qp_udp_flow_close(s->ctx, code);
		break;
	case 4:
		qp_udp_stream_acked(s->ctx, code);
		break;
	}
}

static void
set_mtu(uint32_t mtu)
{
	w->mtu = (uint16_t)mtu;
	most_mtu = RTE_MAX(most_mtu, mtu != 0 ? mtu : QP_UDP_MTU);
}

static void
step(struct fuzz_input *in)
{
	uint8_t op = fuzz_get8(in), arg = fuzz_get8(in);
	uint16_t peer = (uint16_t)(1 + (arg >> 1) % PEERS);
	struct qp_quic_stream *s = pick(arg);

	switch (op % 13) {
	case 0:
		raw_frame(in, arg);
		break;
	case 1:
		uw_datagram(w, arg & 1, peer, fuzz_get16(in) % 65528, arg, 0);
		break;
	case 2:
		uw_datagram(w, arg & 1, peer, 1 + fuzz_get16(in) % 60000, arg, (uint16_t)(32 + fuzz_get16(in)));
		break;
	case 3:
	case 4:
		fragment(in, arg);
		break;
	case 5:
		icmp(in, arg);
		break;
	case 6:
		stream_bytes(in, s, op & 0x80);
		break;
	case 7:
		if (s != NULL)
			uw_answer(w, s, fuzz_get16(in) % 65540, arg);
		break;
	case 8:
		stream_event(in, s);
		break;
	case 9:
		uw_wait(w, arg * 50 * UW_MS);
		break;
	case 10:
		forced_level = arg % 3;
		break;
	case 11:
		uw_allow(w, arg % 16);
		break;
	case 12:
		if (arg & 0x80)
			set_mtu(fuzz_get16(in));
		else
			qp_udp_abort_largest(&w->tunnel);
		break;
	}
}

/* As the worker looks at its pool, or as scarce as the input wants it. */
static void
set_level(void)
{
	unsigned left = rte_mempool_avail_count(w->pool);
	uint8_t level = QP_MEM_SCARCE;

	if (left > UW_POOL / 2)
		level = QP_MEM_PLENTY;
	else if (left > UW_POOL / 8)
		level = QP_MEM_TIGHT;
	w->mem_level = RTE_MAX(level, forced_level);
}

static void
look_at_what_left(void)
{
	struct uw_packet *p;

	while ((p = uw_take(w)) != NULL) {
		uint32_t least = p->v6 ? QP_UDP_V6_MIN_MTU : LEAST_MTU_V4;

		FUZZ_CHECK(p->wire_bytes <= RTE_MAX(most_mtu, least));
		FUZZ_CHECK(!p->more || p->len % 8 == 0);
		free(p);
	}
	FUZZ_CHECK(w->tunnel.nflows <= TUNNEL_FLOWS);
}

static void
set_up(uint8_t settings)
{
	if (w == NULL) {
		uw_init();
		w = uw_new();
		w->cfg.max_flows = FLOWS;
		w->cfg.max_flows_per_tunnel = TUNNEL_FLOWS;
		uw_start(w);
	}
	w->segmentation = w->udp->env.udp_segmentation = settings & 1;
	w->conn.streams_left = settings & 2 ? 2 : 1000;
	w->udp->cfg.idle_ns = settings & 4 ? 1000 * UW_MS : 60000 * UW_MS;
	forced_level = QP_MEM_PLENTY;
	most_mtu = 0;
	set_mtu(settings & 8 ? 9000 : 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};

	set_up(fuzz_get8(&in));
	for (unsigned n = 0; n < STEPS && in.left > 0; n++) {
		set_level();
		step(&in);
		look_at_what_left();
	}
	for (unsigned i = 0; i < w->nstreams; i++)
		if (w->stream[i]->out_len > 0)
			(void)uw_records(w->stream[i]);
	uw_reset(w);
	return 0;
}
