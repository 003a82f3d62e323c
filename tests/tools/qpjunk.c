/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "junk.h"
#include "pattern.h"

/*
 * Sends a bounded number of junk packets to a gateway's UDP port (ordinary
 * sockets) or to an open TCP port (raw socket, any source), as fast as it can
 * or at a rate. A seed repeats a run. Prints one JSON line.
 */

enum {
	BATCH = 64,
	SOURCES = 16,
};

struct target {
	struct sockaddr_storage addr;
	socklen_t addr_len;
	struct junk_flow flow;
	bool tcp;
	bool syn;      /* TCP: handshakes' first packets only */
	uint32_t rate; /* packets a second; 0: as fast as it goes */
};

static struct junk_rng rng;
static uint8_t packets[BATCH][JUNK_MAX_BYTES];

uint32_t
junk_random(struct junk_rng *r)
{
	return (uint32_t)(pattern_mix(r->state++) >> 32);
}

uint32_t
junk_below(struct junk_rng *r, uint32_t below)
{
	return (uint32_t)((uint64_t)junk_random(r) * below >> 32);
}

void
junk_bytes(struct junk_rng *r, uint8_t *buf, size_t len)
{
	pattern_fill(r->state++, 0, buf, len);
}

size_t
junk_mutate(struct junk_rng *r, uint8_t *buf, size_t len, size_t size)
{
	for (uint32_t n = 1 + junk_below(r, 4); n > 0 && len > 1; n--) {
		size_t at = junk_below(r, (uint32_t)len);
		size_t some = 1 + junk_below(r, 16);

		switch (junk_below(r, 5)) {
		case 0: /* cut the end off */
			if (junk_below(r, 4) == 0)
				len = at + 1;
			break;
		case 1: /* repeat a piece further on */
			if (at + 2 * some <= len)
				memmove(buf + at + some, buf + at, some);
			break;
		case 2: /* insert */
			if (len + some <= size) {
				memmove(buf + at + some, buf + at, len - at);
				len += some;
			}
			break;
		case 3:
			buf[at] = (uint8_t)junk_random(r);
			break;
		default:
			buf[at] ^= (uint8_t)(1u << junk_below(r, 8));
			break;
		}
	}
	return len;
}

static _Noreturn void
die(const char *what)
{
	fprintf(stderr, "qpjunk: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* A numeric address, v4-mapped for IPv4. */
static struct in6_addr
parse_address(const char *text)
{
	struct in6_addr addr = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

	if (inet_pton(AF_INET, text, addr.s6_addr + 12) == 1 ||
		inet_pton(AF_INET6, text, &addr) == 1)
		return addr;
	errno = EINVAL;
	die(text);
}

static void
set_sockaddr(struct target *t, uint16_t port)
{
	if (IN6_IS_ADDR_V4MAPPED(&t->flow.dst)) {
		struct sockaddr_in *in = (struct sockaddr_in *)&t->addr;

		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		memcpy(&in->sin_addr, t->flow.dst.s6_addr + 12, 4);
		t->addr_len = sizeof(*in);
		return;
	}
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&t->addr;

	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	in6->sin6_addr = t->flow.dst;
	t->addr_len = sizeof(*in6);
}

static int
open_socket(const struct target *t)
{
	int family = t->addr.ss_family, on = 1;
	int fd = socket(family, t->tcp ? SOCK_RAW : SOCK_DGRAM, t->tcp ? IPPROTO_RAW : 0);

	if (fd < 0)
		die("socket");
	/* A raw IPv6 destination's port must be 0: the header is ours. */
	if (t->tcp && family == AF_INET6 &&
		setsockopt(fd, IPPROTO_IPV6, IPV6_HDRINCL, &on, sizeof(on)) != 0)
		die("IPV6_HDRINCL");
	if (!t->tcp && connect(fd, (const struct sockaddr *)&t->addr, t->addr_len) != 0)
		die("connect");
	return fd;
}

static size_t
make_packet(const struct target *t, uint8_t buf[JUNK_MAX_BYTES])
{
	if (t->syn)
		return junk_syn(&rng, &t->flow, buf);
	return t->tcp ? junk_tcp(&rng, &t->flow, buf) : junk_quic(&rng, buf);
}

/* Sends a batch of junk; how many packets the kernel took. */
static unsigned
send_batch(int fd, const struct target *t, unsigned count)
{
	struct mmsghdr messages[BATCH] = {0};
	struct iovec iov[BATCH];
	unsigned sent = 0;

	for (unsigned i = 0; i < count; i++) {
		iov[i].iov_base = packets[i];
		iov[i].iov_len = make_packet(t, packets[i]);
		messages[i].msg_hdr.msg_iov = &iov[i];
		messages[i].msg_hdr.msg_iovlen = 1;
		if (t->tcp) {
			messages[i].msg_hdr.msg_name = (void *)(uintptr_t)&t->addr;
			messages[i].msg_hdr.msg_namelen = t->addr_len;
		}
	}
	while (sent < count) {
		int n = sendmmsg(fd, messages + sent, count - sent, 0);

		if (n > 0)
			sent += (unsigned)n;
		else if (errno != ECONNREFUSED && errno != ENOBUFS && errno != EAGAIN)
			die("send");
		/* An ICMP error of an earlier packet is told once, and takes none with it. */
	}
	return sent;
}

static double
now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Returns when packet number `sent` is due. */
static void
pace(const struct target *t, double start, uint64_t sent)
{
	double wait = t->rate == 0 ? 0 : start + (double)sent / t->rate - now_s();

	if (wait > 0)
		nanosleep(&(struct timespec) {(time_t)wait, (long)((wait - (double)(time_t)wait) * 1e9)}, NULL);
}

static void
run(const struct target *t, uint64_t count)
{
	int fds[SOURCES];
	unsigned nfds = t->tcp ? 1 : SOURCES;
	uint64_t sent = 0;
	double start = now_s();

	for (unsigned i = 0; i < nfds; i++)
		fds[i] = open_socket(t);
	for (unsigned turn = 0; sent < count; turn++) {
		uint64_t left = count - sent;

		pace(t, start, sent);
		sent += send_batch(fds[turn % nfds], t, left < BATCH ? (unsigned)left : BATCH);
	}
	for (unsigned i = 0; i < nfds; i++)
		close(fds[i]);
	printf("{\"sent\": %lu, \"seconds\": %.3f}\n", sent, now_s() - start);
}

static const char usage[] =
	"Usage: qpjunk udp HOST PORT COUNT SEED [RATE]\n"
	"       qpjunk tcp HOST PORT COUNT SEED SOURCE [LIVE_PORT]\n"
	"       qpjunk syn-flood HOST PORT COUNT SEED SOURCE [RATE]\n"
	"SOURCE is the address that segments claim to come from (of a SYN flood's, the\n"
	"last three bytes are random), LIVE_PORT the source port of a connection that\n"
	"is up, to aim some of them at. RATE is in packets a second; default: no limit.\n";

int
main(int argc, char **argv)
{
	struct target t = {0};
	const char *kind = argc > 1 ? argv[1] : "";
	int least, last;

	t.syn = strcmp(kind, "syn-flood") == 0;
	t.tcp = t.syn || strcmp(kind, "tcp") == 0;
	least = t.tcp ? 7 : 6;
	if ((!t.tcp && strcmp(kind, "udp") != 0) || argc < least || argc > least + 1) {
		fputs(usage, stderr);
		return 2;
	}
	t.flow.dst = parse_address(argv[2]);
	t.flow.dport = (uint16_t)atoi(argv[3]);
	rng.state = strtoull(argv[5], NULL, 0);
	if (t.tcp)
		t.flow.src = parse_address(argv[6]);
	last = argc > least ? atoi(argv[least]) : 0;
	if (t.tcp && !t.syn)
		t.flow.live_sport = (uint16_t)last;
	else
		t.rate = (uint32_t)last;
	set_sockaddr(&t, t.tcp ? 0 : t.flow.dport);
	run(&t, strtoull(argv[4], NULL, 0));
	return 0;
}
