/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two ngtcp2 ends in one thread, packets handed over in memory: no socket, no
 * relay, no queue. What remains is what any QUIC of these libraries costs, so
 * that the client's and the gateway's own share can be told:
 *   bench_memory CERT.pem KEY.pem PACKET-BYTES MIB
 * Prints both ends' processor time together.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <sodium.h>

#include "client/quic_impl.h"
#include "common/cert.h"

#define MAX_PACKET 9000u
#define BURST 32

struct end {
	ngtcp2_conn *conn;
	WOLFSSL *ssl;
	ngtcp2_crypto_conn_ref ref;
	struct qp_sockaddr local, remote;
	int64_t stream;
	uint64_t to_send, sent, received;
	size_t packet;
};

static uint8_t payload[65536], packets[BURST][MAX_PACKET];

static ngtcp2_conn *
get_conn(ngtcp2_crypto_conn_ref *ref)
{
	return ((struct end *)ref->user_data)->conn;
}

static int
on_data(ngtcp2_conn *conn, uint32_t flags, int64_t id, uint64_t offset, const uint8_t *data,
	size_t len, void *user, void *stream_user)
{
	((struct end *)user)->received += len;
	(void)ngtcp2_conn_extend_max_stream_offset(conn, id, len);
	ngtcp2_conn_extend_max_offset(conn, len);
	return 0;
}

static int
on_new_id(ngtcp2_conn *conn, ngtcp2_cid *cid, uint8_t *token, size_t len, void *user)
{
	randombytes_buf(cid->data, len);
	cid->datalen = len;
	randombytes_buf(token, NGTCP2_STATELESS_RESET_TOKENLEN);
	return 0;
}

static const ngtcp2_callbacks client_callbacks = {
	.client_initial = ngtcp2_crypto_client_initial_cb,
	.recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb,
	.encrypt = ngtcp2_crypto_encrypt_cb,
	.decrypt = ngtcp2_crypto_decrypt_cb,
	.hp_mask = ngtcp2_crypto_hp_mask_cb,
	.recv_stream_data = on_data,
	.recv_retry = ngtcp2_crypto_recv_retry_cb,
	.rand = qp_quic_rand,
	.get_new_connection_id = on_new_id,
	.update_key = ngtcp2_crypto_update_key_cb,
	.delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,
	.delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,
	.get_path_challenge_data = ngtcp2_crypto_get_path_challenge_data_cb,
	.version_negotiation = ngtcp2_crypto_version_negotiation_cb,
};

static void
die(const char *what)
{
	fprintf(stderr, "bench_memory: %s\n", what);
	exit(1);
}

static ngtcp2_path
path_of(struct end *e)
{
	return (ngtcp2_path) {{&e->local.sa, e->local.len}, {&e->remote.sa, e->remote.len}};
}

static void
set_up(struct end *e, ngtcp2_settings *settings, ngtcp2_transport_params *params)
{
	ngtcp2_settings_default(settings);
	settings->initial_ts = qp_quic_now();
	settings->max_tx_udp_payload_size = e->packet;
	settings->no_tx_udp_payload_size_shaping = 1;
	settings->no_pmtud = 1;
	settings->cc_algo = NGTCP2_CC_ALGO_CUBIC;
	settings->max_window = settings->max_stream_window = 64 << 20;
	ngtcp2_transport_params_default(params);
	params->initial_max_data = params->initial_max_stream_data_bidi_remote = 16 << 20;
	params->initial_max_streams_bidi = 10;
	e->ref = (ngtcp2_crypto_conn_ref) {get_conn, e};
	e->stream = -1;
}

static void
make_client(struct end *e)
{
	ngtcp2_cid dcid = {.datalen = 8}, scid = {.datalen = 8};
	ngtcp2_path path = path_of(e);
	ngtcp2_settings settings;
	ngtcp2_transport_params params;
	WOLFSSL_CTX *ctx;

	randombytes_buf(dcid.data, 8);
	randombytes_buf(scid.data, 8);
	set_up(e, &settings, &params);
	if (qpc_tls_context(&ctx, NULL) != QP_OK || qpc_tls_session(ctx, &e->ref, &e->ssl, NULL) != QP_OK ||
		ngtcp2_conn_client_new(&e->conn, &dcid, &scid, &path, NGTCP2_PROTO_VER_V1,
			&client_callbacks, &settings, &params, NULL, e) != 0)
		die("no client");
	ngtcp2_conn_set_tls_native_handle(e->conn, e->ssl);
}

static void
make_server(struct end *e, const ngtcp2_pkt_hd *hd, const char *cert, const char *key)
{
	WOLFSSL_CTX *ctx = wolfSSL_CTX_new(wolfTLSv1_3_server_method());
	ngtcp2_callbacks callbacks = client_callbacks;
	ngtcp2_cid scid = {.datalen = 8};
	ngtcp2_path path = path_of(e);
	ngtcp2_settings settings;
	ngtcp2_transport_params params;

	callbacks.client_initial = NULL;
	callbacks.recv_retry = NULL;
	callbacks.recv_client_initial = ngtcp2_crypto_recv_client_initial_cb;
	randombytes_buf(scid.data, 8);
	set_up(e, &settings, &params);
	params.original_dcid = hd->dcid;
	params.original_dcid_present = 1;
	if (ctx == NULL || ngtcp2_crypto_wolfssl_configure_server_context(ctx) != 0 ||
		qp_tls_configure_ctx(ctx, NULL) != QP_OK ||
		wolfSSL_CTX_use_certificate_file(ctx, cert, WOLFSSL_FILETYPE_PEM) != WOLFSSL_SUCCESS ||
		wolfSSL_CTX_use_PrivateKey_file(ctx, key, WOLFSSL_FILETYPE_PEM) != WOLFSSL_SUCCESS ||
		ngtcp2_conn_server_new(&e->conn, &hd->scid, &scid, &path, hd->version, &callbacks,
			&settings, &params, NULL, e) != 0)
		die("no server");
	e->ssl = wolfSSL_new(ctx);
	if (e->ssl == NULL || qp_tls_configure_alpn(e->ssl, NULL) != QP_OK)
		die("no server");
	wolfSSL_set_app_data(e->ssl, &e->ref);
	wolfSSL_set_accept_state(e->ssl);
	ngtcp2_conn_set_tls_native_handle(e->conn, e->ssl);
}

/* One packet; 0: none to be sent now. */
static size_t
write_packet(struct end *e, uint8_t *to)
{
	ngtcp2_tstamp now = qp_quic_now();
	uint64_t left = e->stream >= 0 ? e->to_send - e->sent : 0;
	ngtcp2_vec vec = {payload, left < sizeof(payload) ? left : sizeof(payload)};
	ngtcp2_ssize taken = -1, n;
	ngtcp2_pkt_info pi;

	n = ngtcp2_conn_writev_stream(e->conn, NULL, &pi, to, e->packet, &taken, 0,
		left > 0 ? e->stream : -1, &vec, left > 0, now);
	if (n == NGTCP2_ERR_STREAM_DATA_BLOCKED)
		n = ngtcp2_conn_write_pkt(e->conn, NULL, &pi, to, e->packet, now);
	if (n < 0)
		die(ngtcp2_strerror((int)n));
	if (taken > 0)
		e->sent += (uint64_t)taken;
	return (size_t)n;
}

static void
read_packet(struct end *e, const uint8_t *data, size_t len)
{
	ngtcp2_path path = path_of(e);
	ngtcp2_pkt_info pi = {0};
	int rv = ngtcp2_conn_read_pkt(e->conn, &path, &pi, data, len, qp_quic_now());

	if (rv != 0)
		die(ngtcp2_strerror(rv));
}

/* A burst from one end to the other, as a turn of a loop has it. Returns packets. */
static int
pass(struct end *from, struct end *to)
{
	size_t len[BURST];
	int n = 0;

	while (n < BURST && (len[n] = write_packet(from, packets[n])) > 0)
		n++;
	ngtcp2_conn_update_pkt_tx_time(from->conn, qp_quic_now());
	for (int i = 0; i < n; i++)
		read_packet(to, packets[i], len[i]);
	if (n == 0 && ngtcp2_conn_get_expiry(from->conn) <= qp_quic_now() &&
		ngtcp2_conn_handle_expiry(from->conn, qp_quic_now()) != 0)
		die("lost");
	return n;
}

static double
cpu_s(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
		(double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int
main(int argc, char **argv)
{
	static struct end client, server;
	struct qp_errmsg msg = {""};
	ngtcp2_pkt_hd hd;
	uint64_t mib;
	double start;
	size_t n;

	if (argc != 5) {
		fprintf(stderr, "Usage: bench_memory CERT.pem KEY.pem PACKET-BYTES MIB\n");
		return 2;
	}
	mib = strtoull(argv[4], NULL, 10);
	client.packet = server.packet = strtoul(argv[3], NULL, 10);
	if (client.packet < 1200 || client.packet > MAX_PACKET || mib == 0 || qp_quic_init() != QP_OK ||
		qp_cert_ensure(argv[1], argv[2], NULL, &msg) != QP_OK)
		die(msg.text[0] != '\0' ? msg.text : "packets of 1200 to 9000 bytes, at least 1 MiB");
	client.local = server.remote = (struct qp_sockaddr) {
		.in = {.sin_family = AF_INET, .sin_port = 1}, .len = sizeof(client.local.in)};
	client.remote = server.local = (struct qp_sockaddr) {
		.in = {.sin_family = AF_INET, .sin_port = 2}, .len = sizeof(client.local.in)};
	make_client(&client);
	n = write_packet(&client, packets[0]);
	if (ngtcp2_accept(&hd, packets[0], n) != 0)
		die("no first packet");
	make_server(&server, &hd, argv[1], argv[2]);
	read_packet(&server, packets[0], n);
	while (!ngtcp2_conn_get_handshake_completed(client.conn) ||
		!ngtcp2_conn_get_handshake_completed(server.conn)) {
		pass(&server, &client);
		pass(&client, &server);
	}
	if (ngtcp2_conn_open_bidi_stream(client.conn, &client.stream, NULL) != 0)
		die("no stream");
	client.to_send = mib << 20;
	start = cpu_s();
	while (server.received < client.to_send) {
		pass(&client, &server);
		pass(&server, &client);
	}
	start = cpu_s() - start;
	printf("%zu-byte packets: %.2f CPU s a GB for both ends, %.2f Gbit/s on one core\n", client.packet,
		start / ((double)client.to_send / 1e9), (double)client.to_send * 8 / 1e9 / start);
	return 0;
}
