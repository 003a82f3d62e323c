/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tests' server. One thread, in the loop of the test or of loop_server.
 */
#include "tests/client/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "client/quic_impl.h"
#include "common/addr.h"

struct test_server {
	struct qpc_loop *loop;
	const struct test_server_config *cfg;
	WOLFSSL_CTX *tls;
	struct qpc_source first; /* the UDP socket until a client comes */
	struct qpc_source listener;
	struct qpc_pool pool;
	struct qpc_quic *quic;
	struct qpc_stream stream; /* id 0 */
	struct qpc_relays relays;
	struct qp_auth_server auth;
	bool begun, authenticated, goodbye, over;
	unsigned clients, closes;
	enum qp_wire_reason last_reason;
	uint16_t port, forward;
	uint32_t next_id;
	struct qpc_task dribble;
	struct qpc_bytes dribbled; /* TEST_DRIBBLE: not in the stream yet */
	size_t len;
	uint8_t buf[QP_WIRE_MAX_MESSAGE];
};

static void
say(struct test_server *t, const void *data, size_t len)
{
	bool slow = t->cfg->misbehave == TEST_DRIBBLE;

	if (qpc_bytes_append(slow ? &t->dribbled : &t->stream.out, &t->pool, data, len) != QP_OK)
		abort();
	if (slow)
		qpc_loop_queue(t->loop, &t->dribble);
	qpc_stream_ready(t->quic, &t->stream);
}

static void
on_dribble(struct qpc_task *task)
{
	struct test_server *t = QPC_CONTAINER(task, struct test_server, dribble);
	struct iovec iov;

	if (t->quic == NULL || qpc_bytes_peek(&t->dribbled, &iov, 1) == 0)
		return;
	if (t->stream.out.fresh == 0) {
		if (qpc_bytes_append(&t->stream.out, &t->pool, iov.iov_base, 1) != QP_OK)
			abort();
		qpc_bytes_take(&t->dribbled, 1);
		qpc_bytes_release(&t->dribbled, &t->pool, 1);
		qpc_stream_ready(t->quic, &t->stream);
	}
	qpc_loop_queue(t->loop, &t->dribble);
}

static void
say_message(struct test_server *t, const struct qp_wire_msg *msg)
{
	uint8_t buf[256];
	int n = qp_wire_encode(msg, buf, sizeof(buf));

	if (n < 0)
		abort();
	say(t, buf, (size_t)n);
}

/* The TCP side. */

static void
stop_listening(struct test_server *t)
{
	if (t->listener.fd < 0)
		return;
	qpc_loop_remove(t->loop, &t->listener);
	close(t->listener.fd);
	t->listener.fd = -1;
	t->forward = 0;
}

static void
on_outside(struct qpc_source *source, uint32_t events)
{
	struct test_server *t = QPC_CONTAINER(source, struct test_server, listener);
	struct qp_wire_msg msg = {.type = QP_WIRE_REMOTE_NEW_CONNECTION,
		.new_connection = {.protocol = QP_WIRE_TCP}};

	for (;;) {
		int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return;
		if (qpc_relays_adopt(&t->relays, fd, ++t->next_id) != QP_OK) {
			close(fd);
			continue;
		}
		msg.new_connection.id = t->next_id;
		say_message(t, &msg);
	}
}

static bool
listen_tcp(struct test_server *t, uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	t->listener = (struct qpc_source) {fd, on_outside};
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0 || listen(fd, 4096) != 0 ||
		getsockname(fd, (struct sockaddr *)&sa, &len) != 0 ||
		qpc_loop_add(t->loop, &t->listener, EPOLLIN) != QP_OK) {
		close(fd);
		t->listener.fd = -1;
		return false;
	}
	t->forward = ntohs(sa.sin_port);
	return true;
}

/* Stream 0. */

static void
open_short_stream(struct test_server *t)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv) != 0)
		abort();
	/* Its prefix is cut to 2 bytes before it is sent. */
	if (qpc_relays_adopt(&t->relays, sv[0], 0) != QP_OK)
		abort();
	struct qpc_relay *r = TAILQ_LAST(&t->relays.all, qpc_relay_list);

	qpc_bytes_clear(&r->stream.out, &t->pool);
	if (qpc_bytes_append(&r->stream.out, &t->pool, "\0\0", 2) != QP_OK)
		abort();
	shutdown(sv[1], SHUT_WR);
	close(sv[1]);
}

static void
misbehave_after_grant(struct test_server *t)
{
	struct qp_wire_msg msg = {.type = QP_WIRE_SESSION_CLOSE};

	switch (t->cfg->misbehave) {
	case TEST_CLOSE_SESSION:
		say_message(t, &msg);
		break;
	case TEST_CLOSE_AND_OPEN:
		say_message(t, &msg);
		open_short_stream(t);
		break;
	case TEST_BAD_MESSAGE:
		say(t, "\x42\0\0", 3);
		break;
	case TEST_CLIENT_MESSAGE:
		say(t, "\x03\0\x05\0\0\0\1\1", 8);
		break;
	case TEST_SHORT_STREAM:
		open_short_stream(t);
		break;
	case TEST_RESET_CONTROL:
		qpc_stream_reset(t->quic, &t->stream, 0);
		break;
	default:
		break;
	}
}

static void
handle_request(struct test_server *t, const struct qp_wire_msg *msg)
{
	struct qp_wire_msg answer = {.type = QP_WIRE_REMOTE_FORWARD_RESPONSE};

	if (t->cfg->misbehave == TEST_REFUSE_PORT) {
		answer.forward_response.status = t->cfg->status;
		answer.forward_response.message = qp_slice_of("no");
	} else if (!listen_tcp(t, msg->remote_forward_request.port)) {
		answer.forward_response.status = QP_WIRE_PORT_IN_USE;
	}
	say_message(t, &answer);
	misbehave_after_grant(t);
}

static void
handle_message(struct test_server *t, const struct qp_wire_msg *msg)
{
	switch (msg->type) {
	case QP_WIRE_REMOTE_FORWARD_REQUEST:
		handle_request(t, msg);
		break;
	case QP_WIRE_SESSION_CLOSE:
		t->goodbye = true;
		stop_listening(t);
		break;
	case QP_WIRE_CONNECTION_CLOSE:
		t->closes++;
		t->last_reason = msg->connection_close.reason;
		break;
	default:
		qpc_quic_fail(t->quic, QP_E_PROTO, QP_APP_PROTOCOL, "unexpected message");
	}
}

/* Returns the bytes used; 0: more are needed. */
static size_t
authenticate(struct test_server *t)
{
	uint8_t reply[QP_WIRE_MAX_STEP2_BYTES];
	size_t reply_len;
	int n = t->begun ? (int)QP_WIRE_STEP3_BYTES : qp_auth_step1_length(t->buf, t->len);
	int err;

	if (n < 0 || t->len < (size_t)n)
		return 0;
	if (t->cfg->misbehave == TEST_STAY_SILENT)
		return (size_t)n;
	if (t->begun) {
		err = qp_auth_server_finish(&t->auth, t->buf, (size_t)n, NULL);
		t->authenticated = err == QP_OK;
		t->clients += t->authenticated;
	} else {
		err = qp_auth_server_begin(&t->cfg->policy, t->buf, (size_t)n,
			(uint64_t)time(NULL), &t->auth, reply, &reply_len, NULL);
		t->begun = true;
		if (t->cfg->misbehave == TEST_WRONG_PROOF)
			reply[reply_len - 1] ^= 1;
		if (err == QP_OK)
			say(t, reply, reply_len);
	}
	if (err != QP_OK)
		qpc_quic_fail(t->quic, err, QP_APP_AUTH, qp_app_error_phrase(QP_APP_AUTH));
	return (size_t)n;
}

static size_t
take_message(struct test_server *t)
{
	struct qp_wire_msg msg;
	const char *why;
	size_t used;
	int err = qp_wire_decode(t->buf, t->len, &msg, &used, &why);

	if (err == QP_E_AGAIN)
		return 0;
	if (err != QP_OK) {
		qpc_quic_fail(t->quic, err, QP_APP_PROTOCOL, why);
		return 0;
	}
	handle_message(t, &msg);
	return used;
}

static int
on_data(struct qpc_stream *s, const uint8_t *data, size_t len, bool fin)
{
	struct test_server *t = QPC_CONTAINER(s, struct test_server, stream);

	qpc_stream_consumed(t->quic, s, len);
	qpc_quic_consumed(t->quic, len);
	if (len > sizeof(t->buf) - t->len)
		return QP_E_FULL;
	memcpy(t->buf + t->len, data, len);
	t->len += len;
	for (size_t used = 1; t->len > 0 && used > 0 && !qpc_quic_is_over(t->quic);) {
		used = t->authenticated ? take_message(t) : authenticate(t);
		t->len -= used;
		memmove(t->buf, t->buf + used, t->len);
	}
	return QP_OK;
}

static void
ignore(struct qpc_stream *s)
{
}

static void
ignore_reset(struct qpc_stream *s, uint64_t code)
{
}

static void
ignore_closed(struct qpc_stream *s, bool whole)
{
}

static const struct qpc_stream_ops stream0_ops = {on_data, ignore, ignore_reset, ignore,
	ignore_closed};

/* The connection. */

static int
on_handshake(void *ctx)
{
	struct test_server *t = ctx;
	int sv[2];

	if (t->cfg->misbehave != TEST_EARLY_STREAM)
		return QP_OK;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv) != 0 ||
		qpc_relays_adopt(&t->relays, sv[0], 1) != QP_OK)
		abort();
	close(sv[1]);
	return QP_OK;
}

static struct qpc_stream *
on_stream_opened(void *ctx, int64_t id)
{
	struct test_server *t = ctx;

	if (id != 0)
		return NULL;
	t->stream = (struct qpc_stream) {.ops = &stream0_ops};
	return &t->stream;
}

static void
on_work(void *ctx)
{
	qpc_relays_work(&((struct test_server *)ctx)->relays);
}

static void
on_ended(void *ctx, const struct qpc_quic_end *end)
{
	struct test_server *t = ctx;

	t->over = true;
	stop_listening(t);
	qpc_bytes_clear(&t->dribbled, &t->pool);
}

static const struct qpc_quic_ops quic_ops = {
	.handshake_done = on_handshake, .stream_opened = on_stream_opened, .work = on_work,
	.ended = on_ended};

static void
refused(void *ctx, uint32_t id, enum qp_wire_reason reason, int errnum)
{
}

static const struct qpc_relay_ops relay_ops = {refused};

static bool
make_conn(struct test_server *t, const ngtcp2_pkt_hd *hd)
{
	struct qpc_quic *q = t->quic;
	ngtcp2_callbacks callbacks = qpc_quic_callbacks;
	ngtcp2_cid scid = {.datalen = 8};
	ngtcp2_settings settings;
	ngtcp2_transport_params params;
	ngtcp2_path path = {{&q->udp.local.sa, q->udp.local.len},
		{&q->udp.remote.sa, q->udp.remote.len}};

	callbacks.client_initial = NULL;
	callbacks.recv_retry = NULL;
	callbacks.recv_client_initial = ngtcp2_crypto_recv_client_initial_cb;
	randombytes_buf(scid.data, 8);
	qpc_quic_settings(q, &t->cfg->quic, &settings, &params);
	params.original_dcid = hd->dcid;
	params.original_dcid_present = 1;
	if (ngtcp2_conn_server_new(&q->conn, &hd->scid, &scid, &path, hd->version, &callbacks,
		    &settings, &params, NULL, q) != 0)
		return false;
	q->ssl = wolfSSL_new(t->tls);
	if (q->ssl == NULL || qp_tls_configure_alpn(q->ssl, NULL) != QP_OK)
		return false;
	wolfSSL_set_app_data(q->ssl, &q->ref);
	wolfSSL_set_accept_state(q->ssl);
	ngtcp2_conn_set_tls_native_handle(q->conn, q->ssl);
	return true;
}

static void
drop_client(struct test_server *t)
{
	if (t->quic == NULL)
		return;
	qpc_quic_free(t->quic);
	t->quic = NULL;
	t->relays.quic = NULL;
	qpc_relays_fini(&t->relays);
	stop_listening(t);
	qpc_bytes_clear(&t->dribbled, &t->pool);
	qpc_loop_unqueue(t->loop, &t->dribble);
	qp_auth_server_clear(&t->auth);
	t->begun = t->authenticated = t->over = false;
	t->len = 0;
}

static bool
bind_udp(int fd, uint16_t *port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(*port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0 ||
		getsockname(fd, (struct sockaddr *)&sa, &len) != 0)
		return false;
	*port = ntohs(sa.sin_port);
	return true;
}

/* A socket of its own for the client: bound to the same port, connected, so that it gets its packets. */
static bool
open_udp(struct test_server *t, const struct qp_sockaddr *peer)
{
	struct qpc_udp *udp = &t->quic->udp, made;
	struct qp_errmsg msg;

	/* qpc_udp_open sets the options; its own port is replaced by the server's. */
	if (qpc_udp_open(&made, peer, &msg) != QP_OK)
		return false;
	struct sockaddr unspec = {.sa_family = AF_UNSPEC};

	connect(made.fd, &unspec, sizeof(unspec));
	if (!bind_udp(made.fd, &t->port) || connect(made.fd, &peer->sa, peer->len) != 0) {
		qpc_udp_close(&made);
		return false;
	}
	made.local.len = sizeof(made.local.ss);
	getsockname(made.fd, &made.local.sa, &made.local.len);
	*udp = made;
	return true;
}

static void
on_first(struct qpc_source *source, uint32_t events)
{
	struct test_server *t = QPC_CONTAINER(source, struct test_server, first);
	uint8_t buf[2048];
	struct qp_sockaddr peer = {.len = sizeof(peer.ss)};
	ssize_t n = recvfrom(source->fd, buf, sizeof(buf), 0, &peer.sa, &peer.len);
	struct qpc_udp_batch batch = {buf, (size_t)n, (size_t)n, 0};
	ngtcp2_pkt_hd hd;

	if (t->over)
		drop_client(t);
	if (n <= 0 || t->quic != NULL || ngtcp2_accept(&hd, buf, (size_t)n) != 0)
		return;
	t->goodbye = false;
	t->quic = qpc_quic_alloc(t->loop, &t->pool, &quic_ops, t);
	qpc_relays_init(&t->relays, t->loop, &t->pool, &relay_ops, t, NULL, 0);
	t->relays.quic = t->quic;
	if (!open_udp(t, &peer) || !make_conn(t, &hd) || qpc_quic_join_loop(t->quic) != QP_OK)
		abort();
	qpc_quic_read(t->quic, &batch);
}

static bool
make_tls(struct test_server *t)
{
	t->tls = wolfSSL_CTX_new(wolfTLSv1_3_server_method());
	return t->tls != NULL && ngtcp2_crypto_wolfssl_configure_server_context(t->tls) == 0 &&
		qp_tls_configure_ctx(t->tls, NULL) == QP_OK &&
		wolfSSL_CTX_use_certificate_file(t->tls, t->cfg->cert_file,
			WOLFSSL_FILETYPE_PEM) == WOLFSSL_SUCCESS &&
		wolfSSL_CTX_use_PrivateKey_file(t->tls, t->cfg->key_file, WOLFSSL_FILETYPE_PEM) ==
			WOLFSSL_SUCCESS;
}

struct test_server *
test_server_new(struct qpc_loop *loop, const struct test_server_config *cfg)
{
	struct test_server *t = calloc(1, sizeof(*t));

	t->loop = loop;
	t->cfg = cfg;
	t->port = cfg->port;
	t->listener.fd = -1;
	t->dribble.run = on_dribble;
	qpc_pool_init(&t->pool, QPC_POOL_FREE_BYTES);
	t->first = (struct qpc_source) {
		socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on_first};
	if (!bind_udp(t->first.fd, &t->port) || !make_tls(t) ||
		qpc_loop_add(loop, &t->first, EPOLLIN) != QP_OK) {
		fprintf(stderr, "test server: cannot start: %s\n", strerror(errno));
		test_server_free(t);
		return NULL;
	}
	return t;
}

void
test_server_free(struct test_server *t)
{
	if (t == NULL)
		return;
	drop_client(t);
	qpc_loop_remove(t->loop, &t->first);
	close(t->first.fd);
	if (t->tls != NULL)
		wolfSSL_CTX_free(t->tls);
	qpc_pool_fini(&t->pool);
	free(t);
}

uint16_t
test_server_port(const struct test_server *t)
{
	return t->port;
}

uint16_t
test_server_forward(const struct test_server *t)
{
	return t->forward;
}

bool
test_server_said_goodbye(const struct test_server *t)
{
	return t->goodbye;
}

bool
test_server_idle(const struct test_server *t)
{
	return t->quic == NULL || t->over;
}

unsigned
test_server_clients(const struct test_server *t)
{
	return t->clients;
}

unsigned
test_server_closes(const struct test_server *t, enum qp_wire_reason *last)
{
	*last = t->last_reason;
	return t->closes;
}

const struct qpc_relay_counters *
test_server_counters(const struct test_server *t)
{
	return t->quic != NULL ? &t->relays.counters : NULL;
}
