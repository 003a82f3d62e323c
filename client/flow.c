/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP flows: streams of records ⇄ datagrams. The session's thread.
 */
#include "client/flow.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/heap.h"

#define NS_PER_S UINT64_C(1000000000)
#define BURST 64 /* datagrams read from one socket before others have their turn */

static struct qpc_flow *
flow_of_stream(struct qpc_stream *s)
{
	return QPC_CONTAINER(s, struct qpc_flow, stream);
}

/* Flows by sender, for datagrams that come to the listening socket. */

static struct qpc_flow **
bucket(struct qpc_flows *set, const struct qp_sockaddr *peer)
{
	uint8_t key[2 + 16], hash[crypto_shorthash_BYTES];
	struct in6_addr ip = {0};
	uint16_t port = qp_sockaddr_port(&peer->sa), h;

	(void)qp_sockaddr_to_in6(&peer->sa, &ip);
	memcpy(key, &port, 2);
	memcpy(key + 2, &ip, 16);
	crypto_shorthash(hash, key, sizeof(key), set->hash_key);
	memcpy(&h, hash, sizeof(h));
	return &set->by_peer[h % QPC_FLOW_BUCKETS];
}

static bool
same_peer(const struct qp_sockaddr *a, const struct qp_sockaddr *b)
{
	struct in6_addr x, y;

	return qp_sockaddr_port(&a->sa) == qp_sockaddr_port(&b->sa) &&
		qp_sockaddr_to_in6(&a->sa, &x) && qp_sockaddr_to_in6(&b->sa, &y) &&
		memcmp(&x, &y, sizeof(x)) == 0;
}

static void
forget_peer(struct qpc_flow *f)
{
	struct qpc_flow **p;

	if (f->peer.len == 0)
		return;
	for (p = bucket(f->set, &f->peer); *p != NULL && *p != f;)
		p = &(*p)->next;
	if (*p != NULL)
		*p = f->next;
	f->peer.len = 0;
}

/* Half a record, and what it takes of the session's bound. */

static bool
begin_record(struct qpc_flow *f)
{
	if (f->set->record_bytes + f->want > QPC_FLOW_MAX_RECORDS)
		return false;
	f->record = malloc(f->want);
	if (f->record == NULL)
		return false;
	f->set->record_bytes += f->want;
	return true;
}

static void
drop_record(struct qpc_flow *f)
{
	if (f->record == NULL)
		return;
	f->set->record_bytes -= f->want;
	free(f->record);
	f->record = NULL;
}

/* Ends. */

static void
free_if_done(struct qpc_flow *f)
{
	struct qpc_flows *set = f->set;

	if (f->stream_open || !f->over)
		return;
	TAILQ_REMOVE(&set->all, f, link);
	set->nflows--;
	set->counters.active--;
	free(f);
}

/* The socket side is over. */
static void
local_gone(struct qpc_flow *f)
{
	if (f->over)
		return;
	f->over = true;
	qpc_timer_cancel(&f->set->loop->timers, &f->timer);
	forget_peer(f);
	if (f->source.fd >= 0) {
		qpc_loop_remove(f->set->loop, &f->source);
		close(f->source.fd);
		f->source.fd = -1;
	}
	drop_record(f);
}

static void
abort_flow(struct qpc_flow *f, uint64_t code)
{
	if (f->over)
		return;
	local_gone(f);
	qpc_stream_reset(f->set->quic, &f->stream, code);
	qpc_stream_stop(f->set->quic, &f->stream, code);
	free_if_done(f);
}

/* Silence: both directions end in peace. */
static void
on_timer(struct qpc_timer *timer)
{
	struct qpc_flow *f = QPC_CONTAINER(timer, struct qpc_flow, timer);
	struct qpc_flows *set = f->set;
	uint64_t due = f->last_ns + set->idle_ns;

	if (due > set->loop->now_ns) {
		qpc_timer_arm(&set->loop->timers, timer, due);
		return;
	}
	local_gone(f);
	f->stream.fin = true;
	qpc_stream_ready(set->quic, &f->stream);
	qpc_stream_stop(set->quic, &f->stream, QP_STREAM_CLOSED);
	free_if_done(f);
}

static void
touch(struct qpc_flow *f)
{
	f->last_ns = f->set->loop->now_ns;
	if (f->set->idle_ns != 0 && !f->timer.armed)
		qpc_timer_arm(&f->set->loop->timers, &f->timer, f->last_ns + f->set->idle_ns);
}

/* Datagram → stream. */

static void
put_record(struct qpc_flow *f, const uint8_t *data, size_t len)
{
	struct qpc_flows *set = f->set;
	uint8_t head[QP_WIRE_RECORD_HEADER_BYTES];

	touch(f);
	if (f->stream.out.fresh + len + sizeof(head) > QPC_FLOW_MAX_OUT ||
		f->stream.out.len + len + sizeof(head) > QPC_FLOW_MAX_FLIGHT ||
		set->pool->used_bytes > QPC_RELAY_MAX_BYTES ||
		qp_wire_put_record_header(head, len) != QP_OK) {
		set->dropped++;
		return;
	}
	/* A record's head without its body would be a lie that the whole stream pays for. */
	if (qpc_bytes_append(&f->stream.out, set->pool, head, sizeof(head)) != QP_OK ||
		qpc_bytes_append(&f->stream.out, set->pool, data, len) != QP_OK) {
		abort_flow(f, QP_STREAM_LIMIT);
		return;
	}
	set->counters.bytes_from_local += len;
	qpc_stream_ready(set->quic, &f->stream);
	qpc_quic_wake(set->quic);
}

static void
socket_failed(struct qpc_flow *f, int errnum)
{
	struct qpc_flows *set = f->set;

	set->counters.refused++;
	set->ops->refused(set->ctx, f->id, errnum == ECONNREFUSED ? QP_WIRE_REFUSED : QP_WIRE_ERROR,
		errnum);
	abort_flow(f, QP_STREAM_REFUSED);
}

static void
on_socket(struct qpc_source *source, uint32_t events)
{
	struct qpc_flow *f = QPC_CONTAINER(source, struct qpc_flow, source);

	for (int i = 0; i < BURST && !f->over; i++) {
		ssize_t n = recv(source->fd, f->set->buf, QP_WIRE_MAX_RECORD, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (n < 0) {
			socket_failed(f, errno);
			return; /* the flow may be gone */
		}
		put_record(f, f->set->buf, (size_t)n);
		if (f->over)
			return;
	}
}

/* Stream → datagram. */

static int
open_socket(const struct qp_sockaddr *dest)
{
	int fd = socket(dest->sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, &dest->sa, dest->len) != 0) {
		int err = errno;

		close(fd);
		errno = err;
		return -1;
	}
	return fd;
}

/* Connecting a UDP socket asks nobody: the first address that has a route will do. */
static bool
connect_service(struct qpc_flow *f)
{
	struct qpc_flows *set = f->set;
	int fd = -1;

	errno = EHOSTUNREACH;
	for (size_t i = 0; fd < 0 && i < set->ndest; i++)
		fd = open_socket(&set->dest[i]);
	if (fd < 0) {
		socket_failed(f, errno);
		return false;
	}
	f->source.fd = fd;
	if (qpc_loop_add(set->loop, &f->source, EPOLLIN) == QP_OK)
		return true;
	close(fd);
	f->source.fd = -1;
	socket_failed(f, ENOMEM);
	return false;
}

/* False: the flow is over. */
static bool
send_datagram(struct qpc_flow *f, const uint8_t *data, size_t len)
{
	struct qpc_flows *set = f->set;
	bool own = f->source.fd >= 0;
	ssize_t n;

	touch(f);
	do {
		n = own ? send(f->source.fd, data, len, MSG_NOSIGNAL) :
			  sendto(set->listen_fd, data, len, MSG_NOSIGNAL, &f->peer.sa, f->peer.len);
	} while (n < 0 && errno == EINTR);
	if (n >= 0) {
		set->counters.bytes_to_local += len;
		return true;
	}
	/* An error of the shared socket may be about somebody else's datagram. */
	if (own && errno == ECONNREFUSED) {
		socket_failed(f, errno);
		return false;
	}
	set->dropped++;
	return true;
}

/* The body of a record. Returns the bytes used; *alive false: the flow is over. */
static size_t
take_body(struct qpc_flow *f, const uint8_t *data, size_t len, bool *alive)
{
	size_t n = len < f->want - f->have ? len : f->want - f->have;

	*alive = true;
	f->head_len = 0;
	if (f->record == NULL && n == f->want) {
		*alive = send_datagram(f, data, n);
		return n;
	}
	if (f->record == NULL && !begin_record(f)) {
		abort_flow(f, QP_STREAM_LIMIT);
		*alive = false;
		return n;
	}
	memcpy(f->record + f->have, data, n);
	f->have += (uint32_t)n;
	if (f->have < f->want) {
		f->head_len = QP_WIRE_RECORD_HEADER_BYTES; /* still within it */
		return n;
	}
	*alive = send_datagram(f, f->record, f->want);
	if (*alive)
		drop_record(f);
	return n;
}

/* A whole head: the connection's id first, then one for each record. False: over. */
static bool
take_head(struct qpc_flow *f)
{
	int want;

	if (!f->id_known) {
		f->id_known = true;
		f->id = qp_wire_get_conn_id(f->head);
		f->head_len = 0;
		return connect_service(f);
	}
	want = qp_wire_get_record_header(f->head);
	if (want < 0) {
		abort_flow(f, QP_STREAM_PROTOCOL);
		return false;
	}
	f->want = (uint32_t)want;
	f->have = 0;
	if (want == 0) {
		f->head_len = 0;
		return send_datagram(f, f->head, 0);
	}
	return true;
}

static int
on_data(struct qpc_stream *s, const uint8_t *data, size_t len, bool fin)
{
	struct qpc_flow *f = flow_of_stream(s);
	struct qpc_flows *set = f->set;
	bool alive = !f->over;

	qpc_stream_consumed(set->quic, s, len);
	qpc_quic_consumed(set->quic, len);
	while (alive && len > 0) {
		size_t n;

		if (f->head_len < QP_WIRE_RECORD_HEADER_BYTES) {
			f->head[f->head_len++] = *data++;
			len--;
			if (f->head_len == QP_WIRE_RECORD_HEADER_BYTES)
				alive = take_head(f);
			continue;
		}
		n = take_body(f, data, len, &alive);
		data += n;
		len -= n;
	}
	if (!alive || !fin)
		return QP_OK;
	/* Half a record is no datagram. */
	if (f->head_len != 0 || !f->id_known) {
		abort_flow(f, QP_STREAM_PROTOCOL);
		return QP_OK;
	}
	local_gone(f);
	s->fin = true;
	qpc_stream_ready(set->quic, s);
	free_if_done(f);
	return QP_OK;
}

static void
on_acked(struct qpc_stream *s)
{
}

static void
on_reset(struct qpc_stream *s, uint64_t code)
{
	abort_flow(flow_of_stream(s), QP_STREAM_RESET);
}

static void
on_stopped(struct qpc_stream *s)
{
	abort_flow(flow_of_stream(s), QP_STREAM_RESET);
}

static void
on_closed(struct qpc_stream *s, bool whole)
{
	struct qpc_flow *f = flow_of_stream(s);

	f->stream_open = false;
	local_gone(f);
	free_if_done(f);
}

static const struct qpc_stream_ops stream_ops = {
	.data = on_data,
	.acked = on_acked,
	.reset = on_reset,
	.stopped = on_stopped,
	.closed = on_closed,
};

/* The set. */

int
qpc_flows_init(struct qpc_flows *set, struct qpc_loop *loop, struct qpc_pool *pool,
	const struct qpc_flow_ops *ops, void *ctx, const struct qp_sockaddr *dest, size_t ndest,
	uint32_t idle_s)
{
	*set = (struct qpc_flows) {.loop = loop, .pool = pool, .ops = ops, .ctx = ctx, .dest = dest,
		.ndest = ndest, .idle_ns = idle_s * NS_PER_S, .listen_fd = -1};
	TAILQ_INIT(&set->all);
	randombytes_buf(set->hash_key, sizeof(set->hash_key));
	set->buf = malloc(QP_WIRE_MAX_RECORD);
	return set->buf != NULL ? QP_OK : QP_E_NOMEM;
}

void
qpc_flows_fini(struct qpc_flows *set)
{
	struct qpc_flow *f, *next;

	for (f = TAILQ_FIRST(&set->all); f != NULL; f = next) {
		next = TAILQ_NEXT(f, link);
		assert(!f->stream_open);
		local_gone(f);
		free_if_done(f);
	}
	free(set->buf);
	set->buf = NULL;
}

static struct qpc_flow *
new_flow(struct qpc_flows *set)
{
	const bool room = set->nflows < QPC_FLOW_MAX && qp_heap_level() == QP_HEAP_ROOM;
	struct qpc_flow *f = room ? calloc(1, sizeof(*f)) : NULL;

	if (f == NULL)
		return NULL;
	f->stream.ops = &stream_ops;
	f->stream.id = -1;
	f->stream_open = true;
	f->source = (struct qpc_source) {-1, on_socket};
	f->timer.fire = on_timer;
	f->set = set;
	TAILQ_INSERT_TAIL(&set->all, f, link);
	set->nflows++;
	set->counters.opened++;
	set->counters.active++;
	touch(f);
	return f;
}

struct qpc_stream *
qpc_flows_accept(struct qpc_flows *set)
{
	struct qpc_flow *f = new_flow(set);

	return f != NULL ? &f->stream : NULL;
}

/* Somebody new: a stream of our own, which begins with the connection's id. */
static struct qpc_flow *
open_flow(struct qpc_flows *set, const struct qp_sockaddr *from)
{
	struct qpc_flow *f = new_flow(set), **at;
	uint8_t id[QP_WIRE_CONN_ID_BYTES];

	if (f == NULL)
		return NULL;
	if (qpc_quic_open_stream(set->quic, &f->stream) != QP_OK) {
		f->stream_open = false;
		local_gone(f);
		free_if_done(f);
		return NULL;
	}
	f->id = set->ops->announce(set->ctx);
	f->id_known = true;
	f->peer = *from;
	at = bucket(set, from);
	f->next = *at;
	*at = f;
	qp_wire_put_conn_id(id, f->id);
	if (qpc_bytes_append(&f->stream.out, set->pool, id, sizeof(id)) != QP_OK) {
		abort_flow(f, QP_STREAM_LIMIT);
		return NULL;
	}
	return f;
}

void
qpc_flows_datagram(struct qpc_flows *set, const struct qp_sockaddr *from, const uint8_t *data,
	size_t len)
{
	struct qpc_flow *f = *bucket(set, from);

	while (f != NULL && !same_peer(&f->peer, from))
		f = f->next;
	if (f == NULL)
		f = open_flow(set, from);
	if (f == NULL) {
		set->dropped++;
		return;
	}
	put_record(f, data, len);
}
