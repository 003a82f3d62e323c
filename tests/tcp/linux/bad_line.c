/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line between two interfaces of this namespace, bad in both directions:
 *
 *   left → wire (rate, delay, queue) → chance (bad_line.bpf.c) → right
 *                                         └→ late wire (delay) ──┘
 *
 * or, with no `right`, before the interface `left` of one of the ends: what
 * that sends and receives crosses the line first. Says "ready" on standard output; at SIGTERM prints its counters as
 * JSON and ends. The thread sleeps between turns, so that frames go in small
 * groups, as an interface with interrupt moderation hands them on.
 */
#include <err.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "common/clock.h"
#include "tests/tcp/linux/hook.h"
#include "tests/tcp/linux/wire.h"
#include "bad_line.skel.h"

#define GROUP_NS 200000 /* at most this much too late */
#define WIRES    4

struct options {
	const char *left, *right;
	uint64_t rate_mbit, delay_us, queue_bytes, late_us, mtu;
	uint64_t loss_ppm, late_ppm, ce_ppm, seed;
};

struct direction {
	struct bad_line *bpf;
	struct wire *wire, *late;
};

static volatile sig_atomic_t stop;

static void
on_signal(int sig)
{
	stop = 1;
}

/* Arguments are NAME VALUE pairs. */
static void
parse(int argc, char **argv, struct options *o)
{
	struct {
		const char *name;
		uint64_t *value;
	} numbers[] = {{"rate-mbit", &o->rate_mbit}, {"delay-us", &o->delay_us},
		{"queue-bytes", &o->queue_bytes}, {"late-us", &o->late_us}, {"mtu", &o->mtu},
		{"loss-ppm", &o->loss_ppm}, {"late-ppm", &o->late_ppm}, {"ce-ppm", &o->ce_ppm},
		{"seed", &o->seed}};
	const size_t n = sizeof(numbers) / sizeof(numbers[0]);

	for (int i = 1; i + 1 < argc; i += 2) {
		size_t k = 0;

		while (k < n && strcmp(argv[i], numbers[k].name) != 0)
			k++;
		if (k < n)
			*numbers[k].value = strtoull(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "left") == 0)
			o->left = argv[i + 1];
		else if (strcmp(argv[i], "right") == 0)
			o->right = argv[i + 1];
		else
			errx(2, "unknown option %s", argv[i]);
	}
	if (argc % 2 == 0 || o->left == NULL)
		errx(2, "usage: bad_line left IF [right IF] [rate-mbit N] [delay-us N] [queue-bytes N] "
			"[late-us N] [mtu N] [loss-ppm N] [late-ppm N] [ce-ppm N] [seed N]");
}

/* The programs of a direction that ends at link `far`. */
static struct bad_line *
program(const struct options *o, uint64_t salt, const char *wire, const char *late, uint32_t far,
	uint32_t far_flags)
{
	struct bad_line *b = bad_line__open();

	if (b == NULL)
		err(1, "bad_line.bpf.o");
	b->rodata->loss_ppm = (uint32_t)o->loss_ppm;
	b->rodata->late_ppm = (uint32_t)o->late_ppm;
	b->rodata->ce_ppm = (uint32_t)o->ce_ppm;
	b->rodata->wire_link = link_index(wire);
	b->rodata->late_link = link_index(late);
	b->rodata->far_link = far;
	b->rodata->far_flags = far_flags;
	b->data->chance = (o->seed * 2 + salt) * 0x9e3779b97f4a7c15u | 1;
	if (bad_line__load(b) != 0)
		err(1, "bad_line.bpf.o does not load");
	return b;
}

static void
open_direction(struct direction *d, const struct options *o, unsigned way)
{
	static const char *const names[][2] = {{"wire0", "late0"}, {"wire1", "late1"}};
	const char *wire = names[way][0], *late = names[way][1];
	struct wire_config wc = {wire, (uint32_t)o->mtu, o->rate_mbit * 1000000, o->delay_us * 1000,
		o->queue_bytes};
	struct wire_config lc = {late, (uint32_t)o->mtu, 0, o->late_us * 1000, 0};
	uint32_t left = link_index(o->left), right = o->right != NULL ? link_index(o->right) : left;
	enum bpf_tc_attach_point at = o->right == NULL && way == 0 ? BPF_TC_EGRESS : BPF_TC_INGRESS;

	d->wire = wire_open(&wc);
	d->late = wire_open(&lc);
	d->bpf = program(o, way, wire, late, way == 0 ? right : left,
		o->right == NULL && way == 1 ? BPF_F_INGRESS : 0);
	hook_attach(link_index(wire), BPF_TC_INGRESS, d->bpf->progs.line_cross);
	hook_attach(link_index(late), BPF_TC_INGRESS, d->bpf->progs.line_late);
	hook_attach(way == 0 ? left : right, at, d->bpf->progs.line_enter);
}

/* Both directions, until the signal. */
static void
carry(struct direction d[2], const sigset_t *unblocked)
{
	struct wire *wires[WIRES] = {d[0].wire, d[0].late, d[1].wire, d[1].late};
	struct pollfd p[WIRES];

	for (unsigned i = 0; i < WIRES; i++)
		p[i] = (struct pollfd) {.fd = wire_fd(wires[i]), .events = POLLIN};
	while (!stop) {
		uint64_t now = qp_now_ns(), next = UINT64_MAX;
		struct timespec ts = {.tv_nsec = GROUP_NS};

		for (unsigned i = 0; i < WIRES; i++) {
			uint64_t due = wire_turn(wires[i], now);

			next = due < next ? due : next;
		}
		if (next == UINT64_MAX)
			ppoll(p, WIRES, NULL, unblocked);
		else
			ppoll(NULL, 0, &ts, unblocked);
	}
}

static void
print(const char *name, const struct direction *d, const char *end)
{
	printf("\"%s\": {\"packets\": %llu, \"lost\": %llu, \"late\": %llu, \"marked\": %llu, "
	       "\"several\": %llu, \"queue_dropped\": %llu}%s", name,
		(unsigned long long)d->bpf->bss->packets, (unsigned long long)d->bpf->bss->lost,
		(unsigned long long)d->bpf->bss->late, (unsigned long long)d->bpf->bss->marked,
		(unsigned long long)d->bpf->bss->several,
		(unsigned long long)wire_dropped(d->wire), end);
}

int
main(int argc, char **argv)
{
	struct options o = {.mtu = 1500, .seed = 1};
	struct direction d[2] = {0};
	sigset_t blocked, before;

	parse(argc, argv, &o);
	signal(SIGTERM, on_signal);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	prctl(PR_SET_TIMERSLACK, 1000);
	open_direction(&d[0], &o, 0);
	open_direction(&d[1], &o, 1);
	puts("ready");
	fflush(stdout);
	carry(d, &before);
	printf("{");
	print("to_right", &d[0], ", ");
	print("to_left", &d[1], "}\n");
	for (unsigned i = 0; i < 2; i++) {
		bad_line__destroy(d[i].bpf);
		wire_close(d[i].wire);
		wire_close(d[i].late);
	}
	return 0;
}
