/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_PORT_GW_H
#define QP_TESTS_PORT_GW_H

#include <netinet/in.h>

#include "controlplane/hostnet.h"
#include "tests/port/responder.h"
#include "tests/port/world.h"

#define GW_QUIC_PORT   4433
#define GW_PUBLIC_PORT 4434
#define GW_ECHO_PORT   7000 /* TCP and UDP */
#define GW_SERVER_ID   0x3039

/* A gateway in a world: classifier, one responder as the worker, an echo port. */
struct gw {
	struct world w;
	struct rte_mempool *pool;
	struct responder r;
	struct qp_hostnet *h;
};

void gw_open(struct gw *g);
void gw_close(struct gw *g);

/* The configuration that gw_open uses. */
struct qp_hostnet_config gw_config(const struct world *w);
struct qp_hostnet *gw_hostnet_open(const struct qp_hostnet_config *cfg);
/* Steers (server_id, lcore) and nothing else to a responder. */
void gw_add_worker(struct qp_hostnet *h, uint32_t server_id, uint8_t lcore,
	const struct responder *r);
uint64_t gw_counter(const struct gw *g, enum qp_cls_counter which);

/* Sockets of the current namespace, with a timeout of five seconds. `addr` may have a %scope. */
int gw_connect(const char *addr, uint16_t port, int type);
void gw_udp_echo(int fd, size_t bytes, const char *what);
/* One send of `segs` datagrams of `bytes`, echoed. */
void gw_udp_gso_echo(int fd, unsigned segs, unsigned bytes, const char *what);
void gw_tcp_echo(int fd, size_t bytes, const char *what);
/* How many datagrams of `bytes` sent on `fd` are answered; none after the timeout. */
bool gw_udp_answers(int fd, const void *data, size_t bytes, unsigned timeout_ms);

/* qdiscs, filters and settings of the current namespace, as text to compare and free. */
char *gw_snapshot(void);

#endif
