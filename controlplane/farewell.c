/* SPDX-License-Identifier: Apache-2.0 */
/* Stateless resets in a dead data plane's name (RFC 9000, 10.3). Loop thread. */
#include "controlplane/farewell.h"

#include <errno.h>
#include <netinet/in.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/farewell.h"
#include "common/ipc.h"

/* Each may bring a handshake: so many at a time, so that the new data plane keeps up. */
#define BATCH 64u
#define EVERY_MS 5u
/* As long as a short packet with a small payload; the token is its end (10.3). */
#define DATAGRAM_BYTES 43u

struct qp_goodbyes {
	struct qp_goodbyes_config cfg;
	struct qp_loop_timer timer;
	struct qp_farewell_entry *entry; /* those that wait, [next, n) */
	uint32_t n, next, cap;
	uint64_t sent;
};

static int
make_datagram(uint8_t out[DATAGRAM_BYTES], const struct qp_farewell_entry *e)
{
	const unsigned noise = DATAGRAM_BYTES - QP_RESET_TOKEN_BYTES;

	randombytes_buf(out, noise);
	out[0] = (uint8_t)(0x40 | (out[0] & 0x3f)); /* a short header's fixed bit */
	memcpy(out + noise, e->token, QP_RESET_TOKEN_BYTES);
	return DATAGRAM_BYTES;
}

/* The peer, as the socket's family writes it. */
static socklen_t
peer_address(const struct qp_farewell_entry *e, int family, struct sockaddr_storage *ss)
{
	struct sockaddr_in *in4 = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

	memset(ss, 0, sizeof(*ss));
	if (family == AF_INET) {
		in4->sin_family = AF_INET;
		in4->sin_port = e->peer_port_be;
		memcpy(&in4->sin_addr, e->peer + 12, sizeof(in4->sin_addr));
		return sizeof(*in4);
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = e->peer_port_be;
	memcpy(&in6->sin6_addr, e->peer, sizeof(in6->sin6_addr));
	return sizeof(*in6);
}

/*
 * From the address that the client speaks to: it hears no other. A socket of one
 * IPv4 address has it; one of IPv6 takes IPv4's in mapped form.
 */
static bool
send_one(int fd, const struct qp_farewell_entry *e)
{
	uint8_t datagram[DATAGRAM_BYTES];
	struct sockaddr_storage own, peer;
	socklen_t len = sizeof(own);
	struct in6_pktinfo from = {.ipi6_ifindex = 0};
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(from))];
	} control = {.buf = {0}};
	struct iovec iov = {datagram, (size_t)make_datagram(datagram, e)};
	struct msghdr mh = {.msg_name = &peer, .msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *cm;

	if (getsockname(fd, (struct sockaddr *)&own, &len) != 0)
		return false;
	mh.msg_namelen = peer_address(e, own.ss_family, &peer);
	if (own.ss_family == AF_INET6) {
		mh.msg_control = control.buf;
		mh.msg_controllen = sizeof(control.buf);
		cm = CMSG_FIRSTHDR(&mh);
		cm->cmsg_level = IPPROTO_IPV6;
		cm->cmsg_type = IPV6_PKTINFO;
		cm->cmsg_len = CMSG_LEN(sizeof(from));
		memcpy(&from.ipi6_addr, e->local, sizeof(from.ipi6_addr));
		memcpy(CMSG_DATA(cm), &from, sizeof(from));
	}
	return sendmsg(fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)iov.iov_len;
}

static void
forget(struct qp_goodbyes *g)
{
	qp_loop_timer_cancel(g->cfg.loop, &g->timer);
	free(g->entry);
	g->entry = NULL;
	g->n = g->next = g->cap = 0;
}

/* False: there is no way out. */
static bool
send_by_socket(struct qp_goodbyes *g)
{
	const int fd = g->cfg.socket(g->cfg.ctx);

	for (unsigned i = 0; fd >= 0 && i < BATCH && g->next < g->n; i++)
		g->sent += send_one(fd, &g->entry[g->next++]);
	return fd >= 0;
}

static bool
hand_out(struct qp_goodbyes *g)
{
	const unsigned left = g->n - g->next;
	const int took = g->cfg.send(g->cfg.ctx, &g->entry[g->next], left < BATCH ? left : BATCH);

	if (took > 0) {
		g->next += (unsigned)took;
		g->sent += (unsigned)took;
	}
	return took >= 0;
}

/* What cannot be sent is only late: that client finds out by itself. */
static void
on_time(void *ctx)
{
	struct qp_goodbyes *g = ctx;
	const bool goes = g->cfg.send != NULL ? hand_out(g) : send_by_socket(g);

	if (!goes || g->next == g->n)
		forget(g);
	else
		qp_loop_timer_set(g->cfg.loop, &g->timer, EVERY_MS);
}

struct qp_goodbyes *
qp_goodbyes_new(const struct qp_goodbyes_config *cfg)
{
	struct qp_goodbyes *g = calloc(1, sizeof(*g));

	if (g == NULL)
		return NULL;
	g->cfg = *cfg;
	g->timer = (struct qp_loop_timer) {.fire = on_time, .ctx = g};
	return g;
}

void
qp_goodbyes_free(struct qp_goodbyes *g)
{
	if (g == NULL)
		return;
	forget(g);
	free(g);
}

static bool
append(struct qp_goodbyes *g, const struct qp_farewell_entry *e)
{
	if (g->n == g->cap) {
		const uint32_t cap = g->cap > 0 ? g->cap * 2 : 64;
		struct qp_farewell_entry *grown = reallocarray(g->entry, cap, sizeof(*grown));

		if (grown == NULL)
			return false;
		g->entry = grown;
		g->cap = cap;
	}
	g->entry[g->n++] = *e;
	return true;
}

static unsigned
collect_table(struct qp_goodbyes *g, const struct qp_farewell_table *t, size_t len)
{
	const struct qp_farewell_entry *e;
	unsigned found = 0;

	/* A later release's entries are longer: what it appends is not for us. */
	if (len < sizeof(*t) || t->magic != QP_FAREWELL_MAGIC || t->entry_bytes < sizeof(*e) ||
		t->entry_bytes % _Alignof(struct qp_farewell_entry) != 0 ||
		t->n > (len - sizeof(*t)) / t->entry_bytes)
		return 0;
	for (uint32_t i = 0; i < t->n; i++) {
		e = (const void *)((const char *)t->entry + (size_t)i * t->entry_bytes);
		/* Pairs with its writer's release: the fields are there before the mark. */
		if (__atomic_load_n(&e->used, __ATOMIC_ACQUIRE) != 1)
			continue;
		if (!append(g, e))
			break;
		found++;
	}
	return found;
}

unsigned
qp_goodbyes_collect(struct qp_goodbyes *g, uint32_t server_id)
{
	unsigned found = 0;
	char name[32];

	for (unsigned w = 0; w < QP_MAX_WORKERS; w++) {
		const void *zone;
		size_t len;

		snprintf(name, sizeof(name), QP_FAREWELL_NAME, server_id, w);
		zone = g->cfg.zone(name, &len);
		if (zone == NULL)
			break; /* the workers are numbered: it had no more */
		found += collect_table(g, zone, len);
	}
	return found;
}

void
qp_goodbyes_send(struct qp_goodbyes *g)
{
	if (g->next < g->n && !g->timer.armed)
		on_time(g);
}

bool
qp_goodbyes_busy(const struct qp_goodbyes *g)
{
	return g->timer.armed;
}

uint64_t
qp_goodbyes_sent(const struct qp_goodbyes *g)
{
	return g->sent;
}
