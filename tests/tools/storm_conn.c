/* SPDX-License-Identifier: Apache-2.0 */
#include "storm.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net.h"
#include "pattern.h"

/*
 * The connections of a storm. Each has two sides here, the user's socket and
 * the service's; which ones belong together, the user's first bytes say. Each
 * direction is an endless pattern that is checked by offset, so that a byte
 * that is lost, doubled or swapped is seen at once.
 */

enum {
	CHUNK_BYTES = 64 * 1024,
	SLOTS = 1 << 16,
	MAX_TOLD = 20,
	USER = 0,
	SERVICE = 1,
};

#define UNWATCHED UINT32_MAX /* an epoll set without that socket */

/* The first bytes from the user, in place of the pattern's. */
struct header {
	uint64_t run; /* of this program's run: nothing of another one is taken for ours */
	uint32_t number;
	uint32_t zero;
};

/* Owner: its connection; before its header has come, the list of strangers. */
struct storm_side {
	LIST_ENTRY(storm_side) entry; /* strangers, then the graveyard */
	struct conn *conn; /* NULL: a stranger */
	int fd; /* -1: ended */
	uint8_t which;
	bool connecting, rx_ended, tx_ended;
	uint32_t events; /* what epoll watches for now; UNWATCHED: it is out of it */
	uint64_t sent, got; /* offsets in the two directions */
	int64_t waiting_us; /* since then bytes of this side are under way; 0: none are */
	struct header header; /* the service's: what has come of it */
};

struct conn {
	LIST_ENTRY(conn) entry;
	enum storm_kind kind;
	uint32_t number;
	unsigned target;
	struct storm_side *sides[2]; /* the service's is NULL until its header has come */
	int64_t started_us; /* bulk: when it was connected */
	int64_t tick_us; /* bulk: when bytes are due next */
	uint64_t limit[2]; /* what each side may have sent by now */
	bool ending; /* no more is due: limit[] is all */
	bool half_close; /* the user ends its direction before the answer */
};

LIST_HEAD(conns, conn);
LIST_HEAD(sides, storm_side);

static struct conns running[STORM_KINDS];
static struct sides strangers, graveyard;
static struct conn *slots[SLOTS]; /* by number */
static uint32_t last_number;
static uint8_t chunk[CHUNK_BYTES];

static uint64_t
run_id(void)
{
	return pattern_mix(storm_plan.seed ^ (uint64_t)getpid() << 32);
}

static uint64_t
seed_of(const struct conn *c, int from)
{
	return storm_plan.seed * 1000003 + 2 * (uint64_t)c->number + (uint64_t)from;
}

/* ---- the end ---- */

static void
side_close(struct storm_side *side)
{
	if (side == NULL)
		return;
	if (side->conn == NULL)
		LIST_REMOVE(side, entry);
	close(side->fd);
	side->fd = -1;
	LIST_INSERT_HEAD(&graveyard, side, entry);
}

void
storm_bury(void)
{
	struct storm_side *side;

	while ((side = LIST_FIRST(&graveyard)) != NULL) {
		LIST_REMOVE(side, entry);
		free(side);
	}
}

static const char *
end_text(enum storm_end end)
{
	static const char *const texts[STORM_ENDS] = {
		[STORM_REFUSED] = "refused",
		[STORM_RESET] = "reset",
		[STORM_TIMED_OUT] = "timed out",
		[STORM_ENDED_EARLY] = "ended early",
		[STORM_UNREACHABLE] = "unreachable",
		[STORM_CORRUPT] = "corrupt",
	};

	return texts[end];
}

/* `at`: the side that saw it. The first ones are enough to look at. */
static void
tell(const struct conn *c, enum storm_end end, int at, int64_t now)
{
	const struct storm_side *user = c->sides[USER], *service = c->sides[SERVICE];
	static unsigned told;

	if (told++ >= MAX_TOLD)
		return;
	fprintf(stderr,
		"%.6f: %s %u to %s %s at the %s after %.3f s; user sent %lu got %lu, service sent %lu got %lu\n",
		(double)now / 1e6, c->kind == STORM_BULK ? "bulk" : "short", c->number,
		storm_plan.targets[c->target].name, end_text(end), at == USER ? "user" : "service",
		(double)(now - c->started_us) / 1e6, user->sent, user->got,
		service == NULL ? 0 : service->sent, service == NULL ? 0 : service->got);
}

static void
conn_end(struct conn *c, enum storm_end end, int at)
{
	int64_t now = now_us();

	if (end != STORM_FINISHED)
		tell(c, end, at, now);
	storm_count_end(c->kind, end, c->target, now - c->started_us, c->sides[USER]->got != 0);
	side_close(c->sides[USER]);
	side_close(c->sides[SERVICE]);
	slots[c->number % SLOTS] = NULL;
	LIST_REMOVE(c, entry);
	free(c);
}

static enum storm_end
end_of(int error)
{
	switch (error) {
	case ECONNREFUSED:
		return STORM_REFUSED;
	case ECONNRESET:
	case EPIPE:
		return STORM_RESET;
	case ETIMEDOUT:
		return STORM_TIMED_OUT;
	default:
		return STORM_UNREACHABLE;
	}
}

/* ---- sending ---- */

static void
side_watch(struct storm_side *side, bool writable)
{
	uint32_t events = (side->rx_ended ? 0u : EPOLLIN) | (writable ? EPOLLOUT : 0u);
	struct epoll_event ev = {.events = events, .data.ptr = side};
	int error;

	/* Of a socket with both directions ended, epoll would tell at each turn. */
	if (side->rx_ended && side->tx_ended)
		events = UNWATCHED;
	if (events == side->events)
		return;
	error = epoll_ctl(storm_epoll, events == UNWATCHED ? EPOLL_CTL_DEL : EPOLL_CTL_MOD, side->fd, &ev);
	if (error != 0)
		die("epoll_ctl");
	side->events = events;
}

static size_t
fill(const struct conn *c, const struct storm_side *side, size_t len)
{
	struct header header = {.run = run_id(), .number = c->number};

	pattern_fill(seed_of(c, side->which), side->sent, chunk, len);
	if (side->which == USER && side->sent < sizeof(header)) {
		size_t left = sizeof(header) - side->sent;

		memcpy(chunk, (const uint8_t *)&header + side->sent, left < len ? left : len);
	}
	return len;
}

/* Whether the side ends its direction now that all of it is sent. */
static bool
ends_sending(const struct conn *c, const struct storm_side *side)
{
	if (c->kind == STORM_BULK)
		return c->ending && (side->which == USER || side->rx_ended);
	return side->which == USER ? c->half_close : c->limit[SERVICE] != 0;
}

/* Sends what may be sent. 0, or an errno. */
static int
side_send(struct conn *c, struct storm_side *side)
{
	bool full = false;

	if (side->connecting)
		return 0;
	while (!full && !side->tx_ended && side->sent < c->limit[side->which]) {
		uint64_t left = c->limit[side->which] - side->sent;
		size_t len = fill(c, side, left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES);
		ssize_t n = send(side->fd, chunk, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			return errno;
		full = n < (ssize_t)len;
		side->sent += n < 0 ? 0 : (uint64_t)n;
		if (side->waiting_us == 0)
			side->waiting_us = now_us();
	}
	if (!full && ends_sending(c, side)) {
		side->tx_ended = true;
		shutdown(side->fd, SHUT_WR);
	}
	side_watch(side, full);
	return 0;
}

/* ---- receiving ---- */

static uint64_t
wrong_bytes(const uint8_t *wanted, const uint8_t *got, size_t len)
{
	uint64_t wrong = 0;

	for (size_t i = 0; i < len; i++)
		wrong += wanted[i] != got[i];
	return wrong;
}

/* What came at side->got; the header is no longer in it. */
static bool
check(const struct conn *c, struct storm_side *side, const uint8_t *data, size_t len)
{
	static uint8_t wanted[CHUNK_BYTES];
	int from = 1 - side->which;

	if (pattern_matches(seed_of(c, from), side->got, data, len))
		return true;
	pattern_fill(seed_of(c, from), side->got, wanted, len);
	storm_count_wrong(wrong_bytes(wanted, data, len));
	return false;
}

/* Bytes came to `side`: the clock of the other's bytes under way starts anew, or stops. */
static void
progress(struct conn *c, struct storm_side *side, size_t len)
{
	struct storm_side *other = c->sides[1 - side->which];
	int64_t now = now_us();

	side->got += len;
	storm_count_bytes(len);
	if (c->kind == STORM_BULK && other->waiting_us != 0)
		storm_count_stall(
			c->number, c->target, side->which == SERVICE, now - other->waiting_us, true);
	other->waiting_us = other->sent > side->got ? now : 0;
}

/* A service's first bytes: 0 when they are not all there; -1: nobody's. */
static int
stranger_receive(struct storm_side *side)
{
	struct header *h = &side->header;
	ssize_t n = recv(side->fd, (uint8_t *)h + side->got, sizeof(*h) - side->got, 0);
	struct conn *c;

	if (n <= 0)
		return n < 0 && errno == EAGAIN ? 0 : -1;
	side->got += (uint64_t)n;
	if (side->got < sizeof(*h))
		return 0;
	c = slots[h->number % SLOTS];
	if (h->run != run_id() || c == NULL || c->number != h->number || c->sides[SERVICE] != NULL)
		return -1;
	LIST_REMOVE(side, entry);
	side->conn = c;
	c->sides[SERVICE] = side;
	side->got = 0;
	progress(c, side, sizeof(*h));
	return 1;
}

/* 0, an errno; EBADMSG: contents differ. */
static int
side_receive(struct conn *c, struct storm_side *side)
{
	/* A few chunks a turn, so that one busy connection does not hold up the others. */
	for (int turn = 0; turn < 4 && !side->rx_ended; turn++) {
		ssize_t n = recv(side->fd, chunk, CHUNK_BYTES, 0);

		if (n < 0)
			return errno == EAGAIN ? 0 : errno;
		if (n == 0) {
			side->rx_ended = true;
			break;
		}
		if (!check(c, side, chunk, (size_t)n))
			return EBADMSG;
		progress(c, side, (size_t)n);
		if (n < CHUNK_BYTES)
			break;
	}
	return 0;
}

/* ---- the life of a connection ---- */

static struct storm_side *
side_new(struct conn *c, int fd, uint8_t which)
{
	struct storm_side *side = calloc(1, sizeof(*side));
	struct epoll_event ev = {.events = which == USER ? EPOLLOUT : EPOLLIN, .data.ptr = side};
	int on = 1;

	if (side == NULL)
		die("calloc");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	side->conn = c;
	side->fd = fd;
	side->which = which;
	side->connecting = which == USER;
	side->events = ev.events;
	if (epoll_ctl(storm_epoll, EPOLL_CTL_ADD, fd, &ev) != 0)
		die("epoll_ctl");
	return side;
}

/* Most are small, some need many packets. */
static uint64_t
short_bytes(uint64_t chance)
{
	uint64_t most = chance % 20 == 0 ? 65536 : chance % 4 == 0 ? 16384 : 2048;

	return sizeof(struct header) + (chance >> 8) % most;
}

static struct conn *
conn_new(enum storm_kind kind, unsigned target)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (c == NULL)
		die("calloc");
	do
		last_number++;
	while (slots[last_number % SLOTS] != NULL);
	c->kind = kind;
	c->number = last_number;
	c->target = target;
	c->started_us = now_us();
	c->half_close = c->number % 2 == 0;
	c->limit[USER] = kind == STORM_SHORT ? short_bytes(pattern_mix(seed_of(c, USER)))
					     : sizeof(struct header);
	slots[c->number % SLOTS] = c;
	LIST_INSERT_HEAD(&running[kind], c, entry);
	storm_count_start(kind);
	return c;
}

void
storm_open(enum storm_kind kind, unsigned target)
{
	const struct addrinfo *peer = storm_plan.targets[target].addr;
	int fd = socket(peer->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct conn *c;

	if (fd < 0)
		die("socket");
	c = conn_new(kind, target);
	if (connect(fd, peer->ai_addr, peer->ai_addrlen) == 0 || errno == EINPROGRESS) {
		c->sides[USER] = side_new(c, fd, USER);
		return;
	}
	int error = errno;

	c->sides[USER] = side_new(c, fd, USER);
	conn_end(c, end_of(error), USER);
}

void
storm_accepted(int fd)
{
	struct storm_side *side = side_new(NULL, fd, SERVICE);

	LIST_INSERT_HEAD(&strangers, side, entry);
}

static int
socket_error(const struct storm_side *side)
{
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(side->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	return error;
}

static void
connected(struct conn *c, struct storm_side *side)
{
	int64_t now = now_us();

	side->connecting = false;
	if (c->kind == STORM_SHORT)
		return;
	/* Spread over a tick, so that it is never quiet for long. */
	c->started_us = now;
	c->tick_us = now + (int64_t)(pattern_mix(c->number) % (uint64_t)storm_plan.tick_us);
}

/* The answer of a short connection is made once its request is there. */
static void
answer(struct conn *c, const struct storm_side *side)
{
	if (c->kind == STORM_SHORT && side->which == SERVICE && side->got == c->limit[USER])
		c->limit[SERVICE] = short_bytes(pattern_mix(seed_of(c, SERVICE)));
}

/* RUNNING is STORM_ENDS. */
static enum storm_end
outcome(const struct conn *c, const struct storm_side *side)
{
	const struct storm_side *user = c->sides[USER], *other = c->sides[1 - side->which];

	if (!side->rx_ended)
		return STORM_ENDS;
	if (other == NULL || !other->tx_ended || side->got != other->sent)
		return STORM_ENDED_EARLY;
	return user->rx_ended && user->got != 0 ? STORM_FINISHED : STORM_ENDS;
}

static int
side_turn(struct conn *c, struct storm_side *side, uint32_t events)
{
	int error = 0;

	if (side->connecting && (error = socket_error(side)) == 0)
		connected(c, side);
	if (error == 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
		error = side->rx_ended ? socket_error(side) : side_receive(c, side);
	if (error == 0) {
		answer(c, side);
		error = side_send(c, side);
	}
	return error;
}

void
storm_turn(struct storm_side *side, uint32_t events)
{
	struct conn *c;
	enum storm_end end;
	int error;

	if (side->fd < 0)
		return;
	if (side->conn == NULL && stranger_receive(side) < 0)
		side_close(side);
	if ((c = side->conn) == NULL || side->fd < 0)
		return;
	error = side_turn(c, side, events);
	end = error == 0 ? outcome(c, side) : error == EBADMSG ? STORM_CORRUPT : end_of(error);
	if (end != STORM_ENDS)
		conn_end(c, end, side->which);
}

/* ---- what time brings ---- */

static void
bulk_due(struct conn *c, int64_t now)
{
	uint64_t due = storm_plan.bulk_bytes_s * (uint64_t)(now - c->started_us) / 1000000;
	struct storm_side *both[2] = {c->sides[USER], c->sides[SERVICE]};

	c->tick_us += ((now - c->tick_us) / storm_plan.tick_us + 1) * storm_plan.tick_us;
	for (int i = 0; i < 2; i++) {
		int error;

		if (both[i] == NULL)
			continue;
		if (!c->ending && due > c->limit[i])
			c->limit[i] = due;
		if ((error = side_send(c, both[i])) != 0) {
			conn_end(c, end_of(error), i);
			return;
		}
	}
}

void
storm_tick(int64_t now)
{
	struct conn *c, *next;

	for (c = LIST_FIRST(&running[STORM_BULK]); c != NULL; c = next) {
		next = LIST_NEXT(c, entry);
		if (!c->sides[USER]->connecting && c->tick_us <= now)
			bulk_due(c, now);
	}
}

static void
sweep_bulk(struct conn *c, int64_t now)
{
	int64_t opening = c->sides[USER]->connecting ? now - c->started_us : 0;
	int64_t longest = opening;

	for (int i = 0; i < 2; i++) {
		const struct storm_side *side = c->sides[i];
		int64_t stall = side == NULL || side->waiting_us == 0 ? 0 : now - side->waiting_us;

		if (stall > 0)
			storm_count_stall(c->number, c->target, i == USER, stall, false);
		if (stall > longest)
			longest = stall;
	}
	if (longest > storm_plan.timeout_us)
		conn_end(c, STORM_TIMED_OUT, USER);
}

void
storm_sweep(int64_t now)
{
	struct conn *c, *next;

	for (c = LIST_FIRST(&running[STORM_BULK]); c != NULL; c = next) {
		next = LIST_NEXT(c, entry);
		sweep_bulk(c, now);
	}
	for (c = LIST_FIRST(&running[STORM_SHORT]); c != NULL; c = next) {
		next = LIST_NEXT(c, entry);
		if (now - c->started_us > storm_plan.timeout_us)
			conn_end(c, STORM_TIMED_OUT, USER);
	}
}

void
storm_finish_bulk(void)
{
	struct conn *c;

	LIST_FOREACH(c, &running[STORM_BULK], entry)
		c->ending = true;
}

unsigned
storm_running(void)
{
	unsigned n = 0;
	struct conn *c;

	for (int kind = 0; kind < STORM_KINDS; kind++)
		LIST_FOREACH(c, &running[kind], entry)
			n++;
	return n;
}

unsigned
storm_running_bulk(unsigned target, unsigned *served)
{
	unsigned n = 0;
	struct conn *c;

	*served = 0;
	LIST_FOREACH(c, &running[STORM_BULK], entry) {
		if (c->target != target)
			continue;
		n++;
		*served += c->sides[USER]->got != 0;
	}
	return n;
}

bool
storm_all_flow(void)
{
	struct conn *c;
	unsigned n = 0;

	LIST_FOREACH(c, &running[STORM_BULK], entry) {
		if (c->sides[SERVICE] == NULL || c->sides[USER]->got == 0)
			return false;
		n++;
	}
	return n >= storm_plan.bulk;
}
