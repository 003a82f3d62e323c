/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TOOLS_NET_H
#define QP_TESTS_TOOLS_NET_H

#include <netdb.h>
#include <stdint.h>

/* What the tools share around sockets. */

int64_t now_us(void);
/* "PROGRAM: what: errno in words", and exit status 2. */
_Noreturn void die(const char *what);
/* A numeric address and a port for TCP; the caller frees it. Exits with status 2 when it is none. */
struct addrinfo *resolve(const char *host, const char *port);
/* A listening socket that does not block. Exits with status 2 when there can be none. */
int listen_at(const struct addrinfo *at);
/* As many open files as the system lets this process have. */
void raise_file_limit(void);
/* A whole number that fills `text`; exits with status 2 when it is none. */
uint64_t number(const char *text);

#endif
