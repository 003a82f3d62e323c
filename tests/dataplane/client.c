/* SPDX-License-Identifier: Apache-2.0 */
/* The client of client.h: ngtcp2's callbacks, packets in and out, streams. */
#include "tests/dataplane/client.h"

#include <sodium.h>
#include <string.h>

#include "common/wire.h"
#include "dataplane/ip.h"
#include "tests/dataplane/golden.h"
#include "tests/dataplane/outside.h"

#define CID_BYTES 8u
#define PACKETS_A_TURN 64u

void
client_config_default(struct client_config *cfg)
{
	*cfg = (struct client_config) {
		.stream_window = 1 << 20,
		.conn_window = 8 << 20,
		.max_streams = 100,
		.idle_timeout_ns = 90 * WORLD_S,
		.keep_alive_ns = 5 * WORLD_S,
	};
}

/* Streams. */

static struct client_stream *
stream_new(struct client *c, int64_t id)
{
	struct client_stream *s = calloc(1, sizeof(*s));

	must(s != NULL);
	s->client = c;
	s->id = id;
	s->hold = c->cfg.hold;
	STAILQ_INIT(&s->tx);
	TAILQ_INSERT_TAIL(&c->streams, s, link);
	return s;
}

struct client_stream *
client_open(struct client *c)
{
	struct client_stream *s = stream_new(c, -1);

	must(ngtcp2_conn_open_bidi_stream(c->conn, &s->id, s) == 0);
	s->hold = false;
	return s;
}

struct client_stream *
client_stream(struct client *c, int64_t id)
{
	struct client_stream *s;

	TAILQ_FOREACH (s, &c->streams, link)
		if (s->id == id)
			return s;
	return NULL;
}

struct client_stream *
client_conn_stream(struct client *c, uint32_t conn_id)
{
	struct client_stream *s;

	TAILQ_FOREACH (s, &c->streams, link)
		if ((s->id & 1) != 0 && s->rx_len >= QP_WIRE_CONN_ID_BYTES &&
			qp_wire_get_conn_id(s->rx) == conn_id)
			return s;
	return NULL;
}

struct client_stream *
client_nth(struct client *c, unsigned n)
{
	struct client_stream *s;

	TAILQ_FOREACH (s, &c->streams, link)
		if ((s->id & 1) != 0 && s->rx_len >= QP_WIRE_CONN_ID_BYTES && n-- == 0)
			return s;
	return NULL;
}

void
client_write(struct client_stream *s, const void *data, size_t len)
{
	struct client_chunk *k = calloc(1, sizeof(*k) + len);

	must(k != NULL && !s->fin_asked);
	k->len = len;
	memcpy(k->data, data, len);
	STAILQ_INSERT_TAIL(&s->tx, k, link);
}

void
client_fin(struct client_stream *s)
{
	s->fin_asked = true;
}

void
client_reset(struct client_stream *s, uint64_t code)
{
	s->fin_asked = s->fin_sent = true;
	must(ngtcp2_conn_shutdown_stream(s->client->conn, 0, s->id, code) == 0);
}

void
client_stop(struct client_stream *s, uint64_t code)
{
	must(ngtcp2_conn_shutdown_stream_read(s->client->conn, 0, s->id, code) == 0);
}

void
client_unhold(struct client_stream *s)
{
	s->hold = false;
	ngtcp2_conn_extend_max_stream_offset(s->client->conn, s->id, s->unread);
	ngtcp2_conn_extend_max_offset(s->client->conn, s->unread);
	s->unread = 0;
}

void
client_grant_streams(struct client *c, uint64_t n)
{
	ngtcp2_conn_extend_max_streams_bidi(c->conn, n);
}

static void
stream_free(struct client_stream *s)
{
	struct client_chunk *k;

	while ((k = STAILQ_FIRST(&s->tx)) != NULL) {
		STAILQ_REMOVE_HEAD(&s->tx, link);
		free(k);
	}
	TAILQ_REMOVE(&s->client->streams, s, link);
	free(s->rx);
	free(s);
}

/* ngtcp2's callbacks. */

static int
on_handshake(ngtcp2_conn *conn, void *user)
{
	((struct client *)user)->handshake_done = true;
	return 0;
}

static int
on_confirmed(ngtcp2_conn *conn, void *user)
{
	((struct client *)user)->confirmed = true;
	return 0;
}

static int
on_open(ngtcp2_conn *conn, int64_t id, void *user)
{
	ngtcp2_conn_set_stream_user_data(conn, id, stream_new(user, id));
	return 0;
}

static int
on_data(ngtcp2_conn *conn, uint32_t flags, int64_t id, uint64_t offset, const uint8_t *data,
	size_t len, void *user, void *stream_user)
{
	struct client_stream *s = stream_user;

	while (s->rx_cap < s->rx_len + len + 1) {
		s->rx_cap = s->rx_cap != 0 ? 2 * s->rx_cap : 1024;
		s->rx = realloc(s->rx, s->rx_cap);
		must(s->rx != NULL);
	}
	must(offset == s->rx_len);
	if (len > 0)
		memcpy(s->rx + s->rx_len, data, len);
	s->rx_len += len;
	s->fin |= (flags & NGTCP2_STREAM_DATA_FLAG_FIN) != 0;
	s->unread += len;
	if (!s->hold)
		client_unhold(s);
	return 0;
}

static int
on_reset(ngtcp2_conn *conn, int64_t id, uint64_t final_size, uint64_t code, void *user,
	void *stream_user)
{
	struct client_stream *s = stream_user;

	s->reset = true;
	s->reset_code = code;
	return 0;
}

static int
on_close(
	ngtcp2_conn *conn, uint32_t flags, int64_t id, uint64_t code, void *user, void *stream_user)
{
	struct client *c = user;

	((struct client_stream *)stream_user)->closed = true;
	if (!ngtcp2_conn_is_local_stream(conn, id) && !c->cfg.manual_streams)
		ngtcp2_conn_extend_max_streams_bidi(conn, 1);
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

static int
on_stateless_reset(ngtcp2_conn *conn, const ngtcp2_pkt_stateless_reset *sr, void *user)
{
	((struct client *)user)->stateless_reset = true;
	return 0;
}

static const ngtcp2_callbacks callbacks = {
	.client_initial = ngtcp2_crypto_client_initial_cb,
	.recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb,
	.handshake_completed = on_handshake,
	.handshake_confirmed = on_confirmed,
	.encrypt = ngtcp2_crypto_encrypt_cb,
	.decrypt = ngtcp2_crypto_decrypt_cb,
	.hp_mask = ngtcp2_crypto_hp_mask_cb,
	.recv_stream_data = on_data,
	.stream_open = on_open,
	.stream_close = on_close,
	.stream_reset = on_reset,
	.recv_stateless_reset = on_stateless_reset,
	.recv_retry = ngtcp2_crypto_recv_retry_cb,
	.rand = qp_quic_rand,
	.get_new_connection_id = on_new_cid,
	.update_key = ngtcp2_crypto_update_key_cb,
	.delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,
	.delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,
	.get_path_challenge_data = ngtcp2_crypto_get_path_challenge_data_cb,
	.version_negotiation = ngtcp2_crypto_version_negotiation_cb,
};

/* Its life. */

static ngtcp2_conn *
get_conn(ngtcp2_crypto_conn_ref *ref)
{
	return ((struct client *)ref->user_data)->conn;
}

/* The client's view of a flow that is written as the gateway sees it. */
static void
path_of(ngtcp2_path_storage *ps, const struct qp_flow *flow)
{
	struct sockaddr_storage local, remote;
	socklen_t llen, rlen;

	qp_ipaddr_to_sockaddr(&flow->remote, flow->rport_be, &local, &llen);
	qp_ipaddr_to_sockaddr(&flow->local, flow->lport_be, &remote, &rlen);
	ngtcp2_path_storage_init(ps, (void *)&local, llen, (void *)&remote, rlen, NULL);
}

static void
start_tls(struct client *c)
{
	char *alpn = (char *)(uintptr_t)c->cfg.alpn;

	c->tls = wolfSSL_CTX_new(wolfTLSv1_3_client_method());
	must(c->tls != NULL && ngtcp2_crypto_wolfssl_configure_client_context(c->tls) == 0);
	must(qp_tls_configure_ctx(c->tls, NULL) == 0);
	wolfSSL_CTX_set_verify(c->tls, WOLFSSL_VERIFY_NONE, NULL);
	c->ssl = wolfSSL_new(c->tls);
	must(c->ssl != NULL);
	if (alpn == NULL)
		must(qp_tls_configure_client(c->ssl, NULL) == 0);
	else
		must(wolfSSL_UseALPN(c->ssl, alpn, (unsigned)strlen(alpn),
			     WOLFSSL_ALPN_FAILED_ON_MISMATCH) == WOLFSSL_SUCCESS);
	c->ref = (ngtcp2_crypto_conn_ref) {get_conn, c};
	wolfSSL_set_app_data(c->ssl, &c->ref);
	wolfSSL_set_connect_state(c->ssl);
}

static void
start_conn(struct client *c)
{
	ngtcp2_cid dcid = {.datalen = CID_BYTES}, scid = {.datalen = CID_BYTES};
	ngtcp2_transport_params params;
	ngtcp2_settings settings;
	ngtcp2_path_storage ps;

	randombytes_buf(dcid.data, CID_BYTES);
	randombytes_buf(scid.data, CID_BYTES);
	ngtcp2_settings_default(&settings);
	settings.initial_ts = c->world->now_ns;
	settings.max_tx_udp_payload_size = 1452;
	ngtcp2_transport_params_default(&params);
	params.initial_max_stream_data_bidi_local = c->cfg.stream_window;
	params.initial_max_stream_data_bidi_remote = c->cfg.stream_window;
	params.initial_max_data = c->cfg.conn_window;
	params.initial_max_streams_bidi = c->cfg.max_streams;
	params.max_idle_timeout = c->cfg.idle_timeout_ns;
	params.active_connection_id_limit = 7;
	path_of(&ps, &c->own);
	must(ngtcp2_conn_client_new(&c->conn, &dcid, &scid, &ps.path,
		     c->cfg.version != 0 ? c->cfg.version : NGTCP2_PROTO_VER_V1, &callbacks,
		     &settings, &params, NULL, c) == 0);
	ngtcp2_conn_set_tls_native_handle(c->conn, c->ssl);
	if (c->cfg.keep_alive_ns != 0)
		ngtcp2_conn_set_keep_alive_timeout(c->conn, c->cfg.keep_alive_ns);
}

struct client *
client_new(struct world *w, uint16_t port, const struct client_config *cfg)
{
	struct client *c = calloc(1, sizeof(*c));

	must(c != NULL);
	if (cfg != NULL)
		c->cfg = *cfg;
	else
		client_config_default(&c->cfg);
	c->world = w;
	c->flow = c->own = c->cfg.ipv6 ? world_flow6(port) : world_flow(port);
	TAILQ_INIT(&c->streams);
	start_tls(c);
	start_conn(c);
	TAILQ_INSERT_TAIL(&w->clients, c, link);
	return c;
}

void
client_free(struct client *c)
{
	TAILQ_REMOVE(&c->world->clients, c, link);
	while (!TAILQ_EMPTY(&c->streams))
		stream_free(TAILQ_FIRST(&c->streams));
	ngtcp2_conn_del(c->conn);
	wolfSSL_free(c->ssl);
	wolfSSL_CTX_free(c->tls);
	free(c);
}

static void
end(struct client *c, int liberr)
{
	const ngtcp2_ccerr *e = ngtcp2_conn_get_ccerr(c->conn);

	c->over = true;
	c->liberr = liberr;
	if (liberr != NGTCP2_ERR_DRAINING || c->stateless_reset)
		return;
	c->by_peer = true;
	c->application = e->type == NGTCP2_CCERR_TYPE_APPLICATION;
	c->code = e->error_code;
	snprintf(c->reason, sizeof(c->reason), "%.*s", (int)e->reasonlen, (const char *)e->reason);
}

/* Packets. */

void
client_receive(struct client *c, const struct world_packet *p)
{
	const ngtcp2_pkt_info pi = {.ecn = p->tos & 3};
	ngtcp2_path_storage ps;
	int rv;

	if (c->gone || c->over)
		return;
	path_of(&ps, &c->own);
	rv = ngtcp2_conn_read_pkt(c->conn, &ps.path, &pi, p->data, p->len, c->world->now_ns);
	if (rv != 0)
		end(c, rv);
}

static struct client_chunk *
unsent(struct client_stream *s)
{
	struct client_chunk *k;

	STAILQ_FOREACH (k, &s->tx, link)
		if (k->sent < k->len)
			return k;
	return NULL;
}

static bool
owes(struct client_stream *s)
{
	return !s->closed && !s->stopped && (unsent(s) != NULL || (s->fin_asked && !s->fin_sent));
}

/* One packet of the stream (NULL: of whatever else is due); its length, 0, or a code of ngtcp2. */
static ngtcp2_ssize
write_one(struct client *c, struct client_stream *s, uint8_t *buf, size_t cap, ngtcp2_path *path,
	ngtcp2_pkt_info *pi)
{
	struct client_chunk *k = s != NULL ? unsent(s) : NULL;
	ngtcp2_vec vec = {0};
	uint32_t flags = NGTCP2_WRITE_STREAM_FLAG_NONE;
	ngtcp2_ssize taken = -1, n;

	if (k != NULL)
		vec = (ngtcp2_vec) {k->data + k->sent, k->len - k->sent};
	if (s != NULL && s->fin_asked && (k == NULL || STAILQ_NEXT(k, link) == NULL))
		flags = NGTCP2_WRITE_STREAM_FLAG_FIN;
	n = ngtcp2_conn_writev_stream(c->conn, path, pi, buf, cap, &taken, flags,
		s != NULL ? s->id : -1, &vec, k != NULL, c->world->now_ns);
	if (taken < 0)
		return n;
	if (k != NULL)
		k->sent += (size_t)taken;
	if (flags != 0 && (size_t)taken == vec.len)
		s->fin_sent = true;
	return n;
}

static void
send_packet(struct client *c, const uint8_t *buf, size_t len, uint8_t ecn)
{
	world_send(c->world, &c->flow, ecn, buf, len);
}

/* The stream's turn; false when nothing more can be written at all. */
static bool
write_stream(struct client *c, struct client_stream *s)
{
	ngtcp2_path_storage ps;
	ngtcp2_pkt_info pi;
	uint8_t buf[1472];
	ngtcp2_ssize n;

	ngtcp2_path_storage_zero(&ps);
	for (unsigned i = 0; i < PACKETS_A_TURN; i++) {
		if (s != NULL && !owes(s))
			return true;
		n = write_one(c, s, buf, sizeof(buf), &ps.path, &pi);
		if (n == NGTCP2_ERR_STREAM_DATA_BLOCKED)
			return true;
		if (n == NGTCP2_ERR_STREAM_SHUT_WR || n == NGTCP2_ERR_STREAM_NOT_FOUND) {
			s->stopped = true;
			return true;
		}
		if (n < 0)
			end(c, (int)n);
		if (n <= 0)
			return false;
		send_packet(c, buf, (size_t)n, pi.ecn);
	}
	return true;
}

void
client_turn(struct client *c)
{
	struct client_stream *s;
	bool more = true;
	int rv;

	if (c->gone || c->over)
		return;
	if (ngtcp2_conn_get_expiry(c->conn) <= c->world->now_ns) {
		rv = ngtcp2_conn_handle_expiry(c->conn, c->world->now_ns);
		if (rv != 0) {
			end(c, rv);
			return;
		}
	}
	TAILQ_FOREACH (s, &c->streams, link)
		if (more && !c->over && owes(s))
			more = write_stream(c, s);
	if (more && !c->over)
		write_stream(c, NULL);
	if (!c->over)
		ngtcp2_conn_update_pkt_tx_time(c->conn, c->world->now_ns);
}

uint64_t
client_next_ns(const struct client *c)
{
	return c->gone || c->over ? UINT64_MAX : ngtcp2_conn_get_expiry(c->conn);
}

void
client_close(struct client *c, uint64_t code)
{
	ngtcp2_path_storage ps;
	ngtcp2_ccerr ccerr;
	ngtcp2_pkt_info pi;
	uint8_t buf[1200];
	ngtcp2_ssize n;

	ngtcp2_path_storage_zero(&ps);
	ngtcp2_ccerr_default(&ccerr);
	ngtcp2_ccerr_set_application_error(&ccerr, code, NULL, 0);
	n = ngtcp2_conn_write_connection_close(
		c->conn, &ps.path, &pi, buf, sizeof(buf), &ccerr, c->world->now_ns);
	must(n > 0);
	send_packet(c, buf, (size_t)n, 0);
	c->over = true;
}

/* Everything up to the answer to the first message. */
static struct client_stream *
ask_for(struct client *c, const struct qp_wire_msg *msg)
{
	struct world *w = c->world;
	struct client_stream *s;
	uint8_t buf[512];
	int n = qp_wire_encode(msg, buf, sizeof(buf));

	must(n > 0);
	if (!world_until(w, 30 * WORLD_S, c->handshake_done))
		return NULL;
	s = client_open(c);
	client_write(s, w->step1, w->step1_len);
	if (!world_until(w, 30 * WORLD_S, s->rx_len >= w->step2_len))
		return NULL;
	client_write(s, w->step3, w->step3_len);
	client_write(s, buf, (size_t)n);
	if (!world_until(w, 30 * WORLD_S, s->rx_len >= w->step2_len + QP_WIRE_HEADER_BYTES + 1))
		return NULL;
	return s;
}

struct client_stream *
client_forward(struct client *c, uint16_t port)
{
	const struct qp_wire_msg msg = {.type = QP_WIRE_REMOTE_FORWARD_REQUEST,
		.remote_forward_request = {port, QP_WIRE_TCP, qp_slice_of("22")}};

	return ask_for(c, &msg);
}

struct client_stream *
client_relayed(struct client *c, uint16_t port, struct outside_conn **o)
{
	unsigned before = 0;

	while (client_nth(c, before) != NULL)
		before++;
	*o = outside_connect(c->world, port);
	(void)world_until(c->world, 5 * WORLD_S, client_nth(c, before) != NULL);
	return client_nth(c, before);
}

struct client_stream *
client_local(struct client *c, const char *destination)
{
	const struct qp_wire_msg msg = {.type = QP_WIRE_LOCAL_FORWARD_REQUEST,
		.local_forward_request = {QP_WIRE_TCP, qp_slice_of(destination), qp_slice_of("9022")}};

	return ask_for(c, &msg);
}
