/* SPDX-License-Identifier: Apache-2.0 */
#include "gauge.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/hist.h"
#include "net.h"
#include "pattern.h"

/*
 * A connection of qpgauge, as client or service: what it sends next, what it
 * awaits, when it has ended. Sockets and the loop are qpgauge.c's.
 */

/* Owner: the epoll loop. Life: from accept or connect until it is counted. */
struct gauge_conn {
	struct gauge_conn *prev, *next;
	int fd;
	uint32_t events; /* what epoll watches for now */
	bool connected;
	bool rx_ended, tx_ended;
	bool told; /* service, DOWN: the client has enough; client, DOWN: it has said so */
	bool answered; /* CONNECT: the one answer came, or went */
	enum gauge_work work;
	uint32_t size;
	uint8_t hello[GAUGE_HELLO_BYTES];
	size_t hello_len; /* of it sent, or received */
	size_t due; /* still to send of this request or answer */
	size_t awaited; /* still to come of it */
	uint64_t rx_bytes, tx_bytes;
	int64_t begun_ns;
};

static struct gauge_conn *conns;
static uint8_t in[GAUGE_CHUNK], out[GAUGE_CHUNK];

void
gauge_make_pattern(void)
{
	pattern_fill(1, 0, out, sizeof(out));
}

static bool
asks(const struct gauge_conn *c)
{
	return c->work == GAUGE_ASK || c->work == GAUGE_CONNECT;
}

/* ---- the end of a connection ---- */

static void
finish(struct gauge_conn *c, bool good)
{
	*(good ? &gauge_totals.ok : &gauge_totals.failed) += 1;
	gauge_totals.rx_bytes += c->rx_bytes;
	gauge_totals.tx_bytes += c->tx_bytes;
	if (!asks(c))
		gauge_totals.last_ns = gauge_now_ns();
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		conns = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	close(c->fd);
	free(c);
}

static void
finish_by_error(struct gauge_conn *c, int error)
{
	if (error > 0 && error < ERRNOS)
		gauge_totals.errors[error]++;
	finish(c, false);
}

/* ---- sending ---- */

static void
end_sending(struct gauge_conn *c)
{
	c->tx_ended = true;
	shutdown(c->fd, SHUT_WR);
}

/* How much may go now; SIZE_MAX: without end. */
static size_t
to_send(const struct gauge_conn *c)
{
	bool stopping = gauge_plan.stopping && !gauge_plan.serve;

	if (c->tx_ended || (gauge_plan.serve && c->hello_len < sizeof(c->hello)))
		return 0;
	if (asks(c))
		return c->due;
	if (c->work == GAUGE_UP)
		return gauge_plan.serve || stopping ? 0 : SIZE_MAX;
	return gauge_plan.serve ? (c->told ? 0 : SIZE_MAX) : (stopping && !c->told ? 1 : 0);
}

/* Whether this direction has nothing more to say, ever. */
static bool
said_all(const struct gauge_conn *c)
{
	bool stopping = gauge_plan.stopping && !gauge_plan.serve;

	if (to_send(c) != 0 || (!gauge_plan.serve && c->hello_len < sizeof(c->hello)))
		return false;
	if (gauge_plan.serve)
		return c->rx_ended || c->told || (c->work == GAUGE_CONNECT && c->answered);
	switch (c->work) {
	case GAUGE_UP:
		return stopping;
	case GAUGE_ASK:
		return stopping && c->awaited == 0;
	default: /* the service ends these */
		return c->rx_ended;
	}
}

/* 0, or an errno. */
static int
send_hello(struct gauge_conn *c)
{
	ssize_t n = send(c->fd, c->hello + c->hello_len, sizeof(c->hello) - c->hello_len,
		MSG_NOSIGNAL | MSG_MORE);

	if (n < 0)
		return errno == EAGAIN ? 0 : errno;
	c->hello_len += (size_t)n;
	c->tx_bytes += (size_t)n;
	return 0;
}

static void
sent(struct gauge_conn *c, size_t len)
{
	c->tx_bytes += len;
	if (asks(c)) {
		c->due -= len;
		if (gauge_plan.serve && c->due == 0)
			c->answered = true;
	} else if (!gauge_plan.serve && c->work == GAUGE_DOWN) {
		c->told = true;
	}
}

static int
send_some(struct gauge_conn *c)
{
	if (!gauge_plan.serve && c->hello_len < sizeof(c->hello)) {
		int error = send_hello(c);

		if (error != 0 || c->hello_len < sizeof(c->hello))
			return error;
	}
	/* A few chunks a turn, so that one connection does not hold up the others. */
	for (int turn = 0; turn < 4 && to_send(c) > 0; turn++) {
		size_t len = to_send(c) < GAUGE_CHUNK ? to_send(c) : GAUGE_CHUNK;
		ssize_t n = send(c->fd, asks(c) ? out + c->size - c->due : out, len, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN ? 0 : errno;
		sent(c, (size_t)n);
		if ((size_t)n < len)
			return 0;
	}
	return 0;
}

/* ---- receiving ---- */

static void
begin_request(struct gauge_conn *c)
{
	c->due = c->awaited = c->size;
	c->begun_ns = gauge_now_ns();
}

static void
took_answer(struct gauge_conn *c)
{
	int64_t now = gauge_now_ns();

	gauge_totals.answers++;
	gauge_totals.last_ns = now;
	qpb_hist_record(gauge_totals.latency_ns, (uint64_t)(now - c->begun_ns));
	c->answered = true;
	if (c->work == GAUGE_ASK && !gauge_plan.stopping)
		begin_request(c);
}

/* Bytes of a request or an answer. 0, or an errno. */
static int
take_asked(struct gauge_conn *c, const uint8_t *data, size_t len)
{
	while (len > 0) {
		size_t part = len < c->awaited ? len : c->awaited;

		if (part == 0 || memcmp(data, out + c->size - c->awaited, part) != 0) {
			gauge_totals.wrong++;
			return EBADMSG;
		}
		c->awaited -= part;
		data += part;
		len -= part;
		if (c->awaited > 0)
			continue;
		if (!gauge_plan.serve) {
			took_answer(c);
		} else {
			c->due += c->size;
			c->awaited = c->work == GAUGE_ASK ? c->size : 0;
		}
	}
	return 0;
}

static int
read_hello(struct gauge_conn *c)
{
	uint32_t size;

	memcpy(&size, c->hello + 4, sizeof(size));
	c->work = c->hello[1];
	c->size = c->awaited = ntohl(size);
	if (c->hello[0] != 'Q' || c->size > GAUGE_CHUNK ||
		memchr("udac", c->work, sizeof("udac") - 1) == NULL) {
		gauge_totals.wrong++;
		return EBADMSG;
	}
	return 0;
}

static int
take(struct gauge_conn *c, const uint8_t *data, size_t len)
{
	c->rx_bytes += len;
	if (gauge_plan.serve && c->hello_len < sizeof(c->hello)) {
		size_t part = sizeof(c->hello) - c->hello_len;
		int error;

		part = len < part ? len : part;
		memcpy(c->hello + c->hello_len, data, part);
		c->hello_len += part;
		if (c->hello_len < sizeof(c->hello))
			return 0;
		error = read_hello(c);
		if (error != 0)
			return error;
		data += part;
		len -= part;
	}
	if (asks(c))
		return take_asked(c, data, len);
	if (gauge_plan.serve && c->work == GAUGE_DOWN && len > 0)
		c->told = true;
	return 0;
}

static int
receive(struct gauge_conn *c)
{
	for (int turn = 0; turn < 4 && !c->rx_ended; turn++) {
		ssize_t n = recv(c->fd, in, sizeof(in), 0);
		int error;

		if (n < 0)
			return errno == EAGAIN ? 0 : errno;
		if (n == 0) {
			c->rx_ended = true;
			return 0;
		}
		error = take(c, in, (size_t)n);
		if (error != 0)
			return error;
		if ((size_t)n < sizeof(in))
			return 0;
	}
	return 0;
}

/* ---- the life of a connection ---- */

static void
watch(struct gauge_conn *c)
{
	bool hello = !gauge_plan.serve && c->hello_len < sizeof(c->hello);
	uint32_t events = (c->rx_ended ? 0u : EPOLLIN) |
			  (!c->connected || hello || to_send(c) > 0 ? EPOLLOUT : 0u);
	struct epoll_event ev = {.events = events, .data.ptr = c};

	if (events != c->events && epoll_ctl(gauge_epoll, EPOLL_CTL_MOD, c->fd, &ev) != 0)
		die("epoll_ctl");
	c->events = events;
}

void
gauge_conn_new(int fd)
{
	struct gauge_conn *c = calloc(1, sizeof(*c));
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
	uint32_t size = htonl(gauge_plan.size);
	int on = 1;

	if (c == NULL)
		die("calloc");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c->fd = fd;
	c->events = ev.events;
	if (!gauge_plan.serve) {
		c->work = gauge_plan.work;
		c->size = gauge_plan.size;
		c->hello[0] = 'Q';
		c->hello[1] = (uint8_t)c->work;
		memcpy(c->hello + 4, &size, sizeof(size));
		if (asks(c))
			begin_request(c);
	}
	gauge_totals.started++;
	c->next = conns;
	if (conns != NULL)
		conns->prev = c;
	conns = c;
	if (epoll_ctl(gauge_epoll, EPOLL_CTL_ADD, fd, &ev) != 0)
		die("epoll_ctl");
}

/* A client's end that leaves it without an answer, or without its word for the service. */
static bool
too_early(const struct gauge_conn *c)
{
	if (gauge_plan.serve)
		return c->hello_len < sizeof(c->hello);
	if (c->work == GAUGE_CONNECT)
		return !c->answered;
	return !gauge_plan.stopping || c->awaited > 0;
}

void
gauge_conn_turn(void *conn, uint32_t events)
{
	struct gauge_conn *c = conn;
	socklen_t len = sizeof(int);
	int error = 0;

	if (!c->connected) {
		getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
		c->connected = true;
		/* Of ASK the first request's time begins with a connection that stands. */
		if (!gauge_plan.serve && c->work == GAUGE_ASK)
			begin_request(c);
	}
	if (error == 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !c->rx_ended)
		error = receive(c);
	if (error == 0)
		error = send_some(c);
	if (error != 0) {
		finish_by_error(c, error);
		return;
	}
	if (!c->tx_ended && said_all(c))
		end_sending(c);
	if (!c->rx_ended)
		watch(c);
	else if (c->tx_ended || too_early(c))
		finish(c, !too_early(c));
	else
		watch(c);
}

void
gauge_conns_stop(void)
{
	for (struct gauge_conn *c = conns, *next; c != NULL; c = next) {
		next = c->next;
		if (c->connected)
			gauge_conn_turn(c, 0);
	}
}

uint64_t
gauge_conns(void)
{
	return gauge_totals.started - gauge_totals.ok - gauge_totals.failed;
}

void
gauge_conns_give_up(void)
{
	while (conns != NULL)
		finish_by_error(conns, ETIMEDOUT);
}
