/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <quicport.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/heap.h"

/*
 * Opens and closes many tunnels to a gateway from one process, some at a time,
 * or holds them. After each round it says how many there were and how much heap
 * it has itself, and waits for a line on standard input. One thread.
 */

enum {
	MAX_PARALLEL = 20000,
};

#define SETTLE_S 1.0

struct tunnel {
	struct qp_forward *f;
	bool open, over; /* over: to be removed in the next turn, not from a callback */
};

static struct {
	const char *server, *psk, *local;
	unsigned long count, parallel, rounds;
	bool hold;
} plan = {.local = "9", .count = 100, .parallel = 16, .rounds = 1};

static struct tunnel tunnels[MAX_PARALLEL];
static struct {
	unsigned long started, running, opened, refused;
} now;

static double
seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void
on_open(void *user, struct qp_forward *f, const char *message)
{
	struct tunnel *t = qp_forward_user(f);

	t->open = true;
	now.opened++;
	t->over = !plan.hold;
}

static void
on_closed(void *user, struct qp_forward *f, const struct qp_error *why, int64_t retry_ms)
{
	struct tunnel *t = qp_forward_user(f);

	if (!t->open) {
		if (now.refused++ == 0)
			fprintf(stderr, "qptunnels: %s\n", why->text);
	}
	t->over = true;
}

static void
start_one(struct qp_client *client, struct tunnel *t)
{
	struct qp_forward_options o = QP_FORWARD_OPTIONS;
	struct qp_error error;

	*t = (struct tunnel) {0};
	o.remote = "0";
	o.local = plan.local;
	o.user = t;
	if (qp_client_add(client, &o, &t->f, &error) != 0) {
		fprintf(stderr, "qptunnels: %s\n", error.text);
		exit(2);
	}
	now.started++;
	now.running++;
}

/* Removes those that are over and starts others in their places. */
static void
refill(struct qp_client *client)
{
	for (unsigned long i = 0; i < plan.parallel; i++) {
		struct tunnel *t = &tunnels[i];

		if (t->f != NULL && t->over) {
			qp_client_remove(client, t->f);
			t->f = NULL;
			now.running--;
		}
		if (t->f == NULL && now.started < plan.count)
			start_one(client, t);
	}
}

static void
turn(struct qp_client *client)
{
	struct pollfd fd = {.fd = qp_client_fd(client), .events = POLLIN};

	if (poll(&fd, 1, 100) < 0 && errno != EINTR)
		exit(2);
	if (qp_client_process(client) != 0)
		exit(2);
}

/* True: the round is complete. Those that are held are open, or were refused. */
static bool
round_over(void)
{
	if (plan.hold)
		return now.opened + now.refused >= plan.count;
	return now.started == plan.count && now.running == 0;
}

static void
wait_for_line(struct qp_client *client)
{
	struct pollfd fds[] = {{.fd = qp_client_fd(client), .events = POLLIN},
		{.fd = STDIN_FILENO, .events = POLLIN}};
	char c = 0;

	/* What is held is kept alive meanwhile. */
	while (c != '\n') {
		if (poll(fds, 2, -1) < 0)
			exit(2);
		if (fds[0].revents != 0 && qp_client_process(client) != 0)
			exit(2);
		if (fds[1].revents != 0 && read(STDIN_FILENO, &c, 1) <= 0)
			return;
	}
}

/* Those that were removed say goodbye, and are kept until nothing more can come of them. */
static void
settle(struct qp_client *client)
{
	double until = seconds() + SETTLE_S;

	while (!plan.hold && seconds() < until)
		turn(client);
}

static void
run_round(struct qp_client *client, unsigned long number)
{
	double begin = seconds(), took;

	memset(&now, 0, sizeof(now));
	while (!round_over()) {
		refill(client);
		turn(client);
	}
	took = seconds() - begin;
	settle(client);
	printf("{\"round\": %lu, \"opened\": %lu, \"refused\": %lu, \"seconds\": %.3f, "
	       "\"heap_bytes\": %lu}\n",
		number, now.opened, now.refused, took, qp_heap_in_use());
	fflush(stdout);
	wait_for_line(client);
}

static void
usage(void)
{
	fputs("Usage: qptunnels SERVER PSK [option]\n"
	      "  --count N     tunnels in a round (default 100)\n"
	      "  --parallel N  at once (default 16)\n"
	      "  --rounds N    (default 1)\n"
	      "  --hold        keep them open: as many at once as --count says\n"
	      "  --local PORT  where their connections go (default 9)\n",
		stderr);
	exit(2);
}

static void
take_options(int argc, char **argv)
{
	static const struct option options[] = {{"count", required_argument, NULL, 'c'},
		{"parallel", required_argument, NULL, 'p'}, {"rounds", required_argument, NULL, 'r'},
		{"hold", no_argument, NULL, 'h'}, {"local", required_argument, NULL, 'l'},
		{NULL, 0, NULL, 0}};
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'c')
			plan.count = strtoul(optarg, NULL, 10);
		else if (opt == 'p')
			plan.parallel = strtoul(optarg, NULL, 10);
		else if (opt == 'r')
			plan.rounds = strtoul(optarg, NULL, 10);
		else if (opt == 'l')
			plan.local = optarg;
		else if (opt == 'h')
			plan.hold = true;
		else
			usage();
	}
	if (argc - optind != 2)
		usage();
	if (plan.hold)
		plan.parallel = plan.count;
	if (plan.parallel == 0 || plan.parallel > MAX_PARALLEL)
		usage();
	plan.server = argv[optind];
	plan.psk = argv[optind + 1];
}

int
main(int argc, char **argv)
{
	struct qp_client_options o = QP_CLIENT_OPTIONS;
	struct qp_client *client;
	struct qp_error error;

	take_options(argc, argv);
	o.server = plan.server;
	o.identity.psk = plan.psk;
	o.insecure = true;
	o.reconnect = false;
	o.callbacks.forward_open = on_open;
	o.callbacks.closed = on_closed;
	if (qp_client_new(&o, &client, &error) != 0) {
		fprintf(stderr, "qptunnels: %s\n", error.text);
		return 2;
	}
	for (unsigned long i = 1; i <= plan.rounds; i++)
		run_round(client, i);
	qp_client_stop(client);
	while (!qp_client_done(client))
		turn(client);
	qp_client_free(client);
	return 0;
}
