/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tcp/linux/wire.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Frames on a wire stay in order: a ring is all the memory that it needs. */

#define SLOTS  16384u /* a power of two */
#define BURST  256    /* frames taken in one turn, so that wires share the thread */
#define QUEUE_FRAMES 8192

struct slot {
	uint64_t due_ns;
	uint32_t len;
};

struct wire {
	struct wire_config cfg;
	int fd;
	uint32_t stride;      /* bytes of a frame's room */
	uint32_t head, tail;  /* slots [head, tail) are on the wire */
	uint64_t busy_ns;     /* when the last one's end has left the queue */
	uint64_t dropped;
	struct slot slots[SLOTS];
	uint8_t *frames;      /* touched as far as used */
};

static void
set_up(const struct wire_config *cfg)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq ifr = {0};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", cfg->name);
	ifr.ifr_mtu = (int)cfg->mtu;
	if (fd < 0 || ioctl(fd, SIOCSIFMTU, &ifr) != 0)
		err(1, "MTU of %s", cfg->name);
	ifr.ifr_qlen = QUEUE_FRAMES;
	if (ioctl(fd, SIOCSIFTXQLEN, &ifr) != 0)
		err(1, "queue of %s", cfg->name);
	ifr.ifr_flags = IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &ifr) != 0)
		err(1, "%s does not come up", cfg->name);
	close(fd);
}

struct wire *
wire_open(const struct wire_config *cfg)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	struct wire *w = calloc(1, sizeof(*w));

	if (w == NULL)
		err(1, "wire %s", cfg->name);
	w->cfg = *cfg;
	w->stride = cfg->mtu + ETH_HLEN;
	w->frames = malloc((size_t)w->stride * SLOTS);
	w->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", cfg->name);
	if (w->frames == NULL || w->fd < 0 || ioctl(w->fd, TUNSETIFF, &ifr) != 0)
		err(1, "wire %s", cfg->name);
	set_up(cfg);
	return w;
}

/* When a frame that comes now has left the queue; 0: the queue is full. */
static uint64_t
enqueue(struct wire *w, uint32_t len, uint64_t now)
{
	uint64_t start = w->busy_ns > now ? w->busy_ns : now;

	if (w->tail - w->head == SLOTS)
		return 0;
	if (w->cfg.rate_bps == 0)
		return now;
	if ((start - now) * (w->cfg.rate_bps / 8000) / 1000000 + len > w->cfg.queue_bytes)
		return 0;
	w->busy_ns = start + len * UINT64_C(8000000000) / w->cfg.rate_bps;
	return w->busy_ns;
}

static void
take(struct wire *w, uint64_t now)
{
	for (unsigned i = 0; i < BURST; i++) {
		uint8_t *frame = w->frames + (size_t)(w->tail % SLOTS) * w->stride;
		uint8_t spare[1];
		bool full = w->tail - w->head == SLOTS;
		ssize_t n = read(w->fd, full ? spare : frame, full ? sizeof(spare) : w->stride);
		uint64_t left;

		if (n < 0)
			return;
		left = enqueue(w, (uint32_t)n, now);
		if (left == 0) {
			w->dropped++;
			continue;
		}
		w->slots[w->tail % SLOTS].due_ns = left + w->cfg.delay_ns;
		w->slots[w->tail++ % SLOTS].len = (uint32_t)n;
	}
}

uint64_t
wire_turn(struct wire *w, uint64_t now_ns)
{
	take(w, now_ns);
	for (; w->head != w->tail && w->slots[w->head % SLOTS].due_ns <= now_ns; w->head++) {
		size_t i = w->head % SLOTS;

		if (write(w->fd, w->frames + i * w->stride, w->slots[i].len) < 0)
			w->dropped++;
	}
	return w->head != w->tail ? w->slots[w->head % SLOTS].due_ns : UINT64_MAX;
}

int
wire_fd(const struct wire *w)
{
	return w->fd;
}

uint64_t
wire_dropped(const struct wire *w)
{
	return w->dropped;
}

void
wire_close(struct wire *w)
{
	close(w->fd);
	free(w->frames);
	free(w);
}
