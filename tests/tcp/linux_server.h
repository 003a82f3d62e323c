/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TCP_LINUX_SERVER_H
#define QP_TESTS_TCP_LINUX_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "dataplane/tcp/tcp.h"

/*
 * The stack as a server on a TAP, in a network namespace of this process's
 * own, with Linux's sockets as its clients: 10.77.0.2 and fd77::2 are the
 * stack's. Two processes: the child is the client, the parent turns the stack
 * until it ends. Whatever fails ends the process with status 1.
 */
#define SERVER_PORT 7
#define SERVER_TAP  "qptcp0"

struct qp_port;
struct rte_mbuf;
struct rte_mempool;

struct server {
	/* Frames both ways: false loses one; it may be changed, too. NULL: all pass as they are. */
	bool (*arrives)(struct server *s, struct rte_mbuf *frame);
	bool (*leaves)(struct server *s, struct rte_mbuf *frame);

	struct qp_port *port;
	struct qp_tcp *tcp; /* since server_open */
	struct qp_wheel *wheel;
	struct rte_mempool *pool, *indirect;
	uint64_t now_ns, rnd;
};

/* Whether this can be: root and TAPs are there. Says so if not. */
bool server_possible(void);
/* Once a process: namespace, EAL, pools, TAP. */
void server_open_port(struct server *s);
/* A stack that serves SERVER_PORT; `whole` false: no super-segments. */
void server_open(struct server *s, const struct qp_tcp_config *cfg, const struct qp_tcp_ops *ops, bool whole);
void server_close(struct server *s);
/* Says how many mbufs are not back, if any are. */
bool server_close_port(struct server *s);
uint64_t server_random(void *server);

/* Turns the stack until that child has ended, and `ns` longer; its wait status. */
int server_run(struct server *s, pid_t client, uint64_t ns);
/* Runs it, to its success. */
void server_shell(const char *command);

/* The client's side. */
/* The byte of a stream at `at`. */
uint8_t server_pattern(uint64_t at);
/*
 * A connection to the stack; -1: errno says why. `fast`: connect() sends
 * nothing, the first write is in the SYN if there is a cookie.
 */
int server_dial(bool v6, uint16_t port, bool fast);

#endif
