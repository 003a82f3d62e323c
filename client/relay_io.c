/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of a relay: received stream data to the local socket, the socket's
 * bytes straight into the stream's send queue. The session's thread. Sockets
 * are edge-triggered: a relay remembers what epoll said and works until the
 * kernel says EAGAIN or a bound is reached, so no turn costs an epoll_ctl.
 *
 * Received data is copied once: ngtcp2 decrypts into a buffer of its own that
 * is gone after the callback, and a copy of 1,400 bytes is far cheaper than a
 * system call for each packet.
 */
#include "client/relay_impl.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "common/heap.h"

/* Read from one socket in one turn, before the others get theirs. */
#define TURN_BYTES (256u << 10)
/* Unsent bytes queued at most: beyond what a burst needs they would only add delay. */
#define MAX_UNSENT (256u << 10)
#define WRITE_VECS 64
#define READ_VECS 18 /* 256 KiB of chunks, and two parts */

/* The socket took or refused bytes: credit for the peer. */
static void
give_credit(struct qpc_relay *r, size_t n)
{
	struct qpc_relays *set = r->set;

	set->in_bytes -= n;
	set->counters.bytes_to_local += n;
	qpc_stream_consumed(set->quic, &r->stream, n);
	/* Withheld bytes are the queue's last ones: they come free when it is shorter than they are. */
	if (r->withheld > r->in.len) {
		qpc_quic_consumed(set->quic, r->withheld - r->in.len);
		r->withheld = r->in.len;
	}
}

/* QUIC → socket. */
static void
push_in(struct qpc_relay *r)
{
	while (r->in.len > 0 && r->writable) {
		struct iovec iov[WRITE_VECS];
		struct msghdr m = {.msg_iov = iov};
		size_t asked = 0;
		ssize_t n;

		m.msg_iovlen = (size_t)qpc_bytes_peek(&r->in, iov, WRITE_VECS);
		for (size_t i = 0; i < m.msg_iovlen; i++)
			asked += iov[i].iov_len;
		n = sendmsg(r->source.fd, &m, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			r->failed = true;
			return;
		}
		r->writable = n == (ssize_t)asked;
		if (n <= 0)
			break;
		qpc_bytes_take(&r->in, (size_t)n);
		qpc_bytes_release(&r->in, r->set->pool, (size_t)n);
		give_credit(r, (size_t)n);
	}
	if (r->in_fin && !r->in_done && r->in.len == 0) {
		(void)shutdown(r->source.fd, SHUT_WR);
		r->in_done = true;
	}
}

/* How much may be read from the socket now. */
static size_t
out_room(struct qpc_relay *r)
{
	const struct qpc_bytes *out = &r->stream.out;
	size_t room;

	/* All of it is on its way and more than half unanswered: the bound is what limits. */
	if (out->fresh == 0 && out->len > r->out_limit / 2 && r->out_limit < QPC_RELAY_MAX_OUT &&
		qp_heap_level() == QP_HEAP_ROOM)
		r->out_limit *= 2;
	room = out->len < r->out_limit ? r->out_limit - out->len : 0;
	if (room > 0 && r->set->pool->used_bytes > QPC_RELAY_MAX_BYTES)
		room = out->len < QPC_CHUNK_ROOM ? QPC_CHUNK_ROOM - out->len : 0;
	if (out->fresh >= MAX_UNSENT)
		return 0;
	return room < MAX_UNSENT - out->fresh ? room : MAX_UNSENT - out->fresh;
}

static ssize_t
read_socket(struct qpc_relay *r, size_t room, size_t *asked)
{
	struct qpc_bytes *out = &r->stream.out;
	struct iovec iov[READ_VECS];
	int nvec = qpc_bytes_reserve(out, r->set->pool, room, iov, READ_VECS);
	ssize_t n;
	int err;

	*asked = 0;
	for (int i = 0; i < nvec; i++)
		*asked += iov[i].iov_len;
	do {
		n = nvec > 0 ? readv(r->source.fd, iov, nvec) : -1;
	} while (n < 0 && nvec > 0 && errno == EINTR);
	err = nvec > 0 ? errno : ENOMEM;
	qpc_bytes_commit(out, r->set->pool, n > 0 ? (size_t)n : 0);
	errno = err;
	return n;
}

/* One readv. False: the relay is gone. */
static bool
read_once(struct qpc_relay *r, size_t room, size_t *got)
{
	size_t asked;
	ssize_t n = read_socket(r, room, &asked);

	*got = n > 0 ? (size_t)n : 0;
	/* After an error was reported once, the kernel shows a reset as an end. */
	if ((n < 0 && errno != EAGAIN) || (n == 0 && r->failed)) {
		qpc_relay_local_failed(r);
		return false;
	}
	/* A short read empties the socket; what comes later is a new edge, but a FIN may be here already. */
	r->readable = n == (ssize_t)asked || (n > 0 && (r->hung_up || r->failed));
	if (n == 0) {
		r->out_done = true;
		r->stream.fin = true;
	}
	if (n >= 0)
		qpc_stream_ready(r->set->quic, &r->stream);
	return true;
}

/* Socket → QUIC. False: the relay is gone. */
static bool
pull_out(struct qpc_relay *r)
{
	size_t turn = 0;

	while (r->readable && !r->out_done) {
		size_t room = out_room(r), got;

		if (room == 0)
			return true; /* an acknowledgement queues the relay again */
		if (turn >= TURN_BYTES) {
			qpc_relay_queue(r);
			return true;
		}
		if (!read_once(r, room, &got))
			return false;
		turn += got;
		r->set->counters.bytes_from_local += got;
	}
	return true;
}

static void
work(struct qpc_relay *r)
{
	if (r->state != QPC_RELAY_OPEN)
		return;
	if (!r->failed)
		push_in(r);
	r->readable = r->readable || r->failed;
	if (!pull_out(r))
		return;
	if (r->failed)
		qpc_relay_local_failed(r);
	else if (r->in_done && r->out_done)
		qpc_relay_finish(r);
}

void
qpc_relays_work(struct qpc_relays *set)
{
	struct qpc_relay *last = TAILQ_LAST(&set->work, qpc_relay_list);
	struct qpc_relay *r;

	/* Those that queue themselves anew stand behind `last` and wait for the next turn. */
	while (last != NULL && (r = TAILQ_FIRST(&set->work)) != NULL) {
		bool final = r == last;

		TAILQ_REMOVE(&set->work, r, work_link);
		r->queued = false;
		work(r);
		if (final)
			break;
	}
}
