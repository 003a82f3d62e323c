/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tunnels' other ends: ngtcp2 clients with the settings of the real one. Runs on
 * the peers' thread.
 */
#include "common/clock.h"
#include "tests/dataplane/bench/bench.h"

#include <netinet/udp.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <sodium.h>
#include <string.h>
#include <sys/queue.h>

#include "common/quicseal.h"
#include "common/wire.h"
#include "dataplane/cksum.h"
#include "dataplane/worker_internal.h"
#include "tests/dataplane/golden.h"

#define CID_BYTES 8u
#define FIRST_PORT 10000u
#define HEADERS 42u
#define PACKETS_A_TURN 256u
#define ENDLESS UINT64_MAX

struct bench_clients bench_clients;

struct stream {
	TAILQ_ENTRY(stream) link; /* of those that have something to send */
	LIST_ENTRY(stream) all;   /* of those that the gateway opened */
	int64_t id;
	uint64_t left, got;
	bool ready, fin;
	const uint8_t *bytes; /* what is sent; the control stream's own, else whatever */
};

struct client {
	TAILQ_ENTRY(client) link;
	ngtcp2_conn *conn;
	WOLFSSL *ssl;
	ngtcp2_crypto_conn_ref ref;
	struct sockaddr_in local, remote;
	unsigned index;
	enum bench_client_stay stay;
	bool started, answered, confirmed, opened, over;
	struct stream control;
	uint8_t words[256];
	TAILQ_HEAD(, stream) ready;
	LIST_HEAD(, stream) streams;
};

static struct {
	WOLFSSL_CTX *tls;
	struct world world; /* the golden bytes only */
	unsigned next;
	TAILQ_HEAD(, client) all;
	uint8_t payload[65536];
} c_;

static ngtcp2_conn *
get_conn(ngtcp2_crypto_conn_ref *ref)
{
	return ((struct client *)ref->user_data)->conn;
}

static void
make_ready(struct client *c, struct stream *s)
{
	if (!s->ready)
		TAILQ_INSERT_TAIL(&c->ready, s, link);
	s->ready = true;
}

static void
unready(struct client *c, struct stream *s)
{
	if (s->ready)
		TAILQ_REMOVE(&c->ready, s, link);
	s->ready = false;
}

static void
stream_free(struct client *c, struct stream *s)
{
	unready(c, s);
	LIST_REMOVE(s, all);
	free(s);
}

/* ngtcp2's callbacks. */

static int
on_confirmed(ngtcp2_conn *conn, void *user)
{
	struct client *c = user;

	c->confirmed = true;
	bench_clients.handshakes++;
	return 0;
}

static int
on_open(ngtcp2_conn *conn, int64_t id, void *user)
{
	struct stream *s = calloc(1, sizeof(*s));

	must(s != NULL);
	LIST_INSERT_HEAD(&((struct client *)user)->streams, s, all);
	s->id = id;
	s->bytes = c_.payload;
	ngtcp2_conn_set_stream_user_data(conn, id, s);
	if (bench_clients.does == BENCH_POURS) {
		s->left = ENDLESS;
		make_ready(user, s);
	}
	return 0;
}

/* Authentication's second step, then the response. */
static void
on_control(struct client *c, size_t len)
{
	const struct qp_wire_msg msg = {.type = QP_WIRE_REMOTE_FORWARD_REQUEST,
		.remote_forward_request = {(uint16_t)(BENCH_TCP_PORT + c->index), QP_WIRE_TCP,
			qp_slice_of("22")}};
	int n;

	c->control.got += len;
	if (!c->answered && c->control.got >= c_.world.step2_len) {
		c->answered = true;
		memcpy(c->words, c_.world.step3, c_.world.step3_len);
		n = qp_wire_encode(&msg, c->words + c_.world.step3_len,
			sizeof(c->words) - c_.world.step3_len);
		must(n > 0);
		c->control.bytes = c->words;
		c->control.left = c_.world.step3_len + (unsigned)n;
		make_ready(c, &c->control);
	} else if (c->answered && c->control.got - len <= c_.world.step2_len) {
		c->opened = true;
		bench_clients.open++;
	}
}

static int
on_data(ngtcp2_conn *conn, uint32_t flags, int64_t id, uint64_t offset, const uint8_t *data,
	size_t len, void *user, void *stream_user)
{
	struct client *c = user;
	struct stream *s = stream_user;

	(void)ngtcp2_conn_extend_max_stream_offset(conn, id, len);
	ngtcp2_conn_extend_max_offset(conn, len);
	if (s == &c->control) {
		on_control(c, len);
		return 0;
	}
	bench_clients.received += len;
	s->got += len;
	if (bench_clients.does == BENCH_ANSWERS && !s->fin &&
		s->got >= QP_WIRE_CONN_ID_BYTES + bench_clients.bytes) {
		s->left = bench_clients.bytes;
		s->fin = true;
		make_ready(c, s);
	}
	return 0;
}

static int
on_close(ngtcp2_conn *conn, uint32_t flags, int64_t id, uint64_t code, void *user, void *stream_user)
{
	struct client *c = user;

	ngtcp2_conn_extend_max_streams_bidi(conn, 1);
	if (stream_user == &c->control)
		return 0;
	stream_free(c, stream_user);
	return 0;
}

static int
on_new_cid(ngtcp2_conn *conn, ngtcp2_cid *cid, uint8_t *token, size_t len, void *user)
{
	cid->datalen = len;
	randombytes_buf(cid->data, len);
	randombytes_buf(token, NGTCP2_STATELESS_RESET_TOKENLEN);
	return 0;
}

static const ngtcp2_callbacks callbacks = {
	.client_initial = ngtcp2_crypto_client_initial_cb,
	.recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb,
	.handshake_confirmed = on_confirmed,
	.encrypt = qp_seal_encrypt,
	.decrypt = qp_seal_decrypt,
	.hp_mask = qp_seal_hp_mask,
	.recv_stream_data = on_data,
	.stream_open = on_open,
	.stream_close = on_close,
	.recv_retry = ngtcp2_crypto_recv_retry_cb,
	.rand = qp_quic_rand,
	.get_new_connection_id = on_new_cid,
	.update_key = qp_seal_update_key,
	.delete_crypto_aead_ctx = qp_seal_delete_aead,
	.delete_crypto_cipher_ctx = qp_seal_delete_cipher,
	.get_path_challenge_data = ngtcp2_crypto_get_path_challenge_data_cb,
	.version_negotiation = ngtcp2_crypto_version_negotiation_cb,
};

/* Life. */

static void
start_tls(struct client *c)
{
	if (c_.tls == NULL) {
		c_.tls = wolfSSL_CTX_new(wolfTLSv1_3_client_method());
		must(c_.tls != NULL && ngtcp2_crypto_wolfssl_configure_client_context(c_.tls) == 0);
		must(qp_tls_configure_ctx(c_.tls, NULL) == 0 && qp_seal_configure_ctx(c_.tls, NULL) == 0);
		wolfSSL_CTX_set_verify(c_.tls, WOLFSSL_VERIFY_NONE, NULL);
		golden_x25519(&c_.world);
		TAILQ_INIT(&c_.all);
	}
	c->ssl = wolfSSL_new(c_.tls);
	must(c->ssl != NULL && qp_tls_configure_client(c->ssl, NULL) == 0);
	c->ref = (ngtcp2_crypto_conn_ref) {get_conn, c};
	wolfSSL_set_app_data(c->ssl, &c->ref);
	wolfSSL_set_connect_state(c->ssl);
}

static ngtcp2_path
path_of(struct client *c)
{
	return (ngtcp2_path) {{(void *)&c->local, sizeof(c->local)},
		{(void *)&c->remote, sizeof(c->remote)}};
}

void
bench_client_add(enum bench_client_stay stay)
{
	struct client *c = calloc(1, sizeof(*c));
	ngtcp2_cid dcid = {.datalen = CID_BYTES}, scid = {.datalen = CID_BYTES};
	ngtcp2_transport_params params;
	ngtcp2_settings settings;
	ngtcp2_path path;

	must(c != NULL);
	start_tls(c);
	c->stay = stay;
	c->index = c_.next++ % 20000;
	c->control.id = -1;
	TAILQ_INIT(&c->ready);
	c->local = (struct sockaddr_in) {AF_INET, htons((uint16_t)(FIRST_PORT + c->index)),
		{htonl(0xc6336407)}, {0}};
	c->remote = (struct sockaddr_in) {AF_INET, htons(BENCH_QUIC_PORT), {htonl(0xc0000201)}, {0}};
	randombytes_buf(dcid.data, CID_BYTES);
	randombytes_buf(scid.data, CID_BYTES);
	ngtcp2_settings_default(&settings);
	settings.initial_ts = qp_now_ns();
	settings.cc_algo = NGTCP2_CC_ALGO_CUBIC;
	settings.max_tx_udp_payload_size = BENCH_PACKET;
	settings.max_window = 64 << 20;
	settings.max_stream_window = 8 << 20;
	ngtcp2_transport_params_default(&params);
	params.initial_max_stream_data_bidi_local = 512 << 10;
	params.initial_max_stream_data_bidi_remote = 512 << 10;
	params.initial_max_data = 16 << 20;
	params.initial_max_streams_bidi = 65536;
	params.max_idle_timeout = 90 * NGTCP2_SECONDS;
	params.active_connection_id_limit = 7;
	path = path_of(c);
	must(ngtcp2_conn_client_new(&c->conn, &dcid, &scid, &path, NGTCP2_PROTO_VER_V1, &callbacks,
		     &settings, &params, NULL, c) == 0);
	ngtcp2_conn_set_tls_native_handle(c->conn, c->ssl);
	TAILQ_INSERT_TAIL(&c_.all, c, link);
}

static void
client_free(struct client *c)
{
	while (!LIST_EMPTY(&c->streams))
		stream_free(c, LIST_FIRST(&c->streams));
	TAILQ_REMOVE(&c_.all, c, link);
	ngtcp2_conn_del(c->conn);
	wolfSSL_free(c->ssl);
	free(c);
}

void
bench_clients_free(void)
{
	while (c_.tls != NULL && !TAILQ_EMPTY(&c_.all))
		client_free(TAILQ_FIRST(&c_.all));
	wolfSSL_CTX_free(c_.tls);
	c_.tls = NULL;
}

/* Packets. */

static struct client *
client_at(uint16_t port_be)
{
	struct client *c;

	TAILQ_FOREACH (c, &c_.all, link)
		if (c->local.sin_port == port_be)
			return c;
	return NULL;
}

void
bench_clients_receive(const uint8_t *frame, const struct bench_slot *slot)
{
	const struct udphdr *udp = (const void *)(frame + HEADERS - sizeof(*udp));
	struct client *c = client_at(udp->dest);
	const uint32_t step = slot->segsz != 0 ? slot->segsz : slot->len;
	const ngtcp2_pkt_info pi = {.ecn = frame[15] & 3};
	ngtcp2_path path;

	if (c == NULL)
		return;
	path = path_of(c);
	for (uint32_t off = HEADERS; off < slot->len && !c->over; off += step) {
		uint32_t n = RTE_MIN(step, slot->len - off);
		int rv = ngtcp2_conn_read_pkt(c->conn, &path, &pi, frame + off, n, qp_now_ns());

		if (rv != 0) {
			fprintf(stderr, "client %u: %s\n", c->index, ngtcp2_strerror(rv));
			c->over = true;
		}
	}
}

static void
push(struct client *c, uint8_t *frame, size_t len, uint8_t ecn)
{
	const struct qp_flow flow = {
		.local = qp_ipaddr_v4(c->local.sin_addr.s_addr),
		.remote = qp_ipaddr_v4(c->remote.sin_addr.s_addr),
	};
	struct rte_ether_hdr *eth = (void *)frame;
	struct rte_ipv4_hdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	uint64_t sum;

	*eth = (struct rte_ether_hdr) {{{2, 0, 0, 0, 0, 1}}, {{2, 0, 0, 0, 0, 2}}, RTE_BE16(RTE_ETHER_TYPE_IPV4)};
	*ip = (struct rte_ipv4_hdr) {.version_ihl = RTE_IPV4_VHL_DEF, .type_of_service = ecn,
		.total_length = htons((uint16_t)(len + 28)), .time_to_live = 64, .next_proto_id = IPPROTO_UDP,
		.src_addr = c->local.sin_addr.s_addr, .dst_addr = c->remote.sin_addr.s_addr};
	ip->hdr_checksum = (uint16_t)~qp_cksum_fold(qp_cksum_bytes((const void *)ip, sizeof(*ip)));
	*udp = (struct udphdr) {.source = c->local.sin_port, .dest = c->remote.sin_port,
		.len = htons((uint16_t)(len + sizeof(*udp)))};
	sum = qp_cksum_bytes((const void *)udp, (uint32_t)(len + sizeof(*udp)));
	sum += qp_cksum_pseudo(&flow, IPPROTO_UDP, (uint32_t)(len + sizeof(*udp)));
	udp->check = (uint16_t)~qp_cksum_fold(sum);
	bench_wire_push(&bench_to_gateway, (struct bench_slot) {.len = (uint32_t)(len + HEADERS)});
}

/* One packet, of as many streams as fit; its length, or 0. */
static size_t
write_packet(struct client *c, uint8_t *to, ngtcp2_pkt_info *pi)
{
	ngtcp2_path_storage ps;
	bool blocked = false;

	ngtcp2_path_storage_zero(&ps);
	for (;;) {
		struct stream *s = blocked ? NULL : TAILQ_FIRST(&c->ready);
		uint32_t flags = NGTCP2_WRITE_STREAM_FLAG_MORE;
		ngtcp2_ssize taken = -1, n;
		ngtcp2_vec vec = {0};

		if (s != NULL)
			vec = (ngtcp2_vec) {(uint8_t *)(uintptr_t)s->bytes,
				RTE_MIN(s->left, (uint64_t)sizeof(c_.payload))};
		if (s != NULL && s->fin && vec.len == s->left)
			flags |= NGTCP2_WRITE_STREAM_FLAG_FIN;
		n = ngtcp2_conn_writev_stream(c->conn, &ps.path, pi, to, BENCH_PACKET, &taken,
			s != NULL ? flags : 0, s != NULL ? s->id : -1, &vec, s != NULL, qp_now_ns());
		if (taken >= 0 && s->left != ENDLESS) {
			s->left -= (uint64_t)taken;
			s->bytes += s == &c->control ? taken : 0;
			if (s->left == 0)
				unready(c, s);
		}
		if (taken > 0)
			bench_clients.sent += (uint64_t)taken;
		if (n == NGTCP2_ERR_STREAM_DATA_BLOCKED)
			blocked = true;
		else if (n == NGTCP2_ERR_STREAM_SHUT_WR || n == NGTCP2_ERR_STREAM_NOT_FOUND)
			unready(c, s);
		else if (n != NGTCP2_ERR_WRITE_MORE) {
			must(n >= 0);
			return (size_t)n;
		}
	}
}

static void
say_first(struct client *c)
{
	if (c->stay == BENCH_SHAKES_HANDS || c->started || !ngtcp2_conn_get_handshake_completed(c->conn))
		return;
	c->started = true;
	must(ngtcp2_conn_open_bidi_stream(c->conn, &c->control.id, &c->control) == 0);
	c->control.bytes = c_.world.step1;
	c->control.left = c_.world.step1_len;
	make_ready(c, &c->control);
}

static void
say_goodbye(struct client *c)
{
	uint8_t *frame = bench_wire_room(&bench_to_gateway);
	ngtcp2_path_storage ps;
	ngtcp2_ccerr why;
	ngtcp2_pkt_info pi;
	ngtcp2_ssize n;

	if (frame == NULL)
		return;
	ngtcp2_path_storage_zero(&ps);
	ngtcp2_ccerr_default(&why);
	n = ngtcp2_conn_write_connection_close(c->conn, &ps.path, &pi, frame + HEADERS, BENCH_PACKET,
		&why, qp_now_ns());
	must(n > 0);
	push(c, frame, (size_t)n, 0);
	c->over = true;
}

static void
client_turn(struct client *c)
{
	ngtcp2_tstamp now = qp_now_ns();

	say_first(c);
	if (ngtcp2_conn_get_expiry(c->conn) <= now)
		must(ngtcp2_conn_handle_expiry(c->conn, now) == 0);
	for (unsigned i = 0; i < PACKETS_A_TURN; i++) {
		uint8_t *frame = bench_wire_room(&bench_to_gateway);
		ngtcp2_pkt_info pi = {0};
		size_t n = frame != NULL ? write_packet(c, frame + HEADERS, &pi) : 0;

		if (n == 0)
			break;
		push(c, frame, n, pi.ecn);
	}
	ngtcp2_conn_update_pkt_tx_time(c->conn, qp_now_ns());
	if (c->stay == BENCH_SHAKES_HANDS ? c->confirmed : c->stay == BENCH_COMES_IN && c->opened)
		say_goodbye(c);
}

void
bench_clients_turn(void)
{
	struct client *c, *next;

	if (c_.tls == NULL)
		return;
	for (c = TAILQ_FIRST(&c_.all); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link);
		if (!c->over)
			client_turn(c);
		if (c->over && c->stay != BENCH_STAYS)
			client_free(c);
	}
}
