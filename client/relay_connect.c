/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A relay's connection to the local destination: its addresses in turn, what
 * the socket reports. The session's thread. Leaves bytes to relay_io.c.
 */
#include "client/relay_impl.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)
#define SOCKET_EVENTS (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

static enum qp_wire_reason
reason_of(int errnum)
{
	switch (errnum) {
	case ECONNREFUSED:
		return QP_WIRE_REFUSED;
	case ETIMEDOUT:
		return QP_WIRE_TIMEOUT;
	}
	return QP_WIRE_ERROR;
}

static void
connect_failed(struct qpc_relay *r, int errnum)
{
	enum qp_wire_reason reason = reason_of(errnum);

	r->set->counters.refused++;
	r->set->ops->refused(r->set->ctx, r->id, reason, errnum);
	qpc_relay_abort(r, reason == QP_WIRE_TIMEOUT ? QP_STREAM_TIMEOUT : QP_STREAM_REFUSED);
}

static void
connected(struct qpc_relay *r)
{
	int one = 1;

	qpc_timer_cancel(&r->set->loop->timers, &r->timer);
	(void)setsockopt(r->source.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	r->state = QPC_RELAY_OPEN;
	r->readable = r->writable = true;
	qpc_relay_queue(r);
}

/* One address. 0: under way or connected; else errno. */
static int
try_connect(struct qpc_relay *r, const struct qp_sockaddr *dest)
{
	int fd = socket(dest->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int rc;

	if (fd < 0)
		return errno;
	rc = connect(fd, &dest->sa, dest->len) == 0 ? 0 : errno;
	if (rc != 0 && rc != EINPROGRESS) {
		close(fd);
		return rc;
	}
	r->source.fd = fd;
	if (qpc_loop_add(r->set->loop, &r->source, SOCKET_EVENTS) != QP_OK) {
		close(fd);
		r->source.fd = -1;
		return ENOMEM;
	}
	if (rc == 0)
		connected(r);
	return 0;
}

/* The next address of the destination, until one does not fail at once. */
static void
connect_next(struct qpc_relay *r, int errnum)
{
	const struct qpc_relays *set = r->set;

	qpc_relay_close_socket(r, false);
	while (r->next_dest < set->ndest) {
		errnum = try_connect(r, &set->dest[r->next_dest++]);
		if (errnum == 0)
			return;
	}
	connect_failed(r, errnum);
}

void
qpc_relay_connect(struct qpc_relay *r)
{
	r->state = QPC_RELAY_CONNECTING;
	qpc_timer_arm(&r->set->loop->timers, &r->timer,
		r->set->loop->now_ns + QPC_RELAY_CONNECT_TIMEOUT_S * NS_PER_S);
	connect_next(r, EHOSTUNREACH);
}

void
qpc_relay_on_timer(struct qpc_timer *timer)
{
	struct qpc_relay *r = QPC_CONTAINER(timer, struct qpc_relay, timer);

	if (r->state == QPC_RELAY_RESETTING)
		qpc_relay_finish_reset(r);
	else
		connect_failed(r, ETIMEDOUT);
}

/*
 * To an unused port of this host, the kernel may pick that port as the source
 * and connect the socket to itself (RFC 9293, 3.5: simultaneous open).
 */
static bool
is_self_connected(int fd)
{
	struct qp_sockaddr own = {.len = sizeof(own.ss)}, peer = {.len = sizeof(peer.ss)};
	struct in6_addr own_ip, peer_ip;

	return getsockname(fd, &own.sa, &own.len) == 0 &&
		getpeername(fd, &peer.sa, &peer.len) == 0 &&
		qp_sockaddr_port(&own.sa) == qp_sockaddr_port(&peer.sa) &&
		qp_sockaddr_to_in6(&own.sa, &own_ip) && qp_sockaddr_to_in6(&peer.sa, &peer_ip) &&
		memcmp(&own_ip, &peer_ip, sizeof(own_ip)) == 0;
}

/* True when the connection stands. */
static bool
connect_events(struct qpc_relay *r, uint32_t events)
{
	int errnum = 0;
	socklen_t len = sizeof(errnum);

	if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
		return false;
	if (getsockopt(r->source.fd, SOL_SOCKET, SO_ERROR, &errnum, &len) != 0)
		errnum = errno;
	if (errnum == 0 && is_self_connected(r->source.fd))
		errnum = ECONNREFUSED;
	if (errnum != 0) {
		connect_next(r, errnum);
		return false;
	}
	connected(r);
	return true;
}

void
qpc_relay_on_socket(struct qpc_source *source, uint32_t events)
{
	struct qpc_relay *r = QPC_CONTAINER(source, struct qpc_relay, source);

	/* The event that completes a connect may bring data and FIN, too: no edge tells of them again. */
	if (r->state == QPC_RELAY_CONNECTING && !connect_events(r, events))
		return;
	r->readable = r->readable || (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP));
	r->writable = r->writable || (events & EPOLLOUT);
	r->hung_up = r->hung_up || (events & (EPOLLRDHUP | EPOLLHUP));
	r->failed = r->failed || (events & EPOLLERR);
	qpc_relay_queue(r);
}

bool
qpc_relay_use_socket(struct qpc_relay *r, int fd)
{
	r->source.fd = fd;
	if (qpc_loop_add(r->set->loop, &r->source, SOCKET_EVENTS) != QP_OK)
		return false;
	connected(r);
	return true;
}
