/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop.h"
#include "net.h"
#include "storm.h"

/*
 * Users and service of a storm: says what a gateway's users notice while
 * something is done to it. Who does that writes "mark NAME" to standard input
 * and gets one JSON line of all since the mark before; "end", or the end of
 * standard input, lets everything come to its end and prints the whole. It
 * ends by itself after --seconds, whatever happens.
 */

enum {
	MAX_EVENTS = 256,
	MAX_LISTENERS = 8,
	LINE_BYTES = 256,
	SWEEP_US = 50 * 1000,
	REOPEN_US = 100 * 1000,
	TURN_MS = 2, /* how finely bulk connections are paced */
};

struct storm_plan storm_plan = {
	.bulk = 200,
	.short_rate = 200,
	.bulk_bytes_s = 20000,
	.tick_us = 50 * 1000,
	.timeout_us = 10 * 1000 * 1000,
	.seed = 1,
};
int storm_epoll;

static struct {
	int fds[MAX_LISTENERS];
	unsigned count;
} listeners;
static int64_t seconds = 60;
static char input[LINE_BYTES];
static size_t input_len;

/* ---- addresses ---- */

/* HOST:PORT; an IPv6 address in brackets. Exits with status 2 when it is something else. */
static struct addrinfo *
parse_endpoint(const char *text)
{
	char *host = strdup(text), *colon = host == NULL ? NULL : strrchr(host, ':');
	struct addrinfo *found;
	size_t len;

	if (colon == NULL) {
		fprintf(stderr, "qpstorm: not HOST:PORT: %s\n", text);
		exit(2);
	}
	*colon = '\0';
	len = strlen(host);
	if (host[0] == '[' && len > 1 && host[len - 1] == ']') {
		host[len - 1] = '\0';
		found = resolve(host + 1, colon + 1);
	} else {
		found = resolve(host, colon + 1);
	}
	free(host);
	return found;
}

static int
enter_namespace(const char *path)
{
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int there = open(path, O_RDONLY | O_CLOEXEC);

	if (home < 0 || there < 0 || setns(there, CLONE_NEWNET) != 0)
		die(path);
	close(there);
	return home;
}

/* HOST:PORT, or HOST:PORT@NAMESPACE. */
static void
open_listener(const char *text)
{
	const char *at = strchr(text, '@');
	char *endpoint = at == NULL ? strdup(text) : strndup(text, (size_t)(at - text));
	struct addrinfo *addr = parse_endpoint(endpoint);
	struct epoll_event ev = {.events = EPOLLIN};
	char path[LINE_BYTES];
	int home = -1, fd;

	if (listeners.count == MAX_LISTENERS) {
		fprintf(stderr, "qpstorm: more than %d services\n", MAX_LISTENERS);
		exit(2);
	}
	if (at != NULL) {
		snprintf(path, sizeof(path), "/run/netns/%s", at + 1);
		home = enter_namespace(path);
	}
	fd = listen_at(addr);
	if (home >= 0 && setns(home, CLONE_NEWNET) != 0)
		die("setns");
	if (home >= 0)
		close(home);
	ev.data.ptr = &listeners.fds[listeners.count];
	listeners.fds[listeners.count++] = fd;
	if (epoll_ctl(storm_epoll, EPOLL_CTL_ADD, fd, &ev) != 0)
		die("epoll_ctl");
	freeaddrinfo(addr);
	free(endpoint);
}

/* ---- the loop ---- */

static bool
obey(const char *line)
{
	if (strncmp(line, "mark ", 5) == 0)
		storm_mark(line + 5);
	return strcmp(line, "end") != 0;
}

/* false: it is to end. */
static bool
read_commands(void)
{
	ssize_t n = read(STDIN_FILENO, input + input_len, sizeof(input) - 1 - input_len);
	char *line = input, *newline;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	input_len += (size_t)n;
	input[input_len] = '\0';
	while ((newline = strchr(line, '\n')) != NULL) {
		*newline = '\0';
		if (!obey(line))
			return false;
		line = newline + 1;
	}
	input_len = strlen(line);
	memmove(input, line, input_len + 1);
	return input_len < sizeof(input) - 1;
}

/* One wait and all that it brought. false: standard input says that it is enough. */
static bool
one_turn(void)
{
	struct epoll_event events[MAX_EVENTS];
	int64_t before = now_us(), woke;
	int n = epoll_wait(storm_epoll, events, MAX_EVENTS, TURN_MS);
	bool go_on = true;

	woke = now_us();
	if (woke - before > TURN_MS * 1000)
		storm_count_lag(woke - before - TURN_MS * 1000);
	for (int i = 0; i < n; i++) {
		int *listener = events[i].data.ptr;

		if (listener == NULL)
			go_on = read_commands();
		else if (listener >= listeners.fds && listener < listeners.fds + MAX_LISTENERS)
			accept_all(*listener, storm_accepted);
		else
			storm_turn(events[i].data.ptr, events[i].events);
	}
	storm_bury();
	return go_on;
}

/* Bulk connections that are missing, now and then; short ones when their time has come. */
static void
start_due(int64_t began, int64_t now)
{
	static int64_t reopen_us;
	static uint64_t shorts;
	static bool opened;
	uint64_t due = (uint64_t)(now - began) * storm_plan.short_rate / 1000000;
	unsigned targets = storm_plan.targets_count;

	for (; shorts < due; shorts++)
		storm_open(STORM_SHORT, (unsigned)(shorts % targets));
	if (now < reopen_us)
		return;
	reopen_us = now + REOPEN_US;
	for (unsigned t = 0; t < targets; t++) {
		unsigned want = storm_plan.bulk / targets + (t < storm_plan.bulk % targets);
		unsigned served, have = storm_running_bulk(t, &served);

		/* After the first time, one tries whether it is worth it for the others. */
		if (opened && served == 0 && want > 1)
			want = 1;
		for (; have < want; have++)
			storm_open(STORM_BULK, t);
	}
	opened = true;
}

static void
keep_time(void)
{
	static int64_t swept_us, turned_us;
	int64_t now = now_us();

	if (turned_us != 0 && now - turned_us > 2 * TURN_MS * 1000)
		storm_count_lag(now - turned_us - 2 * TURN_MS * 1000);
	turned_us = now;
	storm_tick(now);
	if (now - swept_us < SWEEP_US)
		return;
	swept_us = now;
	storm_sweep(now);
	storm_bury();
}

static void
run(void)
{
	int64_t began = now_us(), end = began + seconds * 1000000;
	bool ready = false;

	storm_mark("");
	while (!told_to_end && now_us() < end) {
		start_due(began, now_us());
		keep_time();
		if (!one_turn())
			break;
		if (!ready && storm_all_flow()) {
			ready = true;
			storm_mark("opening");
		}
	}
	storm_no_more();
	storm_finish_bulk();
	end = now_us() + storm_plan.timeout_us;
	while (!told_to_end && storm_running() > 0 && now_us() < end) {
		keep_time();
		one_turn();
	}
	storm_mark("end");
	storm_print_total();
}

static void
usage(FILE *out)
{
	fputs("Usage: qpstorm --serve HOST:PORT[@NAMESPACE] [option] HOST:PORT…\n"
	      "Users that connect to each HOST:PORT, and the service that they get to.\n"
	      "  --bulk N         long connections, shared out among the ports (default 200)\n"
	      "  --rate BYTES     a second, each way of each long connection (default 20000)\n"
	      "  --tick MS        send what is due this often (default 50)\n"
	      "  --short N        short connections a second (default 200)\n"
	      "  --timeout S      give up a connection without progress (default 10)\n"
	      "  --seconds S      end by itself (default 60)\n"
	      "  --seed N         which pseudo-random bytes (default 1)\n"
	      "Standard input: \"mark NAME\" prints what was since the last mark, \"end\" ends it.\n"
	      "Exit status 1: a connection did not finish, or a byte was wrong.\n",
		out);
}

static const struct option options[] = {
	{"serve", required_argument, NULL, 'l'},
	{"bulk", required_argument, NULL, 'b'},
	{"rate", required_argument, NULL, 'r'},
	{"tick", required_argument, NULL, 't'},
	{"short", required_argument, NULL, 's'},
	{"timeout", required_argument, NULL, 'o'},
	{"seconds", required_argument, NULL, 'd'},
	{"seed", required_argument, NULL, 'x'},
	{"help", no_argument, NULL, '?'},
	{NULL, 0, NULL, 0},
};

static bool
take_option(int opt)
{
	switch (opt) {
	case 'l':
		open_listener(optarg);
		break;
	case 'b':
		storm_plan.bulk = (unsigned)number(optarg);
		break;
	case 'r':
		storm_plan.bulk_bytes_s = number(optarg);
		break;
	case 't':
		storm_plan.tick_us = (int64_t)number(optarg) * 1000;
		break;
	case 's':
		storm_plan.short_rate = (unsigned)number(optarg);
		break;
	case 'o':
		storm_plan.timeout_us = (int64_t)number(optarg) * 1000000;
		break;
	case 'd':
		seconds = (int64_t)number(optarg);
		break;
	case 'x':
		storm_plan.seed = number(optarg);
		break;
	default:
		return false;
	}
	return true;
}

static bool
take_targets(char **texts)
{
	for (; *texts != NULL && storm_plan.targets_count < STORM_TARGETS; texts++) {
		storm_plan.targets[storm_plan.targets_count].name = *texts;
		storm_plan.targets[storm_plan.targets_count++].addr = parse_endpoint(*texts);
	}
	return *texts == NULL && storm_plan.targets_count > 0;
}

int
main(int argc, char **argv)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
	int opt;

	raise_file_limit();
	/* What measures goes first, as far as it may. */
	setpriority(PRIO_PROCESS, 0, -10);
	end_by_signals();
	if ((storm_epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
		die("epoll_create");
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (!take_option(opt)) {
			usage(stderr);
			return 2;
		}
	}
	if (listeners.count == 0 || storm_plan.tick_us <= 0 || !take_targets(argv + optind)) {
		usage(stderr);
		return 2;
	}
	/* A file or /dev/null cannot be waited for: then only --seconds ends it. */
	if (epoll_ctl(storm_epoll, EPOLL_CTL_ADD, STDIN_FILENO, &ev) != 0 && errno != EPERM)
		die("epoll_ctl");
	run();
	return storm_failures() == 0 ? 0 : 1;
}
