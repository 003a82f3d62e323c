/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TOOLS_LOOP_H
#define QP_TESTS_TOOLS_LOOP_H

#include <signal.h>
#include <stdint.h>

/* The epoll loop of a tool that serves or connects. One thread. */
struct loop {
	int epoll;
	int listener; /* -1: none; its data.ptr is NULL */
	void (*accepted)(int fd); /* takes over a socket that does not block */
	void (*ready)(void *conn, uint32_t events); /* what epoll reported for a data.ptr */
};

/* Set by SIGTERM and SIGINT, once end_by_signals() was called. */
extern volatile sig_atomic_t told_to_end;

void end_by_signals(void);
/* All that wait now; a peer that has gone already is passed over. */
void accept_all(int listener, void (*accepted)(int fd));
/* Waits at the most `timeout_ms` (-1: until something comes), and hands on all that it brought. */
void loop_turn(const struct loop *l, int timeout_ms);
/* Listens there, and says so in a JSON line; exits with status 2 when it cannot. */
void loop_listen(struct loop *l, const char *host, const char *port);

enum {
	ERRNOS = 134, /* all that Linux has */
};
/* `, "errors": {"NAME": count, …}}` and the end of a line of JSON, for counts by errno. */
void print_errors(const uint64_t counts[ERRNOS]);

#endif
