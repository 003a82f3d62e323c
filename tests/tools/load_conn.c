/* SPDX-License-Identifier: Apache-2.0 */
#include "load.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net.h"
#include "pattern.h"

/*
 * A connection's life: sends and checks by the plan, counts and reports how it
 * ended. Sockets and the loop are qpload.c's.
 */

enum {
	CHUNK_BYTES = 256 * 1024,
};

enum outcome {
	RUNNING,
	DONE,
	FAILED,
};

/* Owner: the epoll loop. Life: from accept or connect until its outcome is counted. */
struct conn {
	struct conn *prev, *next;
	int fd;
	uint32_t events; /* what epoll watches for now */
	bool connecting;
	bool rx_ended;
	bool tx_ended;
	uint64_t number;
	uint64_t rx_bytes;
	uint64_t tx_bytes;
	uint8_t *echo_buf; /* received and not yet sent back; made when first needed */
	size_t echo_len;
	size_t echo_off;
	int64_t started_us;
	crypto_hash_sha256_state rx_sha, tx_sha;
};

static struct conn *conns; /* all that run */
static uint8_t chunk[CHUNK_BYTES];

/* ---- the end of a connection ---- */

static void
print_sha(const char *name, crypto_hash_sha256_state *state)
{
	uint8_t digest[crypto_hash_sha256_BYTES];
	char hex[2 * sizeof(digest) + 1];

	crypto_hash_sha256_final(state, digest);
	sodium_bin2hex(hex, sizeof(hex), digest, sizeof(digest));
	printf(", \"%s\": \"%s\"", name, hex);
}

static void
report_conn(struct conn *c, const char *end)
{
	printf("{\"conn\": %lu, \"rx\": %lu, \"tx\": %lu, \"end\": \"%s\"", c->number, c->rx_bytes,
		c->tx_bytes, end);
	print_sha("rx_sha", &c->rx_sha);
	print_sha("tx_sha", &c->tx_sha);
	printf("}\n");
	fflush(stdout);
}

static void
conn_end(struct conn *c, bool good, const char *end)
{
	int64_t took = now_us() - c->started_us;

	if (plan.sha)
		report_conn(c, end);
	totals.finished++;
	*(good ? &totals.done : &totals.failed) += 1;
	totals.rx_bytes += c->rx_bytes;
	totals.tx_bytes += c->tx_bytes;
	if (took > totals.slowest_us)
		totals.slowest_us = took;
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		conns = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	close(c->fd);
	free(c->echo_buf);
	free(c);
}

static void
conn_error(struct conn *c, int error)
{
	if (error > 0 && error < ERRNOS)
		totals.errors[error]++;
	conn_end(c, false, error == ECONNRESET || error == EPIPE ? "rst" : "error");
}

static void
conn_reset(struct conn *c)
{
	struct linger hard = {.l_onoff = 1, .l_linger = 0};

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	conn_end(c, true, "sent rst");
}

/* ---- sending ---- */

static bool
may_send(const struct conn *c)
{
	if (c->connecting || c->tx_ended || plan.hold)
		return c->connecting;
	if (plan.serve && plan.echo)
		return c->echo_off < c->echo_len || c->rx_ended;
	return !plan.after_eof || c->rx_ended;
}

static void
end_sending(struct conn *c)
{
	c->tx_ended = true;
	if (plan.serve || plan.half_close)
		shutdown(c->fd, SHUT_WR);
}

static void
sent(struct conn *c, const uint8_t *data, size_t len)
{
	c->tx_bytes += len;
	if (plan.sha)
		crypto_hash_sha256_update(&c->tx_sha, data, len);
}

/* Sends what was received. 0, or an errno. */
static int
send_echo(struct conn *c)
{
	while (c->echo_off < c->echo_len) {
		ssize_t n = send(
			c->fd, c->echo_buf + c->echo_off, c->echo_len - c->echo_off, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN ? 0 : errno;
		sent(c, c->echo_buf + c->echo_off, (size_t)n);
		c->echo_off += (size_t)n;
	}
	c->echo_off = c->echo_len = 0;
	if (c->rx_ended)
		end_sending(c);
	return 0;
}

/* A service's bytes are never a client's, so that no echo passes for an answer. */
static uint64_t
tx_seed(const struct conn *c)
{
	return plan.seed * 1000003 + (plan.serve ? UINT64_C(1) << 63 : c->number);
}

static int
send_pattern(struct conn *c)
{
	while (c->tx_bytes < plan.send_bytes) {
		uint64_t left = plan.send_bytes - c->tx_bytes;
		size_t len = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
		ssize_t n;

		if (!plan.serve && plan.reset_after >= 0 &&
			len > (uint64_t)plan.reset_after - c->tx_bytes)
			len = (uint64_t)plan.reset_after - c->tx_bytes;
		if (!plan.raw)
			pattern_fill(tx_seed(c), c->tx_bytes, chunk, len);
		n = send(c->fd, chunk, len, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN ? 0 : errno;
		sent(c, chunk, (size_t)n);
		if (!plan.serve && plan.reset_after >= 0 &&
			c->tx_bytes >= (uint64_t)plan.reset_after)
			return -1;
		if ((size_t)n < len)
			return 0;
	}
	end_sending(c);
	return 0;
}

/* ---- receiving ---- */

static bool
may_receive(const struct conn *c)
{
	return !c->connecting && !c->rx_ended && !plan.hold && c->echo_off == c->echo_len;
}

/* Keeps what has come for send_echo. */
static int
keep_for_echo(struct conn *c, size_t len)
{
	ssize_t n = send(c->fd, chunk, len, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN)
		return errno;
	if (n < 0)
		n = 0;
	sent(c, chunk, (size_t)n);
	if ((size_t)n == len)
		return 0;
	if (c->echo_buf == NULL && (c->echo_buf = malloc(CHUNK_BYTES)) == NULL)
		return ENOMEM;
	c->echo_off = 0;
	c->echo_len = len - (size_t)n;
	memcpy(c->echo_buf, chunk + n, c->echo_len);
	return 0;
}

/* 0: go on; an errno; -1: time to reset; EBADMSG: contents differ. */
static int
received(struct conn *c, size_t len)
{
	if (plan.echo && !plan.serve && !pattern_matches(tx_seed(c), c->rx_bytes, chunk, len)) {
		totals.mismatches++;
		return EBADMSG;
	}
	if (plan.sha)
		crypto_hash_sha256_update(&c->rx_sha, chunk, len);
	c->rx_bytes += len;
	if (plan.serve && plan.reset_after >= 0 && c->rx_bytes >= (uint64_t)plan.reset_after)
		return -1;
	return plan.serve && plan.echo ? keep_for_echo(c, len) : 0;
}

static int
receive(struct conn *c)
{
	/* A few chunks a turn, so that one busy connection does not hold up the others. */
	for (int turn = 0; turn < 4 && may_receive(c); turn++) {
		ssize_t n = recv(c->fd, chunk, CHUNK_BYTES, 0);
		int error;

		if (n < 0)
			return errno == EAGAIN ? 0 : errno;
		if (n == 0) {
			c->rx_ended = true;
			return 0;
		}
		error = received(c, (size_t)n);
		if (error != 0)
			return error;
	}
	return 0;
}

/* ---- the life of a connection ---- */

static void
watch(struct conn *c)
{
	uint32_t events = (may_receive(c) ? EPOLLIN : 0u) | (may_send(c) ? EPOLLOUT : 0u);
	struct epoll_event ev = {.events = events, .data.ptr = c};

	if (events != c->events && epoll_ctl(load_epoll, EPOLL_CTL_MOD, c->fd, &ev) != 0)
		die("epoll_ctl");
	c->events = events;
}

void
conn_new(int fd, bool connecting)
{
	struct conn *c = calloc(1, sizeof(*c));
	struct epoll_event ev = {.events = EPOLLOUT, .data.ptr = c};
	int on = 1;

	if (c == NULL)
		die("calloc");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c->fd = fd;
	c->connecting = connecting;
	c->number = totals.started++;
	c->events = ev.events;
	c->started_us = now_us();
	crypto_hash_sha256_init(&c->rx_sha);
	crypto_hash_sha256_init(&c->tx_sha);
	c->next = conns;
	if (conns != NULL)
		conns->prev = c;
	conns = c;
	if (epoll_ctl(load_epoll, EPOLL_CTL_ADD, fd, &ev) != 0)
		die("epoll_ctl");
	if (!connecting)
		watch(c);
}

static int
connect_result(struct conn *c)
{
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	c->connecting = false;
	return error;
}

/* The client got all that it wants: an end, and as much as it sent when that must come back. */
static enum outcome
conn_outcome(const struct conn *c)
{
	/* An echo client that leaves its direction open is content with its bytes. */
	bool content = plan.echo && !plan.serve && !plan.half_close &&
		       c->rx_bytes == plan.send_bytes;

	if (!c->tx_ended || !(c->rx_ended || content))
		return !plan.serve && c->rx_ended && plan.echo ? FAILED : RUNNING;
	if (plan.echo && !plan.serve && c->rx_bytes != plan.send_bytes)
		return FAILED;
	return DONE;
}

void
conn_turn(void *conn, uint32_t events)
{
	struct conn *c = conn;
	int error = 0;

	if (c->connecting)
		error = connect_result(c);
	else if (plan.hold && (events & (EPOLLERR | EPOLLHUP)) != 0)
		error = ECONNRESET;
	if (error == 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && may_receive(c))
		error = receive(c);
	else if (error == 0 && (events & (EPOLLHUP | EPOLLERR)) != 0)
		error = connect_result(c) ?: ECONNRESET;
	if (error == 0 && may_send(c))
		error = plan.serve && plan.echo ? send_echo(c) : send_pattern(c);
	if (error < 0) {
		conn_reset(c);
		return;
	}
	if (error > 0) {
		conn_error(c, error);
		return;
	}
	switch (conn_outcome(c)) {
	case RUNNING:
		watch(c);
		break;
	case DONE:
		conn_end(c, true, "fin");
		break;
	case FAILED:
		totals.early_ends++;
		conn_end(c, false, "early fin");
		break;
	}
}

struct conn *
conn_any(void)
{
	return conns;
}

void
conn_give_up(struct conn *c, const char *end)
{
	conn_end(c, false, end);
}
