/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "load.h"
#include "loop.h"
#include "net.h"

/*
 * Load for the end-to-end tests: a service that many connections come to, and
 * a client that makes many. Ordinary kernel sockets and one epoll thread, so
 * that what is measured and checked is the gateway and not a scripting
 * language. Every connection checks what it receives, byte by byte or by
 * SHA-256. Results go to standard output as JSON lines.
 */

struct plan plan = {
	.reset_after = -1,
	.connections = 1,
	.parallel = 1,
	.deadline_s = 60,
	.seed = 1,
};
struct totals totals;
int load_epoll;

static void
accepted(int fd)
{
	conn_new(fd, false);
}

static struct loop loop = {.listener = -1, .accepted = accepted, .ready = conn_turn};

static void
start_connection(const struct addrinfo *peer)
{
	int fd = socket(peer->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	if (plan.bind_host != NULL) {
		struct addrinfo *local = resolve(plan.bind_host, "0");

		if (bind(fd, local->ai_addr, local->ai_addrlen) != 0)
			die("bind");
		freeaddrinfo(local);
	}
	if (connect(fd, peer->ai_addr, peer->ai_addrlen) != 0 && errno != EINPROGRESS) {
		int error = errno;

		totals.started++;
		totals.finished++;
		totals.failed++;
		totals.errors[error]++;
		close(fd);
		return;
	}
	conn_new(fd, true);
}

static void
print_totals(double seconds)
{
	printf("{\"ok\": %lu, \"failed\": %lu, \"rx_bytes\": %lu, \"tx_bytes\": %lu, "
	       "\"mismatches\": %lu, \"timeouts\": %lu, \"early_ends\": %lu, "
	       "\"seconds\": %.6f, \"slowest_ms\": %.3f",
		totals.done, totals.failed, totals.rx_bytes, totals.tx_bytes, totals.mismatches,
		totals.timeouts, totals.early_ends, seconds, (double)totals.slowest_us / 1e3);
	print_errors(totals.errors);
}

static int
run_client(void)
{
	struct addrinfo *peer = resolve(plan.host, plan.port);
	int64_t start = now_us();
	int64_t end = start + (int64_t)(plan.deadline_s * 1e6);

	while (totals.finished < plan.connections && now_us() < end && !told_to_end) {
		while (totals.started < plan.connections &&
			totals.started - totals.finished < plan.parallel)
			start_connection(peer);
		if (conn_any() != NULL)
			loop_turn(&loop, 100);
	}
	while (conn_any() != NULL) {
		totals.timeouts++;
		conn_give_up(conn_any(), "timeout");
	}
	totals.failed += plan.connections - totals.started;
	print_totals((double)(now_us() - start) / 1e6);
	freeaddrinfo(peer);
	return totals.failed == 0 ? 0 : 1;
}

static int
run_service(void)
{
	loop_listen(&loop, plan.host, plan.port);
	while (!told_to_end)
		loop_turn(&loop, -1);
	while (conn_any() != NULL)
		conn_give_up(conn_any(), "open");
	print_totals(0);
	close(loop.listener);
	return 0;
}

static void
usage(FILE *out)
{
	fputs("Usage: qpload serve HOST PORT [option]   a service, until SIGTERM\n"
	      "       qpload run HOST PORT [option]     a client, until all connections ended\n"
	      "  --echo           service: send back what comes; client: expect that\n"
	      "  --send BYTES     send that many pseudo-random bytes\n"
	      "  --after-eof      send only after the peer has ended its direction\n"
	      "  --half-close     client: end our direction once all is sent\n"
	      "  --reset-after N  reset the connection once N bytes were sent (service: received)\n"
	      "  --hold           service: accept, and never read or write\n"
	      "  --raw            bytes without contents: for measuring\n"
	      "  --sha            hash both directions; one line for each connection\n"
	      "  --connections N  client: how many in all (default 1)\n"
	      "  --parallel N     client: how many at once (default 1)\n"
	      "  --deadline S     client: give up after that many seconds (default 60)\n"
	      "  --bind HOST      client: connect from this address\n"
	      "  --seed N         which pseudo-random bytes (default 1)\n",
		out);
}

static const struct option options[] = {
	{"echo", no_argument, NULL, 'e'},
	{"send", required_argument, NULL, 's'},
	{"after-eof", no_argument, NULL, 'a'},
	{"half-close", no_argument, NULL, 'h'},
	{"reset-after", required_argument, NULL, 'r'},
	{"hold", no_argument, NULL, 'H'},
	{"raw", no_argument, NULL, 'w'},
	{"sha", no_argument, NULL, 'S'},
	{"connections", required_argument, NULL, 'c'},
	{"parallel", required_argument, NULL, 'p'},
	{"deadline", required_argument, NULL, 'd'},
	{"bind", required_argument, NULL, 'b'},
	{"seed", required_argument, NULL, 'x'},
	{"help", no_argument, NULL, '?'},
	{NULL, 0, NULL, 0},
};

static bool
take_option(int opt)
{
	switch (opt) {
	case 'e':
		plan.echo = true;
		break;
	case 's':
		plan.send_bytes = number(optarg);
		break;
	case 'a':
		plan.after_eof = true;
		break;
	case 'h':
		plan.half_close = true;
		break;
	case 'r':
		plan.reset_after = (int64_t)number(optarg);
		break;
	case 'H':
		plan.hold = true;
		break;
	case 'w':
		plan.raw = true;
		break;
	case 'S':
		plan.sha = true;
		break;
	case 'c':
		plan.connections = number(optarg);
		break;
	case 'p':
		plan.parallel = number(optarg);
		break;
	case 'd':
		plan.deadline_s = (double)number(optarg);
		break;
	case 'b':
		plan.bind_host = optarg;
		break;
	case 'x':
		plan.seed = number(optarg);
		break;
	default:
		return false;
	}
	return true;
}

int
main(int argc, char **argv)
{
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (!take_option(opt)) {
			usage(stderr);
			return 2;
		}
	}
	if (argc - optind != 3 ||
		(strcmp(argv[optind], "serve") != 0 && strcmp(argv[optind], "run") != 0)) {
		usage(stderr);
		return 2;
	}
	plan.serve = strcmp(argv[optind], "serve") == 0;
	plan.host = argv[optind + 1];
	plan.port = argv[optind + 2];

	raise_file_limit();
	end_by_signals();
	if (sodium_init() < 0 || (load_epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
		die("epoll_create");
	loop.epoll = load_epoll;
	return plan.serve ? run_service() : run_client();
}
