/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/hist.h"
#include "gauge.h"
#include "loop.h"
#include "net.h"

/*
 * What a relay carries in a given time: bulk each way, requests and their
 * latency, connections. Both ends count every byte, for scripts/bench/compare
 * to compare. Kernel sockets, one epoll thread; results are a JSON line.
 */

enum {
	TURN_MS = 20, /* the clock is looked at that often */
};

struct gauge_plan gauge_plan = {.size = 64};
struct gauge_totals gauge_totals;
int gauge_epoll;

static struct loop loop = {
	.listener = -1, .accepted = gauge_conn_new, .ready = gauge_conn_turn};
static const char *host, *port;
static uint64_t parallel = 1;
static int64_t time_ns, grace_ns = INT64_C(10000000000);

int64_t
gauge_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static void
print_totals(int64_t start_ns)
{
	const struct gauge_totals *t = &gauge_totals;
	double seconds = t->last_ns > start_ns ? (double)(t->last_ns - start_ns) / 1e9 : 0;

	printf("{\"ok\": %lu, \"failed\": %lu, \"rx_bytes\": %lu, \"tx_bytes\": %lu, \"wrong\": %lu, "
	       "\"answers\": %lu, \"seconds\": %.6f",
		t->ok, t->failed, t->rx_bytes, t->tx_bytes, t->wrong, t->answers, seconds);
	printf(", \"p50_us\": %.3f, \"p99_us\": %.3f, \"max_us\": %.3f",
		(double)qpb_hist_percentile(t->latency_ns, 50) / 1e3,
		(double)qpb_hist_percentile(t->latency_ns, 99) / 1e3,
		(double)t->latency_ns->max / 1e3);
	print_errors(t->errors);
}

static void
start_connection(const struct addrinfo *peer)
{
	int fd = socket(peer->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	if (connect(fd, peer->ai_addr, peer->ai_addrlen) != 0 && errno != EINPROGRESS)
		die("connect");
	gauge_conn_new(fd);
}

/* Connections until the time is over, then until they have ended, within the grace. */
static int
run_client(void)
{
	struct addrinfo *peer = resolve(host, port);
	int64_t start = gauge_now_ns(), now = start;

	while (!told_to_end && now < start + time_ns + grace_ns) {
		bool more = !gauge_plan.stopping &&
			    (gauge_plan.work == GAUGE_CONNECT || gauge_totals.started < parallel);

		/* A relay that refuses is not asked forever. */
		if (more && gauge_totals.failed < parallel)
			while (gauge_conns() < parallel)
				start_connection(peer);
		if (gauge_conns() == 0)
			break;
		loop_turn(&loop, TURN_MS);
		now = gauge_now_ns();
		if (!gauge_plan.stopping && now >= start + time_ns) {
			gauge_plan.stopping = true;
			gauge_conns_stop();
		}
	}
	gauge_conns_give_up();
	print_totals(start);
	freeaddrinfo(peer);
	return gauge_totals.failed == 0 && gauge_totals.ok > 0 ? 0 : 1;
}

/* Until SIGTERM; connections of that time may end within the grace. */
static int
run_service(void)
{
	int64_t start = gauge_now_ns(), end;

	loop_listen(&loop, host, port);
	while (!told_to_end)
		loop_turn(&loop, TURN_MS);
	accept_all(loop.listener, gauge_conn_new);
	close(loop.listener);
	end = gauge_now_ns() + grace_ns;
	while (gauge_conns() > 0 && gauge_now_ns() < end)
		loop_turn(&loop, TURN_MS);
	gauge_conns_give_up();
	print_totals(start);
	return 0;
}

static void
usage(FILE *out)
{
	fputs("Usage: qpgauge serve HOST PORT [option]        a service, until SIGTERM\n"
	      "       qpgauge run HOST PORT WORK [option]     a client; WORK: up, down, ask, connect\n"
	      "  --parallel N   connections at once (default 1)\n"
	      "  --size BYTES   of a request and of its answer (default 64)\n"
	      "  --ms N         so long nothing new stops to begin (default 1000)\n"
	      "  --grace MS     then what is under way may end (default 10000)\n",
		out);
}

static const struct option options[] = {
	{"parallel", required_argument, NULL, 'p'},
	{"size", required_argument, NULL, 's'},
	{"ms", required_argument, NULL, 'm'},
	{"grace", required_argument, NULL, 'g'},
	{NULL, 0, NULL, 0},
};

static void
take_option(int opt)
{
	uint64_t value = opt == '?' ? 0 : number(optarg);

	if (opt == 'p' && value > 0 && value <= 10000)
		parallel = value;
	else if (opt == 's' && value > 0 && value <= GAUGE_CHUNK)
		gauge_plan.size = (uint32_t)value;
	else if (opt == 'm' && value > 0 && value <= 3600000)
		time_ns = (int64_t)value * 1000000;
	else if (opt == 'g' && value <= 3600000)
		grace_ns = (int64_t)value * 1000000;
	else {
		usage(stderr);
		exit(2);
	}
}

static bool
take_work(const char *text)
{
	static const struct {
		const char *name;
		enum gauge_work work;
	} works[] = {{"up", GAUGE_UP}, {"down", GAUGE_DOWN}, {"ask", GAUGE_ASK},
		{"connect", GAUGE_CONNECT}};

	for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++) {
		if (strcmp(text, works[i].name) == 0) {
			gauge_plan.work = works[i].work;
			return true;
		}
	}
	return false;
}

int
main(int argc, char **argv)
{
	int opt;

	time_ns = INT64_C(1000000000);
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1)
		take_option(opt);
	argv += optind;
	gauge_plan.serve = argc - optind == 3 && strcmp(argv[0], "serve") == 0;
	if (!gauge_plan.serve &&
		(argc - optind != 4 || strcmp(argv[0], "run") != 0 || !take_work(argv[3]))) {
		usage(stderr);
		return 2;
	}
	host = argv[1];
	port = argv[2];
	raise_file_limit();
	gauge_make_pattern();
	end_by_signals();
	gauge_totals.latency_ns = qpb_hist_new();
	if (gauge_totals.latency_ns == NULL || (gauge_epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
		die("epoll_create");
	loop.epoll = gauge_epoll;
	return gauge_plan.serve ? run_service() : run_client();
}
